"""How an incident begins and how it ends."""

from __future__ import annotations

from datetime import timedelta

from recoverd.bounds import above
from recoverd.diagnose.together import GENTLE
from recoverd.diagnose.together import above as on_all
from recoverd.machine import outlook
from recoverd.machine.sight import name_of
from recoverd.machine.turn import Turn
from recoverd.model.finding import Diagnosis, State
from recoverd.model.history import History
from recoverd.model.plan import Incident, Outcome, Plan, PlanStatus
from recoverd.model.record import Spell

SOON = timedelta(seconds=600)
"""What is found again so soon after an incident about it that was over by itself has come back."""
STAYS, STAYS_LONGEST = 60.0, 300.0
"""Seconds for which it must be away then, until its incident is closed; doubled each time that it comes back."""


def open_maintenance(turn: Turn, plan: Plan) -> None:
    """Open the incident that an approved plan belongs to, when there is none yet."""
    incident = Incident(
        id=plan.incident,
        cluster=turn.name,
        state=State.MAINTENANCE,
        summary=plan.summary,
        opened_at=turn.now,
        fault_since=turn.now,
        maintenance=True,
    )
    turn.open_incident(incident, plans=1, calm_sweeps=0)


def close(turn: Turn, incident: Incident) -> None:
    """The cluster is healthy again: say how it came to be so, and forget what belonged to the incident."""
    if turn.waiting_plan:
        turn.close_plan(PlanStatus.SUPERSEDED, "the cluster is healthy again without it")
    helped = _helped(turn, incident)
    tried = turn.record.declined or any(a.incident == incident.id for a in turn.record.history)
    outcome = Outcome.RECOVERED if helped else Outcome.RECOVERED_BY_HAND if tried else Outcome.RECOVERED_BY_ITSELF
    if incident.maintenance and not helped and incident.state is State.MAINTENANCE:
        outcome = Outcome.NOT_DONE
    seconds = (turn.now - incident.fault_since).total_seconds()
    since = "maintenance began" if incident.maintenance else "the fault was first seen"
    turn.note(History.CLOSED, f"healthy again, {seconds:.0f} s after {since} ({outcome})")
    turn.save_incident(closed_at=turn.now, outcome=outcome)
    turn.move("recover")
    alone = outcome is Outcome.RECOVERED_BY_ITSELF and not incident.acknowledged_by
    before = turn.record.spell.names if turn.record.spell else ()
    names = tuple(sorted({turn.record.cause, *turn.record.sightings, *before}))
    spell = Spell(turn.now, names, turn.record.returns) if alone else None
    lasting = tuple(d for d in turn.record.declined if d.maintenance)
    turn.set(
        incident=None,
        declined=lasting,
        sightings={},
        fault_since=None,
        plans=0,
        ran=0,
        explanation="",
        shadow=None,
        above=None,
        shared=(),
        spell=spell,
        returns=0,
    )


def may_return(turn: Turn, incident: Incident) -> str:
    """For how much longer an incident stays open whose fault has come back before, each time that it was over by
    itself, in words; "" where it may be closed. Without that a machine that is up for twenty seconds and down for forty
    is an incident a minute, each of which calls somebody and is "recovered".
    """
    times, since = turn.record.returns, turn.record.calm_since
    if not times or since is None or incident.acknowledged_by or _helped(turn, incident):
        return ""
    seconds = min(STAYS * 2 ** (times - 1), STAYS_LONGEST)
    if (turn.now - since).total_seconds() >= seconds:
        return ""
    often = f", {times} times on end" if times > 1 else ""
    return (
        f"that lasts for {seconds:.0f} s, since the same came back soon after it had gone by itself{often}; "
        f"`recoverctl ack {incident.id}` closes it without that"
    )


def _helped(turn: Turn, incident: Incident) -> bool:
    """Whether a plan of the incident succeeded."""
    return any(a.incident == incident.id and a.ok for a in turn.record.history)


def open_fault(turn: Turn, diagnosis: Diagnosis) -> None:
    """A fault has lasted: open its incident, and tell every finding with its evidence."""
    if turn.waiting_plan:
        turn.close_plan(
            PlanStatus.SUPERSEDED,
            f"it was offered while the cluster was healthy, and it is not any more: {diagnosis.summary}",
        )
    turn.set(shadow=None)
    number = turn.record.incidents + 1
    before, found = turn.record.spell, {name_of(f.key) for f in diagnosis.faults}
    again = before and turn.now - before.at <= SOON and not found.isdisjoint(before.names)
    incident = Incident(
        id=f"{turn.name}-{number}",
        cluster=turn.name,
        state=diagnosis.state,
        summary=diagnosis.summary,
        opened_at=turn.now,
        fault_since=turn.record.fault_since or turn.now,
    )
    returns = before.times + 1 if before and again else 0
    cause, spell = name_of(diagnosis.faults[0].key), before if again else None
    turn.open_incident(incident, incidents=number, plans=0, cause=cause, returns=returns, spell=spell)
    turn.move("confirm")
    turn.note(History.OPENED, f"{diagnosis.state}: {diagnosis.summary}")
    for finding in diagnosis.findings:
        evidence = "; ".join(finding.evidence)
        turn.note(
            History.FINDING,
            f"{' '.join(filter(None, finding.key))}: {finding.message}" + (f" [{evidence}]" if evidence else ""),
        )


def note_cause_above(turn: Turn, incident: Incident) -> None:
    """Keep that the fault began in many clusters together: for this incident that stays so, though others recover."""
    cause = turn.state.around.cause
    if cause is None or turn.record.above or incident.maintenance or incident.acknowledged_by:
        return
    turn.set(above=cause)
    turn.note(
        History.COMMON_CAUSE,
        f"{above(cause)}. {_asked_about(incident)}",
    )


def note_shared(turn: Turn, incident: Incident) -> None:
    """Keep that a fault began on all machines of a kind together: as above, though one of them recovers."""
    known = turn.record.shared
    for shared in outlook.shared(turn)[len(known) :] if not incident.maintenance else ():
        turn.set(shared=(*turn.record.shared, shared))
        asks = "" if shared.code in GENTLE else f" {_asked_about(incident)}"
        turn.note(History.COMMON_CAUSE, f"{on_all(shared)}{asks}")


def _asked_about(incident: Incident) -> str:
    return (
        "Nothing is done about it unasked; a plan can be approved all the same, and `recoverctl ack "
        f"{incident.id}` lets recoverd go on by itself"
    )
