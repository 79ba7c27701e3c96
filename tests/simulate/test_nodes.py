"""After a restore to an older revision the model's nodes behave as the lab's did (DESIGN.md, "Facts")."""

from __future__ import annotations

from datetime import datetime

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.memory import Memory
from recoverd.model.network import NetworkView
from recoverd.model.node_operations import Agent, Cordon, Drain, RestartDaemonPods
from recoverd.model.observation import ObjectsView
from recoverd.model.unit_operations import RestartStaticPod, Unstick
from recoverd.simulate import faults, look
from recoverd.simulate.act import Hands
from recoverd.simulate.clock import moment
from recoverd.simulate.cluster import ModelCluster, settings_for
from recoverd.simulate.netlook import SERVICE
from recoverd.simulate.nodes import LEASE


def later(c: ModelCluster, seconds: float) -> None:
    c.advance(c.now + seconds)


def failed(c: ModelCluster) -> int:
    """Of one request from each node to each endpoint that its rules know."""
    return sum(not ok for name in c.machines for ok in c.nodes.answers(name))


@pytest.fixture
def restored() -> ModelCluster:
    c = ModelCluster(settings_for(), 1)
    faults.take_snapshot(c)
    faults.roll_deployment(c)
    later(c, 30)
    assert failed(c) == 0
    faults.restore_snapshot(c, "cp1")
    later(c, 15)
    assert c.api.ready("cp1")
    return c


def test_after_a_restore_nodes_are_ready_and_every_one_of_them_runs_other_pods_than_the_api_lists(
    restored: ModelCluster,
) -> None:
    objects = restored.api.objects()
    assert isinstance(objects, ObjectsView) and all(n.ready for n in objects.nodes)
    later(restored, 300)
    store = restored.api.store
    assert store is not None and store.revision > 1300, (
        "the new history has grown beyond the old one, and they are deaf still"
    )
    for name, machine in restored.machines.items():
        assert not {u for u, node in store.pods.items() if node == name} & set(machine.pods)


def test_one_fresh_kubelet_alone_makes_it_worse(restored: ModelCluster) -> None:
    before = failed(restored)
    restored.restart_unit("w1", "kubelet")
    later(restored, 30)
    assert before == 0 and failed(restored) == 15


def test_all_agents_fresh_heal_it_without_a_reboot(restored: ModelCluster) -> None:
    boots = {n: m.boot_id for n, m in restored.machines.items()}
    for name in restored.machines:
        restored.restart_unit(name, "kubelet")
    for component in ("kube-controller-manager", "kube-scheduler"):
        assert not Hands(restored, "cp1", RestartStaticPod(component, 60), resume=False).attempt().ok, (
            "it takes a moment"
        )
    later(restored, LEASE + 5)
    for name in restored.machines:
        Hands(restored, name, RestartDaemonPods(name, Agent.KUBE_PROXY), resume=False).attempt()
    later(restored, 5)
    assert failed(restored) == 0 and all(len(restored.nodes.answers(n)) == 15 for n in restored.machines)
    assert boots == {n: m.boot_id for n, m in restored.machines.items()}


def test_deaf_kubelets_neither_end_evicted_pods_nor_start_an_agent_anew(restored: ModelCluster) -> None:
    for component in ("kube-controller-manager", "kube-scheduler"):
        Hands(restored, "cp1", RestartStaticPod(component, 60), resume=False).attempt()
    later(restored, LEASE + 5)
    assert restored.nodes.controls("kube-controller-manager") and restored.nodes.controls("kube-scheduler")
    started = restored.machines["w1"].agents["kube-proxy"].started_at
    proxy = Hands(restored, "w1", RestartDaemonPods("w1", Agent.KUBE_PROXY), resume=False)
    drain = Hands(restored, "w1", Drain("w1"), resume=False)
    for _ in range(60):
        assert not proxy.attempt().ok and not drain.attempt().ok
        later(restored, 1)
    assert restored.machines["w1"].agents["kube-proxy"].started_at == started


def test_without_its_bridge_no_pod_of_a_node_is_ready_and_the_witnesses_name_the_node_still() -> None:
    """Seen on the lab, with readiness probes every 2 s."""
    settings = settings_for()
    c = ModelCluster(settings, 1)
    later(c, 10)
    faults.by_name()["delete-bridge"](c, "w1")
    failing: dict[str, datetime] = {}
    for _ in range(15):
        later(c, 2)
        observation = look.observe(c, "prod", 1, moment(c.now), moment(c.now), failing)
        assert diagnose(observation, Memory(reached=(SERVICE,)), settings).find(Code.POD_NETWORK_BROKEN, "w1")
    assert isinstance(observation.network, NetworkView)
    assert {p.ready for p in observation.network.probes if p.target == "w1"} == {False}
    assert {p.ready for p in observation.network.probes if p.target == "w2"} == {True}


def test_kubelet_is_restarted_after_patience_without_a_container_and_not_before() -> None:
    c = ModelCluster(settings_for(), 1)
    faults.delete_manifest(c, "cp1", "kube-scheduler")
    later(c, 5)
    since = c.machines["cp1"].units["kubelet"].since
    hands = Hands(c, "cp1", Unstick("kube-scheduler", 15), resume=False)
    assert hands.waits
    for _ in range(15):
        assert not hands.attempt().ok and c.machines["cp1"].units["kubelet"].since == since
        later(c, 1)
    assert hands.attempt().ok and c.machines["cp1"].units["kubelet"].since == c.now


def test_five_seconds_with_a_container_end_the_patience() -> None:
    c = ModelCluster(settings_for(), 1)
    hands = Hands(c, "cp1", Unstick("kube-scheduler", 15), resume=False)
    for _ in range(5):
        assert not hands.attempt().ok
        later(c, 1)
    done = hands.attempt()
    assert done.ok and done.already_done and c.machines["cp1"].units["kubelet"].since < 0


def test_after_a_crash_a_drain_is_not_gone_on_with_and_a_cordon_is_looked_for() -> None:
    c = ModelCluster(settings_for(), 1)
    for operation in (Cordon("w1", "prod-1.1"), Drain("w1")):
        assert Hands(c, "w1", operation, resume=True, ask=True).attempt().undone
    assert Hands(c, "w1", Cordon("w1", "prod-1.1"), resume=False).attempt().ok
    assert Hands(c, "w1", Cordon("w1", "prod-1.1"), resume=True, ask=True).attempt().already_done
    assert c.machines["w1"].pods
