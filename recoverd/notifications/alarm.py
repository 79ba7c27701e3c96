"""Alerts for one Alertmanager: everything that is so, every minute for as long as it is, and once more when it is over.

An alert that nobody sends again ends there by itself (its endsAt), as when recoverd is stopped; started
again, it sends what is still so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type

from recoverd.config.types import Receiver
from recoverd.metrics.notifications import NotificationMetrics
from recoverd.model.news import News
from recoverd.model.text import moment
from recoverd.notifications.outbox import WAIT
from recoverd.notifications.trouble import Trouble
from recoverd.notifications.wire import SendFailed
from recoverd.report import runbooks

EVERY = 60.0
"""Seconds after which what is still so is sent again."""
LASTS = timedelta(minutes=5)
"""An alert that is not sent again for so long ends: four of five posts may be lost."""
Posted = tuple[tuple[str, str], ...]
"""The labels of an alert, which are its identity."""


class Alarm:
    """What one Alertmanager is told. `set` returns at once; `run` sends. `post` raises `SendFailed`."""

    def __init__(
        self,
        receiver: Receiver,
        metrics: NotificationMetrics,
        home: str,
        post: Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]],
    ) -> None:
        self.receiver = receiver
        self._metrics = metrics
        self._home = home
        self._post = post
        self._now: dict[str, tuple[News, ...]] = {}
        """What is so, by cluster."""
        self._sent: dict[Posted, dict[str, Any]] = {}
        """What Alertmanager was told is so."""
        self._changed = asyncio.Event()
        self._sent_at = -EVERY
        self._trouble = Trouble(receiver.name, metrics)

    def set(self, cluster: str, news: Iterable[News]) -> None:
        """That this, and nothing else, is so of the cluster now."""
        fresh = tuple(each for each in news if each.labels)
        if fresh != self._now.get(cluster, ()):
            # an explanation that counts seconds is no reason to send before the minute is over
            changed = [_identity(n) for n in fresh] != [_identity(n) for n in self._now.get(cluster, ())]
            self._now[cluster] = fresh
            if changed:
                self._changed.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            due = max(0.0, self._sent_at + EVERY - time.monotonic())
            await self._until_changed(due if self._now or self._sent else None)
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(SendFailed), wait=WAIT, sleep=self._until_changed
            ):
                with attempt:
                    await self._round()

    async def _until_changed(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _round(self) -> None:
        self._changed.clear()
        now = datetime.now(UTC)
        standing = {_identity(n): alert(n, self._home, now + LASTS) for each in self._now.values() for n in each}
        over = {key: {**was, "endsAt": moment(now)} for key, was in self._sent.items() if key not in standing}
        if not standing and not over:
            self._sent_at = time.monotonic()
            return
        try:
            await self._post([*standing.values(), *over.values()])
        except SendFailed as error:
            again = "it is tried again for as long as there is something to tell"
            self._trouble.failed(error, f"{self.receiver.name} cannot be told: {error}; {again}")
            raise
        self._sent, self._sent_at = standing, time.monotonic()
        self._trouble.over()
        self._metrics.count(self.receiver.name, "sent")


def alert(news: News, home: str, ends: datetime) -> dict[str, Any]:
    """One alert as Alertmanager takes it, with the labels of the rule in config/alerts that is on the same thing.
    `home` is where recoverd serves its pages, ending with a slash.
    """
    name = news.labels["alertname"]
    runbook = {"runbook_url": f"{home}{runbooks.PATH[1:]}{name}"} if name in runbooks.names() else {}
    return {
        "labels": dict(_identity(news)),
        "annotations": {"summary": news.title, "description": news.body} | runbook,
        "startsAt": moment(min(news.since, ends)),
        "endsAt": moment(ends),
        "generatorURL": f"{home}metrics",
    }


def _identity(news: News) -> Posted:
    of = {"cluster": news.cluster} if news.cluster else {}
    return tuple(sorted({**news.labels, **of, "job": "recoverd"}.items()))
