"""Pods that do not start for want of an address: which are waited for, what is said of them, and what is freed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.address_operations import FreeAddresses
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, Severity, State
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


def made_by(longest: float, *names: str) -> Cluster:
    """Pods wait, and kubelet says of each what no row of the table knows."""
    said = 'failed to setup network for sandbox \\"5d1\\": plugin type=\\"new\\" failed (add): a veth is left"'
    lines = [f'"Failed to create sandbox" err="rpc error: code = Unknown desc = {said} pod="{name}"' for name in names]
    made = cluster(*lines)
    made.network = NetworkView(1, {}, {}, waiting={"w1": WaitingPods(len(names), longest, names)})
    return made


@pytest.mark.parametrize(
    ("longest", "names", "severities"),
    [
        pytest.param(60.0, ("d/web-6d4c7f-x2x9p", "e/db-0"), [Severity.FAULT], id="pods of several"),
        pytest.param(60.0, ("d/web-6d4c7f-x2x9p", "d/web-6d4c7f-bbbbb"), [Severity.WARNING], id="pods of one alone"),
        pytest.param(59.0, ("d/web-6d4c7f-x2x9p", "e/db-0"), [], id="an agent that starts"),
    ],
)
def test_what_nobody_knows_yet_is_told_in_the_words_of_whoever_refuses_the_pods(
    longest: float, names: tuple[str, ...], severities: list[Severity]
) -> None:
    """No pod was made on the node, and it was healthy for as long as nobody had written a row for those words."""
    found = [f for f in judged(made_by(longest, *names)).findings if f.code == Code.PODS_DO_NOT_START]
    assert [f.severity for f in found] == severities and all("a veth is left" in f.message for f in found)
    assert judged(made_by(longest, *names)).state is (
        State.WORKER_NETWORK_BROKEN if Severity.FAULT in severities else State.HEALTHY
    )


def test_a_pod_that_asks_for_a_network_that_is_not_there_is_no_fault_of_its_node() -> None:
    line = 'plugin type="multus" failed (add): cannot find a network-attachment-definition (x) in namespace (d)'
    made = cluster(f"web-1: {line}", f"web-2: {line}")
    made.network = NetworkView(1, {}, {}, waiting={"w1": replace(WAITING, longest=600.0)})
    assert not judged(made).find(Code.PODS_DO_NOT_START)


def test_an_agent_of_the_cni_has_a_minute_to_come_up() -> None:
    line = 'web-1: plugin type="cilium-cni" failed (add): unable to connect to Cilium agent: 30 s timeout'
    made = cluster(line)
    for longest in (59.0, 60.0):
        made.network = NetworkView(1, {}, {}, waiting={"w1": replace(WAITING, longest=longest)})
        assert bool(judged(made).find(Code.PODS_DO_NOT_START)) is (longest >= 60.0)


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
