"""What is known now, for whoever decides: what is confirmed, what a gate looks at, what a playbook is shown.
Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from recoverd.bounds import above
from recoverd.diagnose import notready
from recoverd.diagnose.scene import Scene
from recoverd.diagnose.together import GENTLE, candidates, concerns, together
from recoverd.diagnose.together import above as on_all
from recoverd.machine import sight
from recoverd.machine.guards import Evidence
from recoverd.machine.sight import key_of, name_of
from recoverd.machine.turn import Turn
from recoverd.model.catalogue import RANK, SHOWN_BY, Code, ShownBy
from recoverd.model.finding import Finding, FindingKey, State
from recoverd.model.fleet import CommonCause
from recoverd.model.lease import forbids
from recoverd.model.network import NetworkView
from recoverd.model.observation import Observation, Unseen
from recoverd.model.record import SharedFault
from recoverd.model.settings import MAY_RUN_UNASKED, STALE_INTERVALS, Approval
from recoverd.model.text import some
from recoverd.playbooks.base import Proposal, Situation

WHY_NOT_READY = frozenset(code for code in Code if SHOWN_BY[code] == (ShownBy.READY,)) - {Code.NODE_NOT_READY}
"""Why a node is not Ready."""
HIDDEN = 60.0
"""Seconds in which the cause of an incident may be out of sight before what is left is looked at without it."""
BY_TURNS = 15.0
"""Seconds for which what an incident was opened for must be out of sight before that is told: where it was seen in
every other sweep, both were told by turns, twenty times in two minutes (observed on an overloaded bastion).
"""
PODS = timedelta(seconds=90)
"""For so long an incident without findings waits for the pods of nodes that have come back. Not for ever: a pod may
be unready for a reason of its own.
"""


def confirmed(turn: Turn) -> tuple[Finding, ...]:
    """The faults seen often enough or, while the cluster is healthy, the warnings."""
    if turn.sweep is None:
        return ()
    found = turn.sweep.diagnosis
    return lasting(turn, found.warnings if turn.lifecycle.state is State.HEALTHY else found.faults)


def lasting(turn: Turn, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Those of them that were seen often enough."""
    return sight.confirmed(findings, turn.record.sightings, turn.settings.bounds.confirm_sweeps)


def unended(turn: Turn) -> dict[FindingKey, str]:
    """What the incident was opened for and the newest sweep neither finds nor shows to be gone, and why."""
    return sight.unended(turn.record.sightings, turn.newest.diagnosis, turn.newest.observation)


def hidden(turn: Turn) -> bool:
    """Whether what comes first in the incident is neither found in this sweep nor shown to be gone, and was found not
    long ago: what else is found follows from it, and is no other cause.

    On an overloaded bastion etcd was seen in every other sweep, and the incident was told by turns as a quorum that is
    lost and as an API server that does not stay up, with a person called each time (observed).
    """
    record, found = turn.record, turn.newest.diagnosis.faults
    if not record.cause or not found:
        return False
    key = key_of(record.cause)
    if RANK.get(key[0], len(RANK)) >= RANK[found[0].code] or key not in unended(turn):
        return False
    last = record.sightings[record.cause].last
    return last is not None and (turn.now - last).total_seconds() < allowed(turn, HIDDEN)


def by_turns(turn: Turn, left: Iterable[FindingKey]) -> bool:
    """Whether any of these, which are out of sight in this sweep, was found just now: what was told of it stands."""
    sightings = turn.record.sightings
    last = [at for key in left if (at := sightings[name_of(key)].last) is not None]
    return bool(last) and (turn.now - max(last)).total_seconds() < allowed(turn, BY_TURNS)


def coming_back(turn: Turn) -> str:
    """What an incident waits for whose nodes are Ready again, for so long at most as `PODS` says: kubelet has yet to
    call their pods ready, and until then a service that has no other endpoints is not answered. "" for nothing.
    """
    incident, network = turn.record.incident, turn.newest.observation.network
    objects, calm = turn.newest.observation.api.objects, turn.record.calm_since
    if incident is None or calm is None or not isinstance(network, NetworkView) or isinstance(objects, Unseen):
        return ""
    if turn.now - calm > PODS:
        return ""
    back = (n.name for n in objects.nodes if n.ready and n.since and n.since >= incident.fault_since)
    waiting = ", ".join(sorted(name for name in back if network.unready.get(name)))
    return waiting and f"the pods of {waiting}, Ready again, are ready too, {PODS.seconds} s from now at most"


def since(turn: Turn, findings: Sequence[Finding]) -> dict[FindingKey, datetime]:
    """Since when each of them is seen."""
    seen = turn.record.sightings
    return {f.key: seen[name].since for f in findings if (name := sight.name_of(f.key)) in seen}


def scene(turn: Turn) -> Scene:
    """What the rules look at: the newest sweep, beside what is remembered."""
    return Scene(turn.newest.observation, turn.memory, turn.settings)


def evidence(turn: Turn) -> Evidence | None:
    """What a gate looks at; None when nothing has been seen since recoverd was started."""
    if turn.sweep is None:
        return None
    around, cause = turn.state.around, common_cause(turn)
    return Evidence(scene(turn), turn.sweep.diagnosis, turn.now, unended(turn), around, cause, shared(turn))


def common_cause(turn: Turn) -> CommonCause | None:
    """Of what is found here and began in many clusters together, unless a person has acknowledged the incident."""
    record = turn.record
    if record.incident and record.incident.acknowledged_by:
        return None
    return record.above or turn.state.around.cause


def from_above(turn: Turn) -> str:
    """Why nothing is done unasked, where what is found has its cause above the cluster; else ""."""
    cause = common_cause(turn)
    return above(cause) if cause else ""


def shared(turn: Turn) -> tuple[SharedFault, ...]:
    """What is confirmed and the same on all machines of a kind, or was so in this incident, unless a person has
    acknowledged it or a cause above them is proven that recoverd itself undoes: etcd's data that went back.
    """
    incident, known = turn.record.incident, turn.record.shared
    if (incident and incident.acknowledged_by) or _explained(turn):
        return ()
    plan = turn.record.plan if turn.record.run else None
    # what else begins while a plan is at work may be its own doing, as manifests that it has moved aside
    new = (s for s in _together(turn, confirmed(turn)) if plan is None or concerns(s, plan.basis))
    return (*known, *(s for s in new if not any((s.code, s.of, s.kind) == (k.code, k.of, k.kind) for k in known)))


def _explained(turn: Turn) -> bool:
    back = turn.sweep and turn.sweep.diagnosis.find(Code.ETCD_REVISION_WENT_BACK)
    return bool(back or turn.memory.setback)


def _together(turn: Turn, found: Sequence[Finding]) -> tuple[SharedFault, ...]:
    if turn.sweep is None or turn.sweep.diagnosis.state is State.UNOBSERVABLE or not found:
        return ()
    of = candidates(code for p in turn.playbooks if p.name in MAY_RUN_UNASKED for code in p.repairs)
    return together(scene(turn), found, since(turn, found), turn.record.history, of)


def on_all_machines(turn: Turn, proposal: Proposal) -> str:
    """Why a person is asked before it: it is for what all machines of a kind have together; else ""."""
    why = _concerning(shared(turn), proposal)
    return on_all(why) if why else ""


def _concerning(faults: Iterable[SharedFault], proposal: Proposal) -> SharedFault | None:
    """The first of them that it is for, and about which a person is asked."""
    return next((s for s in faults if s.code not in GENTLE and concerns(s, proposal.basis)), None)


def rejected(turn: Turn, proposal: Proposal) -> str:
    """Who has said no to something else for the same findings: that person has looked, and is asked about whatever else
    is done about them; else "". It holds until the incident is acknowledged, as what was rejected is not offered again.
    """
    no = next((d for d in turn.record.declined if d.by and set(d.basis) & set(proposal.basis)), None)
    return f"{no.by} has rejected {no.playbook} for the same" if no else ""


def may_be_on_all(turn: Turn, proposal: Proposal) -> str:
    """What the next sweep has to show before it is done unasked: in this one the same is found on all machines of a
    kind, and has not lasted on each of them; else "".
    """
    incident = turn.record.incident
    if _explained(turn) or (incident and incident.acknowledged_by):
        return ""
    faults = turn.newest.diagnosis.faults
    if seen := _concerning(_together(turn, faults), proposal):
        return f"{on_all(seen)} The next sweep tells whether it lasts on each of them"
    # (observed where the API's name was lost on all of four nodes: two were not Ready 5 s before the others)
    untold = notready.untold(scene(turn), turn.newest.diagnosis.findings)
    why = {code for code, _ in proposal.basis if code in WHY_NOT_READY}
    if why and (new := notready.spreads(scene(turn), (s.host for s in proposal.steps))):
        return f"{new} is not Ready since a moment: the next sweeps tell whether others are so for the same"
    same = [replace(f, code=code) for f in untold for code in why]
    if not (same and _concerning(_together(turn, (*faults, *same)), proposal)):
        return ""
    return (
        f"{some(sorted(f.subject for f in untold), 5)} are not Ready since a moment, too: the next sweeps tell whether "
        "that is the same, on all machines of a kind"
    )


def situation(turn: Turn, nodes: tuple[str, ...] = (), by_hand: bool = False, point: str = "") -> Situation:
    """What a playbook looks at. `nodes`, `by_hand` and `point` are what a person asked for."""
    faults, record = confirmed(turn), turn.record
    return Situation(
        now=turn.now,
        incident=turn.incident_id,
        settings=turn.settings,
        observation=turn.newest.observation,
        diagnosis=turn.newest.diagnosis,
        memory=turn.memory,
        confirmed=faults,
        since=since(turn, faults),
        nodes=nodes,
        by_hand=by_hand,
        declined=record.declined,
        ran=record.ran - (record.run is not None),  # while a plan runs: as when it was made
        point=point,
        mark=record.mark,
        plan=record.plan,
        fault_since=record.incident.fault_since if record.incident else None,
        unseen=record.unseen,
        shared=shared(turn),
        unended=unended(turn),
    )


def keeps_for(turn: Turn, playbook: str) -> Observation | None:
    """The newest sweep, where machines are to keep copies now for that playbook: nothing is written there while paused
    or only observed, by a bastion that may not act, or for what is never offered.
    """
    may = not (turn.record.pause or turn.settings.observes or forbidden(turn, unasked=True))
    wanted = turn.settings.approval_of(playbook) is not Approval.NEVER
    return turn.sweep.observation if turn.sweep and may and wanted else None


def forbidden(turn: Turn, *, unasked: bool) -> str:
    """Why this bastion may not act on the cluster now, by the lease that the newest sweep saw; "" when it may."""
    return forbids(turn.sweep.observation.lease if turn.sweep else None, unasked=unasked)


def allowed(turn: Turn, seconds: float) -> float:
    """For how long something is waited for that was to be seen within so many seconds: longer while recoverd itself
    comes too late for what it looks at, since what was missed for that reason says nothing.
    """
    return seconds * STALE_INTERVALS if turn.sweep and turn.sweep.observation.late else seconds
