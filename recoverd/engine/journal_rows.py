"""What rows of the journal are made of, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from recoverd.engine.journal_file import JournalFile
from recoverd.model.codec import dump
from recoverd.model.plan import Incident, StepResult

T = TypeVar("T")


class Newest(list[T]):
    """The newest of what there is; `older`: how many more there are, which were left out."""

    def __init__(self, rows: Iterable[T] = (), older: int = 0) -> None:
        super().__init__(rows)
        self.older = older


def newest(file: JournalFile, columns: str, what: str, order: str, limit: int | None, *values: object) -> Newest[Any]:
    """The first `limit` rows in that order, or all, of what a query names from its table on."""
    with file.turn:  # counted and read before anything is added
        most = -1 if limit is None else limit
        rows = file.rows(f"SELECT {columns} FROM {what} ORDER BY {order} LIMIT ?", *values, most)  # noqa: S608
        older = 0
        if len(rows) == limit:
            ((count,),) = file.rows(f"SELECT count(*) FROM {what}", *values)  # noqa: S608
            older = count - limit
    return Newest(rows, older)


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
