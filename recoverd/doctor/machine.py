"""What one machine is asked: does recoverd get in, is it root there, are the programs there, is there room, is the
clock right, and on a control plane: does sshd let tunnels through, and does etcd answer in one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from recoverd.clients.etcd import EtcdClient, EtcdUnseen
from recoverd.clients.etcd_outside import OutsideClient
from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.config import ClusterConfig
from recoverd.diagnose.disks import below
from recoverd.doctor import tools
from recoverd.doctor.check import About, Check
from recoverd.model.etcd import EtcdView, mib
from recoverd.model.observation import HostView, Unseen, UnseenKind
from recoverd.model.places import OutsideEtcd, outside_etcd, places_in
from recoverd.observe.hosts import Extras, look_at

LOOK_SECONDS = 12.0
MIB = 1 << 20
ROOM = 512 * MIB
"""Bytes below which kubelet soon evicts pods, and manifests, copies and logs have no room."""
OWN = 64 * MIB
"""What a restore needs beside three times the database (`receive_snapshot`)."""
WRITTEN = ("/var/lib/etcd", "/var/lib/kubelet", "/var/lib/recoverd", "/var/log")
"""Where recoverd or what it looks after has to write, as far as `df` is asked of it."""
WHICH = "for t in {}; do command -v $t >/dev/null 2>&1 || echo $t; done"


@dataclass(frozen=True, slots=True)
class Examined:
    """What came of one machine."""

    checks: tuple[Check, ...]
    view: HostView | None = None
    etcd: EtcdView | None = None


async def examine_machine(cluster: ClusterConfig, pool: HostPool, name: str) -> Examined:
    """Every check of a machine of the pool, one after the other: each needs what the one before has shown."""
    about = About(cluster.settings.name, name)
    checks = await about.within("ssh", _login(cluster, pool, about))
    if any(c.level for c in checks):
        return Examined(tuple(checks))
    plane = any(p.name == name for p in cluster.settings.control_planes)
    views: list[HostView] = []
    members: list[EtcdView] = []
    missing, looked = await asyncio.gather(
        about.within("programs", _programs(pool, about, plane=plane)),
        about.within("look", _look(cluster, pool, about, views)),
    )
    checks += [*missing, *looked]
    view = views[0] if views else None
    if plane:
        if view:
            pool.places[name] = places_in(view.manifests)
        manifest = view.manifests.get("kube-apiserver") if view else None
        if manifest and (outside := outside_etcd(manifest.content)):
            checks += await about.within("etcd", etcd_outside(pool, about, outside))
        else:
            checks += await about.within("tunnel", _tunnel(pool, about))
            checks += await about.within("etcd", _etcd(pool, about, view, members))
    return Examined(tuple(checks), view, members[0] if members else None)


async def _login(cluster: ClusterConfig, pool: HostPool, about: About) -> list[Check]:
    ssh = cluster.ssh
    try:
        result = await pool.run(about.node, "id -u", timeout=LOOK_SECONDS)
    except HostUnseen as unseen:
        kinds = {UnseenKind.UNTRUSTED: "host key", UnseenKind.DENIED: "login"}
        what = kinds.get(unseen.unseen.kind, "ssh")
        if what == "login" and "become root" in unseen.unseen.reason:
            what = "sudo"
        # what it says has its remedy in it
        return [about.fail(what, unseen.unseen.reason, REACH if what == "ssh" else "")]
    address = pool.addresses.get(about.node, "")
    through = f" through {ssh.jump}" if ssh.jump else ""
    found = [about.ok("ssh", f"{ssh.user}@{address}:{ssh.port}{through} lets in, and its host key is the known one")]
    if (uid := result.stdout.strip().splitlines()[-1:]) != ["0"]:
        said = uid[0] if uid else f"nothing (exit {result.exit_status}: {result.stderr.strip()[:100]})"
        remedy = "set ssh.user to root, or ssh.sudo: true with config/sudoers on the machine"
        return [*found, about.fail("root", f"`id -u` says {said} there, and not 0", remedy)]
    return [*found, about.ok("root", "through sudo, without a password" if ssh.sudo else "as root itself")]


REACH = "see that the machine is up, and that the bastion may reach its sshd (address, ssh.port, ssh.jump, firewalls)"


async def _programs(pool: HostPool, about: About, *, plane: bool) -> list[Check]:
    try:
        result = await pool.run(about.node, WHICH.format(" ".join(tools.asked())), timeout=LOOK_SECONDS)
    except HostUnseen as unseen:
        return [about.fail("programs", unseen.unseen.reason)]
    lacking = set(result.stdout.split()) & set(tools.asked())
    found = []
    if needed := [t for t in tools.NEEDED if t in lacking]:
        remedy = "install them, or put them where sudo's secure_path or PATH leads"
        found.append(about.fail("programs", f"{', '.join(needed)} not there", remedy))
    for tool, lost in {**tools.USEFUL, **(tools.OF_CONTROL_PLANES if plane else {})}.items():
        if tool in lacking:
            found.append(about.warn("programs", f"{tool} is not there: {lost}", f"install {tool}"))
    for names, lost in tools.EITHER.items():
        if lacking >= set(names):
            found.append(about.warn("programs", f"none of {', '.join(names)} is there: {lost}", f"install {names[0]}"))
    return found or [about.ok("programs", f"all {len(tools.NEEDED)} that are needed, and those that help, are there")]


async def _look(cluster: ClusterConfig, pool: HostPool, about: About, views: list[HostView]) -> list[Check]:
    """The look of a sweep, without the lease, and without the mount of etcd's image."""
    view = await look_at(pool, about.node, LOOK_SECONDS, more=Extras(clock=True, node=True))
    if isinstance(view, Unseen):
        return [about.fail("look", view.reason)]
    views.append(view)
    found = [about.ok("look", f"up for {view.uptime / 3600:.0f} h, runtime {view.runtime or 'none'}")]
    if view.problems:
        found = [about.warn("look", "; ".join(view.problems))]
    return [*found, *_clock(cluster, about, view), *_room(about, view)]


def _clock(cluster: ClusterConfig, about: About, view: HostView) -> list[Check]:
    most, off = cluster.settings.bounds.max_clock_skew, view.clock_offset
    remedy = "run an NTP client (chrony, systemd-timesyncd) there and on the bastion"
    if abs(off) > most:
        return [about.warn("clock", f"{off:+.1f} s against the bastion's; bounds.max_clock_skew is {most:g} s", remedy)]
    if view.synchronised is False:
        return [about.warn("clock", f"{off:+.1f} s against the bastion's, and not synchronised", remedy)]
    return [about.ok("clock", f"{off:+.1f} s against the bastion's")]


def _room(about: About, view: HostView) -> list[Check]:
    found, written = [], [below(view, path) for path in WRITTEN]
    for disk in view.disks:
        if disk.read_only and disk not in written:
            continue  # the root of an image-based system, which nobody writes
        free = f"{mib(disk.free)} of {mib(disk.total)} free at {disk.path}"
        if disk.read_only:
            found.append(about.fail("room", f"{disk.path} is mounted read-only", "see dmesg there, and remount it"))
        elif disk.free < ROOM:
            found.append(about.warn("room", free, f"make {mib(ROOM)} free there"))
    least = min((d for d in view.disks if not d.read_only), key=lambda d: d.free, default=None)
    if found or least is None:
        return found or [about.warn("room", "the machine did not tell how full its disks are", "see that df works")]
    return [about.ok("room", f"{mib(least.free)} free at {least.path}, where it is least")]


async def _tunnel(pool: HostPool, about: About) -> list[Check]:
    """Whether sshd opens a channel to where etcd listens; the pool says why not only of a channel that failed."""
    at = pool.places_of(about.node).etcd
    try:
        async with pool.tunnel(about.node, at.port, to=at.host, timeout=LOOK_SECONDS):
            raise _Probe
    except _Probe:
        return [about.ok("tunnel", f"sshd lets {at} be reached through it")]
    except HostUnseen as unseen:
        if unseen.unseen.kind is UnseenKind.DENIED:
            remedy = "Match User there, with AllowTcpForwarding local and PermitOpen 127.0.0.1:2379 127.0.0.1:2381"
            return [about.fail("tunnel", unseen.unseen.reason, remedy)]
        if unseen.unseen.kind is UnseenKind.REFUSED:
            return []  # it let the question through; the next check tells that nothing listens
        return [about.fail("tunnel", unseen.unseen.reason)]


class _Probe(Exception):  # noqa: N818
    """Makes the pool look whether the other end can be reached."""


async def _etcd(pool: HostPool, about: About, view: HostView | None, members: list[EtcdView]) -> list[Check]:
    if view and not view.joined:
        return [about.warn("etcd", "not asked: the machine has not joined the cluster yet")]
    try:
        member = await EtcdClient(pool, about.node).view(timeout=LOOK_SECONDS)
    except EtcdUnseen as unseen:
        remedy = "recoverd reads it with /etc/kubernetes/pki/etcd/healthcheck-client.*, as kubeadm's own probe does"
        return [about.fail("etcd", unseen.unseen.reason, remedy)]
    members.append(member)
    found = _member(about, member)
    need = 3 * member.db_size + OWN
    data = next((d for d in view.disks if d.path.startswith("/var/lib/etcd")), None) if view else None
    if data and data.free < need:
        detail = f"{mib(data.free)} free at {data.path}, and putting a snapshot back needs {mib(need)}"
        found.append(about.warn("etcd room", detail, "make room there"))
    return found


async def etcd_outside(pool: HostPool, about: About, etcd: OutsideEtcd) -> list[Check]:
    """Whether recoverd would see that the data of an etcd elsewhere went back: each server, asked from this machine."""
    what, hands = "etcd elsewhere", "recoverd takes no restore points of it and repairs nothing there"
    found = []
    for server in etcd.servers:
        try:
            view = await OutsideClient(pool, about.node, server, etcd).view(timeout=LOOK_SECONDS / len(etcd.servers))
        except EtcdUnseen as unseen:
            remedy = (
                f"permit {server} in sshd (PermitOpen, or permitopen in authorized_keys): else it is not seen that its "
                "data went back"
            )
            found.append(about.warn(what, unseen.unseen.reason, remedy))
        else:
            found.append(about.ok(what, f"{server} answers, {view.version}, revision {view.revision}; {hands}"))
    return found


def _member(about: About, member: EtcdView) -> list[Check]:
    size = mib(member.db_size)
    if not member.healthy:
        return [
            about.fail("etcd", f"{member.version} answers and is not healthy: {member.health_reason or 'no leader'}")
        ]
    if member.learner:
        remedy = "once nobody joins it any more, promote-member gives it its vote"
        return [about.warn("etcd", f"{member.version} serves as a learner, which has no vote", remedy)]
    if member.quota and member.db_size > 0.8 * member.quota:
        detail = f"{size} of {mib(member.quota)} are used"
        return [about.warn("etcd", detail, "compact and defragment it (free-etcd-space)")]
    return [about.ok("etcd", f"{member.version} is healthy: {len(member.members)} members, {size}")]
