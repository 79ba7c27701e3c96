"""Virtual time: an event loop whose clock jumps to the next timer instead of waiting for it, so that the daemon's
loop runs an hour in a second.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = datetime(2026, 3, 5, 19, 10, 0, tzinfo=UTC)
"""When every story begins: the clock of the incident."""


class _Jumping(selectors.SelectSelector):
    """Never waits while a timer is set: the clock goes on to it."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)  # nothing is due, ever; only a signal can wake it
        ready = super().select(0)
        if not ready and timeout > 0:
            self._loop.seconds += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop in virtual time, which begins at 0."""

    def __init__(self) -> None:
        self.seconds = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def seconds() -> float:
    """Virtual seconds since the story began."""
    return asyncio.get_running_loop().time()


def moment(at: float) -> datetime:
    return EPOCH + timedelta(seconds=at)


def now() -> datetime:
    """The virtual time of day."""
    return moment(seconds())
