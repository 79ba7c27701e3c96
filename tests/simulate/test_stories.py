"""Every story, of the drill and of these tests, one a file: what happens, and under `----` what is decided.

`REWRITE_STORIES=1 pytest tests/simulate/test_stories.py` writes what is told now into the files; read the
difference before committing it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

import recoverd.simulate
from recoverd.model.events import Note
from recoverd.simulate.clock import run, seconds
from recoverd.simulate.script import Block, Player, Script, parse, terse, written
from recoverd.simulate.stage import Stage

HERE = Path(__file__).parent / "stories"
DRILLS = Path(recoverd.simulate.__file__).parent / "scenarios"
STORIES = [*sorted(DRILLS.glob("*.txt")), *sorted(HERE.glob("*.txt"))]


async def play(script: Script) -> Script:
    """The same story with what is really told."""
    settings, _ = script.settings()
    told: list[str] = []

    def hear(note: Note) -> None:
        if line := terse(note, seconds()):
            told.append(line)

    stage = Stage(script.model(), settings, told=hear)
    player = Player(stage, refused=lambda reason: told.append(f"{seconds():+.1f} refused: {reason}"))
    blocks = []
    place = ""
    for block in script.blocks:
        told.clear()
        await player.play(block)
        if stage.position != place:
            place = stage.position
            told.append(f"{seconds():+.1f} is {place}")
        blocks.append(Block(block.lines, tuple(told)))
    await stage.kill()
    return replace(script, blocks=tuple(blocks))


@pytest.mark.parametrize("path", STORIES, ids=lambda p: p.stem)
def test_story(path: Path) -> None:
    script = parse(path.read_text(encoding="utf-8"))
    told = run(play(script))
    if os.environ.get("REWRITE_STORIES"):
        path.write_text(written(told), encoding="utf-8")
    assert written(told) == written(script)


def test_a_story_is_written_as_it_is_read() -> None:
    for path in STORIES:
        assert written(parse(path.read_text(encoding="utf-8"))) == path.read_text(encoding="utf-8")
