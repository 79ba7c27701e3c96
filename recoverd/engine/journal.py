"""The journal: incidents, plans, decisions, step intents and results, and what is remembered of each cluster. SQLite, one writer, nothing is deleted.

One `write` is one transaction, synced to the disk before it returns, so that a step is never carried out that the journal does not know of.
Columns hold what one would ask for with `sqlite3` at 3 a.m., JSON holds the rest.

A row that cannot be read (of a newer version, or damaged) is left out and told, and what it held is kept in `unreadable` before it is written over.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

import structlog

from recoverd.model.codec import dump, load
from recoverd.model.events import Journalled, Note, Remember, SaveDecision, SaveIncident, SavePlan, SaveRecord, StepIntent, StepOutcome
from recoverd.model.memory import Memory
from recoverd.model.plan import Incident, Outcome, Plan, PlanStatus, StepResult, TimelineEntry
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
ADDED = "CREATE TABLE IF NOT EXISTS unreadable (n INTEGER PRIMARY KEY, source TEXT NOT NULL, key TEXT NOT NULL, at TEXT NOT NULL, text TEXT) STRICT"
"""What came after the first version and disturbs no older recoverd."""
PLACES = {
    "record": "SELECT record FROM cluster WHERE name=?",
    "memory": "SELECT memory FROM cluster WHERE name=?",
    "plan": "SELECT json FROM plan WHERE id=?",
    "incident": "SELECT json FROM incident WHERE id=?",
}
"""Where that stands which is written over in its place."""
OPEN = ",".join(f"'{s}'" for s in PlanStatus if s.open)

log = structlog.get_logger()
T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class Saved:
    """What an earlier process left of one cluster. What could not be read is None, or empty, and `trouble` says so."""

    record: Record | None
    memory: Memory
    trouble: tuple[str, ...] = ()


class Journal:
    """The journal in one file. One daemon at a time: a lock beside it keeps a second one out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable: dict[tuple[str, str], str] = {}
        """What could not be read since the start, by its place (`record`, `memory`, `incident`, `plan`, `step`, `note`, `decision`) and key: why."""
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
                self._keep_aside(instruction)
                self._write(instruction)

    def _keep_aside(self, instruction: Journalled) -> None:
        """Keep what cannot be read before it is written over: a recoverd that can read it may come yet."""
        match instruction:
            case SaveRecord(cluster=key):
                place = "record"
            case Remember(cluster=key):
                place = "memory"
            case SavePlan(plan=Plan(id=key)):
                place = "plan"
            case SaveIncident(incident=Incident(id=key)):
                place = "incident"
            case _:
                return
        if (place, key) in self.unreadable:
            row = self._db.execute(PLACES[place], (key,)).fetchone()
            self._db.execute(
                "INSERT INTO unreadable (source, key, at, text) SELECT ?1, ?2, ?3, ?4 "
                "WHERE NOT EXISTS (SELECT 1 FROM unreadable WHERE source=?1 AND key=?2)",
                (place, key, _at(datetime.now(UTC)), row[0] if row else None),
            )

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

    def begin_anew(self, cluster: str, record: Record, memory: Memory, why: str, at: datetime) -> None:
        """Save `record` and `memory` in place of what could not be read, and end what was open on the cluster: nobody carries it on."""
        with self._trouble("written"), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if record.plan is None:
                self._write_off(cluster, why, at)
            for instruction in (SaveRecord(cluster, record), Remember(cluster, memory), Note(cluster, "", TimelineEntry(at, "paused", why))):
                self._keep_aside(instruction)
                self._write(instruction)

    def _write_off(self, cluster: str, why: str, at: datetime) -> None:
        for id in self.open_plans(cluster):
            if plan := self.plan(id):
                self._write(SavePlan(plan.with_status(PlanStatus.FAILED, why)))
            else:
                self._db.execute("UPDATE plan SET status=?, reason=? WHERE id=?", (PlanStatus.FAILED, why, id))
        for id in self.open_incidents(cluster):
            if incident := self.incident(id):
                self._write(SaveIncident(replace(incident, closed_at=at, outcome=Outcome.UNKNOWN)))
            else:
                self._db.execute("UPDATE incident SET closed_at=?, outcome=? WHERE id=?", (_at(at), Outcome.UNKNOWN, id))

    # --- reading ---

    def saved(self, cluster: str) -> Saved:
        """The last saved state of the cluster's machine, and what is remembered of it: nothing for one that was never watched."""
        rows = self._rows("SELECT record, memory FROM cluster WHERE name=?", cluster)
        record, memory = rows[0] if rows else (None, None)
        known = self._load(Record, "record", cluster, record) if record is not None else None
        remembered = self._load(Memory, "memory", cluster, memory) if memory is not None else Memory()
        trouble = [f"its {place} in the journal cannot be read" for place in ("record", "memory") if (place, cluster) in self.unreadable]
        if record is None and (left := self.open_plans(cluster)):
            trouble.append(f"its record is gone from the journal, though plan {', '.join(left)} is open there")
        return Saved(known, remembered or Memory(), tuple(trouble))

    def open_plans(self, cluster: str) -> list[str]:
        """The ids of the plans of the cluster that wait or run, by the column that holds it: those too whose row cannot be read."""
        return [id for (id,) in self._rows(f"SELECT id FROM plan WHERE cluster=? AND status IN ({OPEN}) ORDER BY rowid", cluster)]  # noqa: S608

    def open_incidents(self, cluster: str) -> list[str]:
        """The ids of the incidents of the cluster that are not closed, by the column that holds it."""
        return [id for (id,) in self._rows("SELECT id FROM incident WHERE cluster=? AND closed_at IS NULL ORDER BY rowid", cluster)]

    def incident_ids(self, cluster: str) -> list[str]:
        """Of every incident, and of what plans that were offered without one belong to: a number is given once."""
        return [
            id for (id,) in self._rows("SELECT id FROM incident WHERE cluster=? UNION SELECT incident FROM plan WHERE cluster=?", cluster, cluster)
        ]

    def incidents(self, *, cluster: str | None = None, limit: int = 200) -> list[Incident]:
        """Newest first, each with its timeline."""
        rows = self._rows("SELECT id, json FROM incident WHERE ? IN (cluster, '') ORDER BY opened_at DESC, rowid DESC LIMIT ?", cluster or "", limit)
        return [self._with_timeline(i) for id, text in rows if (i := self._load(Incident, "incident", id, text))]

    def incident(self, id: str) -> Incident | None:
        rows = self._rows("SELECT json FROM incident WHERE id=?", id)
        found = self._load(Incident, "incident", id, rows[0][0]) if rows else None
        return self._with_timeline(found) if found else None

    def plans(self, *, incident: str | None = None, open_only: bool = False, limit: int = 200) -> list[Plan]:
        """Oldest first within `incident`, else newest first."""
        rows = self._rows(
            f"SELECT id, json FROM plan WHERE ? IN (incident, '') {f'AND status IN ({OPEN})' if open_only else ''} "  # noqa: S608
            f"ORDER BY rowid {'ASC' if incident else 'DESC'} LIMIT ?",
            incident or "",
            limit,
        )
        return [p for id, text in rows if (p := self._load(Plan, "plan", id, text))]

    def plan(self, id: str) -> Plan | None:
        rows = self._rows("SELECT json FROM plan WHERE id=?", id)
        return self._load(Plan, "plan", id, rows[0][0]) if rows else None

    def steps(self, plan: str) -> list[StepRow]:
        """In the order in which they were begun; a resumed step stands twice."""
        rows = self._rows("SELECT n, step, undo, intent_at, ended_at, result FROM step WHERE plan=? ORDER BY n", plan)

        def row(index: int, undo: int, intent: str, ended: str | None, result: str | None) -> StepRow:
            return StepRow(index, bool(undo), _time(intent), _time(ended) if ended else None, load(StepResult, result) if result else None)

        return self._each("step", row, rows)

    def decisions(self, plan: str) -> list[SaveDecision]:
        rows = self._rows("SELECT n, approved, by, reason, at FROM decision WHERE plan=? ORDER BY n", plan)
        return self._each("decision", lambda approved, by, reason, at: SaveDecision(plan, bool(approved), by, reason, _time(at)), rows)

    def notes(self, *, cluster: str | None = None, limit: int = 200) -> list[Note]:
        """Newest first."""
        rows = self._rows(
            "SELECT n, cluster, incident, at, event, detail FROM note WHERE ? IN (cluster, '') ORDER BY n DESC LIMIT ?", cluster or "", limit
        )
        return self._each("note", lambda c, incident, at, event, detail: Note(c, incident, TimelineEntry(_time(at), event, detail)), rows)

    def _with_timeline(self, incident: Incident) -> Incident:
        rows = self._rows("SELECT n, at, event, detail FROM note WHERE incident=? ORDER BY n", incident.id)
        timeline = self._each("note", lambda at, event, detail: TimelineEntry(_time(at), event, detail), rows)
        return replace(incident, timeline=tuple(timeline))

    def _load(self, kind: type[T], place: str, key: str, text: str) -> T | None:
        """What the text holds; None, and told once, where it holds no such thing."""
        try:
            return load(kind, text)
        except (ValueError, RecursionError) as error:
            self._left_out(place, key, error)
            return None

    def _each(self, place: str, build: Callable[..., T], rows: list[Any]) -> list[T]:
        """`build` of what follows its number in every row, without those of which nothing can be built."""
        built = []
        for number, *values in rows:
            try:
                built.append(build(*values))
            except (ValueError, TypeError, RecursionError) as error:
                self._left_out(place, str(number), error)
        return built

    def _left_out(self, place: str, key: str, error: Exception) -> None:
        if (place, key) not in self.unreadable:
            why = " ".join(str(error).split())[:300]
            self.unreadable[place, key] = why
            log.warning(f"a row of the journal cannot be read and is left out: {place} {key}", file=str(self.path), error=why)

    def _rows(self, sql: str, *values: object) -> list[Any]:
        with self._trouble("read"):
            return self._db.execute(sql, values).fetchall()

    # --- the file ---

    def _open(self) -> sqlite3.Connection:
        with self._trouble("opened"):
            self.path.touch(mode=0o600)
            # the daemon uses it from one worker thread at a time, never two at once
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
            db.text_factory = lambda text: text.decode(errors="replace")  # a damaged text is one that cannot be read, and not the end of all reading
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
            db.execute(ADDED)
            return db

    @contextmanager
    def _trouble(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError, ValueError) as error:
            raise JournalError(
                f"{self.path} cannot be {what}: {error}. Nothing was done because of it. See that its disk is not full and that recoverd may "
                "write there; if the file itself is damaged, move it aside and start recoverd again. With it go the history, pauses, open plans and "
                "what is remembered of each cluster (known-good manifests, etcd's revision), not the restore points; what a plan had begun on the "
                "machines is taken back by nobody then, so look at them first"
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
        pid = handle.read(32).decode(errors="replace").strip()
        handle.close()
        who = f"another recoverd (process {pid})" if pid.isdigit() else "another recoverd"
        raise JournalError(f"{path} is in use by {who}; only one may run on it (systemctl status recoverd)") from error
    with suppress(OSError):  # whose it is, for the message above; on a full disk it goes without
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n".encode())
        handle.flush()
    return handle


def _at(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
