"""How far this file follows what is journalled elsewhere, in the store that several bastions share."""

from __future__ import annotations

from recoverd.engine.journal_file import JournalFile

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
