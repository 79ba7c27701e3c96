"""`rolling-worker-reboot`: drains and reboots the broken workers, one canary first, and stops at the
first that does not come back well.

Only for nodes whose agents were restarted in vain. The boot id proves the reboot (a machine may take minutes to go
down), the sweeps the network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from recoverd.bounds import too_few_ready
from recoverd.diagnose.together import above, concerns
from recoverd.model.catalogue import Code, ends_of
from recoverd.model.facts import DeviceFacts, PodNetworkFacts, PodsFacts
from recoverd.model.finding import Finding, FindingKey
from recoverd.model.node_operations import AwaitNodeReady, AwaitNodeWell, AwaitReboot, Cordon, Drain, PodChoice, Reboot
from recoverd.model.observation import ObjectsView
from recoverd.model.plan import Step
from recoverd.model.settings import DrainSettings
from recoverd.playbooks.agents import AGENTS, eligible
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.nodes import (
    OF_NODES,
    another_machine,
    broken,
    emptied,
    ends_itself,
    groups,
    host_of,
    incurable,
    node_of,
    node_views,
    off_on_purpose,
)

NAME = "rolling-worker-reboot"
REBOOT_SECONDS = 300.0
READY_SECONDS = 180.0
SETTLE_SECONDS = 180.0
CHOSEN = {
    PodChoice.REFUSE: "refused: the drain stops before anything is evicted",
    PodChoice.EVICT: "evicted",
    PodChoice.LEAVE: "left on the node, and rebooted with it",
}


@dataclass(frozen=True, slots=True)
class RollingWorkerReboot:
    name: str = NAME
    summary: str = "drain and reboot broken workers one after the other, a canary first"
    destructive: bool = False
    order: int = 50
    for_nodes: bool = True
    repairs: frozenset[str] = OF_NODES

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        if why := emptied(situation):
            return Refusal(why)
        if blocked_by := situation.diagnosis.find(Code.ADMISSION_WEBHOOK_FAILS):
            return Refusal(f"no node is drained while evicted pods could not be made anew: {blocked_by.message}")
        earlier, _ = eligible(situation)
        if earlier and not situation.by_hand:
            return Wait(f"{NAME} is offered for {node_of(finding)} when {AGENTS} has not helped")
        found = broken(situation)
        nodes, refused = self._candidates(situation)
        if not nodes or (not situation.by_hand and node_of(finding) not in nodes):
            return Refusal(
                refused.get(node_of(finding))
                or "; ".join(refused.values())
                or "no worker is found broken: a healthy node is not rebooted"
            )
        objects = situation.observation.api.objects
        if not isinstance(objects, ObjectsView):
            return Refusal(
                f"the API server does not list the nodes ({objects.reason}), so how many workers are ready is not known"
            )
        if blocked := too_few_ready(nodes[:1], objects.nodes, situation.settings.bounds):
            return Refusal(f"{nodes[0]} is not rebooted: {blocked.reason}")
        taken = groups(nodes, situation)
        drain = situation.settings.drain
        keys = {n: tuple(f.key for f in found[n]) for n in nodes}
        if why := _of_all([k for n in nodes for k in keys[n]], situation):
            return Refusal(why)
        return Proposal(
            summary=f"drain and reboot {' then '.join(' and '.join(g) for g in taken)}; {nodes[0]} is the canary",
            steps=tuple(step for group in taken for step in _steps(group, found, situation)),
            basis=tuple(dict.fromkeys(k for n in nodes for k in keys[n])),
            evidence=(
                *(line for n in nodes for f in found[n] for line in f.evidence),
                *self._terms(nodes, refused, objects, situation),
            ),
            destroys=tuple(self._destroys(nodes, drain)),
            undo=(
                "before its reboot, a node that recoverd cordoned is uncordoned again when the plan stops; what was "
                "evicted stays where it is",
                "a node that does not come back well stays cordoned, and the rest is not touched; when it is "
                "well: kubectl uncordon NODE",
                "a node that somebody else cordoned stays cordoned in any case",
            ),
            verify_within=120.0,
            rounds=len(taken),
            destructive=PodChoice.EVICT in (drain.local_storage, drain.unmanaged),
        )

    @staticmethod
    def _destroys(nodes: Sequence[str], drain: DrainSettings) -> Iterator[str]:
        """What is lost with a drain and a reboot, by what the configuration lets be evicted."""
        yield (
            f"what runs on each of {', '.join(nodes)} is interrupted: its pods move elsewhere before its "
            "reboot, as far as there is room"
        )
        if drain.local_storage is PodChoice.EVICT:
            yield "the data in emptyDir volumes of the pods that are evicted (chosen: drain.local_storage: evict)"
        if drain.unmanaged is PodChoice.EVICT:
            yield "pods without a controller: they are gone for good (chosen: drain.unmanaged: evict)"

    @staticmethod
    def _candidates(situation: Situation) -> tuple[tuple[str, ...], dict[str, str]]:
        """Broken workers that can be rebooted, those first that are not Ready, since least is lost with
        them; and for the others, why not.

        The order must not change with every pod that moves: a plan that waits for approval
        would be another one each time.
        """
        found, views = broken(situation), node_views(situation)
        planes = {h.name for h in situation.settings.control_planes}
        refused, nodes = {}, []
        for node in situation.nodes or tuple(found):
            host = host_of(node, situation)
            view = situation.host(host)
            if node not in found:
                refused[node] = f"nothing is found of {node}: a healthy node is not rebooted"
            elif host in planes or (node in views and views[node].control_plane):
                refused[node] = f"{node} is a control plane, and recoverd reboots only workers"
            elif node not in views:
                refused[node] = f"{node} is not listed by the API server"
            elif view is None:
                refused[node] = (
                    f"{host} cannot be looked at over SSH, so it cannot be rebooted from here; see to "
                    "its power and its console"
                )
            elif (
                why := another_machine(node, host, situation)
                or off_on_purpose(view, host)
                or ends_itself(host, situation, reboot=True)
            ):
                refused[node] = f"{node} is not rebooted: {why}"
            elif why := incurable(node, situation):
                refused[node] = why  # the same for every node, and told once
            else:
                nodes.append(node)
        return tuple(sorted(nodes, key=lambda n: (views[n].ready, n))), refused

    @staticmethod
    def _terms(
        nodes: Sequence[str], refused: dict[str, str], objects: ObjectsView, situation: Situation
    ) -> Iterator[str]:
        """What was chosen, and why, for whoever approves."""
        bounds, drain = situation.settings.bounds, situation.settings.drain
        workers = [n for n in objects.nodes if not n.control_plane]
        ready = sum(n.ready and not n.unschedulable for n in workers)
        pods = objects.pods.get(nodes[0], 0)
        yield f"canary: {nodes[0]} ({pods} pods now); the others follow only when no fault of it is found any more"
        yield (
            f"{ready} of {len(workers)} workers are ready and schedulable; "
            f"{bounds.ready_needed(len(workers))} stay so all along "
            f"(bound `min_ready`: {bounds.min_ready}), at most {bounds.nodes_at_once} at once (bound `nodes_at_once`)"
        )
        yield f"chosen for the drain: pods with local storage (emptyDir) are {CHOSEN[drain.local_storage]}"
        yield f"chosen for the drain: pods without a controller are {CHOSEN[drain.unmanaged]}"
        yield "as with kubectl drain: pods of DaemonSets and mirror pods stay; PodDisruptionBudgets hold"
        for why in refused.values():
            yield f"left out: {why}"


def _hidden(finding: Finding, group: Collection[str]) -> bool:
    """Shown only by pods that the drain of these hosts takes away, so that nothing is proven when it is
    not found any more after that.
    """
    facts = finding.facts
    match facts:
        case PodNetworkFacts():
            return bool(facts.sources)
        case PodsFacts():
            return not facts.extra  # a pod that is being deleted is not missed
        case DeviceFacts():
            return True  # no fault where no pod needs it
    return finding.code == Code.POD_PATH_BROKEN and ends_of(finding.subject)[1] in group


def _of_all(keys: Sequence[FindingKey], situation: Situation) -> str:
    """Why none is rebooted: it is for what all machines have together; "" where it is not, and where a person asks."""
    shared = next((s for s in situation.shared if concerns(s, keys)), None)
    if shared is None or situation.by_hand:
        return ""
    return (
        f"no node is rebooted for what all have: {above(shared)} Where reboots are what is wanted all the same: "
        f"`recoverctl run {NAME} {situation.settings.name}`, and approve"
    )


def _steps(group: tuple[str, ...], found: Mapping[str, Sequence[Finding]], situation: Situation) -> Iterator[Step]:
    """The steps of nodes that are taken together: each step for all of them before the next."""
    drain = situation.settings.drain
    hosts = {n: host_of(n, situation) for n in group}
    keys = {n: tuple(f.key for f in found[n]) for n in group}
    shown = {n: () if any(_hidden(f, hosts.values()) for f in found[n]) else keys[n] for n in group}
    views = {n: situation.host(hosts[n]) for n in group}
    boots = {n: view.boot_id for n, view in views.items() if view}
    for n, host in hosts.items():
        cordon = Cordon(n)
        yield Step(
            host, f"cordon {n}", cordon, 30.0, undo=cordon.inverse(), part=n, skip_unless=keys[n], takes_down=group
        )
    for n, host in hosts.items():
        evict = Drain(n, drain.local_storage, drain.unmanaged)
        yield Step(host, f"drain {n}", evict, drain.timeout, part=n, skip_unless=keys[n], takes_down=group)
    for n, host in hosts.items():
        yield Step(
            host, f"reboot {n}", Reboot(boots[n]), 30.0, part=n, commits=True, skip_unless=shown[n], takes_down=group
        )
    for n, host in hosts.items():
        yield Step(host, f"wait until {n} is in a new boot", AwaitReboot(boots[n]), REBOOT_SECONDS, part=n)
    for n, host in hosts.items():
        yield Step(host, f"wait until {n} is Ready", AwaitNodeReady(n, boots[n]), READY_SECONDS, part=n)
    for n, host in hosts.items():
        yield Step(host, f"see that nothing is found of {n} any more", AwaitNodeWell(n), SETTLE_SECONDS, part=n)
    for n, host in hosts.items():
        yield Step(host, f"uncordon {n}", Cordon(n).inverse(), 30.0, part=n)


PLAYBOOK = RollingWorkerReboot()
