"""Running one plan: the next step, what happens when one fails, and when the plan has succeeded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recoverd.bounds import prune
from recoverd.diagnose.absence import doubt
from recoverd.machine.gate import BLIND_PATIENCE, Gate, Verdict, committed, forwards, parts
from recoverd.machine.guards import Evidence
from recoverd.machine.holding import TRIES
from recoverd.machine.taking_back import TakingBack
from recoverd.model.events import SavePlan, StepEnded, StepIntent, StepOutcome, SweepNow
from recoverd.model.node_operations import Settled
from recoverd.model.plan import ActionRecord, Plan, PlanStatus, Step, StepResult
from recoverd.model.record import Run


class PlanRunning(TakingBack):
    """The part of the machine that is at work in `remediating` and `verifying`."""

    def _start(self, plan: Plan, why: str) -> None:
        plan = plan.with_status(PlanStatus.RUNNING)
        begins = self.record.incident is None
        if begins:
            self._open_maintenance(plan)
        self._emit(SavePlan(plan))
        self._note("plan-started", f"plan {plan.id} ({plan.playbook}) runs: {why}")
        action = ActionRecord(plan.playbook, plan.basis, self.now, None, None, incident=plan.incident)
        self._set(
            plan=plan,
            # a person may have thought for a while: what the steps require is looked at once more
            run=Run(self.now, 0, changed_at=None if plan.automatic else self.now),
            ran=self.record.ran + 1,
            stale_sweeps=0,
            stale_since=None,
            history=(*prune(self.record.history, self.settings.bounds, self.now), action),
            explanation=f"plan {plan.id} ({plan.playbook}) is running: {plan.summary}",
        )
        self.lifecycle.move("maintain" if begins else "act")
        self._next_step(0)
        if not plan.automatic and self.record.run and self.record.run.held_since is None:
            self._emit(SweepNow(self.settings.name))

    def _open_maintenance(self, plan: Plan) -> None:
        raise NotImplementedError

    def _otherwise(self, plan: Plan, run: Run, evidence: Evidence) -> Gate | None:
        raise NotImplementedError

    def _give_way(self, plan: Plan, why: str) -> None:
        raise NotImplementedError

    # --- forwards ---

    def _next_step(self, index: int) -> None:
        """Take the first step from `index` on whose part is not left out."""
        plan, run = self._running()
        while index < len(plan.steps) and plan.steps[index].part and plan.steps[index].part in {**run.skipped, **run.failed}:
            index += 1
        if index == len(plan.steps):
            self._steps_over(plan, run)
            return
        self._set(run=replace(run, index=index, undoing=False, leaving="", step_at=self.now, held_since=self.now, calm=0, unsure=False, tries=0))
        self._look_again()

    def _look_again(self) -> None:
        """Begin or take back the step whose turn it is, unless that must not be or waits for a sweep; called at every sweep while it waits."""
        plan, run = self._running()
        evidence = self._evidence()
        if run.held_since is None or evidence is None or self._waits_for_resume(run):
            return
        if run.unsure and plan.steps[run.index].asks(undo=run.undoing):
            self._ask(evidence)
        elif run.undoing:
            self._look_back()
        else:
            self._look_forward(evidence)

    def _ask(self, evidence: Evidence) -> None:
        """After a restart: has the step in flight been done? Asked once the cluster has been seen, whatever is decided about it then."""
        _, run = self._running()
        held = self._held()
        if evidence.observation.started_at < (run.held_since or self.now):
            return
        if evidence.blind and held <= BLIND_PATIENCE:
            self._await(f"to ask about {self._what(run)}: for the cluster to be seen again ({evidence.diagnosis.summary})", held)
            return
        self._emit_step(resume=True)

    def _look_forward(self, evidence: Evidence) -> None:
        plan, run = self._running()
        step = plan.steps[run.index]
        gate = forwards(plan, run, self.record.pause, evidence)
        if gate.verdict is Verdict.STOP:
            self._take_back(run.index - 1, f"stopped before step {run.index + 1}: {gate.reason}", gate.superseded)
            return
        other = self._otherwise(plan, run, evidence) if gate.verdict in (Verdict.GO, Verdict.HOLD) else None
        if other and other.verdict is Verdict.STOP:
            self._give_way(plan, other.reason)
            return
        gate = other or gate
        if isinstance(step.operation, Settled) and run.reached < run.index:
            self._begun(plan, run, step)
            self._emit(StepIntent(plan.id, run.index, False, self.now))
            plan, run = self._running()
        if gate.verdict is Verdict.OVER:
            self._note("steps-left-out", f"steps from {run.index + 1} on are left out: {gate.reason}")
            self._steps_over(plan, run)
        elif gate.verdict is Verdict.SKIP:
            self._note("node-skipped", f"{step.part}: {gate.reason}; nothing is done to it")
            self._leave(step.part, run.index - 1, skipped=gate.reason)
        elif isinstance(step.operation, Settled):
            self._settle(plan, run, step, gate.reason)
        elif gate.verdict is Verdict.HOLD:
            self._hold(run, gate.reason, self._patience(evidence))
        elif run.tries >= TRIES:
            self._ended(plan, run, StepResult(False, _begun_in_vain(run, step), uncertain=True))
        else:
            self._begun(plan, run, step)
            self._emit_step(resume=run.unsure)
            self._look_ahead(plan, run)

    def _look_ahead(self, plan: Plan, run: Run) -> None:
        """While a step only looks, the sweep is made that the next change will have to rest on."""
        if not plan.steps[run.index].looks or run.changed_at is None or (self.observation and self.observation.started_at >= run.changed_at):
            return
        following = next((s for s in plan.steps[run.index + 1 :] if not s.looks), None)
        if following and (following.requires or all(s.looks for s in plan.steps[: run.reached + 1])):
            self._emit(SweepNow(self.settings.name))

    def _begun(self, plan: Plan, run: Run, step: Step) -> None:
        done = replace(run, reached=run.index, away=run.away if step.looks else 0.0)
        self._set(run=replace(done, committed=committed(plan, done, step.part)))
        self._note("step-started", f"step {run.index + 1} of {len(plan.steps)} on {step.host}: {step.description}")

    def _hold(self, run: Run, reason: str, patience: float) -> None:
        """Wait for a sweep that shows more, but not for ever."""
        held = self._held()
        if held > patience:
            self._take_back(run.index - 1, f"stopped before step {run.index + 1}: waited {held:.0f} s in vain for {reason}", False)
            return
        self._await(f"before step {run.index + 1}: for {reason}", held)

    def _settle(self, plan: Plan, run: Run, step: Step, trouble: str) -> None:
        """One more sweep while the node of `step` is watched: is it well, for long enough?"""
        held = self._held()
        calm = 0 if trouble else run.calm + 1
        if calm >= self.settings.bounds.recover_sweeps:
            self._ended(plan, run, StepResult(True, f"nothing is found of {step.part or step.host} in {calm} sweeps, after {held:.0f} s"))
        elif held > step.timeout:
            why = trouble or "it was not seen well in enough sweeps"
            self._ended(plan, run, StepResult(False, f"not well after {held:.0f} s: {why}"))
        else:
            self._set(run=replace(run, calm=calm))
            self._await(f"{step.host}: for {trouble or 'another sweep that finds nothing'}", held)

    def _steps_over(self, plan: Plan, run: Run) -> None:
        if run.failed and all(part in run.failed or part in run.skipped for part in parts(plan)):
            self._fail("; ".join(f"{part}: {why}" for part, why in run.failed.items()), False)
            return
        self._set(run=None, verify_since=self.now)
        self.lifecycle.move("verify")
        but = f" except on {', '.join(run.failed)}" if run.failed else ""
        self._note("verifying", f"every step of plan {plan.id} is done{but}; watching for up to {plan.verify_within:g} s whether that helped")
        self._emit(SweepNow(self.settings.name))

    # --- what came of a step ---

    def _step_ended(self, event: StepEnded) -> None:
        plan, run = self.record.plan, self.record.run
        if plan is None or run is None or run.held_since or (plan.id, run.index, run.undoing) != (event.plan, event.index, event.undo):
            return  # the answer of a step that is no longer waited for
        self._ended(plan, run, event.result)

    def _ended(self, plan: Plan, run: Run, result: StepResult) -> None:
        index, step = run.index, plan.steps[run.index]
        self._learn_points(result)
        self._emit(StepOutcome(plan.id, index, run.undoing, self.now, result))
        what = f"{'undo of step' if run.undoing else 'step'} {index + 1} on {step.host}"
        took = (self.now - run.step_at).total_seconds() if run.step_at else 0.0
        event = "step-done" if result.ok else "step-not-begun" if result.undone else "step-failed"
        self._note(event, f"{what}: {result.detail}" + (f" (took {took:.0f} s)" if took >= 1 else ""))
        if run.undoing:
            self._undone(plan, run, result, what)
            return
        if not (step.looks or result.undone or result.untouched):
            run = replace(run, changed_at=self.now)
            self._set(run=run)
        if result.undone or (result.untouched and not result.ok):
            # it proves that nothing was done: what it would have committed is not committed
            before = replace(run, reached=min(run.reached, index - 1))
            run = replace(before, committed=committed(plan, before, step.part))
            self._set(run=run)
        if result.ok:
            self._set(run=replace(run, done=index))
            self._next_step(index + 1)
        elif result.undone:
            # it is begun once more, as if for the first time: on what the next sweep shows
            self._set(run=replace(run, held_since=self.now, calm=0))
            self._look_again()
        else:
            self._failed(plan, run, result, what)

    def _failed(self, plan: Plan, run: Run, result: StepResult, what: str) -> None:
        index, step = run.index, plan.steps[run.index]
        last = index - 1 if result.untouched else index
        if step.contained and step.part and (result.untouched or not step.vital):
            self._note("node-failed", f"{step.part}: {step.description} failed; the plan goes on with the others")
            self._leave(step.part, last, failed=f"{step.description}: {result.detail}")
        elif result.uncertain:
            why = f"{what} ({step.description}) may or may not have run: {result.detail}"
            if committed(plan, run, step.part):
                self._take_back(index, why, False)  # only what must never stay, as a dangerous flag
            else:
                self._fail(why, superseded=False)
        else:
            self._take_back(last, f"{what} ({step.description}) failed: {result.detail}", False)

    def _undone(self, plan: Plan, run: Run, result: StepResult, what: str) -> None:
        """What came of taking a step back."""
        index, step = run.index, plan.steps[run.index]
        if result.ok:
            self._set(run=replace(run, back=(*run.back, index)))
            self._take_back(index - 1, run.failure, run.superseded, run.leaving)
        elif result.undone and run.tries < TRIES:
            self._set(run=replace(run, held_since=self.now))
            self._look_back()
        else:
            said = _begun_in_vain(run, step) if result.undone else result.detail
            self._set(run=replace(run, stuck=(*run.stuck, step.host)))
            self._take_back(index - 1, f"{run.failure}; and {what} failed: {said}", False)

    # --- whether it helped ---

    def _judge_verification(self) -> None:
        """Called for a sweep that began after the last step: has the plan helped?"""
        plan, since = self.record.plan, self.record.verify_since
        if plan is None or since is None or self.observation is None or self.diagnosis is None or self.observation.started_at < since:
            return
        # a plan that was made for no finding has succeeded when there is no fault
        wanted = plan.resolves or tuple(f.key for f in self.diagnosis.faults)
        left = [k for k in wanted if k in self.diagnosis.keys]
        blind = doubt(plan.resolves, self.diagnosis, self.observation)
        if not left and not blind:
            self._end_action(True)
            gone = f"what it was made for is gone: {', '.join(dict.fromkeys(k[0] for k in plan.resolves))}"
            self._close_plan(PlanStatus.SUCCEEDED, gone if plan.resolves else f"{plan.summary}: done, and no fault is found")
            self._set(explanation="")
        elif self.now - since > timedelta(seconds=plan.verify_within):
            names = ", ".join(f"{code} {subject}".strip() for code, subject in left)
            still = f"{names} is still there" if left else f"whether it helped cannot be seen ({blind})"
            reason = f"every step was done, and {still} after {plan.verify_within:g} s"
            told = f"{plan.playbook} (plan {plan.id}) did not help: {reason}. `recoverctl ack {plan.incident}` lets recoverd try again"
            self._end_action(False)
            self._close_plan(PlanStatus.FAILED, reason)
            self._decline(plan, told)
            self.lifecycle.move("escalate")
            self._explain(told, "escalated")


def _begun_in_vain(run: Run, step: Step) -> str:
    return (
        f"it was begun {run.tries} times, and each time recoverd was ended before it knew what came of it, so it is not begun again; "
        f"look at {step.host}, and at the log of recoverd (journalctl -u recoverd) for why it ends"
    )
