"""The ladder of repairs for `worker-network-broken`: which rung is taken for what, and what the plan says.

What is found is written down by each test, since these stories are about what is done with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from recoverd.bounds import too_few_ready
from recoverd.model.catalogue import Code
from recoverd.model.facts import SetbackFacts
from recoverd.model.node_operations import (
    AwaitControllers,
    AwaitEndpoints,
    AwaitNodeWell,
    Cordon,
    Drain,
    PodChoice,
    Reboot,
    RestartDaemonPods,
)
from recoverd.model.observation import NodeView, ObjectsView, UnitView
from recoverd.model.record import Declined
from recoverd.model.settings import Approval, Bounds, DrainSettings
from recoverd.model.unit_operations import AwaitUnit, RestartStaticPod, RestartUnit
from recoverd.playbooks import registry
from recoverd.playbooks.base import Proposal, Refusal, Wait
from tests.unit.builders import Cluster
from tests.unit.rungs import BACK, STALE, ask, failed, fault, proposal, situation

RUNGS = ("start-node-services", "restore-node-network", "restart-node-agents", "rolling-worker-reboot")


def test_the_rungs_are_asked_in_their_order_and_only_the_last_asks_a_person() -> None:
    order = [p.name for p in registry() if p.name in RUNGS]
    assert order == list(RUNGS)
    automatic = [n for n in RUNGS if Cluster().settings.approval_of(n) is Approval.AUTOMATIC]
    assert automatic == list(RUNGS[:3])


def test_what_always_asks_asks_even_where_the_configuration_says_automatic() -> None:
    everything = {p.name: Approval.AUTOMATIC for p in registry()}
    settings = replace(Cluster().settings, approval=everything)
    assert {n for n in everything if settings.approval_of(n) is Approval.AUTOMATIC} == {
        *RUNGS[:3],
        "end-back-off",
        "restore-manifest",
        "restore-node-files",
        "restore-pod-files",
        "restart-controller",
    }
    assert replace(settings, approval={"restore-pki": Approval.NEVER}).approval_of("restore-pki") is Approval.NEVER


def test_one_node_is_the_canary_and_the_others_follow_in_groups_within_the_bounds() -> None:
    cluster = Cluster(1, 6)
    found = [fault(STALE, n) for n in ("w4", "w3", "w2", "w1", "cp1")]
    steps = proposal(
        "restart-node-agents",
        situation(cluster, *found, settings=replace(cluster.settings, bounds=Bounds(nodes_at_once=2))),
    ).steps
    restarts = [(s.part, s.takes_down) for s in steps if isinstance(s.operation, RestartUnit)]
    assert restarts == [
        ("w1", ("w1",)),
        ("w2", ("w2", "w3")),
        ("w3", ("w2", "w3")),
        ("w4", ("w4", "cp1")),
        ("cp1", ("w4", "cp1")),
    ]
    well = next(i for i, s in enumerate(steps) if isinstance(s.operation, AwaitNodeWell))
    assert {s.part for s in steps[: well + 1]} == {"w1"} and not any(s.contained for s in steps[: well + 1])
    assert not any(s.contained for s in steps if isinstance(s.operation, RestartUnit | AwaitUnit)), (
        "a kubelet that does not stay up ends the plan"
    )


@pytest.mark.parametrize(
    "code",
    [
        Code.KUBE_PROXY_DOWN,
        Code.CNI_AGENT_DOWN,
        Code.SERVICE_RULES_STALE,
        Code.SERVICE_UNREACHABLE,
        Code.POD_NETWORK_BROKEN,
    ],
)
def test_kubelet_is_left_alone_where_only_its_neighbours_are_at_fault(code: str) -> None:
    steps = proposal("restart-node-agents", situation(Cluster(1, 3), fault(code, "w1"), fault(code, "w2"))).steps
    assert {type(s.operation) for s in steps} == {RestartDaemonPods, AwaitNodeWell}


def test_after_a_setback_the_first_control_plane_is_the_canary() -> None:
    steps = proposal("restart-node-agents", situation(Cluster(3, 2), BACK)).steps
    first = [(type(s.operation), s.host) for s in steps[:3]]
    assert first == [(RestartUnit, "cp1"), (AwaitUnit, "cp1"), (RestartUnit, "cp2")]
    assert [s.contained for s in steps if isinstance(s.operation, AwaitUnit)] == [False, False, False, True, True]
    assert all(s.vital for s in steps if isinstance(s.operation, RestartUnit)), "one that does not start ends the plan"


def test_when_the_revision_went_back_every_node_and_the_controllers_start_anew() -> None:
    steps = proposal("restart-node-agents", situation(Cluster(1, 2), BACK, fault(STALE, "w1"))).steps
    assert [s.host for s in steps if isinstance(s.operation, RestartUnit)] == ["cp1", "w1", "w2"]
    static = [i for i, s in enumerate(steps) if isinstance(s.operation, RestartStaticPod)]
    proxies = [i for i, s in enumerate(steps) if isinstance(s.operation, RestartDaemonPods)]
    assert [steps[i].host for i in static] == ["cp1", "cp1"]
    lead, follow = (
        next(i for i, s in enumerate(steps) if isinstance(s.operation, kind))
        for kind in (AwaitControllers, AwaitEndpoints)
    )
    workers = [i for i, s in enumerate(steps) if isinstance(s.operation, RestartUnit | AwaitUnit) and s.host != "cp1"]
    assert max(static) < lead < min(workers), (
        "pods on workers run on until somebody keeps the endpoints of those that take their place"
    )
    assert max(workers) < follow < min(proxies), "a fresh kube-proxy takes the endpoints that there are"


def test_the_agents_are_not_restarted_a_second_time_for_the_same_node() -> None:
    one, two = fault(STALE, "w1"), fault(STALE, "w2")
    now = situation(Cluster(1, 3), one, two, declined=(failed("restart-node-agents", one),))
    answer = ask("restart-node-agents", now, one)
    assert isinstance(answer, Refusal) and "did not help" in answer.reason
    other = ask("restart-node-agents", now, two)
    assert isinstance(other, Proposal) and {s.host for s in other.steps} == {"w2"}
    assert isinstance(ask("rolling-worker-reboot", now, one), Wait), "w2's agents come first"


def test_a_reboot_is_offered_only_when_the_agents_restart_has_not_helped() -> None:
    found = fault(STALE, "w1")
    assert isinstance(ask("rolling-worker-reboot", situation(Cluster(1, 3), found)), Wait)
    now = situation(Cluster(1, 3), found, declined=(failed("restart-node-agents", found),))
    assert {s.host for s in proposal("rolling-worker-reboot", now).steps} == {"w1"}


def test_a_masked_kubelet_is_neither_restarted_nor_rebooted() -> None:
    cluster = Cluster(1, 3)
    cluster.unit("w1", "kubelet", load="masked", active="inactive", sub="dead")
    found = fault(Code.WORKER_KUBELET_DOWN, "w1")
    for rung in ("start-node-services", "restart-node-agents", "rolling-worker-reboot"):
        answer = ask(rung, situation(cluster, found))
        assert isinstance(answer, Refusal) and "masked" in answer.reason, rung


def test_a_stopped_kubelet_of_a_worker_is_started_and_one_that_keeps_failing_goes_up_the_ladder() -> None:
    found = fault(Code.WORKER_KUBELET_DOWN, "w1")
    start = proposal("start-node-services", situation(Cluster(1, 2).stopped("w1", "kubelet"), found))
    assert [s.description for s in start.steps] == ["start kubelet on w1"]
    failing = Cluster(1, 2)
    failing.hosts["w1"] = replace(
        failing.worker_host(),
        units={"kubelet": UnitView("kubelet", "loaded", "activating", "auto-restart", "exit-code")},
    )
    assert isinstance(ask("start-node-services", situation(failing, found)), Refusal)
    again = proposal("restart-node-agents", situation(failing, found))
    assert not any(isinstance(s.operation, RestartDaemonPods) for s in again.steps), (
        "kube-proxy has nothing to do with it"
    )


def test_the_canary_goes_alone_and_the_others_in_groups_within_the_bounds() -> None:
    cluster = Cluster(1, 6)
    found = [fault(STALE, f"w{i}") for i in range(1, 6)]
    settings = replace(cluster.settings, bounds=Bounds(nodes_at_once=2, min_ready=4))
    now = situation(cluster, *found, declined=(failed("restart-node-agents", *found),), settings=settings)
    steps = proposal("rolling-worker-reboot", now).steps
    reboots = [s.part for s in steps if isinstance(s.operation, Reboot)]
    assert reboots == ["w1", "w2", "w3", "w4", "w5"]
    assert [s.takes_down for s in steps if isinstance(s.operation, Cordon)] == [
        ("w1",),
        ("w2", "w3"),
        ("w2", "w3"),
        ("w4", "w5"),
        ("w4", "w5"),
    ]
    kinds = [type(s.operation).__name__ for s in steps if s.part in ("w2", "w3")]
    assert kinds[:6] == ["Cordon", "Cordon", "Drain", "Drain", "Reboot", "Reboot"]


def test_pods_that_move_make_no_other_plan() -> None:
    """A plan that waits for approval must not be superseded because pods come and go."""
    found = [fault(STALE, "w1"), fault(STALE, "w2")]
    steps = []
    for pods in ({"w1": 3, "w2": 9}, {"w1": 9, "w2": 3}):
        cluster = Cluster(1, 3)
        assert isinstance(cluster.objects, ObjectsView)
        cluster.objects = replace(cluster.objects, pods=pods)
        made = proposal(
            "rolling-worker-reboot", situation(cluster, *found, declined=(failed("restart-node-agents", *found),))
        )
        steps.append([(s.host, s.operation) for s in made.steps])
    assert steps[0] == steps[1]


def test_no_reboot_is_offered_that_would_leave_too_few_workers() -> None:
    cluster = Cluster(1, 2)
    found = fault(STALE, "w1")
    settings = replace(cluster.settings, bounds=Bounds(min_ready=2))
    answer = ask(
        "rolling-worker-reboot",
        situation(cluster, found, declined=(failed("restart-node-agents", found),), settings=settings),
    )
    assert isinstance(answer, Refusal) and "min_ready" in answer.reason


def test_a_control_plane_a_healthy_node_and_an_unreachable_one_are_not_rebooted() -> None:
    cluster = Cluster(1, 3).ssh_fails("w2")
    on_plane, unreachable = fault(STALE, "cp1"), fault(STALE, "w2")
    spent = (failed("restart-node-agents", on_plane, unreachable),)
    now = situation(cluster, on_plane, unreachable, declined=spent)
    for finding, word in ((on_plane, "control plane"), (unreachable, "cannot be rebooted from here")):
        answer = ask("rolling-worker-reboot", now, finding)
        assert isinstance(answer, Refusal) and word in answer.reason
    by_hand = ask("rolling-worker-reboot", replace(now, nodes=("w3",), by_hand=True))
    assert isinstance(by_hand, Refusal) and "healthy node" in by_hand.reason


@pytest.mark.parametrize(
    ("choice", "destructive"), [(PodChoice.REFUSE, False), (PodChoice.LEAVE, False), (PodChoice.EVICT, True)]
)
def test_what_was_chosen_for_the_drain_is_in_the_plan(choice: PodChoice, destructive: bool) -> None:
    cluster = Cluster(1, 3)
    found = fault(STALE, "w1")
    settings = replace(cluster.settings, drain=DrainSettings(local_storage=choice))
    made = proposal(
        "rolling-worker-reboot",
        situation(cluster, found, declined=(failed("restart-node-agents", found),), settings=settings),
    )
    assert made.destructive is destructive
    drains = [s.operation for s in made.steps if isinstance(s.operation, Drain)]
    assert drains == [Drain("w1", choice, PodChoice.REFUSE)] and str(choice) in drains[0].command()
    assert any("local storage" in line for line in made.evidence)
    assert destructive == any("emptyDir" in line for line in made.destroys)


def test_agents_that_started_anew_already_are_let_be() -> None:
    back = replace(BACK, facts=SetbackFacts(stale=("cp1/kube-scheduler", "cp1/kubelet", "w1/kubelet", "w1/kube-proxy")))
    steps = proposal("restart-node-agents", situation(Cluster(1, 2), back)).steps
    assert [s.host for s in steps if isinstance(s.operation, RestartUnit)] == ["cp1", "w1"]
    assert [s.operation.component for s in steps if isinstance(s.operation, RestartStaticPod)] == ["kube-scheduler"]


@pytest.mark.parametrize(
    ("min_ready", "workers", "needed"),
    [("50%", 1, 0), ("50%", 2, 1), ("50%", 3, 1), ("50%", 4, 2), ("100%", 3, 3), (2, 5, 2), (0, 5, 0)],
)
def test_how_many_stay_ready(min_ready: int | str, workers: int, needed: int) -> None:
    assert Bounds(min_ready=min_ready).ready_needed(workers) == needed


def nodes(*unready: str, cordoned: Iterable[str] = ()) -> list[NodeView]:
    names = ("cp1", "w1", "w2", "w3")
    return [NodeView(n, n not in unready, n in cordoned, n == "cp1") for n in names]


def test_only_workers_that_are_ready_and_schedulable_count() -> None:
    bounds = Bounds(min_ready=2)
    assert too_few_ready(("w1",), nodes(), bounds) is None
    assert too_few_ready(("w1",), nodes("w2"), bounds) is not None
    assert too_few_ready(("w1",), nodes(cordoned=("w2",)), bounds) is not None
    assert too_few_ready(("w1",), nodes("w1", "w2"), bounds) is None, "w1 is not ready: its reboot takes nothing away"
    assert too_few_ready(("w1",), nodes("w2", cordoned=("w1",)), bounds) is not None, (
        "recoverd's own cordon of w1 does not free the way"
    )


@pytest.mark.parametrize("playbook", ["restart-node-agents", "rolling-worker-reboot"])
def test_a_machine_that_is_not_the_node_is_not_touched(playbook: str) -> None:
    """The configuration has w1's name at another machine's address."""
    tried = (
        (Declined("restart-node-agents", ((STALE, "w1"),), "did not help"),)
        if playbook == "rolling-worker-reboot"
        else ()
    )
    same = Cluster(1, 2).node("w1", boot_id="boot-1", address="10.99.7.7")
    assert isinstance(ask(playbook, situation(same, fault(STALE, "w1"), declined=tried)), Proposal), (
        "SSH may use another address"
    )
    stale = Cluster(1, 2).node("w1", boot_id="boot-0")
    assert isinstance(ask(playbook, situation(stale, fault(STALE, "w1"), declined=tried)), Proposal), (
        "its kubelet does not report"
    )
    wrong = Cluster(1, 2).node("w1", boot_id="boot-9", address="10.99.7.7")
    answer = ask(playbook, situation(wrong, fault(STALE, "w1"), declined=tried))
    assert isinstance(answer, Refusal) and "is not the node w1" in answer.reason
