"""How much of a cluster's history stays in the bastions' etcd: it is small, and every bastion's own file has all that
it has seen.
"""

from __future__ import annotations

from recoverd.store.gateway import Kv, Row, below, delete, made_at
from recoverd.store.keys import Keys
from recoverd.store.tenure import Term

LINES = 500
"""Batches of lines of history, decisions and steps."""
OVER = 100
"""Incidents and plans, each; the newest are those that were written last."""
ASIDE = 1000
"""Rows that could not be read and were written over."""
ASKED = 1000
"""Requests of persons."""
MOST = 100
"""Deletions in one transaction: etcd takes 128."""


class Retention:
    """Of one cluster, by its owner."""

    def __init__(self, kv: Kv, keys: Keys, term: Term) -> None:
        self._kv = kv
        self._keys = keys
        self._term = term

    async def trim(self) -> None:
        """Delete what is too old. Raises `StoreError`."""
        journal, log = self._keys.journal(self._term.cluster), self._keys.log(self._term.cluster)
        places = log, f"{journal}incident/", f"{journal}plan/", self._keys.aside(self._term.cluster)
        lines, incidents, plans, aside = (await self._kv.txn((), [below(p, keys_only=True) for p in places])).found
        when = [made_at(self._keys.owners + self._term.cluster, self._term.revision)]
        gone = [delete(log, lines[-LINES].key)] if len(lines) > LINES else []
        gone += [delete(row.key) for rows in (incidents, plans) for row in _old(rows, OVER)]
        gone += [delete(row.key) for row in _old(aside, ASIDE)]
        if gone:
            await self._kv.txn(when, gone[:MOST])


async def trim_audit(kv: Kv, keys: Keys) -> None:
    """Delete the oldest of what persons have asked for, which is no cluster's. Raises `StoreError`."""
    (rows,) = (await kv.txn((), [below(keys.audit, keys_only=True)])).found
    if gone := _old(rows, ASKED):
        await kv.txn((), [delete(row.key) for row in gone[:MOST]])


def _old(rows: tuple[Row, ...], kept: int) -> list[Row]:
    return sorted(rows, key=lambda row: row.changed)[:-kept]
