"""`join-control-plane`: a join that is taken back before the API server is lost for good.

Sources: kubeadm adds the member, and only then writes the manifest that starts it (observed on 1.20: a member that
never started, in the incident); with one member before, quorum is lost at once and `member remove` with it;
force-new-cluster has etcd healthy 2.5 s and the API server ready 10 s later (observed).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot
from recoverd.model.etcd import FORCE, EtcdView
from recoverd.model.finding import Finding
from recoverd.model.join_operations import ForceAlone, JoinControlPlane, TakeBackJoin
from recoverd.model.joining import JoinFacts, JoinRequest
from recoverd.model.plan import Step
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.etcd_manifest import annotated, with_flag, without_flag
from recoverd.playbooks.sources import point_first

ALONE_SECONDS, TOGETHER_SECONDS = 12, 40
"""For the new member to start: without it there is no API server meanwhile; with quorum,
as long as kubeadm itself waits.
"""
JOIN_SECONDS = 240
"""For `kubeadm join` as a whole, its images included."""
STEP_SECONDS = JOIN_SECONDS + 45.0
"""For the step that joins, and for its taking back as well."""
SNAPSHOT_SECONDS, ETCD_SECONDS, API_SECONDS = 180.0, 60.0, 90.0
"""For the steps before and after it."""


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


def needs(situation: Situation) -> tuple[float, float]:
    """Seconds that the bounds `step_deadline` and `plan_deadline` have to allow: the longest step, and until
    the last one may have to begin.

    A shorter `step_deadline` would cut the join and then its taking back; a shorter `plan_deadline` would have a
    join that went well taken back.
    """
    before_last = (*(() if point_first(situation) else (SNAPSHOT_SECONDS,)), STEP_SECONDS, ETCD_SECONDS)
    return max(*before_last, API_SECONDS), sum(before_last)


def join(request: JoinRequest, facts: JoinFacts, situation: Situation, now: datetime) -> Proposal | Refusal:
    """The plan of a join whose checks were all good."""
    source, name, label = facts.source, request.name, f"{request.name}-{now:%Y%m%dT%H%M%SZ}"
    view = situation.etcd(source)
    if view is None:
        return Refusal(f"etcd on {source} is not seen any more")
    before, single = len(view.voters), len(view.voters) == 1
    force = _force(source, label, situation) if single and request.take_back_single else None
    if isinstance(force, Refusal):
        return force
    patience = request.member_seconds or (ALONE_SECONDS if single else TOGETHER_SECONDS)
    operation = JoinControlPlane(label, source, name, request.address, patience, JOIN_SECONDS, request.skip_preflight)
    back = TakeBackJoin(label, source, name, request.address, before, force)
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
        Step(name, f"see the API server on {name} ready", AwaitApi(), timeout=API_SECONDS),
    )
    return Proposal(
        summary=f"join {name} ({request.address}) as control plane {before + 1} of {situation.settings.name}",
        steps=steps,
        basis=(),
        evidence=(f"asked for: {name} at {request.address}; every check was good", f"etcd before: {_members(view)}"),
        destroys=_destroys(name, source, force),
        undo=(f"its member is removed from etcd, {name} is reset, and its node is deleted",),
        verify_within=120.0,
        point=True,
        destructive=force is not None,
    )


def _destroys(name: str, source: str, force: ForceAlone | None) -> tuple[str, ...]:
    cleaned = f"if it fails: everything that the join put on {name} (/etc/kubernetes, /var/lib/etcd, its containers)"
    if force is None:
        return (cleaned,)
    return (
        cleaned,
        f"if its member does not start: {source} becomes a one-member cluster by {FORCE}; nothing can be written "
        "meanwhile, nothing is lost",
    )


def _force(source: str, label: str, situation: Situation) -> ForceAlone | Refusal:
    """What has to be written on the only member in case it loses its quorum, made while all is well."""
    host = situation.host(source)
    manifest = host.manifests.get("etcd") if host else None
    if manifest is None or manifest.problem:
        return Refusal(
            f"the manifest of etcd on {source} is {manifest.problem if manifest else 'not there'}, so a "
            "join could not be taken back"
        )
    if FORCE in manifest.content:
        return Refusal(f"the manifest of etcd on {source} holds {FORCE} already; take it out first")
    flagged = with_flag(manifest.content)
    if flagged is None:
        return Refusal(
            f"no `- etcd` command line was found in {manifest.path} on {source} to put {FORCE} behind, so a "
            "join could not be taken back"
        )
    return ForceAlone(manifest.path, manifest.sha256, flagged, annotated(without_flag(manifest.content), label))


def _members(view: EtcdView) -> str:
    return ", ".join(f"{m.name or m.id} ({', '.join(m.peer_urls)})" for m in view.members)


PLAYBOOK = JoinControlPlanePlaybook()
