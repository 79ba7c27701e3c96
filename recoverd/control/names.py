"""Names and groups of users, as this machine knows them.

A directory server (LDAP, SSSD) may be behind them, and be down. So they are looked up in threads of their own: neither
the event loop nor the journal's thread waits for them, and nobody waits longer than `PATIENCE`.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

PATIENCE = 5.0
"""Seconds."""
T = TypeVar("T")


class Names:
    """Looks users and groups up. Nothing is kept: a membership that was taken away counts with the next request."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2, "names")

    def close(self) -> None:
        """Begin nothing more; who waits for a directory server is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def user(self, uid: int) -> str:
        """The user's name; `uid 1234` where it has none, or none is found in time."""
        with suppress(TimeoutError, OSError):
            return await self._ask(lambda: _user(uid))
        return f"uid {uid}"

    async def groups(self, uid: int) -> frozenset[str]:
        """The names of the user's groups; none of one that is not known. Raises `TimeoutError` and `OSError`."""
        return await self._ask(lambda: _groups(uid))

    async def _ask(self, look: Callable[[], T]) -> T:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().run_in_executor(self._threads, look)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _groups(uid: int) -> frozenset[str]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(_named(os.getgrouplist(user.pw_name, user.pw_gid)))


def _named(gids: Iterable[int]) -> Iterable[str]:
    for gid in gids:
        with suppress(KeyError):  # a group that has a number and no name is no group that the configuration can name
            yield grp.getgrgid(gid).gr_name
