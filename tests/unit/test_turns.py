"""Calm workers are looked at in turn: whose turn it is, what may be said without the others, and what may not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.events import Approved, Observed, Perform
from recoverd.model.finding import Phase, State
from recoverd.model.memory import Memory
from recoverd.model.network import NetworkView, NodeNetworkView, RulesView
from recoverd.model.observation import HostView, Observation, Unseen, UnseenKind
from recoverd.model.people import PeopleView
from recoverd.observe.turns import SMALL, Turns, odd
from tests.unit.builders import NOW, Cluster
from tests.unit.test_machine import Script, manifest_gone, performing, stuck


def node_off(cluster: Cluster) -> Cluster:
    """For ten minutes, which is longer than a machine takes to boot."""
    return cluster.powered_off("w1").node("w1", since=cluster.now - timedelta(minutes=10))


MANY = tuple(f"w{k:02}" for k in range(60))


def _view(sweep: Observation, name: str) -> HostView:
    view = sweep.hosts[name]
    assert isinstance(view, HostView)
    return view


def seen(names: Collection[str], turn: int = 0, **network: Any) -> Observation:
    """A sweep that has looked at these."""
    sweep = Cluster(1).observation()
    host = replace(_view(sweep, "w1"), people=PeopleView())
    of_host = NodeNetworkView(True, (), (), {}, (), RulesView("iptables", 1))
    at = sweep.at + timedelta(seconds=5 * turn)
    view = NetworkView(turn, dict.fromkeys(names, of_host), {}, **network)
    return replace(sweep, at=at, hosts=dict.fromkeys(names, host), network=view)


def played(turns: Turns, sweeps: int, interval: float = 5.0, odd_ones: Collection[str] = ()) -> list[frozenset[str]]:
    """Whom each sweep looked at."""
    looked = []
    for turn in range(sweeps):
        due = turns.due(MANY, turn * interval)
        turns.took(seen(due, turn), MANY, due, odd_ones, turn * interval)
        looked.append(due)
    return looked


@pytest.mark.parametrize("interval", [1.0, 5.0, 7.0, 29.0, 31.0])
def test_each_has_its_turn_in_time_and_the_turns_are_spread(interval: float) -> None:
    looked = played(Turns(30.0), 200, interval)
    assert looked[0] == frozenset(MANY), "at first all are"
    for worker in MANY:
        at = [k * interval for k, due in enumerate(looked) if worker in due]
        assert max(b - a for a, b in pairwise(at)) <= max(30.0, interval), worker
    if interval <= 7:
        assert max(map(len, looked[1:])) <= 60 * interval / 30 * 1.5 + 1


def test_turns_are_further_apart_where_recoverd_does_not_manage_them_and_as_usual_once_it_does() -> None:
    """A sweep over all that took too long made the next one look at all again, and so on for good."""
    turns, looked, now = Turns(30.0, 5.0), list[tuple[float, frozenset[str]]](), 0.0
    for turn in range(200):
        due = turns.due(MANY, now)
        took = len(due) * 0.4 if now < 600 else 1.0  # 24 s for all 60
        turns.took(replace(seen(due, turn), behind=max(0.0, took - 1)), MANY, due, (), now)
        looked.append((now, due))
        now += max(5.0, took)
    assert {len(due) for at, due in looked if 30 < at < 600} == {10}
    for worker in MANY:
        at = [at for at, due in looked if worker in due]
        assert max(b - a for a, b in pairwise(at)) <= 90.0
        assert max(b - a for a, b in pairwise([a for a in at if a > 720])) <= 30.0


def test_where_sweeps_do_not_come_in_time_at_all_each_looks_at_as_few_as_usual() -> None:
    """Otherwise all are overdue in each, and the sweeps stay as long as they are: with a hundred clusters of 50."""
    turns, looked = Turns(30.0, 5.0), list[frozenset[str]]()
    for turn in range(40):
        looked.append(turns.due(MANY, turn * 50.0))
        turns.took(replace(seen(looked[-1], turn), behind=10.0), MANY, looked[-1], (), turn * 50.0)
    assert {len(due) for due in looked[1:]} == {10}
    assert all(frozenset().union(*looked[k : k + 6]) == frozenset(MANY) for k in range(1, 34)), "in their order"


def test_all_are_looked_at_in_every_sweep_of_a_small_cluster_and_where_it_is_said() -> None:
    few = MANY[:SMALL]
    turns = Turns(30.0)
    turns.took(seen(few), few, few, (), 0.0)
    assert turns.due(few, 5.0) == frozenset(few)
    assert all(due == frozenset(MANY) for due in played(Turns(0.0), 3))


def test_one_of_which_something_is_odd_or_that_was_not_seen_has_its_turn_in_every_sweep() -> None:
    assert all("w07" in due for due in played(Turns(30.0), 10, odd_ones=["w07"]))
    turns = Turns(30.0)
    first = seen(MANY)
    silent = replace(first, hosts={**first.hosts, "w08": Unseen(UnseenKind.TIMEOUT, "silent")})
    turns.took(silent, MANY, MANY, (), 0.0)
    assert "w08" in turns.due(MANY, 5.0) and "w09" not in turns.due(MANY, 0.5)


def test_what_is_carried_over_keeps_its_age_and_is_never_unseen() -> None:
    turns = Turns(30.0)
    first = turns.took(seen(MANY), MANY, MANY, (), 0.0)
    assert not first.carried
    due = turns.due(MANY, 5.0)
    second = turns.took(seen(due, 1), MANY, due, (), 5.0)
    assert set(second.hosts) == set(MANY) and all(isinstance(v, HostView) for v in second.hosts.values())
    assert second.carried == {n: first.at for n in MANY if n not in due} and second.at > first.at
    assert isinstance(second.network, NetworkView) and set(second.network.hosts) == set(MANY)


def test_a_worker_that_is_no_part_of_the_cluster_any_more_is_not_carried_over() -> None:
    turns = Turns(30.0)
    turns.took(seen(MANY), MANY, MANY, (), 0.0)
    left = MANY[1:]
    due = turns.due(left, 5.0)
    assert MANY[0] not in turns.took(seen(due, 1), left, due, (), 5.0).hosts


def test_only_that_all_is_well_may_be_said_without_the_others() -> None:
    cluster = Cluster(1)
    healthy, settings, turns = cluster.observation(), cluster.settings, Turns(30.0)
    assert turns.may_stand(healthy, diagnose(healthy, Memory(), settings))
    gone = Cluster(1)
    manifest_gone(gone)
    broken = gone.observation()
    assert not turns.may_stand(broken, diagnose(broken, Memory(), settings))
    blind = replace(healthy, api=replace(healthy.api, objects=Unseen(UnseenKind.TIMEOUT, "no list")))
    assert not turns.may_stand(blind, diagnose(blind, Memory(), settings))


def test_a_warning_that_stood_when_all_were_looked_at_asks_for_no_whole_sweep_and_any_other_does() -> None:
    warned, other = Cluster(1).node("w1", unschedulable=True, cordoned_by="prod-1.1"), Cluster(1)
    whole = warned.observation()
    found = diagnose(whole, Memory(), warned.settings)
    assert found.state is State.HEALTHY and found.warnings
    part, turns = replace(whole, carried={"w1": whole.at}), Turns(30.0)
    assert not turns.may_stand(part, found), "nobody has looked at all"
    turns.found(part, found, {})
    assert not turns.may_stand(part, found), "that was not all either"
    turns.found(whole, found, {})
    assert turns.may_stand(part, found)
    well = diagnose(other.observation(), Memory(), other.settings)
    assert turns.may_stand(part, well), "whoever waits to see it gone asks for all in the next"
    turns.found(other.observation(), well, {})
    assert not turns.may_stand(part, found), "it was gone, and is back"


def test_a_fault_that_stood_when_all_were_looked_at_stands_and_its_end_asks_for_all() -> None:
    off, settings, turns = node_off(Cluster(1)), Cluster(1).settings, Turns(30.0)
    whole = off.observation()
    found = diagnose(whole, Memory(), settings)
    assert found.faults and found.state is not State.HEALTHY
    part, well = replace(whole, carried={"w1": whole.at}), Cluster(1).observation()
    assert not turns.may_stand(part, found), "nobody has looked at all"
    turns.found(whole, found, {})
    assert turns.may_stand(part, found)
    assert not turns.may_stand(replace(well, carried={"w1": well.at}), diagnose(well, Memory(), settings)), "it is gone"
    more = diagnose(manifest_gone(node_off(Cluster(1))).observation(), Memory(), settings)
    assert not turns.may_stand(part, more), "another came"


def test_what_is_odd_is_looked_at_though_nothing_is_found_yet() -> None:
    failing = seen(MANY, failing_since={"w01>w02": NOW})
    assert odd(failing, {}) == {"w01", "w02"}
    assert odd(seen(MANY), {}) == set()


def test_whoever_a_notice_is_about_has_no_turn_to_wait_for() -> None:
    cluster = Cluster(1).stopped("w1", "kubelet")
    found = diagnose(cluster.observation(), Memory(), cluster.settings)
    assert found.state is State.HEALTHY and found.findings, "the node is still Ready"
    turns, names = Turns(30.0), ("w1", *(f"a{k}" for k in range(40)))
    turns.took(seen(names), names, names, (), 0.0)
    assert "w1" not in turns.due(names, 0.5)
    turns.found(cluster.observation(), found, {})
    assert "w1" in turns.due(names, 0.5)


def test_the_machine_is_calm_only_while_nothing_is_open_found_or_planned() -> None:
    s = Script()
    assert not s.machine.calm, "nothing was seen yet"
    s.sweep()
    assert s.machine.calm
    s.sweep(stuck)
    assert not s.machine.calm, "suspected"
    s.sweep(times=1)
    assert not s.machine.calm, "what was suspected was seen gone once"
    s.sweep(times=30)
    assert s.machine.calm
    s.sweep(stuck, times=3)
    assert not s.machine.calm, "a plan waits"


def test_a_fault_that_a_person_was_called_for_leaves_the_machine_calm_and_not_quiet() -> None:
    s = Script()
    s.sweep()
    s.sweep(node_off)
    assert not s.machine.calm, "suspected"
    s.sweep(node_off, times=100)
    assert s.machine.lifecycle.phase is Phase.ESCALATED
    assert s.machine.calm and not s.machine.quiet
    s.sweep()
    assert not s.machine.calm, "it was seen gone once"
    s.sweep(node_off, times=3)
    assert s.machine.calm
    s.sweep(lambda c: manifest_gone(node_off(c)))
    assert not s.machine.calm, "another came, and is not confirmed"


def test_a_warning_that_is_confirmed_and_stays_keeps_the_machine_calm_and_not_quiet() -> None:
    def cordoned(cluster: Cluster) -> Cluster:
        return cluster.node("w1", unschedulable=True, cordoned_by="prod-1.1")

    s = Script()
    s.sweep()
    assert s.machine.calm and s.machine.quiet
    s.sweep(cordoned)
    assert not s.machine.calm, "it was seen once"
    s.sweep(cordoned, times=3)
    assert s.machine.calm and not s.machine.quiet
    s.sweep()
    assert not s.machine.calm, "it was seen gone once"
    s.sweep(times=30)
    assert s.machine.quiet


def test_nothing_is_begun_by_a_sweep_that_carries_views_over() -> None:
    s = Script()
    s.sweep()
    s.sweep(stuck, times=3)
    assert s.where[1] is Phase.AWAITING_APPROVAL
    s.now += timedelta(seconds=5)
    seen = stuck(Cluster(1, spares=1, now=s.now))
    assert isinstance(seen, Cluster)
    s.give(Observed(replace(seen.observation(), carried={"w1": s.now - timedelta(seconds=25)})))
    assert not [i for i in s.give(Approved(s.plan.id, "alice", "", s.now)) if isinstance(i, Perform)]
    assert performing(s.sweep(stuck)), "the next one looks at all"
