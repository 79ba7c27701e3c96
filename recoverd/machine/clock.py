"""The bastion's clock is set: what lasts for a time must neither wait for the clock to come there once
more, nor be over at once. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from recoverd.model.record import Record

SET_BACK = timedelta(seconds=60)
"""Less than this is no setting back: the times of two events may cross by what a sweep takes to be handed over."""
SET_FORWARD = timedelta(seconds=5)
"""Less than this is no setting forward, but how much later one of two clocks was read than the other."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What two clocks of the bastion showed at the same moment."""

    wall: datetime
    running: float
    """Seconds of a clock that nobody sets and that goes on in suspension (CLOCK_BOOTTIME)."""


def jumped(before: Reading, after: Reading) -> timedelta:
    """By how much the wall clock was set between two readings of one process; below zero when it was set back."""
    return after.wall - before.wall - timedelta(seconds=after.running - before.running)


def within(record: Record, now: datetime) -> Record:
    """The record with every time since which something lasts, and that lies ahead of `now`, brought down to it.

    Deadlines, bounds and confirmations count from now then, and last a little longer than they should: never for as
    long as the clock was set back. What history tells (incidents, plans, steps) keeps the times that the clock showed.
    """
    return _each(record, lambda at: min(at, now))


def moved(record: Record, by: timedelta) -> Record:
    """The record with every time since which something lasts set forward as the clock was, so that all
    of it lasts as long as before.
    """
    return _each(record, lambda at: at + by)


def _each(record: Record, change: Callable[[datetime], datetime]) -> Record:
    def maybe(at: datetime | None) -> datetime | None:
        return at and change(at)

    run = record.run
    return replace(
        record,
        since=change(record.since),
        sightings={
            name: replace(s, since=change(s.since), last=maybe(s.last), first=maybe(s.first))
            for name, s in record.sightings.items()
        },
        swept_at=maybe(record.swept_at),
        unseen={name: change(at) for name, at in record.unseen.items()},
        fault_since=maybe(record.fault_since),
        calm_since=maybe(record.calm_since),
        run=run
        and replace(
            run,
            started_at=change(run.started_at),
            step_at=maybe(run.step_at),
            held_since=maybe(run.held_since),
            changed_at=maybe(run.changed_at),
            seen_at=maybe(run.seen_at),
        ),
        stale_since=maybe(record.stale_since),
        alone_since=maybe(record.alone_since),
        told_at=maybe(record.told_at),
        verify_since=maybe(record.verify_since),
        history=tuple(replace(a, started_at=change(a.started_at), ended_at=maybe(a.ended_at)) for a in record.history),
        witnessed={name: replace(v, seen_at=maybe(v.seen_at)) for name, v in record.witnessed.items()},
        points=replace(record.points, attempted=maybe(record.points.attempted)),
        spell=record.spell and replace(record.spell, at=change(record.spell.at)),
    )
