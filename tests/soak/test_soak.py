"""Random stories are the same each time they are drawn and played, and the shrinking keeps what is broken."""

from __future__ import annotations

import pytest

from recoverd.diagnose import elsewhere, notready
from recoverd.machine import deciding, running
from recoverd.machine.turn import Turn
from recoverd.playbooks.base import Playbook, Proposal
from recoverd.simulate import faults
from tests.soak.hands import BY_HAND
from tests.soak.moves import CURABLE, FAULTS, FULL, LATEST, SIGNED, Move, Story, drawn
from tests.soak.player import play
from tests.soak.shrink import shrunk


def test_every_word_for_a_fault_can_happen() -> None:
    groups = (FAULTS, FULL, CURABLE, SIGNED, *(group for _, group, _, _ in LATEST))
    drawn_ones = {word for group in groups for word in group}
    assert faults.by_name().keys() - drawn_ones == set(), "a fault of the model that no random story has"
    assert FAULTS.keys() <= faults.by_name().keys() | BY_HAND.keys()


def test_a_seed_is_one_story() -> None:
    assert drawn(7) == drawn(7)
    first, second = play(drawn(7)), play(drawn(7))
    assert first.told == second.told
    assert [Move.read(str(m)) for m in drawn(7).moves] == list(drawn(7).moves)


def test_a_story_of_what_recoverd_can_mend_breaks_nothing() -> None:
    moves = (
        Move("stop", ("w1", "kubelet"), 30.0),
        Move("delete-manifest", ("cp2", "kube-apiserver"), 30.0),
        Move("crash", ("20",), 30.0),
    )
    outcome = play(Story(0, 3, 1, True, False, moves))
    assert outcome.wrong == []
    assert outcome.healthy
    assert outcome.steps


SERVER_DOWN = Story(0, 1, 1, False, False, (Move("power-off", ("etcd2",), 200.0),), external=3)


def test_an_etcd_on_machines_of_its_own_breaks_nothing() -> None:
    outcome = play(SERVER_DOWN)
    assert (outcome.wrong, outcome.healthy, outcome.steps) == ([], True, 0)


def test_one_of_its_servers_of_which_nobody_is_warned_is_a_broken_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "findings", lambda scene: iter(()))
    assert [w.what for w in play(SERVER_DOWN).wrong] == ["called-healthy"]


PLANE_DOWN = Story(0, 2, 1, False, False, (Move("power-off", ("cp2",), 400.0),), external=3)


def test_a_control_plane_that_is_off_beside_an_etcd_elsewhere_is_not_called_healthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No member of etcd goes with it: it was a warning for as long as it was watched."""
    outcome = play(PLANE_DOWN)
    assert (outcome.wrong, outcome.healthy, outcome.steps) == ([], True, 0)
    monkeypatch.setattr(notready, "_apart", lambda scene, name: name in scene.control_plane_names)
    assert [w.what for w in play(PLANE_DOWN).wrong] == ["called-healthy"]


def test_a_defect_is_found_and_its_story_made_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that runs destructive plans unasked: of eight moves the one is left that makes it do so."""

    def unasked(turn: Turn, playbook: Playbook, proposal: Proposal, declined: tuple[str, ...]) -> None:
        running.start(turn, deciding.make(turn, playbook, proposal), "unasked")

    monkeypatch.setattr(deciding, "take", unasked)
    idle = [Move("heal", (), 1.0), Move("newer-etcdctl", (), 1.0), Move("hand-uncordon", ("w1",), 1.0)]
    story = Story(0, 1, 1, False, False, (*idle, Move("block-and-join", ("cp9",), 75.0), *idle))
    assert [w.what for w in play(story).wrong] == ["without-decision"]
    small = shrunk(story, "without-decision", 60.0)
    assert [m.what for m in small.moves] == ["block-and-join"]
