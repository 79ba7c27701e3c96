"""Each write of a step that makes several is journalled: what is about to be done before it,
and what came of it afterwards.

Whatever carries such a step out calls `journalled`; it travels in a context variable, as
`recoverd.engine.progress` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from recoverd.engine.journal_file import JournalError
from recoverd.model.plan import StepResult

Scribe = Callable[[str, StepResult | None], Awaitable[None]]
"""Journals that a write is about to be made (None), or what came of it. Raises `JournalError` where
the former could not be written.
"""

_scribe: ContextVar[Scribe | None] = ContextVar("scribe", default=None)


async def journalled(what: str, write: Callable[[], Awaitable[StepResult]], *, always: bool = False) -> StepResult:
    """Make the write once the journal has it; one that it cannot take is not made, unless it must be, `always`,
    as a dangerous flag's way out.
    """
    scribe = _scribe.get()
    try:
        if scribe:
            await scribe(what, None)
    except JournalError as error:
        if not always:
            return StepResult(False, f"not begun, since it could not be journalled: {what} ({error})", untouched=True)
    result = await write()
    if scribe:
        await scribe(what, result)
    return result


@contextmanager
def writing(scribe: Scribe) -> Iterator[None]:
    """Inside, `journalled` writes through the scribe; also from tasks that are started inside."""
    token = _scribe.set(scribe)
    try:
        yield
    finally:
        _scribe.reset(token)
