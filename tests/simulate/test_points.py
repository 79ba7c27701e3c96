"""Restore points over the model cluster: an hour of the schedule, kills in the middle, and the
one before a destructive plan.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from recoverd.model.events import Approved, Note
from recoverd.model.plan import Step, StepResult
from recoverd.model.point_operations import TakeRestorePoint
from recoverd.model.points import PointSettings
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run, seconds
from recoverd.simulate.cluster import ModelCluster, settings_for
from recoverd.simulate.stage import Stage
from recoverd.simulate.world import SimulatedWorld

INTERVAL = 600.0


class World(SimulatedWorld):
    """Counts what is done about restore points; the daemon can be killed within."""

    def __init__(self, cluster: ModelCluster) -> None:
        super().__init__(cluster, "prod")
        self.taking = 0
        self.stuck = False
        self.entered = asyncio.Event()

    async def perform(self, step: Step, *, undo: bool, resume: bool) -> StepResult:
        if not isinstance(step.operation, TakeRestorePoint):
            return await super().perform(step, undo=undo, resume=resume)
        self.taking += 1
        assert self.taking == 1, "two are taken at the same time"
        try:
            if self.stuck:
                self.entered.set()
                await asyncio.Event().wait()
            return await super().perform(step, undo=undo, resume=resume)
        finally:
            self.taking -= 1


def staged(control_planes: int, told: list[Note], **points: float) -> tuple[ModelCluster, World, Stage]:
    settings = replace(
        settings_for(control_planes, 1), points=PointSettings(interval=INTERVAL, before_plans=True, **points)
    )  # type: ignore[arg-type]
    cluster = ModelCluster(settings, control_planes)
    world = World(cluster)
    return cluster, world, Stage(cluster, settings, world=world, told=told.append, interval=30.0)


def test_an_hour_of_the_schedule_with_a_kill_in_the_middle_of_one() -> None:
    run(_hour())


async def _hour() -> None:
    told: list[Note] = []
    _, world, stage = staged(3, told)
    assert await stage.until(lambda: len(stage.machine.memory.points) == 1, 300)
    await stage.wait(2.5 * INTERVAL)
    assert len(stage.machine.memory.points) == 3
    world.stuck = True
    assert await stage.until(world.entered.is_set, INTERVAL)
    await stage.kill()
    world.stuck = False
    began = seconds()
    stage.start()
    assert await stage.until(lambda: len(stage.machine.memory.points) == 4, 2 * INTERVAL), "it is tried again"
    assert seconds() - began < 400
    events = [n.entry.event for n in told if n.entry.event.startswith("restore-point")]
    assert events.count("restore-point-failed") == 1 and events.count("restore-point-taken") == 4
    await stage.kill()


def test_a_hung_one_ends_at_its_deadline_and_the_next_is_taken() -> None:
    run(_hung())


async def _hung() -> None:
    told: list[Note] = []
    _, world, stage = staged(1, told, timeout=300.0)
    world.stuck = True
    assert await stage.until(lambda: any(n.entry.event == "restore-point-failed" for n in told), 700)
    world.stuck = False
    assert await stage.until(lambda: len(stage.machine.memory.points) == 1, 700)
    assert stage.position == "healthy"
    await stage.kill()


def test_remove_member_begins_with_one_and_none_is_taken_during_the_incident() -> None:
    run(_before_a_plan())


async def _before_a_plan() -> None:
    told: list[Note] = []
    cluster, _, stage = staged(3, told)
    assert await stage.until(lambda: len(stage.machine.memory.points) == 1, 300)
    faults.power_off(cluster, "cp3")
    assert await stage.until(lambda: stage.waiting_plan is not None, 600), stage.machine.record.explanation
    await stage.wait(20 * 60)
    assert len(stage.machine.memory.points) == 1
    plan = stage.waiting_plan
    assert plan is not None and plan.playbook == "remove-member"
    await stage.give(Approved(plan.id, "alice", "", now()))
    assert await stage.until(lambda: stage.machine.record.plan is None, 600)
    assert [p.why for p in stage.machine.memory.points] == ["schedule", f"before {plan.id}"]
    assert any(n.entry.event == "plan-succeeded" for n in told), [n.entry.detail for n in told]
    await stage.kill()
