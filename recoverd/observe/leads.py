"""Who leads of the controllers that run: their Leases, and for how long each has been seen without a change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from kubernetes.aio.client import ApiClient

from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.witness import LASTS, LED, LeadView
from recoverd.observe.lists import read_json
from recoverd.observe.rest import request

PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}"


class LeadWatch:
    """The Leases of one cluster's controllers, looked at in every sweep."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[str, tuple[LeadView, float]] = {}
        """Each as it was seen last, and since when it has been so."""

    async def look(self, client: ApiClient | None) -> Mapping[str, LeadView | Unseen]:
        """The Lease of each controller by its name, within the deadline. What could not be read ends what was known
        of how long it stood still.
        """
        if client is None:
            self._since.clear()
            return dict.fromkeys(LED, Unseen(UnseenKind.NOT_TRIED, "no API server is ready to show who leads"))
        views = await asyncio.gather(*(self._one(client, name) for name in LED))
        return dict(zip(LED, views, strict=True))

    async def _one(self, client: ApiClient, name: str) -> LeadView | Unseen:
        read = await read_json(f"the lease {name}", lambda: request(client, PATH, {"name": name}), self._seconds)
        view = read if isinstance(read, Unseen) else _view(name, read.body, read.at)
        if isinstance(view, Unseen):
            self._since.pop(name, None)
            return view
        now = time.monotonic()
        before, since = self._since.get(name, (None, now))
        if before and (before.renewed_at, before.holder) != (view.renewed_at, view.holder):
            since = now
        self._since[name] = (view, since)
        return replace(view, unchanged=now - since) if before else view


def _view(name: str, body: dict[str, Any], at: datetime) -> LeadView | Unseen:
    spec = body.get("spec") or {}
    try:
        renewed = datetime.fromisoformat(spec["renewTime"]) if spec.get("renewTime") else None
        lasts = float(spec.get("leaseDurationSeconds") or LASTS)
        return LeadView(str(spec.get("holderIdentity") or ""), renewed, at, lasts=lasts)
    except (ValueError, TypeError, AttributeError) as error:
        return Unseen(UnseenKind.GARBAGE, f"the API server gave the lease {name} in an odd form ({error})")
