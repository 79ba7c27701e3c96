"""Guards are taken out of the code, one at a time: the story that each was made for then breaks its promise, and with the guard it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from recoverd import remember
from recoverd.machine import deciding, running
from tests.soak.moves import Move, Story
from tests.soak.player import play


@dataclass(frozen=True)
class Defect:
    """What is taken out, the story, and the promise that it breaks."""

    takes_out: Callable[[pytest.MonkeyPatch], None]
    story: Story
    breaks: str


def told(planes: int, workers: int, *lines: str, eager: bool = False) -> Story:
    return Story(0, planes, workers, False, eager, tuple(Move.read(line) for line in lines))


def _pause(patch: pytest.MonkeyPatch) -> None:
    real = running.forwards
    patch.setattr(running, "forwards", lambda plan, run, pause, evidence: real(plan, run, None, evidence))


def _second_sweep(patch: pytest.MonkeyPatch) -> None:
    real = remember.current
    patch.setattr(remember, "current", lambda scene: (s := real(scene)) and replace(s, proven=True))


def _bounds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(deciding, "unasked", lambda *_: None)


AGAIN = ("stop w1 kubelet [90 s]",) * 5
DEFECTS = {
    "a pause is not asked before a step": Defect(
        _pause, told(1, 3, "stop-kube-proxy w1 w2 w3 [0 s]", "await-step 3 [0 s]", "pause [60 s]"), "while-paused"
    ),
    "one sweep with a lower revision proves a setback": Defect(_second_sweep, told(3, 2, "clock 20 [75 s]", "lag 200 [75 s]"), "acted-on-nothing"),
    "bounds are not asked": Defect(_bounds, told(1, 2, *AGAIN), "bound-exceeded"),
}


@pytest.mark.parametrize("guard", DEFECTS)
def test_a_story_breaks_its_promise_without_the_guard(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    defect = DEFECTS[guard]
    assert not play(defect.story).wrong, "with the guard"
    defect.takes_out(monkeypatch)
    assert [w.what for w in play(defect.story).wrong] == [defect.breaks]
