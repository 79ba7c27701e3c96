"""A story that breaks a promise, made as short as it goes while it breaks the same one."""

from __future__ import annotations

import time
from dataclasses import replace

from tests.soak.moves import Move, Story
from tests.soak.player import play


def shrunk(story: Story, what: str, seconds: float) -> Story:
    """Leave out moves and waits, larger pieces first, for at most so many seconds."""
    until = time.monotonic() + seconds
    size = max(1, len(story.moves) // 2)
    while size:
        at, smaller = 0, False
        while at < len(story.moves) and time.monotonic() < until:
            less = replace(story, moves=story.moves[:at] + story.moves[at + size :])
            if _breaks(less, what):
                story, smaller = less, True
            else:
                at += size
        if not smaller:
            size //= 2
    for at, move in enumerate(story.moves):
        for shorter in (0.0, 5.0, 12.0):
            if move.then > shorter and time.monotonic() < until:
                other = _with(story, at, replace(move, then=shorter))
                if _breaks(other, what):
                    story = other
                    break
    return story


def _with(story: Story, at: int, move: Move) -> Story:
    return replace(story, moves=(*story.moves[:at], move, *story.moves[at + 1 :]))


def _breaks(story: Story, what: str) -> bool:
    return any(w.what == what for w in play(story).wrong)
