"""A kubelet that runs and cannot make a sandbox for any pod: what its own words name is put back as it worked. Pure.

Either a configuration names another file or another image than the one with which pods were started: then that
configuration goes back, which a person is asked about, since somebody has changed it. Or the file with name servers
that kubelet gives to pods is gone: it is written again, unasked, as the line of the API server in /etc/hosts is. An
image that is not there no remembered file brings. Sources: kubernetes-sigs/kubespray #10746, kubernetes/kubeadm #2801.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.cause import NO_RESOLV_CONF, NO_SANDBOX_IMAGE
from recoverd.model.catalogue import Code
from recoverd.model.facts import WaitingFacts
from recoverd.model.file_operations import PutResolvConf
from recoverd.model.finding import Finding
from recoverd.model.observation import HostView
from recoverd.model.plan import Step
from recoverd.model.text import utc
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.node_files import NAME, difference, differing, put_back, read_anew
from recoverd.playbooks.nodes import off_on_purpose
from recoverd.playbooks.starts import begins_anew

STUCK = frozenset({Code.STATIC_PODS_STUCK, Code.PODS_DO_NOT_START})
CURABLE = frozenset({NO_RESOLV_CONF, NO_SANDBOX_IMAGE})


def without_sandbox(finding: Finding, situation: Situation) -> Answer:
    """None where kubelet names another cause."""
    facts = finding.facts
    if not isinstance(facts, WaitingFacts) or facts.cause not in CURABLE:
        return None
    host, view = facts.host, situation.host(facts.host)
    if view is None or view.node is None:
        return Wait(f"{finding.message} A closer look at {host} has yet to show its files")
    if not situation.by_hand and finding.key in situation.spent(NAME):
        return Refusal(
            f"{NAME} was tried on {host} in this incident and did not help, or was rejected. {_cure(finding)}"
        )
    if off_on_purpose(view, host):
        return None
    if why := begins_anew(host, situation):
        return Refusal(f"{host} is not made to start pods: {why}")
    if paths := list(_naming(facts, view, situation)):
        return _configured(finding, facts, paths, view, situation)
    return _written(finding, facts, situation)


def _naming(facts: WaitingFacts, view: HostView, situation: Situation) -> Iterator[str]:
    """Files that name what kubelet misses, and did not while pods were started."""
    look = view.node
    for path in differing(facts.host, look, situation) if look else ():
        there, text = look.files.get(path) if look else None, situation.memory.known_file(facts.host, path)
        if there and facts.named in there.content and facts.named not in text:
            yield path


def _configured(
    finding: Finding, facts: WaitingFacts, paths: list[str], view: HostView, situation: Situation
) -> Proposal:
    host, look = facts.host, view.node
    assert look is not None
    anew, restarts = read_anew(host, view, paths, facts.node)
    steps = [*(put_back(host, p, look, situation, finding, p.rpartition("/")[0]) for p in paths), *restarts]
    return Proposal(
        summary=f"put back {', '.join(paths)} on {host}, which names {facts.named}, and restart {' and '.join(anew)}",
        steps=tuple(steps),
        basis=(finding.key,),
        evidence=(
            *finding.evidence,
            *(line for p in paths for line in difference(host, p, look, situation)),
        ),
        undo=(f"what was in place is kept beside it on {host}, as the steps say; copy it back and restart the unit",),
        verify_within=180.0,
        asks=f"somebody or some package has changed {', '.join(paths)} on {host} since pods were started there",
    )


def _written(finding: Finding, facts: WaitingFacts, situation: Situation) -> Answer:
    """The file itself is gone, and nothing names another one than before."""
    host, path = facts.host, facts.named
    view, known = situation.host(host), situation.memory.files.get(host, {}).get(path)
    text = situation.memory.known_file(host, path)
    if facts.cause != NO_RESOLV_CONF or known is None or not text or view is None or view.node is None:
        what = "no copy of it" if facts.cause == NO_RESOLV_CONF else "no configuration that named another image"
        return Refusal(f"{what} was recorded on {host} while pods were started there. {_cure(finding)}")
    if path in view.node.files:
        return Wait(f"{path} is there again on {host}; kubelet has yet to start pods with it")
    lasts = (
        "; what is in /run is gone with the next boot: `systemctl enable --now systemd-resolved` where that kept it"
        if path.startswith(("/run/", "/var/run/"))
        else ""
    )
    what = f"put {path} on {host} back as recorded at {utc(known.recorded_at)}"
    put = PutResolvConf(path, text, known.sha256)
    return Proposal(
        summary=f"put {path} on {host} back, which kubelet gives to its pods",
        steps=(Step(host, what, put, 20.0, requires=(finding.key,), part=facts.node),),
        basis=(finding.key,),
        evidence=(*finding.evidence, *(f"{host}:{path}: {line}" for line in text.splitlines()[:8])),
        undo=(f"by hand: rm {path}{lasts}",),
        verify_within=180.0,
    )


def _cure(finding: Finding) -> str:
    _, _, cure = finding.message.partition("Cure: ")
    return f"Cure: {cure}" if cure else finding.message
