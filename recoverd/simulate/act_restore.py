"""Giving members of the model data again: snapshots sent and restored, members added and promoted."""

from __future__ import annotations

from dataclasses import replace

from recoverd.model.etcd_operations import AddMember, AwaitRestored, DisarmAlarm, EtcdOperation, PromoteMember, RestoreSnapshot, SendSnapshot
from recoverd.model.observation import MemberEntry, Unseen
from recoverd.model.plan import StepResult
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.look import member
from recoverd.simulate.points import fetched
from recoverd.simulate.store import id_of

ON_ETCD = EtcdOperation | RestoreSnapshot
ABOUT = AddMember | PromoteMember | AwaitRestored | DisarmAlarm
"""Asked of a member, which may not answer yet."""


class EtcdHands:
    """One of them on one machine."""

    def __init__(self, cluster: ModelCluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._machine = cluster.machines[name]

    def lacking(self, o: ON_ETCD) -> bool:
        """Its check says that it has not been done."""
        view = member(self._cluster, self._name)
        match o:
            case SendSnapshot():
                return self._machine.files.get(o.target) != o.sha256
            case RestoreSnapshot():
                return not self._restored(o)
            case AddMember():
                return not isinstance(view, Unseen) and not o.added(view)
            case PromoteMember():
                return not isinstance(view, Unseen) and any(m.learner and o.peer_url in m.peer_urls for m in view.members)
            case _:
                return False

    def attempt(self, o: ON_ETCD) -> StepResult:
        if isinstance(o, SendSnapshot):
            return self._send(o)
        if isinstance(o, RestoreSnapshot):
            return self._restore(o)
        view = member(self._cluster, self._name)
        if isinstance(view, Unseen):
            return StepResult(False, view.reason)
        match o:
            case AwaitRestored():
                lacks = o.lacks(view, self._cluster.etcd.processes[self._name].store.keys)
                done = f"etcd on {self._name} serves: cluster {view.cluster_id}, {len(view.voters)} voter(s), revision {view.revision}"
                return StepResult(not lacks, lacks or f"{done}, {view.nodes} nodes, {view.pods} pods")
            case AddMember():
                if found := o.added(view):
                    return StepResult(True, f"the member at {o.peer_url} is in the list of {self._name} already, as {found}", already_done=True)
                number = len(view.members) + view.revision
                row = MemberEntry(id_of(f"{o.peer_url} {number}"), "", (o.peer_url,), (), o.learner)
                if not self._cluster.etcd.write(self._name, lambda s: replace(s, members=(*s.members, row))):
                    return StepResult(False, f"{self._name} does not list a member at {o.peer_url}: etcdserver: no leader. Nothing was changed")
                return StepResult(True, f"the member at {o.peer_url} was added as {'learner' if o.learner else 'voter'} {row.id}")
            case PromoteMember():
                return self._promote(o)
            case DisarmAlarm():
                return StepResult(True, f"the alarm {o.alarm} of member {o.member_id} is not raised any more, as {self._name} says")

    def _send(self, o: SendSnapshot) -> StepResult:
        if self._machine.files.get(o.target) == o.sha256:
            return StepResult(True, f"{o.target} on {self._name} is there already, with the right hash", already_done=True)
        if fetched(self._cluster, o.sha256) is None:
            return StepResult(False, f"{o.source} cannot be read on the bastion: No such file. Nothing was sent")
        self._machine.files[o.target] = o.sha256
        return StepResult(True, f"{o.target} on {self._name}: {o.size} bytes, sha256 {o.sha256[:12]}, as on the bastion")

    def _restored(self, o: RestoreSnapshot) -> bool:
        return self._machine.files.get(f"{o.beside}/whole") == o.sha256 and f"{o.data}/member" in self._machine.data

    def _restore(self, o: RestoreSnapshot) -> StepResult:
        machine, path = self._machine, f"{o.data}/member"
        if self._restored(o):
            return StepResult(True, f"restoring the snapshot into {o.data} on {self._name} had been done already", already_done=True)
        for trouble, why in (
            (path in machine.data, f"{path} exists, and restored data must not be mixed with it"),
            (machine.container("etcd") is not None, "etcd runs here"),
            (machine.files.get(o.snapshot) != o.sha256, f"{o.snapshot} is not the snapshot that the plan names"),
            (o.bump > 0 and not machine.bumps, "the program that restores snapshots here does not know --bump-revision and --mark-compacted"),
        ):
            if trouble:
                return StepResult(False, f"on {self._name}: {why}; it refused before changing anything")
        pairs = [pair.split("=", 1) for pair in o.cluster.split(",")]
        rows = tuple(MemberEntry(id_of(f"{url} {o.token}"), name, (url,), (url.replace(":2380", ":2379"),)) for name, url in pairs)
        own = next(row.id for row in rows if o.peer_url in row.peer_urls)
        saved = fetched(self._cluster, o.sha256)
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
        )
        machine.files[f"{o.beside}/whole"] = o.sha256
        del machine.files[o.snapshot]
        return StepResult(True, f"restoring the snapshot into {o.data} on {self._name}: done (3.4.23 {'yes' if o.bump else 'no'} /usr/bin/etcdctl)")

    def _promote(self, o: PromoteMember) -> StepResult:
        etcd = self._cluster.etcd
        store = etcd.processes[self._name].store
        row = next((m for m in store.members if o.peer_url in m.peer_urls), None)
        if row is None:
            return StepResult(False, f"{self._name} lists no member at {o.peer_url}")
        if not row.learner:
            return StepResult(True, f"the member at {o.peer_url} has caught up and votes")
        learner = next((p for p in etcd.processes.values() if p.id == row.id), None)
        if learner is None or learner.store.revision < store.revision:
            return StepResult(False, "etcdserver: can only promote a learner member which is in sync with leader")
        etcd.write(self._name, lambda s: replace(s, members=tuple(replace(m, learner=False) if m.id == row.id else m for m in s.members)))
        return StepResult(False, "promoted, and not seen so yet")
