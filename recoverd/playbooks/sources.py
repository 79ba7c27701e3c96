"""Whose etcd member a snapshot may be taken from. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.model.catalogue import Of, codes
from recoverd.model.facts import LossFacts, SetbackFacts
from recoverd.model.finding import Diagnosis, Finding
from recoverd.model.observation import EtcdView, HostView, Observation
from recoverd.playbooks.base import Situation

DOUBTFUL = codes(Of.DOUBT)
"""What is found of members that must be the source of nothing: an etcd that began anew over an empty directory is healthy, and leads itself."""


def sources(observation: Observation, diagnosis: Diagnosis) -> tuple[str, ...]:
    """Control planes whose member is healthy and whose data nothing is said against, best first: followers before the leader."""
    views = {n: v for n, v in observation.etcd.items() if isinstance(v, EtcdView)}
    corrupt = {a.member_id for v in views.values() for a in v.alarms if a.alarm == "CORRUPT"}
    doubted = {host for f in diagnosis.faults for host in _doubted(f)}

    def good(name: str, view: EtcdView) -> bool:
        whole = view.healthy and view.has_leader and not view.learner and not view.remembered
        return whole and view.member_id not in corrupt and name not in doubted and isinstance(observation.hosts.get(name), HostView)

    return tuple(sorted((n for n, v in views.items() if good(n, v)), key=lambda n: (views[n].leader == views[n].member_id, n)))


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
