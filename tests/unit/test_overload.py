"""What recoverd came too late for decides nothing before it has lasted three times as long as a real silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from recoverd.model.events import Observed
from recoverd.model.finding import State
from recoverd.model.plan import PlanStatus
from tests.unit.builders import Cluster
from tests.unit.test_machine import Script


def dark(script: Script, *, late: bool, until: Callable[[], bool]) -> float:
    """Sweeps that see nothing, until the condition holds; how many seconds that took."""
    began = script.now
    while not until() and script.now - began < timedelta(hours=1):
        script.now += timedelta(seconds=5)
        seen = Cluster(1, spares=1, now=script.now).everything_dark().observation()
        script.give(Observed(replace(seen, late=late)))
    return (script.now - began).total_seconds()


def test_a_cluster_is_not_called_unobservable_for_two_sweeps_for_which_recoverd_was_late() -> None:
    def unobservable(script: Script) -> float:
        script.sweep(times=3)
        return dark(script, late=late, until=lambda: script.where[0] is State.UNOBSERVABLE)

    late = False
    assert unobservable(Script()) == 10
    late = True
    assert unobservable(Script()) == 30


def verified(*, late: bool) -> tuple[float, float]:
    """For how long the verification of a plan lasted that saw nothing, and for how long it was to last."""
    script = Script()
    script.sweep(times=3)
    script.run_all(script.sweep(lambda c: c.manifest("cp1", "kube-apiserver", None), times=2))
    plan = script.plan
    assert plan.status is PlanStatus.RUNNING
    return dark(script, late=late, until=lambda: script.machine.record.plan is None), plan.verify_within


def test_a_plan_does_not_fail_because_recoverd_came_too_late_to_see_that_it_helped() -> None:
    took, allowed = verified(late=False)
    assert allowed < took <= allowed + 10
    took, allowed = verified(late=True)
    assert 3 * allowed < took <= 3 * allowed + 10
