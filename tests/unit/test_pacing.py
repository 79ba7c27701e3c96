"""Machines are looked at as many at once as the event loop manages: none is lost, none keeps the others waiting, and a
sweep has an end.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from recoverd.model.network import NetworkView
from recoverd.model.observation import HostView, Unseen
from recoverd.observe.pacing import FIRST, LEAST, LONGEST, NOT_YET, SILENT, Pacer
from recoverd.observe.turns import Turns
from recoverd.simulate.clock import VirtualLoop, run, seconds
from tests.unit.test_turns import MANY, seen


class Machines:
    """Machines whose answer takes so long to come, and then so much of the bastion's processor."""

    def __init__(self, answer: float = 0.1, cpu: float = 0.0) -> None:
        self.answer, self.cpu = answer, cpu
        self.inside = self.most = 0
        self.most_of_late = 0
        """At once, of the second half of them."""
        self.looked = 0

    async def look(self) -> str:
        self.looked += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(self.answer)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.seconds += self.cpu
            return "seen"
        finally:
            self.inside -= 1


async def swept(pacer: Pacer, machines: Machines, count: int) -> tuple[list[str | Unseen], float]:
    """What each look came to, and the seconds that all of them took."""
    pacer.begin()
    began = seconds()
    return await asyncio.gather(*(pacer.look(machines.look) for _ in range(count))), seconds() - began


def test_each_is_looked_at_once_and_no_more_at_once_than_are_let_in() -> None:
    machines = Machines()
    found, took = run(swept(Pacer(), machines, 500))
    assert found == ["seen"] * 500 == ["seen"] * machines.looked
    assert FIRST < machines.most < 100, "more and more of them, where the loop is not late"
    assert took < 500 / FIRST * machines.answer


def test_fewer_at_once_where_the_loop_comes_late_to_them() -> None:
    async def story() -> tuple[int, int]:
        pacer, slow = Pacer(), Machines(cpu=0.02)
        await swept(pacer, slow, 500)
        later = Machines(cpu=0.02)
        await swept(pacer, later, 500)
        return slow.most, later.most

    first, later = run(story())
    assert first >= FIRST and LEAST <= later < FIRST / 2


def test_machines_that_do_not_answer_keep_the_others_waiting_for_a_moment_only() -> None:
    dead = Machines(answer=4.0)
    _, took = run(swept(Pacer(), dead, 200))
    assert took < 4.0 + SILENT * 200 / FIRST and dead.most > FIRST


def test_one_that_waits_for_recoverd_itself_is_not_silent() -> None:
    """As for a login, of which there are so many at once: the others would wait behind it in vain."""

    async def story() -> int:
        pacer, machines = Pacer(), Machines(answer=4.0)
        pacer.begin()
        await asyncio.gather(*(pacer.look(machines.look, lambda: True) for _ in range(200)))
        return machines.most

    assert run(story()) < 2 * FIRST


def test_a_sweep_comes_to_an_end_and_the_next_one_begins_with_those_that_were_left() -> None:
    async def story() -> None:
        pacer, slow = Pacer(), Machines(answer=SILENT)
        found, took = await swept(pacer, slow, 100_000)
        assert LONGEST <= took < LONGEST + 2 * SILENT
        assert found.count("seen") == slow.looked and found.count(NOT_YET) == 100_000 - slow.looked
        assert found.index(NOT_YET) == slow.looked, "in their order"
        assert (await swept(pacer, Machines(), 1))[0] == ["seen"], "the next sweep has its own time"

    run(story())


def test_a_cluster_of_thousands_keeps_no_small_one_waiting() -> None:
    async def story() -> float:
        machines = Machines()
        many = asyncio.create_task(swept(Pacer(), machines, 5000))
        await asyncio.sleep(0.25)
        _, took = await swept(Pacer(), machines, 20)
        assert not many.done()
        return took if (await many)[0] == ["seen"] * 5000 else -1

    assert 0 < run(story()) < 5 * Machines().answer


def test_a_look_that_is_given_up_leaves_its_place() -> None:
    async def story() -> None:
        pacer, machines = Pacer(), Machines(answer=0.2)
        given_up = [asyncio.create_task(pacer.look(machines.look)) for _ in range(200)]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        await asyncio.wait(given_up)
        assert (await swept(pacer, machines, 100))[0] == ["seen"] * 100

    run(story())


def test_what_a_sweep_did_not_come_to_is_carried_over_and_first_in_the_next() -> None:
    turns, (one, *others) = Turns(30.0), MANY
    assert turns.longest_waiting(MANY) == sorted(MANY)
    turns.took(seen(MANY), MANY, MANY, (), 0.0)
    whole = seen(MANY, 1)
    network = whole.network
    assert isinstance(network, NetworkView)
    for missed in (
        replace(whole, hosts={**whole.hosts, one: NOT_YET}),
        replace(whole, network=replace(network, hosts={**network.hosts, one: NOT_YET})),
    ):
        now = turns.took(missed, MANY, MANY, (), 5.0)
        assert now.carried == {one: seen(MANY).at} and isinstance(now.hosts[one], HostView)
    assert turns.longest_waiting(MANY) == [one, *sorted(others)]
    first = Turns(30.0).took(replace(whole, hosts={**whole.hosts, one: NOT_YET}), MANY, MANY, (), 0.0)
    assert first.hosts[one] is NOT_YET and not first.carried, "what was never seen is unseen"
