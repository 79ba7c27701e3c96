"""What is done about a confirmed incident: nothing yet, a plan that waits for a person, a plan that runs, or a person called."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recoverd.bounds import unasked
from recoverd.decide import choose, nothing_to_do
from recoverd.events import SavePlan
from recoverd.machine.running import PlanRunning
from recoverd.model.finding import Phase
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.settings import Approval
from recoverd.playbooks.base import Playbook, Proposal


class Deciding(PlanRunning):
    """The part of the machine that is at work in `confirmed`, `awaiting-approval` and `escalated`."""

    def _decide(self) -> None:
        waiting = self._waiting_plan
        if waiting and self.now >= waiting.expires_at:
            self._close_plan(PlanStatus.EXPIRED, f"nobody approved it before {waiting.expires_at:%H:%M:%S} UTC")
            self.lifecycle.move("reconsider")
            waiting = None
        choice = choose(self._situation(), self.playbooks, self.record.declined)
        if waiting:
            if waiting.requested_by or self._same(waiting, choice.playbook, choice.proposal):
                self._set(stale_sweeps=0)
                if not (waiting.requested_by and any(k not in self.diagnosis.keys for k in waiting.basis) if self.diagnosis else False):
                    return
            self._set(stale_sweeps=self.record.stale_sweeps + 1)
            if self.record.stale_sweeps < self.settings.bounds.confirm_sweeps:
                return
            self._close_plan(PlanStatus.SUPERSEDED, "the findings changed since it was made, and it is not what would be planned now")
            self.lifecycle.move("reconsider")
        if choice.playbook is None or choice.proposal is None:
            self._stand_by(nothing_to_do(self._confirmed(), choice.reasons), choice.waiting)
            return
        self._take(choice.playbook, choice.proposal)

    def _take(self, playbook: Playbook, proposal: Proposal) -> None:
        if playbook.destructive or self.settings.approval_of(playbook.name) is not Approval.AUTOMATIC:
            self._offer(playbook, proposal)
            return
        blocked = unasked(playbook.name, proposal.basis, self.record.history, self.settings.bounds, self.now)
        if blocked:
            self._stand_by(f"not done: {blocked.reason}; or `recoverctl run {playbook.name} {self.settings.name}` and approve", waiting=False)
            return
        plan = self._make(playbook, proposal)
        self._note("plan-made", f"plan {plan.id}: {plan.summary}")
        self._start(plan, "it is reversible and local, and the configuration lets it run unasked")

    def _stand_by(self, explanation: str, waiting: bool) -> None:
        phase = self.lifecycle.phase
        if waiting and phase is Phase.ESCALATED:
            self.lifecycle.move("reconsider")
        elif not waiting and phase is Phase.CONFIRMED and self._confirmed():
            self.lifecycle.move("escalate")
        self._explain(explanation, "waiting" if waiting else "escalated")

    def _offer(self, playbook: Playbook, proposal: Proposal, requested_by: str = "", why: str = "") -> None:
        plan = self._make(playbook, proposal, requested_by, why)
        self._set(plan=plan, stale_sweeps=0)
        self._emit(SavePlan(plan))
        asked = f", asked for by {requested_by}" + (f" ({why})" if why else "") if requested_by else ""
        self._note("plan-made", f"plan {plan.id} waits for approval{asked}: {plan.summary}")
        if self.lifecycle.phase is not Phase.AWAITING_APPROVAL:
            self.lifecycle.move("offer")
        self._set(
            explanation=f"plan {plan.id} ({plan.playbook}) waits for approval: {plan.summary}. "
            f"`recoverctl plans` shows its steps, `recoverctl approve {plan.id}` runs it"
        )

    def _make(self, playbook: Playbook, proposal: Proposal, requested_by: str = "", why: str = "") -> Plan:
        assert self.record.incident is not None
        bounds = self.settings.bounds
        self._set(plans=self.record.plans + 1)
        automatic = not requested_by and not playbook.destructive and self.settings.approval_of(playbook.name) is Approval.AUTOMATIC
        return Plan(
            id=f"{self.record.incident.id}.{self.record.plans}",
            incident=self.record.incident.id,
            cluster=self.settings.name,
            playbook=playbook.name,
            summary=proposal.summary,
            destructive=playbook.destructive,
            automatic=automatic,
            status=PlanStatus.AWAITING_APPROVAL,
            created_at=self.now,
            expires_at=self.now + timedelta(seconds=bounds.plan_expiry),
            evidence=proposal.evidence,
            destroys=proposal.destroys,
            undo=proposal.undo,
            basis=proposal.basis,
            resolves=proposal.resolves or proposal.basis,
            steps=tuple(replace(s, timeout=min(s.timeout, bounds.step_deadline)) for s in proposal.steps),
            verify_within=proposal.verify_within,
            deadline=bounds.plan_deadline,
            reason=why,
            requested_by=requested_by,
        )

    @staticmethod
    def _same(plan: Plan, playbook: Playbook | None, proposal: Proposal | None) -> bool:
        """Whether what would be planned now is what the plan says: same playbook, same operations on the same hosts."""
        if playbook is None or proposal is None or playbook.name != plan.playbook:
            return False
        return [(s.host, s.operation) for s in plan.steps] == [(s.host, s.operation) for s in proposal.steps]
