"""The journal as the event loop uses it: one write at a time, and none lost to whoever stops waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from recoverd.engine.journal import Journal
from recoverd.engine.journal_file import JournalError
from recoverd.model.events import (
    Journalled,
)

T = TypeVar("T")


class CommittedFirst(asyncio.CancelledError):
    """Whoever waited for a write was cancelled, and the write was committed all the same."""


class Writes(Protocol):
    """Where instructions are journalled. Raises `JournalError` when they were not, and `CommittedFirst` when
    they were and it was cancelled.
    """

    async def write(self, instructions: Sequence[Journalled]) -> None: ...


async def to_its_end(write: Coroutine[Any, Any, None]) -> None:
    """Wait for a write whatever becomes of whoever waits, since what comes of it has to be known. Raises what the write
    raised, `CommittedFirst` where it was committed and the wait for it cancelled, and `CancelledError` where it failed
    and that was cancelled.
    """
    writing, cancelled = asyncio.ensure_future(write), False
    while not writing.done():
        try:
            await asyncio.wait([writing])
        except asyncio.CancelledError:
            cancelled = True
    try:
        writing.result()
    except JournalError as error:
        if cancelled:
            raise asyncio.CancelledError from error
        raise
    if cancelled:
        raise CommittedFirst


class JournalWriter:
    """The journal used from the event loop: one write at a time, in a thread, since it waits for the disk."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.trouble: str | None = None
        """Why the journal cannot be written, for `/-/healthy` and the status; None when the last write went well."""
        self._lock = asyncio.Lock()

    async def write(self, instructions: Sequence[Journalled]) -> None:
        """Commit all of them in one transaction, or raise `JournalError` and commit none."""
        async with self._lock:
            await to_its_end(self._commit(instructions))

    async def _commit(self, instructions: Sequence[Journalled]) -> None:
        try:
            await asyncio.to_thread(self.journal.write, instructions)
        except JournalError as error:
            self.trouble = str(error)
            raise
        self.trouble = None

    async def read(self, query: Callable[[Journal], T]) -> T:
        async with self._lock:
            return await asyncio.to_thread(query, self.journal)
