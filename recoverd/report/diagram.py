"""The state diagram as boxes and lines: where each state stands on a small grid, and a line for every move that it is
given. Pure.

It is as narrow as a phone, so that nothing of it has to be scrolled or shrunk there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

WIDTH, HEIGHT = 340, 332
TALL = 30
LEFT, RIGHT = (42, 136), (220, 110)
"""x and width of the two columns."""
OUTSIDE = {"healthy": (42, 8, 136, TALL), "unobservable": (220, 8, 110, TALL)}
PLACES = {
    "suspected": (*LEFT, 92),
    "confirmed": (*LEFT, 140),
    "awaiting-approval": (*LEFT, 188),
    "remediating": (*LEFT, 236),
    "verifying": (*LEFT, 284),
    "paused": (*RIGHT, 140),
    "escalated": (*RIGHT, 236),
}
"""x, width and y of each phase."""
FRAME = (6, 62, 328, 264)
"""What holds the phases: x, y, width, height."""


@dataclass(frozen=True, slots=True)
class Box:
    name: str
    x: int
    y: int
    width: int
    height: int

    @property
    def middle(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height // 2


@dataclass(frozen=True, slots=True)
class Line:
    """A path as SVG writes it, with an arrow at its end, and `both`: at its begin too."""

    path: str
    both: bool


@dataclass(frozen=True, slots=True)
class Diagram:
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    frame: tuple[int, int, int, int]
    kept: tuple[str, ...]
    """Phases from which no move leads straight to `healthy`."""

    def box(self, name: str) -> Box | None:
        """Where a state or a phase stands; None for one that is not drawn."""
        return next((b for b in self.boxes if b.name == name), None)


def diagram(moves: Iterable[tuple[str, str]]) -> Diagram:
    """`moves` are between `healthy`, `unobservable` and phases. Raises `KeyError` for a phase that has no place."""
    ways = frozenset(moves)
    named = {name for way in ways for name in way}
    boxes = {n: Box(n, *place) for n, place in OUTSIDE.items()}
    for name in [n for n in PLACES if n in named] + sorted(named - PLACES.keys() - OUTSIDE.keys()):
        x, width, y = PLACES[name]
        boxes[name] = Box(name, x, y, width, TALL)
    phases = [n for n in boxes if n not in OUTSIDE]
    lines = (*_within(boxes, ways), *_with_the_outside(boxes, ways))
    kept = tuple(p for p in phases if (p, "healthy") not in ways)
    return Diagram(tuple(boxes.values()), lines, FRAME, kept)


def _within(boxes: dict[str, Box], ways: frozenset[tuple[str, str]]) -> Iterator[Line]:
    """A line for each pair of phases that a move leads between, one way or both."""
    order = list(boxes)
    for source, dest in sorted(ways, key=lambda w: (order.index(w[0]), order.index(w[1]))):
        if {source, dest} & OUTSIDE.keys():
            continue
        both = (dest, source) in ways
        if not both or order.index(source) < order.index(dest):
            yield Line(_path(boxes[source], boxes[dest]), both)


def _path(a: Box, b: Box) -> str:
    """Straight where nothing stands between, else round the left side."""
    if a.x != b.x:
        begin, end = (a.x + a.width, b.x) if a.x < b.x else (a.x, b.x + b.width)
        return f"M{begin} {a.middle[1]}L{end} {b.middle[1]}"
    begin, end = (a.y + a.height, b.y) if a.y < b.y else (a.y, b.y + b.height)
    between = any(a.x == x and min(a.y, b.y) < y < max(a.y, b.y) for x, _, y in PLACES.values())
    if not between:
        return f"M{a.middle[0]} {begin}L{b.middle[0]} {end}"
    bulge = a.x - 12 - abs(a.y - b.y) // 8
    return f"M{a.x} {a.middle[1]}C{bulge} {a.middle[1]} {bulge} {b.middle[1]} {b.x} {b.middle[1]}"


def _with_the_outside(boxes: dict[str, Box], ways: frozenset[tuple[str, str]]) -> Iterator[Line]:
    """What leads from and to most phases is one line to the frame around them."""
    for name in OUTSIDE:
        box = boxes[name]
        into = any(source == name and dest not in OUTSIDE for source, dest in ways)
        back = any(dest == name and source not in OUTSIDE for source, dest in ways)
        x, top, bottom = box.middle[0], FRAME[1], box.y + box.height
        if back:
            yield Line(f"M{x} {top}L{x} {bottom}", into)
        elif into:
            yield Line(f"M{x} {bottom}L{x} {top}", False)
    healthy, blind = (boxes[n] for n in OUTSIDE)
    both = ("healthy", "unobservable") in ways and ("unobservable", "healthy") in ways
    yield Line(f"M{healthy.x + healthy.width} {healthy.middle[1]}L{blind.x} {blind.middle[1]}", both)
