"""How far this file follows what is journalled elsewhere, in the store that several bastions share, and what of that it
has passed by, since it cannot be read here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from recoverd.engine.journal_file import JournalFile
from recoverd.model.audit import EVERY
from recoverd.model.events import Journalled, Remember, RememberPart, SaveAudit, SaveIncident, SavePlan, SaveRecord

FOLLOW = (
    "INSERT INTO mirror VALUES (?,?,?) ON CONFLICT (cluster) DO UPDATE "
    "SET store=excluded.store, revision=excluded.revision"
)


def reached(file: JournalFile, cluster: str, store: str) -> int:
    """The revision of the store up to which the file has what was journalled of the cluster; 0: it has nothing of it,
    or what another store held.
    """
    rows = file.rows("SELECT revision FROM mirror WHERE cluster=? AND store=?", cluster, store)
    return int(rows[0][0]) if rows else 0


def furthest(file: JournalFile, store: str) -> int:
    """The furthest revision of the store that the file has of any cluster; 0: it has nothing of it."""
    ((revision,),) = file.rows("SELECT max(revision) FROM mirror WHERE store=?", store)
    return int(revision or 0)


def cluster_of(instruction: Journalled) -> str:
    """The cluster whose journal it belongs to; `EVERY` for what persons have asked for, which is no cluster's; "" for
    what names a plan only.
    """
    match instruction:
        case SaveAudit():
            return EVERY
        case SaveIncident(incident=incident):
            return incident.cluster
        case SavePlan(plan=plan):
            return plan.cluster
        case _:
            return str(getattr(instruction, "cluster", ""))


def placed(instruction: Journalled) -> str:
    """What its row is called in a store, below all that is journalled of the cluster; "" for what only comes."""
    match instruction:
        case SaveRecord():
            return "record"
        case Remember():
            return "memory"
        case RememberPart(part=part):
            return f"memory/{part}" if part else "memory"
        case SaveIncident(incident=incident):
            return f"incident/{incident.id}"
        case SavePlan(plan=plan):
            return f"plan/{plan.id}"
        case SaveAudit(entry=entry):
            return entry.id
        case _:
            return ""


class PassedBy:
    """Rows of a store that could not be read when they were come to: what this file has in their place is older, or
    nothing. They are asked for again, and gone from here once they are read, written over or deleted.
    """

    def __init__(self, file: JournalFile) -> None:
        self._file = file
        self.why: dict[tuple[str, str], str] = {}
        """By cluster and name of the row. Not to be written to."""
        self.reread()

    def reread(self) -> None:
        """Ask the file itself, as after a transaction that was rolled back."""
        rows = self._file.rows("SELECT cluster, key, why FROM passed_by ORDER BY cluster, key")
        self.why = {(cluster, key): why for cluster, key, why in rows}

    def of(self, cluster: str) -> dict[str, str]:
        """Why each row of the cluster cannot be read, by its name."""
        return {key: why for (of, key), why in self.why.items() if of == cluster}

    def places(self) -> list[str]:
        """The place of each of them, as the journal's own."""
        kinds = [key.partition("/")[0] for _, key in list(self.why)]
        return [
            k if k in ("record", "memory", "incident", "plan") else "note" if k == "log" else "audit" for k in kinds
        ]

    # within a transaction

    def add(self, db: sqlite3.Connection, cluster: str, rows: Mapping[str, str]) -> None:
        for key, why in rows.items():
            db.execute("INSERT OR REPLACE INTO passed_by VALUES (?,?,?)", (cluster, key, why))
            self.why[cluster, key] = why

    def drop(self, db: sqlite3.Connection, cluster: str, key: str) -> None:
        if self.why.pop((cluster, key), None) is not None:
            db.execute("DELETE FROM passed_by WHERE cluster=? AND key=?", (cluster, key))

    def written(self, db: sqlite3.Connection, instruction: Journalled) -> None:
        """What the instruction has written stands now."""
        if not self.why:
            return
        cluster, name = cluster_of(instruction), placed(instruction)
        self.drop(db, cluster, name)
        if isinstance(instruction, Remember):
            for key in [key for key in self.of(cluster) if key.startswith(f"{name}/")]:
                self.drop(db, cluster, key)
