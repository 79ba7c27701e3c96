"""Restore points: what a cluster can be put back to, taken while it was healthy. When one is due, which
goes, and which is the best: pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

PKI_ASIDE = "/var/lib/recoverd/pki"
"""On each control plane: PKI_ASIDE/POINT-ID holds the private keys as they were: `pki/` (of /etc/kubernetes),
`*.conf`, `kubelet-pki/`. 0700.
"""
KEEP_LEAST = 3
"""The newest so many points stay whatever their age: the bastion's clock may be wrong."""
RETRY = 300.0
"""Seconds after a failure; doubled with each further one, up to the interval."""


@dataclass(frozen=True, slots=True)
class PointSettings:
    """Restore points of one cluster. Durations are seconds, sizes bytes."""

    interval: float = 0.0
    """From one to the next, while the cluster is healthy; 0: none on a schedule."""
    before_plans: bool = False
    """Every destructive plan begins with one, where a healthy member is there to take it from."""
    keep: int = 12
    keep_age: float = 7 * 86400.0
    min_free: int = 1 << 30
    """What stays free on the bastion's disk beside a point."""
    timeout: float = 600.0
    """For taking one, its verification included."""
    directory: str = "restore-points"
    """Below it one directory a cluster; relative to the state directory."""
    programs: str = ""
    """Where etcd and etcdutl (or etcdctl) are looked for before PATH."""
    keys_on_bastion: bool = False
    """Private keys are copied to the bastion too."""
    hook: str = ""
    """A program that is run after each point that no plan waits for; "" for none."""


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """One whole restore point: it is only made once its snapshot's hash was found good and everything
    was written through to the disk.
    """

    id: str
    """`CLUSTER-YYYYmmddTHHMMSSZ`."""
    taken_at: float
    """Unix seconds, by the bastion's clock."""
    why: str
    """`schedule`, `before PLAN-ID` or `asked`."""
    host: str
    """Name of the host whose member the snapshot is from."""
    path: str
    """The snapshot's file on the bastion."""
    sha256: str
    """Of the whole snapshot file, as sha256sum prints it."""
    size: int
    """Bytes of the snapshot."""
    cluster_id: str
    revision: int
    """Of the snapshot, as its restore or `snapshot status` said; else what the member said before it was
    fetched (`how_verified` tells).
    """
    keys: int
    """Living keys at that revision, as `etcdctl get "" --prefix --count-only` counts
    them; 0 where nobody could tell.
    """
    verified_at: float | None
    """When it was really restored into a scratch etcd and compared; None: never."""
    how_verified: str
    """In words: how, or why not."""
    directory: str
    """The point's directory on the bastion: snapshot.db, point.json, configmaps.yaml (kubeadm-config, kubelet-config),
    and one directory a control plane with files/ (manifests, kubelet's configuration, by their path) and
    certificates.json (digests and expiry).
    """
    sequence: int = 0
    """Orders the points, since the bastion's clock may go back."""
    lacks: tuple[str, ...] = ()
    """What could not be had, in words."""
    pod_files: tuple[str, ...] = ()
    """HOST:PATH SHA256 of files that static pods name, as their copies in its directory on the bastion hold them."""

    bastion: str = ""
    """Name of the bastion on whose disk it is, where several take over from each other and it is told; else ""."""
    uid: str = ""
    """UID of the namespace kube-system in it, by which one Kubernetes cluster is told from another; "" where it is not
    known, as of points that an earlier version took.
    """

    @property
    def verified(self) -> bool:
        return self.verified_at is not None


def best(points: Iterable[RestorePoint]) -> RestorePoint | None:
    """The newest verified point; without one the newest, whose hash was good. `points`: newest last."""
    every = list(points)
    return next((p for p in reversed(every) if p.verified), every[-1] if every else None)


def strangers(points: Iterable[RestorePoint], uid: str) -> list[RestorePoint]:
    """Those that are known to be of another cluster than the one with this UID, as one that was on these machines
    before, or had this name.
    """
    return [p for p in points if uid and p.uid and p.uid != uid]


def due(settings: PointSettings, now: datetime, attempted: datetime | None, failures: int) -> bool:
    """Whether the schedule wants one. `attempted`: when the last one was begun, by the bastion's clock,
    which may have gone back since.
    """
    if not settings.interval:
        return False
    wait = min(settings.interval, RETRY * 2 ** min(failures - 1, 16)) if failures else settings.interval
    return attempted is None or abs((now - attempted).total_seconds()) >= wait


def surplus(points: Sequence[RestorePoint], settings: PointSettings, now: float) -> list[RestorePoint]:
    """Those that may go: beyond the count, oldest first, and too old; never the newest verified one, nor the
    newest few for their age alone.
    """
    kept = best(points)
    by_count = points[: max(0, len(points) - settings.keep)]
    by_age = [p for p in points[: max(0, len(points) - KEEP_LEAST)] if now - p.taken_at > settings.keep_age]
    return [p for p in points if p is not kept and (p in by_count or p in by_age)]


def point_id(cluster: str, now: datetime, taken: Collection[str]) -> str:
    """An id that is not `taken`: two of one second, or of a second that came twice, get a suffix."""
    wanted = f"{cluster}-{now:%Y%m%dT%H%M%SZ}"
    return next(i for n in range(len(taken) + 1) if (i := f"{wanted}-{n}" if n else wanted) not in taken)
