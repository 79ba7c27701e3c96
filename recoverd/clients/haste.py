"""A plan waits for the sweep: what was silent in the one before is not waited for to its deadline again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

HASTE = 0.8
"""Seconds from the beginning of a source's look in which one that was silent shows that it answers again.
Observed: an API server, an etcd and a machine that are well answer in under 0.3 s on a lab that is busy.
"""


class Haste:
    """Whether somebody waits for the sweep, and what that shortens. What is not silent any more has its whole
    deadline in the next sweep that nobody waits for, which is one in every interval.
    """

    def __init__(self, seconds: float = HASTE) -> None:
        self._seconds = seconds
        self._wanted = asyncio.Event()
        self._asked = self._begun = 0
        self._silent: dict[str, Any] = {}
        """By source: what the newest sweep gave of those that were silent."""

    def ask(self) -> None:
        """The sweep in hand is to end soon, and so is the next one, which begins when that has ended."""
        self._asked += 1
        self._wanted.set()

    def begin(self) -> None:
        """A sweep begins."""
        self._begun = self._asked

    def end(self) -> None:
        """It has ended. Whoever asked before it began has had what was asked for."""
        if self._begun == self._asked:
            self._wanted.clear()

    async def of(self, source: str, look: Coroutine[Any, Any, T], silent: Callable[[T], bool]) -> T:
        """What `look` gives of the source. Where somebody waits, `look` has taken `HASTE` and the source was `silent`
        in the sweep before: what that gave.
        """
        before = self._silent.get(source)
        seen: T = await (self._soon(look, before) if before is not None else look)
        if silent(seen):
            self._silent[source] = seen
        else:
            self._silent.pop(source, None)
        return seen

    async def _soon(self, look: Coroutine[Any, Any, T], before: T) -> T:
        until = asyncio.get_running_loop().time() + self._seconds
        task, wanted = asyncio.ensure_future(look), asyncio.ensure_future(self._wanted.wait())
        try:
            await asyncio.wait((task, wanted), return_when=asyncio.FIRST_COMPLETED)
            left = until - asyncio.get_running_loop().time()
            if not task.done() and left > 0:
                await asyncio.wait((task,), timeout=left)
            return task.result() if task.done() else before
        finally:
            wanted.cancel()
            task.cancel()
            await asyncio.wait((task,), timeout=self._seconds)
