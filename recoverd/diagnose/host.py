"""Machines: kubelet and container runtime, clock and disk; and control planes that are not part of the cluster."""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.members import Membership
from recoverd.diagnose.nodes import facts_of, node_of
from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import HostView, UnitView

RUNTIMES = ("containerd", "docker", "crio")


FALLS = 2
"""Restarts by systemd itself; the count begins anew when somebody starts the unit."""
STANDS = 10.0
"""Seconds that a unit must be up after those: kubeadm's has systemd wait 10 s before each."""


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.control_plane_names:
        host = scene.host(name)
        if name not in scene.parts:
            yield _not_joined(scene, name)
        elif host is not None:
            yield from _services(scene, name, host, Severity.FAULT)
    for worker in scene.workers:
        host = scene.host(worker.name)
        if host is not None and host.joined:
            node = scene.node(worker.name)
            down = node is not None and not node.ready
            yield from _worker_down(scene, worker.name, host) if down else _services(scene, worker.name, host, Severity.NOTICE)
    for name in scene.addresses:
        if (host := scene.host(name)) is not None:
            yield from _clock(scene, name, host)
            yield from _disks(name, host)


def _services(scene: Scene, name: str, host: HostView, severity: Severity) -> Iterator[Finding]:
    if not host.joined:
        return
    state = State.APISERVER_DOWN if severity is Severity.FAULT else None
    runtimes = (host.runtime,) if host.runtime else RUNTIMES
    for code, units in ((Code.RUNTIME_DOWN, runtimes), (Code.KUBELET_DOWN, ("kubelet",))):
        for unit in (host.units[u] for u in units if u in host.units):
            if unit.active in ("active", "reloading") or _starting(scene, name, unit):
                continue
            effect = "static pods that stop are not started again" if code == Code.KUBELET_DOWN else "no container can be started"
            yield Finding(
                code,
                name,
                f"{unit.name} on {name} is not running ({unit.active}, {unit.sub or unit.result}): {effect}.",
                (_unit_line(scene, name, unit), *_consequence(scene, name)),
                severity=severity,
                state=state,
                facts=Facts(name),
            )


def _worker_down(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    """A worker that is not Ready because its kubelet or runtime does not run. The runtime first: kubelet needs it."""
    for unit in (host.units[u] for u in (host.runtime or "containerd", "kubelet") if u in host.units):
        if (unit.active in ("active", "reloading") and not _falling(scene, unit)) or _starting(scene, name, unit):
            continue
        yield Finding(
            Code.WORKER_KUBELET_DOWN,
            node_of(scene, name),
            f"{unit.name} on the worker {name} is not running ({unit.active}, {unit.sub or unit.result}), and its node is not Ready.",
            (_unit_line(scene, name, unit), f"the API server calls the node {node_of(scene, name)} not Ready"),
            state=State.WORKER_NETWORK_BROKEN,
            facts=facts_of(scene, name),
        )
        return


def _starting(scene: Scene, name: str, unit: UnitView) -> bool:
    """A unit on its way up after a boot; `auto-restart` is one that failed."""
    return unit.active == "activating" and unit.sub != "auto-restart" and scene.settling(name)


def _falling(scene: Scene, unit: UnitView) -> bool:
    """One that systemd starts again and again is active for a moment each time; seen in such a moment it is no better."""
    age = scene.age(unit.since)
    return unit.restarts >= FALLS and age is not None and age < STANDS


def _unit_line(scene: Scene, name: str, unit: UnitView) -> str:
    age = scene.age(unit.since)
    since = f" since {unit.since:%Y-%m-%d %H:%M:%S} UTC, {age:.0f} s ago" if unit.since and age is not None else ""
    load = "" if unit.load == "loaded" else f", {unit.load}"
    return f"{name}: systemctl show {unit.name}: {unit.active} ({unit.sub}{load}), result {unit.result or 'none'}{since}, {unit.restarts} restarts"


def _consequence(scene: Scene, name: str) -> tuple[str, ...]:
    endpoint = scene.endpoint(name)
    return (f"API server at {endpoint.address}: {endpoint.health}",) if endpoint else ()


def _not_joined(scene: Scene, name: str) -> Finding:
    host, membership = scene.host(name), scene.membership
    entry = membership.entry_of(name)
    if membership.leader and entry is None and scene.remembered(name):
        return _lost_member(scene, name)
    if host is not None and not host.joined:
        why = "kubeadm has not made it a node (no /etc/kubernetes/kubelet.conf)"
    elif membership.known and entry is None:
        why = "its etcd is not a member of the cluster: it was removed, or never joined"
    elif entry is not None and (entry.learner or not entry.started):
        why = "its etcd is in the member list and has not become a voter that serves"
    elif host is None:
        why = "it cannot be looked at and was never seen working"
    else:
        why = f"its {API} was never seen working; it may just be joining"
    return Finding(
        Code.NOT_JOINED,
        name,
        f"{name} is configured as a control plane and is not a working part of the cluster: {why}. What fails on it is not counted as a fault.",
        (_listed(membership),) if membership.known else (),
        severity=Severity.NOTICE,
    )


def _listed(membership: Membership) -> str:
    return f"member list as {membership.source} gives it: {', '.join(membership.label(e) for e in membership.entries)}"


def _lost_member(scene: Scene, name: str) -> Finding:
    """It worked and is no member any more, as when it was removed and could not be added again: quorum holds, with less to spare."""
    membership = scene.membership
    voters = len(membership.voters)
    spare = voters - membership.needed
    return Finding(
        Code.NOT_JOINED,
        name,
        f"{name} was a working control plane, and its etcd is not a member any more: {voters} voters are left and {membership.needed} needed: etcd "
        f"survives the loss of {spare or 'none'}. Make it one again: `kubeadm reset -f` on {name}, `kubectl delete node {name}`, then `recoverctl "
        f"join-control-plane`; or take it out of the configuration. What fails on it is not counted as a fault.",
        (_listed(membership),),
        severity=Severity.WARNING,
    )


def _clock(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    limit = scene.settings.bounds.max_clock_skew
    if abs(host.clock_offset) > limit:
        side = "ahead of" if host.clock_offset > 0 else "behind"
        yield Finding(
            Code.CLOCK_SKEW,
            name,
            f"The clock of {name} is {abs(host.clock_offset):.1f} s {side} the bastion's; look at its time synchronisation.",
            (f"{name}: clock offset {host.clock_offset:+.3f} s, allowed {limit:g} s",),
            severity=Severity.NOTICE,
        )
    if host.synchronised is False:
        yield Finding(
            Code.CLOCK_UNSYNCHRONISED,
            name,
            f"The clock of {name} is not synchronised: it drifts, and certificates, leases and etcd's own times rest on it. See to chrony, ntpd or "
            "systemd-timesyncd there.",
            (f"{name}: timedatectl says NTPSynchronized=no; now {host.clock_offset:+.3f} s beside the bastion's",),
            severity=Severity.NOTICE,
        )


def _disks(name: str, host: HostView) -> Iterator[Finding]:
    for disk in host.disks:
        if disk.total > 0 and (disk.free < 0.1 * disk.total or disk.free < 1 << 30):
            yield Finding(
                Code.DISK_LOW,
                f"{name}:{disk.path}",
                f"{disk.path} on {name} has {disk.free / (1 << 30):.1f} GiB free of {disk.total / (1 << 30):.1f}.",
                (f"{name}:{disk.path}: {disk.free} of {disk.total} bytes free ({disk.free / disk.total:.0%})",),
                severity=Severity.NOTICE,
            )
