"""`restore-pod-files`: puts back files that a control plane's static pods name, from the copies on the machine itself.

What is gone is put back unasked: an encryption configuration, an audit policy or a private key that is not there is in
nobody's use. A file that holds something else was changed by somebody, and that is asked about, always: with an older
encryption configuration what was written with a newer key cannot be read. Nothing of what a file holds leaves its
machine. Sources: kubernetes/kubernetes #53867 ("error opening encryption provider configuration file"); Kubernetes'
page on encrypting confidential data at rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.diagnose.scene import API
from recoverd.model.bastion_operations import AwaitApi
from recoverd.model.catalogue import Code, path_in
from recoverd.model.facts import PodFileFacts
from recoverd.model.file_operations import PutBackPodFile
from recoverd.model.finding import Finding
from recoverd.model.pki_operations import STATIC_PODS
from recoverd.model.plan import Step
from recoverd.model.pod_files import COPIES, EMPTY, PKI
from recoverd.model.text import utc
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.starts import begins_anew, seen_started, serves_nothing

NAME = "restore-pod-files"
OF_PKI = frozenset({Code.CERTIFICATE_MISSING, Code.PKI_REPLACED})
ROTATED = (
    "if its keys were changed on purpose, reject this: secrets that were written with the newer key cannot be read "
    "with the older file"
)


@dataclass(frozen=True, slots=True)
class RestorePodFiles:
    name: str = NAME
    summary: str = "put back files that static pods name, from the copies on the machine itself"
    destructive: bool = False
    order: int = 19
    repairs: frozenset[str] = frozenset({Code.POD_FILE_MISSING, Code.POD_FILE_CHANGED})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        host = finding.facts.host
        found = [f for f in situation.confirmed if f.code == finding.code and f.facts.host == host]
        if why := next((w for f in found if (w := _refused(f, situation))), ""):
            return Refusal(why)
        if situation.host(host) is None:
            return Refusal(f"{host} cannot be looked at now, so its files are left alone")
        if why := _starts(found, host, situation):
            return Refusal(f"{', '.join(path_in(f.subject) for f in found)} on {host} is not put back: {why}")
        pods = {pod for f in found for pod in _facts(f).failing}
        return Proposal(
            summary=f"put back {', '.join(path_in(f.subject) for f in found)} on {host}, from the copies there",
            steps=(*(_put(f, host, situation) for f in found), *_begun(host, pods, situation)),
            basis=tuple(f.key for f in found),
            evidence=tuple(line for f in found for line in f.evidence),
            undo=(
                "what was in place, if anything, is kept in "
                f"{_aside(situation)}/ on {host}, for root only; move it back by hand and end the pod's process",
            ),
            verify_within=120.0,
            asks=_on_purpose(finding, found, host, situation),
        )


def _facts(finding: Finding) -> PodFileFacts:
    assert isinstance(finding.facts, PodFileFacts)
    return finding.facts


def _refused(finding: Finding, situation: Situation) -> str:
    """Why this file is not put back, and what to do; "" where it may be."""
    facts, path = _facts(finding), path_in(finding.subject)
    known = situation.memory.pod_files.get(facts.host, {}).get(path)
    of_host = {f.code for f in situation.diagnosis.findings if f.facts.host == facts.host}
    if path.startswith(PKI) and of_host & OF_PKI:
        return f"certificates on {facts.host} are gone or replaced beside {path}: they go back together, by restore-pki"
    if known is not None and known.kept:
        return ""
    lost = (
        "; without its keys the secrets in etcd, and in every snapshot of it, cannot be read: do not make a new one"
        if facts.encryption
        else ""
    )
    return (
        f"no copy of {path} (named by {facts.flag}) was kept on {facts.host} while it was healthy: put the very file "
        f"back from a backup, or from another control plane{lost}"
    )


def _starts(found: list[Finding], host: str, situation: Situation) -> str:
    """Why what would start with the file must not."""
    pods = {pod for f in found for pod in _facts(f).failing}
    return serves_nothing(host, situation) if API in pods else begins_anew(host, situation) if pods else ""


def _put(finding: Finding, host: str, situation: Situation) -> Step:
    path, before = path_in(finding.subject), _facts(finding).before
    known = situation.memory.pod_files[host][path]
    keep = f"{_aside(situation)}/{path.strip('/').replace('/', '_')}" if before else ""
    return Step(
        host,
        f"put {path} on {host} back as it was at {utc(known.recorded_at)} (sha256 "
        f"{known.sha256[:12]}), from {COPIES} there",
        PutBackPodFile(path, known.sha256, known.mode, known.owner, before, keep),
        20.0,
        requires=(finding.key,),
    )


def _begun(host: str, pods: set[str], situation: Situation) -> list[Step]:
    # of other pods no process is known by its name
    steps = [seen_started(host, pod) for pod in STATIC_PODS if pod in pods]
    # without an etcd none comes up, whatever files there are
    if API in pods and "etcd" not in pods and situation.etcd(host) is not None:
        steps.append(Step(host, f"wait for the API server on {host}", AwaitApi(), 90.0))
    return steps


def _aside(situation: Situation) -> str:
    return f"{COPIES}/before-{situation.kept}"


def _on_purpose(finding: Finding, found: list[Finding], host: str, situation: Situation) -> str:
    """What looks as if a person had made it so, who is then asked first; "" where nothing does."""
    names = ", ".join(path_in(f.subject) for f in found)
    rotated = f"; {ROTATED}" if any(_facts(f).encryption for f in found) else ""
    if finding.code == Code.POD_FILE_CHANGED:
        return f"somebody has changed {names} on {host} since it worked{rotated}"
    if newer := [path_in(f.subject) for f in found if _newer(f, situation)]:
        return (
            f"the copy of {', '.join(newer)} is what was last started with, and another one was seen since, there or "
            f"on another control plane{rotated}"
        )
    others = {
        f.facts.host
        for f in situation.diagnosis.findings
        if f.code == finding.code and f.facts.host != host and path_in(f.subject) in {path_in(g.subject) for g in found}
    }
    if others:
        return f"{names} is gone from {', '.join(sorted({host, *others}))} at once, as by somebody's doing"
    return ""


def _newer(finding: Finding, situation: Situation) -> bool:
    """Whether a file at this path was seen that is not the known one: there since, or on another control plane, which
    may have been given its new key first.
    """
    host, path = finding.facts.host, path_in(finding.subject)
    known = situation.memory.pod_files[host][path]
    others = (v for h in situation.settings.control_planes if h.name != host and (v := situation.host(h.name)))
    digests = {(v.pod_files or {})[path].sha256 for v in others if path in (v.pod_files or {})}
    return bool(known.newer) or (_facts(finding).encryption and bool(digests - {"", EMPTY, known.sha256}))


PLAYBOOK = RestorePodFiles()
