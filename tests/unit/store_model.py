"""The bastions' etcd as a model, in which answers are lost and requests come late."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from recoverd.store.gateway import Answer, Row, StoreError, StoreRefused


@dataclass
class Etcd:
    """What etcd is to a bastion. `fates` are those of the next requests: `ok`, `lost` (it never came), `silent` (it was
    carried out, and nobody heard), `refused` (for good), `late` (it is carried out after everything that follows until
    `arrive`).
    """

    now: float = 0.0
    revision: int = 1
    rows: dict[str, Row] = field(default_factory=dict)
    leases: dict[int, float] = field(default_factory=dict)
    fates: list[str] = field(default_factory=list)
    late: list[tuple[Any, ...]] = field(default_factory=list)
    written: int = 0
    """Transactions that have changed anything."""

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        gone = {id for id, until in self.leases.items() if until <= self.now}
        for id in gone:
            del self.leases[id]
        for key in [k for k, row in self.rows.items() if row.lease in gone]:
            del self.rows[key]
            self.revision += 1

    def arrive(self) -> None:
        late, self.late = self.late, []
        for request in late:
            with suppress(StoreError):
                self._apply(*request)

    async def txn(self, when: Sequence[Any], then: Sequence[Any], otherwise: Sequence[Any] = ()) -> Answer:
        fate = self.fates.pop(0) if self.fates else "ok"
        if fate == "late":
            self.late.append((when, then, otherwise))
        answer = self._apply(when, then, otherwise) if fate in ("ok", "silent") else None
        if fate == "refused":
            raise StoreRefused("permission denied")
        if fate != "ok" or answer is None:
            self.pass_time(1.5)
            raise StoreError(fate)
        return answer

    def _apply(self, when: Sequence[Any], then: Sequence[Any], otherwise: Sequence[Any]) -> Answer:
        if max(len(when), len(then), len(otherwise)) > 128:
            raise StoreRefused("too many operations in txn request")
        if sum(len(op["request_put"]["value"]) * 3 // 4 for op in then if "request_put" in op) > 1.5 * 2**20:
            raise StoreRefused("request is too large")
        held = all(self._holds(c) for c in when)
        found = []
        if held and any("request_range" not in op for op in then):
            self.revision += 1
            self.written += 1
        for op in then if held else otherwise:
            ((kind, asked),) = op.items()
            key = _plain(asked["key"])
            if kind == "request_put":
                lease, was = int(asked.get("lease", 0)), self.rows.get(key)
                if lease and lease not in self.leases:
                    raise StoreRefused("requested lease not found")
                created = was.created if was else self.revision
                self.rows[key] = Row(key, base64.b64decode(asked["value"]), created, self.revision, lease)
            elif kind == "request_range":
                found.append(self._range(key, asked))
            else:
                self.rows.pop(key, None)
        return Answer(held, self.revision, tuple(found))

    def _range(self, key: str, asked: dict[str, Any]) -> tuple[Row, ...]:
        end, since = _plain(asked.get("range_end", "")), int(asked.get("min_mod_revision", 0))
        there = (self.rows[k] for k in sorted(self.rows) if (key <= k < end if end else k == key))
        return tuple(row for row in there if row.changed >= since)

    def _holds(self, condition: dict[str, Any]) -> bool:
        row = self.rows.get(_plain(condition["key"]))
        if condition["target"] == "CREATE":
            return (row.created if row else 0) == int(condition["create_revision"])
        return row is not None and row.value == base64.b64decode(condition["value"])

    # the rest of a `Kv`, of which the writer needs nothing
    async def grant(self, ttl: float) -> int:
        raise NotImplementedError

    async def keep(self, lease: int) -> float:
        raise NotImplementedError

    async def revoke(self, lease: int) -> None:
        raise NotImplementedError

    async def compact(self, revision: int) -> None:
        raise NotImplementedError


def _plain(text: str) -> str:
    return base64.b64decode(text).decode()
