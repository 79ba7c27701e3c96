"""The way to one machine over SSH: one connection that is shared, and one attempt to make it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncssh

from recoverd.clients.dial import Target, dial, turn

if TYPE_CHECKING:
    from recoverd.config import SshSettings


CLOSE_SECONDS = 1.0


class Lease:
    """A live connection and how many use it; once retired it is handed out no more, and
    closed when its last user is done.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self.connection = connection
        self.users = 0
        self.retired = False

    @property
    def usable(self) -> bool:
        return not self.retired and not self.connection.is_closed()

    def release(self) -> None:
        self.users -= 1
        self._close_when_idle()

    def retire(self) -> None:
        self.retired = True
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self.retired and self.users <= 0:
            self.connection.close()


class Link:
    """The way to one machine: at most one connection that is handed out, and at most one attempt to make it."""

    def __init__(self, target: Target, ssh: SshSettings, jump: Link | None = None) -> None:
        self.target = target
        self._ssh = ssh
        self._jump = jump
        self._lease: Lease | None = None
        self._attempt: asyncio.Task[Lease] | None = None
        self._failed = False
        """The newest attempt came to nothing."""
        self.queued = False
        """An attempt waits for its turn, and nothing was sent to the machine."""
        self.first = False
        """So does one after which nothing is known to have gone wrong."""

    async def get(self) -> Lease:
        """A usable connection. Callers that come together share one attempt, which the
        deadline of one of them does not end.
        """
        if self._lease and self._lease.usable:
            return self._lease
        if self._attempt is None:
            self._attempt = asyncio.create_task(self._connect(), name=f"ssh {self.target}")
            self._attempt.add_done_callback(self._attempted)
        return await asyncio.shield(self._attempt)

    async def close(self) -> None:
        if self._attempt:
            self._attempt.cancel()
            await asyncio.gather(self._attempt, return_exceptions=True)
        if self._lease:
            connection = self._lease.connection
            connection.close()
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.wait_closed()
            except (TimeoutError, OSError, asyncssh.Error):
                connection.abort()

    def _attempted(self, attempt: asyncio.Task[Lease]) -> None:
        self._attempt, self.queued, self.first = None, False, False
        if not attempt.cancelled():
            attempt.exception()  # counts as retrieved, even when every caller has given up waiting

    async def _connect(self) -> Lease:
        if self._lease:
            self._lease.retire()
        jump = await self._jump.get() if self._jump else None
        failed, self._failed = self._failed, True
        self.queued, self.first = True, not failed
        async with turn(failed):
            self.queued = self.first = False
            self._lease = Lease(await dial(self.target, self._ssh, jump.connection if jump else None))
        self._failed = False
        return self._lease
