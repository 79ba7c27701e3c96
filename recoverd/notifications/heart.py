"""A sign of life for a dead man's switch (as healthchecks.io): a page that is asked for while
recoverd sweeps, and only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from recoverd.config.receivers import HEARTBEAT
from recoverd.config.types import Heartbeat
from recoverd.metrics.notifications import NotificationMetrics
from recoverd.notifications.trouble import Trouble
from recoverd.notifications.wire import Courier, SendFailed, beat

AGAIN = 30.0
"""Seconds, at most, after which one that failed, or that recoverd's own trouble kept back, is tried again."""


class Heart:
    """`config` says where to and how often; None: nowhere. `healthy` says why recoverd is not
    well: an old sweep, or a full disk.
    """

    def __init__(self, metrics: NotificationMetrics, healthy: Callable[[], str | None]) -> None:
        self.config: Heartbeat | None = None
        self._metrics = metrics
        self._healthy = healthy
        self._courier = Courier(HEARTBEAT)
        self._trouble = Trouble(HEARTBEAT, metrics)

    async def run(self) -> None:
        while True:
            config = self.config
            assert config is not None
            await asyncio.sleep(config.every if await self._beat(config) else min(AGAIN, config.every))

    async def _beat(self, config: Heartbeat) -> bool:
        if self._healthy():
            return False  # /-/healthy and the log say why; that nothing comes is the message
        try:
            await self._courier.run(lambda: beat(config.url_file))
        except SendFailed as error:
            self._trouble.failed(error, f"the sign of life was not taken: {error}")
            return False
        self._trouble.over()
        self._metrics.count(HEARTBEAT, "sent")
        return True
