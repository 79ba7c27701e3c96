"""Before a plan changes anything: is it still what would be planned? A person may have gone on working after it was made or approved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from recoverd.machine.decide import Choice, choose
from recoverd.machine.deciding import Deciding
from recoverd.machine.gate import Gate, Verdict, parts
from recoverd.machine.guards import LATE, Evidence
from recoverd.model.finding import FAULT_STATES, State
from recoverd.model.plan import Plan, PlanStatus, Step
from recoverd.model.point_operations import TakeRestorePoint
from recoverd.model.record import Run
from recoverd.playbooks.base import Askable, Proposal, Situation

TOLD = 3
"""Steps that are named of those that would be other ones."""


class Replanning(Deciding):
    """The part of the machine that does not run a plan which the newest sweep would not make any more."""

    def _otherwise(self, plan: Plan, run: Run, evidence: Evidence) -> Gate | None:
        """Why the first change of the plan is not begun yet, or not at all; None where nothing speaks against it, or something was begun already.

        A plan that was approved rests on a sweep that began after the approval. What is another plan in one sweep is held, and in enough of them
        it is over. Steps that only look are not waited with.
        """
        step, playbook = plan.steps[run.index], next((p for p in self.playbooks if p.name == plan.playbook), None)
        if step.looks or playbook is None or not unchanged(plan, run) or (not plan.basis and not isinstance(playbook, Askable)):
            return None  # a join rests on what its machines were asked as it began
        if evidence.blind:
            return None  # which is held for that
        if evidence.observation.started_at < run.started_at:
            return None if plan.automatic else Gate(Verdict.HOLD, "the next sweep")
        why = self._another(plan, run, evidence)
        if not why:
            self._set(stale_sweeps=0, stale_since=None)
            return None
        if unseen := self._unseen(plan):
            return Gate(Verdict.HOLD, f"{', '.join(unseen)} to be seen, since by the newest sweep {why}")
        if unproven := self._unproven(plan):
            return Gate(Verdict.HOLD, f"a sweep that shows whether what it is for is there still ({unproven})")
        if self.record.stale_since != evidence.observation.started_at:
            self._set(stale_sweeps=self.record.stale_sweeps + 1, stale_since=evidence.observation.started_at)
        enough = self.record.stale_sweeps >= self.settings.bounds.confirm_sweeps
        return Gate(Verdict.STOP if enough else Verdict.HOLD, f"by the newest sweep {why}" if enough else f"another sweep, since by the newest {why}")

    def _another(self, plan: Plan, run: Run, evidence: Evidence) -> str:
        """In which way it is not what would be planned now, in words; "" where it is."""
        situation = self._present(plan)
        left = [s for s in plan.steps if not isinstance(s.operation, TakeRestorePoint) and s.part not in {**run.skipped, **run.failed}]
        if plan.requested_by:
            choice = Choice(None, self._asked_now(plan, situation))
        elif any(not difference(left, [s.of_plan(plan.id) for s in own.steps]) for own in self._own(plan, situation)):
            return ""  # that another plan would come first, as after an acknowledgement, makes this one no other
        else:
            choice = choose(situation, self.playbooks, self.record.declined)
            if choice.playbook and choice.playbook.name != plan.playbook:
                return f"{choice.playbook.name} would be planned instead"
        if choice.waiting and 0 < run.away < LATE and all(key in evidence.diagnosis.keys for key in plan.basis):
            return ""  # the patience that it asks for was had before the approval, and began anew with a restart of a moment
        if choice.proposal is None:
            return f"nothing like it would be planned ({'; '.join(choice.reasons) or 'what it was made for is not found'})"
        return difference(left, [s.of_plan(plan.id) for s in choice.proposal.steps])

    def _own(self, plan: Plan, situation: Situation) -> Iterator[Proposal]:
        """What its playbook would plan now for the very findings that it was made for."""
        playbook = next(p for p in self.playbooks if p.name == plan.playbook)
        answers = (playbook.propose(f, situation) for f in situation.confirmed if f.key in plan.basis)
        return (answer for answer in answers if isinstance(answer, Proposal))

    def _present(self, plan: Plan) -> Situation:
        """The situation as it was for the plan when it was made, by what is found now; in maintenance these are warnings.

        What a person approves, or has approved, was confirmed once: what its playbook repairs counts at first sight.
        """
        assert self.diagnosis is not None
        repairs = next((p.repairs for p in self.playbooks if p.name == plan.playbook), frozenset[str]())
        situation = self._situation(parts(plan) if plan.requested_by else (), by_hand=bool(plan.requested_by), point=plan.point)
        found = self.diagnosis.warnings if self.diagnosis.state is State.HEALTHY else self.diagnosis.faults
        sure = {f.key for f in self._lasting(found)}
        at_once = frozenset() if plan.automatic else repairs
        confirmed = tuple(f for f in found if f.key in sure or f.code in at_once)
        return replace(situation, confirmed=confirmed, since=self._since(confirmed))

    def _give_way(self, plan: Plan, why: str) -> None:
        """End a plan that has changed nothing, and have made what takes its place. It counts for no bound: nothing was done."""
        self._set(history=self.record.history[:-1])
        self._close_plan(PlanStatus.SUPERSEDED, f"nothing was changed: {why}")
        self.lifecycle.move("reconsider")
        self._explain(f"plan {plan.id} ({plan.playbook}) gave way before it changed anything: {why}", "waiting")
        incident, diagnosis = self.record.incident, self.diagnosis
        if incident is None or diagnosis is None or self.lifecycle.state not in FAULT_STATES or self.lifecycle.state is not diagnosis.state:
            return  # of maintenance, or while another fault is there: the next sweeps plan anew
        instead = f"in place of {plan.id}, " + ("" if plan.automatic else "which was approved and ") + f"which changed nothing: {why}"
        playbook = next(p for p in self.playbooks if p.name == plan.playbook)
        again = self._asked_now(plan, self._situation(parts(plan), by_hand=True, point=plan.point)) if plan.requested_by else None
        if again:
            self._offer(playbook, again, requested_by=plan.requested_by, why=plan.reason, point=plan.point, declined=(instead,))
        else:
            self._decide(instead)


def unchanged(plan: Plan, run: Run) -> bool:
    """No step has been begun that changes anything."""
    return all(s.looks for s in plan.steps[: run.reached + 1])


def difference(mine: Sequence[Step], now: Sequence[Step]) -> str:
    """What would be done now and is not planned, or the other way round; "" where that is nothing.

    A part of many whose node is well by itself is left out by its own condition, and makes no other plan.
    """
    still = {s.part for s in now}
    mine = [s for s in mine if s.part in still or not any(o.skip_unless for o in mine if o.part == s.part)]
    if [(s.part, s.host, s.operation) for s in _in_parts(mine)] == [(s.part, s.host, s.operation) for s in _in_parts(now)]:
        return ""
    planned, wanted = [(s.host, s.operation) for s in mine], [(s.host, s.operation) for s in now]
    more = _named(s for s in now if (s.host, s.operation) not in planned)
    less = _named(s for s in mine if (s.host, s.operation) not in wanted)
    told = "; ".join(filter(None, (f"it would also {more}" if more else "", f"it would not {less}" if less else "")))
    return told or "its steps would be in another order"


def _in_parts(steps: Sequence[Step]) -> list[Step]:
    """Sorted by part: which node comes first makes no other plan."""
    return sorted(steps, key=lambda s: s.part)


def _named(steps: Iterable[Step]) -> str:
    named = [s.description for s in steps]
    return ", ".join(named[:TOLD]) + (f" and {len(named) - TOLD} more steps" if len(named) > TOLD else "")
