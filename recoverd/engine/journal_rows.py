"""What rows of the journal are made of, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from recoverd.model.codec import dump
from recoverd.model.plan import Incident, StepResult


@dataclass(frozen=True, slots=True)
class StepRow:
    """One carrying out of one step, or of its undo. `ended_at` and `result` are None while it is in
    flight, or when a crash came between.
    """

    index: int
    undo: bool
    intent_at: datetime
    ended_at: datetime | None
    result: StepResult | None


def incident_row(i: Incident) -> tuple[str | None, ...]:
    text = dump(replace(i, timeline=()))  # its lines have a table of their own
    return i.id, i.cluster, i.state, at_text(i.opened_at), at_text(i.closed_at), i.outcome, i.summary, text


def at_text(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)
