"""For how long this process may act on what it owns: by etcd's word, and by its own clock where etcd is silent.

etcd counts a lease from when it got the request to renew it, this process from before it sent it, and gives up `MARGIN`
earlier: by its own clock it has stopped before anybody else can have taken over. The clock runs on while the machine is
suspended or the process is stopped, so that whoever wakes up finds that it may not act any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from recoverd.engine.journal_file import JournalError

MARGIN = 1.0
"""Seconds before a lease runs out from which on nothing is begun on the strength of it."""


def since_boot() -> float:
    """Seconds of the clock that nobody sets, suspension included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class NotOwner(JournalError):  # noqa: N818
    """The cluster is not this bastion's, or not any more: nothing of it is journalled here, and nothing done."""


class Session:
    """This process among the bastions: one lease, which is kept alive, and lost once and for all."""

    def __init__(self, lease: int, asked_at: float, ttl: float, clock: Callable[[], float] = since_boot) -> None:
        """`asked_at`: what the clock showed before the lease was asked for, `ttl`: the seconds that it was given."""
        self.lease = lease
        self._clock = clock
        self._until = asked_at + ttl - MARGIN
        self._lost = ""

    def kept(self, asked_at: float, ttl: float) -> None:
        """etcd has said that the lease lasts so many seconds from when it got what was sent after `asked_at`."""
        if ttl <= 0:
            self.lose("its lease in the bastions' etcd has run out")
        elif not self.lapsed():
            self._until = max(self._until, asked_at + ttl - MARGIN)

    def lose(self, why: str) -> None:
        self._lost = self._lost or why

    def lapsed(self) -> str:
        """Why nothing may be done on the strength of it any more, for good; "" while it may be."""
        if not self._lost and self._clock() >= self._until:
            self._lost = (
                "this bastion could not renew its lease in the bastions' etcd in time, so another one may have its "
                "clusters by now"
            )
        return self._lost

    @property
    def left(self) -> float:
        """Seconds for which it may still act without another word of etcd."""
        return 0.0 if self._lost else self._until - self._clock()


@dataclass(frozen=True, slots=True)
class Term:
    """The ownership of one cluster, from when this process got it to when it is lost or given up. A
    `recoverd.clients.lease.Tenure`.
    """

    cluster: str
    revision: int
    """Of the write that made the owner's key: it only grows from one owner to the next."""
    fleet: str
    """What tells this store from others."""
    session: Session

    @property
    def holder(self) -> str:
        return self.fleet

    @property
    def number(self) -> int:
        return self.revision

    def lapsed(self) -> str:
        return self.session.lapsed()
