"""The way back: what a plan that does not go on has done is undone, newest first, as far as that is
safe; and what it leaves is told.

Nothing here begins a step forwards: where the plan goes on after one part has been taken back, `running`
is given the step to go on with.
"""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine import holding, outlook
from recoverd.machine.account import committed, left_by
from recoverd.machine.gate import Verdict, backwards
from recoverd.machine.turn import Turn
from recoverd.model.history import History
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.record import Run


def leave(turn: Turn, part: str, last: int, *, skipped: str = "", failed: str = "") -> int | None:
    """Leave one part out from now on; what was done of it up to `last` is taken back, then the plan goes on."""
    _, run = turn.running
    run = (
        replace(run, skipped={**run.skipped, part: skipped})
        if skipped
        else replace(run, failed={**run.failed, part: failed})
    )
    turn.set(run=replace(run, held_since=None))
    return take_back(turn, last, skipped or failed, False, leaving=part)


def take_back(turn: Turn, last: int, failure: str, superseded: bool, leaving: str = "") -> int | None:
    """Undo the steps up to `last`, newest first, as far as that is safe; then end the plan or,
    `leaving` one part, go on after it.

    Gives the step to go on with, where the plan goes on now.
    """
    plan, run = turn.running
    for index in range(last, -1, -1):
        step = plan.steps[index]
        out = step.part != leaving if leaving else step.part in {**run.skipped, **run.failed}
        if (
            step.undo is None
            or out
            or step.host in run.stuck
            or (committed(plan, run, step.part) and not step.undo_always)
        ):
            continue
        undoing = replace(run, index=index, undoing=True, failure=failure, superseded=superseded, leaving=leaving)
        turn.set(run=replace(undoing, step_at=turn.now, held_since=turn.now, unsure=False, tries=0))
        return look_back(turn)
    if leaving:
        # every step up to the furthest one begun belongs to it or has been done
        return run.reached + 1
    fail(turn, failure, superseded)
    return None


def look_back(turn: Turn) -> int | None:
    """Take the step back whose turn it is, unless that waits for what a sweep shows or must not
    be; gives what `take_back` gives.
    """
    plan, run = turn.running
    step, evidence = plan.steps[run.index], outlook.evidence(turn)
    if evidence is None:
        return None
    gate = backwards(plan, run, evidence)
    if gate.verdict is Verdict.HOLD:
        holding.wait(turn, f"before step {run.index + 1} is taken back: for {gate.reason}", holding.held(turn))
    elif gate.verdict is Verdict.STOP:
        turn.note(
            History.UNDO_REFUSED,
            f"step {run.index + 1} on {step.host} is not taken back ({step.description}): {gate.reason}",
        )
        return _stays(turn, plan, run, gate.reason, owed=gate.owed)
    else:
        if not run.tries:
            turn.note(History.UNDO_STARTED, f"step {run.index + 1} on {step.host} is taken back: {step.description}")
        turn.set(run=replace(run, away=0.0))
        holding.carry_out(turn, resume=False)
    return None


def _stays(turn: Turn, plan: Plan, run: Run, why: str, *, owed: bool) -> int | None:
    """The step is not taken back, and nothing before it on its host, where a manifest may
    come back only after its data. Where that is `owed`, the plan has failed and a person is called, whatever stopped
    it.
    """
    step = plan.steps[run.index]
    turn.set(run=replace(run, stuck=(*run.stuck, step.host)))
    failure = f"{run.failure}; and step {run.index + 1} on {step.host} was not taken back: {why}"
    return take_back(turn, run.index - 1, failure, run.superseded and not owed, run.leaving)


def fail(turn: Turn, reason: str, superseded: bool) -> None:
    """End the plan without success, and say what it leaves; superseded, it is no failure of its own."""
    plan, run = turn.running
    left = left_by(plan, run)
    turn.end_action(False)
    turn.close_plan(PlanStatus.SUPERSEDED if superseded else PlanStatus.FAILED, reason + left)
    if superseded:
        turn.move("reconsider")
        turn.explain(f"plan {plan.id} stopped: {reason}{left}")
        return
    told = (
        f"{plan.playbook} (plan {plan.id}) failed: {reason}{left}. Look at it, then `recoverctl ack "
        f"{plan.incident}` lets recoverd try again"
    )
    turn.decline(plan, told)
    turn.move("escalate")
    turn.explain(told, History.ESCALATED)
