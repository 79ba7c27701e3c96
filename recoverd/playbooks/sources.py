"""Which etcd member is asked: for a snapshot, or to change the member list. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recoverd.model.bastion_operations import RemoveMember
from recoverd.model.catalogue import Of, codes
from recoverd.model.etcd import EtcdView, MemberEntry, accused
from recoverd.model.etcd_operations import AddMember, PromoteMember
from recoverd.model.facts import LossFacts, MemberFacts, SetbackFacts
from recoverd.model.finding import Diagnosis, Finding
from recoverd.model.observation import HostView, Observation
from recoverd.playbooks.base import Refusal, Situation

DOUBTFUL = codes(Of.DOUBT)
"""What is found of members that must be the source of nothing: an etcd that began anew over an empty
directory is healthy, and leads itself.
"""


def sources(observation: Observation, diagnosis: Diagnosis) -> tuple[str, ...]:
    """Control planes whose member is healthy and whose data nothing is said against, best
    first: followers before the leader.
    """
    views = {n: v for n, v in observation.etcd.items() if isinstance(v, EtcdView)}
    corrupt = accused(views.values())
    bad = doubted(diagnosis)

    def good(name: str, view: EtcdView) -> bool:
        whole = view.healthy and view.has_leader and not view.learner and not view.remembered
        return (
            whole
            and view.member_id not in corrupt
            and name not in bad
            and isinstance(observation.hosts.get(name), HostView)
        )

    return tuple(
        sorted((n for n, v in views.items() if good(n, v)), key=lambda n: (views[n].leader == views[n].member_id, n))
    )


def still_serves(host: str, situation: Situation) -> bool:
    """Whether the snapshot of an open plan can be had from there still: nothing is said against its data, and the
    member has a leader, or was late to say so in this sweep.

    Healthy it need not be just now: /health fails while a disk is slow, and the snapshot's hash is checked.
    """
    view, scene = situation.observation.etcd.get(host), situation.scene
    if situation.host(host) is None or host in doubted(situation.diagnosis):
        return False
    if not isinstance(view, EtcdView):
        return not scene.etcd_stopped(host)
    views = situation.etcd_views.values()
    return view.has_leader and not view.learner and not view.remembered and view.member_id not in accused(views)


def member_to_ask(situation: Situation, *, without: str = "", healthy: bool = False) -> tuple[str, EtcdView] | None:
    """The member that is asked for a change of the list, and what it said: the leader, which answers from its own
    log, else one that follows it. Of a plan that is open, the one that it asks, while that can be asked.

    None of those whose data are in doubt, nor that on the host `without`. `healthy`: only one that says so
    (while an alarm is up none does).
    """
    bad = {f.facts.host for f in situation.confirmed if f.code in DOUBTFUL}
    corrupt = accused(situation.etcd_views.values())
    able = {
        n: v
        for n, v in sorted(situation.scene.membership.camp.items())
        if n != without
        and n not in bad
        and v.member_id not in corrupt
        and v.has_leader
        and not v.learner
        and (v.healthy or not healthy)
    }
    before = situation.chosen(RemoveMember, AddMember, PromoteMember)
    leads = next((n for n, v in able.items() if v.leader == v.member_id), min(able, default=""))
    name = before if before in able else leads
    return (name, able[name]) if name else None


@dataclass(frozen=True, slots=True)
class Listed:
    """The member that a finding is about, as the one has it in its list that is asked to change that."""

    asked: str
    """Host of the member that is asked."""
    view: EtcdView
    """What that says."""
    entry: MemberEntry


def listed(finding: Finding, situation: Situation, *, to: str, without: str = "") -> Listed | Refusal:
    """That member, or why nobody is asked; `to` says what for. None on the host `without` is asked."""
    if strangers := situation.scene.membership.strangers:
        return Refusal(
            f"etcd on {', '.join(sorted(strangers))} serves a history of its own: a person has to say first which one "
            "is right"
        )
    source = member_to_ask(situation, without=without, healthy=True)
    if source is None:
        return Refusal(f"no member that is healthy and knows a leader can be asked to {to}")
    asked, view = source
    id = finding.facts.member_id if isinstance(finding.facts, MemberFacts) else ""
    entry = next((m for m in view.members if m.id == id), None)
    if entry is None:
        return Refusal(f"the member list of {asked} does not hold the member that the finding names ({id or 'no id'})")
    return Listed(asked, view, entry)


def doubted(diagnosis: Diagnosis) -> frozenset[str]:
    """Hosts whose data something is found against."""
    return frozenset(host for f in diagnosis.faults for host in _doubted(f))


def _doubted(finding: Finding) -> Iterable[str]:
    match finding.facts:
        case LossFacts(fates=fates):
            return fates
        case SetbackFacts(anew=anew):
            return anew
    return (finding.facts.host,) if finding.code in DOUBTFUL else ()


def point_first(situation: Situation) -> bool:
    """Whether a destructive plan made now begins with a restore point, which the machine puts before its steps.

    That is a snapshot whose hash was checked, and the plan stops without it: one is enough.
    """
    return situation.settings.points.before_plans and bool(sources(situation.observation, situation.diagnosis))
