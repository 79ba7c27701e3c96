"""What a step that takes long waits for, told to whoever watches while it waits.

Whatever carries a step out calls `report`; where nobody listens it goes nowhere. It travels in a context variable, so
that it need not be handed through every function between the loop and the place that waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

EVERY = 10.0
"""Seconds between two lines that say the same."""

_listener: ContextVar[Callable[[str, float], None] | None] = ContextVar("progress", default=None)


def report(waiting_for: str, seconds: float) -> None:
    """Say what is waited for (`w2: NotReady, boot id unchanged`) and for how long it has been."""
    if listener := _listener.get():
        listener(waiting_for, seconds)


@contextmanager
def reporting(listener: Callable[[str, float], None]) -> Iterator[None]:
    """Inside, `report` calls the listener; also from tasks that are started inside."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class Telling:
    """A listener that passes a line on when it is new, or when it has stayed the same for a while."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._last = ""
        self._at = float("-inf")

    def __call__(self, waiting_for: str, seconds: float) -> None:
        if waiting_for != self._last or self._clock() - self._at >= EVERY:
            self._last, self._at = waiting_for, self._clock()
            self._tell(f"{waiting_for}, {seconds:.0f} s")
