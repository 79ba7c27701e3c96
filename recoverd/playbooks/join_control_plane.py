"""`join-control-plane`: a join that is taken back before the API server is lost for good.

Sources: kubeadm adds the member, and only then writes the manifest that starts it (observed on 1.20: a member that
never started, in the incident); with one member before, quorum is lost at once and `member remove` with it;
force-new-cluster has etcd healthy 2.5 s and the API server ready 10 s later (observed).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot
from recoverd.model.etcd import EtcdView
from recoverd.model.finding import Finding
from recoverd.model.join_operations import JoinControlPlane, TakeBackJoin
from recoverd.model.joining import JoinFacts, JoinRequest
from recoverd.model.plan import Step
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.joins import (
    ALONE_SECONDS,
    API_SECONDS,
    ETCD_SECONDS,
    JOIN_SECONDS,
    SNAPSHOT_SECONDS,
    STEP_SECONDS,
    TOGETHER_SECONDS,
    force_alone,
    if_it_fails,
)
from recoverd.playbooks.sources import point_first


@dataclass(frozen=True, slots=True)
class JoinControlPlanePlaybook:
    name: str = "join-control-plane"
    summary: str = (
        "join a control plane, checked before and taken back when its etcd member does not start "
        "(`recoverctl join-control-plane`)"
    )
    destructive: bool = False
    order: int = 90
    repairs: frozenset[str] = frozenset()

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        return Refusal("a join repairs nothing; `recoverctl join-control-plane CLUSTER NAME ADDRESS` makes one")


def join(request: JoinRequest, facts: JoinFacts, situation: Situation, now: datetime) -> Proposal | Refusal:
    """The plan of a join whose checks were all good."""
    source, name, label = facts.source, request.name, f"{request.name}-{now:%Y%m%dT%H%M%SZ}"
    view = situation.etcd(source)
    if view is None:
        return Refusal(f"etcd on {source} is not seen any more")
    before, single = len(view.voters), len(view.voters) == 1
    force = force_alone(source, label, situation) if single and request.take_back_single else None
    if isinstance(force, Refusal):
        return force
    patience, port = request.member_seconds or (ALONE_SECONDS if single else TOGETHER_SECONDS), facts.api_port
    skip, address = request.skip_preflight, request.address
    operation = JoinControlPlane(label, source, name, address, patience, JOIN_SECONDS, skip, api_port=port)
    back = TakeBackJoin(label, source, name, address, before, force)
    snapshot = Step(
        source,
        f"fetch a snapshot from {source} (revision {view.revision}) and check its hash",
        FetchSnapshot("before-join"),
        SNAPSHOT_SECONDS,
    )
    steps = (
        *(() if point_first(situation) else (snapshot,)),
        Step(
            name,
            f"join {name} with a new token and a new certificate key; its etcd member has {patience} s to start",
            operation,
            timeout=STEP_SECONDS,
            undo=back,
        ),
        Step(
            source,
            f"see etcd healthy with {before + 1} voters on {source}",
            # the cluster is alive meanwhile, and a job's pods may be gone by then: only the revision never goes down
            AwaitEtcd(before + 1, view.revision),
            timeout=ETCD_SECONDS,
        ),
        Step(name, f"see the API server on {name} ready", AwaitApi(port), timeout=API_SECONDS),
    )
    return Proposal(
        summary=f"join {name} ({address}) as control plane {before + 1} of {situation.settings.name}",
        steps=steps,
        basis=(),
        evidence=(f"asked for: {name} at {address}; every check was good", f"etcd before: {_members(view)}"),
        destroys=if_it_fails(name, source, force),
        undo=(f"its member is removed from etcd, {name} is reset, and its node is deleted",),
        verify_within=120.0,
        point=True,
        destructive=force is not None,
    )


def _members(view: EtcdView) -> str:
    return ", ".join(f"{m.name or m.id} ({', '.join(m.peer_urls)})" for m in view.members)


PLAYBOOK = JoinControlPlanePlaybook()
