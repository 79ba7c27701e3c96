"""What several playbooks need of the agents of nodes and of the controllers when they are started anew. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from recoverd.model.catalogue import Code
from recoverd.model.facts import SetbackFacts
from recoverd.model.finding import Finding, Severity
from recoverd.model.node_operations import AwaitEndpoints, AwaitNodeWell
from recoverd.model.plan import Step
from recoverd.model.settings import Approval
from recoverd.playbooks.base import Situation
from recoverd.playbooks.nodes import (
    LOST,
    OF_NODES,
    another_machine,
    broken,
    ends_itself,
    host_of,
    incurable,
    node_in,
    node_of,
    node_views,
    off_on_purpose,
)
from recoverd.playbooks.starts import begins_anew

AGENTS = "restart-node-agents"
"""The playbook, whose having helped or not is asked before a node is rebooted."""
STABLE = 5
"""Seconds that a kubelet must stay up: one that fails at once is restarted by systemd after 10 s (kubeadm's unit)."""
SETTLE_SECONDS = 120.0
"""For the canary to be seen well: rules count as stale for 20 s after kube-proxy's start."""
LEAD_SECONDS = 75.0
"""For a lease of 15 s to run out, after a start that kubelet may hold back for 20 s."""


def await_endpoints(situation: Situation) -> Step:
    """Before kube-proxy is started anew after a setback. It does not fail."""
    return Step(
        situation.settings.control_planes[0].name, "see endpoints follow the pods", AwaitEndpoints(), LEAD_SECONDS
    )


def canary_first(hosts: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The first alone, and then all the others: after a setback they are deaf together, and hear together, but not
    before one kubelet was seen to stay up.
    """
    every = list(hosts.items())
    return dict(every[:1]), dict(every[1:])


def canary_well(host: str, node: str) -> Step:
    """What is waited for before the agents of a second node are started anew."""
    what = f"see that nothing is found of {node}, the canary, any more"
    return Step(host, what, AwaitNodeWell(node), SETTLE_SECONDS, part=node)


def went_back(situation: Situation) -> Finding | None:
    return next((f for f in situation.confirmed if f.code == Code.ETCD_REVISION_WENT_BACK), None)


CAUSES = LOST | {
    Code.MACHINES_SHARE_NODE,
    Code.IP_FORWARDING_OFF,
    Code.FORWARDING_FILTERED,
    Code.POD_DEVICE_MISSING,
    Code.WORKER_KUBELET_DOWN,
}
"""What a lower rung puts right, or a person, and no restart of agents."""


def shown_once(situation: Situation, nodes: Collection[str]) -> Finding | None:
    """What the newest sweep shows and has not lasted yet, and what is restarted goes by: a setback, or what is wrong
    with one of the nodes and needs no restart (observed: a node was looked at one sweep after it was seen to be cut
    off from the others, and its agents were restarted while its forwarding was off).
    """
    lasting = {f.key for f in situation.confirmed}
    new = [f for f in situation.diagnosis.findings if f.severity is Severity.FAULT and f.key not in lasting]
    return next((f for f in new if f.code == Code.ETCD_REVISION_WENT_BACK), None) or next(
        (f for f in new if f.code in CAUSES and node_of(f) in nodes), None
    )


def stale(back: Finding) -> list[str]:
    """HOST/AGENT of what still follows the lost history; empty where that is not known."""
    return list(back.facts.stale) if isinstance(back.facts, SetbackFacts) else []


def eligible(situation: Situation, of: Collection[str] = OF_NODES) -> tuple[tuple[str, ...], dict[str, str]]:
    """The nodes with findings of these codes whose agents can be restarted and have not been in vain;
    and for the other ones, why not.
    """
    if situation.settings.approval_of(AGENTS) is Approval.NEVER:
        return (), {}
    back = went_back(situation)
    wanted = list(broken(situation, of))
    if back:
        old = {name.split("/")[0] for name in stale(back)}
        wanted = list(
            dict.fromkeys([*(n for n in node_views(situation) if not old or host_of(n, situation) in old), *wanted])
        )
    if situation.nodes:
        wanted = list(situation.nodes)
    spent = situation.spent(AGENTS) if not situation.by_hand else frozenset()
    stuck = {} if situation.by_hand else {n: ends_itself(host_of(n, situation), situation) for n in wanted}
    all_spent = any(code == Code.ETCD_REVISION_WENT_BACK for code, _ in spent)
    nodes, refused = [], {}

    for node in wanted:
        host = host_of(node, situation)
        view = situation.host(host)
        if all_spent or any(node_in(key) == node for key in spent):
            refused[node] = f"{AGENTS} was tried on {node} in this incident and did not help"
        elif view is None:
            refused[node] = f"{host} cannot be looked at now over SSH, so its agents are not restarted"
        elif why := (
            another_machine(node, host, situation)
            or off_on_purpose(view, host)
            or begins_anew(host, situation)
            or stuck.get(node)
            or (not back and incurable(node, situation))
        ):
            refused[node] = why
        else:
            nodes.append(node)
    planes = {h.name for h in situation.settings.control_planes}
    # after a setback control planes first; else the canary is a worker, and they are last
    return tuple(sorted(nodes, key=lambda n: ((host_of(n, situation) in planes) is not bool(back), n))), refused
