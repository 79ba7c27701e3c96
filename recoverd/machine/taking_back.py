"""The way back: what a plan that does not go on has done is undone, newest first, as far as that is safe; and what it leaves is told."""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine.gate import Verdict, account, backwards, committed, kept_of
from recoverd.machine.holding import Holding
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.record import Run


class TakingBack(Holding):
    """The part of the machine that ends a plan before its last step."""

    def _next_step(self, index: int) -> None:
        raise NotImplementedError

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
            undoing = replace(run, index=index, undoing=True, failure=failure, superseded=superseded, leaving=leaving)
            self._set(run=replace(undoing, step_at=self.now, held_since=self.now, unsure=False, tries=0))
            self._look_back()
            return
        if leaving:
            # every step up to the furthest one begun belongs to it or has been done
            self._next_step(run.reached + 1)
        else:
            self._fail(failure, superseded)

    def _look_back(self) -> None:
        """Take the step back whose turn it is, unless that waits for what a sweep shows or must not be."""
        plan, run = self._running()
        step, evidence = plan.steps[run.index], self._evidence()
        if evidence is None:
            return
        gate = backwards(plan, run, evidence)
        if gate.verdict is Verdict.HOLD:
            self._await(f"before step {run.index + 1} is taken back: for {gate.reason}", self._held())
        elif gate.verdict is Verdict.STOP:
            self._note("undo-refused", f"step {run.index + 1} on {step.host} is not taken back ({step.description}): {gate.reason}")
            self._stays(plan, run, gate.reason)
        else:
            if not run.tries:
                self._note("undo-started", f"step {run.index + 1} on {step.host} is taken back: {step.description}")
            self._set(run=replace(run, away=0.0))
            self._emit_step(resume=False)

    def _stays(self, plan: Plan, run: Run, why: str) -> None:
        """The step is not taken back, and nothing before it on its host, where a manifest may come back only after its data."""
        step = plan.steps[run.index]
        self._set(run=replace(run, stuck=(*run.stuck, step.host)))
        self._take_back(
            run.index - 1, f"{run.failure}; and step {run.index + 1} on {step.host} was not taken back: {why}", run.superseded, run.leaving
        )

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

    def _end_action(self, ok: bool) -> None:
        history = self.record.history
        if history:
            self._set(history=(*history[:-1], replace(history[-1], ended_at=self.now, ok=ok)))
