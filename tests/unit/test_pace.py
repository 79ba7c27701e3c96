"""Overload: how many sweeps run at once, for how long one waits for its turn, and what is told of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from recoverd.engine.pace import FIRST, Pace, Turnstile
from recoverd.model.settings import STALE_INTERVALS
from recoverd.simulate.clock import run, seconds
from tests.unit.builders import Cluster

INTERVAL = 5.0
SEEN = Cluster().observation()
QUANTUM = 0.25


class Fleet:
    """Clusters whose sweeps take `work` seconds of one core: where more run at once, each takes as much longer, and
    where it takes longer than `deadline`, recoverd was late in it.
    """

    def __init__(self, clusters: int, work: float, deadline: float = 4.0) -> None:
        self.turnstile = Turnstile()
        self.paces = [Pace(self.turnstile, INTERVAL) for _ in range(clusters)]
        self.work, self.deadline = work, deadline
        self.running = 0
        self.waited = 0.0
        self.sweeps: list[tuple[int, float, bool, float]] = []
        """Cluster, when it began, whether recoverd was late, and what is told."""
        self.pressing: set[int] = set()

    async def sweep(self, number: int) -> None:
        asked = asyncio.Event()
        while True:
            began = seconds()
            due = seconds()
            async with self.paces[number].turn(asked, pressing=number in self.pressing) as sweeping:
                at, left = seconds(), self.work
                self.waited = max(self.waited, at - due)
                self.running += 1
                while left > 0:
                    left -= QUANTUM / self.running
                    await asyncio.sleep(QUANTUM)
                self.running -= 1
                late = seconds() - at > self.deadline
                seen = sweeping.seen(replace(SEEN, late=late))
                self.sweeps.append((number, at, late, seen.stretched))
            await asyncio.sleep(max(0.0, began + INTERVAL - seconds()))

    async def play(self, duration: float) -> None:
        tasks = [asyncio.create_task(self.sweep(n)) for n in range(len(self.paces))]
        await asyncio.sleep(duration)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def intervals(self, number: int, after: float = 60.0) -> list[float]:
        at = [began for n, began, *_ in self.sweeps if n == number and began > after]
        return [b - a for a, b in pairwise(at)]


def test_sweeps_that_fit_are_neither_held_up_nor_told() -> None:
    fleet = Fleet(clusters=15, work=0.2)
    run(fleet.play(300))
    assert all(abs(each - INTERVAL) <= 1 for n in range(15) for each in fleet.intervals(n, 180))
    assert not any(late or told for _, at, late, told in fleet.sweeps if at > 180)


def test_where_they_do_not_fit_fewer_run_at_once_and_those_are_in_time() -> None:
    """20 clusters of half a second take 10 s a round: all at once would take 10 s each, and none be in time."""
    fleet = Fleet(clusters=20, work=0.5)
    run(fleet.play(300))
    later = [s for s in fleet.sweeps if s[1] > 120]
    assert sum(late for *_, late, _ in later) < len(later) / 10
    # nobody is left out, and nobody waits for longer than the rule says
    assert all(max(fleet.intervals(n)) <= STALE_INTERVALS * INTERVAL + 2 for n in range(20))
    assert all(sum(fleet.intervals(n)) / len(fleet.intervals(n)) == pytest.approx(10, abs=2) for n in range(20))
    told = [told for *_, told in later if told]
    assert told and all(told > INTERVAL for told in told)


def test_who_is_pressing_does_not_wait() -> None:
    fleet = Fleet(clusters=20, work=0.5)
    fleet.pressing = {3}
    run(fleet.play(300))
    assert sum(fleet.intervals(3)) / len(fleet.intervals(3)) == pytest.approx(INTERVAL, abs=0.5)


def test_no_interval_is_longer_than_three_where_nothing_fits() -> None:
    fleet = Fleet(clusters=40, work=1.0)
    run(fleet.play(300))
    assert fleet.waited <= STALE_INTERVALS * INTERVAL
    for number in range(40):
        waited = [began for n, began, *_ in fleet.sweeps if n == number]
        assert len(waited) > 5, "it is looked at all the same"


def test_a_sweep_that_is_asked_for_ends_the_wait() -> None:
    async def story() -> None:
        turnstile, asked = Turnstile(limit=1.0, inside=1), asyncio.Event()
        waiting = asyncio.create_task(turnstile.enter(asked, 60.0))
        await asyncio.sleep(1)
        assert not waiting.done()
        asked.set()
        await waiting
        assert seconds() == pytest.approx(1) and turnstile.inside == 2

    run(story())


def test_who_is_cancelled_while_waiting_takes_no_place() -> None:
    async def story() -> None:
        turnstile = Turnstile(limit=1.0, inside=1)
        waiting = [asyncio.create_task(turnstile.enter(asyncio.Event(), 60.0)) for _ in range(2)]
        await asyncio.sleep(1)
        turnstile.limit = 1.0
        turnstile.leave(began=0.0, late=False)  # the first has its place, and is ended before it comes to it
        waiting[0].cancel()
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert turnstile.inside == 0

    run(story())


def test_one_moment_in_which_recoverd_was_late_counts_once() -> None:
    async def story() -> None:
        turnstile = Turnstile(limit=8.0, inside=8)
        for _ in range(8):
            turnstile.leave(began=-1.0 if turnstile.inside < 8 else 0.0, late=True)
        assert turnstile.limit == FIRST / 2

    run(story())
