"""The bastion's clock is set back: what waits for a time to have passed since must not wait for the clock to come there once more. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from recoverd.model.record import Record

SET_BACK = timedelta(seconds=60)
"""Less than this is no setting back: the times of two events may cross by what a sweep takes to be handed over."""


def within(record: Record, now: datetime) -> Record:
    """The record with every time since which something lasts, and that lies ahead of `now`, brought down to it.

    Deadlines, bounds and confirmations count from now then, and last a little longer than they should: never for as long as the clock was set back.
    What history tells (incidents, plans, steps) keeps the times that the clock showed.
    """

    def down(at: datetime | None) -> datetime | None:
        return at and min(at, now)

    run = record.run
    return replace(
        record,
        since=min(record.since, now),
        sightings={name: replace(s, since=min(s.since, now)) for name, s in record.sightings.items()},
        fault_since=down(record.fault_since),
        run=run and replace(run, started_at=min(run.started_at, now), step_at=down(run.step_at), held_since=down(run.held_since)),
        verify_since=down(record.verify_since),
        history=tuple(replace(a, started_at=min(a.started_at, now), ended_at=down(a.ended_at)) for a in record.history),
        points=replace(record.points, attempted=down(record.points.attempted)),
    )
