"""Running one plan: its next step, and what happens when one fails."""

from __future__ import annotations

from dataclasses import replace

from recoverd.bounds import prune
from recoverd.machine import holding, incidents, outlook, replanning, restore_points, taking_back
from recoverd.machine.account import committed, parts
from recoverd.machine.gate import BLIND_PATIENCE, Verdict, forwards
from recoverd.machine.guards import Evidence, strict
from recoverd.machine.holding import TRIES
from recoverd.machine.turn import GaveWay, Turn
from recoverd.model.events import SavePlan, StepEnded, StepIntent, StepOutcome, SweepNow
from recoverd.model.history import History
from recoverd.model.node_operations import AwaitNodeWell
from recoverd.model.plan import ActionRecord, Plan, PlanStatus, Step, StepResult
from recoverd.model.record import Run


def start(turn: Turn, plan: Plan, why: str) -> None:
    """Begin the plan: in the open incident, else as the maintenance that it opens."""
    plan = plan.with_status(PlanStatus.RUNNING)
    begins = turn.record.incident is None
    if begins:
        incidents.open_maintenance(turn, plan)
    turn.emit(SavePlan(plan))
    turn.note(History.PLAN_STARTED, f"plan {plan.id} ({plan.playbook}) runs: {why}")
    action = ActionRecord(plan.playbook, plan.basis, turn.now, None, None, incident=plan.incident)
    turn.set(
        plan=plan,
        # a person may have thought for a while: what the steps require is looked at once more
        run=Run(turn.now, 0, changed_at=None if plan.automatic else turn.now),
        ran=turn.record.ran + 1,
        stale_sweeps=0,
        stale_since=None,
        history=(*prune(turn.record.history, turn.settings.bounds, turn.now), action),
        explanation=f"plan {plan.id} ({plan.playbook}) is running: {plan.summary}",
    )
    turn.move("maintain" if begins else "act")
    _next_step(turn, 0)


# --- forwards ---


def _next_step(turn: Turn, index: int) -> None:
    """Take the first step from `index` on whose part is not left out."""
    plan, run = turn.running
    while (
        index < len(plan.steps) and plan.steps[index].part and plan.steps[index].part in {**run.skipped, **run.failed}
    ):
        index += 1
    if index == len(plan.steps):
        _steps_over(turn, plan, run)
        return
    turn.set(
        run=replace(
            run,
            index=index,
            undoing=False,
            leaving="",
            step_at=turn.now,
            held_since=turn.now,
            calm=0,
            unsure=False,
            tries=0,
        )
    )
    look_again(turn)


def look_again(turn: Turn) -> None:
    """Begin or take back the step whose turn it is, unless that must not be or waits for a sweep; called
    at every sweep while it waits.
    """
    plan, run = turn.running
    evidence = outlook.evidence(turn)
    if run.held_since is None or evidence is None or holding.waits_for_resume(turn, run):
        return
    if run.unsure and plan.steps[run.index].asks(undo=run.undoing):
        _ask(turn, evidence)
    elif run.undoing:
        _onwards(turn, taking_back.look_back(turn))
    else:
        _look_forward(turn, evidence)


def _ask(turn: Turn, evidence: Evidence) -> None:
    """After a restart: has the step in flight been done? Asked once the cluster has been seen,
    whatever is decided about it then.
    """
    _, run = turn.running
    held = holding.held(turn)
    if evidence.observation.started_at < (run.held_since or turn.now):
        return
    if evidence.blind and held <= BLIND_PATIENCE:
        holding.wait(
            turn,
            f"to ask about {holding.named(run)}: for the cluster to be seen again ({evidence.diagnosis.summary})",
            held,
        )
        return
    holding.carry_out(turn, resume=True)


def _look_forward(turn: Turn, evidence: Evidence) -> None:
    plan, run = turn.running
    step = plan.steps[run.index]
    gate = forwards(plan, run, turn.record.pause, evidence)
    if gate.verdict is Verdict.STOP:
        _take_back(turn, run.index - 1, f"stopped before step {run.index + 1}: {gate.reason}", gate.superseded)
        return
    if gate.verdict is Verdict.WAIT or plan.waits_for:
        blind = f"the cluster to be seen again ({evidence.diagnosis.summary})" if evidence.blind else ""
        _wait_for_turn(turn, plan, gate.reason if gate.verdict is Verdict.WAIT else blind, evidence)
        return
    other = replanning.otherwise(turn, plan, run, evidence) if gate.verdict in (Verdict.GO, Verdict.HOLD) else None
    if other and other.verdict is Verdict.STOP:
        _give_way(turn, plan, other.reason)
        return
    gate = other or gate
    if isinstance(step.operation, AwaitNodeWell) and run.reached < run.index:
        _begun(turn, plan, run, step)
        turn.emit(StepIntent(plan.id, run.index, False, turn.now))
        plan, run = turn.running
    if gate.verdict is Verdict.OVER:
        turn.note(History.STEPS_LEFT_OUT, f"steps from {run.index + 1} on are left out: {gate.reason}")
        _steps_over(turn, plan, run)
    elif gate.verdict is Verdict.SKIP:
        turn.note(History.NODE_SKIPPED, f"{step.part}: {gate.reason}; nothing is done to it")
        _onwards(turn, taking_back.leave(turn, step.part, run.index - 1, skipped=gate.reason))
    elif isinstance(step.operation, AwaitNodeWell):
        _watch_node(turn, plan, run, step, gate.reason)
    elif gate.verdict is Verdict.HOLD:
        _hold(turn, run, gate.reason, outlook.allowed(turn, holding.patience(turn, evidence)))
    elif run.tries >= TRIES:
        _ended(turn, plan, run, StepResult(False, _begun_in_vain(run, step), uncertain=True))
    else:
        _begun(turn, plan, run, step)
        holding.carry_out(turn, resume=run.unsure)
        _look_ahead(turn, plan, run)


def _wait_for_turn(turn: Turn, plan: Plan, why: str, evidence: Evidence) -> None:
    """Say once for whom it waits, or begin when its turn has come. What is not what would be planned any more gives way
    meanwhile, and whoever approved it is asked anew.
    """
    other = replanning.otherwise(turn, plan, turn.running[1], evidence, begins=True)
    if other and other.verdict is Verdict.STOP:
        _give_way(turn, plan, other.reason)
        return
    why = why or (other.reason if other else "")
    if not why:
        _begin_to_count(turn)
        _look_forward(turn, evidence)
    elif plan.waits_for != why:
        plan = replace(plan, waits_for=why)
        turn.set(plan=plan)
        turn.emit(SavePlan(plan))
        turn.explain(
            f"plan {plan.id} ({plan.playbook}) waits for its turn: {why}; then it begins by itself", History.WAITING
        )


def _begin_to_count(turn: Turn) -> None:
    """Whoever has waited for its turn begins as if it was approved only now."""
    plan, run = turn.running
    now = turn.now
    run = replace(run, started_at=now, step_at=now, held_since=now, changed_at=None if plan.automatic else now)
    plan = replace(plan, waits_for="")
    turn.set(plan=plan, run=run, explanation=f"plan {plan.id} ({plan.playbook}) is running: {plan.summary}")
    turn.emit(SavePlan(plan))
    turn.note(History.ITS_TURN, f"plan {plan.id} ({plan.playbook}) begins: its turn has come")


def _give_way(turn: Turn, plan: Plan, why: str) -> None:
    """End a plan that has changed nothing; what takes its place is made at the end of the event. It counts
    for no bound: nothing was done.
    """
    turn.set(history=turn.record.history[:-1])
    turn.close_plan(PlanStatus.SUPERSEDED, f"nothing was changed: {why}")
    turn.move("reconsider")
    turn.explain(f"plan {plan.id} ({plan.playbook}) gave way before it changed anything: {why}", History.WAITING)
    turn.gave_way = GaveWay(plan, why)


def _take_back(turn: Turn, last: int, failure: str, superseded: bool, leaving: str = "") -> None:
    _onwards(turn, taking_back.take_back(turn, last, failure, superseded, leaving))


def _onwards(turn: Turn, index: int | None) -> None:
    """Go on with the step, where taking back has come to its end and the plan goes on."""
    if index is not None:
        _next_step(turn, index)


def _look_ahead(turn: Turn, plan: Plan, run: Run) -> None:
    """While a step only looks, the sweep is made that the next change will have to rest on."""
    if (
        not plan.steps[run.index].looks
        or run.changed_at is None
        or turn.newest.observation.started_at >= run.changed_at
    ):
        return
    following = next((s for s in plan.steps[run.index + 1 :] if not s.looks), None)
    if following and strict(following):
        return  # it needs one that begins when this step has ended, which another would only keep waiting
    if following and (following.requires or all(s.looks for s in plan.steps[: run.reached + 1])):
        turn.emit(SweepNow(turn.name))


def _begun(turn: Turn, plan: Plan, run: Run, step: Step) -> None:
    done = replace(run, reached=run.index, away=run.away if step.looks else 0.0)
    turn.set(run=replace(done, committed=committed(plan, done, step.part)))
    turn.note(History.STEP_STARTED, f"step {run.index + 1} of {len(plan.steps)} on {step.host}: {step.description}")


def _hold(turn: Turn, run: Run, reason: str, patience: float) -> None:
    """Wait for a sweep that shows more, but not for ever."""
    held = holding.held(turn)
    if held > patience:
        _take_back(
            turn, run.index - 1, f"stopped before step {run.index + 1}: waited {held:.0f} s in vain for {reason}", False
        )
        return
    holding.wait(turn, f"before step {run.index + 1}: for {reason}", held)


def _watch_node(turn: Turn, plan: Plan, run: Run, step: Step, trouble: str) -> None:
    """One more sweep while the node of `step` is watched: is it well, for long enough?"""
    held = holding.held(turn)
    calm = 0 if trouble else run.calm + 1
    if calm >= turn.settings.bounds.recover_sweeps:
        _ended(
            turn,
            plan,
            run,
            StepResult(True, f"nothing is found of {step.part or step.host} in {calm} sweeps, after {held:.0f} s"),
        )
    elif held > outlook.allowed(turn, step.timeout):
        why = trouble or "it was not seen well in enough sweeps"
        _ended(turn, plan, run, StepResult(False, f"not well after {held:.0f} s: {why}"))
    else:
        turn.set(run=replace(run, calm=calm))
        holding.wait(turn, f"{step.host}: for {trouble or 'another sweep that finds nothing'}", held)


def _steps_over(turn: Turn, plan: Plan, run: Run) -> None:
    if run.failed and all(part in run.failed or part in run.skipped for part in parts(plan)):
        taking_back.fail(turn, "; ".join(f"{part}: {why}" for part, why in run.failed.items()), False)
        return
    turn.set(run=None, verify_since=turn.now)
    turn.move("verify")
    but = f" except on {', '.join(run.failed)}" if run.failed else ""
    turn.note(
        History.VERIFYING,
        f"every step of plan {plan.id} is done{but}; watching for up to {plan.verify_within:g} s whether that helped",
    )
    turn.emit(SweepNow(turn.name))


# --- what came of a step ---


def step_ended(turn: Turn, event: StepEnded) -> None:
    """What came of the step in flight."""
    plan, run = turn.record.plan, turn.record.run
    if (
        plan is None
        or run is None
        or run.held_since
        or (plan.id, run.index, run.undoing) != (event.plan, event.index, event.undo)
    ):
        return  # the answer of a step that is no longer waited for
    _ended(turn, plan, run, event.result)


def _ended(turn: Turn, plan: Plan, run: Run, result: StepResult) -> None:
    index, step = run.index, plan.steps[run.index]
    restore_points.learn(turn, result)
    turn.emit(StepOutcome(plan.id, index, run.undoing, turn.now, result))
    what = f"{'undo of step' if run.undoing else 'step'} {index + 1} on {step.host}"
    took = (turn.now - run.step_at).total_seconds() if run.step_at else 0.0
    event = History.STEP_DONE if result.ok else History.STEP_NOT_BEGUN if result.undone else History.STEP_FAILED
    turn.note(event, f"{what}: {result.detail}" + (f" (took {took:.0f} s)" if took >= 1 else ""))
    if run.undoing:
        _undone(turn, plan, run, result, what)
        return
    if not (step.looks or result.undone or result.untouched):
        run = replace(run, changed_at=turn.now)
        turn.set(run=run)
    if result.undone or (result.untouched and not result.ok):
        # it proves that nothing was done: what it would have committed is not committed
        before = replace(run, reached=min(run.reached, index - 1))
        run = replace(before, committed=committed(plan, before, step.part))
        turn.set(run=run)
    if result.ok:
        turn.set(run=replace(run, done=index))
        _next_step(turn, index + 1)
    elif result.undone:
        # it is begun once more, as if for the first time: on what the next sweep shows
        turn.set(run=replace(run, held_since=turn.now, calm=0))
        look_again(turn)
    else:
        _failed(turn, plan, run, result, what)


def _failed(turn: Turn, plan: Plan, run: Run, result: StepResult, what: str) -> None:
    index, step = run.index, plan.steps[run.index]
    last = index - 1 if result.untouched else index
    if step.contained and step.part and (result.untouched or not step.vital):
        turn.note(History.NODE_FAILED, f"{step.part}: {step.description} failed; the plan goes on with the others")
        _onwards(turn, taking_back.leave(turn, step.part, last, failed=f"{step.description}: {result.detail}"))
    elif result.uncertain:
        why = f"{what} ({step.description}) may or may not have run: {result.detail}"
        if committed(plan, run, step.part):
            _take_back(turn, index, why, False)  # only what must never stay, as a dangerous flag
        else:
            taking_back.fail(turn, why, superseded=False)
    else:
        _take_back(turn, last, f"{what} ({step.description}) failed: {result.detail}", False)


def _undone(turn: Turn, plan: Plan, run: Run, result: StepResult, what: str) -> None:
    """What came of taking a step back."""
    index, step = run.index, plan.steps[run.index]
    if result.ok:
        turn.set(run=replace(run, back=(*run.back, index)))
        _take_back(turn, index - 1, run.failure, run.superseded, run.leaving)
    elif result.undone and run.tries < TRIES:
        turn.set(run=replace(run, held_since=turn.now))
        _onwards(turn, taking_back.look_back(turn))
    else:
        said = _begun_in_vain(run, step) if result.undone else result.detail
        turn.set(run=replace(run, stuck=(*run.stuck, step.host)))
        _take_back(turn, index - 1, f"{run.failure}; and {what} failed: {said}", False)


def _begun_in_vain(run: Run, step: Step) -> str:
    return (
        f"it was begun {run.tries} times, and each time recoverd was ended before it knew what came of it, "
        "so it is not begun again; "
        f"look at {step.host}, and at the log of recoverd (journalctl -u recoverd) for why it ends"
    )
