"""`restart-node-agents`: kubelet, kube-proxy and the CNI's agent of the broken nodes start
anew and look at the API afresh.

A kubelet may not come up again, for a reason that shows only then (its configuration, a full disk). So it is restarted
only where something is found of it; one node goes first, the canary, and has to be seen well before the next, which
follow in groups within the bounds; and the plan ends where a kubelet does not stay up.

A setback is another matter, since it is proven, and everything follows the lost history until it starts anew. Observed
after a restore to an older revision: kubelet and kube-proxy watch from a revision of the future and are deaf; a fresh
kubelet on one worker alone made it worse, so every worker's kubelet is restarted in one go before anything is awaited;
then the kube-proxy pods; every request was answered 25 s later. Where the revision went back, controller-manager and
scheduler are deaf too, or wait for the lease of the one before. So those of the control planes come first, and what is
on workers waits until endpoints are kept again: the pods that run there, and the rules that lead to them, work on until
then (observed: with kube-proxy restarted earlier, every request failed for 13 s and more). There the canary is the
first control plane, whose kubelet is waited for in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from recoverd.model.catalogue import Code
from recoverd.model.facts import DeviceFacts
from recoverd.model.finding import Finding, Severity
from recoverd.model.node_operations import (
    CONTROLLER_MANAGER,
    Agent,
    AwaitControllers,
    AwaitNodeReady,
    RestartDaemonPods,
)
from recoverd.model.plan import Step
from recoverd.model.unit_operations import AwaitUnit, RestartStaticPod, RestartUnit
from recoverd.model.witness import LED
from recoverd.playbooks.agents import (
    AGENTS,
    ALONE,
    HANGING,
    LEAD_SECONDS,
    NOT_KNOWN,
    STABLE,
    await_endpoints,
    canary_first,
    canary_well,
    eligible,
    shown_once,
    stale,
    unsettled,
    went_back,
)
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.nodes import (
    FOLLOWS,
    OF_NODES,
    OF_RULES,
    broken,
    emptied,
    groups,
    helpless,
    host_of,
    node_of,
)

ROUND = 8
"""Nodes whose agents fit into one plan deadline."""
OF_KUBELET = ALONE | {Code.PODS_NOT_ON_NODE}
"""What a fresh kubelet can mend; everything else is its neighbours' work, and it is let be."""
FOUND_OF = {
    Agent.KUBE_PROXY: frozenset({Code.KUBE_PROXY_DOWN, Code.SERVICE_RULES_STALE}),
    Agent.CNI: frozenset({Code.CNI_AGENT_DOWN}),
}
FOLLOWING = {
    Agent.KUBE_PROXY: FOLLOWS[Code.KUBE_PROXY_DOWN],
    # services are reached by kube-proxy's rules where pods are
    Agent.CNI: FOLLOWS[Code.CNI_AGENT_DOWN] - OF_RULES,
}
"""What comes of each alone."""
HUNG_SECONDS = 130.0
"""For systemd to stop what hangs: it waits 90 s (TimeoutStopSec) before it kills."""


@dataclass(frozen=True, slots=True)
class RestartNodeAgents:
    name: str = AGENTS
    summary: str = "restart kubelet, kube-proxy and the CNI agent of broken nodes"
    destructive: bool = False
    order: int = 30
    for_nodes: bool = True
    repairs: frozenset[str] = OF_NODES | NOT_KNOWN | {Code.ETCD_REVISION_WENT_BACK}

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        if why := emptied(situation):
            return Refusal(why)
        mine, unknown = node_of(finding), finding.code in NOT_KNOWN
        if unknown and finding.severity is not Severity.FAULT:
            return None
        nodes, refused = eligible(situation, NOT_KNOWN if unknown else OF_NODES)
        nodes = tuple(n for n in nodes if n == mine) if unknown else nodes
        if not nodes or (mine and mine not in nodes):
            return Refusal(
                refused.get(mine)
                or "; ".join(refused.values())
                or f"there is no node whose agents {AGENTS} could restart"
            )
        back = went_back(situation)
        if not situation.by_hand and (shown := shown_once(situation, nodes)):
            return Wait(f"{shown.message} The next sweep tells whether that is so, and what is restarted goes by it")
        if not (situation.by_hand or back) and (why := unsettled(situation, nodes)):
            return Wait(why)
        found = broken(situation, OF_NODES | NOT_KNOWN)
        concerned = [f for n in nodes for f in found.get(n, [])] + ([back] if back else [])
        return Proposal(
            summary=f"restart the agents of {', '.join(nodes)}"
            + (", and the controllers, since etcd's revision went back" if back else ""),
            steps=tuple(_steps(nodes, situation)),
            basis=tuple(f.key for f in concerned),
            evidence=(
                *(line for f in concerned for line in f.evidence),
                *(f"left out: {why}" for why in refused.values()),
            ),
            undo=(
                "none is needed: pods run on while kubelet restarts, and rules stay programmed while kube-proxy does",
            ),
            verify_within=120.0,
            rounds=1 + (len(nodes) - 1) // ROUND,
            asks="" if back else _asks(finding, nodes, situation),
        )


def _asks(finding: Finding, nodes: tuple[str, ...], situation: Situation) -> str:
    """What speaks against doing it unasked; "" where nothing does."""
    if finding.code == Code.NODE_NOT_READY:
        return f"why {node_of(finding)} is not Ready is not proven: a restart of its kubelet may help, and may not"
    if finding.code == Code.NODE_DELETED:
        return f"somebody has deleted the node {node_of(finding)}, and its kubelet would make it anew"
    docker = [
        n
        for n in _hung(nodes, situation)
        if (view := situation.host(host_of(n, situation))) and view.runtime == "docker"
    ]
    return (
        f"a restart of docker on {', '.join(docker)} ends every container there, unless live-restore is on"
        if docker
        else ""
    )


def _hung(nodes: Iterable[str], situation: Situation) -> list[str]:
    """Those whose runtime hangs."""
    found = broken(situation)
    return [n for n in nodes if any(f.code == Code.RUNTIME_HANGS for f in found.get(n, []))]


def _steps(nodes: tuple[str, ...], situation: Situation) -> Iterator[Step]:
    hosts, back = {n: host_of(n, situation) for n in nodes}, went_back(situation)
    if back is None:
        yield from _one_after_the_other(hosts, situation)
        return
    planes = {h.name for h in situation.settings.control_planes}
    mine, workers = ({n: h for n, h in hosts.items() if (h in planes) is of_planes} for of_planes in (True, False))
    for of_planes in canary_first(mine):
        # one that does not start or stay up ends the plan: what keeps it down may be on every machine
        yield from (
            replace(s, contained=s.contained and not isinstance(s.operation, AwaitUnit), vital=True)
            for s in _kubelets(of_planes, situation)
        )
    yield from _controllers(hosts, planes, back)
    yield Step(
        situation.settings.control_planes[0].name, f"see {CONTROLLER_MANAGER} lead", AwaitControllers(), LEAD_SECONDS
    )
    for of_workers in canary_first(workers):
        yield from (replace(s, vital=True) for s in _kubelets(of_workers, situation))
    for node, host in hosts.items():
        yield Step(host, f"see node {node} Ready", AwaitNodeReady(node), 60.0, part=node, contained=True)
    yield await_endpoints(situation)
    yield from _daemons(hosts, situation)


def _one_after_the_other(hosts: Mapping[str, str], situation: Situation) -> Iterator[Step]:
    """The canary, seen well, then the others in groups; each step for all of a group before the next."""
    found = broken(situation, OF_NODES | NOT_KNOWN)
    codes = {n: {f.code for f in found.get(n, [])} for n in hosts}
    # a path has two ends, and is whole again where the right one was mended (observed with a forwarding entry of VXLAN)
    ends = {n: tuple(f.key for f in found.get(n, [])) for n in hosts if codes[n] == {Code.POD_PATH_BROKEN}}
    # whoever names a node without a finding wants all of its agents anew
    kubelets = {n for n in hosts if not codes[n] or codes[n] & OF_KUBELET}
    for number, group in enumerate(groups(tuple(hosts), situation)):
        down = {n: hosts[n] for n in group if n in kubelets}
        for step in _kubelets(down, situation):
            yield replace(
                step, contained=False, takes_down=tuple(down) if isinstance(step.operation, RestartUnit) else ()
            )
        for node, host in down.items():
            yield Step(host, f"see node {node} Ready", AwaitNodeReady(node), 90.0, part=node)
        for step in _daemons({n: hosts[n] for n in group if not codes[n] or not codes[n] <= ALONE}, situation):
            yield replace(step, contained=number > 0, skip_unless=ends.pop(step.part, ()) if number else ())
        if number == 0 and len(hosts) > 1:
            (node,) = group
            yield canary_well(hosts[node], node)


def _daemons(hosts: Mapping[str, str], situation: Situation) -> Iterator[Step]:
    """One whose image is not on its node, or that says what keeps it, is let be: another pod would be no better."""
    for agent, seconds in ((Agent.KUBE_PROXY, 90.0), (Agent.CNI, 120.0)):
        for node, host in hosts.items():
            if agent not in _wanted(node, host, situation) or FOUND_OF[agent] & helpless(node, situation):
                continue
            what = "kube-proxy" if agent is Agent.KUBE_PROXY else "the CNI's agent, where there is one,"
            yield Step(
                host, f"restart {what} on {node}", RestartDaemonPods(node, agent), seconds, part=node, contained=True
            )


def _wanted(node: str, host: str, situation: Situation) -> frozenset[Agent]:
    """Whose pod is made anew: the one of which all comes that is found of the node; both where that is not told.

    A tunnel that is gone is the CNI's agent's. Observed: kube-proxy was ended for that, too, and until it was back
    nobody looked after its rules.
    """
    found = broken(situation).get(node, [])
    codes = {f.code for f in found}
    known = situation.memory.networks.get(host)
    tunnels = {
        f.facts.device
        for f in found
        if isinstance(f.facts, DeviceFacts) and known and known.devices.get(f.facts.device, "") not in ("", "bridge")
    }
    for agent, follows in FOLLOWING.items():
        if (
            codes <= follows
            and (codes & FOUND_OF[agent] or (agent is Agent.CNI and tunnels))
            and not went_back(situation)
        ):
            return frozenset({agent})
    return frozenset(FOUND_OF)


def _kubelets(hosts: Mapping[str, str], situation: Situation) -> Iterator[Step]:
    """Of these nodes, all in one go. A kubelet whose runtime alone hangs goes on by itself when that answers again."""
    found, hung = broken(situation), _hung(hosts, situation)
    alone = {n for n in hung if {f.code for f in found[n]} == {Code.RUNTIME_HANGS}}
    for node, host in hosts.items():
        view = situation.host(host)
        runtime = view.runtime_unit if view else None
        seconds = HUNG_SECONDS if any(f.code in HANGING for f in found.get(node, [])) else 30.0
        if runtime and (not runtime.running or node in hung):
            yield Step(
                host, f"restart {runtime.name} on {host}", RestartUnit(runtime.name), seconds, part=node, contained=True
            )
        if node not in alone:
            yield Step(host, f"restart kubelet on {host}", RestartUnit("kubelet"), seconds, part=node, contained=True)
    for node, host in hosts.items():
        view = situation.host(host)
        unit = view.runtime if view and node in alone else "kubelet"
        yield Step(host, f"see {unit} on {host} stay up", AwaitUnit(unit, STABLE, 40), 50.0, part=node, contained=True)


def _controllers(hosts: Mapping[str, str], planes: set[str], back: Finding) -> Iterator[Step]:
    """Those that run since before."""
    for node, host in hosts.items():
        for component in LED if host in planes else ():
            if stale(back) and f"{host}/{component}" not in stale(back):
                continue  # it ended itself when it lost its lease, and has started since
            yield Step(
                host, f"restart {component} on {host}", RestartStaticPod(component, 60), 75.0, part=node, contained=True
            )


PLAYBOOK = RestartNodeAgents()
