"""What clusters have to do with each other: whose turn it is, and which fault has its cause above them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from recoverd.bounds import common_causes, out_of_turn
from recoverd.engine.neighbours import Neighbours, neighbour
from recoverd.model.events import Approved, Observed, Perform, StepEnded
from recoverd.model.finding import Phase
from recoverd.model.fleet import Around, CommonCause, Neighbour
from recoverd.model.plan import PlanStatus, StepResult
from recoverd.model.settings import FleetBounds
from tests.unit.builders import NOW, Cluster
from tests.unit.test_machine import Script

DOWN = "kubelet-down"
OTHERS = Around(acting=("east", "west"), at_once=2)


def has(seconds: float, code: str = DOWN) -> Neighbour:
    return Neighbour(faults={code: NOW + timedelta(seconds=seconds)})


def fleet(*beginnings: float, well: int = 0) -> dict[str, Neighbour]:
    broken = {f"b{n}": has(at) for n, at in enumerate(beginnings)}
    return broken | {f"w{n}": Neighbour() for n in range(well)}


@pytest.mark.parametrize(
    ("clusters", "together"),
    [
        (fleet(0, 0), 0),  # two cannot tell
        (fleet(0, 100, 299), 3),
        (fleet(0, 100, 301), 0),  # not within five minutes
        (fleet(0, 200, 310, 420), 3),  # of four, three are together
        (fleet(0, 1, 2, well=6), 3),  # a third of nine
        (fleet(0, 1, 2, well=7), 0),  # less than a third of ten
        (fleet(*range(34), well=66), 34),
    ],
)
def test_a_fault_is_common_where_it_began_in_enough_clusters_and_a_share_of_all_together(
    clusters: dict[str, Neighbour], together: int
) -> None:
    causes = common_causes(clusters, FleetBounds())
    assert [len(cause.clusters) for cause in causes] == ([together] if together else [])


def test_another_fault_in_each_cluster_is_no_common_one() -> None:
    clusters = {"a": has(0), "b": has(0, "apiserver-down"), "c": has(0, "etcd-quorum-lost")}
    assert common_causes(clusters, FleetBounds()) == ()


@pytest.mark.parametrize(
    ("around", "unasked", "begins"),
    [
        (Around(), True, True),
        (Around(acting=("a", "b")), True, True),  # no bound is known
        (Around(acting=("a",), at_once=2), True, True),
        (Around(acting=("a", "b"), at_once=2), False, False),
        (Around(acting=("a",), waiting=("b",), at_once=2), False, True),
        (Around(acting=("a",), waiting=("b",), at_once=2), True, False),  # who was approved goes before
    ],
)
def test_whose_turn_it_is(around: Around, unasked: bool, begins: bool) -> None:
    assert (out_of_turn(around, unasked=unasked) == "") is begins


def test_those_that_recover_first_do_not_make_the_others_fault_another_one() -> None:
    neighbours = Neighbours()
    for name, cluster in fleet(0, 1, 2, 3, 4, well=10).items():
        neighbours.tell(name, cluster)
    (cause,) = neighbours.causes
    assert neighbours.around("b1").cause == cause and neighbours.around("w1").cause is None
    assert len(neighbours.notices()) == 1 and "b0, b1, b2, b3 and b4" in neighbours.notices()[0]
    neighbours.tell("b0", Neighbour())
    neighbours.tell("b1", Neighbour())
    (left,) = neighbours.causes
    assert left.clusters == ("b2", "b3", "b4") and left.since == cause.since
    neighbours.forget("b2")
    assert neighbours.causes == () and neighbours.notices() == []


def down(script: Script, around: Around, times: int) -> list[object]:
    """Sweeps that find the API server's manifest gone, which is put back unasked where nothing speaks against it."""
    out: list[object] = []
    for _ in range(times):
        script.now += timedelta(seconds=5)
        cluster = Cluster(1, spares=1, now=script.now).manifest("cp1", "kube-apiserver", None)
        out = list(script.machine.handle(Observed(cluster.observation()), around=around))
        script.seen += out  # type: ignore[arg-type]
    return out


def cause(since: datetime = NOW) -> CommonCause:
    return CommonCause("apiserver-manifest-missing", ("east", "prod", "west"), since)


def test_what_runs_unasked_is_not_begun_before_its_turn_and_counts_for_no_bound() -> None:
    script = Script()
    script.sweep(times=3)
    down(script, OTHERS, 100)
    assert script.machine.record.plan is None and script.machine.record.history == ()
    assert "waits for its turn: east and west are acting" in script.machine.status().explanation
    assert any(isinstance(i, Perform) for i in down(script, Around(at_once=2), 1))


def test_a_plan_that_has_begun_is_not_held_up_by_others() -> None:
    script = Script()
    script.sweep(times=3)
    out = down(script, Around(at_once=2), 2)
    (begun,) = (i for i in out if isinstance(i, Perform))
    assert neighbour(script.machine.record, script.machine.memory).acting
    script.machine.handle(Observed(Cluster(1, spares=1, now=script.now).observation()), around=OTHERS)
    assert [i for i in script.answer(begun, StepResult(True, "ok")) if isinstance(i, Perform)]


def test_an_unasked_plan_that_is_under_way_stops_when_its_cause_turns_out_to_be_above() -> None:
    script = Script()
    script.sweep(times=3)
    out = down(script, Around(at_once=3), 2)
    (begun,) = (i for i in out if isinstance(i, Perform))
    around = Around(at_once=3, cause=cause(script.now))
    script.now += timedelta(seconds=1)
    down(script, around, 1)
    out = list(script.machine.handle(StepEnded(begun.plan.id, 0, False, StepResult(True, "ok"), script.now)))
    while undo := [i for i in out if isinstance(i, Perform)]:
        assert undo[0].undo, "nothing more is done, and what was done is taken back"
        ended = StepEnded(undo[0].plan.id, undo[0].index, True, StepResult(True, "ok"), script.now)
        out = list(script.machine.handle(ended))
    assert script.machine.record.above == around.cause
    down(script, Around(at_once=3), 3)
    assert script.where[1] is Phase.AWAITING_APPROVAL and script.plan.id != begun.plan.id


def test_what_its_cause_is_above_asks_and_can_be_approved() -> None:
    script = Script()
    script.sweep(times=3)
    around = Around(at_once=3, cause=cause())
    down(script, around, 3)
    assert script.where[1] is Phase.AWAITING_APPROVAL
    plan = script.plan
    assert "began in 3 clusters together" in plan.asks and not plan.automatic
    script.machine.handle(Approved(plan.id, "alice", "", script.now), around=around)
    out = down(script, around, 1)
    assert any(isinstance(i, Perform) for i in out) and script.plan.status is PlanStatus.RUNNING


def test_what_waits_for_its_turn_is_journalled_with_the_plan_and_told() -> None:
    script = Script()
    script.sweep(times=3)
    around = Around(at_once=3, cause=cause())
    down(script, around, 3)
    digest = script.plan.digest
    script.machine.handle(Approved(script.plan.id, "alice", "", script.now), around=replace(OTHERS, cause=cause()))
    assert script.plan.status is PlanStatus.RUNNING and "east and west are acting" in script.plan.waits_for
    assert script.plan.digest == digest
    told = neighbour(script.machine.record, script.machine.memory)
    assert told.waiting and not told.acting
    assert not script.machine.watching, "it is looked at as often as ever"
    assert "waits for its turn" in script.machine.status().explanation


def test_a_fault_that_outlives_a_restart_did_not_begin_with_it() -> None:
    """Else a start of recoverd would make every fault of the fleet begin in the same minute."""
    script = Script()
    script.sweep(times=3)
    down(script, Around(cause=cause()), 3)
    (began,) = neighbour(script.machine.record, script.machine.memory).faults.values()
    script.now += timedelta(hours=1)
    script.restart()
    down(script, Around(), 2)
    assert script.machine.diagnosis
    assert (
        neighbour(script.machine.record, script.machine.memory, script.machine.diagnosis).faults[
            "apiserver-manifest-missing"
        ]
        == began
    )


def test_what_is_no_fault_is_told_to_nobody() -> None:
    script = Script()
    script.sweep(lambda c: c.node("w1", unschedulable=True), times=5)
    assert neighbour(script.machine.record, script.machine.memory, script.machine.diagnosis).faults == {}


def test_what_many_have_that_were_never_seen_healthy_holds_everything_up_and_calls_nobody() -> None:
    """As on the first day, with an SSH key that no machine knows."""
    neighbours = Neighbours()
    for name in ("a", "b", "c"):
        neighbours.tell(name, Neighbour(faults={"apiserver-not-answering": NOW}, never_healthy=True))
    (cause,) = neighbours.causes
    assert cause.unfinished and neighbours.around("a").cause == cause and neighbours.called == ()
    neighbours.tell("d", Neighbour(faults={"apiserver-not-answering": NOW}))
    assert neighbours.called == neighbours.causes != ()
