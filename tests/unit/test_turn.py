"""What is not journalled has not happened: a machine is, to the last field, what it was before the event, until
whoever drives it adopts the turn.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest

from recoverd.machine.chores import CHORES
from recoverd.machine.machine import TAKES
from recoverd.model.events import (
    Approved,
    Event,
    Observed,
    Paused,
    PerformChore,
    Refused,
    Remember,
    Restarted,
    StepEnded,
)
from recoverd.model.plan import Step, StepResult
from recoverd.model.point_operations import TakeRestorePoint
from recoverd.model.points import PointSettings
from tests.unit.builders import Cluster
from tests.unit.test_machine import Script, manifest_gone, stuck


def told(s: Script, change: Any) -> Event:
    cluster = Cluster(s.shape[0], spares=s.shape[1], now=s.now + timedelta(seconds=5))
    change(cluster)
    return Observed(cluster.observation())


@pytest.mark.parametrize("what", ["fault", "healthy", "step", "pause", "restart"])
def test_after_a_failed_write_every_field_is_as_before(what: str) -> None:
    s = Script()
    s.sweep()
    if what != "healthy":
        s.sweep(stuck, times=2)
    if what == "step":
        s.approve()
    later = s.now + timedelta(seconds=5)
    events: dict[str, Event] = {
        "fault": told(s, manifest_gone),
        "healthy": told(s, lambda c: c),
        "step": StepEnded("prod-1.1", 0, False, StepResult(True, "snapshot"), later),
        "pause": Paused("alice", "enough", later),
        "restart": Restarted(later),
    }
    machine, before = s.machine, deepcopy(s.machine.state)
    taken = machine.take(events[what])
    assert taken.state != before, "the event changed something"
    assert machine.state == before, "and nothing of it counts"
    machine.drop()
    assert machine.state == replace(before, written=None), (
        "nobody knows what the journal has, so all of it is written with the next event"
    )
    again = machine.take(events[what])
    assert any(isinstance(i, Remember) for i in again.instructions)
    machine.adopt(again)
    assert machine.state == replace(taken.state, written=again.state.memory)


def test_every_kind_of_event_is_taken() -> None:
    assert set(TAKES) == set(get_args(Event))


def test_a_refused_request_leaves_the_very_same_state() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    before = s.machine.state
    with pytest.raises(Refused, match="is not open any more"):
        s.machine.handle(Approved("prod-9.9", "alice", "", s.now + timedelta(seconds=5)))
    assert s.machine.state is before


def test_what_comes_of_an_operation_is_taken_by_one_chore() -> None:
    of_chores = [operation for chore in CHORES for operation in chore.OPERATIONS]
    assert len(of_chores) == len(set(of_chores))
    due = {type(step.operation) for step in performed()}
    assert TakeRestorePoint in due and due <= set(of_chores)


def performed() -> list[Step]:
    """The chores that are due in the first healthy minutes."""
    s = Script()
    s.settings = s.machine.settings = replace(s.settings, points=PointSettings(interval=60.0))
    s.sweep(times=60)
    return [i.step for i in s.seen if isinstance(i, PerformChore)]
