"""Guards that can be taken out of the code, one kind at a time, and the story that each was made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from recoverd import bounds
from recoverd.clients.lease import LeaseKeeper
from recoverd.diagnose import loss, people, reach
from recoverd.diagnose.scene import Scene
from recoverd.machine import decide, deciding, gate, guards, holding, outlook, replanning, requests, running, sweeps
from recoverd.machine.guards import Evidence
from recoverd.machine.turn import Turn
from recoverd.memory import remember
from recoverd.model.events import Perform, StepIntent
from recoverd.playbooks import (
    agents,
    force_new_cluster,
    nodes,
    start_node_services,
    survivors,
)
from recoverd.playbooks.base import Situation
from recoverd.simulate import world as simulated
from recoverd.simulate.act import Hands
from tests.soak.moves import Move, Story
from tests.soak.world import TroubledLedger

Patch = tuple[Any, str, Any]


@dataclass(frozen=True)
class Defect:
    """What is taken out, the story, and the promise that it breaks."""

    patches: Sequence[Patch]
    story: Story
    breaks: str

    def take_out(self, patch: pytest.MonkeyPatch) -> None:
        for where, name, what in self.patches:
            patch.setattr(where, name, what)


def told(planes: int, workers: int, *lines: str, eager: bool = False, points: bool = False) -> Story:
    return Story(0, planes, workers, points, eager, tuple(Move.read(line) for line in lines))


def silent(*_: object, **__: object) -> str:
    """A guard that has nothing against anything."""
    return ""


def nothing(*_: object, **__: object) -> None:
    return None


# --- what is taken out ---

_forwards, _current, _ended = running.forwards, remember.current, running._ended


def _at_once(turn: Turn) -> None:
    """After a restart the step in flight is begun again before anything is looked at."""
    record = turn.record
    if record.plan and record.run:
        run = record.run
        turn.set(run=replace(run, held_since=None))
        turn.emit(
            StepIntent(record.plan.id, run.index, run.undoing, turn.now),
            Perform(record.plan, run.index, run.undoing, False),
        )


def _goes_on(turn: Turn, plan: Any, run: Any, result: Any, what: str) -> None:
    """A step that failed does not end the plan."""
    running._next_step(turn, run.index + 1)


def _begun_is_past(turn: Turn, plan: Any, run: Any, result: Any) -> None:
    """What was begun counts as done, also where it is proven that nothing was."""
    _ended(turn, plan, run, replace(result, untouched=False))


async def _lost(self: TroubledLedger, instructions: Sequence[Any]) -> None:
    """A journal that fails and says nothing."""


async def _may(self: LeaseKeeper, seconds: float) -> str:
    return ""


PAUSE = ((running, "forwards", lambda plan, run, pause, evidence: _forwards(plan, run, None, evidence)),)
AT_ONCE = ((holding, "after_restart", _at_once),)
EMPTY = (
    (start_node_services, "begins_anew", silent),
    (agents, "begins_anew", silent),
    (guards, "empty_behind", silent),
    (Hands, "_guard", silent),
)
HISTORIES = ((decide, "in_the_way", silent), (guards, "second_history", silent))
SECOND_SWEEP = ((remember, "current", lambda scene: (s := _current(scene)) and replace(s, proven=True)),)
STALE = ((guards, "not_yet_seen", silent), (replanning, "otherwise", nothing))
OLD = (*STALE, (guards, "too_old", silent), (requests, "too_old", silent))
LOSS = ((force_new_cluster, "lost_writes", lambda *_: ()),)
STARTABLE = ((force_new_cluster, "may_return", nothing), (force_new_cluster, "behind_a_point", nothing))
ANY_PLAN = (
    (replanning, "same", lambda turn, plan, playbook, proposal: proposal is not None),
    (replanning, "otherwise", nothing),
)
PATIENCE = (
    (sweeps, "_since_last_sweep", nothing),
    (survivors, "may_return", nothing),
    (force_new_cluster, "may_return", nothing),
)
QUORUM = ((guards, "quorum_without", silent),)
NAMES = ((Situation, "kept", property(lambda self: "one")),)
PEOPLE = ((people, "at_work", silent), (people, "on_any", silent))
BEHIND = ((loss, "left_behind", nothing),)
ASKS = ((deciding, "runs_unasked", lambda turn, playbook, proposal: True),)
HALF = ((reach, "_half_blind", silent), (Scene, "cut_off", property(lambda self: False)))
BEGUN = ((running, "_ended", _begun_is_past),)
TRIES = ((running, "TRIES", 1000),)
BLIND = ((Evidence, "blind", property(lambda self: False)),)
BOUNDS = ((bounds, "unasked", nothing),)
LEASE = (
    (outlook, "forbids", silent),
    (gate, "forbids", silent),
    (LeaseKeeper, "may_act", _may),
    (simulated, "refuses", silent),
)
IMAGES = ((nodes, "unpulled", silent), (nodes, "without_image", lambda *_: {}))
JOURNAL = ((TroubledLedger, "write", _lost),)

# --- the stories ---

TWO_OFF = ("power-off cp2 cp3 [0 s]", "await-plan 400 [0 s]")
SPLIT = (*TWO_OFF, "approve [60 s]", "power-on cp2 cp3 [75 s]")
DEFECTS = {
    "F1 after a restart the step in flight is begun before anything is seen": Defect(
        (*AT_ONCE, *LEASE), told(1, 2, "kill-before 20 [0 s]", "stop-kube-proxy w1 [200 s]"), "before-anything-was-seen"
    ),
    "F1 a pause is not asked before a step": Defect(
        PAUSE, told(1, 7, "stop-kube-proxy w1 w2 w3 [0 s]", "await-step 3 [0 s]", "pause [60 s]"), "while-paused"
    ),
    "F2 kubelet is started over an empty directory": Defect(
        (*EMPTY, *HISTORIES),
        told(3, 2, "stop cp1 kubelet [0 s]", "lose-data cp1 [0 s]", "await-plan 60 [0 s]", "reject [60 s]"),
        "etcd-started-over-nothing",
    ),
    "F3 a second history stops nothing": Defect(
        HISTORIES, told(3, 2, *SPLIT, "stop w1 kubelet [75 s]"), "unasked-in-a-split"
    ),
    "F4 the first that does not come back does not stop the rest": Defect(
        ((running, "_failed", _goes_on),),
        told(1, 3, "take-snapshot [30 s]", "spoil-kubelet w1 w2 w3 [0 s]", "restore-snapshot cp1 [200 s]"),
        "second-node-down",
    ),
    "F5 one sweep with a lower revision proves a setback": Defect(
        SECOND_SWEEP, told(3, 2, "clock 20 [75 s]", "lag 200 [75 s]"), "acted-on-nothing"
    ),
    "F6 the flag is put in on a sweep of before": Defect(
        STALE,
        told(3, 1, *TWO_OFF, "power-on cp2 cp3 [16 s]", "sweeps-raise 40 [17 s]", "approve [30 s]"),
        "forced-while-quorum-lives",
    ),
    "F7 what was seen and the survivor lacks is not told": Defect(
        LOSS,
        told(3, 1, "partition cp1 [75 s]", "power-off cp2 cp3 [0 s]", "heal [0 s]", "await-plan 400 [0 s]"),
        "loss-not-told",
    ),
    "F8 a member is forced while the others can be started": Defect(
        STARTABLE, told(3, 1, "power-off cp2 cp3 [30 s]"), "forced-in-haste"
    ),
    "F8 a member is forced while disks that are full could be freed": Defect(
        STARTABLE, told(3, 1, "fill-disk cp2 cp3 [60 s]"), "forced-while-curable"
    ),
    "F9 what was approved runs, whatever would be planned now": Defect(
        ANY_PLAN,
        told(
            5,
            1,
            "partition cp1 [75 s]",
            "power-off cp2 cp3 cp4 cp5 [0 s]",
            "heal [0 s]",
            "await-plan 400 [0 s]",
            "power-on cp3 [60 s]",
            "approve [60 s]",
        ),
        "forced-not-the-newest",
    ),
    "F10 the newest sweep may be of any age": Defect(
        (*OLD, *LEASE),
        told(3, 1, *TWO_OFF, "sweeps-raise 240 [1 s]", "power-on cp2 cp3 [75 s]", "approve [60 s]"),
        "on-old-evidence",
    ),
    "F12 patience runs on while recoverd is away": Defect(
        PATIENCE, told(3, 2, "power-off cp2 cp3 [30 s]"), "forced-in-haste"
    ),
    "F13 a voting member is restarted while another is dead": Defect(
        QUORUM,
        told(
            3,
            1,
            "expire-soon cp1 [0 s]",
            "await-plan 60 [0 s]",
            "slow-step 45 [0 s]",
            "approve [8 s]",
            "power-off cp3 [200 s]",
        ),
        "quorum-lost-by-act",
    ),
    "F14 two plans keep to the same name": Defect(
        NAMES,
        told(
            1,
            1,
            "expire-certificates cp1 [0 s]",
            "await-plan 60 [0 s]",
            "approve [200 s]",
            "expire-soon cp1 [0 s]",
            "await-plan 60 [0 s]",
            "approve [0 s]",
            "await-step 3 [0 s]",
            "truncate-manifest cp1 kube-apiserver [200 s]",
        ),
        "certificates-made-worse",
    ),
    "F15 nobody looks whether a person is at work": Defect(
        PEOPLE, told(1, 2, "hand-restore cp1 20 [12 s]", "stop cp1 kubelet [30 s]"), "under-a-persons-hands"
    ),
    "F15 two bastions act at once": Defect(
        LEASE, told(3, 2, "second-daemon 400 [40 s]", "stop w1 kubelet [75 s]"), "two-bastions-at-once"
    ),
    "F16 only the directory that the manifest names is looked at": Defect(
        BEHIND, told(1, 1, "change-data-dir cp1 [200 s]", points=True), "restore-over-whole-data"
    ),
    "F17 what always asks runs unasked": Defect(
        ASKS, told(1, 1, "block-and-join cp9 [75 s]", eager=True), "without-decision"
    ),
    "F18 the bastion is on the small side of a partition": Defect(
        HALF,
        told(3, 2, "partition cp1 [0 s]", "hide cp2 cp3 w1 w2 [0 s]", "break-vip [0 s]", "await-plan 400 [0 s]"),
        "forced-when-half-blind",
    ),
    "F19 what is begun counts as past the point of no return": Defect(
        BEGUN,
        told(
            1,
            1,
            "block-and-join cp9 [0 s]",
            "await-plan 200 [0 s]",
            "approve [0 s]",
            "await-step 6 [0 s]",
            "not-begun [30 s]",
        ),
        "not-taken-back",
    ),
    "F20 a step is begun again after each crash": Defect(
        TRIES,
        told(
            1,
            1,
            "take-snapshot [30 s]",
            "restore-snapshot cp1 [0 s]",
            "await-step 11 [0 s]",
            *("kill-after 0 [1.2 s]",) * 40,
        ),
        "again-and-again",
    ),
    "F21 steps go on while the cluster cannot be seen": Defect(
        BLIND,
        told(1, 15, "stop-kube-proxy w1 w2 w3 w4 w5 w6 w7 [0 s]", "await-step 3 [0 s]", "torn api 12 [30 s]"),
        "while-unobservable",
    ),
    "bounds are not asked": Defect(BOUNDS, told(1, 2, *("stop w1 kubelet [90 s]",) * 5), "bound-exceeded"),
    "a wait is counted from now in every sweep": Defect(
        ((Situation, "seen_since", lambda self, *keys: self.now),),
        told(3, 1, "kubeadm-reset cp2 cp3 [200 s]"),
        "waits-without-end",
    ),
    "an agent is restarted whose image is gone": Defect(
        IMAGES,
        told(1, 2, "lose-image w1 kube-proxy [0 s]", "crash 120 [200 s]"),
        "restarted-without-its-image",
    ),
    "what is not journalled is done": Defect(JOURNAL, told(1, 2, "stop w1 kubelet [75 s]"), "step-without-intent"),
}
