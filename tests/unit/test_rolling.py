"""How a rolling plan goes from node to node, and where it stops. What is found is
written down by each test (`sick`).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose import diagnose
from recoverd.machine import ClusterMachine
from recoverd.model.catalogue import Code
from recoverd.model.codec import dump, load
from recoverd.model.events import Paused, Perform, Restarted
from recoverd.model.facts import DeviceFacts, Facts, PodNetworkFacts, PodsFacts
from recoverd.model.finding import Diagnosis, Phase, State
from recoverd.model.memory import Memory
from recoverd.model.node_operations import AwaitNodeWell, Cordon, Uncordon
from recoverd.model.observation import Observation
from recoverd.model.plan import PlanStatus, StepResult
from recoverd.model.record import Record
from recoverd.model.settings import ClusterSettings
from recoverd.playbooks import registry
from tests.unit.builders import NOW, Cluster
from tests.unit.rolling import Rolling, steps_of
from tests.unit.rungs import OK, STALE, fault

INBOUND = PodNetworkFacts("w1", "w1", sources=("w2", "w3"))


def test_one_node_after_the_other_each_seen_well_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch)
    assert r.finish() == steps_of("w1", "w2")
    r.sweep(2)
    assert r.last.status is PlanStatus.SUCCEEDED
    assert r.machine.lifecycle.state is State.HEALTHY


def test_a_canary_that_comes_back_without_its_network_stops_everything_and_stays_cordoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    r = Rolling(monkeypatch)
    r.until("wait until w1 is Ready")
    r.sick.add("w1")
    r.end()
    r.sweep(45)
    assert r.work is None and r.machine.record.run is None
    assert r.last.status is PlanStatus.FAILED
    assert "w1: left as it is" in r.last.reason and "w2: not begun" in r.last.reason
    assert not any("undo" in line and "uncordon" in line for line in r.story())
    assert r.machine.lifecycle.phase is Phase.ESCALATED


def test_a_node_that_does_not_come_back_stops_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch, sick=("w1", "w2", "w3"), workers=7)
    r.until("wait until w2 is in a new boot")
    r.end(StepResult(False, "w2 did not come back from its reboot within 300 s"))
    assert r.machine.record.run is None and r.work is None
    assert "w1: done" in r.last.reason and "w2: left as it is" in r.last.reason and "w3: not begun" in r.last.reason
    assert "did not come back" in r.machine.record.explanation


def test_a_blocked_drain_ends_the_plan_and_the_node_is_uncordoned(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch)
    r.until("drain w2")
    r.end(StepResult(False, "the budget web allows no disruption"))
    assert (
        r.work
        and r.work.undo
        and isinstance(r.work.plan.steps[r.work.index].undo, Uncordon)
        and r.work.plan.steps[r.work.index].part == "w2"
    )
    assert r.end() == "undo cordon w2"
    assert r.machine.record.run is None
    assert "w1: done" in r.last.reason and "w2: taken back" in r.last.reason and "budget" in r.last.reason


def test_a_later_node_that_healed_by_itself_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch, sick=("w1", "w2", "w3"), workers=7)
    r.until("drain w1")
    r.sick.discard("w2")
    assert r.finish() == [*steps_of("w1")[1:], *steps_of("w3")]
    assert any(line.startswith("node-skipped w2") for line in r.story())


def test_a_node_that_heals_while_it_is_drained_is_uncordoned_and_not_rebooted(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch, sick=("w1", "w2", "w3"), workers=7)
    r.until("drain w2")
    r.sick.discard("w2")
    assert r.finish() == ["drain w2", "undo cordon w2", *steps_of("w3")]


@pytest.mark.parametrize(
    ("code", "facts", "kept"),
    [
        (Code.POD_NETWORK_BROKEN, INBOUND, False),
        (Code.POD_NETWORK_BROKEN, PodNetworkFacts("w1", "w1", targets=("w2", "w3")), True),
        (Code.POD_DEVICE_MISSING, DeviceFacts("w1", "w1", "cni0", "gone"), False),
        (STALE, PodsFacts("w1", "w1", 2, 0), False),
        (STALE, PodsFacts("w1", "w1", 2, 2), True),
    ],
)
def test_a_fault_that_only_pods_show_is_not_taken_for_gone_when_they_were_evicted(
    monkeypatch: pytest.MonkeyPatch, code: str, facts: Facts, kept: bool
) -> None:
    r = Rolling(monkeypatch, sick=("w1",), of=lambda n: replace(fault(code, n), facts=facts))
    r.until("drain w1")
    r.sick.clear()
    done = r.finish()
    assert done == (["drain w1", "undo cordon w1"] if kept else steps_of("w1")[1:])


def test_too_few_ready_workers_hold_the_next_node_and_then_stop_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch, min_ready=2)
    r.until("uncordon w1")
    r.unready.add("w3")
    r.end()
    r.sweep(3)
    assert r.work is None and r.machine.record.run is not None, "it waits a while: a node may just be coming back"
    r.sweep(15)
    assert r.machine.record.run is None and "min_ready" in r.last.reason and "w2: not begun" in r.last.reason


def test_the_plan_goes_on_when_the_worker_is_ready_again(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch, min_ready=2)
    r.until("uncordon w1")
    r.unready.add("w3")
    r.end()
    r.sweep(3)
    r.unready.clear()
    assert r.finish() == steps_of("w2")


def test_a_worker_lost_during_the_drain_keeps_the_node_from_being_rebooted(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch, min_ready=2)
    r.until("drain w1")
    r.cordoned.add("w1")
    r.unready.add("w3")
    r.end()
    r.sweep(15)
    assert r.end() == "undo cordon w1"
    assert r.machine.record.run is None and "min_ready" in r.last.reason


def test_a_pause_stops_between_two_nodes_and_not_within_one_that_reboots(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch)
    r.until("wait until w1 is in a new boot")
    r.give(Paused("alice", "enough", r.now))
    assert r.finish() == steps_of("w1")[3:]
    assert r.last.status is PlanStatus.SUPERSEDED and "w1: done" in r.last.reason and "w2: not begun" in r.last.reason


def test_in_the_dark_nobody_is_taken_for_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch)
    r.until("uncordon w1")
    r.dark = True
    r.end()
    r.sweep(3)
    assert not any(line.startswith("node-skipped") for line in r.story()) and r.work is None
    r.sweep(15)
    assert r.machine.record.run is None and "w2: not begun" in r.last.reason


@pytest.mark.parametrize("at", range(14))
def test_a_crash_at_any_step_asks_or_watches_on_and_reboots_each_node_once(
    monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    r = Rolling(monkeypatch)
    asked: list[str] = []
    done: list[str] = []
    for _ in range(60):
        run = r.machine.record.run
        if run is None:
            break
        if run.index == at and not asked:
            r.machine = ClusterMachine(
                r.settings, registry(), now=r.now, record=load(Record, dump(r.machine.record)), memory=r.memory
            )
            assert not [i for i in r.give(Restarted(r.now)) if isinstance(i, Perform)]
            r.sweep()
            again = [i for i in r.out if isinstance(i, Perform)]
            assert all(p.index == at and p.resume is (run.held_since is None) for p in again)
            asked.append("crash")
        if r.work is None:
            r.sweep()
            continue
        done.append(r.end())
        if done[-1].startswith("reboot "):
            r.sick.discard(done[-1].removeprefix("reboot "))
    assert asked and done == steps_of("w1", "w2")


def test_a_cordon_bears_the_plan_and_the_plan_still_stands_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The incident would not do: within it a person may uncordon what one plan has left cordoned, and
    cordon it again before the next.
    """
    r = Rolling(monkeypatch, approve=False)
    plan = r.machine.record.plan
    assert plan and {o.mark for s in plan.steps for o in (s.operation, s.undo) if isinstance(o, Cordon | Uncordon)} == {
        plan.id
    }
    r.sweep(6)
    assert r.machine.record.plan == plan and plan.status is PlanStatus.AWAITING_APPROVAL


def test_after_a_crash_nothing_more_is_evicted_from_a_node_that_is_well_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    r = Rolling(monkeypatch)
    r.until("drain w2")
    r.machine = ClusterMachine(
        r.settings, registry(), now=r.now, record=load(Record, dump(r.machine.record)), memory=r.memory
    )
    r.give(Restarted(r.now))
    r.sweep()
    (again,) = (i for i in r.out if isinstance(i, Perform))
    assert again.resume and again.plan.steps[again.index].asks(undo=False)
    r.end(StepResult(False, "to be seen first", undone=True))
    r.sick.clear()
    assert r.work is None
    assert r.finish() == ["undo cordon w2"]


def test_the_reboot_that_cannot_be_told_is_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch)
    r.until("reboot w1")
    r.end(StepResult(False, "cannot be told", uncertain=True))
    assert r.machine.record.run is None and r.last.status is PlanStatus.FAILED and "may or may not" in r.last.reason


def test_a_sweep_that_sees_no_nodes_proves_nothing_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server's address does not answer for a moment (observed): no fault of a node is
    found, and none is repaired by that.
    """
    r = Rolling(monkeypatch)
    r.until("uncordon w1")
    r.blind = True
    r.end()
    r.sweep(3)
    assert r.work is None and r.machine.record.run and not any(line.startswith("node-skipped") for line in r.story())
    r.blind = False
    r.finish()
    r.blind, r.sick = True, {"w2"}
    r.sweep(3)
    assert not any("plan-succeeded" in line for line in r.story())


def test_a_kubelet_that_does_not_stay_up_ends_the_plan_before_the_next_is_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    r = Rolling.__new__(Rolling)
    sick = {"w1", "w2"}
    cluster = Cluster(1, 3)

    def diagnosed(observation: Observation, memory: Memory, settings: ClusterSettings, busy: str) -> Diagnosis:
        real = diagnose(observation, memory, settings, busy)
        found = tuple(fault(STALE, n) for n in sorted(sick))
        return Diagnosis(State.WORKER_NETWORK_BROKEN, found, "stale") if found else real

    monkeypatch.setattr("recoverd.machine.sweeps.diagnose", diagnosed)
    r.machine = ClusterMachine(cluster.settings, registry(), now=NOW, memory=cluster.memory())
    r.now, r.seen, r.workers, r.unready, r.cordoned, r.dark, r.uptime = NOW, [], 3, set(), set(), False, 86400.0
    r.sick, r.blind, r.of = sick, False, lambda n: fault(STALE, n)
    r.sweep(3)
    assert r.work and r.work.plan.playbook == "restart-node-agents", "it is reversible and local: unasked"
    done = []
    while r.work:
        bad = r.work.plan.steps[r.work.index].description == "see kubelet on w1 stay up"
        done.append(r.end(StepResult(False, "exit-code") if bad else OK))
    assert done[0] == "restart kubelet on w1" and not [d for d in done if "w2" in d]
    sick.discard("w2")
    r.sweep(40)
    assert r.machine.record.plan and r.machine.record.plan.playbook == "rolling-worker-reboot"
    assert {s.part for s in r.machine.record.plan.steps} == {"w1"}
    assert r.machine.record.plan.status is PlanStatus.AWAITING_APPROVAL


def test_settled_needs_the_node_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rolling(monkeypatch)
    r.until("wait until w1 is Ready")
    r.unready.add("w1")
    r.end()
    r.sweep(5)
    run = r.machine.record.run
    assert run and run.held_since and isinstance(r.machine.record.plan.steps[run.index].operation, AwaitNodeWell)  # type: ignore[union-attr]
    r.unready.clear()
    r.sweep(3)
    assert r.work and r.work.plan.steps[r.work.index].description == "uncordon w1"


def test_a_node_that_has_just_booted_is_not_yet_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its first 90 s nothing is found of a node's network, and that proves nothing."""
    r = Rolling(monkeypatch)
    r.until("wait until w1 is Ready")
    r.uptime = 30.0
    r.end()
    r.sweep(5)
    assert r.work is None and r.machine.record.run and r.machine.record.run.held_since
    r.uptime = 100.0
    r.sweep(2)
    assert r.work and r.work.plan.steps[r.work.index].description == "uncordon w1"
