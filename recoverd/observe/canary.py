"""Whether the API server takes writes: a pod and a lease that it is asked to try and not to make (`dryRun=All`).

/readyz asks no admission webhook. One that fails closed while its pods are gone keeps every new pod away, its own too,
and an API server that calls itself ready refuses what everybody needs. A dry run goes the whole way of a write, through
admission and quota, and is not stored.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient

from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.settings import CanarySettings
from recoverd.model.witness import TRIED, TryView
from recoverd.observe.rest import request
from recoverd.observe.text import printable

NAME = "recoverd-canary"
PATIENCE = 35.0
"""Seconds: a webhook is given up to 30 (`timeoutSeconds`) before the API server says that it failed."""
EAGER = 600.0
"""Seconds after a refusal in which it is asked in every sweep: that it is over has to be seen, and seen to last."""
SAID = 400
WEBHOOK = re.compile(r'failed calling webhook "([^"]+)"')
"""In the API server's words since 1.9 (apiserver/pkg/admission/plugin/webhook/errors)."""
DENIES = re.compile(r'admission webhook "([^"]+)" (denied the request|does not support dry run)')
QUOTA = re.compile(r"exceeded quota: ([^,]+),")
CONTAINER: dict[str, Any] = {
    "name": "canary",
    "image": "registry.k8s.io/pause:3.9",
    "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "10m", "memory": "10Mi"}},
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
}
"""With what policies ask for most, so that none has a reason to refuse it."""
POD = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [CONTAINER],
}
WRITES: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "pod": ("/api/v1/namespaces/{namespace}/pods", "v1", {"kind": "Pod", "spec": POD}),
    "lease": (
        "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
        "coordination.k8s.io/v1",
        {"kind": "Lease", "spec": {"holderIdentity": NAME, "leaseDurationSeconds": 15}},
    ),
}
Tried = TryView | Unseen


class CanaryWatch:
    """The same for one cluster. An answer that is late is taken in by the sweep that it comes in."""

    def __init__(self, settings: CanarySettings, seconds: float) -> None:
        self._settings = settings
        self._seconds = seconds
        self._asking: asyncio.Task[dict[str, Tried]] | None = None
        self._last: dict[str, Tried] = {}
        self._due = 0.0
        self._eager_until = 0.0

    async def look(self, client: ApiClient | None) -> Mapping[str, Tried]:
        """What came of each try, by what is tried; empty where nothing is to be. Ends within the deadline: while an
        answer is awaited for longer, what was said before stands, if that was a refusal.
        """
        if not self._settings.every:
            return {}
        if client is None:
            await self.close()
            self._last = {}
            return dict.fromkeys(TRIED, Unseen(UnseenKind.NOT_TRIED, "no API server is ready to try a write"))
        now = time.monotonic()
        if self._asking is None and (now >= self._due or now < self._eager_until):
            self._due = now + self._settings.every
            self._asking = asyncio.create_task(self._ask(client))
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=self._seconds)
            if not self._asking.done():
                return {kind: self._meanwhile(kind) for kind in TRIED}
            said, self._asking = self._asking.result(), None
            self._last = {kind: _counted(self._last.get(kind), view) for kind, view in said.items()}
            if any(isinstance(v, TryView) and not v.accepted for v in self._last.values()):
                self._eager_until = now + EAGER
        return dict(self._last)

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
            self._asking = None

    def _meanwhile(self, kind: str) -> Tried:
        last = self._last.get(kind)
        if isinstance(last, TryView) and not last.accepted:
            return last
        return Unseen(UnseenKind.TIMEOUT, f"the API server has not answered within {self._seconds:g} s yet")

    async def _ask(self, client: ApiClient) -> dict[str, Tried]:
        views = await asyncio.gather(*(self._one(client, kind) for kind in TRIED))
        return dict(zip(TRIED, views, strict=True))

    async def _one(self, client: ApiClient, kind: str) -> Tried:
        path, version, body = WRITES[kind]
        namespace = self._settings.namespace
        whole = {"apiVersion": version, "metadata": {"name": NAME, "namespace": namespace}, **body}
        try:
            async with asyncio.timeout(PATIENCE):
                response = await request(
                    client, path, {"namespace": namespace}, method="POST", query={"dryRun": "All"}, body=whole
                )
                return judged(kind, namespace, response.status, await response.read())
        except TimeoutError:
            return Unseen(UnseenKind.TIMEOUT, f"the API server did not answer within {PATIENCE:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Unseen(UnseenKind.UNREACHABLE, f"the API server broke off: {error}")


def judged(kind: str, namespace: str, status: int, body: bytes) -> Tried:
    """What an answer to such a write says. Pure."""
    if status in (200, 201, 202, 409):  # 409: there is one of that name, and admission was passed before
        return TryView(True)
    try:
        said = printable(str(json.loads(body).get("message") or ""), SAID)
    except (ValueError, AttributeError):
        return Unseen(UnseenKind.GARBAGE, f"HTTP {status} with something that is no answer of an API server")
    if found := WEBHOOK.search(said):
        return TryView(False, webhook=found[1], said=said)
    if (found := QUOTA.search(said)) and status == 403:
        return TryView(False, quota=f"{namespace}/{found[1]}", said=said)
    if found := DENIES.search(said):
        return Unseen(UnseenKind.NOT_TRIED, f"the webhook {found[1]} answers and lets no such {kind} pass: {said}")
    denied = UnseenKind.DENIED if status in (401, 403) else UnseenKind.GARBAGE
    return Unseen(denied, f"HTTP {status}: {said}")


def _counted(before: Tried | None, view: Tried) -> Tried:
    if isinstance(before, TryView) and isinstance(view, TryView) and not view.accepted:
        return replace(view, times=before.times + 1) if before.refuser == view.refuser else view
    return view
