"""What a person asks of the machine: approve, reject, pause, resume, acknowledge, make a plan by hand.

Each function carries out one request or raises `Refused` with the reason; of a refused request nothing is kept.
"""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine import deciding, outlook, persons, replanning, running
from recoverd.machine.decide import choose, on_request
from recoverd.machine.gate import unwanted
from recoverd.machine.guards import too_old
from recoverd.machine.sight import let_go, name_of
from recoverd.machine.turn import Turn
from recoverd.memory.static_pods import without
from recoverd.model.catalogue import Code
from recoverd.model.events import (
    Acknowledged,
    Approved,
    Note,
    Paused,
    PlanRequested,
    Refused,
    Rejected,
    Resumed,
    SaveDecision,
)
from recoverd.model.finding import Diagnosis, Phase, State
from recoverd.model.history import History
from recoverd.model.plan import Plan, PlanStatus, TimelineEntry
from recoverd.model.record import Pause
from recoverd.model.text import meant, utc
from recoverd.playbooks.base import Askable, Playbook, Proposal


def approve(turn: Turn, event: Approved) -> None:
    """Begin a waiting plan, where it is by the newest sweep still what would be planned, and enough persons want it."""
    plan = _approvable(turn, event)
    proposal = _still_planned(turn, plan)
    _refuse_unwanted(turn, plan)
    plan = deciding.retell(turn, plan, proposal, now=True)
    enough = persons.enough(turn, plan, event)
    turn.emit(SaveDecision(plan.id, True, event.by, event.reason, event.at))
    if not enough:
        persons.keep_first(turn, plan, event)
        return
    other = plan.first if plan.first and plan.first.person != event.person and not event.emergency else None
    first = f"{other.by} and " if other else ""
    turn.note(
        History.APPROVED,
        f"plan {plan.id} approved by {first}{event.by}" + (f": {event.reason}" if event.reason else ""),
    )
    running.start(turn, plan, f"approved by {first}{event.by}")


def _approvable(turn: Turn, event: Approved) -> Plan:
    """The plan that is meant, where one that waits is; raises `Refused` where nothing may be approved now."""
    refuse_observed(turn)
    plan = _plan_named(turn, event.plan)
    if event.digest and event.digest != plan.digest:
        raise Refused(
            f"plan {plan.id} has the digest {plan.digest} and not {event.digest}: it is not the one that was "
            f"read; recoverctl plans {plan.id}"
        )
    refuse_paused(turn)
    if turn.now >= plan.expires_at:
        raise Refused(
            f"plan {plan.id} expired at {utc(plan.expires_at)}; see `recoverctl plans` for the one that takes its place"
        )
    refuse_stale(turn)
    return plan


def _still_planned(turn: Turn, plan: Plan) -> Proposal:
    """What would be planned now, which the plan says; raises `Refused` where that is not so, or is not seen."""
    diagnosis = _seen(turn)
    if why := outlook.forbidden(turn, unasked=False):
        raise Refused(f"{turn.name}: {why}")
    if turn.record.incident is None and (
        turn.lifecycle.state is not State.HEALTHY or diagnosis.state is not State.HEALTHY
    ):
        raise Refused(
            f"plan {plan.id} is for a healthy cluster, and {turn.name} is not ({diagnosis.summary}); nothing is started"
        )
    gone = [k for k in plan.basis if k not in diagnosis.keys]
    if gone:
        names = ", ".join(f"{code} {subject}".strip() for code, subject in gone)
        doubt = replanning.not_proven(turn, plan)
        raise Refused(
            f"the newest sweep does not see {names}, on which plan {plan.id} was made"
            + (f", and does not show that it is gone ({doubt})" if doubt else "")
            + f"; look at `recoverctl status {turn.name}`",
            passing=bool(doubt),
        )
    if unseen := replanning.not_seen(turn, plan):
        raise Refused(
            f"{', '.join(unseen)} is not seen just now, so whether plan {plan.id} is still what would be planned is "
            "not known, and nothing is "
            f"started; approve again when `recoverctl status {turn.name}` shows it, or the plan that takes its place",
            passing=True,
        )
    proposal = replanning.as_planned(
        turn, plan, choose(replanning.present(turn, plan), turn.playbooks, turn.record.declined)
    )
    if proposal is None:
        raise Refused(
            f"by the newest sweep plan {plan.id} is not what would be planned now, so nothing is started; "
            f"in a moment `recoverctl plans` shows the plan that takes its place, or this one still",
            passing=True,
        )
    return proposal


def _seen(turn: Turn) -> Diagnosis:
    """What the newest sweep came to, where it saw the cluster."""
    diagnosis = turn.sweep.diagnosis if turn.sweep else None
    if diagnosis is None or diagnosis.state is State.UNOBSERVABLE:
        raise Refused(
            f"{turn.name} cannot be seen at this moment, so nothing is started; approve again when "
            "`recoverctl status` shows it",
            passing=True,
        )
    return diagnosis


def refuse_observed(turn: Turn) -> None:
    """Nothing is begun, asked or unasked, where the configuration says that recoverd only observes."""
    if why := turn.settings.hands_off:
        raise Refused(why)


def refuse_paused(turn: Turn) -> None:
    """Nothing is begun while a person has said hands off."""
    if pause := turn.record.pause:
        raise Refused(f"{turn.name} is paused by {pause.by} ({pause.reason}): recoverctl resume {turn.name} first")


def refuse_stale(turn: Turn) -> None:
    """Nothing is decided on a sweep that is older than a few intervals, as when sweeps break."""
    evidence = outlook.evidence(turn)
    if evidence and (why := too_old(evidence)):
        raise Refused(
            f"{turn.name} has not been looked at for a while, and nothing is started without {why}; the "
            "log of recoverd tells why",
            passing=True,
        )


def _refuse_unwanted(turn: Turn, plan: Plan) -> None:
    evidence = outlook.evidence(turn)
    for step in plan.steps if evidence else ():
        if evidence and (why := unwanted(step, plan.basis, False, plan.requested_by, evidence)):
            raise Refused(f"plan {plan.id} is not started: {why}")


def reject(turn: Turn, event: Rejected) -> None:
    """Close a waiting plan for good: it is not offered again for the same findings before it is acknowledged."""
    plan = _plan_named(turn, event.plan)
    turn.emit(SaveDecision(plan.id, False, event.by, event.reason, event.at))
    why = f"rejected by {event.by}: {event.reason}"
    turn.close_plan(PlanStatus.REJECTED, why)
    again = f"`recoverctl ack {plan.incident}` lets recoverd offer it again"
    if turn.record.incident is None:
        again = f"`recoverctl run {plan.playbook} {turn.name}` makes it anew at any time"
    less = without(turn.memory, plan.basis)
    if less != turn.memory and turn.sweep and turn.sweep.diagnosis.find(Code.VIP_WRONG) is None:
        turn.learn(less)
        again = "what was gone was taken away on purpose by that, and is known no more"
    told = f"{plan.playbook} (plan {plan.id}) was {why}; {again}"
    turn.decline(plan, told, event.by)
    if turn.lifecycle.phase is Phase.AWAITING_APPROVAL:
        turn.move("escalate")
    turn.explain(told, History.ESCALATED if turn.record.incident else History.DECLINED)


def _plan_named(turn: Turn, name: str) -> Plan:
    plan = turn.record.plan
    if plan is None or plan.id != name:
        instead = f"{plan.id} ({plan.playbook}) is" if plan else "none is"
        raise Refused(
            f"plan {name} is not open any more, and {instead} open on {turn.name}; `recoverctl plans` "
            "shows it, `--all` why it ended"
        )
    if plan.status is PlanStatus.RUNNING:
        raise Refused(f"plan {name} is running already; `recoverctl pause {turn.name}` stops it before its next step")
    return plan


def put_on_hold(turn: Turn, event: Paused) -> None:
    """Watch on and do nothing, until a person resumes it."""
    if pause := turn.record.pause:
        raise Refused(f"{turn.name} is paused already, by {pause.by} since {utc(pause.at)} ({pause.reason})")
    turn.set(pause=Pause(event.by, event.reason, event.at))
    late = (
        " (the running plan is past its point of no return and ends first)"
        if turn.record.run and turn.record.run.committed
        else ""
    )
    turn.note(History.PAUSED, f"by {event.by}: {event.reason}{late}")
    enter_pause(turn)


def enter_pause(turn: Turn) -> None:
    """Go to the phase `paused` as soon as there is a way there; called at the end of every event, as a fault
    may be confirmed while paused.
    """
    pause = turn.record.pause
    if pause and turn.lifecycle.phase in (Phase.CONFIRMED, Phase.AWAITING_APPROVAL, Phase.ESCALATED):
        turn.move("pause")
        turn.set(
            explanation=f"paused by {pause.by} ({pause.reason}); `recoverctl resume {turn.name}` lets recoverd go on"
        )


def resume(turn: Turn, event: Resumed) -> None:
    """Go on after a pause."""
    if turn.record.pause is None:
        raise Refused(f"{turn.name} is not paused")
    turn.set(pause=None)
    turn.note(History.RESUMED, f"by {event.by}")
    if turn.lifecycle.phase is Phase.PAUSED:
        turn.move("offer" if turn.waiting_plan else "reconsider")
        turn.set(explanation="")


def acknowledge(turn: Turn, event: Acknowledged) -> None:
    """What was refused or failed in an incident, open or closed, may be tried again; the
    bounds do not count it any more.
    """
    incident = turn.record.incident
    mine = incident is not None and incident.id == event.incident
    turn.set(
        history=tuple(
            replace(a, acknowledged=a.acknowledged or a.incident == event.incident or mine) for a in turn.record.history
        )
    )
    told = f"by {event.by}; what was refused or failed before may be tried again"
    if not mine:
        turn.set(declined=tuple(d for d in turn.record.declined if d.maintenance != event.incident))
        # in the history of the incident that is over: whoever reads it finds who did it, and when
        turn.emit(Note(turn.name, event.incident, TimelineEntry(turn.now, History.ACKNOWLEDGED, told)))
        return
    turn.save_incident(acknowledged_by=event.by)
    turn.note(History.ACKNOWLEDGED, told)
    turn.set(declined=())
    _let_go(turn, event.by)
    if (setback := turn.memory.setback) and not setback.acknowledged:
        turn.learn(replace(turn.memory, setback=replace(setback, acknowledged=True)))
    if turn.record.above or turn.record.shared:
        turn.set(above=None, shared=())
        if (plan := turn.waiting_plan) and plan.asks:
            turn.close_plan(PlanStatus.SUPERSEDED, f"it asked since {plan.asks}; {event.by} has acknowledged that")
            turn.move("reconsider")
    if turn.lifecycle.phase is Phase.ESCALATED:
        turn.move("reconsider")
        turn.set(explanation="")


def _let_go(turn: Turn, by: str) -> None:
    """A person says that what the incident waits to see gone is not to be waited for."""
    if turn.sweep is None or turn.sweep.diagnosis.state is not State.HEALTHY:
        return
    if left := outlook.unended(turn):
        turn.set(sightings=let_go(turn.record.sightings, left), explanation="")
        names = ", ".join(name_of(key).strip() for key in left)
        turn.note(
            History.LET_GO, f"by {by}: it was not seen that this is gone, and it is not waited for any more: {names}"
        )


def request(turn: Turn, event: PlanRequested) -> None:
    """Make the plan that a person asked for; it waits for approval like any other, in
    place of one that waits already.
    """
    refuse_observed(turn)
    playbook = _playbook_asked_for(turn, event)
    _refuse_request(turn, playbook)
    choice = on_request(outlook.situation(turn, event.nodes, by_hand=True, point=event.point), playbook)
    if choice.playbook is None or choice.proposal is None:
        raise Refused(
            "; ".join(choice.reasons) or f"nothing is confirmed that {playbook.name} repairs ({playbook.summary})"
        )
    if turn.waiting_plan:
        turn.close_plan(PlanStatus.SUPERSEDED, f"{event.by} asked for {playbook.name} instead")
        if turn.record.incident is None:
            # another maintenance, whose number is in its steps
            choice = on_request(outlook.situation(turn, event.nodes, by_hand=True, point=event.point), playbook)
    assert choice.playbook is not None and choice.proposal is not None
    deciding.offer(turn, choice.playbook, choice.proposal, requested_by=event.by, why=event.reason, point=event.point)


def _playbook_asked_for(turn: Turn, event: PlanRequested) -> Playbook:
    """Raises `Refused` where what is asked for names something that there is not."""
    playbook = turn.playbook(event.playbook)
    if playbook is None:
        raise Refused(
            f"there is no playbook {event.playbook}; {meant(event.playbook, (p.name for p in turn.playbooks))}",
            missing=True,
        )
    known = {h.name for h in (*turn.settings.control_planes, *turn.settings.workers)} | {
        w.name for w in turn.memory.workers
    }
    if strangers := [n for n in event.nodes if n not in known]:
        those = meant(strangers[0], sorted(known), "it has: ")
        raise Refused(f"{turn.name} has no node {', '.join(strangers)}; {those}", missing=True)
    if event.point and not isinstance(playbook, Askable):
        raise Refused(f"{playbook.name} goes back to no restore point, so none can be named")
    return playbook


def _refuse_request(turn: Turn, playbook: Playbook) -> None:
    """Raises `Refused` where nothing can be planned now, whatever is asked for."""
    if turn.record.run or turn.lifecycle.phase in (Phase.REMEDIATING, Phase.VERIFYING):
        raise Refused(
            f"plan {turn.record.plan.id if turn.record.plan else ''} is acting on {turn.name}; one plan at a time"
        )
    refuse_paused(turn)
    refuse_stale(turn)
    if turn.sweep is None:
        raise Refused(f"{turn.name} has not been looked at since recoverd started; ask again in a few seconds")
    if why := outlook.forbidden(turn, unasked=False):
        raise Refused(f"{turn.name}: {why}")
    if turn.lifecycle.state is State.UNOBSERVABLE or (
        turn.record.incident is None and turn.lifecycle.state is not State.HEALTHY
    ):
        raise Refused(f"{turn.name} is {turn.lifecycle.state}: nothing is confirmed that {playbook.name} repairs")
    if turn.lifecycle.state is State.MAINTENANCE:
        raise Refused(f"maintenance {turn.incident_id} of {turn.name} is just ending; ask again in a few seconds")
