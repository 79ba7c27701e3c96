"""A fleet of model clusters under one recoverd: how many are acted on at once, and a fault that all have together."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from recoverd.engine.neighbours import Neighbours
from recoverd.model.events import Approved, Note
from recoverd.model.settings import FleetBounds
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run
from recoverd.simulate.cluster import ModelCluster, settings_for
from recoverd.simulate.stage import Stage

NAMES = "north", "east", "south", "west", "centre"


class Fleet:
    """Clusters of one control plane; `most` is on how many of them plans were under way at once."""

    def __init__(self, bounds: FleetBounds, *names: str) -> None:
        self.neighbours = Neighbours(bounds)
        self.told: dict[str, list[Note]] = {name: [] for name in names}
        self.stages = {name: self._stage(name) for name in names}
        self.most = 0

    def _stage(self, name: str) -> Stage:
        settings = replace(settings_for(1, 1), name=name)
        cluster = ModelCluster(settings, 1)
        return Stage(cluster, settings, told=self.told[name].append, neighbours=self.neighbours)

    async def wait(self, duration: float) -> None:
        """All of them at the same time."""
        for _ in range(round(duration * 2)):
            await asyncio.gather(*(stage.wait(0.5) for stage in self.stages.values()))
            self.most = max(self.most, self.neighbours.acting)

    def events(self, name: str) -> list[str]:
        return [note.entry.event for note in self.told[name]]

    async def approve_all(self) -> None:
        for stage in self.stages.values():
            if plan := stage.waiting_plan:
                await stage.give(Approved(plan.id, "alice", "", now(), plan.digest))

    async def end(self) -> None:
        for stage in self.stages.values():
            await stage.kill()


def test_no_more_are_acted_on_at_once_than_may_be_and_all_are_repaired() -> None:
    """Each would run unasked, and none of the others is a reason not to: a share of all makes no common cause here."""

    async def story() -> None:
        fleet = Fleet(FleetBounds(acting_at_once=2, same_fault_clusters=99), *NAMES)
        await fleet.wait(12)
        for stage in fleet.stages.values():
            faults.delete_manifest(stage.cluster, "cp1", "kube-apiserver")
        await fleet.wait(120)
        assert fleet.most == 2
        assert {stage.position for stage in fleet.stages.values()} == {"healthy"}
        assert all("plan-succeeded" in fleet.events(name) for name in NAMES)
        assert sum("waiting" in fleet.events(name) for name in NAMES) >= 3
        await fleet.end()

    run(story())


def test_a_fault_that_all_have_together_is_done_nothing_about_unasked_and_approved_in_turn() -> None:
    async def story() -> None:
        fleet = Fleet(FleetBounds(), *NAMES)
        await fleet.wait(12)
        for name, stage in fleet.stages.items():
            faults.delete_manifest(stage.cluster, "cp1", "kube-apiserver")
            if name == "south":
                await fleet.wait(2)  # they need not begin in the same second
        await fleet.wait(60)
        assert {s.position for s in fleet.stages.values()} == {"apiserver-down/awaiting-approval"}
        assert fleet.most == 0 and not any("plan-started" in fleet.events(name) for name in NAMES)
        assert all(fleet.events(name).count("common-cause") == 1 for name in NAMES)
        await fleet.approve_all()
        for stage in list(fleet.stages.values())[3:]:
            await stage.crash()  # those that wait are not forgotten
        await fleet.wait(200)
        assert fleet.most == FleetBounds().acting_at_once
        assert {s.position for s in fleet.stages.values()} == {"healthy"}
        assert sum("its-turn" in fleet.events(name) for name in NAMES) == 2
        assert fleet.neighbours.causes == ()
        await fleet.end()

    run(story())
