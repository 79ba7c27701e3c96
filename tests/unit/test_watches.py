"""A configuration that is taken over while plans run: two clusters never act on the same machines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from recoverd.config import ClusterConfig, Config
from recoverd.config.types import SshSettings
from recoverd.daemon.watches import Watches
from recoverd.engine.loop import ClusterLoop
from recoverd.machine import ClusterMachine
from recoverd.metrics.server import Metrics
from recoverd.model.settings import ClusterSettings, FleetBounds, HostSettings
from recoverd.playbooks import registry
from tests.unit.builders import NOW


class Loop:
    """A cluster's loop, of which only the end of its plan is waited for."""

    def __init__(self, name: str, *, busy: bool) -> None:
        self.machine = ClusterMachine(ClusterSettings(name, ()), registry(), now=NOW)
        self.retired = False
        self.idle = asyncio.Event()
        if not busy:
            self.idle.set()

    async def retire(self) -> None:
        await self.idle.wait()
        self.retired = True


class Quiet(Watches):
    """Takes clusters up and hands them over without looking at any."""

    def add(self, cluster: ClusterConfig, *, busy: bool) -> Loop:
        name = cluster.settings.name
        loop = Loop(name, busy=busy)
        self.loops[name], self._watched[name] = cast(ClusterLoop, loop), cluster
        return loop

    def want(self, *clusters: ClusterConfig) -> list[str]:
        """As a reload does it with a file that says this."""
        self._group = cast(asyncio.TaskGroup, asyncio.get_running_loop())
        self._wanted = {c.settings.name: c for c in clusters}
        names = sorted(self._wanted.keys() | self._watched.keys())
        return [self._changed(name) for name in names if self._differs(name)]

    async def _revived(self, cluster: ClusterConfig) -> ClusterMachine:
        return ClusterMachine(cluster.settings, registry(), now=NOW)

    def _take_up(self, cluster: ClusterConfig, machine: ClusterMachine) -> None:
        self.add(cluster, busy=False)

    def _start(self, name: str) -> None:
        return

    async def _hand_over(self, name: str, loop: ClusterLoop, wanted: ClusterConfig | None) -> None:
        await asyncio.sleep(0)
        del self.loops[name], self._watched[name]
        if wanted:
            self.add(wanted, busy=False)

    def of(self, name: str) -> list[str]:
        return [h.address for h in self._watched[name].settings.control_planes]


def cluster(name: str, *planes: str) -> ClusterConfig:
    settings = ClusterSettings(name, tuple(HostSettings(f"cp{a[-1]}", a) for a in planes))
    return ClusterConfig(settings, 5.0, Path("k"), SshSettings("root", Path("key"), Path("known_hosts")))


def watching(told: Callable[[Quiet], Coroutine[Any, Any, None]]) -> None:
    async def story() -> None:
        config = cast(Config, type("C", (), {"fleet": FleetBounds(), "state_dir": Path()})())
        await told(Quiet(config, Path("recoverd.yaml"), cast(Any, None), Metrics(), lambda _: None, lambda *_: None))

    asyncio.run(story())


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_cluster_that_is_renamed_is_watched_under_its_new_name_when_its_plan_has_ended() -> None:
    async def story(watches: Quiet) -> None:
        was = watches.add(cluster("prod", "10.0.0.1"), busy=True)
        said = watches.want(cluster("production", "10.0.0.1"))
        assert "production is watched once prod, which has machines of it, has been let go" in said
        await settled()
        assert list(watches.loops) == ["prod"]
        assert any(line.startswith("production is watched once prod") for line in said)
        was.idle.set()
        await settled()
        assert list(watches.loops) == ["production"]

    watching(story)


def test_a_cluster_that_is_renamed_and_back_before_its_plan_has_ended_is_watched_on() -> None:
    async def story(watches: Quiet) -> None:
        was = watches.add(cluster("prod", "10.0.0.1"), busy=True)
        watches.want(cluster("production", "10.0.0.1"))
        await settled()
        assert watches.want(cluster("prod", "10.0.0.1")) == []
        await settled()
        was.idle.set()
        await settled()
        assert list(watches.loops) == ["prod"]
        assert not was.retired, "it takes events on, or nobody would ever look at it again"

    watching(story)


def test_a_worker_that_is_given_to_another_cluster_is_let_go_first() -> None:
    async def story(watches: Quiet) -> None:
        def having(*workers: str, name: str, plane: str) -> ClusterConfig:
            made = cluster(name, plane)
            return replace(made, settings=replace(made.settings, workers=tuple(HostSettings(w, w) for w in workers)))

        prod = watches.add(having("10.0.0.8", "10.0.0.9", name="prod", plane="10.0.0.1"), busy=True)
        wanted = having("10.0.0.9", name="test", plane="10.0.0.2")
        said = watches.want(having("10.0.0.8", name="prod", plane="10.0.0.1"), wanted)
        assert "test is watched once prod, which has machines of it, has been let go" in said
        await settled()
        assert list(watches.loops) == ["prod"]
        prod.idle.set()
        await settled()
        assert set(watches.loops) == {"prod", "test"}

    watching(story)


def test_clusters_that_change_their_machines_wait_for_each_other_and_not_for_ever() -> None:
    async def story(watches: Quiet) -> None:
        a, b = watches.add(cluster("a", "10.0.0.1"), busy=True), watches.add(cluster("b", "10.0.0.2"), busy=True)
        watches.want(cluster("a", "10.0.0.2"), cluster("b", "10.0.0.1"))
        a.idle.set()
        await settled()
        assert watches.of("a") == ["10.0.0.1"], "b has a plan running on what a is to have"
        b.idle.set()
        await settled()
        assert (watches.of("a"), watches.of("b")) == (["10.0.0.2"], ["10.0.0.1"])

    watching(story)


@pytest.mark.parametrize("planes", [("10.0.0.3",), ("10.0.0.3", "10.0.0.4")])
def test_a_cluster_of_its_own_machines_waits_for_nobody(planes: tuple[str, ...]) -> None:
    async def story(watches: Quiet) -> None:
        busy = cluster("prod", "10.0.0.1")
        watches.add(busy, busy=True)
        assert watches.want(busy, cluster("new", *planes)) == ["new is watched from now on"]
        await settled()
        assert set(watches.loops) == {"prod", "new"}
        changed = replace(busy, interval=9.0)
        assert watches.want(changed, cluster("new", *planes))
        await settled()
        assert watches._watched["prod"].interval == 5.0

    watching(story)
