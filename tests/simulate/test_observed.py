"""Clusters that are only observed: every story and drill is played, and no hand is laid on any machine of the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recoverd.model.events import Approved, Event, Note, Paused, PlanRequested, PointRequested, Refused, SavePlan
from recoverd.model.plan import PlanStatus, StepResult
from recoverd.model.point_operations import LookAtRestorePoints
from recoverd.model.settings import ClusterSettings, Mode
from recoverd.playbooks import registry
from recoverd.simulate import faults, person_faults
from recoverd.simulate.act import Hands
from recoverd.simulate.clock import now, run, seconds
from recoverd.simulate.cluster import ModelCluster, settings_for
from recoverd.simulate.script import Player, parse
from recoverd.simulate.stage import Stage
from recoverd.simulate.world import SimulatedWorld
from tests.simulate.test_stories import STORIES


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What hands were laid on, however they came to be; what is on the bastion's own disk may be looked at."""
    done: list[str] = []
    attempt = Hands.attempt

    def attempted(self: Hands) -> StepResult:
        if not isinstance(self._operation, LookAtRestorePoints):
            done.append(f"{'asked ' if self._at.ask else ''}{type(self._operation).__name__} on {self._name}")
        return attempt(self)

    monkeypatch.setattr(Hands, "attempt", attempted)
    yield done


def marks(cluster: ModelCluster) -> list[str]:
    """What a bastion that may act leaves on every control plane."""
    return [m.name for m in cluster.machines.values() if m.lease or m.bastions]


def requests(stage: Stage) -> list[Event]:
    """Everything that a person may ask for and that would write somewhere."""
    record = stage.machine.record
    plan = (record.shadow.id if record.shadow else "") or f"{stage.settings.name}-1.1"
    at = now()
    return [
        Approved(plan, "operator", "", at),
        PointRequested("operator", at),
        *(PlanRequested(p.name, (), "operator", "", at) for p in registry()),
    ]


async def ask_everything(stage: Stage) -> None:
    for event in requests(stage):
        with pytest.raises(Refused, match="only observes"):
            await stage.give(event)


@pytest.mark.parametrize("path", STORIES, ids=lambda p: p.stem)
def test_nothing_is_done_in_any_story(path: Path, acts: list[str]) -> None:
    script = parse(path.read_text(encoding="utf-8"))

    async def story() -> None:
        settings, _ = script.settings()
        settings = replace(settings, mode=Mode.OBSERVE)
        cluster = script.model(settings)
        stage = Stage(cluster, settings)
        player = Player(stage)
        for block in script.blocks:
            await player.play(replace(block, lines=tuple(line for line in block.lines if not line.startswith("until"))))
            await stage.wait(30)
        await ask_everything(stage)
        plans = {e.plan.status for e in stage.ledger.entries if isinstance(e, SavePlan)}
        await stage.kill()
        assert (acts, marks(cluster), plans - {PlanStatus.SHADOW}) == ([], [], set())

    run(story())


def test_the_same_story_leaves_marks_where_recoverd_acts(acts: list[str]) -> None:
    """So that what the test above looks at would show it."""

    async def story() -> None:
        settings = settings_for(1, 2)
        stage = Stage(ModelCluster(settings, 1), settings)
        await stage.wait(30)
        faults.delete_manifest(stage.cluster, "cp1", "kube-apiserver")
        await stage.wait(60)
        await stage.kill()
        assert acts and marks(stage.cluster) == ["cp1"]

    run(story())


class Shown:
    """A stage on which the mode is changed as by a reload, and what it told."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.told: list[Note] = []
        self.stage = Stage(ModelCluster(settings, len(settings.control_planes)), settings, told=self.told.append)

    async def become(self, mode: Mode) -> None:
        stage = self.stage
        await stage.kill()
        stage.settings = replace(stage.settings, mode=mode)
        stage.world = SimulatedWorld(stage.cluster, stage.settings.name, hands_off=stage.settings.hands_off)
        stage.start()

    def events(self, event: str) -> list[str]:
        return [n.entry.detail for n in self.told if n.entry.event == event]


def test_a_plan_that_waits_when_the_mode_changes_waits_no_more_and_is_shown_instead(acts: list[str]) -> None:
    async def story() -> None:
        shown = Shown(replace(settings_for(1, 2), approval={}))
        stage = shown.stage
        await stage.wait(30)
        person_faults.log_in(stage.cluster, "w1")
        await stage.wait(10)
        faults.stop(stage.cluster, "w1", "kubelet")
        assert await stage.until(lambda: stage.waiting_plan is not None, 60)
        assert stage.waiting_plan
        waited = stage.waiting_plan.id
        acts.clear()
        await shown.become(Mode.OBSERVE)
        assert await stage.until(lambda: stage.machine.record.shadow is not None, 60), stage.position
        assert (stage.waiting_plan, stage.position) == (None, "worker-network-broken/confirmed")
        (superseded,) = shown.events("plan-superseded")
        assert waited in superseded and "only observes" in superseded
        (said,) = shown.events("plan-shadow")
        assert "would have asked for approval at " in said and acts == []
        await shown.become(Mode.ACT)
        assert await stage.until(lambda: stage.waiting_plan is not None, 60)
        assert stage.machine.record.shadow is None and stage.waiting_plan.id != waited
        await stage.kill()

    run(story())


def test_a_plan_that_was_begun_before_is_neither_gone_on_with_nor_taken_back(acts: list[str]) -> None:
    async def story() -> None:
        shown = Shown(settings_for(3, 2))
        stage = shown.stage
        await stage.wait(70)
        faults.corrupt_data(stage.cluster, "cp3")
        assert await stage.until(lambda: stage.waiting_plan is not None, 600), stage.position
        assert stage.waiting_plan
        await stage.give(Approved(stage.waiting_plan.id, "operator", "", now()))
        assert await stage.until(lambda: (r := stage.machine.record.run) is not None and r.done >= 2, 120)
        acts.clear()
        await shown.become(Mode.OBSERVE)
        assert await stage.until(lambda: stage.machine.record.run is None, 300)
        assert all(act.startswith("asked ") for act in acts), acts
        (failed,) = shown.events("plan-failed")
        assert "only observes" in failed and "not taken back" in failed
        await ask_everything(stage)
        await stage.kill()

    run(story())


def test_while_paused_nothing_is_shown_and_afterwards_it_is(acts: list[str]) -> None:
    async def story() -> None:
        shown = Shown(replace(settings_for(1, 2), mode=Mode.OBSERVE))
        stage = shown.stage
        await stage.wait(30)
        await stage.give(Paused("operator", "at work", now()))
        faults.delete_manifest(stage.cluster, "cp1", "kube-apiserver")
        await stage.wait(60)
        assert shown.events("plan-shadow") == []
        status = stage.machine.status()
        assert (status.observed, status.paused) == (True, True)
        await stage.kill()

    run(story())


def test_one_plan_is_shown_once_for_as_long_as_it_would_be_made(acts: list[str]) -> None:
    async def story() -> None:
        shown = Shown(replace(settings_for(1, 2), mode=Mode.OBSERVE))
        stage = shown.stage
        await stage.wait(30)
        faults.delete_manifest(stage.cluster, "cp1", "kube-apiserver")
        await stage.wait(3600)
        (said,) = shown.events("plan-shadow")
        assert said.startswith("plan prod-1.1 (restore-manifest) would have run unasked at "), seconds()
        (plan,) = [e.plan for e in stage.ledger.entries if isinstance(e, SavePlan)]
        assert plan.automatic and "recoverctl plans prod-1.1" in stage.machine.status().explanation
        await stage.kill()

    run(story())
