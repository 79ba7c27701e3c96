"""Steps of a plan as a person reads them: what is the same on several hosts is one block. Pure.

After clusterctl's `describe`, which groups what is equal rather than to tell it once a machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Shape = dict[str, Any]
LONGEST = 8
"""Steps that one host's turn is looked for in."""
HOST = "HOST"


@dataclass(frozen=True, slots=True)
class Block:
    """Steps `first` to `last` (from 1): `steps` is one host's turn, taken on each of `hosts`."""

    first: int
    last: int
    hosts: tuple[str, ...]
    steps: tuple[Shape, ...]

    @property
    def numbers(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def folded(steps: Sequence[Shape]) -> Iterator[Block]:
    """The steps in their order, in blocks that save the most lines."""
    alike = [_alike(step) for step in steps]
    at = 0
    while at < len(steps):
        turn, times = _best(steps, alike, at)
        hosts = tuple(steps[at + i * turn]["host"] for i in range(times))
        end = at + turn * times
        yield Block(at + 1, end, hosts, tuple(steps[at : at + turn]))
        at = end


def generic(text: str, host: str) -> str:
    """The text of any host's step: without the name of the host, or with HOST in its place."""
    word = rf"(?<![\w.-]){re.escape(host)}(?![\w-]|\.\w)"
    return re.sub(word, HOST, re.sub(rf" on {word}", "", text))


def _best(steps: Sequence[Shape], alike: Sequence[object], at: int) -> tuple[int, int]:
    """How long a turn is, and on how many hosts it is taken one after the other."""
    best = (1, 1)
    for turn in range(1, LONGEST + 1):
        if turn > 1 and len({s["host"] for s in steps[at : at + turn]}) > 1:
            break
        times, seen = 1, {steps[at]["host"]}
        while True:
            start = at + turn * times
            host = steps[start]["host"] if start < len(steps) else None
            same = alike[start : start + turn] == alike[at : at + turn] and {
                s["host"] for s in steps[start : start + turn]
            } == {host}
            if not same or host in seen:
                break
            seen.add(host)
            times += 1
        if (times - 1) * turn > (best[1] - 1) * best[0]:
            best = (turn, times)
    return best


def _alike(step: Shape) -> object:
    return generic(step["description"], step["host"]), step["timeout"], step["point_of_no_return"]
