"""What is read of an etcd member's keys: how many there are, and which cluster's they are."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from recoverd.clients.etcd_answers import EtcdRefused

Ask = Callable[[str, Mapping[str, object] | None], Awaitable[dict[str, Any]]]
"""Sends one request, by its path and its body, and gives the answer."""
UID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
EVERY_KEY: dict[str, object] = {"key": "AA==", "range_end": "AA==", "count_only": True, "serializable": True}
"""A range request that only counts, over all keys: from and to the byte 0 (etcd's API documentation)."""


async def count(ask: Ask, prefix: str, at: int) -> int:
    """Number of keys with a prefix at revision `at` (0: now), from the member's own data: a
    serializable read needs no quorum.
    """
    key, end = prefix.encode(), prefix[:-1].encode() + bytes([ord(prefix[-1]) + 1])
    query = {
        "key": base64.b64encode(key).decode(),
        "range_end": base64.b64encode(end).decode(),
        "count_only": True,
        "serializable": True,
    }
    if at:
        with contextlib.suppress(
            EtcdRefused
        ):  # it is compacted away, or not reached yet: then those that there are now
            return int((await ask("/v3/kv/range", {**query, "revision": str(at)})).get("count", 0))
    return int((await ask("/v3/kv/range", query)).get("count", 0))


async def uid_of(ask: Ask, registry: str) -> str | None:
    """`EtcdView.uid`, where the API server keeps its objects under `registry`. The object is stored as Protobuf (or
    JSON), where the UID stands as text before everything else that looks like one.
    """
    key = base64.b64encode(f"{registry}/namespaces/kube-system".encode()).decode()
    found = (await ask("/v3/kv/range", {"key": key, "serializable": True})).get("kvs")
    if not found:
        return ""
    uid = UID.search(base64.b64decode(found[0]["value"]))
    return uid[0].decode() if uid else None
