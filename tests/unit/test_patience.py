"""A long list that comes in steadily has time, and one that stands still has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from recoverd.observe import pieces as cutting
from recoverd.observe.objects import NODE
from recoverd.observe.pacing import LONGEST
from recoverd.observe.pieces import Patience, pieces
from recoverd.simulate.clock import run, seconds

ELEMENT = NODE + b'"name":"n"}}'


class Answer:
    """A list of so many elements, one every so many seconds."""

    status, reason = 200, "OK"

    def __init__(self, elements: int, every: float) -> None:
        self._elements, self._every = elements, every
        self.content = self

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield b'{"items":['
        for number in range(self._elements):
            await asyncio.sleep(self._every)
            yield (b"," if number else b"") + ELEMENT
        yield b"]}"


async def read(elements: int, every: float) -> tuple[int, float]:
    """The documents that it came to within 3 s, or as long as they come, and when it was over."""
    count = 0
    try:
        async with (patience := Patience(3.0)).limit:
            async for _ in pieces(Answer(elements, every), NODE, patience.came):
                count += 1
    except TimeoutError:
        return -1, seconds()
    return count, seconds()


def test_a_list_has_its_deadline_from_one_piece_to_the_next_and_all_of_it_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cutting, "PIECE", 2 * len(ELEMENT))
    assert run(read(10, 1.0)) == (10, 10.0), "it comes steadily"
    assert run(read(10, 4.0)) == (-1, 3.0), "its first does not come"
    assert run(read(1000, 1.0)) == (-1, LONGEST)


def test_a_list_of_less_than_one_piece_has_one_deadline() -> None:
    assert run(read(10, 0.2))[0] == 1
    assert run(read(10, 0.4)) == (-1, 3.0)
