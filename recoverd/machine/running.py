"""Running one plan: the next step, what happens when one fails, what is taken back, and when it has succeeded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recoverd.bounds import prune
from recoverd.diagnose.absence import doubt
from recoverd.events import Perform, Progress, SavePlan, StepEnded, StepIntent, StepOutcome, SweepNow
from recoverd.machine.gate import PATIENCE, Verdict, account, committed, kept_of, look, parts
from recoverd.machine.points import KeepingPoints
from recoverd.model.node_operations import Settled
from recoverd.model.plan import ActionRecord, Plan, PlanStatus, Step, StepResult, TimelineEntry
from recoverd.model.record import Run


class PlanRunning(KeepingPoints):
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
            run=Run(self.now, 0),
            ran=self.record.ran + 1,
            stale_sweeps=0,
            history=(*prune(self.record.history, self.settings.bounds, self.now), action),
            explanation=f"plan {plan.id} ({plan.playbook}) is running: {plan.summary}",
        )
        self.lifecycle.move("maintain" if begins else "act")
        self._next_step(0)

    def _open_maintenance(self, plan: Plan) -> None:
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
        self._set(run=replace(run, index=index, undoing=False, leaving="", step_at=self.now, held_since=self.now, calm=0))
        self._look_again()

    def _look_again(self) -> None:
        """Begin the step whose turn it is, unless it must not be or waits for what a sweep shows; called at every sweep while it waits."""
        plan, run = self._running()
        if run.held_since is None:
            return
        step = plan.steps[run.index]
        if step.requires and self.diagnosis is None:
            return  # after a restart nothing is known yet of the findings it requires
        if stop := self._reason_to_stop(plan, run, run.index):
            self._take_back(run.index - 1, *stop)
            return
        if isinstance(step.operation, Settled) and run.reached < run.index:
            self._begun(plan, run, step)
            plan, run = self._running()
        gate = look(step, self.diagnosis, self.observation, self.settings.bounds, run.held_since or self.now)
        if gate.verdict is Verdict.SKIP:
            self._note("node-skipped", f"{step.part}: {gate.reason}; nothing is done to it")
            self._leave(step.part, run.index - 1, skipped=gate.reason)
        elif isinstance(step.operation, Settled):
            self._settle(plan, run, step, gate.reason)
        elif gate.verdict is Verdict.HOLD:
            self._hold(run, gate.reason)
        else:
            self._begun(plan, run, step)
            self._set(run=replace(self._running()[1], held_since=None))
            self._emit(Perform(plan, run.index, False, False))

    def _begun(self, plan: Plan, run: Run, step: Step) -> None:
        done = replace(run, reached=run.index)
        self._set(run=replace(done, committed=committed(plan, done, step.part)))
        self._note("step-started", f"step {run.index + 1} of {len(plan.steps)} on {step.host}: {step.description}")
        self._emit(StepIntent(plan.id, run.index, False, self.now))

    def _hold(self, run: Run, reason: str) -> None:
        """Wait for a sweep that shows more, but not for ever."""
        held = (self.now - run.held_since).total_seconds() if run.held_since else 0.0
        if held > PATIENCE:
            self._take_back(run.index - 1, f"stopped before step {run.index + 1}: waited {held:.0f} s in vain for {reason}", False)
            return
        self._await(f"before step {run.index + 1}: for {reason}", held)

    def _settle(self, plan: Plan, run: Run, step: Step, trouble: str) -> None:
        """One more sweep while the node of `step` is watched: is it well, for long enough?"""
        held = (self.now - run.held_since).total_seconds() if run.held_since else 0.0
        calm = 0 if trouble else run.calm + 1
        if calm >= self.settings.bounds.recover_sweeps:
            self._ended(plan, run, StepResult(True, f"nothing is found of {step.part or step.host} in {calm} sweeps, after {held:.0f} s"))
        elif held > step.timeout:
            why = trouble or "it was not seen well in enough sweeps"
            self._ended(plan, run, StepResult(False, f"not well after {held:.0f} s: {why}"))
        else:
            self._set(run=replace(run, calm=calm))
            self._await(f"{step.host}: for {trouble or 'another sweep that finds nothing'}", held)

    def _await(self, text: str, held: float) -> None:
        incident = self.record.incident.id if self.record.incident else ""
        self._emit(Progress(self.settings.name, incident, TimelineEntry(self.now, "waiting", f"{text}, {held:.0f} s")))
        if not held:
            self._emit(SweepNow(self.settings.name))

    def _reason_to_stop(self, plan: Plan, run: Run, index: int) -> tuple[str, bool] | None:
        """Why the step must not be begun, and whether that is a change of the findings."""
        step = plan.steps[index]
        keys = self.diagnosis.keys if self.diagnosis else frozenset()
        gone = [k for k in step.requires if k not in keys]
        if gone:
            names = ", ".join(f"{code} {subject}".strip() for code, subject in gone)
            return f"stopped before step {index + 1}: {names}, on which the plan was made, is not seen any more", True
        if committed(plan, run, step.part):
            return None
        if self.record.pause:
            return f"stopped before step {index + 1}: paused by {self.record.pause.by} ({self.record.pause.reason})", True
        if self.now - run.started_at > timedelta(seconds=plan.deadline):
            return f"stopped before step {index + 1}: the plan's deadline of {plan.deadline:g} s is over", False
        return None

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
            if result.ok:
                self._set(run=replace(run, back=(*run.back, index)))
                self._take_back(index - 1, run.failure, run.superseded, run.leaving)
            else:
                self._set(run=replace(run, stuck=(*run.stuck, step.host)))
                self._take_back(index - 1, f"{run.failure}; and {what} failed: {result.detail}", False)
        elif result.ok:
            self._set(run=replace(run, done=index))
            self._next_step(index + 1)
        elif result.undone:
            # it is begun once more, as if for the first time: on what the next sweep shows
            before = replace(run, reached=index - 1, held_since=self.now, calm=0)
            self._set(run=replace(before, committed=committed(plan, before, step.part)))
            self._look_again()
        elif step.contained and step.part:
            self._note("node-failed", f"{step.part}: {step.description} failed; the plan goes on with the others")
            self._leave(step.part, index, failed=f"{step.description}: {result.detail}")
        elif result.uncertain:
            why = f"{what} ({step.description}) may or may not have run: {result.detail}"
            if committed(plan, run, step.part):
                self._take_back(index, why, False)  # only what must never stay, as a dangerous flag
            else:
                self._fail(why, superseded=False)
        else:
            self._take_back(index, f"{what} ({step.description}) failed: {result.detail}", False)

    # --- backwards ---

    def _leave(self, part: str, last: int, *, skipped: str = "", failed: str = "") -> None:
        """Leave one part out from now on; what was done of it up to `last` is taken back, then the plan goes on."""
        _, run = self._running()
        run = replace(run, skipped={**run.skipped, part: skipped}) if skipped else replace(run, failed={**run.failed, part: failed})
        self._set(run=replace(run, held_since=None))
        self._take_back(last, skipped or failed, False, leaving=part)

    def _take_back(self, last: int, failure: str, superseded: bool, leaving: str = "") -> None:
        """Undo the steps up to `last`, newest first, as far as that is safe; then end the plan or, `leaving` one part, go on after it."""
        plan, run = self._running()
        for index in range(last, -1, -1):
            step = plan.steps[index]
            out = step.part != leaving if leaving else step.part in {**run.skipped, **run.failed}
            if step.undo is None or out or step.host in run.stuck or (committed(plan, run, step.part) and not step.undo_always):
                continue
            undoing = replace(run, index=index, undoing=True, failure=failure, superseded=superseded, leaving=leaving, held_since=None)
            self._set(run=replace(undoing, step_at=self.now))
            self._note("undo-started", f"step {index + 1} on {step.host} is taken back: {step.description}")
            self._emit(StepIntent(plan.id, index, True, self.now), Perform(plan, index, True, False))
            return
        if leaving:
            # every step up to the furthest one begun belongs to it or has been done
            self._next_step(run.reached + 1)
        else:
            self._fail(failure, superseded)

    def _fail(self, reason: str, superseded: bool) -> None:
        plan, run = self._running()
        left = self._left(plan, run)
        self._end_action(False)
        self._close_plan(PlanStatus.SUPERSEDED if superseded else PlanStatus.FAILED, reason + left)
        if superseded:
            self.lifecycle.move("reconsider")
            self._explain(f"plan {plan.id} stopped: {reason}{left}")
            return
        told = f"{plan.playbook} (plan {plan.id}) failed: {reason}{left}. Look at it, then `recoverctl ack {plan.incident}` lets recoverd try again"
        self._decline(plan, told)
        self.lifecycle.move("escalate")
        self._explain(told, "escalated")

    @staticmethod
    def _left(plan: Plan, run: Run) -> str:
        """What state the plan leaves."""
        said = account(plan, run)
        if said and (run.reached < 0 or any(s.part for s in plan.steps[: run.reached + 1])):
            return f". What it leaves: {said}"
        if committed(plan, run, ""):
            return "; it was past its point of no return, so what it did stays"
        begun = [i for i, s in enumerate(plan.steps[: run.reached + 1]) if s.undo]
        if kept := kept_of(plan, run, begun):
            return f"; NOT taken back, see to it by hand: {kept}"
        return "; what it had moved was moved back" if begun else ""

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

    def _continue_after_restart(self) -> None:
        """The step in flight may or may not have run: it is asked, never blindly repeated."""
        plan, run = self.record.plan, self.record.run
        if plan is None or run is None:
            if self.record.verify_since:
                self._set(verify_since=self.now)
            return
        if run.held_since:
            self._set(run=replace(run, held_since=self.now, calm=0))
            self._note("resumed", f"recoverd was restarted while step {run.index + 1} of plan {plan.id} waited for a sweep; it goes on watching")
            return
        what = "the undo of step" if run.undoing else "step"
        self._note("resumed", f"recoverd was restarted during {what} {run.index + 1} of plan {plan.id}; first it is asked whether that has been done")
        self._emit(StepIntent(plan.id, run.index, run.undoing, self.now), Perform(plan, run.index, run.undoing, True))

    def _end_action(self, ok: bool) -> None:
        history = self.record.history
        if history:
            self._set(history=(*history[:-1], replace(history[-1], ended_at=self.now, ok=ok)))

    def _running(self) -> tuple[Plan, Run]:
        plan, run = self.record.plan, self.record.run
        assert plan is not None and run is not None
        return plan, run
