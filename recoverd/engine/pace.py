"""When a cluster's next sweep begins: every interval, and later where recoverd does not manage its sweeps.

**The rule.** All clusters' sweeps pass one turnstile, which lets as many run at once as recoverd manages: half as many
after a sweep in which it came too late itself, and one more after four times as many in time as run at once. Who has to
wait is let in in the order of coming, `STALE_INTERVALS` intervals after its sweep before at the latest. A cluster on
which something is suspected, under way, or asked does not wait at all.

So an interval becomes three times as long at most, for clusters on which nothing is new. That is what a sweep may be
old for an act, and what two sightings of a fault may lie apart and count as one: nothing that the machine reckons with
has to change. What counts sweeps (`confirm_sweeps`, `recover_sweeps`) takes as much longer as the interval is, what
counts seconds takes what it says, and a wait that would end because something was not seen in a sweep for which
recoverd was late takes `STALE_INTERVALS` times as long (`recoverd.machine.outlook.allowed`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from recoverd.model.observation import Observation
from recoverd.model.settings import STALE_INTERVALS

FIRST = 8
"""Sweeps at once with which a process begins: each of the first ones logs in everywhere."""
GROWS = 0.25
"""What a sweep in time adds, for each that may run at once: one more is let in after four times as many as that."""
TOLD_FROM = 1.2
"""An interval that is so many times as long as it should be is told."""


def _time() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class Turnstile:
    """Of all clusters of one process."""

    limit: float = FIRST
    """Sweeps that may run at once."""
    inside: int = 0
    _halved_at: float = float("-inf")
    _queue: deque[asyncio.Future[None]] = field(default_factory=deque)

    async def enter(self, asked: asyncio.Event, patience: float) -> None:
        """Wait for a turn, for so many seconds at most, and no longer once a sweep is `asked` for."""
        if self.inside < int(self.limit) or patience <= 0 or asked.is_set():
            self.inside += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        hurry = asyncio.create_task(asked.wait())
        try:
            await asyncio.wait((turn, hurry), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.inside -= turn.done()
            raise
        finally:
            hurry.cancel()
            with suppress(ValueError):
                self._queue.remove(turn)
        self.inside += not turn.done()

    def leave(self, *, began: float, late: bool) -> None:
        """A sweep that was let in at `began` has ended. A moment in which recoverd was late counts once, however many
        sweeps it fell into.
        """
        if not late:
            self.limit += GROWS / self.limit
        elif began >= self._halved_at:
            self.limit = max(1.0, min(self.limit, self.inside) / 2)
            self._halved_at = _time()
        self.inside -= 1
        for _ in range(min(int(self.limit) - self.inside, len(self._queue))):
            self._queue.popleft().set_result(None)
            self.inside += 1  # it is taken, though who waits for it has not come to it yet


@dataclass(slots=True)
class Pace:
    """Of one cluster, which is to be swept every `interval` seconds."""

    turnstile: Turnstile
    interval: float
    _began: float | None = None
    """When the sweep before began."""

    @asynccontextmanager
    async def turn(self, asked: asyncio.Event, *, pressing: bool) -> AsyncIterator[Sweeping]:
        """One sweep, once it is its turn. `pressing`: it does not wait."""
        due = _time()
        await self.turnstile.enter(asked, 0.0 if pressing else self._patience(due))
        began, before = _time(), self._began
        self._began = began
        sweep = Sweeping(self.interval, began - before if before is not None else 0.0, began - due)
        try:
            yield sweep
        finally:
            self.turnstile.leave(began=began, late=sweep.late)

    def _patience(self, due: float) -> float:
        return max(0.0, (self._began if self._began is not None else due) + STALE_INTERVALS * self.interval - due)


@dataclass(slots=True)
class Sweeping:
    """A sweep that has begun."""

    interval: float
    since: float
    """Seconds from the beginning of the one before; 0.0 for the first."""
    waited: float
    late: bool = False

    def seen(self, observation: Observation) -> Observation:
        """The observation with how long its interval was, where recoverd is the reason that it was too long."""
        self.late = observation.late
        own = self.waited > 0 or self.late
        told = own and self.since > TOLD_FROM * self.interval
        return replace(observation, stretched=self.since) if told else observation
