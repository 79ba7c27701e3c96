"""Disks: nearly full as a notice; full or read-only as what keeps an etcd from running. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import DiskView, HostView

SEGMENT = 64 << 20
"""Bytes that etcd takes at once for a new file of its log (its wal.SegmentSizeBytes); without them it ends."""

FEW = 10000
"""Inodes: kubelet makes hundreds for a pod (kubernetes/kubernetes #105440)."""
THEN = (
    "etcd comes up by itself then, within the five minutes of kubelet's back-off; at once with "
    "`systemctl restart kubelet`"
)


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.addresses:
        if (host := scene.host(name)) is not None:
            yield from _low(name, host)
    for name in scene.parts:
        if (host := scene.host(name)) is not None and (stopped := scene.etcd_stopped(name)):
            yield from _stops_etcd(name, host, stopped)


def _low(name: str, host: HostView) -> Iterator[Finding]:
    for disk in host.disks:
        if disk.total > 0 and (disk.free < 0.1 * disk.total or disk.free < 1 << 30):
            yield Finding(
                Code.DISK_LOW,
                f"{name}:{disk.path}",
                f"{disk.path} on {name} has {disk.free / (1 << 30):.1f} GiB free of {disk.total / (1 << 30):.1f}.",
                (_line(name, disk),),
                severity=Severity.NOTICE,
            )
        elif disk.inodes is not None and disk.inodes < FEW:
            yield Finding(
                Code.DISK_LOW,
                f"{name}:{disk.path}",
                f"{disk.path} on {name} has {disk.inodes} inodes left, for so many files more.",
                (_line(name, disk),),
                severity=Severity.NOTICE,
            )


def _stops_etcd(name: str, host: HostView, stopped: str) -> Iterator[Finding]:
    disk = below_etcd(host)
    if disk is None:
        return
    held = host.etcd_data.path if host.etcd_data else "etcd's data"
    if disk.read_only:
        yield Finding(
            Code.FILE_SYSTEM_READ_ONLY,
            f"{name}:{disk.path}",
            f"{disk.path} on {name}, which holds {held}, is mounted read-only, as after an error of its disk, and etcd "
            "cannot run on it. Nothing is "
            "wrong with the member. Cure: see `dmesg` for the disk's errors, check the file system, `mount "
            f"-o remount,rw` it. {THEN}.",
            (_line(name, disk), stopped),
            state=State.ETCD_STUCK,
            facts=Facts(name),
        )
    elif disk.inodes == 0:
        yield Finding(
            Code.DISK_FULL,
            f"{name}:{disk.path}",
            f"{disk.path} on {name}, which holds {held}, has room and no inode left: no file can be made on it, and "
            f"etcd "
            "cannot run on it. Nothing is wrong with the member. Cure: `df -i`, then see which directory holds the "
            "many "
            f"files (`du --inodes -x {disk.path} | sort -n | tail`) and delete what is left over there. {THEN}.",
            (_line(name, disk), stopped),
            state=State.ETCD_STUCK,
            facts=Facts(name),
        )
    elif disk.total > 0 and disk.free < SEGMENT:
        largest = f" The largest files: {', '.join(host.largest[:3])}." if host.largest else ""
        yield Finding(
            Code.DISK_FULL,
            f"{name}:{disk.path}",
            f"{disk.path} on {name}, which holds {held}, is full, and etcd cannot run on it. Nothing is wrong with the "
            f"member.{largest} Cure: free "
            f"space, rotated logs first, and nothing below member/. {THEN}.",
            (_line(name, disk), stopped, *(f"{name}: {line}" for line in host.largest)),
            state=State.ETCD_STUCK,
            facts=Facts(name),
        )


def cured(host: HostView) -> bool:
    """The disk that holds etcd's data was seen with room, and can be written."""
    disk = below_etcd(host)
    return disk is not None and not disk.read_only and disk.free >= SEGMENT and disk.inodes != 0


def below_etcd(host: HostView) -> DiskView | None:
    """The disk that holds etcd's data: that of the longest mount point above them."""
    data = PurePosixPath(host.etcd_data.path if host.etcd_data else "/var/lib/etcd")
    above = [d for d in host.disks if data.is_relative_to(d.path)]
    return max(above, key=lambda d: len(d.path), default=None)


def _line(name: str, disk: DiskView) -> str:
    files = "" if disk.inodes is None else f", {disk.inodes} inodes free"
    how = f"{files}{', read-only' if disk.read_only else ''}"
    return f"{name}:{disk.path}: {disk.free} of {disk.total} bytes free ({disk.free / max(disk.total, 1):.0%}){how}"
