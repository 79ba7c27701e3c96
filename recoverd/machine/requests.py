"""What a person asks of the machine: approve, reject, pause, resume, acknowledge, make a plan by hand."""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine.decide import choose, on_request
from recoverd.machine.gate import unwanted
from recoverd.machine.guards import too_old
from recoverd.machine.maintenance import Maintaining
from recoverd.machine.sight import let_go, name_of, unended
from recoverd.model.events import Acknowledged, Approved, Paused, PlanRequested, Refused, Rejected, Resumed, SaveDecision
from recoverd.model.finding import Phase, State
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.record import Pause
from recoverd.playbooks.base import Askable, Playbook


class Requests(Maintaining):
    """Each method carries out one request or raises `Refused` with the reason; a refused request changes nothing."""

    def _approve(self, event: Approved) -> None:
        plan = self._plan_named(event.plan)
        if self.record.pause:
            raise Refused(f"{self._who()} is paused by {self.record.pause.by} ({self.record.pause.reason}): recoverctl resume {self._who()} first")
        if self.now >= plan.expires_at:
            raise Refused(f"plan {plan.id} expired at {plan.expires_at:%H:%M:%S} UTC; see `recoverctl plans` for the one that takes its place")
        self._refuse_stale()
        if self.diagnosis is None or self.diagnosis.state is State.UNOBSERVABLE:
            raise Refused(f"{self._who()} cannot be seen at this moment, so nothing is started; approve again when `recoverctl status` shows it")
        if why := self._forbidden(unasked=False):
            raise Refused(f"{self._who()}: {why}")
        if self.record.incident is None and (self.lifecycle.state is not State.HEALTHY or self.diagnosis.state is not State.HEALTHY):
            raise Refused(f"plan {plan.id} is for a healthy cluster, and {self._who()} is not ({self.diagnosis.summary}); nothing is started")
        gone = [k for k in plan.basis if k not in self.diagnosis.keys]
        if gone:
            names = ", ".join(f"{code} {subject}".strip() for code, subject in gone)
            raise Refused(f"the newest sweep does not see {names}, on which plan {plan.id} was made; look at `recoverctl status {self._who()}`")
        if unseen := self._unseen(plan):
            raise Refused(
                f"{', '.join(unseen)} is not seen just now, so whether plan {plan.id} is still what would be planned is not known, and nothing is "
                f"started; approve again when `recoverctl status {self._who()}` shows it, or the plan that takes its place"
            )
        proposal = self._as_planned(plan, choose(self._present(plan), self.playbooks, self.record.declined))
        if proposal is None:
            raise Refused(
                f"by the newest sweep plan {plan.id} is not what would be planned now, so nothing is started; "
                f"in a moment `recoverctl plans` shows the plan that takes its place, or this one still"
            )
        self._refuse_unwanted(plan)
        plan = self._retell(plan, proposal, now=True)
        self._emit(SaveDecision(plan.id, True, event.by, event.reason, event.at))
        self._note("approved", f"plan {plan.id} approved by {event.by}" + (f": {event.reason}" if event.reason else ""))
        self._start(plan, f"approved by {event.by}")

    def _refuse_stale(self) -> None:
        """Nothing is decided on a sweep that is older than a few intervals, as when sweeps break."""
        evidence = self._evidence()
        if evidence and (why := too_old(evidence)):
            raise Refused(f"{self._who()} has not been looked at for a while, and nothing is started without {why}; the log of recoverd tells why")

    def _refuse_unwanted(self, plan: Plan) -> None:
        evidence = self._evidence()
        for step in plan.steps if evidence else ():
            if evidence and (why := unwanted(step, plan.basis, False, plan.requested_by, evidence)):
                raise Refused(f"plan {plan.id} is not started: {why}")

    def _reject(self, event: Rejected) -> None:
        plan = self._plan_named(event.plan)
        self._emit(SaveDecision(plan.id, False, event.by, event.reason, event.at))
        why = f"rejected by {event.by}: {event.reason}"
        self._close_plan(PlanStatus.REJECTED, why)
        again = f"`recoverctl ack {plan.incident}` lets recoverd offer it again"
        if self.record.incident is None:
            again = f"`recoverctl run {plan.playbook} {self._who()}` makes it anew at any time"
        told = f"{plan.playbook} (plan {plan.id}) was {why}; {again}"
        self._decline(plan, told)
        if self.lifecycle.phase is Phase.AWAITING_APPROVAL:
            self.lifecycle.move("escalate")
        self._explain(told, "escalated" if self.record.incident else "declined")

    def _plan_named(self, name: str) -> Plan:
        plan = self.record.plan
        if plan is None or plan.id != name:
            instead = f"{plan.id} ({plan.playbook}) is" if plan else "none is"
            raise Refused(f"plan {name} is not open any more, and {instead} open on {self._who()}; `recoverctl plans` shows it, `--all` why it ended")
        if plan.status is PlanStatus.RUNNING:
            raise Refused(f"plan {name} is running already")
        return plan

    def _pause(self, event: Paused) -> None:
        if self.record.pause:
            raise Refused(
                f"{self._who()} is paused already, by {self.record.pause.by} since {self.record.pause.at:%H:%M:%S} UTC ({self.record.pause.reason})"
            )
        self._set(pause=Pause(event.by, event.reason, event.at))
        late = " (the running plan is past its point of no return and ends first)" if self.record.run and self.record.run.committed else ""
        self._note("paused", f"by {event.by}: {event.reason}{late}")
        self._settle_pause()

    def _settle_pause(self) -> None:
        if self.record.pause and self.lifecycle.phase in (Phase.CONFIRMED, Phase.AWAITING_APPROVAL, Phase.ESCALATED):
            self.lifecycle.move("pause")
            self._set(
                explanation=f"paused by {self.record.pause.by} ({self.record.pause.reason}); `recoverctl resume {self._who()}` lets recoverd go on"
            )

    def _resume(self, event: Resumed) -> None:
        if self.record.pause is None:
            raise Refused(f"{self._who()} is not paused")
        self._set(pause=None)
        self._note("resumed", f"by {event.by}")
        if self.lifecycle.phase is Phase.PAUSED:
            self.lifecycle.move("offer" if self._waiting_plan else "reconsider")
            self._set(explanation="")

    def _acknowledge(self, event: Acknowledged) -> None:
        incident = self.record.incident
        mine = incident is not None and incident.id == event.incident
        self._set(history=tuple(replace(a, acknowledged=a.acknowledged or a.incident == event.incident or mine) for a in self.record.history))
        if not mine:
            self._set(declined=tuple(d for d in self.record.declined if d.maintenance != event.incident))
            return
        self._save_incident(acknowledged_by=event.by)
        self._note("acknowledged", f"by {event.by}; what was refused or failed before may be tried again")
        self._set(declined=())
        self._let_go(event.by)
        if (setback := self.memory.setback) and not setback.acknowledged:
            self.memory = replace(self.memory, setback=replace(setback, acknowledged=True))
        if self.lifecycle.phase is Phase.ESCALATED:
            self.lifecycle.move("reconsider")
            self._set(explanation="")

    def _let_go(self, by: str) -> None:
        """A person says that what the incident waits to see gone is not to be waited for."""
        if self.diagnosis is None or self.observation is None or self.diagnosis.state is not State.HEALTHY:
            return
        if left := unended(self.record.sightings, self.diagnosis, self.observation):
            self._set(sightings=let_go(self.record.sightings, left), explanation="")
            names = ", ".join(name_of(key).strip() for key in left)
            self._note("let-go", f"by {by}: it was not seen that this is gone, and it is not waited for any more: {names}")

    def _request(self, event: PlanRequested) -> None:
        playbook = self._playbook_asked_for(event)
        self._refuse_request(playbook)
        choice = on_request(self._situation(event.nodes, by_hand=True, point=event.point), playbook)
        if choice.playbook is None or choice.proposal is None:
            raise Refused("; ".join(choice.reasons) or f"nothing is confirmed that {playbook.name} repairs ({playbook.summary})")
        if self._waiting_plan:
            self._close_plan(PlanStatus.SUPERSEDED, f"{event.by} asked for {playbook.name} instead")
            if self.record.incident is None:
                # another maintenance, whose number is in its steps
                choice = on_request(self._situation(event.nodes, by_hand=True, point=event.point), playbook)
        assert choice.playbook is not None and choice.proposal is not None
        self._offer(choice.playbook, choice.proposal, requested_by=event.by, why=event.reason, point=event.point)

    def _playbook_asked_for(self, event: PlanRequested) -> Playbook:
        """Raises `Refused` where what is asked for names something that there is not."""
        playbook = next((p for p in self.playbooks if p.name == event.playbook), None)
        if playbook is None:
            raise Refused(f"there is no playbook {event.playbook}; there are: {', '.join(p.name for p in self.playbooks)}", missing=True)
        known = {h.name for h in (*self.settings.control_planes, *self.settings.workers)} | {w.name for w in self.memory.workers}
        if strangers := [n for n in event.nodes if n not in known]:
            raise Refused(f"{self._who()} has no node {', '.join(strangers)}; it has: {', '.join(sorted(known))}", missing=True)
        if event.point and not isinstance(playbook, Askable):
            raise Refused(f"{playbook.name} goes back to no restore point, so none can be named")
        return playbook

    def _refuse_request(self, playbook: Playbook) -> None:
        """Raises `Refused` where nothing can be planned now, whatever is asked for."""
        if self.record.run or self.lifecycle.phase in (Phase.REMEDIATING, Phase.VERIFYING):
            raise Refused(f"plan {self.record.plan.id if self.record.plan else ''} is acting on {self._who()}; one plan at a time")
        if self.record.pause:
            raise Refused(f"{self._who()} is paused by {self.record.pause.by} ({self.record.pause.reason}): recoverctl resume {self._who()} first")
        self._refuse_stale()
        if self.observation is None:
            raise Refused(f"{self._who()} has not been looked at since recoverd started; ask again in a few seconds")
        if why := self._forbidden(unasked=False):
            raise Refused(f"{self._who()}: {why}")
        if self.lifecycle.state is State.UNOBSERVABLE or (self.record.incident is None and self.lifecycle.state is not State.HEALTHY):
            raise Refused(f"{self._who()} is {self.lifecycle.state}: nothing is confirmed that {playbook.name} repairs")
        if self.lifecycle.state is State.MAINTENANCE:
            raise Refused(f"maintenance {self._incident_id} of {self._who()} is just ending; ask again in a few seconds")

    def _who(self) -> str:
        return self.settings.name
