"""Giving members of the model data again: snapshots sent and restored, members added and promoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recoverd.model.etcd import MemberEntry
from recoverd.model.etcd_operations import (
    AddMember,
    AwaitRestored,
    DisarmAlarm,
    PromoteMember,
    RestoreSnapshot,
    SendSnapshot,
)
from recoverd.model.observation import Unseen
from recoverd.model.plan import StepResult
from recoverd.simulate.carry import Carry, hand
from recoverd.simulate.look import member
from recoverd.simulate.points import fetched
from recoverd.simulate.store import Store, id_of


@hand(SendSnapshot, lacking=lambda o, at: at.machine.files.get(o.target) != o.sha256, guarded=False)
def send(o: SendSnapshot, at: Carry) -> StepResult:
    if at.machine.files.get(o.target) == o.sha256:
        return StepResult(True, f"{o.target} on {at.name} is there already, with the right hash", already_done=True)
    if fetched(at.cluster, o.sha256) is None:
        return StepResult(False, f"{o.source} cannot be read on the bastion: No such file. Nothing was sent")
    at.machine.files[o.target] = o.sha256
    return StepResult(True, f"{o.target} on {at.name}: {o.size} bytes, sha256 {o.sha256[:12]}, as on the bastion")


def _unrestored(o: RestoreSnapshot, at: Carry) -> bool:
    return at.machine.files.get(f"{o.beside}/whole") != o.sha256 or f"{o.data}/member" not in at.machine.data


@hand(RestoreSnapshot, lacking=_unrestored, guarded=False)
def restore(o: RestoreSnapshot, at: Carry) -> StepResult:
    machine, path = at.machine, f"{o.data}/member"
    if not _unrestored(o, at):
        return StepResult(
            True, f"restoring the snapshot into {o.data} on {at.name} had been done already", already_done=True
        )
    for trouble, why in (
        (path in machine.data, f"{path} exists, and restored data must not be mixed with it"),
        (machine.container("etcd") is not None, "etcd runs here"),
        (machine.files.get(o.snapshot) != o.sha256, f"{o.snapshot} is not the snapshot that the plan names"),
        (
            o.bump > 0 and not machine.bumps,
            "the program that restores snapshots here does not know --bump-revision and --mark-compacted",
        ),
    ):
        if trouble:
            return StepResult(False, f"on {at.name}: {why}; it refused before changing anything")
    pairs = [pair.split("=", 1) for pair in o.cluster.split(",")]
    rows = tuple(
        MemberEntry(id_of(f"{url} {o.token}"), name, (url,), (url.replace(":2380", ":2379"),)) for name, url in pairs
    )
    own = next(row.id for row in rows if o.peer_url in row.peer_urls)
    saved = fetched(at.cluster, o.sha256)
    assert saved is not None, "what was sent is on the bastion"
    revision = saved.revision + o.bump
    machine.data[path] = replace(
        saved,
        cluster_id=id_of(f"cluster {o.cluster} {o.token}"),
        member_id=own,
        members=rows,
        revision=revision,
        term=1,
        history=f"restored with {o.token}",
        compacted=revision if o.bump else 0,
        began=revision,
    )
    machine.files[f"{o.beside}/whole"] = o.sha256
    del machine.files[o.snapshot]
    return StepResult(
        True,
        f"restoring the snapshot into {o.data} on {at.name}: done (3.4.23 "
        f"{'yes' if o.bump else 'no'} /usr/bin/etcdctl)",
    )


@hand(AwaitRestored, lacking=lambda _, __: False, waits=True, guarded=False)
def await_restored(o: AwaitRestored, at: Carry) -> StepResult:
    view = member(at.cluster, at.name)
    if isinstance(view, Unseen):
        return StepResult(False, view.reason)
    lacks = o.lacks(view, at.cluster.etcd.processes[at.name].store.keys)
    done = f"etcd on {at.name} serves: cluster {view.cluster_id}, {len(view.voters)} voter(s), revision {view.revision}"
    return StepResult(not lacks, lacks or f"{done}, {view.nodes} nodes, {view.pods} pods")


def _not_added(o: AddMember, at: Carry) -> bool:
    view = member(at.cluster, at.name)
    return not isinstance(view, Unseen) and not o.added(view)


@hand(AddMember, lacking=_not_added, guarded=False)
def add(o: AddMember, at: Carry) -> StepResult:
    view = member(at.cluster, at.name)
    if isinstance(view, Unseen):
        return StepResult(False, view.reason)
    if found := o.added(view):
        return StepResult(
            True, f"the member at {o.peer_url} is in the list of {at.name} already, as {found}", already_done=True
        )
    number = len(view.members) + view.revision
    row = MemberEntry(id_of(f"{o.peer_url} {number}"), "", (o.peer_url,), (), o.learner)
    if not at.cluster.etcd.write(at.name, lambda s: replace(s, members=(*s.members, row))):
        return StepResult(
            False, f"{at.name} does not list a member at {o.peer_url}: etcdserver: no leader. Nothing was changed"
        )
    return StepResult(True, f"the member at {o.peer_url} was added as {'learner' if o.learner else 'voter'} {row.id}")


def _not_promoted(o: PromoteMember, at: Carry) -> bool:
    view = member(at.cluster, at.name)
    return not isinstance(view, Unseen) and any(m.learner and o.peer_url in m.peer_urls for m in view.members)


@hand(PromoteMember, lacking=_not_promoted, waits=True, guarded=False)
def promote(o: PromoteMember, at: Carry) -> StepResult:
    view, etcd = member(at.cluster, at.name), at.cluster.etcd
    if isinstance(view, Unseen):
        return StepResult(False, view.reason)
    store = etcd.processes[at.name].store
    row = next((m for m in store.members if o.peer_url in m.peer_urls), None)
    if row is None:
        return StepResult(False, f"{at.name} lists no member at {o.peer_url}")
    if not row.learner:
        return StepResult(True, f"the member at {o.peer_url} has caught up and votes")
    learner = next((p for p in etcd.processes.values() if p.id == row.id), None)
    if learner is None or learner.store.revision < store.revision:
        return StepResult(False, "etcdserver: can only promote a learner member which is in sync with leader")
    etcd.write(
        at.name,
        lambda s: replace(s, members=tuple(replace(m, learner=False) if m.id == row.id else m for m in s.members)),
    )
    return StepResult(False, "promoted, and not seen so yet")


def _raised(o: DisarmAlarm, at: Carry) -> bool:
    view = member(at.cluster, at.name)
    return not isinstance(view, Unseen) and bool(o.raised(view))


def _without(store: Store, alarm: str, raised: Sequence[str]) -> Store:
    if alarm == "CORRUPT":
        return replace(store, differs=False)
    return replace(store, alarms=tuple(m for m in store.alarms if m not in raised))


@hand(DisarmAlarm, lacking=_raised, waits=True, guarded=False)
def disarm(o: DisarmAlarm, at: Carry) -> StepResult:
    view = member(at.cluster, at.name)
    if isinstance(view, Unseen):
        return StepResult(False, view.reason)
    raised = o.raised(view)
    if raised and not at.cluster.etcd.write(at.name, lambda s: _without(s, o.alarm, raised)):
        return StepResult(False, f"etcd on {at.name} knows no leader")
    return StepResult(
        True,
        f"the alarm {o.alarm} of {f'member {o.member_id}' if o.member_id else 'any member'} is not raised "
        f"any more, as {at.name} says",
    )
