"""What several playbooks need of the agents of nodes and of the controllers when they are started anew. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from recoverd.model.catalogue import Code
from recoverd.model.facts import SetbackFacts
from recoverd.model.finding import Finding, Severity
from recoverd.model.node_operations import AwaitEndpoints, AwaitNodeWell
from recoverd.model.plan import Step
from recoverd.model.settings import Approval
from recoverd.model.text import utc
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
FOLLOWS_SECONDS = 60.0
"""After a start of kubelet: what it does to the pods of its machine shows at once, and what it says of itself counts
from then on (`why_not_ready.LONG`).
"""
UNREADY_SECONDS = 90.0
"""A node that is not Ready is a fault of its own after 60 s (`why_not_ready.LONG`), and confirmed by two sweeps."""
HANGING = frozenset({Code.KUBELET_HANGS, Code.RUNTIME_HANGS})
NOT_KNOWN = frozenset({Code.NODE_NOT_READY, Code.NODE_DELETED})
"""A fresh kubelet may mend it and may not, or somebody has wanted it so: one node alone, and a person is asked."""
ALONE = HANGING | NOT_KNOWN | {Code.WORKER_KUBELET_DOWN}
"""What is kubelet's own. Where nothing but these is found of a node, kube-proxy and the CNI's agent are let be."""
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


SAY_WHY = frozenset({Code.KUBE_PROXY_DOWN, Code.CNI_AGENT_DOWN})
"""What is confirmed in the first sweep that lists pods again, as it was found before the API server was away for a
while: their logs are read from the next sweep on. A kube-proxy that ends each time for its configuration, as was known
before, was restarted then.
"""


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


def unsettled(situation: Situation, nodes: Collection[str]) -> str:
    """Why what is found of one of these nodes is not yet what a restart of its agents goes by: its kubelet was started
    just now, or is not heard of since a moment ago, and what comes of that is told within the minute. "" where neither
    is so, and where what is found is kubelet's own.

    Observed with Kubernetes 1.20.2 on a machine that had got another host name: the kubelet that is started anew ends
    every pod there, since none is bound to that name. Its pods were not reached, and kube-proxy was restarted for it,
    35 s before the node was called not Ready, and 100 s before kubelet's words of why were asked for.
    """
    found, age = broken(situation), situation.scene.age
    for node in nodes:
        host, listed = host_of(node, situation), node_views(situation).get(node)
        view = situation.host(host)
        if view is None or {f.code for f in found.get(node, [])} & ALONE:
            continue
        if view.node is None and {f.code for f in found.get(node, [])} & SAY_WHY:
            return f"A closer look at {host} has yet to show what the agents there say themselves."
        unit = view.units.get("kubelet")
        started = unit.since if unit and unit.running else None
        unready = listed.since if listed and not listed.ready else None
        if started and (age(started) or 0.0) < FOLLOWS_SECONDS:
            return f"Kubelet on {host} runs since {utc(started)}, and what is found there may come of that."
        if unready and (age(unready) or 0.0) < UNREADY_SECONDS:
            return f"{node} has not been Ready since {utc(unready)}, and why is told within a minute."
    return ""


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
            refused[node] = f"{AGENTS} was tried on {node} in this incident and did not help, or was rejected"
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
