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
        if disk.read_only:
            continue  # it does not fill; that of an image-based system has no byte free from the first day
        if disk.total > 0 and (disk.free < 0.1 * disk.total or disk.free < 1 << 30):
            left = f"{disk.free / (1 << 30):.1f} GiB free of {disk.total / (1 << 30):.1f}"
        elif disk.inodes is not None and disk.inodes < FEW:
            left = f"{disk.inodes} inodes left, for so many files more"
        else:
            continue
        yield Finding(
            Code.DISK_LOW,
            f"{name}:{disk.path}",
            f"{disk.path} on {name} has {left}.",
            (line(name, disk),),
            severity=Severity.NOTICE,
        )


def _stops_etcd(name: str, host: HostView, stopped: str) -> Iterator[Finding]:
    disk = below_etcd(host)
    if disk is None:
        return
    code, proof = Code.DISK_FULL, tuple[str, ...]()
    if disk.read_only:
        code = Code.FILE_SYSTEM_READ_ONLY
        what = "is mounted read-only, as after an error of its disk, and etcd cannot run on it"
        cure = "see `dmesg` for the disk's errors, check the file system, `mount -o remount,rw` it"
    elif disk.inodes == 0:
        what = "has room and no inode left: no file can be made on it, and etcd cannot run on it"
        cure = (
            f"`df -i`, then see which directory holds the many files (`du --inodes -x {disk.path} | sort -n | tail`) "
            "and delete what is left over there"
        )
    elif disk.total > 0 and disk.free < SEGMENT:
        what = "is full, and etcd cannot run on it"
        cure = "free space, rotated logs first, and nothing below member/"
        proof = host.largest
    else:
        return
    held = host.etcd_data.path if host.etcd_data else "etcd's data"
    largest = f" The largest files: {', '.join(proof[:3])}." if proof else ""
    yield Finding(
        code,
        f"{name}:{disk.path}",
        f"{disk.path} on {name}, which holds {held}, {what}. Nothing is wrong with the member.{largest} Cure: {cure}. "
        f"{THEN}.",
        (line(name, disk), stopped, *(f"{name}: {line}" for line in proof)),
        state=State.ETCD_STUCK,
        facts=Facts(name),
    )


def cured(host: HostView) -> bool:
    """The disk that holds etcd's data was seen with room, and can be written."""
    disk = below_etcd(host)
    return disk is not None and not disk.read_only and disk.free >= SEGMENT and disk.inodes != 0


def below_etcd(host: HostView) -> DiskView | None:
    """The disk that holds etcd's data."""
    return below(host, host.etcd_data.path if host.etcd_data else "/var/lib/etcd")


def below(host: HostView, path: str) -> DiskView | None:
    """The disk that holds what is at the path: that of the longest mount point above it; None where none was seen."""
    above = [d for d in host.disks if PurePosixPath(path).is_relative_to(d.path)]
    return max(above, key=lambda d: len(d.path), default=None)


def line(name: str, disk: DiskView) -> str:
    """How much is left of it, as a line of evidence."""
    files = "" if disk.inodes is None else f", {disk.inodes} inodes free"
    how = f"{files}{', read-only' if disk.read_only else ''}"
    return f"{name}:{disk.path}: {disk.free} of {disk.total} bytes free ({disk.free / max(disk.total, 1):.0%}){how}"
