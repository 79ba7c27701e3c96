"""What a running plan waits for, and for how long: sweeps that show more, a person who resumes, the end of a step
that was in flight at a restart.
"""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine.account import committed
from recoverd.machine.gate import BLIND_PATIENCE, PATIENCE
from recoverd.machine.guards import Evidence
from recoverd.machine.turn import Turn
from recoverd.model.events import Perform, Progress, StepIntent, SweepNow
from recoverd.model.history import History
from recoverd.model.plan import TimelineEntry
from recoverd.model.record import Run

INSTANT = 0.001
"""Seconds that recoverd was away at least, when it was restarted: that it was tells by being more than none."""
TRIES = 3
"""Carryings-out of one step of which recoverd was ended each time before it knew what came of
it; then a person has to look.
"""


def held(turn: Turn) -> float:
    """Seconds that the step has waited."""
    _, run = turn.running
    return (turn.now - run.held_since).total_seconds() if run.held_since else 0.0


def patience(turn: Turn, evidence: Evidence) -> float:
    """Seconds: longer where the plan has changed something and nothing is seen, since what cannot be
    seen cannot be taken back either.
    """
    plan, run = turn.running
    owed = any(
        s.undo and i not in run.back and not committed(plan, run, s.part)
        for i, s in enumerate(plan.steps[: run.reached + 1])
    )
    return BLIND_PATIENCE if evidence.blind and (owed or committed(plan, run, plan.steps[run.index].part)) else PATIENCE


def wait(turn: Turn, text: str, seconds: float) -> None:
    """Tell whoever watches what the plan has waited for, for so long; a wait that begins asks for a sweep at once."""
    incident = turn.record.incident.id if turn.record.incident else ""
    turn.emit(Progress(turn.name, incident, TimelineEntry(turn.now, History.WAITING, f"{text}, {seconds:.0f} s")))
    if not seconds:
        turn.emit(SweepNow(turn.name))


def after_restart(turn: Turn) -> None:
    """Nothing is carried out before a sweep that began after the start has shown what there
    is now; it may be hours later.
    """
    plan, run = turn.record.plan, turn.record.run
    if plan is None or run is None:
        if turn.record.verify_since:
            turn.set(verify_since=turn.now)
        return
    seen = run.seen_at or run.step_at or run.started_at
    away = max(run.away, (turn.now - seen).total_seconds(), INSTANT)
    unsure = run.unsure or run.held_since is None
    waits = replace(
        run, held_since=turn.now, calm=0, unsure=unsure, away=away, until_resumed=turn.record.pause is not None
    )
    turn.set(run=waits)
    what = f"{'the undo of step' if run.undoing else 'step'} {run.index + 1} of plan {plan.id}"
    if unsure:
        turn.note(
            History.RESUMED,
            f"recoverd was restarted during {what}; first it looks at the cluster, then it asks "
            "whether that has been done",
        )
    else:
        turn.note(History.RESUMED, f"recoverd was restarted while {what} waited for a sweep; it goes on watching")


def waits_for_resume(turn: Turn, run: Run) -> bool:
    """A restart while recoverd was paused: people are at work, and what they do is not to be run into,
    neither forwards nor backwards.
    """
    if not run.until_resumed:
        return False
    if pause := turn.record.pause:
        turn.set(run=replace(run, held_since=turn.now))
        name, plan = turn.name, turn.record.plan
        waits = (
            f"{named(run)} of plan {plan.id if plan else ''}: for `recoverctl resume {name}`, since recoverd "
            "was restarted while paused"
        )
        turn.explain(
            f"{waits} by {pause.by} ({pause.reason}); nothing is done and nothing is taken back until then",
            History.WAITING,
        )
        return True
    # the pause may have lasted for long, and whoever paused has worked on it
    away = max(run.away, (turn.now - (run.step_at or run.started_at)).total_seconds())
    turn.set(run=replace(run, until_resumed=False, held_since=turn.now, away=away))
    wait(turn, f"{named(run)}: for the next sweep", 0.0)
    return True


def named(run: Run) -> str:
    """The step whose turn it is, or its undo."""
    return f"the undo of step {run.index + 1}" if run.undoing else f"step {run.index + 1}"


def carry_out(turn: Turn, *, resume: bool) -> None:
    """Journal that the step in flight, or its undo, is begun or asked about, and have it carried out."""
    plan, run = turn.running
    asked = resume and plan.steps[run.index].asks(undo=run.undoing)
    turn.set(run=replace(run, held_since=None, unsure=False, tries=run.tries if asked else run.tries + 1))
    turn.emit(StepIntent(plan.id, run.index, run.undoing, turn.now), Perform(plan, run.index, run.undoing, resume))
