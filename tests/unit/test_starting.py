"""Pods that do not start for want of an address: which are waited for, what is said of them, and what is freed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.address_operations import FreeAddresses
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, State
from recoverd.model.network import NetworkView, WaitingPods
from recoverd.model.node_look import AddressPool, NodeLook
from recoverd.observe.kubelet import ListedPod, waiting
from recoverd.observe.node import node_look
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from tests.unit.builders import NOW, Cluster

FULL = (
    'CreatePodSandbox for pod "web-1_default(0ab)" failed: rpc error: code = Unknown desc = failed to setup network '
    'for sandbox "5d1": failed to allocate for range 0: no IP addresses available in range set: 10.42.2.1-10.42.2.254'
)
BRIDGE = 'web-1: failed to set bridge addr: "cni0" already has an IP address different from 10.244.1.1/24'
LEAKED = AddressPool("/var/lib/cni/networks/cbr0", 254, 240)
Pools = tuple[AddressPool, ...]
WAITING = WaitingPods(2, 40.0, ("default/web-1", "default/web-2"))


def cluster(*lines: str, pools: Pools | None = (LEAKED,), nodes: tuple[str, ...] = ("w1",)) -> Cluster:
    made = Cluster(workers=2)
    made.network = NetworkView(1, {}, {}, waiting=dict.fromkeys(nodes, WAITING))
    for name in nodes:
        look = None if pools is None else NodeLook(pools=pools)
        made.host(name, journals={"kubelet": lines} if lines else {}, node=look)
    return made


def judged(made: Cluster) -> Diagnosis:
    return diagnose(made.observation(), made.memory(), made.settings)


def answer(made: Cluster) -> Answer:
    diagnosis, memory = judged(made), made.memory()
    now = Situation(NOW, "prod-1", made.settings, made.observation(), diagnosis, memory, diagnosis.faults)
    finding = next(f for f in diagnosis.faults if f.code == Code.PODS_DO_NOT_START)
    return next(p for p in registry() if p.name == "free-pod-addresses").propose(finding, now)


def pod(name: str, **changes: object) -> ListedPod:
    made = ListedPod(name, name, "w1", "", "ContainerCreating", False, NOW - timedelta(seconds=60), deleting=False)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_what_waits_is_bound_and_has_no_address_for_longer_than_a_start_takes() -> None:
    pods = [
        pod("late"),
        pod("young", created=NOW - timedelta(seconds=5)),
        pod("starts", ip="10.42.2.7"),
        pod("ends", deleting=True),
        pod("runs", status="Running"),
        pod("first", status="Init:0/1", created=NOW - timedelta(seconds=90)),
    ]
    assert waiting({"w1": pods, "w2": pods}, ["w1"], NOW) == {"w1": WaitingPods(2, 90.0, ("late", "first"))}
    assert waiting({"w1": pods[1:5]}, ["w1"], NOW) == {}


def test_it_is_a_fault_of_the_node_once_kubelet_says_it_of_that_pod() -> None:
    found = judged(cluster(FULL))
    assert (found.state, [(f.code, f.subject) for f in found.faults]) == (
        State.WORKER_NETWORK_BROKEN,
        [(Code.PODS_DO_NOT_START, "w1")],
    )
    assert "10.42.2.1-10.42.2.254" in found.faults[0].message
    for lines in ((), ("web-1: pulling image",), (FULL.replace("web-1", "other-1"),)):
        assert judged(cluster(*lines)).state is State.HEALTHY, "it may wait for its image"


def test_it_is_over_when_no_pod_waits_there_and_not_when_kubelet_says_nothing() -> None:
    key = [(Code.PODS_DO_NOT_START, "w1")]
    made = cluster()
    assert "wait" in doubt(key, judged(made), made.observation())
    made.network = NetworkView(1, {}, {})
    assert doubt(key, judged(made), made.observation()) == ""


def test_the_addresses_of_every_such_node_are_freed_in_one_plan() -> None:
    made = answer(cluster(FULL, nodes=("w1", "w2")))
    assert isinstance(made, Proposal)
    assert [(s.host, s.operation) for s in made.steps] == [
        (name, FreeAddresses(LEAKED.directory, "/var/lib/recoverd/addresses/prod-1/cbr0")) for name in ("w1", "w2")
    ]


@pytest.mark.parametrize(
    ("lines", "pools", "kind", "says"),
    [
        ((FULL,), (AddressPool("/var/lib/cni/networks/cbr0", 254, 0),), Refusal, "holds 254"),
        ((FULL,), (), Refusal, "no address of host-local"),
        ((FULL,), None, Wait, "closer look"),
    ],
    ids=["all used", "another IPAM", "not looked at"],
)
def test_nothing_is_freed_of_what_is_used_or_not_known(
    lines: tuple[str, ...], pools: Pools | None, kind: type[Refusal | Wait], says: str
) -> None:
    made = answer(cluster(*lines, pools=pools))
    assert isinstance(made, kind) and says in made.reason  # type: ignore[attr-defined]


def test_another_cause_is_for_a_person_who_is_told_its_cure() -> None:
    made = cluster(BRIDGE)
    assert answer(made) is None and "ip link delete cni0" in judged(made).faults[0].message


def test_a_pool_that_makes_no_sense_is_none() -> None:
    lines = ["pool 254 240 /var/lib/cni/networks/my net", "pool  240 /x", "pool 1", "pool 3 0 "]
    assert node_look(lines, {}).pools == (AddressPool("/var/lib/cni/networks/my net", 254, 240),)
