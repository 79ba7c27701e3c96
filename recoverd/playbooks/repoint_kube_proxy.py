"""`repoint-kube-proxy`: has kube-proxy follow the API server that kubelets follow, where it follows one that is gone.

Its configuration is one ConfigMap for all nodes, and pods that run go on with what they have read. So after a move of
the control plane, or an edit with a slip in it, services rot on one node after the other as their kube-proxy starts
anew, and restarts and reboots change nothing (kubernetes/kubeadm#338). The ConfigMap is a person's, and the same for
every node, so this always asks. It needs config/rbac-repair.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recoverd.model.catalogue import Code
from recoverd.model.facts import ProxyFacts
from recoverd.model.finding import Finding
from recoverd.model.node_operations import Agent, RestartDaemonPods
from recoverd.model.plan import Step
from recoverd.model.proxy_operations import CONFIG_MAP, RepointProxy
from recoverd.playbooks.agents import canary_well
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.nodes import groups

POD_SECONDS = 90.0
"""For a new pod to run."""


@dataclass(frozen=True, slots=True)
class RepointKubeProxy:
    name: str = "repoint-kube-proxy"
    summary: str = "have kube-proxy follow the API server that kubelets follow"
    destructive: bool = False
    order: int = 25
    for_nodes: bool = True
    repairs: frozenset[str] = frozenset({Code.KUBE_PROXY_CUT_OFF})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        found = [f for f in situation.confirmed if f.code == Code.KUBE_PROXY_CUT_OFF]
        facts = [f.facts for f in found if isinstance(f.facts, ProxyFacts)]
        follows, reached = {f.server for f in facts}, {f.reached for f in facts}
        if len(follows) != 1 or len(reached) != 1:
            return Refusal(
                f"the nodes do not agree: their kube-proxies follow {', '.join(sorted(follows))}, and their kubelets "
                f"{', '.join(sorted(reached))}; which is right for all of them is for a person to say "
                f"(kubectl -n kube-system edit configmap {CONFIG_MAP}, then delete kube-proxy's pods)"
            )
        [was], [server] = follows, reached
        hosts = {f.node: f.host for f in facts} | _following(was, situation)
        nodes = tuple(sorted(hosts, key=lambda n: (hosts[n] in {h.name for h in situation.settings.control_planes}, n)))
        return Proposal(
            summary=f"have kube-proxy follow {server} instead of {was}, and start it anew on {', '.join(nodes)}",
            steps=(
                Step(
                    next(iter(situation.scene.parts), ""),
                    f"have the ConfigMap {CONFIG_MAP} name {server}",
                    RepointProxy(was, server),
                    30.0,
                    requires=tuple(f.key for f in found),
                    undo=RepointProxy(server, was),
                ),
                *_restarts(nodes, hosts, situation),
            ),
            basis=tuple(f.key for f in found),
            evidence=tuple(line for f in found for line in f.evidence),
            undo=(f"the ConfigMap is made to name {was} again; what kube-proxy has programmed stays",),
            verify_within=120.0,
        )


def _following(was: str, situation: Situation) -> dict[str, str]:
    """The hosts, by node, whose kube-proxy is seen to follow that one as well, though their rules are right still, or
    stale for too short: they were started anew one after the other (observed, and that the plan gave way for each).
    """
    scene = situation.scene
    looks = ((n, scene.node(n), view.node) for n in scene.addresses if (view := scene.host(n)))
    return {node.name: name for name, node, look in looks if node and look and look.misled and look.proxy == was}


def _restarts(nodes: tuple[str, ...], hosts: dict[str, str], situation: Situation) -> Iterator[Step]:
    """On the canary, which has to be seen well, and then on the others."""
    for number, group in enumerate(groups(nodes, situation)):
        for node in group:
            restart = RestartDaemonPods(node, Agent.KUBE_PROXY, by_pod=True)
            yield Step(hosts[node], f"make kube-proxy's pod on {node} anew", restart, POD_SECONDS, part=node)
        if number == 0 and len(nodes) > 1:
            (node,) = group
            yield canary_well(hosts[node], node)


PLAYBOOK = RepointKubeProxy()
