"""What a sweep does not wait for while a plan waits for it: what was silent in the sweep before, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from recoverd.clients.haste import Haste

MOMENT = 0.01
SILENT, WELL = "silent", "well"


async def says(what: str) -> str:
    return what


async def hangs() -> str:
    await asyncio.Event().wait()
    return WELL


async def seen(haste: Haste, first: str = SILENT) -> None:
    """One sweep that nobody waits for."""
    haste.begin()
    assert await haste.of("a", says(first), lambda s: s == SILENT) == first
    haste.end()


async def look(haste: Haste) -> str:
    return await haste.of("a", hangs(), lambda s: s == SILENT)


async def hurried(haste: Haste) -> str:
    haste.ask()
    haste.begin()
    answer = await look(haste)
    haste.end()
    return answer


async def in_hand(haste: Haste) -> str:
    haste.begin()
    task = asyncio.ensure_future(look(haste))
    await asyncio.sleep(0)
    haste.ask()
    answer = await task
    haste.end()
    return answer


@pytest.mark.parametrize("sweep", [hurried, in_hand])
async def test_what_was_silent_is_not_waited_for_again(sweep: Callable[[Haste], Awaitable[str]]) -> None:
    haste = Haste(MOMENT)
    await seen(haste)
    assert await sweep(haste) == SILENT


async def test_who_asks_during_a_sweep_has_the_next_one_hurried_too_and_then_no_more() -> None:
    haste = Haste(MOMENT)
    await seen(haste)
    await in_hand(haste)
    haste.begin()
    assert await look(haste) == SILENT
    haste.end()
    haste.begin()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(look(haste), 10 * MOMENT)


async def test_what_answered_in_the_sweep_before_has_its_whole_deadline() -> None:
    haste = Haste(MOMENT)
    await seen(haste, WELL)
    haste.ask()
    haste.begin()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(look(haste), 10 * MOMENT)


async def test_what_answers_again_is_seen() -> None:
    haste = Haste(MOMENT)
    await seen(haste)
    haste.ask()
    haste.begin()
    assert await haste.of("a", says(WELL), lambda s: s == SILENT) == WELL
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(look(haste), 10 * MOMENT)
