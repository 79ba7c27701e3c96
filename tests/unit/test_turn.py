"""What is not journalled has not happened: a machine is again, to the last field, what it was before the event."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any, get_args

import pytest

from recoverd.machine.cluster import TAKES
from recoverd.model.events import Event, Observed, Paused, Restarted, StepEnded
from recoverd.model.plan import StepResult
from tests.unit.builders import Cluster
from tests.unit.test_machine import Script, manifest_gone, stuck


def everything(s: Script) -> dict[str, Any]:
    """All that the machine is, except for what says whether it is written."""
    values = {name: deepcopy(value) for name, value in vars(s.machine).items() if name not in ("lifecycle", "_written")}
    return values | {"position": s.machine.lifecycle.position}


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
    before, turn = everything(s), s.machine.turn()
    s.machine.handle(events[what])
    assert everything(s) != before, "the event changed something"
    s.machine.take_back(turn)
    assert everything(s) == before
    assert s.machine._written is None, "nobody knows what the journal has, so all of it is written with the next event"
    s.machine.handle(events[what])
    assert everything(s) != before


def test_every_kind_of_event_is_taken() -> None:
    assert set(TAKES) == set(get_args(Event))
