"""The journal's file: its lock, its schema, one connection, and what an operator is told when it cannot be used."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

VERSION = 2
"""Since what is remembered of a cluster is kept in parts. A file of format 1 gets to it with the first of them."""
SCHEMA = """
CREATE TABLE cluster (name TEXT PRIMARY KEY, record TEXT, memory TEXT) STRICT;
CREATE TABLE incident (id TEXT PRIMARY KEY, cluster TEXT NOT NULL, state TEXT NOT NULL, opened_at TEXT NOT NULL,
    closed_at TEXT, outcome TEXT, summary TEXT NOT NULL, json TEXT NOT NULL) STRICT;
CREATE TABLE note (n INTEGER PRIMARY KEY, cluster TEXT NOT NULL, incident TEXT NOT NULL, at TEXT NOT NULL,
    event TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE INDEX note_incident ON note (incident);
CREATE TABLE plan (id TEXT PRIMARY KEY, incident TEXT NOT NULL, cluster TEXT NOT NULL, playbook TEXT NOT NULL,
    status TEXT NOT NULL, created_at TEXT NOT NULL, reason TEXT NOT NULL, json TEXT NOT NULL) STRICT;
CREATE INDEX plan_incident ON plan (incident);
CREATE TABLE decision (n INTEGER PRIMARY KEY, plan TEXT NOT NULL, approved INTEGER NOT NULL, by TEXT NOT NULL,
    reason TEXT NOT NULL, at TEXT NOT NULL) STRICT;
CREATE TABLE step (n INTEGER PRIMARY KEY, plan TEXT NOT NULL, step INTEGER NOT NULL, undo INTEGER NOT NULL,
    intent_at TEXT NOT NULL, ended_at TEXT, ok INTEGER, result TEXT) STRICT;
CREATE INDEX step_plan ON step (plan);
"""
ADDED = (
    "CREATE TABLE IF NOT EXISTS unreadable (n INTEGER PRIMARY KEY, source TEXT NOT NULL, key TEXT NOT NULL, at TEXT "
    "NOT NULL, text TEXT) STRICT",
    "CREATE TABLE IF NOT EXISTS audit (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at TEXT NOT NULL, by TEXT NOT "
    "NULL, person INTEGER, uid INTEGER NOT NULL, request TEXT NOT NULL, cluster TEXT NOT NULL, subject TEXT NOT NULL, "
    "reason TEXT NOT NULL, answer TEXT NOT NULL, detail TEXT NOT NULL) STRICT",
    "CREATE INDEX IF NOT EXISTS audit_at ON audit (at)",
    "CREATE TABLE IF NOT EXISTS mirror (cluster TEXT PRIMARY KEY, store TEXT NOT NULL, revision INTEGER NOT NULL) "
    "STRICT",
    "CREATE TABLE IF NOT EXISTS memory_part (cluster TEXT NOT NULL, part TEXT NOT NULL, text TEXT NOT NULL, "
    "PRIMARY KEY (cluster, part)) STRICT",
    "CREATE TABLE IF NOT EXISTS passed_by (cluster TEXT NOT NULL, key TEXT NOT NULL, why TEXT NOT NULL, "
    "PRIMARY KEY (cluster, key)) STRICT",
)
"""What came after the first version and disturbs no older recoverd."""


class JournalError(Exception):
    """The journal cannot be opened, read or written; the text names the file and says what to do."""


class JournalFile:
    """One file and the lock beside it, which keeps a second daemon out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.turn = threading.RLock()
        """Held for as long as what is read or written belongs together."""
        self._lock = _exclusive(path)
        try:
            self.db = self._open()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        with self.turn:
            self.db.close()
            self._lock.close()

    @contextmanager
    def transaction(self, undone: Callable[[], None] = lambda: None) -> Iterator[sqlite3.Connection]:
        """All that is written within is on the disk at its end, or nothing of it is and `JournalError` is raised;
        `undone` is called then, before anybody else's turn.
        """
        with self.turn:
            try:
                with self._trouble("written"), self.db:
                    self.db.execute("BEGIN IMMEDIATE")
                    yield self.db
            except BaseException:
                undone()
                raise

    def rows(self, sql: str, *values: object) -> list[Any]:
        with self.turn, self._trouble("read"):
            return self.db.execute(sql, values).fetchall()

    def _open(self) -> sqlite3.Connection:
        with self._trouble("opened"):
            self.path.touch(mode=0o600)
            # threads use it one after another (`_turn`): a task that was cancelled leaves its thread at work
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
            db.text_factory = lambda text: text.decode(
                errors="replace"
            )  # a damaged text is one that cannot be read, and not the end of all reading
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise JournalError(
                    f"{self.path} was written by a newer recoverd (format {version}, this one knows "
                    f"{VERSION}); install that one again"
                )
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            if version == 0:
                db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
            for statement in ADDED:
                db.execute(statement)
            return db

    @contextmanager
    def _trouble(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError, ValueError) as error:
            raise JournalError(
                f"{self.path} cannot be {what}: {error}. Nothing was done because of it. See that its disk is not "
                "full and that recoverd may "
                "write there; if the file itself is damaged, move it aside and start recoverd again. With it go the "
                "history, pauses, open plans and "
                "what is remembered of each cluster (known-good manifests, etcd's revision), not the restore points; "
                "what a plan had begun on the "
                "machines is taken back by nobody then, so look at them first"
            ) from error


def _exclusive(path: Path) -> IO[bytes]:
    """Hold a lock beside the journal for as long as it is open."""
    file = path.with_name(path.name + ".lock")
    try:
        handle = os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as error:
        raise JournalError(
            f"{file} cannot be made: {error}; recoverd must be able to write in {path.parent}"
        ) from error
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
