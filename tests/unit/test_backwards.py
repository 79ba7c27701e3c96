"""What must have been seen before a step is taken back, and what becomes of one that may not be."""

from __future__ import annotations

from datetime import timedelta

import pytest

from recoverd.diagnose.scene import Scene
from recoverd.machine.gate import BLIND_PATIENCE, PATIENCE, Verdict, backwards
from recoverd.machine.guards import Evidence
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, Finding, FindingKey, State
from recoverd.model.join_operations import TakeBackJoin
from recoverd.model.node_operations import Cordon
from recoverd.model.operations import Operation
from recoverd.model.people import LoginView, PeopleView
from recoverd.model.plan import Plan, PlanStatus, Step
from recoverd.model.record import Run
from tests.unit.builders import NOW, Cluster

SICK: FindingKey = (Code.POD_NETWORK_BROKEN, "w1")
WELL = Diagnosis(State.WORKER_NETWORK_BROKEN, (), "a node is broken")
SPLIT = Diagnosis(
    State.ETCD_STUCK,
    (Finding(Code.ETCD_SPLIT_BRAIN, "cp2", "cp2 is a second cluster", (), state=State.ETCD_STUCK),),
    "",
)
DARK = Diagnosis(State.UNOBSERVABLE, (), "nothing is seen")


def verdict(
    diagnosis: Diagnosis = WELL,
    *,
    held: float = 0.0,
    age: float = 5.0,
    always: bool = False,
    automatic: bool = False,
    undo: Operation | None = None,
    cluster: Cluster | None = None,
) -> tuple[Verdict, bool, str]:
    seen = (cluster or Cluster(2, 2)).observation()
    now = seen.started_at + timedelta(seconds=age)
    cordon = Cordon("w1", "prod-1.1")
    step = Step("w1", "cordon w1", cordon, 30.0, undo=undo or cordon.inverse(), undo_always=always)
    plan = Plan(
        "prod-1.1", "prod-1", "prod", "rolling-worker-reboot", "", False, automatic, PlanStatus.RUNNING, NOW, NOW,
        (), (), (), (SICK,), (SICK,), (step,), 60.0, 900.0,
    )  # fmt: skip
    run = Run(NOW, 0, undoing=True, reached=0, done=0, held_since=now - timedelta(seconds=held))
    base = cluster or Cluster(2, 2)
    gate = backwards(plan, run, Evidence(Scene(seen, base.memory(), base.settings), diagnosis, now))
    return gate.verdict, gate.owed, gate.reason


def test_on_a_fresh_sweep_of_one_history_it_is_taken_back() -> None:
    assert verdict()[0] is Verdict.GO


@pytest.mark.parametrize(
    ("more", "patience", "says"),
    [
        ({"age": 120.0}, BLIND_PATIENCE, "not older than"),
        ({"diagnosis": DARK}, BLIND_PATIENCE, "nothing is seen"),
        ({"diagnosis": SPLIT}, PATIENCE, "more than one history"),
    ],
    ids=["old", "blind", "two histories"],
)
def test_else_it_waits_and_is_then_owed_and_said(more: dict[str, object], patience: float, says: str) -> None:
    waits, _, why = verdict(held=patience, **more)  # type: ignore[arg-type]
    assert waits is Verdict.HOLD and says in why
    ends, owed, why = verdict(held=patience + 1, **more)  # type: ignore[arg-type]
    assert ends is Verdict.STOP and owed and says in why


def test_under_a_persons_hands_nothing_is_taken_back_of_what_nobody_was_asked_about() -> None:
    at_work = PeopleView((LoginView("alice", "pts/0", NOW - timedelta(minutes=2), 1.0),))
    cluster = Cluster(2, 2).host("w1", people=at_work)
    assert verdict(cluster=cluster)[0] is Verdict.GO, "this plan was approved"
    assert verdict(cluster=cluster, automatic=True)[0] is Verdict.HOLD
    ends, owed, why = verdict(cluster=cluster, automatic=True, held=PATIENCE + 1)
    assert ends is Verdict.STOP and owed and "alice" in why


def test_a_flag_that_must_not_stay_and_a_join_are_taken_back_beside_a_second_history() -> None:
    assert verdict(SPLIT, always=True)[0] is Verdict.GO
    assert verdict(DARK, always=True, held=PATIENCE + 1)[0] is Verdict.GO
    assert verdict(SPLIT, undo=TakeBackJoin("cp2", "cp1", "cp2", "10.99.1.12", 1, None))[0] is Verdict.GO
