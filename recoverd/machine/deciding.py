"""What is done about a confirmed incident: nothing yet, a plan that waits for a person, a plan that runs, or a person called."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recoverd.bounds import unasked
from recoverd.decide import Choice, choose, nothing_to_do
from recoverd.diagnose import people
from recoverd.events import SavePlan
from recoverd.machine.gate import parts
from recoverd.machine.running import PlanRunning
from recoverd.model.finding import Phase
from recoverd.model.observation import Unseen
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.point_operations import TakeRestorePoint
from recoverd.model.settings import Approval
from recoverd.playbooks.base import Askable, Playbook, Proposal


class Deciding(PlanRunning):
    """The part of the machine that is at work in `confirmed`, `awaiting-approval` and `escalated`."""

    def _decide(self) -> None:
        choice = self._choice()
        if choice is None:
            return
        if choice.playbook is None or choice.proposal is None:
            if not choice.reasons and not self._settled():
                return  # what is seen now has not lasted long enough to say anything about it
            self._stand_by(nothing_to_do(self._confirmed(), choice.reasons), choice.waiting)
            return
        self._take(choice.playbook, self._mindful(choice.proposal))

    def _mindful(self, proposal: Proposal) -> Proposal:
        """Where a person is at work on one of its machines, it asks."""
        why = proposal.asks or people.on_any((s.host for s in proposal.steps), self._situation().scene)
        return replace(proposal, asks=why)

    def _choice(self) -> Choice | None:
        """What would be planned now; None where nothing new may be in this sweep, as a plan waits for a person or recoverd is paused.

        A plan that nobody approved in time expires. One that is not what would be planned now, in enough sweeps, is superseded.
        """
        waiting, fault = self._waiting_plan, self.record.incident is not None
        if waiting and self.now >= waiting.expires_at:
            until = f"{waiting.expires_at:%H:%M:%S}" if fault else f"{waiting.expires_at:%Y-%m-%d %H:%M:%S}"
            self._drop(PlanStatus.EXPIRED, f"nobody approved it before {until} UTC")
            waiting = None
        if self.record.pause:
            return None
        if why := self._forbidden(unasked=False):
            self._explain(why, "observing")
            return None
        choice = choose(self._situation(), self.playbooks, self.record.declined)
        if waiting is None:
            return choice
        if self._stands(waiting, choice):
            self._set(stale_sweeps=0)
            return None
        self._set(stale_sweeps=self.record.stale_sweeps + 1)
        if self.record.stale_sweeps < self.settings.bounds.confirm_sweeps:
            return None
        if fault:
            self._drop(PlanStatus.SUPERSEDED, "the findings changed since it was made, and it is not what would be planned now")
            return choice
        self._drop(PlanStatus.SUPERSEDED, "what it was made for is over, or it is not what would be planned now")
        self._set(explanation="")
        return None  # the next sweep makes the plan that takes its place: its steps hold its own number

    def _drop(self, status: PlanStatus, reason: str) -> None:
        """Close the waiting plan; in a fault, what is done about it is open again."""
        self._close_plan(status, reason)
        if self.record.incident:
            self.lifecycle.move("reconsider")

    def _settled(self) -> bool:
        """Something is confirmed, and nothing that is seen now may be in the next sweep."""
        confirmed = self._confirmed()
        return bool(confirmed) and self.diagnosis is not None and len(confirmed) == len(self.diagnosis.faults)

    def _stands(self, plan: Plan, choice: Choice) -> bool:
        """Whether the waiting plan is still what would be planned, or nothing better is known: one of its hosts is not seen just now."""
        assert self.observation is not None and self.diagnosis is not None
        if any(isinstance(self.observation.hosts.get(step.host), Unseen) for step in plan.steps):
            return True
        if plan.requested_by:
            return all(key in self.diagnosis.keys for key in plan.basis) and self._asked_again(plan)
        return self._same(plan, choice.playbook, choice.proposal)

    def _asked_again(self, plan: Plan) -> bool:
        """Whether the same request would make the same plan now: another survivor may hold more by now, or a host that was away be back."""
        situation = self._situation(parts(plan), by_hand=True, point=plan.point)
        playbook = next((p for p in self.playbooks if p.name == plan.playbook), None)
        answers = [playbook.propose(f, situation) for f in situation.confirmed if f.code in playbook.repairs] if playbook else []
        if isinstance(playbook, Askable) and not plan.basis:
            answers.append(playbook.asked(situation))
        return any(isinstance(a, Proposal) and self._same(plan, playbook, a) for a in answers)

    def _take(self, playbook: Playbook, proposal: Proposal) -> None:
        if why := self._forbidden(unasked=True):
            proposal = replace(proposal, asks=proposal.asks or why)
        if not self._unasked(playbook, proposal):
            self._offer(playbook, proposal)
            return
        blocked = unasked(playbook.name, proposal.basis, self.record.history, self.settings.bounds, self.now)
        if blocked:
            self._stand_by(f"not done: {blocked.reason}; or `recoverctl run {playbook.name} {self.settings.name}` and approve", waiting=False)
            return
        plan = self._make(playbook, proposal)
        self._note("plan-made", f"plan {plan.id}: {plan.summary}")
        self._start(plan, "it is reversible and local, and the configuration lets it run unasked")

    def _unasked(self, playbook: Playbook, proposal: Proposal) -> bool:
        destructive = playbook.destructive or proposal.destructive
        return not destructive and not proposal.asks and self.settings.approval_of(playbook.name) is Approval.AUTOMATIC

    def _stand_by(self, explanation: str, waiting: bool) -> None:
        phase = self.lifecycle.phase
        if waiting and phase is Phase.ESCALATED:
            self.lifecycle.move("reconsider")
        elif not waiting and phase is Phase.CONFIRMED and self._confirmed():
            self.lifecycle.move("escalate")
        self._explain(explanation, "waiting" if waiting else "escalated")

    def _offer(self, playbook: Playbook, proposal: Proposal, requested_by: str = "", why: str = "", point: str = "") -> None:
        plan = replace(self._make(playbook, proposal, requested_by, why), point=point)
        self._set(plan=plan, stale_sweeps=0)
        self._emit(SavePlan(plan))
        asked = f", asked for by {requested_by}" + (f" ({why})" if why else "") if requested_by else ""
        self._note("plan-made", f"plan {plan.id} waits for approval{asked}: {plan.summary}")
        if self.record.incident and self.lifecycle.phase is not Phase.AWAITING_APPROVAL:
            self.lifecycle.move("offer")
        self._set(
            explanation=f"plan {plan.id} ({plan.playbook}) waits for approval: {plan.summary}. "
            f"`recoverctl plans` shows its steps, `recoverctl approve {plan.id}` runs it"
        )

    def _make(self, playbook: Playbook, proposal: Proposal, requested_by: str = "", why: str = "") -> Plan:
        bounds, incident = self.settings.bounds, self._incident_id
        self._set(**({"plans": self.record.plans + 1} if self.record.incident else {"maintenances": self.record.maintenances + 1}))
        number = self.record.plans if self.record.incident else 1
        destructive = playbook.destructive or proposal.destructive
        automatic = not requested_by and self._unasked(playbook, proposal)
        id = f"{incident}.{number}"
        first = self._point_first(id) if (destructive or proposal.point) and not proposal.own_point else ()
        return Plan(
            id=id,
            incident=incident,
            cluster=self.settings.name,
            playbook=playbook.name,
            summary=proposal.summary,
            destructive=destructive,
            automatic=automatic,
            status=PlanStatus.AWAITING_APPROVAL,
            created_at=self.now,
            expires_at=proposal.valid_until or self.now + timedelta(seconds=bounds.plan_expiry),
            evidence=(*((f"asked first: {proposal.asks}",) if proposal.asks else ()), *proposal.evidence),
            destroys=proposal.destroys,
            undo=proposal.undo,
            basis=proposal.basis,
            resolves=proposal.resolves or proposal.basis,
            steps=tuple(replace(s.of_plan(id), timeout=min(s.timeout, bounds.step_deadline)) for s in (*first, *proposal.steps)),
            verify_within=proposal.verify_within,
            deadline=bounds.plan_deadline * proposal.rounds + proposal.moving + sum(s.timeout for s in first),
            reason=why,
            requested_by=requested_by,
        )

    @staticmethod
    def _same(plan: Plan, playbook: Playbook | None, proposal: Proposal | None) -> bool:
        """Whether what would be planned now is what the plan says: same playbook, same operations on the same hosts."""
        if playbook is None or proposal is None or playbook.name != plan.playbook:
            return False
        mine = [s for s in plan.steps if not isinstance(s.operation, TakeRestorePoint)]  # which the machine has put before the proposal
        return [(s.host, s.operation) for s in mine] == [(s.host, s.of_plan(plan.id).operation) for s in proposal.steps]
