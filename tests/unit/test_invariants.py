"""What must hold of a machine after every event is told in words, and an event that would break it is thrown away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from recoverd.machine import requests
from recoverd.machine.invariants import Inconsistent, broken
from recoverd.model.effects import only_asks
from recoverd.model.events import Ticked
from recoverd.model.finding import Phase, State
from recoverd.model.plan import PlanStatus, Step
from recoverd.model.point_operations import LookAtRestorePoints, TakeRestorePoint
from recoverd.model.record import Record
from recoverd.model.settings import Mode
from recoverd.model.unit_operations import Unit
from tests.unit.test_machine import Script
from tests.unit.test_recall import stuck

Change = Callable[[Record], Record]


def waiting() -> Record:
    s = Script()
    s.sweep(stuck, times=2)
    return s.machine.record


@pytest.mark.parametrize(
    ("change", "state", "phase", "words"),
    [
        (lambda r: replace(r, incident=None), State.ETCD_STUCK, Phase.AWAITING_APPROVAL, "have an open incident"),
        (lambda r: r, State.HEALTHY, None, "a healthy cluster has no open incident"),
        (lambda r: r, State.ETCD_STUCK, Phase.SUSPECTED, "nothing is only suspected"),
        (lambda r: r, State.ETCD_STUCK, Phase.REMEDIATING, "in `remediating` a plan runs"),
        (lambda r: r, State.ETCD_STUCK, Phase.ESCALATED, "plan waits in"),
        (lambda r: r, State.UNOBSERVABLE, Phase.CONFIRMED, "have phases"),
        (lambda r: replace(r, verify_since=r.since), State.ETCD_STUCK, Phase.AWAITING_APPROVAL, "was begun"),
        (
            lambda r: replace(r, plan=r.plan and r.plan.with_status(PlanStatus.FAILED, "")),
            State.ETCD_STUCK,
            Phase.PAUSED,
            "at hand is open",
        ),
    ],
)
def test_a_record_that_is_not_as_it_must_be_is_told_why(
    change: Change, state: State, phase: Phase | None, words: str
) -> None:
    record = waiting()
    assert not broken(record, State.ETCD_STUCK, Phase.AWAITING_APPROVAL)
    assert any(words in rule for rule in broken(change(record), state, phase)), broken(change(record), state, phase)


def test_an_event_that_would_break_what_holds_gives_nothing_and_one_that_finds_it_broken_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s = Script()
    s.sweep(stuck, times=2)
    machine, record = s.machine, s.machine.record
    monkeypatch.setattr(requests, "enter_pause", lambda turn: turn.set(incident=None))
    with pytest.raises(Inconsistent, match="a Ticked would leave the machine"):
        machine.handle(Ticked(s.now))
    assert machine.record == record
    machine.state = replace(machine.state, record=replace(record, incident=None))
    machine.handle(Ticked(s.now))


def test_an_event_that_would_write_where_recoverd_only_observes_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should anything come by the gate, it does not come by the door."""
    s = Script()
    s.machine.settings = replace(s.machine.settings, mode=Mode.OBSERVE)
    take = TakeRestorePoint("asked")
    look = LookAtRestorePoints()
    for operation, thrown in ((take, True), (look, False)):
        monkeypatch.setattr(
            requests, "enter_pause", lambda turn, what=operation: turn.perform_chore("cp1", "a chore", what, 5.0)
        )
        record = s.machine.record
        if not thrown:
            assert len(s.machine.handle(Ticked(s.machine.now))) == 1
            continue
        with pytest.raises(Inconsistent, match="a Ticked would have something done"):
            s.machine.handle(Ticked(s.machine.now))
        assert s.machine.record == record


@pytest.mark.parametrize(("asked", "passes"), [(False, False), (True, True)], ids=["done", "asked about"])
def test_a_step_may_be_asked_about_where_recoverd_only_observes(asked: bool, passes: bool) -> None:
    step = Step("cp1", "start kubelet", Unit("kubelet", "start"), 5.0)
    assert only_asks(step.operation, asked=asked) is passes
