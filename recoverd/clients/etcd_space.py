"""What one etcd member is asked about its space, and to make some.

Source: etcd's maintenance guide; its JSON gateway (api/etcdserverpb/rpc.proto).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from recoverd.clients.etcd import EtcdClient, EtcdRefused, EtcdUnseen
from recoverd.clients.etcd_keys import Ask
from recoverd.model.etcd import PrefixUse
from recoverd.model.observation import UnseenKind

OUT_OF_RANGE = 11
"""gRPC's code for a revision that is compacted already (etcd's ErrGRPCCompacted)."""
SAMPLE = 3
"""Values that are read at each end of a prefix to tell how large they are: six of the largest that etcd
takes by itself fit in one answer.
"""
PREFIXES = 300
"""At which the telling of prefixes ends; a cluster with many custom resources has some 150."""
EVERY = base64.b64encode(b"\0").decode()


async def compact(etcd: EtcdClient, *, timeout: float) -> int:  # noqa: ASYNC109
    """Drop every revision before the present one, and return that. Raises `EtcdRefused` or `EtcdUnseen`."""
    async with etcd.asking(timeout) as ask:
        revision = int((await ask("/v3/maintenance/status", {}))["header"]["revision"])
        try:
            await ask("/v3/kv/compaction", {"revision": str(revision), "physical": True})
        except EtcdRefused as refused:
            if refused.code != OUT_OF_RANGE:
                raise
    return revision


async def defragment(etcd: EtcdClient, *, timeout: float) -> None:  # noqa: ASYNC109
    """Defragment this member's database; it answers when it is done. Raises `EtcdRefused` or `EtcdUnseen`."""
    async with etcd.asking(timeout) as ask:
        await ask("/v3/maintenance/defragment", {})


async def hand_over(etcd: EtcdClient, to: str, *, timeout: float) -> None:  # noqa: ASYNC109
    """Have this member, which leads, give that to another, by its hexadecimal id. Raises
    `EtcdRefused` or `EtcdUnseen`.
    """
    async with etcd.asking(timeout) as ask:
        await ask("/v3/maintenance/transfer-leadership", {"targetID": str(int(to, 16))})


class PrefixReader:
    """Reads what the keys of one member take, by prefix: `/registry/RESOURCE/`, for others up to their first slash.

    A cluster has some hundred prefixes and a question takes several round trips, so on a busy machine one
    sweep's time is not enough: what was read is kept, and the next reading goes on from there.
    Serializable reads, which need no quorum.
    """

    def __init__(self) -> None:
        self._found: list[PrefixUse] = []
        self._start = b"\0"

    async def read(self, etcd: EtcdClient, *, timeout: float) -> tuple[PrefixUse, ...]:  # noqa: ASYNC109
        """All of them, the biggest first. Raises `EtcdRefused` or `EtcdUnseen`, as where the time did not suffice;
        then it is to be called again.
        """
        try:
            async with etcd.asking(timeout) as ask:
                while len(self._found) < PREFIXES and (key := await _first_key(ask, self._start)) is not None:
                    prefix = _prefix(key)
                    self._found.append(await _use(ask, prefix))
                    self._start = _end(prefix)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EtcdUnseen(
                UnseenKind.GARBAGE, f"what etcd answered of its keys cannot be understood ({error!r})"
            ) from error
        return tuple(sorted(self._found, key=lambda use: -use.size))


async def _first_key(ask: Ask, start: bytes) -> bytes | None:
    kvs = (await ask("/v3/kv/range", {**_from(start), "limit": "1", "keys_only": True})).get("kvs")
    return base64.b64decode(kvs[0]["key"]) if kvs else None


def _prefix(key: bytes) -> bytes:
    parts = key.split(b"/")
    depth = 2 if key.startswith(b"/") else 0
    if len(parts) <= depth + 1:
        return key
    return b"/".join(parts[: depth + 1]) + b"/"


def _end(prefix: bytes) -> bytes:
    """The first key after all that begin with it; after a key that is no prefix: the next one."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix.endswith(b"/") else prefix + b"\0"


def _from(start: bytes) -> Mapping[str, Any]:
    return {"key": base64.b64encode(start).decode(), "range_end": EVERY, "serializable": True}


async def _use(ask: Ask, prefix: bytes) -> PrefixUse:
    about = {
        "key": base64.b64encode(prefix).decode(),
        "range_end": base64.b64encode(_end(prefix)).decode(),
        "serializable": True,
    }
    keys = int((await ask("/v3/kv/range", {**about, "count_only": True})).get("count", 0))
    sampled = 0
    read = 0
    for order in ("ASCEND", "DESCEND"):
        for kv in (
            await ask("/v3/kv/range", {**about, "limit": str(SAMPLE), "sort_order": order, "sort_target": "KEY"})
        ).get("kvs", ()):
            sampled += len(base64.b64decode(kv["key"])) + len(base64.b64decode(kv.get("value", "")))
            read += 1
    return PrefixUse(prefix.decode(errors="replace"), keys, keys * sampled // read if read else 0)
