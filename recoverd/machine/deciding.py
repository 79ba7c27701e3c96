"""What is done about a confirmed incident: nothing yet, a plan that waits for a person, a plan
that runs, or a person called.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recoverd import bounds
from recoverd.diagnose import api, people
from recoverd.machine import outlook, persons, replanning, restore_points, running, shadows
from recoverd.machine.decide import Choice, choose, nothing_to_do
from recoverd.machine.gate import obstacle, unwanted
from recoverd.machine.turn import GaveWay, Turn
from recoverd.model.catalogue import Code
from recoverd.model.events import SavePlan
from recoverd.model.finding import FAULT_STATES, Phase, State
from recoverd.model.history import History
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.settings import Approval
from recoverd.model.text import utc
from recoverd.playbooks.base import Playbook, Proposal

LEFT = 300.0
"""Seconds in which nobody is seen at work any more, before what asked because of them runs unasked: who moves
a file away comes back for it.
"""
STARTS = 60.0
"""Seconds that an API server has before a person is called for nothing but that it does not answer: whoever has edited
its manifest or rebooted its machine sees it back by then (observed: 15 to 30 s with 1.20). One of several members of
etcd that follows nobody has as long.
"""
MAY_PASS = frozenset(
    {
        Code.API_NOT_ANSWERING,
        Code.ETCD_MEMBER_ISOLATED,
        Code.ETCD_MEMBER_HANGS,
        Code.EXTERNAL_ETCD_FAILS,
        Code.PODS_DO_NOT_START,
    }
)
"""What often ends by itself within that time, as when the CNI's agent of a node comes up after its pods. The API server
of a member that is cut off is down with it.
"""
RETOLD = 60.0
"""Seconds after which what a waiting plan destroys is told anew, where it has changed."""


TOO_LATE = (
    "recoverd itself came too late in this sweep to see every control plane and its etcd, so it does not say that "
    "nothing can be done; the next sweep in which it is in time tells (`recoverctl status` says what it lacks)"
)


def remedy(turn: Turn) -> Choice:
    """What would be planned for what is confirmed as things are seen now, whatever waits or runs."""
    return choose(outlook.situation(turn), turn.playbooks, turn.record.declined)


def decide(turn: Turn, instead: str = "") -> None:
    """Take what would be planned now, offer it, or say why there is nothing; `instead`:
    in place of which plan, and why.
    """
    choice = chosen(turn)
    if choice is None:
        return
    if choice.playbook is None or choice.proposal is None:
        if not choice.reasons and not _all_confirmed(turn):
            return  # what is seen now has not lasted long enough to say anything about it
        if outlook.hidden(turn):
            return  # and what was said of its cause still stands
        if choice.reasons and replanning.missed(turn):
            if turn.lifecycle.phase is not Phase.ESCALATED:
                _explain_inaction(turn, TOO_LATE, waiting=True)
            return
        if not choice.reasons and (may := _may_be_starting(turn)):
            _explain_inaction(turn, may, waiting=True)
            return
        _explain_inaction(turn, nothing_to_do(outlook.confirmed(turn), choice.reasons), choice.waiting)
        return
    take(turn, choice.playbook, _mindful(turn, choice.proposal), (*([instead] if instead else []), *choice.declined))


def _may_be_starting(turn: Turn) -> str:
    """What is waited for where nothing is wrong but what may pass, and not for long; else ""."""
    since, found = turn.record.fault_since, outlook.confirmed(turn)
    # a person who has been called is not told at each of its starts
    if turn.lifecycle.phase is not Phase.ESCALATED and (soon := api.coming_up(outlook.scene(turn), found)):
        return soon
    if since is None or not found or any(f.code not in MAY_PASS for f in found):
        return ""
    if (turn.now - since).total_seconds() >= STARTS:  # of the record, and not of the incident: it goes with the clock
        return ""
    starts = found[0].code == Code.API_NOT_ANSWERING
    may = "be starting anew, as after an edit of its manifest or a boot" if starts else "pass by itself"
    return f"{found[0].message} It may {may}: a person is called when it has lasted {STARTS:.0f} s"


def replace_plan(turn: Turn, gone: GaveWay) -> None:
    """Have made what takes the place of a plan that gave way before it changed anything."""
    plan, incident, diagnosis = gone.plan, turn.record.incident, turn.newest.diagnosis
    if incident is None or turn.lifecycle.state not in FAULT_STATES or turn.lifecycle.state is not diagnosis.state:
        return  # of maintenance, or while another fault is there: the next sweeps plan anew
    instead = (
        f"in place of {plan.id}, "
        + ("" if plan.automatic else "which was approved and ")
        + f"which changed nothing: {gone.why}"
    )
    playbook = turn.playbook(plan.playbook)
    again = replanning.asked_now(turn, plan, replanning.situation_of_request(turn, plan)) if plan.requested_by else None
    if playbook and again:
        offer(
            turn,
            playbook,
            again,
            requested_by=plan.requested_by,
            why=plan.reason,
            point=plan.point,
            declined=(instead,),
        )
    else:
        decide(turn, instead)


def _mindful(turn: Turn, proposal: Proposal) -> Proposal:
    """Where its cause is above the cluster or its machines, a person is at work on one of these or has rejected another
    remedy for the same, or this bastion may do nothing unasked, it asks.
    """
    why = (
        proposal.asks
        or outlook.rejected(turn, proposal)
        or outlook.from_above(turn)
        or outlook.on_all_machines(turn, proposal)
        or people.on_any((s.host for s in proposal.steps), outlook.situation(turn).scene)
        or outlook.forbidden(turn, unasked=True)
    )
    return replace(proposal, asks=why)


def chosen(turn: Turn) -> Choice | None:
    """What would be planned now; None where nothing new may be in this sweep, as a plan waits for
    a person or recoverd is paused.

    A plan that nobody approved in time expires. One that is not what would be planned now,
    in enough sweeps, is superseded.
    """
    waiting, fault = turn.waiting_plan, turn.record.incident is not None
    if waiting and (why := turn.settings.hands_off):
        drop(turn, PlanStatus.SUPERSEDED, why)
        waiting = None
    if waiting and turn.now >= waiting.expires_at:
        who = f"only {waiting.first.by}, of two persons," if waiting.first else "nobody"
        drop(turn, PlanStatus.EXPIRED, f"{who} approved it before {utc(waiting.expires_at)}")
        waiting = None
    if turn.record.pause:
        return None
    if why := outlook.forbidden(turn, unasked=False):
        turn.explain(why, History.OBSERVING)
        return None
    choice = remedy(turn)
    if waiting is None:
        return shadows.anew(turn, choice) if turn.settings.observes else choice
    if proposal := replanning.as_planned(turn, waiting, choice):
        turn.set(stale_sweeps=0, stale_since=None)
        if _left_alone(turn, waiting, choice):
            drop(
                turn,
                PlanStatus.SUPERSEDED,
                f"it asked since {waiting.asks}; nobody has been there for {LEFT:g} s, so it is made anew, unasked",
            )
            return choice
        retell(turn, waiting, proposal)
        return None
    if not replanning.is_stale(turn, waiting):
        return None
    if fault:
        drop(
            turn,
            PlanStatus.SUPERSEDED,
            "the findings changed since it was made, and it is not what would be planned now",
        )
        return choice
    drop(turn, PlanStatus.SUPERSEDED, "what it was made for is over, or it is not what would be planned now")
    turn.set(explanation="")
    return None  # the next sweep makes the plan that takes its place: its steps hold its own number


def _left_alone(turn: Turn, plan: Plan, choice: Choice) -> bool:
    """Whether a plan that waits only for who was at work there may run unasked: all are seen, nobody is there
    for a while, and bounds let it.
    """
    playbook, proposal = choice.playbook, choice.proposal
    if not (plan.asks and turn.record.incident and playbook and proposal) or plan.requested_by:
        return False
    hosts = [step.host for step in proposal.steps]
    if not people.all_seen(hosts, outlook.scene(turn)) or not runs_unasked(turn, playbook, _mindful(turn, proposal)):
        turn.set(alone_since=None)
        return False
    since = turn.record.alone_since or people.left_at(hosts, outlook.scene(turn)) or turn.now
    turn.set(alone_since=since)
    barred = _refused_now(turn, proposal) or bounds.unasked(
        playbook.name, proposal.basis, turn.record.history, turn.settings.bounds, turn.now
    )
    return (turn.now - since).total_seconds() >= LEFT and not barred


def drop(turn: Turn, status: PlanStatus, reason: str) -> None:
    """Close the waiting plan; in a fault, what is done about it is open again."""
    turn.close_plan(status, reason)
    if turn.record.incident:
        turn.move("reconsider")


def _all_confirmed(turn: Turn) -> bool:
    """Something is confirmed, and nothing that is seen now may be in the next sweep."""
    confirmed = outlook.confirmed(turn)
    return bool(confirmed) and len(confirmed) == len(turn.newest.diagnosis.faults)


def retell(turn: Turn, plan: Plan, proposal: Proposal, *, now: bool = False) -> Plan:
    """What is lost with a plan for a cluster at work grows while it waits: told anew once a
    minute, and when approved `now`. While the second of two persons is waited for it stays as the first has read it:
    both approve the same.
    """
    if plan.first and plan.first.digest == plan.digest:
        return plan
    told = turn.record.told_at or plan.created_at
    early = not now and (turn.now - told).total_seconds() < RETOLD
    if turn.record.incident or not plan.destructive or proposal.destroys == plan.destroys or early:
        return plan
    plan = replace(plan, destroys=proposal.destroys)
    turn.set(plan=plan, told_at=turn.now)
    turn.emit(SavePlan(plan))
    return plan


def take(turn: Turn, playbook: Playbook, proposal: Proposal, declined: tuple[str, ...]) -> None:
    """Run it unasked where that may be, else offer it."""
    if not runs_unasked(turn, playbook, proposal):
        offer(turn, playbook, proposal, declined=declined)
        return
    if soon := outlook.may_be_on_all(turn, proposal):
        _explain_inaction(turn, soon, waiting=True)
        return
    if why := _refused_now(turn, proposal):
        _explain_inaction(
            turn, f"not done: {why}; or `recoverctl run {playbook.name} {turn.name}` and approve", waiting=False
        )
        return
    blocked = bounds.unasked(playbook.name, proposal.basis, turn.record.history, turn.settings.bounds, turn.now)
    if blocked:
        _explain_inaction(
            turn,
            f"not done: {blocked.reason}; or `recoverctl run {playbook.name} {turn.name}` and approve",
            waiting=False,
        )
        return
    if not turn.settings.observes and (others := bounds.out_of_turn(turn.state.around, unasked=True)):
        _explain_inaction(turn, f"{playbook.name} waits for its turn: {others}; then it runs by itself", waiting=True)
        return
    plan = make(turn, playbook, proposal, declined=declined)
    if turn.settings.observes:
        shadows.show(turn, plan, unasked=True)
        return
    turn.note(History.PLAN_MADE, f"plan {plan.id}: {plan.summary}")
    running.start(turn, plan, "it is reversible and local, and the configuration lets it run unasked")


def runs_unasked(turn: Turn, playbook: Playbook, proposal: Proposal) -> bool:
    """The configuration lets it run unasked, nothing can be lost by it, and nothing asks for a person."""
    destructive = playbook.destructive or proposal.destructive
    return not destructive and not proposal.asks and turn.settings.approval_of(playbook.name) is Approval.AUTOMATIC


def _refused_now(turn: Turn, proposal: Proposal) -> str:
    """Why the gate would refuse the plan, had it been made; "" when it would not. No plan is
    begun unasked that stops at once.
    """
    evidence = outlook.evidence(turn)
    if evidence is None:
        return "nothing has been seen yet"
    first = next((s for s in proposal.steps if not s.looks), None)
    for step in proposal.steps:
        if why := unwanted(step, proposal.basis, True, "", evidence):
            return why
    ahead = {s.part for s in proposal.steps}
    return f"it waits for {why}" if first and (why := obstacle(first, evidence, ahead)) else ""


def _explain_inaction(turn: Turn, explanation: str, waiting: bool) -> None:
    """Do nothing, and say why: it may come by itself in a later sweep, or a person is called."""
    phase = turn.lifecycle.phase
    if waiting and phase is Phase.ESCALATED:
        turn.move("reconsider")
    elif not waiting and phase is Phase.CONFIRMED and outlook.confirmed(turn):
        turn.move("escalate")
    turn.explain(explanation, History.WAITING if waiting else History.ESCALATED)


def offer(
    turn: Turn,
    playbook: Playbook,
    proposal: Proposal,
    requested_by: str = "",
    why: str = "",
    point: str = "",
    declined: tuple[str, ...] = (),
) -> None:
    """Make a plan of it that waits for a person."""
    plan = replace(make(turn, playbook, proposal, requested_by, why, declined), point=point)
    if turn.settings.observes:
        shadows.show(turn, plan, unasked=False)
        return
    turn.set(plan=plan, stale_sweeps=0, stale_since=None, told_at=None)
    turn.emit(SavePlan(plan))
    asked = f", asked for by {requested_by}" + (f" ({why})" if why else "") if requested_by else ""
    turn.note(History.PLAN_MADE, f"plan {plan.id} waits for approval{asked}: {plan.summary}")
    if turn.record.incident and turn.lifecycle.phase is not Phase.AWAITING_APPROVAL:
        turn.move("offer")
    before = f". Before it is approved: {'; '.join(declined)}" if declined else ""
    turn.set(explanation=waits_for_approval(turn, plan) + before)


def waits_for_approval(turn: Turn, plan: Plan) -> str:
    """What is waited for, and how a person goes on."""
    if plan.first:
        return persons.waits_for_second(plan, plan.first)
    two = ", once by each of two persons," if persons.needed(turn, plan) > 1 else ""
    return (
        f"plan {plan.id} ({plan.playbook}) waits for approval: {plan.summary}. `recoverctl plans` shows its steps, "
        f"`recoverctl approve {plan.id}`{two} runs it"
    )


def waited_for(turn: Turn) -> str:
    """What is waited for where nothing more particular was said, as between a plan that has helped and the end of its
    incident; "" for a cluster that is well. Worked out when it is asked for, so that it is never out of date.
    """
    incident, bounds = turn.record.incident, turn.settings.bounds
    if turn.lifecycle.state is State.HEALTHY:
        return ""
    if plan := turn.waiting_plan:
        return waits_for_approval(turn, plan)
    if incident and turn.sweep and turn.sweep.diagnosis.state is State.HEALTHY:
        return f"nothing is found now: {incident.id} closes when {bounds.recover_sweeps} sweeps on end find nothing"
    return f"what is done is decided on what is found in {bounds.confirm_sweeps} sweeps on end, as one may be mistaken"


def make(
    turn: Turn,
    playbook: Playbook,
    proposal: Proposal,
    requested_by: str = "",
    why: str = "",
    declined: tuple[str, ...] = (),
) -> Plan:
    """A plan of the proposal, with the next number; where data is at stake it begins with a restore point."""
    limits, incident = turn.settings.bounds, turn.incident_id
    turn.set(
        **({"plans": turn.record.plans + 1} if turn.record.incident else {"maintenances": turn.record.maintenances + 1})
    )
    number = turn.record.plans if turn.record.incident else 1
    destructive = playbook.destructive or proposal.destructive
    automatic = not requested_by and runs_unasked(turn, playbook, proposal)
    id = f"{incident}.{number}"
    first = restore_points.first_step(turn, id) if (destructive or proposal.point) and not proposal.own_point else ()
    return Plan(
        id=id,
        incident=incident,
        cluster=turn.name,
        playbook=playbook.name,
        summary=proposal.summary,
        destructive=destructive,
        automatic=automatic,
        status=PlanStatus.AWAITING_APPROVAL,
        created_at=turn.now,
        expires_at=proposal.valid_until or turn.now + timedelta(seconds=limits.plan_expiry),
        evidence=(
            *((f"asked first: {proposal.asks}",) if proposal.asks else ()),
            *proposal.evidence,
            *(f"tried or refused before, and can be tried again: {d}" for d in declined),
        ),
        destroys=proposal.destroys,
        undo=proposal.undo,
        basis=proposal.basis,
        resolves=proposal.resolves or proposal.basis,
        # what was reckoned from a size takes as long as that takes: cut short in the middle, it
        # would leave everything stopped
        steps=tuple(
            replace(s.of_plan(id), timeout=s.timeout if s.size else min(s.timeout, limits.step_deadline))
            for s in (*first, *proposal.steps)
        ),
        verify_within=proposal.verify_within,
        deadline=limits.plan_deadline * proposal.rounds + proposal.moving + sum(s.timeout for s in first),
        reason=why,
        requested_by=requested_by,
        asks="" if destructive or turn.settings.approval_of(playbook.name) is not Approval.AUTOMATIC else proposal.asks,
    )
