"""Where every cluster's restore points are: each bastion tells which it has on its own disk, so that all know whose
disk to look on when its owner is gone. Nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from recoverd.model.codec import dump, load
from recoverd.model.points import RestorePoint
from recoverd.store.gateway import Kv, below, put
from recoverd.store.keys import Keys
from recoverd.store.rows import pressed, unpressed

EVERY = 15.0
"""Seconds between two looks at what others have told."""


class Places:
    """What this bastion tells of its restore points, and what the others have told."""

    def __init__(self, kv: Kv, keys: Keys, me: str) -> None:
        self._kv = kv
        self._keys = keys
        self._me = me
        self._told: dict[str, tuple[RestorePoint, ...]] = {}
        self._known: dict[str, dict[str, tuple[RestorePoint, ...]]] = {}
        self._due = 0.0

    def known(self, cluster: str, here: Iterable[RestorePoint]) -> list[RestorePoint]:
        """Every point of the cluster, the oldest first: those `here`, and those that others have told of. One that
        several have, as in a directory that they share, stands once.
        """
        of = self._known.get(cluster, {})
        found = {p.id: replace(p, bastion=who) for who, points in of.items() if who != self._me for p in points}
        found |= {p.id: replace(p, bastion=self._me) for p in here}
        return sorted(found.values(), key=lambda p: (p.taken_at, p.sequence))

    async def share(self, mine: Mapping[str, tuple[RestorePoint, ...]], now: float) -> None:
        """Tell of what this bastion has of the clusters it watches, where that is new, and learn what others have told.
        Raises `StoreError`.
        """
        for cluster, points in mine.items():
            if self._told.get(cluster, ()) != points:
                await self._kv.txn((), [put(f"{self._keys.points}{cluster}/{self._me}", pressed(_dumped(points)))])
                self._told[cluster] = points
        if now < self._due:
            return
        self._due = now + EVERY
        rows = (await self._kv.txn((), [below(self._keys.points)])).found[0]
        known: dict[str, dict[str, tuple[RestorePoint, ...]]] = {}
        for row in rows:
            cluster, _, who = row.key.removeprefix(self._keys.points).partition("/")
            with suppress(ValueError):  # of a recoverd that tells more of a point
                known.setdefault(cluster, {})[who] = _loaded(unpressed(row.value))
        self._known = known


def _dumped(points: tuple[RestorePoint, ...]) -> bytes:
    return b"[" + b",".join(dump(p).encode() for p in points) + b"]"


def _loaded(text: bytes) -> tuple[RestorePoint, ...]:
    return load(tuple[RestorePoint, ...], text)
