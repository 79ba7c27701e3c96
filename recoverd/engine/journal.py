"""The journal: incidents, plans, decisions, step intents and results, what persons asked for, and what is remembered of
each cluster. SQLite, one writer, nothing is deleted.

One `write` is one transaction, synced to the disk before it returns, so that a step is never carried out that the
journal does not know of. Columns hold what one would ask for with `sqlite3` at 3 a.m., JSON holds the rest. What is
remembered is in parts (`recoverd.model.memory_parts`), of which those are written that have changed.

A row that cannot be read (of a newer version, or damaged) is left out and told, and what it held is kept in
`unreadable` before it is written over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from recoverd.engine import journal_audit, journal_mirror
from recoverd.engine.journal_aside import Unreadable, keep_aside
from recoverd.engine.journal_file import JournalFile
from recoverd.engine.journal_memory import PLACE, MemoryRows
from recoverd.engine.journal_rows import Newest, StepRow, at_text, incident_row, newest, time_of
from recoverd.model.audit import AuditEntry
from recoverd.model.codec import dump, load
from recoverd.model.events import (
    Journalled,
    Note,
    Remember,
    RememberPart,
    SaveAudit,
    SaveDecision,
    SaveIncident,
    SavePlan,
    SaveRecord,
    StepIntent,
    StepOutcome,
)
from recoverd.model.history import History
from recoverd.model.memory import Memory
from recoverd.model.memory_parts import joined
from recoverd.model.plan import Incident, Outcome, Plan, PlanStatus, StepResult, TimelineEntry
from recoverd.model.record import Record
from recoverd.model.text import some

NAMED = 5
"""Parts of a memory that are named where more cannot be read."""
OPEN = ",".join(f"'{s}'" for s in PlanStatus if s.open)

T = TypeVar("T")


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
        self._file = JournalFile(path)
        self._memories = MemoryRows(self._file)
        self.unreadable = Unreadable()
        self.passed = journal_mirror.PassedBy(self._file)

    def close(self) -> None:
        self._file.close()

    # --- writing ---

    def write(self, instructions: Sequence[Journalled]) -> None:
        """Write all of them in one transaction, or none and raise `JournalError`."""
        if not instructions:
            return
        with self._file.transaction(self._undone):
            for instruction in instructions:
                self._write(instruction)
        self.unreadable.written(instructions)

    def follow(
        self,
        store: str,
        cluster: str,
        revision: int,
        instructions: Sequence[Journalled],
        passed: Mapping[str, str] | None = None,
        there: Collection[str] | None = None,
    ) -> None:
        """Write what was journalled of the cluster in the store at the revision; nothing where the file has it, but
        what is `there` in its place once more. `passed`: rows of then that cannot be read, and why.
        """
        with self._file.transaction(self._undone) as db:
            if there is None and journal_mirror.reached(self._file, cluster, store) >= revision:
                return
            for instruction in instructions:
                self._write(instruction)
            for key in there or ():
                self.passed.drop(db, cluster, key)
            self.passed.add(db, cluster, passed or {})
            if there is None:
                db.execute(journal_mirror.FOLLOW, (cluster, store, revision))
        self.unreadable.written(instructions)

    def places(self) -> list[str]:
        """The place of each row that cannot be read, here and in the store that is followed."""
        return [place for place, _ in list(self.unreadable)] + self.passed.places()

    def _undone(self) -> None:
        self._memories.forget()
        self.passed.reread()

    def followed(self, store: str, cluster: str = "") -> int:
        """`journal_mirror.reached`, or the furthest of all clusters."""
        file = self._file
        return journal_mirror.reached(file, cluster, store) if cluster else journal_mirror.furthest(file, store)

    def _write(self, instruction: Journalled) -> None:
        self.passed.written(self._file.db, instruction)
        if self.unreadable:
            keep_aside(self._file.db, instruction, self.unreadable, str(at_text(datetime.now(UTC))))
        self._insert(instruction)

    def _insert(self, instruction: Journalled) -> None:
        run = self._file.db.execute
        match instruction:
            case SaveIncident(incident=i):
                run(
                    "INSERT INTO incident VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE "
                    "SET state=excluded.state, "
                    "closed_at=excluded.closed_at, outcome=excluded.outcome, "
                    "summary=excluded.summary, json=excluded.json",
                    incident_row(i),
                )
            case Note(cluster=cluster, incident=incident, entry=e):
                run(
                    "INSERT INTO note (cluster, incident, at, event, detail) VALUES (?,?,?,?,?)",
                    (cluster, incident, at_text(e.at), e.event, e.detail),
                )
            case SavePlan(plan=p):
                run(
                    "INSERT INTO plan VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET "
                    "status=excluded.status, reason=excluded.reason, "
                    "json=excluded.json",
                    (p.id, p.incident, p.cluster, p.playbook, p.status, at_text(p.created_at), p.reason, dump(p)),
                )
            case SaveDecision(plan=plan, approved=approved, by=by, reason=reason, at=at):
                run(
                    "INSERT INTO decision (plan, approved, by, reason, at) VALUES (?,?,?,?,?)",
                    (plan, approved, by, reason, at_text(at)),
                )
            case StepIntent(plan=plan, index=index, undo=undo, at=at):
                run("INSERT INTO step (plan, step, undo, intent_at) VALUES (?,?,?,?)", (plan, index, undo, at_text(at)))
            case StepOutcome(plan=plan, index=index, undo=undo, at=at, result=result):
                run(
                    "UPDATE step SET ended_at=?, ok=?, result=? WHERE n = (SELECT max(n) FROM step WHERE "
                    "plan=? AND step=? AND undo=?)",
                    (at_text(at), result.ok, dump(result), plan, index, undo),
                )
            case Remember(cluster=cluster, memory=memory):
                self._memories.write(cluster, memory)
            case RememberPart(cluster=cluster, part=part, text=text):
                self._memories.write_part(cluster, part, text)
            case SaveRecord(cluster=cluster, record=record):
                run(
                    "INSERT INTO cluster (name, record) VALUES (?,?) ON CONFLICT (name) DO UPDATE "
                    "SET record=excluded.record",
                    (cluster, dump(record)),
                )
            case SaveAudit(entry=entry):
                journal_audit.write(self._file.db, entry)

    def begin_anew(self, cluster: str, record: Record, memory: Memory, why: str, at: datetime) -> None:
        """Save `record` and `memory` in place of what could not be read, and end what was open on the
        cluster: nobody carries it on.
        """
        self._memories.forget()  # what this process has written there is not what stands there
        with self._file.transaction(self._undone):
            if record.plan is None:
                self._write_off(cluster, why, at)
            for instruction in (
                SaveRecord(cluster, record),
                Remember(cluster, memory),
                Note(cluster, "", TimelineEntry(at, History.PAUSED, why)),
            ):
                self._write(instruction)

    def _write_off(self, cluster: str, why: str, at: datetime) -> None:
        for id in self.open_plans(cluster):
            if plan := self.plan(id):
                self._write(SavePlan(plan.with_status(PlanStatus.FAILED, why)))
            else:
                self._file.db.execute("UPDATE plan SET status=?, reason=? WHERE id=?", (PlanStatus.FAILED, why, id))
        for id in self.open_incidents(cluster):
            if incident := self.incident(id):
                self._write(SaveIncident(replace(incident, closed_at=at, outcome=Outcome.UNKNOWN)))
            else:
                self._file.db.execute(
                    "UPDATE incident SET closed_at=?, outcome=? WHERE id=?", (at_text(at), Outcome.UNKNOWN, id)
                )

    # --- reading ---

    def names_of(self, planes: Collection[str]) -> list[str]:
        """The names under which any of these control planes, by address, was ever watched."""
        rows = self._file.rows(
            "SELECT DISTINCT name FROM cluster, json_each(CASE WHEN json_valid(record) THEN record ELSE '{}' END, "
            "'$.planes') AS plane WHERE plane.value IN (SELECT value FROM json_each(?)) ORDER BY name",
            json.dumps([*planes]),
        )
        return [name for (name,) in rows]

    def saved(self, cluster: str) -> Saved:
        """The last saved state of the cluster's machine, and what is remembered of it: nothing
        for one that was never watched.
        """
        with self._file.turn:
            rows = self._file.rows("SELECT record, memory FROM cluster WHERE name=?", cluster)
            parts = self._memories.parts(cluster)
        record, memory = rows[0] if rows else (None, None)
        passed = self.passed.of(cluster)
        known = self._load(Record, "record", cluster, record) if record is not None else None
        rest = self._load(Memory, PLACE, cluster, memory) if memory is not None else Memory()
        trouble = [
            f"its {place} in the journal cannot be read"
            for place, text, found in (("record", record, known), (PLACE, memory, rest))
            if text is not None and found is None
        ]
        remembered, wrong = joined(rest, parts) if rest else (Memory(), {})
        for part, why in wrong.items():
            self._left_out(PLACE, f"{cluster}/{part}", ValueError(why))
        if wrong:
            trouble.append(f"of its memory in the journal {some(list(wrong), NAMED)} cannot be read")
        # what this file has in their place is older than what was done since
        if "record" in passed:
            known = None
        if lost := [key for key in passed if key.startswith(("record", PLACE))]:
            trouble.append(f"in the bastions' etcd its {some(lost, NAMED)} cannot be read here: {passed[lost[0]]}")
        if record is None and not lost and (left := self.open_plans(cluster)):
            trouble.append(f"its record is gone from the journal, though plan {', '.join(left)} is open there")
        return Saved(known, remembered, tuple(trouble))

    def open_plans(self, cluster: str) -> list[str]:
        """The ids of the plans of the cluster that wait or run, by the column that holds it:
        those too whose row cannot be read.
        """
        return [
            id
            for (id,) in self._file.rows(
                f"SELECT id FROM plan WHERE cluster=? AND status IN ({OPEN}) ORDER BY rowid",  # noqa: S608
                cluster,
            )
        ]

    def open_incidents(self, cluster: str) -> list[str]:
        """The ids of the incidents of the cluster that are not closed, by the column that holds it."""
        return [
            id
            for (id,) in self._file.rows(
                "SELECT id FROM incident WHERE cluster=? AND closed_at IS NULL ORDER BY rowid", cluster
            )
        ]

    def incident_ids(self, cluster: str) -> list[str]:
        """The ids of every incident, and of what plans without one belong to: a number is given once."""
        return [
            id
            for (id,) in self._file.rows(
                "SELECT id FROM incident WHERE cluster=? UNION SELECT incident FROM plan WHERE cluster=?",
                cluster,
                cluster,
            )
        ]

    def incidents(
        self, *, cluster: str | None = None, closed_since: datetime | None = None, limit: int | None = None
    ) -> Newest[Incident]:
        """Newest first, each with its timeline; only those that were closed since then, where a time is given."""
        what = "incident WHERE ? IN (cluster, '') AND coalesce(closed_at, '') >= ?"
        wanted = cluster or "", at_text(closed_since) or ""
        rows = newest(self._file, "id, json", what, "opened_at DESC, rowid DESC", limit, *wanted)
        found = (self._load(Incident, "incident", id, text) for id, text in rows)
        return Newest((self._with_timeline(i) for i in found if i), rows.older)

    def ids_of(self, table: str, limit: int = 5000) -> list[str]:
        """The ids of the newest plans or incidents, whether their rows can be read or not."""
        return [id for (id,) in self._file.rows(f"SELECT id FROM {table} ORDER BY rowid DESC LIMIT ?", limit)]  # noqa: S608

    def incident(self, id: str) -> Incident | None:
        rows = self._file.rows("SELECT json FROM incident WHERE id=?", id)
        found = self._load(Incident, "incident", id, rows[0][0]) if rows else None
        return self._with_timeline(found) if found else None

    def plans(
        self,
        *,
        incident: str | None = None,
        of: str | None = None,
        open_only: bool = False,
        status: str = "",
        limit: int | None = None,
    ) -> Newest[Plan]:
        """Oldest first within `incident`, else newest first; only those `of` a cluster or
        an incident, and of a `status`, where one is given.
        """
        among = f"AND status IN ({OPEN})" if open_only else ""
        what = f"plan WHERE ? IN (incident, '') AND ? IN (cluster, incident, '') AND ? IN (status, '') {among}"
        order = f"rowid {'ASC' if incident else 'DESC'}"
        rows = newest(self._file, "id, json", what, order, limit, incident or "", of or "", status)
        return Newest((p for id, text in rows if (p := self._load(Plan, "plan", id, text))), rows.older)

    def plan(self, id: str) -> Plan | None:
        rows = self._file.rows("SELECT json FROM plan WHERE id=?", id)
        return self._load(Plan, "plan", id, rows[0][0]) if rows else None

    def steps(self, plan: str) -> list[StepRow]:
        """In the order in which they were begun; a resumed step stands twice."""
        rows = self._file.rows(
            "SELECT n, step, undo, intent_at, ended_at, result FROM step WHERE plan=? ORDER BY n", plan
        )

        def row(index: int, undo: int, intent: str, ended: str | None, result: str | None) -> StepRow:
            return StepRow(
                index,
                bool(undo),
                time_of(intent),
                time_of(ended) if ended else None,
                load(StepResult, result) if result else None,
            )

        return self._each("step", row, rows)

    def decisions(self, plan: str) -> list[SaveDecision]:
        rows = self._file.rows("SELECT n, approved, by, reason, at FROM decision WHERE plan=? ORDER BY n", plan)
        return self._each(
            "decision",
            lambda approved, by, reason, at: SaveDecision(plan, bool(approved), by, reason, time_of(at)),
            rows,
        )

    def notes(self, *, cluster: str | None = None, event: str | None = None, limit: int = 200) -> list[Note]:
        """Lines of history, the newest first."""
        rows = self._file.rows(
            "SELECT n, cluster, incident, at, event, detail FROM note WHERE ? IN (cluster, '') AND ? IN (event, "
            "'') ORDER BY n DESC LIMIT ?",
            cluster or "",
            event or "",
            limit,
        )
        return self._each(
            "note",
            lambda c, incident, at, event, detail: Note(c, incident, TimelineEntry(time_of(at), event, detail)),
            rows,
        )

    def audit(self, since: datetime, cluster: str = "", limit: int | None = None) -> Newest[AuditEntry]:
        """What persons have asked for since then, the oldest first, of the newest so many."""
        rows = journal_audit.rows(self._file, since, cluster, limit)
        return Newest(self._each("audit", journal_audit.entry, rows), rows.older)

    def _with_timeline(self, incident: Incident) -> Incident:
        rows = self._file.rows("SELECT n, at, event, detail FROM note WHERE incident=? ORDER BY n", incident.id)
        timeline = self._each("note", lambda at, event, detail: TimelineEntry(time_of(at), event, detail), rows)
        return replace(incident, timeline=tuple(timeline))

    def _load(self, kind: type[T], place: str, key: str, text: str) -> T | None:
        """What the text holds; None, and told once, where it holds no such thing."""
        try:
            found = load(kind, text)
        except (ValueError, RecursionError) as error:
            self._left_out(place, key, error)
            return None
        self.unreadable.was_read(place, key)
        return found

    def _each(self, place: str, build: Callable[..., T], rows: list[Any]) -> list[T]:
        """`build` of what follows its number in every row, without those of which nothing can be built."""
        built = []
        for number, *values in rows:
            try:
                built.append(build(*values))
                self.unreadable.was_read(place, str(number))
            except (ValueError, TypeError, RecursionError) as error:
                self._left_out(place, str(number), error)
        return built

    def _left_out(self, place: str, key: str, error: Exception) -> None:
        self.unreadable.left_out(place, key, error, self.path)
