"""How an incident went: how long it took to be detected, how long it waited for a person, how long the repair took.
The one place where this is reckoned, from the timeline alone. Pure.

Every length is the difference of two offsets that were rounded once (`words.offset`). So they add up to the whole, and
agree with what stands beside the lines of the timeline and in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from recoverd.model.history import History
from recoverd.report.words import Shape, offset


class Kind(StrEnum):
    """Names whose turn it was."""

    DETECT = "detect"
    """From the first sweep that saw the fault to the confirmed incident."""
    NO_PLAN = "no plan yet"
    """Confirmed, and recoverd neither acts nor asks: it waits for proof, or cannot see."""
    PERSON = "wait for a person"
    """A plan waits for approval, recoverd has come to its end, is paused, or only observes."""
    REPAIR = "repair"
    """A plan runs, is taken back, or is seen to have helped."""


BEGINS: Mapping[str, Kind] = {
    History.OPENED: Kind.NO_PLAN,
    # one that runs unasked is started at the same moment
    History.PLAN_MADE: Kind.PERSON,
    History.PLAN_SHADOW: Kind.PERSON,
    History.OBSERVING: Kind.PERSON,
    History.ESCALATED: Kind.PERSON,
    History.PAUSED: Kind.PERSON,
    History.APPROVED: Kind.REPAIR,
    History.PLAN_STARTED: Kind.REPAIR,
    History.VERIFYING: Kind.REPAIR,
    History.UNDO_STARTED: Kind.REPAIR,
    History.PLAN_SUCCEEDED: Kind.REPAIR,
    History.PLAN_FAILED: Kind.NO_PLAN,
    History.PLAN_REJECTED: Kind.NO_PLAN,
    History.PLAN_EXPIRED: Kind.NO_PLAN,
    History.PLAN_SUPERSEDED: Kind.NO_PLAN,
    History.ACKNOWLEDGED: Kind.NO_PLAN,
    History.RESUMED: Kind.NO_PLAN,
}
"""Whose turn it is from a line of history on; every other line leaves that as it was."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the incident. `begin` and `end` are whole seconds since the fault was first seen."""

    kind: Kind
    begin: int
    end: int

    @property
    def seconds(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Course:
    """The stretches of one incident, end to end, until it was healthy again or until now."""

    spans: tuple[Span, ...]
    closed: bool

    @property
    def whole(self) -> int:
        return self.spans[-1].end if self.spans else 0

    def seconds(self, kind: Kind) -> int:
        return sum(s.seconds for s in self.spans if s.kind is kind)

    def lengths(self) -> list[tuple[Kind, int]]:
        """Of the three that a review asks for, and of the fourth where there was any."""
        return [(k, n) for k in Kind if (n := self.seconds(k)) or k is not Kind.NO_PLAN]


def course(incident: Shape, now: str) -> Course:
    """`now` (ISO 8601) is where one that is still open ends."""
    turns = [(Kind.DETECT, 0)]
    for entry in incident["timeline"]:
        if entry["event"] == History.CLOSED:
            break  # what is told later, as that it was acknowledged, is no part of it
        kind, at = BEGINS.get(entry["event"], turns[-1][0]), offset(incident, entry["at"])
        if kind is not turns[-1][0]:
            turns.append((kind, max(at, turns[-1][1])))  # a clock that was set back makes no length negative
    end = max(offset(incident, incident["closed_at"] or now), turns[-1][1])
    ends = [at for _, at in turns[1:]] + [end]
    spans = (Span(kind, begin, until) for (kind, begin), until in zip(turns, ends, strict=True))
    return Course(tuple(s for s in spans if s.seconds), incident["closed_at"] is not None)
