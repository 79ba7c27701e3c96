"""What of the journal cannot be read: told for as long as that is so, and kept in `unreadable` before it is written
over: a recoverd that can read it may come yet.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from pathlib import Path

import structlog

from recoverd.engine.journal_memory import PLACE, parts_of
from recoverd.model.events import Journalled, Remember, RememberPart, SaveIncident, SavePlan, SaveRecord
from recoverd.model.plan import Incident, Plan

log = structlog.get_logger()

PLACES = {
    "record": "SELECT record FROM cluster WHERE name=?",
    PLACE: "SELECT memory FROM cluster WHERE name=?",
    "plan": "SELECT json FROM plan WHERE id=?",
    "incident": "SELECT json FROM incident WHERE id=?",
}
"""Where that stands which is written over in its place."""


class Unreadable(dict[tuple[str, str], str]):
    """Why a row cannot be read, by its place (`record`, `memory`, `incident`, `plan`, `step`, `note`, `decision`,
    `audit`) and key (of a part of a memory CLUSTER/PART). It is gone from here once it was read, or written over; a
    cluster's record and memory, with which it was paused, once it is not paused any more.
    """

    def left_out(self, place: str, key: str, error: Exception, path: Path) -> None:
        """The row is left out. Told once."""
        if (place, key) not in self:
            why = self[place, key] = " ".join(str(error).split())[:300]
            log.warning(
                f"a row of the journal cannot be read and is left out: {place} {key}", file=str(path), error=why
            )

    def was_read(self, place: str, key: str) -> None:
        if self and place not in ("record", PLACE):
            self.pop((place, key), None)

    def written(self, instructions: Iterable[Journalled]) -> None:
        """These are on the disk."""
        for instruction in instructions if self else ():
            match instruction:
                case SavePlan(plan=Plan(id=key)):
                    self.pop(("plan", key), None)
                case SaveIncident(incident=Incident(id=key)):
                    self.pop(("incident", key), None)
                case SaveRecord(cluster=key, record=record) if record.pause is None:
                    for of in [("record", key), (PLACE, key), *((PLACE, f"{key}/{p}") for p in parts_of(key, self))]:
                        self.pop(of, None)

    def look_anew(self) -> None:
        """Whatever else was left out is told anew where it still cannot be read."""
        for place, key in list(self):
            self.was_read(place, key)


def keep_aside(
    db: sqlite3.Connection, instruction: Journalled, unreadable: Collection[tuple[str, str]], at: str
) -> None:
    """Keep what the instruction writes over, where it is among the `unreadable`, by place and key."""
    match instruction:
        case SaveRecord(cluster=key):
            place = "record"
        case Remember(cluster=key) | RememberPart(cluster=key):
            place = PLACE
        case SavePlan(plan=Plan(id=key)):
            place = "plan"
        case SaveIncident(incident=Incident(id=key)):
            place = "incident"
        case _:
            return
    kept = False
    if (place, key) in unreadable:
        row = db.execute(PLACES[place], (key,)).fetchone()
        kept = _keep(db, place, key, at, row[0] if row else None)
    if place != PLACE:
        return
    # with the rest of a memory all its parts are given up
    parts = json.dumps(parts_of(key, unreadable))
    rows = "SELECT part, text FROM memory_part WHERE cluster=? AND (? OR part IN (SELECT value FROM json_each(?)))"
    for part, text in db.execute(rows, (key, kept, parts)).fetchall():
        _keep(db, place, f"{key}/{part}", at, text)


def _keep(db: sqlite3.Connection, place: str, key: str, at: str, text: str | None) -> bool:
    """Whether it was not there yet."""
    put = (
        "INSERT INTO unreadable (source, key, at, text) SELECT ?1, ?2, ?3, ?4 "
        "WHERE NOT EXISTS (SELECT 1 FROM unreadable WHERE source=?1 AND key=?2)"
    )
    return bool(db.execute(put, (place, key, at, text)).rowcount)
