"""A kube-proxy that follows an API server which is gone: told as the cause, and made to follow the right one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.model.catalogue import Code
from recoverd.model.facts import ProxyFacts
from recoverd.model.finding import Finding
from recoverd.model.memory import Memory
from recoverd.model.network import RuleGap
from recoverd.model.node_look import NodeLook
from recoverd.model.node_operations import Agent, AwaitNodeWell, RestartDaemonPods
from recoverd.model.proxy_operations import RepointProxy
from recoverd.playbooks.base import Refusal
from tests.unit.builders import Cluster
from tests.unit.pod_network import WEB, PodNetwork
from tests.unit.rungs import ask, fault, proposal, situation

GONE, RIGHT = "10.99.1.9:6443", "k8s-api:6443"
LOOK = NodeLook(RIGHT, reaches=True, proxy=GONE, proxy_reaches=False, proxy_said="connect: No route to host")


def cut_off(node: str, server: str = GONE, reached: str = RIGHT) -> Finding:
    return fault(Code.KUBE_PROXY_CUT_OFF, node, ProxyFacts, server=server, reached=reached)


def codes(look: NodeLook | None) -> list[str]:
    network = PodNetwork().rules("w2", RuleGap(WEB, "10.96.0.10:80", {"10.244.1.5:80": 30.0}, {}))
    network.cluster.host("w2", node=look)
    return [f.code for f in network.seen(Memory(reached=(WEB,))).faults]


@pytest.mark.parametrize(
    "look",
    [
        None,
        replace(LOOK, proxy_reaches=None),
        replace(LOOK, proxy_reaches=True, proxy_said=""),
        replace(LOOK, reaches=False),
        replace(LOOK, reaches=None),
    ],
    ids=["not looked at", "not tried", "it is there", "kubelet reaches none either", "of kubelet it is not known"],
)
def test_stale_rules_are_laid_at_nobodys_door_unless_it_is_seen(look: NodeLook | None) -> None:
    assert codes(look) == [Code.SERVICE_RULES_STALE]


def test_the_api_server_that_is_gone_is_named_and_the_one_that_is_there() -> None:
    assert codes(LOOK) == [Code.KUBE_PROXY_CUT_OFF]
    network = PodNetwork().rules("w2", RuleGap(WEB, "10.96.0.10:80", {"10.244.1.5:80": 30.0}, {}))
    network.cluster.host("w2", node=LOOK)
    [finding] = network.seen(Memory(reached=(WEB,))).faults
    assert GONE in finding.message and RIGHT in finding.message and "No route to host" in finding.message
    assert finding.facts == ProxyFacts("w2", "w2", GONE, RIGHT)


def test_one_node_is_the_canary_and_each_gets_a_pod_that_reads_it_anew() -> None:
    plan = proposal("repoint-kube-proxy", situation(Cluster(1, 2), *(cut_off(n) for n in ("cp1", "w2", "w1"))))
    first, *others = (s.operation for s in plan.steps)
    assert first == RepointProxy(GONE, RIGHT) and plan.steps[0].undo == RepointProxy(RIGHT, GONE)
    assert others == [
        RestartDaemonPods("w1", Agent.KUBE_PROXY, by_pod=True),
        AwaitNodeWell("w1"),
        *(RestartDaemonPods(n, Agent.KUBE_PROXY, by_pod=True) for n in ("w2", "cp1")),
    ]


def test_a_node_whose_rules_are_right_still_is_taken_along_where_it_is_seen_to_follow_the_same() -> None:
    cluster = Cluster(1, 2).host("w2", node=LOOK)
    cluster.host("cp1", node=replace(LOOK, proxy_reaches=True))
    plan = proposal("repoint-kube-proxy", situation(cluster, cut_off("w1")))
    assert [s.part for s in plan.steps] == ["", "w1", "w1", "w2"]


def test_where_nodes_do_not_agree_a_person_has_to_say() -> None:
    for other in (cut_off("w2", server="10.99.1.8:6443"), cut_off("w2", reached="10.99.1.11:6443")):
        refused = ask("repoint-kube-proxy", situation(Cluster(1, 2), cut_off("w1"), other))
        assert isinstance(refused, Refusal) and "do not agree" in refused.reason


@pytest.mark.parametrize("playbook", ["restart-node-agents", "rolling-worker-reboot"])
def test_neither_fresh_agents_nor_a_reboot_is_offered_for_it(playbook: str) -> None:
    unreachable = fault(Code.SERVICE_UNREACHABLE, "w1")
    refused = ask(playbook, situation(Cluster(1, 2), cut_off("w1"), unreachable), unreachable)
    assert isinstance(refused, Refusal) and "repoint-kube-proxy" in refused.reason
    # another fault of that node is not left for it
    deaf = fault(Code.PODS_NOT_ON_NODE, "w1")
    assert not isinstance(ask("restart-node-agents", situation(Cluster(1, 2), cut_off("w1"), deaf), deaf), Refusal)
