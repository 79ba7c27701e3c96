"""A join that a person asked for: allowed or refused, and then a plan that begins at once."""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine import deciding, outlook, persons, requests, running
from recoverd.machine.turn import Turn
from recoverd.model.etcd import EtcdView
from recoverd.model.events import JoinRequested, Refused, SaveDecision, SavePlan
from recoverd.model.finding import State
from recoverd.model.joining import Check, JoinFacts, JoinRequest
from recoverd.model.memory import Guest
from recoverd.model.settings import Approval
from recoverd.playbooks.base import Proposal
from recoverd.playbooks.join_checks import judge
from recoverd.playbooks.join_control_plane import PLAYBOOK, join
from recoverd.playbooks.joins import BY_HAND


def joinable(turn: Turn) -> None:
    """Raise `Refused` where no join may begin now, whatever the machines say."""
    who, record = turn.name, turn.record
    requests.refuse_observed(turn)
    if turn.settings.approval_of(PLAYBOOK.name) is Approval.NEVER:
        raise Refused(f"{PLAYBOOK.name} is switched off for {who} in the configuration (approval: never)")
    requests.refuse_paused(turn)
    if record.plan:
        raise Refused(
            f"plan {record.plan.id} ({record.plan.playbook}) is open on {who}; one plan at a time: recoverctl plans"
        )
    if record.incident:
        raise Refused(f"incident {record.incident.id} is open on {who}: recoverctl show {record.incident.id}")
    requests.refuse_stale(turn)
    if turn.sweep is None:
        raise Refused(f"{who} has not been looked at since recoverd started; ask again in a few seconds")
    if why := outlook.forbidden(turn, unasked=False):
        raise Refused(f"{who}: {why}")
    diagnosis = turn.sweep.diagnosis
    if turn.lifecycle.state is not State.HEALTHY or diagnosis.state is not State.HEALTHY:
        raise Refused(
            f"{who} is not healthy, and only a healthy cluster is joined: {diagnosis.summary}",
            passing=diagnosis.partial,
        )


def join_through(turn: Turn) -> tuple[str, tuple[str, ...]]:
    """The control plane whose etcd leads, or else the first, and all that are members."""
    views = {
        n: v
        for n, v in turn.newest.observation.etcd.items()
        if isinstance(v, EtcdView) and any(m.id == v.member_id for m in v.members)
    }
    if servers := outlook.scene(turn).external_etcd:
        why = f"the etcd of {turn.name} is elsewhere ({', '.join(servers)})"
        raise Refused(f"{why}, and recoverd joins only control planes that have one of their own. {BY_HAND}")
    if not views:
        raise Refused(f"no etcd member of {turn.name} answers", passing=True)
    return next((n for n, v in views.items() if v.leader == v.member_id), min(views)), tuple(views)


def judged(turn: Turn, request: JoinRequest, facts: JoinFacts) -> tuple[Check, ...]:
    """What the facts come to by the newest sweep."""
    return judge(request, facts, outlook.situation(turn, by_hand=True))


def begin(turn: Turn, event: JoinRequested) -> None:
    """Begin a join at once: whoever typed it has approved it."""
    joinable(turn)
    request = event.request
    if bad := [c for c in judged(turn, request, event.facts) if not c.ok]:
        raise Refused("; ".join(f"{c.name}: {c.detail}" for c in bad))
    proposal = join(request, event.facts, outlook.situation(turn, by_hand=True), turn.now)
    if not isinstance(proposal, Proposal):
        raise Refused(proposal.reason)
    plan = deciding.make(turn, PLAYBOOK, proposal, requested_by=event.by, why=event.reason)
    persons.refuse_one(turn, plan, event)
    turn.set(plan=plan)
    turn.learn(replace(turn.memory, guest=Guest(request.name, request.address, request.host_key)))
    turn.emit(SavePlan(plan), SaveDecision(plan.id, True, event.by, event.reason, event.at))
    running.start(turn, plan, f"asked for and approved by {event.by}" + (f": {event.reason}" if event.reason else ""))
