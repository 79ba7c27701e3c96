"""Running one plan: the next step, what happens when one fails, what is taken back, and when it has succeeded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recoverd.bounds import prune
from recoverd.events import Perform, SavePlan, StepEnded, StepIntent, StepOutcome, SweepNow
from recoverd.machine.base import MachineBase
from recoverd.model.finding import Code
from recoverd.model.plan import ActionRecord, Plan, PlanStatus
from recoverd.model.record import Declined, Run


class PlanRunning(MachineBase):
    """The part of the machine that is at work in `remediating` and `verifying`."""

    def _start(self, plan: Plan, why: str) -> None:
        plan = plan.with_status(PlanStatus.RUNNING)
        self._emit(SavePlan(plan))
        self._note("plan-started", f"plan {plan.id} ({plan.playbook}) runs: {why}")
        action = ActionRecord(plan.playbook, plan.basis, self.now, None, None, incident=plan.incident)
        self._set(
            plan=plan,
            run=Run(self.now, 0),
            stale_sweeps=0,
            history=(*prune(self.record.history, self.settings.bounds, self.now), action),
            explanation=f"plan {plan.id} ({plan.playbook}) is running: {plan.summary}",
        )
        self.lifecycle.move("act")
        self._next_step(0)

    def _next_step(self, index: int) -> None:
        plan, run = self._running()
        if index == len(plan.steps):
            self._set(run=None, verify_since=self.now)
            self.lifecycle.move("verify")
            self._note("verifying", f"every step of plan {plan.id} is done; watching for up to {plan.verify_within:g} s whether that helped")
            self._emit(SweepNow(self.settings.name))
            return
        step = plan.steps[index]
        stop = self._reason_to_stop(plan, run, index)
        if stop:
            self._take_back(index - 1, *stop)
            return
        self._set(run=replace(run, index=index, committed=run.committed or step.commits))
        self._note("step-started", f"step {index + 1} of {len(plan.steps)} on {step.host}: {step.description}")
        self._emit(StepIntent(plan.id, index, False, self.now), Perform(plan, index, False, False))

    def _reason_to_stop(self, plan: Plan, run: Run, index: int) -> tuple[str, bool] | None:
        """Why the step must not be begun, and whether that is a change of the findings."""
        keys = self.diagnosis.keys if self.diagnosis else frozenset()
        gone = [k for k in plan.steps[index].requires if k not in keys]
        if gone:
            names = ", ".join(f"{code} {subject}".strip() for code, subject in gone)
            return f"stopped before step {index + 1}: {names}, on which the plan was made, is not seen any more", True
        if self.record.pause and not run.committed:
            return f"stopped before step {index + 1}: paused by {self.record.pause.by} ({self.record.pause.reason})", True
        if self.now - run.started_at > timedelta(seconds=plan.deadline) and not run.committed:
            return f"stopped before step {index + 1}: the plan's deadline of {plan.deadline:g} s is over", False
        return None

    def _step_ended(self, event: StepEnded) -> None:
        plan, run = self.record.plan, self.record.run
        if plan is None or run is None or (plan.id, run.index, run.undoing) != (event.plan, event.index, event.undo):
            return  # the answer of a step that is no longer waited for
        step, result = plan.steps[event.index], event.result
        self._emit(StepOutcome(plan.id, event.index, event.undo, event.at, result))
        what = f"{'undo of step' if event.undo else 'step'} {event.index + 1} on {step.host}"
        self._note("step-done" if result.ok else "step-failed", f"{what}: {result.detail}")
        if event.undo:
            if result.ok:
                self._take_back(event.index - 1, run.failure, run.superseded)
            else:
                self._fail(f"{run.failure}; and {what} failed: {result.detail}", superseded=False)
        elif result.ok:
            self._next_step(event.index + 1)
        elif result.uncertain:
            self._fail(f"{what} ({step.description}) may or may not have run before the daemon stopped: {result.detail}", superseded=False)
        else:
            self._take_back(event.index, f"{what} ({step.description}) failed: {result.detail}", False)

    def _take_back(self, last: int, failure: str, superseded: bool) -> None:
        """Undo the steps up to `last`, newest first, as far as that is safe; then end the plan."""
        plan, run = self._running()
        for index in range(last, -1, -1):
            step = plan.steps[index]
            if step.undo is None or (run.committed and not step.undo_always):
                continue
            self._set(run=replace(run, index=index, undoing=True, failure=failure, superseded=superseded))
            self._note("undo-started", f"step {index + 1} on {step.host} is taken back: {step.description}")
            self._emit(StepIntent(plan.id, index, True, self.now), Perform(plan, index, True, False))
            return
        self._fail(failure, superseded)

    def _fail(self, reason: str, superseded: bool) -> None:
        plan, run = self._running()
        left = ""
        if run.committed:
            left = "; it was past its point of no return, so what it did stays"
        elif any(s.undo for s in plan.steps[: run.index + 1]):
            left = "; what it had moved was moved back"
        self._end_action(False)
        self._close_plan(PlanStatus.SUPERSEDED if superseded else PlanStatus.FAILED, reason + left)
        if superseded:
            self.lifecycle.move("reconsider")
            self._explain(f"plan {plan.id} stopped: {reason}{left}")
            return
        told = f"{plan.playbook} (plan {plan.id}) failed: {reason}{left}. Look at it, then `recoverctl ack {plan.incident}` lets recoverd try again"
        self._set(declined=(*self.record.declined, Declined(plan.playbook, plan.basis, told)))
        self.lifecycle.move("escalate")
        self._explain(told, "escalated")

    def _judge_verification(self) -> None:
        """Called for a sweep that began after the last step: has the plan helped?"""
        plan, since = self.record.plan, self.record.verify_since
        if plan is None or since is None or self.observation is None or self.diagnosis is None or self.observation.started_at < since:
            return
        left = [k for k in plan.resolves if k in self.diagnosis.keys]
        blind = self.diagnosis.find(Code.CLUSTER_DARK)
        if not left and not blind:
            self._end_action(True)
            self._close_plan(PlanStatus.SUCCEEDED, f"what it was made for is gone: {', '.join(k[0] for k in plan.resolves)}")
            self._set(explanation="")
        elif self.now - since > timedelta(seconds=plan.verify_within):
            names = ", ".join(f"{code} {subject}".strip() for code, subject in left) or "the cluster, which cannot be seen"
            reason = f"every step was done, and {names} is still there after {plan.verify_within:g} s"
            told = f"{plan.playbook} (plan {plan.id}) did not help: {reason}. `recoverctl ack {plan.incident}` lets recoverd try again"
            self._end_action(False)
            self._close_plan(PlanStatus.FAILED, reason)
            self._set(declined=(*self.record.declined, Declined(plan.playbook, plan.basis, told)))
            self.lifecycle.move("escalate")
            self._explain(told, "escalated")

    def _continue_after_restart(self) -> None:
        """The step in flight may or may not have run: it is asked, never blindly repeated."""
        plan, run = self.record.plan, self.record.run
        if plan is None or run is None:
            if self.record.verify_since:
                self._set(verify_since=self.now)
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
