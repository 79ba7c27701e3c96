"""How many machines are looked at at once: as many as the event loop manages without being late.

With all at once thousands of answers came in together, and those of the API server and of etcd waited behind them until
their deadlines were over: a cluster of 5,000 nodes was never seen at all, with sweeps of 10 s for ever. A look's own
deadline begins when it is let in.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from recoverd.model.unseen import Unseen, UnseenKind

T = TypeVar("T")

FIRST, LEAST = 32.0, 8.0
LAG = 0.01
"""Seconds that the event loop may take to come to a look that was let in; half of what `late` calls late."""
FEWER = 0.8
"""So many times as many are let in after one that it came to later."""
SILENT = 0.5
"""Seconds after which a machine that has not answered keeps no other from its look: it costs nothing."""
LONGEST = 30.0
"""Seconds of a sweep after which no more looks begin, as long as `workers_every` lets a calm worker wait. The others
are the first of the next sweep. Without an end the first sweep of thousands of machines, each of which has to be
logged in to, takes so long that the watchdog takes it for stuck.
"""
NOT_YET = Unseen(
    UnseenKind.OWN,
    f"recoverd did not come to it within {LONGEST:.0f} s of its sweep, and begins the next one with it: so it is with "
    "thousands of machines after a start, or while something is found; where it lasts, give recoverd more of its CPU, "
    "or fewer machines",
)


class Gate:
    """The turnstile of all looks of one process: who waits is let in as they came, each cluster in its turn, so
    that a cluster of thousands keeps no small one waiting.
    """

    def __init__(self) -> None:
        self._limit = FIRST
        self._inside = 0
        self._waiting: deque[deque[asyncio.Future[float]]] = deque()
        """By cluster; none is empty."""
        self._fewer_at = -math.inf

    async def enter(self, cluster: deque[asyncio.Future[float]]) -> None:
        """Wait for a turn; `cluster` are those of the same cluster that wait."""
        if self._inside < int(self._limit) and not self._waiting:
            self._inside += 1
            return
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if not cluster:
            self._waiting.append(cluster)
        cluster.append(turn)
        try:
            let_in = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise
        self._adapt(_now() - let_in)

    def leave(self) -> None:
        self._inside -= 1
        while self._waiting and self._inside < int(self._limit):
            cluster = self._waiting.popleft()
            turn = cluster.popleft()
            if cluster:
                self._waiting.append(cluster)
            if not turn.done():
                turn.set_result(_now())
                self._inside += 1

    def _adapt(self, lag: float) -> None:
        """Take in by how many seconds the event loop came late to one that was let in."""
        if lag <= LAG:
            self._limit += 1 / self._limit
        elif _now() - self._fewer_at > lag:
            self._limit, self._fewer_at = max(LEAST, self._limit * FEWER), _now()


_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, Gate] = WeakKeyDictionary()


class Pacer:
    """One cluster's looks at its machines."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[float]] = deque()
        self._until = math.inf

    def begin(self) -> None:
        """A sweep begins."""
        self._until = _now() + LONGEST

    async def look(self, work: Callable[[], Awaitable[T]], queued: Callable[[], bool] = lambda: False) -> T | Unseen:
        """What `work` comes to, once it is let in; `NOT_YET` where the sweep's time is over before. `queued`: whether
        it waits for recoverd itself, which is no silence of the machine.
        """
        gate = _gates.setdefault(asyncio.get_running_loop(), Gate())
        await gate.enter(self._waiting)
        if _now() > self._until:
            gate.leave()
            return NOT_YET
        place = _Place(gate.leave, queued)
        try:
            return await work()
        finally:
            place.leave()


class _Place:
    """Of a look that was let in; given back at its end, or once its machine is silent."""

    def __init__(self, give_back: Callable[[], None], queued: Callable[[], bool]) -> None:
        self._give_back: Callable[[], None] | None = give_back
        self._queued = queued
        self._wait()

    def leave(self) -> None:
        self._timer.cancel()
        if self._give_back:
            self._give_back()
            self._give_back = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SILENT, self._silent, _now() + SILENT)

    def _silent(self, due: float) -> None:
        # where the loop is late itself, the answer may be there
        if _now() - due > LAG or self._queued():
            self._wait()
        else:
            self.leave()


def _now() -> float:
    return asyncio.get_running_loop().time()
