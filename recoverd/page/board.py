"""What the status page and `/api/v1/status` show, made once for everybody who asks.

Whatever is asked for, however often and by however many: the journal is read and the page is made at most twice a
second, in a thread, and only where something has changed or the lengths of time on it have grown old.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from recoverd.control import shapes
from recoverd.control.protocol import Controller
from recoverd.machine.lifecycle import moves
from recoverd.model.dump import without_secrets
from recoverd.model.finding import FAULT_STATES, State
from recoverd.model.plan import Incident, Plan
from recoverd.model.status import ClusterStatus
from recoverd.report import pages, words
from recoverd.report.course import course
from recoverd.report.diagram import diagram
from recoverd.report.words import Shape

RECENT = 10
"""Incidents that are over and stand on the page."""
LINES = 30
"""Lines of an open incident's history that stand there: the newest."""
FRESH = 5.0
"""Seconds after which the lengths of time on the page are made anew, though nothing has changed."""
REST = 0.5
"""Seconds between the makings of two pages at the least."""
LOOK = 0.25
"""Seconds for which nobody looks again whether anything has changed."""
OLD = 60.0
"""Seconds after which a cluster's newest sweep is worth a word."""
DIAGRAMS = {"fault": diagram(moves(FAULT_STATES[0])), "maintenance": diagram(moves(State.MAINTENANCE))}
"""All fault states are alike."""
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """The page and the JSON of one moment."""

    key: Key
    at: float
    """By the clock that nobody sets."""
    page: bytes
    status: bytes


class Board:
    """Asks a `Controller`, and keeps what was made of the answer."""

    def __init__(self, controller: Controller) -> None:
        self._ask = controller
        self._made: Made | None = None
        self._key: Key = ()
        self._looked = float("-inf")
        self._making = asyncio.Lock()

    def look(self) -> Key:
        """What differs when something has changed; a sweep that saw the same is no change."""
        seen = tuple(replace(c, last_sweep=None) for c in self._ask.status())
        self._key, self._looked = (seen, tuple(self._ask.notices()), self._ask.revision()), time.monotonic()
        return self._key

    async def made(self) -> Made:
        """What is shown now. Raises `JournalError` where the journal cannot be read."""
        if good := self._good():
            return good
        async with self._making:
            if good := self._good():  # somebody else's, who waited less
                return good
            if self._made:
                await asyncio.sleep(self._made.at + REST - time.monotonic())
            key, statuses, notices = self.look(), self._ask.status(), self._ask.notices()
            plans, incidents = await self._ask.plans(all=False), await self._incidents(statuses)
            at = time.monotonic()
            page, status = await asyncio.to_thread(_rendered, statuses, notices, plans, incidents, datetime.now(UTC))
            self._made = Made(key, at, page, status)
            return self._made

    def _good(self) -> Made | None:
        """What was made last, where it still holds."""
        now = time.monotonic()
        if self._made is None or now - self._made.at > FRESH:
            return None
        key = self._key if now - self._looked < LOOK else self.look()
        return self._made if key == self._made.key else None

    async def _incidents(self, statuses: Sequence[ClusterStatus]) -> list[Incident]:
        """The open ones and the newest of the others."""
        open_ones = {c.name: c.incident for c in statuses if c.incident}
        found = await self._ask.incidents(None, RECENT + len(open_ones))
        known = {i.id for i in found}
        for cluster, incident in open_ones.items():
            if incident not in known:  # older than many of other clusters, and the newest of its own
                found += await self._ask.incidents(cluster, 1)
        return found


def _rendered(
    statuses: Sequence[ClusterStatus],
    notices: Sequence[str],
    plans: Sequence[Plan],
    incidents: Sequence[Incident],
    now: datetime,
) -> tuple[bytes, bytes]:
    clusters: list[Shape] = without_secrets([shapes.status(c) for c in statuses])
    asked: list[Shape] = without_secrets([shapes.headline(p) | {"steps": len(p.steps)} for p in plans])
    told: dict[str, Shape] = without_secrets({i.id: shapes.incident(i) for i in incidents})
    moment = shapes.moment(now)
    assert moment is not None
    status = {"generated_at": moment, "clusters": clusters, "notices": list(notices), "plans": asked}
    page = pages.page(
        generated_at=moment,
        clusters=[_cluster(c, told.get(c["incident"] or ""), now) for c in _worst_first(clusters)],
        notices=notices,
        plans=[p | {"left": -words.between(p["expires_at"], moment)} for p in _soonest_first(asked, clusters)],
        incidents=_over(told, {c["incident"] for c in clusters}, moment),
        diagrams=DIAGRAMS,
    )
    return page.encode(), json.dumps(status, ensure_ascii=False).encode()


def _worst_first(clusters: Sequence[Shape]) -> list[Shape]:
    """By how soon somebody has to look; each in the configuration's order."""
    return sorted(clusters, key=words.urgency)


def _soonest_first(plans: Sequence[Shape], clusters: Sequence[Shape]) -> list[Shape]:
    """Those for a fault first, of them the one that expires first."""
    calm = {c["name"] for c in clusters if c["state"] in words.CALM}
    return sorted(plans, key=lambda p: (p["cluster"] in calm, p["expires_at"]))


def _cluster(c: Shape, incident: Shape | None, now: datetime) -> Shape:
    """A cluster with what the page reckons from it."""
    since = (now - datetime.fromisoformat(c["last_sweep"])).total_seconds() if c["last_sweep"] else 0.0
    told = c["watched_by"] == "nobody" or c["paused"] or words.observed(c) or c["findings"] or c["plan"]
    started = datetime.fromisoformat(c["fault_since"] or c["since"])
    return c | {
        "lasts": (now - started).total_seconds(),
        "old": since if since > OLD else 0,
        "calm": c["state"] == "healthy" and not told,
        "course": course(incident, now.isoformat()) if incident else None,
        "lines": incident["timeline"][-LINES:] if incident else [],
    }


def _over(told: dict[str, Shape], shown: set[str | None], now: str) -> list[Shape]:
    """The newest incidents that do not stand with their cluster."""
    return [i | {"course": course(i, now)} for id, i in told.items() if id not in shown][:RECENT]
