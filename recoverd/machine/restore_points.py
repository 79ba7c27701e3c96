"""A chore: when a restore point is taken, on the schedule while the cluster is healthy, when a person asks, and
before every destructive plan.

One thing at a time is done about the restore points of a cluster; what is in flight is in the record before it begins.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recoverd.machine import outlook
from recoverd.machine.guards import too_old
from recoverd.machine.turn import Turn
from recoverd.model.catalogue import Of, codes
from recoverd.model.events import ChoreEnded, PointRequested, Refused
from recoverd.model.finding import State
from recoverd.model.history import History
from recoverd.model.observation import EndpointHealth
from recoverd.model.plan import Step, StepResult
from recoverd.model.point_operations import LookAtRestorePoints, TakeRestorePoint
from recoverd.model.points import RETRY, due
from recoverd.model.text import utc
from recoverd.playbooks.sources import sources

OPERATIONS: tuple[type, ...] = (TakeRestorePoint, LookAtRestorePoints)
APART = codes(Of.APART)
LOOK_SECONDS = 60.0
URGENT_SECONDS = 180.0
"""What a plan waits for its restore point."""


def consider(turn: Turn) -> None:
    """Take one where the schedule says so."""
    clock = turn.record.points
    if turn.record.pause or _refusal(turn) or not due(turn.settings.points, turn.now, clock.attempted, clock.failures):
        return
    if source := source_host(turn, clock.failures):
        _begin(turn, source, "schedule")


def consider_beside(turn: Turn) -> None:
    """The same in a sweep with faults, where they are of single nodes alone."""
    if turn.record.incident and _is_beside(turn):
        consider(turn)


def request(turn: Turn, event: PointRequested) -> None:
    """Take one now, as a person asked."""
    if refusal := _refusal(turn):
        raise Refused(f"no restore point is taken of {turn.name}: {refusal}")
    source = source_host(turn, 0)
    if source is None:
        raise Refused(
            f"no restore point is taken of {turn.name}: no etcd member is seen that is healthy and has a leader"
        )
    turn.note(History.RESTORE_POINT_ASKED, f"asked for by {event.by}")
    _begin(turn, source, "asked")


def _refusal(turn: Turn) -> str:
    """Why none is taken now outside of a plan; "" when one may be."""
    if why := turn.settings.hands_off:
        return why
    if turn.sweep is None:
        return "it has not been looked at since recoverd started; ask again in a few seconds"
    if (evidence := outlook.evidence(turn)) and (why := too_old(evidence)):
        return (
            f"it has not been looked at for a while, and whether it is healthy is not known without {why}; the "
            "log of recoverd tells why"
        )
    if turn.record.points.running:
        return "something is being done about its restore points already, and there is one at a time: recoverctl watch"
    beside = _is_beside(turn)
    if (turn.record.incident and not beside) or turn.record.run:
        incident = turn.record.incident.id if turn.record.incident else "a plan is running"
        return f"while something is wrong with it ({incident}), only a destructive plan begins with one"
    observation, diagnosis = turn.sweep.observation, turn.sweep.diagnosis
    if turn.memory.setback or not (beside or (diagnosis.state is State.HEALTHY and not diagnosis.faults)):
        return f"it is not healthy ({diagnosis.summary})"
    if observation.api.vip.health is not EndpointHealth.READY:
        return "its API server is not ready"
    if not beside and turn.record.calm_sweeps < turn.settings.bounds.recover_sweeps:
        return "it has been seen healthy in too few sweeps; ask again in a few seconds"
    return ""


def _is_beside(turn: Turn) -> bool:
    """What is wrong is of single nodes alone, or of what works through the API server, which says nothing of etcd: a
    worker that is off for a week must not make a week without a point.
    """
    faults = turn.newest.diagnosis.faults
    return bool(faults) and {f.code for f in faults} <= APART


def _begin(turn: Turn, host: str, why: str) -> None:
    turn.set(points=replace(turn.record.points, attempted=turn.now, running=why))
    turn.note(History.RESTORE_POINT_STARTED, f"a restore point is taken from {host} ({why})")
    turn.perform_chore(host, f"take a restore point from {host}", TakeRestorePoint(why), turn.settings.points.timeout)


def after_restart(turn: Turn) -> None:
    """Have looked at what is on the disk, and what a crash left there."""
    clock, settings = turn.record.points, turn.settings.points
    if clock.running and clock.running != "look":
        turn.note(
            History.RESTORE_POINT_FAILED,
            "recoverd was ended while a restore point was being taken; what there was of it does not count",
        )
        clock = replace(clock, failures=clock.failures + 1)
    known = settings.interval or settings.before_plans or turn.memory.points
    turn.set(points=replace(clock, running="look" if known else ""))
    if known:
        turn.perform_chore(
            turn.settings.control_planes[0].name,
            "look at the restore points on the bastion",
            LookAtRestorePoints(),
            LOOK_SECONDS,
        )


def ended(turn: Turn, event: ChoreEnded) -> None:
    """What came of it: the clock of the schedule goes on, and the points that there are now are remembered."""
    clock, result = turn.record.points, event.result
    turn.set(points=replace(clock, running=""))
    learn(turn, result)
    if clock.running == "look":
        if result.detail:
            turn.note(History.RESTORE_POINTS, result.detail)
    elif result.ok:
        turn.set(points=replace(turn.record.points, failures=0))
        turn.note(History.RESTORE_POINT_TAKEN, result.detail)
    else:
        failures = clock.failures + 1
        turn.set(points=replace(turn.record.points, failures=failures))
        again = ""
        if interval := turn.settings.points.interval:
            moment = turn.now + timedelta(seconds=min(interval, RETRY * 2 ** min(failures - 1, 16)))
            again = f" It is tried again at {utc(moment)}"
        turn.note(History.RESTORE_POINT_FAILED, f"{result.detail}.{again}")


def learn(turn: Turn, result: StepResult) -> None:
    """Take in which points there are; one that a plan took counts for the schedule too."""
    if result.points is None or result.points == turn.memory.points:
        return
    if result.points and (not turn.memory.points or result.points[-1].sequence > turn.memory.points[-1].sequence):
        turn.set(points=replace(turn.record.points, attempted=turn.now))
    turn.learn(replace(turn.memory, points=result.points))


def first_step(turn: Turn, plan: str) -> tuple[Step, ...]:
    """The step with which a destructive plan begins; none where no healthy member is left to take a snapshot from."""
    source = source_host(turn, 0) if turn.settings.points.before_plans else None
    if source is None:
        return ()
    operation = TakeRestorePoint(f"before {plan}", urgent=True)
    return (Step(source, f"take a restore point from {source} before anything is changed", operation, URGENT_SECONDS),)


def source_host(turn: Turn, failures: int) -> str | None:
    """Whose member the snapshot is taken from: a follower where there is one, and after a failure the next."""
    names = sources(turn.sweep.observation, turn.sweep.diagnosis) if turn.sweep else ()
    return names[failures % len(names)] if names else None
