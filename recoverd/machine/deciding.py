"""What is done about a confirmed incident: nothing yet, a plan that waits for a person, a plan that runs, or a person called."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recoverd.bounds import unasked
from recoverd.diagnose import people
from recoverd.diagnose.absence import doubt
from recoverd.machine.decide import Choice, choose, nothing_to_do
from recoverd.machine.gate import PATIENCE, obstacle, parts, unwanted
from recoverd.machine.running import PlanRunning
from recoverd.model.events import SavePlan
from recoverd.model.finding import Phase
from recoverd.model.observation import Unseen
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.point_operations import TakeRestorePoint
from recoverd.model.settings import Approval
from recoverd.playbooks.base import Askable, Playbook, Proposal, Situation

LEFT = 300.0
"""Seconds in which nobody is seen at work any more, before what asked because of them runs unasked: who moves a file away comes back for it."""
RETOLD = 60.0
"""Seconds after which what a waiting plan destroys is told anew, where it has changed."""


class Deciding(PlanRunning):
    """The part of the machine that is at work in `confirmed`, `awaiting-approval` and `escalated`."""

    def remedy(self) -> Choice:
        """What would be planned for what is confirmed as things are seen now, whatever waits or runs."""
        return choose(self._situation(), self.playbooks, self.record.declined)

    def _decide(self, instead: str = "") -> None:
        """`instead`: which plan the one that is made now takes the place of, and why."""
        choice = self._choice()
        if choice is None:
            return
        if choice.playbook is None or choice.proposal is None:
            if not choice.reasons and not self._settled():
                return  # what is seen now has not lasted long enough to say anything about it
            self._stand_by(nothing_to_do(self._confirmed(), choice.reasons), choice.waiting)
            return
        self._take(choice.playbook, self._mindful(choice.proposal), (*([instead] if instead else []), *choice.declined))

    def _mindful(self, proposal: Proposal) -> Proposal:
        """Where a person is at work on one of its machines, or this bastion may do nothing unasked, it asks."""
        why = proposal.asks or people.on_any((s.host for s in proposal.steps), self._situation().scene) or self._forbidden(unasked=True)
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
        choice = self.remedy()
        if waiting is None:
            return choice
        if proposal := self._as_planned(waiting, choice):
            self._set(stale_sweeps=0, stale_since=None)
            if self._left_alone(waiting, choice):
                self._drop(PlanStatus.SUPERSEDED, f"it asked since {waiting.asks}; nobody has been there for {LEFT:g} s, so it is made anew, unasked")
                return choice
            self._retell(waiting, proposal)
            return None
        if self._unproven(waiting):
            return None  # what it is for is not seen just now, and not seen to be gone
        since = self.record.stale_since or self.now
        self._set(stale_since=since)
        if self._unseen(waiting) and (self.now - since).total_seconds() < PATIENCE:
            return None  # nothing better is known, for as long as a host may only be slow
        self._set(stale_sweeps=self.record.stale_sweeps + 1)
        if self.record.stale_sweeps < self.settings.bounds.confirm_sweeps:
            return None
        if fault:
            self._drop(PlanStatus.SUPERSEDED, "the findings changed since it was made, and it is not what would be planned now")
            return choice
        self._drop(PlanStatus.SUPERSEDED, "what it was made for is over, or it is not what would be planned now")
        self._set(explanation="")
        return None  # the next sweep makes the plan that takes its place: its steps hold its own number

    def _left_alone(self, plan: Plan, choice: Choice) -> bool:
        """Whether a plan that waits only for who was at work there may run unasked: all are seen, nobody is there for a while, and bounds let it."""
        playbook, proposal = choice.playbook, choice.proposal
        if not (plan.asks and self.record.incident and playbook and proposal) or plan.requested_by:
            return False
        hosts = [step.host for step in proposal.steps]
        if not people.all_seen(hosts, self._scene()) or not self._unasked(playbook, self._mindful(proposal)):
            self._set(alone_since=None)
            return False
        since = self.record.alone_since or self.now
        self._set(alone_since=since)
        barred = self._refused_now(proposal) or unasked(playbook.name, proposal.basis, self.record.history, self.settings.bounds, self.now)
        return (self.now - since).total_seconds() >= LEFT and not barred

    def _drop(self, status: PlanStatus, reason: str) -> None:
        """Close the waiting plan; in a fault, what is done about it is open again."""
        self._close_plan(status, reason)
        if self.record.incident:
            self.lifecycle.move("reconsider")

    def _settled(self) -> bool:
        """Something is confirmed, and nothing that is seen now may be in the next sweep."""
        confirmed = self._confirmed()
        return bool(confirmed) and self.diagnosis is not None and len(confirmed) == len(self.diagnosis.faults)

    def _unproven(self, plan: Plan) -> str:
        """Why it is not known whether what the plan is for is there: the newest sweep does not find it, and does not show either that it is gone.

        Where etcd without quorum is ended by its probe again and again, or this machine is overloaded, that is so in every third sweep; a plan
        that was withdrawn each time could not be approved for minutes (observed on a busy lab).
        """
        assert self.observation is not None and self.diagnosis is not None
        return doubt([key for key in plan.basis if key not in self.diagnosis.keys], self.diagnosis, self.observation)

    def _unseen(self, plan: Plan) -> list[str]:
        """Hosts of the plan that the newest sweep does not show."""
        assert self.observation is not None
        hosts = dict.fromkeys(step.host for step in plan.steps)
        return [h for h in hosts if isinstance(self.observation.hosts.get(h), Unseen)]

    def _as_planned(self, plan: Plan, choice: Choice) -> Proposal | None:
        """What would be planned now, where that is what the waiting plan says; None where it is not."""
        assert self.diagnosis is not None
        if plan.requested_by:
            return self._asked_again(plan) if all(key in self.diagnosis.keys for key in plan.basis) else None
        return choice.proposal if self._same(plan, choice.playbook, choice.proposal) else None

    def _asked_again(self, plan: Plan) -> Proposal | None:
        """What the same request would plan now, where it is the same: another survivor may hold more by now, or a host that was away be back."""
        playbook = next((p for p in self.playbooks if p.name == plan.playbook), None)
        answers = self._answers(plan, self._situation(parts(plan), by_hand=True, point=plan.point))
        return next((a for a in answers if self._same(plan, playbook, a)), None)

    def _asked_now(self, plan: Plan, situation: Situation) -> Proposal | None:
        """What the same request would plan now, whatever that is."""
        return next(iter(self._answers(plan, situation)), None)

    def _answers(self, plan: Plan, situation: Situation) -> list[Proposal]:
        playbook = next((p for p in self.playbooks if p.name == plan.playbook), None)
        answers = [playbook.propose(f, situation) for f in situation.confirmed if f.code in playbook.repairs] if playbook else []
        if isinstance(playbook, Askable) and not plan.basis:
            answers.append(playbook.asked(situation))
        return [a for a in answers if isinstance(a, Proposal)]

    def _retell(self, plan: Plan, proposal: Proposal, *, now: bool = False) -> Plan:
        """What is lost with a plan for a cluster at work grows while it waits: told anew once a minute, and when approved `now`."""
        told = self.record.told_at or plan.created_at
        early = not now and (self.now - told).total_seconds() < RETOLD
        if self.record.incident or not plan.destructive or proposal.destroys == plan.destroys or early:
            return plan
        plan = replace(plan, destroys=proposal.destroys)
        self._set(plan=plan, told_at=self.now)
        self._emit(SavePlan(plan))
        return plan

    def _take(self, playbook: Playbook, proposal: Proposal, declined: tuple[str, ...]) -> None:
        if not self._unasked(playbook, proposal):
            self._offer(playbook, proposal, declined=declined)
            return
        if why := self._refused_now(proposal):
            self._stand_by(f"not done: {why}; or `recoverctl run {playbook.name} {self.settings.name}` and approve", waiting=False)
            return
        blocked = unasked(playbook.name, proposal.basis, self.record.history, self.settings.bounds, self.now)
        if blocked:
            self._stand_by(f"not done: {blocked.reason}; or `recoverctl run {playbook.name} {self.settings.name}` and approve", waiting=False)
            return
        plan = self._make(playbook, proposal, declined=declined)
        self._note("plan-made", f"plan {plan.id}: {plan.summary}")
        self._start(plan, "it is reversible and local, and the configuration lets it run unasked")

    def _unasked(self, playbook: Playbook, proposal: Proposal) -> bool:
        destructive = playbook.destructive or proposal.destructive
        return not destructive and not proposal.asks and self.settings.approval_of(playbook.name) is Approval.AUTOMATIC

    def _refused_now(self, proposal: Proposal) -> str:
        """Why the gate would refuse the plan, had it been made; "" when it would not. No plan is begun unasked that stops at once."""
        evidence = self._evidence()
        if evidence is None:
            return "nothing has been seen yet"
        first = next((s for s in proposal.steps if not s.looks), None)
        for step in proposal.steps:
            if why := unwanted(step, proposal.basis, True, "", evidence):
                return why
        return f"it waits for {why}" if first and (why := obstacle(first, evidence)) else ""

    def _stand_by(self, explanation: str, waiting: bool) -> None:
        phase = self.lifecycle.phase
        if waiting and phase is Phase.ESCALATED:
            self.lifecycle.move("reconsider")
        elif not waiting and phase is Phase.CONFIRMED and self._confirmed():
            self.lifecycle.move("escalate")
        self._explain(explanation, "waiting" if waiting else "escalated")

    def _offer(
        self, playbook: Playbook, proposal: Proposal, requested_by: str = "", why: str = "", point: str = "", declined: tuple[str, ...] = ()
    ) -> None:
        plan = replace(self._make(playbook, proposal, requested_by, why, declined), point=point)
        self._set(plan=plan, stale_sweeps=0, stale_since=None, told_at=None)
        self._emit(SavePlan(plan))
        asked = f", asked for by {requested_by}" + (f" ({why})" if why else "") if requested_by else ""
        self._note("plan-made", f"plan {plan.id} waits for approval{asked}: {plan.summary}")
        if self.record.incident and self.lifecycle.phase is not Phase.AWAITING_APPROVAL:
            self.lifecycle.move("offer")
        before = f". Before it is approved: {'; '.join(declined)}" if declined else ""
        self._set(
            explanation=f"plan {plan.id} ({plan.playbook}) waits for approval: {plan.summary}. "
            f"`recoverctl plans` shows its steps, `recoverctl approve {plan.id}` runs it{before}"
        )

    def _make(self, playbook: Playbook, proposal: Proposal, requested_by: str = "", why: str = "", declined: tuple[str, ...] = ()) -> Plan:
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
            evidence=(
                *((f"asked first: {proposal.asks}",) if proposal.asks else ()),
                *proposal.evidence,
                *(f"tried or refused before, and can be tried again: {d}" for d in declined),
            ),
            destroys=proposal.destroys,
            undo=proposal.undo,
            basis=proposal.basis,
            resolves=proposal.resolves or proposal.basis,
            # what was reckoned from a size takes as long as that takes: cut short in the middle, it would leave everything stopped
            steps=tuple(
                replace(s.of_plan(id), timeout=s.timeout if s.size else min(s.timeout, bounds.step_deadline)) for s in (*first, *proposal.steps)
            ),
            verify_within=proposal.verify_within,
            deadline=bounds.plan_deadline * proposal.rounds + proposal.moving + sum(s.timeout for s in first),
            reason=why,
            requested_by=requested_by,
            asks="" if destructive or self.settings.approval_of(playbook.name) is not Approval.AUTOMATIC else proposal.asks,
        )

    @staticmethod
    def _same(plan: Plan, playbook: Playbook | None, proposal: Proposal | None) -> bool:
        """Whether what would be planned now is what the plan says: same playbook, same operations on the same hosts."""
        if playbook is None or proposal is None or playbook.name != plan.playbook:
            return False
        mine = [s for s in plan.steps if not isinstance(s.operation, TakeRestorePoint)]  # which the machine has put before the proposal
        return [(s.host, s.operation) for s in mine] == [(s.host, s.of_plan(plan.id).operation) for s in proposal.steps]
