"""What a restore from a restore point does, step by step, for the playbooks that go back to one: gathered first, or
refused with what is missing. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from recoverd.diagnose.setback import BUMP
from recoverd.model.bastion_operations import AwaitApi
from recoverd.model.etcd_operations import AwaitRestored, RestoreSnapshot, SendSnapshot, image_of, minor_of
from recoverd.model.finding import FindingKey
from recoverd.model.node_operations import Agent, AwaitNodeReady, RestartDaemonPods
from recoverd.model.operations import HELD, MANIFESTS, MovePath, Operation, WriteFile, sha256
from recoverd.model.places import flag
from recoverd.model.plan import Step
from recoverd.model.points import RestorePoint
from recoverd.model.unit_operations import AwaitContainerGone, AwaitUnit, RestartStaticPod, RestartUnit, Unstick
from recoverd.model.witness import LED
from recoverd.playbooks.agents import STABLE, await_endpoints, canary_first
from recoverd.playbooks.base import Refusal, Situation
from recoverd.playbooks.etcd_manifest import (
    annotated,
    content_of,
    data_directory,
    log_elsewhere,
    peer_url,
    without_flag,
)
from recoverd.playbooks.restoring import Member, Restore, aside, database, held
from recoverd.playbooks.sizes import sized
from recoverd.playbooks.starts import services

API = "kube-apiserver"
ROUND = 10_000_000
"""Revisions; at a thousand writes a second a plan that waits stays the same for hours."""


def gathered(
    hosts: Iterable[str], since: datetime, requires: tuple[FindingKey, ...], situation: Situation
) -> Restore | Refusal:
    """All that is needed, or what is missing. `since` tells this restore's names on the hosts from those of
    another one in the same incident.
    """
    named = situation.point
    memory = situation.memory
    point = next((p for p in memory.points if p.id == named), None) if named else memory.best_point
    if point is None and named:
        return Refusal(
            f"there is no restore point {named}; `recoverctl restore-points {situation.settings.name}` "
            "lists those that there are"
        )
    if point is None:
        others = memory.strangers
        of_others = (
            f" {len(others)} are of another one that was here before ({others[-1].id} the newest), by the UID of the "
            f"namespace kube-system; a person can name one: `recoverctl run restore-etcd-snapshot "
            f"{situation.settings.name} --point {others[-1].id}`."
            if others
            else ""
        )
        return Refusal(
            f"recoverd has no restore point of this cluster (`recoverctl restore-points`).{of_others} With a snapshot "
            "from elsewhere it is restored by hand, on every control plane, as etcd's disaster recovery guide says"
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
            f"the manifests of etcd name images of different versions ({', '.join(sorted(minors))}); which is "
            "right is for a person to say"
        )
    bump = _bump(point, members, situation, ROUND if not requires else 1)
    if isinstance(bump, Refusal):
        return bump
    watermark = situation.memory.watermark
    stamp = f"{since.astimezone(UTC):%Y%m%dT%H%M%SZ}" + (f"-{situation.ran}" if not requires and situation.ran else "")
    old = watermark.cluster_id if watermark else ""
    return Restore(point, tuple(members), stamp, bump, minors.pop(), old, situation.name, situation.kept, requires)


def _member(host: str, situation: Situation) -> Member | Refusal:
    view = situation.host(host)
    if view is None or view.etcd_data is None:
        return Refusal(f"{host} cannot be looked at now, and etcd is restored on every member or on none")
    etcd, api = content_of("etcd", host, situation), content_of(API, host, situation)
    if not (etcd and api):
        lacking = " and ".join(c for c, text in (("etcd", etcd), (API, api)) if not text)
        return Refusal(
            f"there is no usable manifest of {lacking} on {host}, and no known-good one was recorded; put one "
            f"into {HELD} on {host} first"
        )
    data = data_directory(etcd, host, situation)
    if refused := log_elsewhere(etcd, data, host):
        return refused
    name = flag(etcd, "--name") or host
    empty = not view.etcd_data.holds
    return Member(host, name, data, peer_url(etcd, host, situation), without_flag(etcd), api, empty)


def _bump(point: RestorePoint, members: list[Member], situation: Situation, up_to: int) -> int | Refusal:
    """By how much revisions are raised: beyond all that was handed out, in multiples of `up_to`, since a plan of a
    living cluster must stay the same while it waits. 0 where a member's program cannot: all must restore the very same.
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


def steps(restore: Restore, situation: Situation) -> Iterator[Step]:
    revived = tuple(_revive(restore, situation))
    yield from (step for _, step in revived)
    for component in (API, "etcd"):
        yield from _stop(component, restore, situation, {host for host, _ in revived})
    for member in restore.members:
        yield from _give_data(member, restore)
    for member in restore.members:
        yield from _start_etcd(member, restore)
    names = tuple(m.name for m in restore.members)
    for member in restore.members:
        served = AwaitRestored(
            names, restore.point.revision + restore.bump, max(1, restore.point.keys), restore.old_cluster
        )
        yield Step(
            member.host,
            f"see etcd on {member.host} serve what was restored: members, cluster id, revision, keys",
            served,
            120.0,
        )
    for member in restore.members:
        write = _put_in(API, member.api, restore, needs="")
        yield Step(
            member.host, f"start the API server on {member.host}: its manifest is put back", write, 20.0, commits=True
        )
    for member in restore.members:
        yield Step(
            member.host,
            f"see that kubelet starts {API} on {member.host}, and restart kubelet when it does not",
            Unstick(API, 10),
            60.0,
        )
        yield Step(member.host, f"see the API server on {member.host} ready", AwaitApi(), 180.0)
    yield from _wake(restore, situation)


def _stop(component: str, restore: Restore, situation: Situation, done: Collection[str]) -> Iterator[Step]:
    """All at once, then waited for: without etcd an API server takes the whole of its
    30 s of grace to end (observed).
    """
    for member in restore.members:
        if member.host not in done:
            yield from _put_aside(component, member, restore, situation)
    for member in restore.members:
        gone = AwaitContainerGone(component, 60)
        requires = restore.requires if component == API else ()  # what follows changes what is seen
        yield Step(member.host, f"wait until no {component} runs on {member.host}", gone, 75.0, requires)


def _put_aside(component: str, member: Member, restore: Restore, situation: Situation) -> Iterator[Step]:
    view = situation.host(member.host)
    if view is None or component not in view.manifests:
        return
    what = "the API server" if component == API else component
    move = MovePath(f"{MANIFESTS}/{component}.yaml", f"{held(restore)}/{component}.yaml")
    # what etcd could be started on without data is not put back
    undo = (
        move.inverse()
        if component == API
        else None
        if member.empty
        else replace(move.inverse(), needs=database(member))
    )
    requires = restore.requires if component == API else ()
    yield Step(member.host, f"stop {what} on {member.host}: its manifest goes aside", move, 20.0, requires, undo=undo)


def _revive(restore: Restore, situation: Situation) -> Iterator[tuple[str, Step]]:
    """Where kubelet or the runtime does not run, it is started, once neither manifest is in its
    sight; with the host of each step.
    """
    for member in restore.members:
        if starting := tuple(services(member.host, situation)):
            for component in (API, "etcd"):
                yield from ((member.host, step) for step in _put_aside(component, member, restore, situation))
            yield from ((member.host, step) for step in starting)


def _give_data(member: Member, restore: Restore) -> Iterator[Step]:
    host, point = member.host, restore.point
    keep = MovePath(f"{member.data}/member", aside(restore, member), optional=True)
    yield Step(host, f"keep what is left of etcd's data on {host} aside", keep, 20.0, undo=keep.inverse())
    sent = f"{member.data}/{point.id}.db"
    send = SendSnapshot(point.path, point.sha256, point.size, sent)
    yield sized(
        Step(host, f"send the snapshot of {point.id} to {host} and check its hash there", send, 240.0), point.size
    )
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
    yield sized(
        Step(host, f"restore the snapshot on {host} as a member of a new cluster", made, 240.0, undo=away), point.size
    )


def _start_etcd(member: Member, restore: Restore) -> Iterator[Step]:
    host = member.host
    gone = AwaitContainerGone("etcd", 60)
    yield Step(host, f"see that no etcd runs on {host}", gone, 75.0, undo=gone)
    write = _put_in("etcd", member.etcd, restore, needs=database(member))
    away = MovePath(f"{MANIFESTS}/etcd.yaml", f"{held(restore)}/etcd-restored.yaml", optional=True)
    yield Step(host, f"start etcd on {host}: its manifest is put back", write, 20.0, undo=away)


def _put_in(component: str, text: str, restore: Restore, *, needs: str) -> WriteFile:
    """With an annotation, so that kubelet takes it for another pod than the one whose back-off it remembers."""
    content = annotated(text, restore.name)
    return WriteFile(f"{MANIFESTS}/{component}.yaml", content, sha256(content), before="", needs=needs)


def _wake(restore: Restore, situation: Situation) -> Iterator[Step]:
    """Controllers always; where revisions went back, all that `restart-node-agents` restarts, in its order. A
    node that fails holds nobody up, but for a kubelet.

    The API does not list the nodes now: kubeadm calls etcd's member as its node, and workers are called as
    configured or as they were learnt.
    """
    planes = {m.host: m.name for m in restore.members}
    workers = [h.name for h in situation.settings.workers] or [w.name for w in situation.memory.workers]
    nodes = {
        h: n
        for h, n in (planes | {w: w for w in workers}).items()
        if (view := situation.host(h)) is not None and view.joined
    }
    agents = {} if restore.bump else nodes
    yield from _kubelets({h: n for h, n in agents.items() if h in planes})
    for host in planes:
        for component in LED:
            again = RestartStaticPod(component, 90, start=True)
            yield Step(host, f"restart {component} on {host}", again, 105.0, part=host, contained=True)
    yield from _kubelets({h: n for h, n in agents.items() if h not in planes})
    for host, node in agents.items():
        yield Step(host, f"see node {node} Ready", AwaitNodeReady(node), 60.0, part=host, contained=True)
    if agents:
        yield await_endpoints(situation)
    for agent, seconds in ((Agent.KUBE_PROXY, 90.0), (Agent.CNI, 120.0)):
        for host, node in agents.items():
            what = "kube-proxy" if agent is Agent.KUBE_PROXY else "the CNI's agent, where there is one,"
            yield Step(
                host, f"restart {what} on {node}", RestartDaemonPods(node, agent), seconds, part=host, contained=True
            )


def _kubelets(hosts: Mapping[str, str]) -> Iterator[Step]:
    """One that does not start or stay up ends the plan: what keeps it down may be on every machine."""
    for some in canary_first(hosts):
        for host in some:
            yield _of_kubelet(host, f"restart kubelet on {host}", RestartUnit("kubelet"), 30.0)
        for host in some:
            yield _of_kubelet(host, f"see kubelet on {host} stay up", AwaitUnit("kubelet", STABLE, 40), 50.0)


def _of_kubelet(host: str, description: str, operation: Operation, seconds: float) -> Step:
    return Step(host, description, operation, seconds, part=host, contained=True, vital=True)
