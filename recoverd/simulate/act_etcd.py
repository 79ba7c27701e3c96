"""What the bastion asks of the model's etcd members and API servers: snapshots, removals, waiting."""

from __future__ import annotations

from dataclasses import replace

from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot, RemoveMember
from recoverd.model.observation import EndpointHealth, Unseen
from recoverd.model.operations import sha256
from recoverd.model.plan import StepResult
from recoverd.model.point_operations import LookAtRestorePoints, TakeRestorePoint
from recoverd.model.points import RestorePoint, point_id
from recoverd.simulate.carry import Carry, hand, waited
from recoverd.simulate.clock import moment
from recoverd.simulate.look import member


@hand(AwaitApi, waits=True, on_machine=False)
def await_api(o: AwaitApi, at: Carry) -> StepResult:
    seen = at.cluster.api.endpoint(at.name)
    ready = seen.health is EndpointHealth.READY
    return waited(
        ready,
        f"the API server on {at.name} answers /readyz with ok",
        f"last seen at {seen.address}: {seen.health}: {seen.detail}",
    )


@hand(AwaitEtcd, waits=True)
def await_etcd(o: AwaitEtcd, at: Carry) -> StepResult:
    view = member(at.cluster, at.name)
    if isinstance(view, Unseen):
        return StepResult(False, view.reason)
    lacks = o.lacks(view)
    told = (
        f"healthy with a leader, {len(view.voters)} voter(s), revision {view.revision}, "
        f"{view.nodes} nodes, {view.pods} pods"
    )
    return waited(not lacks, f"etcd on {at.name} is {told}", lacks)


@hand(FetchSnapshot)
def fetch(o: FetchSnapshot, at: Carry) -> StepResult:
    return _snapshot(at, o.holds)


def _snapshot(at: Carry, holds: str = "") -> StepResult:
    view = member(at.cluster, at.name)
    if isinstance(view, Unseen):
        return StepResult(False, f"no snapshot was fetched from {at.name}: {view.reason}. Nothing was changed")
    if view.learner:
        said = "etcdserver: rpc not supported for learner"
        return StepResult(False, f"no snapshot was fetched from {at.name}: {said}. Nothing was changed")
    store = at.cluster.etcd.processes[at.name].store
    if holds and store.uid != holds:
        return StepResult(False, f"what etcd on {at.name} holds is not this cluster. Nothing was changed")
    at.cluster.snapshots.append(store)
    return StepResult(
        True,
        f"snapshot {len(at.cluster.snapshots)}, {20 << 20} bytes, sha256 {sha256(repr(store))[:12]}..., "
        f"revision {store.revision}",
    )


@hand(LookAtRestorePoints, on_machine=False)
def look_at_points(o: LookAtRestorePoints, at: Carry) -> StepResult:
    return StepResult(True, "", points=at.cluster.points)


@hand(TakeRestorePoint)
def take_point(o: TakeRestorePoint, at: Carry) -> StepResult:
    cluster = at.cluster
    fetched = _snapshot(at)
    if not fetched.ok:
        return replace(fetched, points=cluster.points)
    store, number, when = cluster.snapshots[-1], len(cluster.points) + 1, moment(cluster.now)
    id = point_id("prod", when, {p.id for p in cluster.points})
    place, digest = f"/var/lib/recoverd/restore-points/prod/{id}", sha256(repr(store))
    told = (
        f"{place}/snapshot.db",
        digest,
        20 << 20,
        store.cluster_id,
        store.revision,
        0,
        when.timestamp(),
        "by the model",
        place,
        number,
    )
    taken = RestorePoint(id, when.timestamp(), o.why, at.name, *told, uid=store.uid)
    cluster.points = (*cluster.points, taken)
    return replace(fetched, points=cluster.points)


def _listed(o: RemoveMember, at: Carry) -> bool:
    view = member(at.cluster, at.name)
    return not isinstance(view, Unseen) and any(m.id == o.member_id for m in view.members)


@hand(RemoveMember, lacking=_listed)
def remove_member(o: RemoveMember, at: Carry) -> StepResult:
    view = member(at.cluster, at.name)
    if isinstance(view, Unseen):
        return StepResult(
            False, f"member {o.member_id} was not removed: {view.reason}. Nothing was changed", untouched=True
        )
    if all(m.id != o.member_id for m in view.members):
        return StepResult(True, f"member {o.member_id} is not in the list of {at.name} any more", already_done=True)
    if why := at.cluster.etcd.remove(at.name, o.member_id):
        return StepResult(
            False, f"member {o.member_id} is still listed by {at.name}: {why}. Nothing was changed", untouched=True
        )
    left = member(at.cluster, at.name)
    names = ", ".join(m.name or m.id for m in left.members) if not isinstance(left, Unseen) else "nothing any more"
    return StepResult(True, f"member {o.member_id} is gone; {at.name} lists {names}")
