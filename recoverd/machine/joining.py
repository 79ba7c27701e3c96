"""A join that a person asked for: allowed or refused, and then a plan that begins at once."""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine.requests import Requests
from recoverd.model.etcd import EtcdView
from recoverd.model.events import JoinRequested, Refused, SaveDecision, SavePlan
from recoverd.model.finding import State
from recoverd.model.joining import Check, JoinFacts, JoinRequest
from recoverd.model.memory import Guest
from recoverd.model.settings import Approval
from recoverd.playbooks.base import Proposal
from recoverd.playbooks.join_checks import judge
from recoverd.playbooks.join_control_plane import PLAYBOOK, join


class Joining(Requests):
    """The part of the machine that takes joins in."""

    def joinable(self) -> None:
        """Raise `Refused` where no join may begin now, whatever the machines say."""
        who, record = self._who(), self.record
        if self.settings.approval_of(PLAYBOOK.name) is Approval.NEVER:
            raise Refused(f"{PLAYBOOK.name} is switched off for {who} in the configuration (approval: never)")
        if record.pause:
            raise Refused(f"{who} is paused by {record.pause.by} ({record.pause.reason}): recoverctl resume {who} first")
        if record.plan:
            raise Refused(f"plan {record.plan.id} ({record.plan.playbook}) is open on {who}; one plan at a time: recoverctl plans")
        if record.incident:
            raise Refused(f"incident {record.incident.id} is open on {who}: recoverctl show {record.incident.id}")
        self._refuse_stale()
        if self.observation is None or self.diagnosis is None:
            raise Refused(f"{who} has not been looked at since recoverd started; ask again in a few seconds")
        if why := self._forbidden(unasked=False):
            raise Refused(f"{who}: {why}")
        if self.lifecycle.state is not State.HEALTHY or self.diagnosis.state is not State.HEALTHY:
            raise Refused(f"{who} is not healthy, and only a healthy cluster is joined: {self.diagnosis.summary}")

    def join_through(self) -> tuple[str, tuple[str, ...]]:
        """The control plane whose etcd leads, or else the first, and all that are members."""
        assert self.observation is not None
        views = {n: v for n, v in self.observation.etcd.items() if isinstance(v, EtcdView) and any(m.id == v.member_id for m in v.members)}
        if not views:
            raise Refused(f"no etcd member of {self._who()} answers")
        return next((n for n, v in views.items() if v.leader == v.member_id), min(views)), tuple(views)

    def judged(self, request: JoinRequest, facts: JoinFacts) -> tuple[Check, ...]:
        """What the facts come to by the newest sweep."""
        return judge(request, facts, self._situation(by_hand=True))

    def _join(self, event: JoinRequested) -> None:
        self.joinable()
        request = event.request
        if bad := [c for c in self.judged(request, event.facts) if not c.ok]:
            raise Refused("; ".join(f"{c.name}: {c.detail}" for c in bad))
        proposal = join(request, event.facts, self._situation(by_hand=True), self.now)
        if not isinstance(proposal, Proposal):
            raise Refused(proposal.reason)
        plan = self._make(PLAYBOOK, proposal, requested_by=event.by, why=event.reason)
        self._set(plan=plan)
        self.memory = replace(self.memory, guest=Guest(request.name, request.address, request.host_key))
        self._emit(SavePlan(plan), SaveDecision(plan.id, True, event.by, event.reason, event.at))
        self._start(plan, f"asked for and approved by {event.by}" + (f": {event.reason}" if event.reason else ""))
