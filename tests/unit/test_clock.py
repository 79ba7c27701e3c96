"""The bastion's clock is set: all that lasts for a time moves with it, and nothing of it is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

from recoverd.machine.clock import moved, within
from recoverd.model.plan import ActionRecord
from recoverd.model.record import PointClock, Record, Run, Sighting, Spell
from tests.unit.builders import NOW

HISTORY = {"born", "watched_from"}
"""What tells when something was, and from which nothing is counted."""


def times(value: Any, path: str = "") -> Iterator[tuple[str, datetime]]:
    if isinstance(value, datetime):
        yield path, value
    elif isinstance(value, dict):
        for each in value.values():
            yield from times(each, path)
    elif isinstance(value, tuple):
        for each in value:
            yield from times(each, path)
    elif is_dataclass(value):
        for f in fields(value):
            yield from times(getattr(value, f.name), f"{path}.{f.name}" if path else f.name)


def full(at: datetime) -> Record:
    """With every time that it and its parts can hold."""

    def every(kind: Any, **given: Any) -> Any:
        dated = {f.name: at for f in fields(kind) if "datetime" in str(f.type) and "Mapping" not in str(f.type)}
        return kind(**{**dated, **given})

    record: Record = every(
        Record,
        state="healthy",
        sightings={"code subject": every(Sighting, seen=1)},
        run=every(Run, index=0),
        history=(every(ActionRecord, playbook="p", basis=(), ok=None),),
        points=every(PointClock),
        unseen={"cp1": at},
        spell=every(Spell, names=()),
    )
    return record


def test_a_clock_that_is_set_moves_every_time_from_which_something_lasts() -> None:
    hour = timedelta(hours=1)
    assert {path for path, at in times(moved(full(NOW), hour)) if at == NOW} == HISTORY
    assert {path for path, at in times(within(full(NOW), NOW - hour)) if at == NOW} == HISTORY
