"""What one receiver is still to be told, oldest first: bounded, tried again for a while,
and never told when it is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from recoverd.config.types import Receiver
from recoverd.metrics.notifications import NotificationMetrics
from recoverd.model.news import News
from recoverd.notifications.trouble import Trouble
from recoverd.notifications.wire import SendFailed

log = structlog.get_logger()

ROOM = 100
"""Messages that may wait; beyond that the oldest is dropped."""
PATIENCE = 600.0
"""Seconds for which a message is tried: later than that it would tell of the past as if it was now."""
WAIT = wait_exponential(multiplier=1, max=60)
"""Seconds between two rounds."""


class _Left(Exception):  # noqa: N818
    """Something could not be sent yet."""


@dataclass(frozen=True, slots=True)
class Message:
    news: News
    put: float
    """When, by a clock that nobody sets."""


class Outbox:
    """What one receiver has still to be told. `put` returns at once; `run` sends.

    `send` raises `SendFailed`; `stands` says whether a piece of news is still so; `ended`
    hears what became of each, and why.
    """

    def __init__(
        self,
        receiver: Receiver,
        metrics: NotificationMetrics,
        *,
        send: Callable[[News], Awaitable[None]],
        stands: Callable[[News], bool],
        ended: Callable[[News, str, str], Awaitable[None]],
    ) -> None:
        self.receiver = receiver
        self.waiting: list[Message] = []
        self._metrics = metrics
        self._send = send
        self._stands = stands
        self._ended = ended
        self._wake = asyncio.Event()
        self._trouble = Trouble(receiver.name, metrics)
        self._log = log.bind(receiver=receiver.name)

    def put(self, news: News) -> News | None:
        """Have it sent. Never waits: where there is no room, what has waited longest is dropped, and given back."""
        dropped = self.waiting.pop(0).news if len(self.waiting) >= ROOM else None
        if dropped:
            self._metrics.count(self.receiver.name, "dropped")
            self._log.warning(
                f"{self.receiver.name} has {ROOM} messages to be told; the oldest is dropped: {dropped.title}",
                event_name="not-notified",
            )
        self.waiting.append(Message(news, time.monotonic()))
        self._wake.set()
        return dropped

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._wake.wait()
            async for attempt in AsyncRetrying(retry=retry_if_exception_type(_Left), wait=WAIT, sleep=self._rest):
                with attempt:
                    self._wake.clear()
                    await self._round()

    async def _rest(self, seconds: float) -> None:
        """Until the next round: what has just come is tried at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _round(self) -> None:
        """Try everything that waits once. One that is refused holds up no other; where nobody
        answers, nothing more is tried.
        """
        for message in list(self.waiting):
            if message not in self.waiting:
                continue  # dropped meanwhile
            if not self._stands(message.news):
                await self._done(message, "overtaken")
            elif time.monotonic() - message.put > PATIENCE:
                await self._done(message, "given-up")
            elif await self._tried(message):
                break
        if self.waiting:
            raise _Left

    async def _tried(self, message: Message) -> bool:
        """Send it; whether the receiver is silent."""
        try:
            await self._send(message.news)
        except SendFailed as error:
            self._trouble.failed(
                error, f"{self.receiver.name} cannot be told: {error}; it is tried again for {PATIENCE:g} s"
            )
            return error.silent
        if self._trouble.over():
            self._log.info(f"{self.receiver.name} can be told again")
        await self._done(message, "sent")
        return False

    async def _done(self, message: Message, outcome: str) -> None:
        self._metrics.count(self.receiver.name, outcome)
        with suppress(ValueError):  # dropped while it was being sent
            self.waiting.remove(message)
        await self._ended(message.news, outcome, self._trouble.why)
