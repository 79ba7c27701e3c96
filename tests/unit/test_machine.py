"""The state machine: events in, instructions out. Sweeps are made by hand, steps are answered by the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.events import (
    Acknowledged,
    Approved,
    Event,
    Instruction,
    Note,
    Observed,
    Paused,
    Perform,
    PlanRequested,
    Refused,
    Rejected,
    Restarted,
    Resumed,
    SaveIncident,
    SaveRecord,
    StepEnded,
    StepIntent,
)
from recoverd.machine import ClusterMachine
from recoverd.model.finding import Phase, State
from recoverd.model.plan import Outcome, Plan, PlanStatus, StepResult
from recoverd.model.settings import Bounds
from recoverd.playbooks import registry
from tests.unit.builders import NOW, Cluster

Change = Callable[[Cluster], object]


class Script:
    """Drives one machine: a sweep every 5 s of a cluster that the test describes anew for each."""

    def __init__(self, control_planes: int = 1, spares: int = 1, **bounds: float) -> None:
        self.shape = (control_planes, spares)
        cluster = Cluster(control_planes, spares=spares)
        self.settings = replace(cluster.settings, bounds=Bounds(**bounds))  # type: ignore[arg-type]
        self.memory = cluster.memory()
        self.now = NOW
        self.machine = ClusterMachine(self.settings, registry(), now=NOW, memory=self.memory)
        self.seen: list[Instruction] = []

    def give(self, event: Event) -> list[Instruction]:
        out = self.machine.handle(event)
        self.seen += out
        return out

    def sweep(self, change: Change = lambda c: c, times: int = 1) -> list[Instruction]:
        out: list[Instruction] = []
        for _ in range(times):
            self.now += timedelta(seconds=5)
            cluster = Cluster(self.shape[0], spares=self.shape[1], now=self.now)
            change(cluster)
            out = self.give(Observed(cluster.observation()))
        return out

    def approve(self) -> list[Instruction]:
        return self.give(Approved(self.plan.id, "alice", "", self.now))

    def answer(self, what: Perform, result: StepResult) -> list[Instruction]:
        self.now += timedelta(seconds=1)
        return self.give(StepEnded(what.plan.id, what.index, what.undo, result, self.now))

    def run_all(self, out: list[Instruction]) -> list[str]:
        """Answer every step with success; the descriptions in order."""
        done = []
        while work := [i for i in out if isinstance(i, Perform)]:
            assert len(work) == 1
            done.append(work[0].plan.steps[work[0].index].description)
            out = self.answer(work[0], StepResult(True, "ok"))
        return done

    @property
    def plan(self) -> Plan:
        assert self.machine.record.plan is not None
        return self.machine.record.plan

    @property
    def where(self) -> tuple[State, Phase | None]:
        return self.machine.lifecycle.state, self.machine.lifecycle.phase

    def events(self) -> list[str]:
        return [i.entry.event for i in self.seen if isinstance(i, Note)]


def performing(out: list[Instruction]) -> Perform:
    (only,) = [i for i in out if isinstance(i, Perform)]
    return only


def manifest_gone(cluster: Cluster) -> object:
    return cluster.manifest("cp1", "kube-apiserver", None).container("cp1", "kube-apiserver", running=False).api_down()


def stuck(cluster: Cluster) -> object:
    return cluster.join_stuck()


def test_one_sweep_is_a_suspicion_two_are_an_incident() -> None:
    s = Script()
    s.sweep()
    s.sweep(stuck)
    assert s.where == (State.ETCD_STUCK, Phase.SUSPECTED)
    assert s.machine.record.incident is None
    s.sweep(stuck)
    assert s.where == (State.ETCD_STUCK, Phase.AWAITING_APPROVAL)
    assert s.plan.playbook == "force-new-cluster" and s.plan.destructive and not s.plan.automatic


def test_a_flap_opens_no_incident_and_a_flap_within_an_incident_opens_no_second() -> None:
    s = Script()
    for _ in range(3):
        s.sweep(stuck)
        s.sweep()
    assert s.where == (State.HEALTHY, None) and not [i for i in s.seen if isinstance(i, SaveIncident)]
    s.sweep(stuck, times=2)
    s.sweep()
    s.sweep(stuck, times=3)
    assert {i.incident.id for i in s.seen if isinstance(i, SaveIncident)} == {"prod-1"}


def test_a_reversible_local_repair_runs_unasked_and_closes_the_incident() -> None:
    s = Script()
    out = s.sweep(manifest_gone, times=2)
    assert performing(out).plan.playbook == "restore-manifest"
    done = s.run_all(out)
    assert done[-1] == "wait for the API server on cp1"
    assert s.where == (State.APISERVER_DOWN, Phase.VERIFYING)
    s.sweep()
    s.sweep()
    assert s.where == (State.HEALTHY, None)
    (closed,) = [i.incident for i in s.seen if isinstance(i, SaveIncident) and i.incident.closed_at]
    assert closed.outcome is Outcome.RECOVERED


def test_every_step_is_journalled_before_it_is_carried_out() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    while work := [i for i in out if isinstance(i, Perform)]:
        before = out[: out.index(work[0])]
        assert [(i.plan, i.index, i.undo) for i in before if isinstance(i, StepIntent)] == [(work[0].plan.id, work[0].index, work[0].undo)]
        assert any(isinstance(i, SaveRecord) for i in before)
        out = s.answer(work[0], StepResult(True, "ok"))


def test_a_failed_step_before_the_point_of_no_return_takes_everything_back() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    assert performing(out).index == 0
    out = s.answer(performing(out), StepResult(True, "snapshot"))
    moved = performing(out)
    assert "manifest goes aside" in moved.plan.steps[moved.index].description
    out = s.answer(moved, StepResult(True, "moved"))
    out = s.answer(performing(out), StepResult(False, "etcd still runs after 60 s"))
    undo = performing(out)
    assert undo.undo and undo.index == moved.index
    s.answer(undo, StepResult(True, "moved back"))
    assert s.where == (State.ETCD_STUCK, Phase.ESCALATED)
    assert "etcd still runs after 60 s" in s.machine.record.explanation and "recoverctl ack" in s.machine.record.explanation


def test_a_failed_step_after_it_takes_only_the_flag_out() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    while not performing(out).plan.steps[performing(out).index].commits:
        out = s.answer(performing(out), StepResult(True, "ok"))
    flag = performing(out)
    out = s.answer(flag, StepResult(True, "ok"))
    out = s.answer(performing(out), StepResult(False, "not healthy within 120 s"))
    undo = performing(out)
    assert undo.undo and undo.index == flag.index
    out = s.answer(undo, StepResult(True, "flag out"))
    assert not [i for i in out if isinstance(i, Perform)]
    assert s.where == (State.ETCD_STUCK, Phase.ESCALATED)


def test_what_failed_is_not_offered_again_until_acknowledged() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    first = s.plan.id
    out = s.approve()
    s.answer(performing(out), StepResult(False, "no space left"))
    s.sweep(stuck, times=5)
    assert s.where == (State.ETCD_STUCK, Phase.ESCALATED) and s.machine.record.plan is None
    s.give(Acknowledged("prod-1", "alice", s.now))
    s.sweep(stuck)
    assert s.where == (State.ETCD_STUCK, Phase.AWAITING_APPROVAL) and s.plan.id != first


def test_a_rejected_plan_is_not_offered_again_for_the_same_findings() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    s.give(Rejected(s.plan.id, "alice", "I do it by hand", s.now))
    s.sweep(stuck, times=3)
    assert s.machine.record.plan is None and "I do it by hand" in s.machine.record.explanation
    s.sweep(times=2)
    closed = [i.incident for i in s.seen if isinstance(i, SaveIncident)][-1]
    assert closed.outcome is Outcome.RECOVERED_BY_HAND


def test_a_plan_stops_when_its_findings_change_while_it_runs() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    s.sweep()  # the joining member came up after all
    out = s.answer(performing(out), StepResult(True, "snapshot"))
    assert not [i for i in out if isinstance(i, Perform)]
    assert "plan-superseded" in s.events()


def test_an_expired_plan_cannot_be_approved_and_a_fresh_one_takes_its_place() -> None:
    s = Script(plan_expiry=60)
    s.sweep(stuck, times=2)
    first = s.plan
    s.now += timedelta(seconds=90)
    with pytest.raises(Refused, match="expired"):
        s.give(Approved(first.id, "alice", "", s.now))
    s.sweep(stuck)
    assert s.plan.id != first.id and s.where[1] is Phase.AWAITING_APPROVAL
    with pytest.raises(Refused, match="not open any more"):
        s.give(Approved(first.id, "alice", "", s.now))


def test_an_approval_is_refused_while_the_newest_sweep_does_not_see_the_findings() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    s.sweep()
    with pytest.raises(Refused, match="does not see etcd-quorum-lost"):
        s.approve()


def test_pause_keeps_hands_off_and_is_kept_over_a_restart() -> None:
    s = Script()
    s.give(Paused("alice", "maintenance", s.now))
    out = s.sweep(manifest_gone, times=4)
    assert not [i for i in out if isinstance(i, Perform)] and s.where == (State.APISERVER_DOWN, Phase.PAUSED)
    s.machine = ClusterMachine(s.settings, registry(), now=s.now, record=s.machine.record, memory=s.memory)
    s.give(Restarted(s.now))
    s.sweep(manifest_gone, times=2)
    assert s.where == (State.APISERVER_DOWN, Phase.PAUSED)
    s.give(Resumed("alice", s.now))
    assert performing(s.sweep(manifest_gone)).plan.playbook == "restore-manifest"


def test_a_pause_stops_a_running_plan_before_its_point_of_no_return() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    s.give(Paused("alice", "stop", s.now))
    out = s.answer(performing(out), StepResult(True, "snapshot"))
    assert not [i for i in out if isinstance(i, Perform)] and s.machine.record.run is None
    assert s.where == (State.ETCD_STUCK, Phase.PAUSED)


def test_bounds_refuse_the_repeat_of_a_repair_and_say_until_when() -> None:
    s = Script(cooldown=600)
    for _ in range(2):
        out = s.sweep(manifest_gone, times=2)
        s.run_all(out)
        s.sweep(times=3)
    assert s.events().count("plan-started") == 1
    s.sweep(manifest_gone, times=2)
    assert s.where == (State.APISERVER_DOWN, Phase.ESCALATED)
    assert "bound `cooldown`" in s.machine.record.explanation and "UTC" in s.machine.record.explanation
    s.give(Acknowledged(s.machine.record.incident.id if s.machine.record.incident else "", "alice", s.now))
    assert performing(s.sweep(manifest_gone)).plan.playbook == "restore-manifest"


def test_after_a_crash_the_step_in_flight_is_asked_about() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    out = s.answer(performing(out), StepResult(True, "snapshot"))
    flight = performing(out)
    s.machine = ClusterMachine(s.settings, registry(), now=s.now, record=s.machine.record, memory=s.memory)
    again = performing(s.give(Restarted(s.now)))
    assert (again.index, again.undo, again.resume) == (flight.index, False, True)
    s.answer(again, StepResult(False, "cannot be told", uncertain=True))
    assert s.where == (State.ETCD_STUCK, Phase.ESCALATED)


def test_in_the_dark_nothing_is_done_and_the_waiting_plan_is_void() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    s.sweep(lambda c: c.everything_dark())
    assert s.machine.record.plan is not None
    with pytest.raises(Refused, match="cannot be seen"):
        s.approve()
    s.sweep(lambda c: c.everything_dark())
    assert s.where == (State.UNOBSERVABLE, None) and s.machine.record.plan is None
    s.sweep(stuck, times=2)
    assert s.where == (State.ETCD_STUCK, Phase.AWAITING_APPROVAL)
    assert {i.incident.id for i in s.seen if isinstance(i, SaveIncident)} == {"prod-1"}


def test_a_repair_that_does_not_help_is_said_to_have_failed() -> None:
    s = Script()
    s.run_all(s.sweep(manifest_gone, times=2))
    s.sweep(manifest_gone, times=30)
    assert s.where == (State.APISERVER_DOWN, Phase.ESCALATED) and "did not help" in s.machine.record.explanation


def test_a_plan_by_hand_needs_a_finding_and_a_known_playbook_and_node() -> None:
    s = Script()
    s.sweep()

    def ask(playbook: str, *nodes: str) -> None:
        s.give(PlanRequested(playbook, nodes, "alice", "", s.now))

    with pytest.raises(Refused, match="nothing is confirmed"):
        ask("restore-manifest")
    with pytest.raises(Refused, match="no playbook") as missing:
        ask("pray")
    assert missing.value.missing
    s.sweep(stuck, times=2)
    with pytest.raises(Refused, match="no node cp9"):
        ask("force-new-cluster", "cp9")
    ask("force-new-cluster")
    assert s.plan.requested_by == "alice" and s.plan.status is PlanStatus.AWAITING_APPROVAL
