"""The journal's table of what persons have asked for: one row a request, refused ones too; nothing is deleted."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

from recoverd.engine.journal_file import JournalFile
from recoverd.engine.journal_rows import Newest, at_text, newest
from recoverd.model.audit import Answer, AuditEntry

COLUMNS = "id, at, by, person, uid, request, cluster, subject, reason, answer, detail"
LONGEST = 2000
"""Characters that are kept of a text that somebody has typed: the journal's disk is not everybody's."""


def write(db: sqlite3.Connection, entry: AuditEntry) -> None:
    """Insert the request, or give the one that is there its answer."""
    db.execute(
        f"INSERT INTO audit ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE "  # noqa: S608
        "SET answer=excluded.answer, detail=excluded.detail",
        (
            entry.id,
            at_text(entry.at),
            entry.by,
            entry.person,
            entry.uid,
            entry.request,
            *(text[:LONGEST] for text in (entry.cluster, entry.subject, entry.reason)),
            entry.answer,
            entry.detail[:LONGEST],
        ),
    )


def rows(file: JournalFile, since: datetime, cluster: str, limit: int | None) -> Newest[Any]:
    """The newest, the oldest of them first: number, then the columns. `cluster` "": of all; of one, also those that
    are about every cluster.
    """
    what = "audit WHERE at >= ? AND ? IN (cluster, '', CASE cluster WHEN '*' THEN ? END)"
    found = newest(file, f"n, {COLUMNS}", what, "n DESC", limit, at_text(since), cluster, cluster)
    return Newest(found[::-1], found.older)


def entry(id: str, at: str, *rest: Any) -> AuditEntry:
    """One row without its number. Raises `ValueError` or `TypeError` for what is none."""
    by, person, uid, request, cluster, subject, reason, answer, detail = rest
    when = datetime.fromisoformat(at)
    return AuditEntry(id, when, by, person, uid, request, cluster, subject, reason, Answer(answer), detail)
