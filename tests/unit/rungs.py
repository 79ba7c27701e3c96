"""A situation for the playbooks of `worker-network-broken`: what is found is written down by each test."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts
from recoverd.model.finding import Diagnosis, Finding, State
from recoverd.model.node_look import NodeLook
from recoverd.model.observation import HostView
from recoverd.model.plan import StepResult
from recoverd.model.record import Declined
from recoverd.model.settings import ClusterSettings
from recoverd.playbooks import registry
from recoverd.playbooks.agents import SAY_WHY
from recoverd.playbooks.base import Answer, Proposal, Situation
from tests.unit.builders import Cluster

OK = StepResult(True, "ok")

STALE = Code.PODS_NOT_ON_NODE

BACK = Finding(Code.ETCD_REVISION_WENT_BACK, "", "etcd went back", ("1300 -> 900",), state=State.WORKER_NETWORK_BROKEN)


def fault(code: str, node: str, kind: type[Facts] = Facts, **facts: Any) -> Finding:
    return Finding(
        code,
        node,
        f"{code} on {node}",
        (f"{node}: proof",),
        state=State.WORKER_NETWORK_BROKEN,
        facts=kind(node, node, **facts),
    )


def situation(
    cluster: Cluster,
    *found: Finding,
    declined: tuple[Declined, ...] = (),
    settings: ClusterSettings | None = None,
    **more: object,
) -> Situation:
    observation = cluster.observation()
    if any(f.code in SAY_WHY for f in found):  # for which machines are looked at more closely
        hosts = ((n, v) for n, v in observation.hosts.items() if isinstance(v, HostView))
        looked = {n: replace(v, node=v.node or NodeLook()) for n, v in hosts}
        observation = replace(observation, hosts={**observation.hosts, **looked})
    diagnosis = Diagnosis(State.WORKER_NETWORK_BROKEN, found, "")
    since = {f.key: observation.at - timedelta(minutes=5) for f in found}
    made = Situation(
        observation.at,
        "prod-1",
        settings or cluster.settings,
        observation,
        diagnosis,
        cluster.memory(),
        found,
        since,
        declined=declined,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def ask(name: str, now: Situation, finding: Finding | None = None) -> Answer:
    return next(p for p in registry() if p.name == name).propose(finding or now.confirmed[0], now)


def proposal(name: str, now: Situation) -> Proposal:
    answer = ask(name, now)
    assert isinstance(answer, Proposal), answer
    return answer


def failed(name: str, *found: Finding) -> Declined:
    return Declined(name, tuple(f.key for f in found), "did not help")
