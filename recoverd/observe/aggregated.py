"""The APIs that others than the API server serve behind it, and that are away: since when each was seen so."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio.client import ApiClient

from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.witness import AggregatedView
from recoverd.observe.lists import RETRY, read_json
from recoverd.observe.rest import list_group
from recoverd.observe.text import printable

EVERY = 30.0
"""Seconds between two looks while none is away: the list is forty objects, of which nearly all are the server's own."""
MESSAGE = 300

Seen = tuple[AggregatedView, ...] | Unseen


class AggregateWatch:
    """The APIServices of one cluster."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[str, datetime] = {}
        self._kept: tuple[float, Seen] | None = None
        """Until when it holds, and what was seen."""

    async def look(self, client: ApiClient | None) -> Seen:
        """Those that are away, within the deadline. Where they may not be listed, that is tried a minute later."""
        if client is None:
            self._since.clear()
            self._kept = None
            return Unseen(UnseenKind.NOT_TRIED, "no API server is ready to list its API services")
        if self._kept and time.monotonic() < self._kept[0]:
            return self._kept[1]
        read = await read_json(
            "its API services",
            lambda: list_group(client, "apiregistration.k8s.io", "v1", "apiservices", resourceVersion="0"),
            self._seconds,
        )
        seen = read if isinstance(read, Unseen) else self._away(read.body)
        denied = isinstance(seen, Unseen) and seen.kind is UnseenKind.DENIED
        self._kept = (time.monotonic() + (RETRY if denied else EVERY), seen) if denied or seen == () else None
        return seen

    def _away(self, body: Mapping[str, Any]) -> Seen:
        try:
            views = tuple(_unavailable(body.get("items") or (), self._since, datetime.now(UTC)))
        except (KeyError, TypeError, AttributeError) as error:
            return Unseen(UnseenKind.GARBAGE, f"the API server gave its API services in an odd form ({error!r})")
        self._since = {view.name: view.since for view in views}
        return views


def _unavailable(
    items: Iterable[Mapping[str, Any]], since: Mapping[str, datetime], now: datetime
) -> Iterable[AggregatedView]:
    """Those that a service is to serve and does not."""
    for item in items:
        service = item["spec"].get("service")
        about = next((c for c in item.get("status", {}).get("conditions") or () if c["type"] == "Available"), None)
        if service and about and about["status"] != "True":
            where = f"{service['namespace']}/{service['name']}"
            said = printable(str(about.get("message") or ""), MESSAGE)
            name, reason = str(item["metadata"]["name"]), str(about.get("reason") or "")
            yield AggregatedView(name, where, reason, said, since.get(name, now))
