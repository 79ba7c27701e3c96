"""`restore-etcd-snapshot`: puts every member back to a restore point, as one new cluster, when no member holds the data any more.

Sources: etcd's disaster recovery guide (restore on every member with the same snapshot and a new cluster token; `--bump-revision` and
`--mark-compacted`, so that no watcher keeps what it saw of the lost history); observed on real clusters: without the bump kubelet, kube-proxy and
the controllers wait for revisions of the future, so they are restarted here, every kubelet before anything is awaited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from recoverd.diagnose.loss import holders, unaccounted
from recoverd.diagnose.setback import BUMP
from recoverd.model.bastion_operations import AwaitApi
from recoverd.model.etcd_operations import AwaitRestored, RestoreSnapshot, SendSnapshot, image_of, minor_of
from recoverd.model.finding import Code, Finding, FindingKey
from recoverd.model.node_operations import Agent, AwaitNodeReady, RestartDaemonPods
from recoverd.model.operations import HELD, MANIFESTS, AwaitContainerGone, AwaitUnit, MovePath, RestartStaticPod, RestartUnit, Unstick, WriteFile
from recoverd.model.plan import Step
from recoverd.model.points import RestorePoint, best
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.etcd_manifest import content_of, data_directory, flag, log_elsewhere, peer_url
from recoverd.playbooks.force_new_cluster import annotated, without_flag
from recoverd.playbooks.restart_node_agents import PLANES, STABLE, await_endpoints

NAME = "restore-etcd-snapshot"
API = "kube-apiserver"
SLOW = 8 << 20
"""Bytes a second that a snapshot is sent and restored with at the least: one of 8 GiB, the largest that etcd suggests, gets 20 minutes."""
ROUND = 10_000_000
"""Revisions; at a thousand writes a second a plan that waits stays the same for hours."""
SHOWN = 20
"""Objects that are named one by one in what a plan destroys."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member as it is going to be."""

    host: str
    name: str
    data: str
    peer_url: str
    etcd: str
    """The manifest's text."""
    api: str
    empty: bool
    """It has no data now: nothing can be put back, and its etcd must not be started without the restored data."""


@dataclass(frozen=True, slots=True)
class Restore:
    """Everything that the steps are made of."""

    point: RestorePoint
    members: tuple[Member, ...]
    stamp: str
    """Of this loss, for names on the hosts: another one, later in the same incident, gets another."""
    bump: int
    minor: str
    old_cluster: str
    incident: str
    """`Situation.name`."""
    requires: tuple[FindingKey, ...]
    """What must be found still while the API servers are stopped; nothing when a person asked for it."""

    @property
    def asked(self) -> bool:
        """A person said that the data is wrong."""
        return not self.requires

    @property
    def cluster(self) -> str:
        return ",".join(f"{m.name}={m.peer_url}" for m in self.members)

    @property
    def token(self) -> str:
        """Of the new cluster. What an earlier attempt at another point, bump or list of members has left is never taken for this one's."""
        made_of = hashlib.sha256(f"{self.point.sha256} {self.bump} {self.cluster}".encode()).hexdigest()
        return f"recoverd-{self.incident}-{self.stamp}-{made_of[:12]}"


@dataclass(frozen=True, slots=True)
class RestoreEtcdSnapshot:
    name: str = NAME
    summary: str = "put etcd back to a restore point on every control plane, when its data is lost on all of them"
    destructive: bool = True
    order: int = 70
    for_nodes: bool = True
    repairs: frozenset[str] = frozenset({Code.ETCD_DATA_LOST})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        since = situation.since.get(finding.key, situation.now)
        hosts = [h for h in finding.facts.get("hosts", "").split(",") if h]
        return self._proposal(_gathered(hosts, since, (finding.key,), situation), finding.evidence, situation)

    def asked(self, situation: Situation) -> Answer:
        """The data is there and a person says that it is wrong, as after a deletion by mistake or a restore of the wrong snapshot."""
        if not situation.point:
            return Refusal(
                "etcd's data is not lost, and whether it is wrong is for a person to say: name the restore point to go back to with --point; "
                f"`recoverctl restore-points {situation.settings.name}` lists them"
            )
        scene = situation.scene
        hosts = holders(scene)
        if (strangers := unaccounted(scene)) and not situation.nodes:
            return Refusal(
                f"etcd had members that are not in the configuration ({', '.join(strangers)}), and all are restored or none. When they are gone for "
                f"good, say so by naming those that are left: {' '.join(f'--node {h}' for h in hosts)}"
            )
        if situation.nodes and (left_out := [h for h in hosts if h not in situation.nodes]):
            return Refusal(
                f"{', '.join(left_out)} held etcd's data and is in the configuration: all are restored or none. A machine that is gone for good is "
                "taken out of the configuration first"
            )
        taken = next((p.taken_at for p in situation.memory.points if p.id == situation.point), 0.0)
        restore = _gathered(hosts, datetime.fromtimestamp(taken, UTC), (), situation)
        return self._proposal(restore, (f"asked for: the data of {situation.settings.name} is to be as it was in {situation.point}",), situation)

    @staticmethod
    def _proposal(restore: Restore | Refusal, evidence: tuple[str, ...], situation: Situation) -> Proposal | Refusal:
        if isinstance(restore, Refusal):
            return restore
        point, names = restore.point, ", ".join(m.host for m in restore.members)
        kept = [m.host for m in restore.members if not m.empty]
        return Proposal(
            summary=f"restore etcd on {names} from {point.id} (taken {_utc(point.taken_at)} UTC, revision {point.revision})"
            + (f", with revisions raised by {restore.bump}" if restore.bump else ""),
            steps=tuple(_steps(restore, situation)),
            basis=restore.requires,
            evidence=(*evidence, *_chosen(restore, situation)),
            destroys=tuple(_destroys(restore, situation)),
            undo=(
                "until the first API server is started again: everything is taken back by itself"
                + (f", the old data of {', '.join(kept)} included" if kept else ""),
                *(f"afterwards, by hand: the old data of {m.host} is kept there as {_aside(restore, m)}" for m in restore.members if not m.empty),
                *(
                    f"etcd on {m.host} is never started again without data: its manifest stays in {_held(restore)} when the plan is taken back"
                    for m in restore.members
                    if m.empty
                ),
            ),
            resolves=restore.requires,
            verify_within=180.0,
            rounds=1 + len(restore.members) // 2,
            own_point=True,
        )


def _gathered(hosts: Iterable[str], since: datetime, requires: tuple[FindingKey, ...], situation: Situation) -> Restore | Refusal:
    """All that is needed, or what is missing. `since` tells this restore's names on the hosts from those of another one in the same incident."""
    named = situation.point
    point = next((p for p in situation.memory.points if p.id == named), None) if named else best(situation.memory.points)
    if point is None and named:
        return Refusal(f"there is no restore point {named}; `recoverctl restore-points {situation.settings.name}` lists those that there are")
    if point is None:
        return Refusal(
            "recoverd has no restore point of this cluster (`recoverctl restore-points`). With a snapshot from elsewhere it is restored by hand, on "
            "every control plane, as etcd's disaster recovery guide says"
        )
    members = []
    for host in hosts:
        member = _member(host, situation)
        if isinstance(member, Refusal):
            return member
        members.append(member)
    if not members:
        return Refusal("no control plane is known to have held etcd's data")
    minors = {minor_of(m.etcd) for m in members}
    if len(minors) > 1:
        return Refusal(
            f"the manifests of etcd name images of different versions ({', '.join(sorted(minors))}); which is right is for a person to say"
        )
    bump = _bump(point, members, situation, ROUND if not requires else 1)
    if isinstance(bump, Refusal):
        return bump
    watermark = situation.memory.watermark
    stamp = f"{since.astimezone(UTC):%Y%m%dT%H%M%SZ}" + (f"-{situation.ran}" if not requires and situation.ran else "")
    old = watermark.cluster_id if watermark else ""
    return Restore(point, tuple(members), stamp, bump, minors.pop(), old, situation.name, requires)


def _member(host: str, situation: Situation) -> Member | Refusal:
    view = situation.host(host)
    if view is None or view.etcd_data is None:
        return Refusal(f"{host} cannot be looked at now, and etcd is restored on every member or on none")
    etcd, api = content_of("etcd", host, situation), content_of(API, host, situation)
    if not (etcd and api):
        lacking = " and ".join(c for c, text in (("etcd", etcd), (API, api)) if not text)
        return Refusal(f"there is no usable manifest of {lacking} on {host}, and no known-good one was recorded; put one into {HELD} on {host} first")
    data = data_directory(etcd, host, situation)
    if refused := log_elsewhere(etcd, data, host):
        return refused
    name = flag(etcd, "--name") or host
    empty = not view.etcd_data.holds
    return Member(host, name, data, peer_url(etcd, host, situation), without_flag(etcd), api, empty)


def _bump(point: RestorePoint, members: list[Member], situation: Situation, up_to: int) -> int | Refusal:
    """By how much revisions are raised: beyond all that was handed out, in multiples of `up_to`, since a plan of a living cluster must stay the same
    while it waits. 0 where a member's program cannot: all must restore the very same.
    """
    tools = {m.host: view.etcd_tool if (view := situation.host(m.host)) else None for m in members}
    if none := [host for host, tool in tools.items() if tool is None]:
        return Refusal(
            f"no etcdctl or etcdutl of etcd's own version was found on {', '.join(none)}, in PATH or in etcd's image; "
            "install one there (Debian: etcd-client), and this is offered"
        )
    if not all(tool and tool.bump for tool in tools.values()):
        return 0
    watermark = situation.memory.watermark
    # what an earlier plan of this incident started has handed out revisions that no healthy sweep has seen
    behind = max(0, (watermark.revision if watermark else 0) - point.revision)
    return -(-behind // up_to) * up_to + BUMP * (1 + situation.ran)


def _held(restore: Restore) -> str:
    return f"{HELD}/{restore.incident}-{restore.stamp}"


def _aside(restore: Restore, member: Member) -> str:
    return f"{member.data}/member.{restore.incident}-{restore.stamp}"


def _steps(restore: Restore, situation: Situation) -> Iterator[Step]:
    yield from _stop(API, restore, situation)
    yield from _stop("etcd", restore, situation)
    for member in restore.members:
        yield from _give_data(member, restore)
    for member in restore.members:
        yield from _start_etcd(member, restore)
    names = tuple(m.name for m in restore.members)
    for member in restore.members:
        served = AwaitRestored(names, restore.point.revision + restore.bump, max(1, restore.point.keys), restore.old_cluster)
        yield Step(member.host, f"see etcd on {member.host} serve what was restored: members, cluster id, revision, keys", served, 120.0)
    for member in restore.members:
        write = _put_in(API, member.api, restore, needs="")
        yield Step(member.host, f"start the API server on {member.host}: its manifest is put back", write, 20.0, commits=True)
    for member in restore.members:
        yield Step(member.host, f"see that kubelet starts {API} on {member.host}, and restart kubelet when it does not", Unstick(API, 10), 60.0)
        yield Step(member.host, f"see the API server on {member.host} ready", AwaitApi(), 180.0)
    yield from _wake(restore, situation)


def _stop(component: str, restore: Restore, situation: Situation) -> Iterator[Step]:
    """All at once, then waited for: without etcd an API server takes the whole of its 30 s of grace to end (observed)."""
    what = "the API server" if component == API else component
    path, aside = f"{MANIFESTS}/{component}.yaml", f"{_held(restore)}/{component}.yaml"
    requires = restore.requires if component == API else ()  # what follows changes what is seen
    for member in restore.members:
        view = situation.host(member.host)
        if view and component in view.manifests:
            move = MovePath(path, aside)
            # what etcd could be started on without data is not put back
            undo = move.inverse() if component == API else None if member.empty else replace(move.inverse(), needs=_database(member))
            yield Step(member.host, f"stop {what} on {member.host}: its manifest goes aside", move, 20.0, requires, undo=undo)
    for member in restore.members:
        gone = AwaitContainerGone(component, 60)
        yield Step(member.host, f"wait until no {component} runs on {member.host}", gone, 75.0, requires)


def _give_data(member: Member, restore: Restore) -> Iterator[Step]:
    host, point = member.host, restore.point
    patience = 240.0 + point.size / SLOW
    keep = MovePath(f"{member.data}/member", _aside(restore, member), optional=True)
    yield Step(host, f"keep what is left of etcd's data on {host} aside", keep, 20.0, undo=keep.inverse())
    sent = f"{member.data}/{point.id}.db"
    send = SendSnapshot(point.path, point.sha256, point.size, sent)
    yield Step(host, f"send the snapshot of {point.id} to {host} and check its hash there", send, patience)
    made = RestoreSnapshot(
        sent,
        point.sha256,
        member.data,
        member.name,
        member.peer_url,
        restore.cluster,
        restore.token,
        restore.bump,
        restore.minor,
        image_of(member.etcd),
    )
    away = MovePath(f"{member.data}/member", f"{made.beside}/member", optional=True)
    yield Step(host, f"restore the snapshot on {host} as a member of a new cluster", made, patience, undo=away)


def _start_etcd(member: Member, restore: Restore) -> Iterator[Step]:
    host = member.host
    gone = AwaitContainerGone("etcd", 60)
    yield Step(host, f"see that no etcd runs on {host}", gone, 75.0, undo=gone)
    write = _put_in("etcd", member.etcd, restore, needs=_database(member))
    away = MovePath(f"{MANIFESTS}/etcd.yaml", f"{_held(restore)}/etcd-restored.yaml", optional=True)
    yield Step(host, f"start etcd on {host}: its manifest is put back", write, 20.0, undo=away)


def _put_in(component: str, text: str, restore: Restore, *, needs: str) -> WriteFile:
    """With an annotation, so that kubelet takes it for another pod than the one whose back-off it remembers."""
    content = annotated(text, f"{restore.incident}-{restore.stamp}")
    return WriteFile(f"{MANIFESTS}/{component}.yaml", content, hashlib.sha256(content.encode()).hexdigest(), before="", needs=needs)


def _database(member: Member) -> str:
    return f"{member.data}/member/snap/db"


def _wake(restore: Restore, situation: Situation) -> Iterator[Step]:
    """Controllers always; where revisions went back, all that `restart-node-agents` restarts, in its order. A node that fails holds nobody up.

    The API does not list the nodes now: kubeadm calls etcd's member as its node, and workers are called as configured or as they were learnt.
    """
    planes = {m.host: m.name for m in restore.members}
    workers = [h.name for h in situation.settings.workers] or [w.name for w in situation.memory.workers]
    nodes = {h: n for h, n in (planes | {w: w for w in workers}).items() if (view := situation.host(h)) is not None and view.joined}
    agents = {} if restore.bump else nodes
    for host in agents:
        yield Step(host, f"restart kubelet on {host}", RestartUnit("kubelet"), 30.0, part=host, contained=True)
    for host in agents:
        yield Step(host, f"see kubelet on {host} stay up", AwaitUnit("kubelet", STABLE, 40), 50.0, part=host, contained=True)
    for host in planes:
        for component in PLANES:
            again = RestartStaticPod(component, 90, start=True)
            yield Step(host, f"restart {component} on {host}", again, 105.0, part=host, contained=True)
    for host, node in agents.items():
        yield Step(host, f"see node {node} Ready", AwaitNodeReady(node), 60.0, part=host, contained=True)
    if agents:
        yield await_endpoints(situation)
    for agent, seconds in ((Agent.KUBE_PROXY, 90.0), (Agent.CNI, 120.0)):
        for host, node in agents.items():
            what = "kube-proxy" if agent is Agent.KUBE_PROXY else "the CNI's agent, where there is one,"
            yield Step(host, f"restart {what} on {node}", RestartDaemonPods(node, agent), seconds, part=host, contained=True)


def _chosen(restore: Restore, situation: Situation) -> Iterator[str]:
    point = restore.point
    count = len(situation.memory.points)
    if situation.point:
        how = "as asked for" + ("" if point.verified else "; it was not verified by restoring it")
    else:
        verified = "the newest that was verified by restoring it"
        how = verified if point.verified else "the newest, whose hash was good; none has been verified by restoring it"
    yield f"chosen: {point.id}, {how} ({count} known); {point.how_verified}; sha256 {point.sha256[:12]}, {point.size} bytes, from {point.host}"
    if restore.old_cluster and point.cluster_id != restore.old_cluster:
        yield f"it is of the cluster {point.cluster_id}, and the one that was lost is {restore.old_cluster}"
    if empty := {f"{m.host}:{m.data}" for m in restore.members if m.empty}:
        yield f"look before you approve: a disk that is not mounted looks like data that is gone (`findmnt -T` of {', '.join(sorted(empty))})"
    if restore.bump:
        yield f"revisions go on at {point.revision + restore.bump}, beyond every one that was handed out, and older ones count as compacted"
    else:
        yield "an etcdctl here does not know --bump-revision, so revisions go back, and whatever watches the API on the nodes is restarted"


def _destroys(restore: Restore, situation: Situation) -> Iterator[str]:
    """What is lost, as far as recoverd knows it."""
    point, watermark = restore.point, situation.memory.watermark
    if watermark is None:
        yield f"everything written since {_utc(point.taken_at)} UTC, when the restore point was taken"
    else:
        span = max(0.0, watermark.at.timestamp() - point.taken_at)
        writes = (
            f"{max(0, watermark.revision - point.revision)} revisions"
            if watermark.cluster_id == point.cluster_id
            else "an unknown number of revisions"
        )
        yield (
            f"everything written between {_utc(point.taken_at)} UTC, when the point was taken, and the end: at least {_length(span)} and {writes} "
            f"(last seen: revision {watermark.revision} at {watermark.at:%Y-%m-%d %H:%M:%S} UTC)"
        )
    taken = datetime.fromtimestamp(point.taken_at, UTC)
    new = [c for c in situation.memory.newest if c.at > taken]
    if new:
        more = f" and {len(new) - SHOWN} more" if len(new) > SHOWN else ""
        yield f"objects that were created since, as far as recoverd saw them: {', '.join(f'{c.kind} {c.name}' for c in new[:SHOWN])}{more}"
        yield "pods among them that run still are ended when their kubelet hears of the restored data"
    for name in unaccounted(situation.scene):
        yield (
            f"the member {name}, as on a machine that is gone for good: it must never be started again with its old data. After `kubeadm reset -f` "
            "there it is joined anew by recoverctl join-control-plane"
        )
    if restore.asked:
        yield "the data that is there now, and every API server's answers while the plan runs; the data is kept aside on every host"
        return
    for member in restore.members:
        if (view := situation.etcd(member.host)) is not None:
            yield f"what was written to the empty cluster that {member.host} has begun (revision {view.revision}); it is kept aside"


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


PLAYBOOK = RestoreEtcdSnapshot()
