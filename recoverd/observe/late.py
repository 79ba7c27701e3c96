"""Whether recoverd itself was late in a sweep: then what did not answer in time is not known to have been silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeGuard, TypeVar

from recoverd.config import Deadlines
from recoverd.model.network import NetworkView
from recoverd.model.observation import EndpointHealth, EndpointView, Observation, Unseen, UnseenKind

T = TypeVar("T")

TICK = 0.1
USUAL = 0.02
"""Seconds by which a timer of a loop that is not busy comes late at most."""
SHARE = 0.2
"""Share of the shortest deadline that recoverd may lose to its own lateness before a deadline that
was missed says nothing any more.
"""
SILENT = frozenset({UnseenKind.TIMEOUT, UnseenKind.UNREACHABLE})
SILENT_ENDPOINT = frozenset({EndpointHealth.TIMEOUT, EndpointHealth.UNREACHABLE})
LATE = "recoverd itself was late"
BROKEN_OFF = "accepted the connection and gave no answer"
"""Beginning of `EndpointView.detail` where the other side may have given up waiting for recoverd."""


def silent(view: object) -> TypeGuard[Unseen]:
    """Whether this is a source that was asked and did not answer."""
    return isinstance(view, Unseen) and view.kind in SILENT


class Heartbeat:
    """Measures, for as long as the context lasts, by how many seconds the event loop came late to what
    was due. `behind` is their sum.
    """

    def __init__(self) -> None:
        self.behind = 0.0
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Heartbeat:
        self._due = time.monotonic() + TICK
        self._task = asyncio.create_task(self._beat(), name="heartbeat")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        self._count()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._due - time.monotonic()))
            self._count()
            self._due = time.monotonic() + TICK

    def _count(self) -> None:
        late = time.monotonic() - self._due
        if late > USUAL:
            self.behind += late


def with_behind(observation: Observation, behind: float, deadlines: Deadlines) -> Observation:
    """The observation with `behind` noted and, where recoverd lost too much of its deadlines, without
    silence that may be its own. What the kernel is sure of stays. Pure.
    """
    seen = replace(observation, behind=behind)
    if behind <= SHARE * min(deadlines.api, deadlines.etcd, deadlines.hosts):
        return seen
    took = (observation.at - observation.started_at).total_seconds()
    why = (
        f"{LATE} by {behind:.1f} s in this sweep of {took:.1f} s, so it cannot tell what is silent "
        "from what it came too late for: "
        "this machine is overloaded; give recoverd more of its CPU, fewer clusters, or a longer interval and deadlines"
    )

    def view(what: T) -> T | Unseen:
        return Unseen(UnseenKind.OWN, f"{why} ({what.reason})") if silent(what) and not what.sure else what

    def endpoint(what: EndpointView) -> EndpointView:
        silent = what.health in SILENT_ENDPOINT or what.detail.startswith(BROKEN_OFF)
        return replace(what, health=EndpointHealth.NOT_TRIED, detail=f"{why} ({what.detail})") if silent else what

    def each(views: Mapping[str, Any]) -> dict[str, Any]:
        return {name: view(what) for name, what in views.items()}

    api, network = seen.api, seen.network
    # a machine whose kernel does not answer has no API server that does
    off = {name for name, what in seen.hosts.items() if isinstance(what, Unseen) and what.sure}
    if isinstance(network, NetworkView):
        network = replace(network, hosts=each(network.hosts), pods=each(network.pods), unseen=each(network.unseen))
    return replace(
        seen,
        api=replace(
            api,
            vip=endpoint(api.vip),
            members={n: e if n in off else endpoint(e) for n, e in api.members.items()},
            objects=view(api.objects),
        ),
        etcd=each(seen.etcd),
        outside=each(seen.outside),
        hosts=each(seen.hosts),
        network=view(network),
        own=(why, *seen.own),
        late=True,
    )


def with_own(observation: Observation) -> Observation:
    """The observation with every reason for which recoverd itself saw something not in `own`, each once. Pure.

    What lasts stands before what may be of this sweep only: the first of them is what an operator is told.
    """
    seen = (observation.etcd, observation.outside, observation.hosts)
    views = (observation.api.objects, *(v for views in seen for v in views.values()), observation.network)
    reasons = [v.reason for v in views if isinstance(v, Unseen) and v.kind is UnseenKind.OWN]
    ends = (
        e.detail
        for e in (observation.api.vip, *observation.api.members.values())
        if e.health is EndpointHealth.NOT_TRIED
    )
    told = dict.fromkeys((*observation.own, *filter(None, ends), *reasons))
    return replace(observation, own=tuple(sorted(told, key=lambda why: why.startswith(LATE))))
