"""The journal: incidents, plans, decisions, step intents and results, and what is remembered of each cluster. SQLite, one writer, nothing is deleted.

One `write` is one transaction, synced to the disk before it returns, so that a step is never carried out that the journal does not know of.
Columns hold what one would ask for with `sqlite3` at 3 a.m., JSON holds the rest.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from recoverd.codec import dump, load
from recoverd.events import Journalled, Note, Remember, SaveDecision, SaveIncident, SavePlan, SaveRecord, StepIntent, StepOutcome
from recoverd.model.memory import Memory
from recoverd.model.plan import Incident, Plan, PlanStatus, StepResult, TimelineEntry
from recoverd.model.record import Record

VERSION = 1
SCHEMA = """
CREATE TABLE cluster (name TEXT PRIMARY KEY, record TEXT, memory TEXT) STRICT;
CREATE TABLE incident (id TEXT PRIMARY KEY, cluster TEXT NOT NULL, state TEXT NOT NULL, opened_at TEXT NOT NULL, closed_at TEXT, outcome TEXT,
    summary TEXT NOT NULL, json TEXT NOT NULL) STRICT;
CREATE TABLE note (n INTEGER PRIMARY KEY, cluster TEXT NOT NULL, incident TEXT NOT NULL, at TEXT NOT NULL,
    event TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE INDEX note_incident ON note (incident);
CREATE TABLE plan (id TEXT PRIMARY KEY, incident TEXT NOT NULL, cluster TEXT NOT NULL, playbook TEXT NOT NULL, status TEXT NOT NULL,
    created_at TEXT NOT NULL, reason TEXT NOT NULL, json TEXT NOT NULL) STRICT;
CREATE INDEX plan_incident ON plan (incident);
CREATE TABLE decision (n INTEGER PRIMARY KEY, plan TEXT NOT NULL, approved INTEGER NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL,
    at TEXT NOT NULL) STRICT;
CREATE TABLE step (n INTEGER PRIMARY KEY, plan TEXT NOT NULL, step INTEGER NOT NULL, undo INTEGER NOT NULL, intent_at TEXT NOT NULL,
    ended_at TEXT, ok INTEGER, result TEXT) STRICT;
CREATE INDEX step_plan ON step (plan);
"""


class JournalError(Exception):
    """The journal cannot be opened, read or written; the text names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """One carrying out of one step, or of its undo. `ended_at` and `result` are None while it is in flight, or when a crash came between."""

    index: int
    undo: bool
    intent_at: datetime
    ended_at: datetime | None
    result: StepResult | None


class Journal:
    """The journal in one file. One daemon at a time: a lock beside it keeps a second one out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = _exclusive(path)
        try:
            self._db = self._open()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    # --- writing ---

    def write(self, instructions: Sequence[Journalled]) -> None:
        """Write all of them in one transaction, or none and raise `JournalError`."""
        if not instructions:
            return
        with self._trouble("written"), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for instruction in instructions:
                self._write(instruction)

    def _write(self, instruction: Journalled) -> None:
        run = self._db.execute
        match instruction:
            case SaveIncident(incident=i):
                run(
                    "INSERT INTO incident VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET state=excluded.state, "
                    "closed_at=excluded.closed_at, outcome=excluded.outcome, summary=excluded.summary, json=excluded.json",
                    (i.id, i.cluster, i.state, _at(i.opened_at), _at(i.closed_at), i.outcome, i.summary, dump(replace(i, timeline=()))),
                )
            case Note(cluster=cluster, incident=incident, entry=e):
                run("INSERT INTO note (cluster, incident, at, event, detail) VALUES (?,?,?,?,?)", (cluster, incident, _at(e.at), e.event, e.detail))
            case SavePlan(plan=p):
                run(
                    "INSERT INTO plan VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET status=excluded.status, reason=excluded.reason, "
                    "json=excluded.json",
                    (p.id, p.incident, p.cluster, p.playbook, p.status, _at(p.created_at), p.reason, dump(p)),
                )
            case SaveDecision(plan=plan, approved=approved, by=by, reason=reason, at=at):
                run("INSERT INTO decision (plan, approved, by, reason, at) VALUES (?,?,?,?,?)", (plan, approved, by, reason, _at(at)))
            case StepIntent(plan=plan, index=index, undo=undo, at=at):
                run("INSERT INTO step (plan, step, undo, intent_at) VALUES (?,?,?,?)", (plan, index, undo, _at(at)))
            case StepOutcome(plan=plan, index=index, undo=undo, at=at, result=result):
                run(
                    "UPDATE step SET ended_at=?, ok=?, result=? WHERE n = (SELECT max(n) FROM step WHERE plan=? AND step=? AND undo=?)",
                    (_at(at), result.ok, dump(result), plan, index, undo),
                )
            case Remember(cluster=cluster, memory=memory):
                run(
                    "INSERT INTO cluster (name, memory) VALUES (?,?) ON CONFLICT (name) DO UPDATE SET memory=excluded.memory", (cluster, dump(memory))
                )
            case SaveRecord(cluster=cluster, record=record):
                run(
                    "INSERT INTO cluster (name, record) VALUES (?,?) ON CONFLICT (name) DO UPDATE SET record=excluded.record", (cluster, dump(record))
                )

    # --- reading ---

    def records(self) -> dict[str, Record]:
        """The last saved state of every cluster's machine."""
        return {name: load(Record, text) for name, text in self._rows("SELECT name, record FROM cluster WHERE record IS NOT NULL")}

    def memory(self, cluster: str) -> Memory:
        """What is remembered of the cluster; an empty memory for one that was never seen healthy."""
        rows = self._rows("SELECT memory FROM cluster WHERE name=? AND memory IS NOT NULL", cluster)
        return load(Memory, rows[0][0]) if rows else Memory()

    def incidents(self, *, cluster: str | None = None, limit: int = 200) -> list[Incident]:
        """Newest first, each with its timeline."""
        rows = self._rows("SELECT json FROM incident WHERE ? IN (cluster, '') ORDER BY opened_at DESC, rowid DESC LIMIT ?", cluster or "", limit)
        return [self._with_timeline(load(Incident, text)) for (text,) in rows]

    def incident(self, id: str) -> Incident | None:
        rows = self._rows("SELECT json FROM incident WHERE id=?", id)
        return self._with_timeline(load(Incident, rows[0][0])) if rows else None

    def plans(self, *, incident: str | None = None, open_only: bool = False, limit: int = 200) -> list[Plan]:
        """Oldest first within `incident`, else newest first."""
        wanted = [s for s in PlanStatus if s.open] if open_only else list(PlanStatus)
        marks = ",".join("?" * len(wanted))
        rows = self._rows(
            f"SELECT json FROM plan WHERE ? IN (incident, '') AND status IN ({marks}) ORDER BY rowid {'ASC' if incident else 'DESC'} LIMIT ?",  # noqa: S608
            incident or "",
            *wanted,
            limit,
        )
        return [load(Plan, text) for (text,) in rows]

    def plan(self, id: str) -> Plan | None:
        rows = self._rows("SELECT json FROM plan WHERE id=?", id)
        return load(Plan, rows[0][0]) if rows else None

    def steps(self, plan: str) -> list[StepRow]:
        """In the order in which they were begun; a resumed step stands twice."""
        rows = self._rows("SELECT step, undo, intent_at, ended_at, result FROM step WHERE plan=? ORDER BY n", plan)
        return [
            StepRow(index, bool(undo), _time(intent), _time(ended) if ended else None, load(StepResult, result) if result else None)
            for index, undo, intent, ended, result in rows
        ]

    def decisions(self, plan: str) -> list[SaveDecision]:
        rows = self._rows("SELECT approved, by, reason, at FROM decision WHERE plan=? ORDER BY n", plan)
        return [SaveDecision(plan, bool(approved), by, reason, _time(at)) for approved, by, reason, at in rows]

    def notes(self, *, cluster: str | None = None, limit: int = 200) -> list[Note]:
        """Newest first."""
        rows = self._rows(
            "SELECT cluster, incident, at, event, detail FROM note WHERE ? IN (cluster, '') ORDER BY n DESC LIMIT ?", cluster or "", limit
        )
        return [Note(c, incident, TimelineEntry(_time(at), event, detail)) for c, incident, at, event, detail in rows]

    def _with_timeline(self, incident: Incident) -> Incident:
        rows = self._rows("SELECT at, event, detail FROM note WHERE incident=? ORDER BY n", incident.id)
        return replace(incident, timeline=tuple(TimelineEntry(_time(at), event, detail) for at, event, detail in rows))

    def _rows(self, sql: str, *values: object) -> list[Any]:
        with self._trouble("read"):
            return self._db.execute(sql, values).fetchall()

    # --- the file ---

    def _open(self) -> sqlite3.Connection:
        with self._trouble("opened"):
            self.path.touch(mode=0o600)
            # the daemon uses it from one worker thread at a time, never two at once
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise JournalError(
                    f"{self.path} was written by a newer recoverd (format {version}, this one knows {VERSION}); install that one again"
                )
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            if version == 0:
                db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
            return db

    @contextmanager
    def _trouble(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError, ValueError) as error:
            raise JournalError(
                f"{self.path} cannot be {what}: {error}. Nothing was done because of it. See that its disk is not full and that recoverd may "
                "write there; if the file itself is damaged, move it aside (with it go the history, the known-good manifests and open plans) "
                "and start recoverd again"
            ) from error


def _exclusive(path: Path) -> IO[bytes]:
    """Hold a lock beside the journal for as long as it is open."""
    file = path.with_name(path.name + ".lock")
    try:
        handle = os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as error:
        raise JournalError(f"{file} cannot be made: {error}; recoverd must be able to write in {path.parent}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise JournalError(f"{path} is in use by another recoverd; only one may run on it (systemctl status recoverd)") from error
    return handle


def _at(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
