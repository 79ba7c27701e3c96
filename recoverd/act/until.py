"""Moments until which something is asked again: all in the event loop's time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryError, retry_if_result, wait_fixed
from tenacity.stop import stop_base

from recoverd.clients.etcd import EtcdUnseen

POLL_SECONDS = 0.3
LEAST = 0.1
"""Seconds that a call is given at the least, so that it can say what is wrong."""


class stop_at(stop_base):  # noqa: N801  named as tenacity's own
    """Stop when the event loop's clock is past a moment."""

    def __init__(self, moment: float) -> None:
        self._moment = moment

    def __call__(self, retry_state: object) -> bool:
        return left(self._moment) <= 0


def left(until: float) -> float:
    """Seconds until then; negative when it is past."""
    return until - asyncio.get_running_loop().time()


def timeout(until: float) -> float:
    """The same for a call that is made in any case."""
    return max(LEAST, left(until))


async def ask_once(missing: Callable[[], Awaitable[str]]) -> str:
    """What is missing, in words; "" when nothing is. An etcd that could not be asked says why not."""
    try:
        return await missing()
    except EtcdUnseen as unseen:
        return str(unseen)


async def polled(missing: Callable[[], Awaitable[str]], until: float) -> str:
    """Ask until nothing is missing: "", or what was missing last."""
    try:
        await AsyncRetrying(retry=retry_if_result(bool), wait=wait_fixed(POLL_SECONDS), stop=stop_at(until))(
            ask_once, missing
        )
    except RetryError as over:
        return str(over.last_attempt.result())
    return ""
