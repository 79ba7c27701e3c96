"""Whether the API server takes writes: a pod and a lease that it is asked to try and not to make, and a lease to be
changed (`dryRun=All`).

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
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient

from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.settings import CanarySettings
from recoverd.model.witness import HEARTBEAT, TRIED, TryView
from recoverd.observe.rest import JSON, request
from recoverd.observe.text import printable

NAME = "recoverd-canary"
MERGED = "application/merge-patch+json"
PATIENCE = 35.0
"""Seconds: a webhook is given up to 30 (`timeoutSeconds`) before the API server says that it failed."""
EAGER = 600.0
"""Seconds after a refusal in which it is asked in every sweep: that it is over has to be seen, and seen to last."""
SAID = 400
WEBHOOK = re.compile(r'failed calling webhook "([^"]+)"')
"""In the API server's words since 1.9 (apiserver/pkg/admission/plugin/webhook/errors)."""
DENIES = re.compile(r'admission webhook "([^"]+)" (denied the request|does not support dry run)')
QUOTA = re.compile(r"exceeded quota: ([^,]+),")
ITSELF = re.compile(r'is forbidden: Get "?https://[^\s"]+"?: x509: certificate has expired')
"""In the words of its admission plugins, which ask it for limits, quotas and the like where their own list is old."""
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
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
NODES = "kube-node-lease"
"""The namespace of the nodes' leases."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write that is tried."""

    verb: str
    path: str
    """With a place for the namespace."""
    body: dict[str, Any] = field(default_factory=dict)
    namespace: str = ""
    """Where it is tried whatever the configuration says; "" for the canary's."""


WRITES: Mapping[str, Write] = {
    "pod": Write("POST", "/api/v1/namespaces/{namespace}/pods", {"apiVersion": "v1", "kind": "Pod", "spec": POD}),
    "lease": Write(
        "POST",
        LEASES,
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "spec": {"holderIdentity": NAME, "leaseDurationSeconds": 15},
        },
    ),
    # a patch that changes nothing goes the whole way of an update
    HEARTBEAT: Write("PATCH", f"{LEASES}/{NAME}", namespace=NODES),
}
"""By what is tried, in the words of `TRIED`."""
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
        self._answered: set[str] = set()

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
            self._last = {kind: _counted(self._last.get(kind), self._allowed(kind, v)) for kind, v in said.items()}
            if any(isinstance(v, TryView) and not v.accepted for v in self._last.values()):
                self._eager_until = now + EAGER
        return dict(self._last)

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
            self._asking = None

    def _allowed(self, kind: str, view: Tried) -> Tried:
        """A heartbeat that was never let try is not tried: its permission came later than those of the others, so that
        an older file of them must not keep what they show from ending.
        """
        if isinstance(view, TryView):
            self._answered.add(kind)
        elif kind == HEARTBEAT and kind not in self._answered and view.kind in (UnseenKind.DENIED, UnseenKind.GARBAGE):
            return Unseen(UnseenKind.NOT_TRIED, view.reason)
        return view

    def _meanwhile(self, kind: str) -> Tried:
        last = self._last.get(kind)
        if isinstance(last, TryView) and not last.accepted:
            return last
        return Unseen(UnseenKind.TIMEOUT, f"the API server has not answered within {self._seconds:g} s yet")

    async def _ask(self, client: ApiClient) -> dict[str, Tried]:
        views = await asyncio.gather(*(self._one(client, kind) for kind in TRIED))
        return dict(zip(TRIED, views, strict=True))

    async def _one(self, client: ApiClient, kind: str) -> Tried:
        write = WRITES[kind]
        namespace = write.namespace or self._settings.namespace
        body = {**write.body, "metadata": {"name": NAME, "namespace": namespace}} if write.body else {}
        try:
            async with asyncio.timeout(PATIENCE):
                response = await request(
                    client,
                    write.path,
                    {"namespace": namespace},
                    method=write.verb,
                    query={"dryRun": "All"},
                    body=body,
                    content_type=MERGED if write.verb == "PATCH" else JSON,
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
    if ITSELF.search(said):
        return TryView(False, itself=said, said=said)
    if found := DENIES.search(said):
        return Unseen(UnseenKind.NOT_TRIED, f"the webhook {found[1]} answers and lets no such {kind} pass: {said}")
    denied = UnseenKind.DENIED if status in (401, 403) else UnseenKind.GARBAGE
    return Unseen(denied, f"HTTP {status}: {said}")


def _counted(before: Tried | None, view: Tried) -> Tried:
    if isinstance(before, TryView) and isinstance(view, TryView) and not view.accepted:
        return replace(view, times=before.times + 1) if before.refuser == view.refuser else view
    return view
