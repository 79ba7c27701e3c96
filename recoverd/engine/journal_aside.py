"""What of the journal cannot be read, kept in `unreadable` before it is written over: a recoverd that can read it may
come yet.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from recoverd.engine.journal_memory import PLACE, parts_of
from recoverd.model.events import Journalled, Remember, RememberPart, SaveIncident, SavePlan, SaveRecord
from recoverd.model.plan import Incident, Plan

PLACES = {
    "record": "SELECT record FROM cluster WHERE name=?",
    PLACE: "SELECT memory FROM cluster WHERE name=?",
    "plan": "SELECT json FROM plan WHERE id=?",
    "incident": "SELECT json FROM incident WHERE id=?",
}
"""Where that stands which is written over in its place."""


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
