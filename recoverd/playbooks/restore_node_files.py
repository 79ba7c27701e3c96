"""`restore-node-files`: puts back what a node's kubelet, runtime and CNI go by, as it was while what reads it worked.

A line of /etc/hosts or a CNI's file that is gone is put back unasked: nothing reads less than nothing. A file that
holds something else than it did was changed by somebody, be it a package or a person: that is asked about, with the
difference, and what is there is kept. Where a DaemonSet keeps the CNI's files, its pod is made anew and writes them:
their credentials are its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from recoverd.diagnose.words import fails, refused
from recoverd.model import places
from recoverd.model.catalogue import Code
from recoverd.model.file_operations import HostsLine
from recoverd.model.finding import Finding
from recoverd.model.mounts import unmounted_above
from recoverd.model.network import NetworkView
from recoverd.model.node_look import CNI_DIR, HOSTS, NodeLook, read_always
from recoverd.model.node_operations import Agent, AwaitNodeReady, RestartDaemonPods
from recoverd.model.observation import HostView
from recoverd.model.operations import HELD, MovePath, Shell
from recoverd.model.plan import Step
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.node_files import NAME, difference, differing, held, put_back, read_anew
from recoverd.playbooks.nodes import emptied, host_of, node_in, node_of, off_on_purpose
from recoverd.playbooks.sandboxes import STUCK, without_sandbox
from recoverd.playbooks.starts import begins_anew, not_mounted

GONE = frozenset({Code.NODE_CUT_OFF, Code.CNI_CONFIG_MISSING})
FAILING = frozenset({Code.KUBELET_DOWN, Code.RUNTIME_DOWN, Code.WORKER_KUBELET_DOWN})
BENEATH = "the files that are gone are on it, and what is written there now is hidden when it comes"
READY_SECONDS = 90.0
"""For kubelet to try again, to post, and for its network to be called ready."""


@dataclass(frozen=True, slots=True)
class RestoreNodeFiles:
    name: str = NAME
    summary: str = "put back files of kubelet, the runtime, the CNI, /etc/hosts or resolv.conf as they worked"
    destructive: bool = False
    order: int = 8
    repairs: frozenset[str] = GONE | FAILING | STUCK

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        if finding.code in GONE:
            return _gone(finding, situation)
        if finding.code in STUCK:
            return without_sandbox(finding, situation)
        host = finding.facts.host or host_of(node_of(finding), situation)
        view = situation.host(host)
        if view is None or (
            not situation.by_hand and any(node_in(key) in (finding.subject, host) for key in situation.spent(NAME))
        ):
            return None
        return _failing(finding, host, view, situation)


def _gone(finding: Finding, situation: Situation) -> Answer:
    """Every node of which the same is found, in one plan; for the one that was asked about, why not."""
    how = _name if finding.code == Code.NODE_CUT_OFF else _network
    found: list[tuple[Finding, str, list[Step]]] = []
    refused: dict[str, str] = {}
    for each in (f for f in situation.confirmed if f.code == finding.code):
        host = each.facts.host
        view = situation.host(host)
        if view is None or view.node is None:
            refused[each.subject] = f"{host} cannot be looked at closely now, so no file is put back on it"
        elif not situation.by_hand and each.key in situation.spent(NAME):
            refused[each.subject] = f"{NAME} was tried on {host} in this incident and did not help, or was rejected"
        elif isinstance(steps := how(each, host, view.node, situation), str):
            refused[each.subject] = steps
        else:
            found.append((each, host, steps))
    if why := refused.get(finding.subject):
        return Refusal(why)
    if not found:
        return None
    waits = [
        Step(h, f"see node {node_of(f)} Ready", AwaitNodeReady(node_of(f)), READY_SECONDS, part=node_of(f))
        for f, h, _ in found
    ]
    return Proposal(
        summary="; ".join(steps[0].description for _, _, steps in found),
        steps=(*(step for _, _, steps in found for step in steps), *waits),
        basis=tuple(f.key for f, _, _ in found),
        evidence=(
            *(line for f, _, _ in found for line in f.evidence),
            *(f"left out: {why}" for why in refused.values()),
        ),
        undo=("by hand: take out again what the steps name",),
        verify_within=60.0,
    )


def _name(finding: Finding, host: str, look: NodeLook, situation: Situation) -> list[Step] | str:
    """The steps, or why there are none."""
    line = situation.memory.known_file(host, HOSTS).strip()
    server = places.host_of(look.server)
    if look.addresses != ():
        reached = "resolves it" if look.addresses else "names an address"
        return (
            f"{host} {reached} ({', '.join(look.addresses or (look.server,))}) and does not get there: look at its "
            "routes and firewall, and at what "
            f"{server} should be; recoverd changes neither a firewall nor a name that resolves"
        )
    if not line:
        return (
            f"{server} was not seen to come from {HOSTS} on {host} while all was well: look at the DNS that "
            "it asks (/etc/resolv.conf)"
        )
    what = f"put `{line}` back into {HOSTS} on {host}, as it was while all was well"
    return [Step(host, what, HostsLine(line), 20.0, requires=(finding.key,), part=node_of(finding))]


def _network(finding: Finding, host: str, look: NodeLook, situation: Situation) -> list[Step] | str:
    """The steps, or why there are none."""
    node, seen = node_of(finding), situation.observation.network
    agents = seen.agents if isinstance(seen, NetworkView) else ()
    if any(a.node == node and a.kind == "cni" for a in agents):
        what = f"make the CNI's pod on {node} anew, which writes {CNI_DIR}"
        return [Step(host, what, RestartDaemonPods(node, Agent.CNI), 120.0, requires=(finding.key,), part=node)]
    known = situation.memory.files.get(host, {})
    paths = [p for p in known if p.startswith(CNI_DIR) and p not in look.files]
    if not paths:
        return (
            f"no configuration of the pod network on {host} was recorded while it was well, and no DaemonSet that "
            f"keeps one is known: copy {CNI_DIR} "
            "from another node, or apply the network add-on again"
        )
    return [put_back(host, path, look, situation, finding, CNI_DIR) for path in paths]


def _failing(finding: Finding, host: str, view: HostView, situation: Situation) -> Answer:
    """A unit that ends again and again, beside files that are not what they were when it worked."""
    scene, units = situation.scene, [u for u in (view.runtime_unit, view.units.get("kubelet")) if u is not None]
    off = off_on_purpose(view, host) and not any(refused(u) for u in units)
    if view.node is None or not any(fails(scene, u) for u in units) or off:
        return None
    if at := unmounted_above(view, "/var/lib/kubelet"):
        return Refusal(not_mounted(host, at, BENEATH))
    paths, added = list(differing(host, view.node, situation)), list(_added(host, view, situation))
    if not paths and not added:
        return None
    if why := emptied(situation) if finding.code == Code.WORKER_KUBELET_DOWN else begins_anew(host, situation):
        return Refusal(why)
    done = [*([f"put back {', '.join(paths)}"] if paths else []), *([f"move {', '.join(added)} away"] if added else [])]
    steps = [put_back(host, p, view.node, situation, finding, p.rpartition("/")[0]) for p in paths]
    steps += [_move_away(host, path, situation, finding) for path in added]
    if any(".service.d/" in p for p in (*paths, *added)):
        steps.append(
            Step(
                host,
                f"have systemd on {host} read its units anew",
                Shell("systemctl daemon-reload", repeatable=True),
                30.0,
            )
        )
    anew, restarts = read_anew(host, view, (*paths, *added), kubelet=True)
    steps += restarts
    return Proposal(
        summary=f"{'; '.join(done)} on {host}, and restart {' and '.join(anew)}",
        steps=tuple(steps),
        basis=(finding.key,),
        evidence=(
            *finding.evidence,
            *(line for p in (*paths, *added) for line in difference(host, p, view.node, situation)),
        ),
        undo=(
            f"what was in place is kept in {HELD}/{situation.kept}/ on {host}, by its path; copy it back and restart "
            "the unit",
        ),
        verify_within=90.0,
        asks=f"somebody or some package has changed {', '.join((*paths, *added))} on {host} since what "
        "reads it was last started",
    )


def _move_away(host: str, path: str, situation: Situation, finding: Finding) -> Step:
    return Step(
        host,
        f"move {path} on {host} away, which was not there when it worked",
        MovePath(path, held(path, situation)),
        20.0,
        requires=(finding.key,),
    )


def _added(host: str, view: HostView, situation: Situation) -> Iterator[str]:
    """Files that were not there when the others were recorded, and that what reads them was
    started without while it was well.
    """
    known = situation.memory.files.get(host, {})
    recorded = max((k.recorded_at for p, k in known.items() if p != HOSTS and not read_always(p)), default=None)
    look = view.node or NodeLook()
    for path, file in look.files.items() if recorded else ():
        # as /etc/crio/crio.conf.d, and /etc/containerd/conf.d since containerd 2.2
        in_parts = ".d/" in path or (look.parts and path.startswith(f"{look.parts}/"))
        if (
            in_parts
            and not read_always(path)
            and path not in known
            and recorded
            and file.modified_at
            and file.modified_at - timedelta(seconds=view.clock_offset) > recorded
        ):
            yield path


PLAYBOOK = RestoreNodeFiles()
