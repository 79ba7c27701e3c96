"""What is kept of a surviving etcd member before it is forced: a copy of its directory, or a snapshot. Pure.

The copy is the ordinary way, since it asks nothing of etcd. kubelet's probe ends an etcd without a leader after some
80 s, and one that was started without quorum answers no client until there is a leader, so serves no snapshot
(observed on 3.4.23 with kubeadm 1.20: quorum was lost, the probe ended etcd 75 s later, the approval came 3 s after
that, and no snapshot could be fetched any more). A plan that depends on whether etcd serves just now is void when it
is approved, or another one at every turn of the probe. The copy stays on the machine itself; what is on the bastion is
the newest restore point, which the plan names.
"""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.diagnose.disks import SEGMENT, below_etcd
from recoverd.model.bastion_operations import FetchSnapshot
from recoverd.model.etcd import EtcdView, mib
from recoverd.model.finding import FindingKey
from recoverd.model.observation import DiskView, ManifestView
from recoverd.model.operations import HELD, CopyPath, MovePath
from recoverd.model.plan import Step
from recoverd.model.unit_operations import AwaitContainerGone
from recoverd.playbooks.base import Refusal, Situation
from recoverd.playbooks.etcd_manifest import log_apart
from recoverd.playbooks.sizes import sized

SEGMENTS = 6
"""Files of its log that etcd has at the most: the five that it keeps (`--max-wals`), and the next, made beforehand."""
RESERVE = 64 << 20
"""Bytes that stay free beside a copy: `copy_path` refuses one that leaves less."""
LABEL = "before-force-new-cluster"


@dataclass(frozen=True, slots=True)
class SafetyCopy:
    """The steps that make it, which come before anything that cannot be taken back."""

    steps: tuple[Step, ...]
    way_back: str
    """What it is and where, in words."""
    aside: bool
    """etcd's manifest is out of kubelet's sight by then, and etcd does not run."""


def safety_copy(
    name: str,
    view: EtcdView,
    manifest: ManifestView,
    requires: tuple[FindingKey, ...],
    holds: str,
    situation: Situation,
) -> SafetyCopy | Refusal:
    """A copy of the member's directory; a snapshot where that has to be looked through for the text `holds` ("" where
    not), or where the disk may have no room for a second copy and the member serves one.

    A restore point never takes its place: that is taken from a healthy member with a leader, and without quorum there
    is none.
    """
    disk = _disk(name, situation)
    if holds or (disk and _short(disk, view.db_size + SEGMENTS * SEGMENT) and not _restarted(name, view, situation)):
        return _fetched(name, view, requires, holds)
    if disk and _short(disk, view.db_size):
        return Refusal(
            f"no copy can be kept of the data of etcd on {name}, and without one it is not forced. {disk.path} there "
            f"has {mib(disk.free)} free{', and no inode' if disk.inodes == 0 else ''}; the copy takes at least "
            f"{mib(view.db_size + RESERVE)}. A snapshot cannot be had either: etcd was restarted without quorum and "
            "serves none. Make room there (rotated logs first, nothing below member/), and the plan is made by itself"
        )
    return _copied(name, view, manifest, requires, situation)


def _disk(name: str, situation: Situation) -> DiskView | None:
    host = situation.host(name)
    return below_etcd(host) if host else None


def _short(disk: DiskView, size: int) -> bool:
    return disk.free < size + RESERVE or disk.inodes == 0


def _restarted(name: str, view: EtcdView, situation: Situation) -> bool:
    """Whether it was since the fault began: then a snapshot can be had of it only while it happens to serve, as when a
    joining member's etcd gives it a leader for a moment (observed on a busy lab, every half minute).
    """
    host = situation.host(name)
    began = host.running_since("etcd") if host else None
    return bool(view.remembered) or bool(began and situation.fault_since and began > situation.fault_since)


def _fetched(name: str, view: EtcdView, requires: tuple[FindingKey, ...], holds: str) -> SafetyCopy:
    what = f"fetch an emergency snapshot from {name} (revision {view.revision}) and check its hash"
    step = sized(Step(name, what, FetchSnapshot(LABEL, holds), 180.0, requires), view.db_size)
    return SafetyCopy((step,), "the emergency snapshot, on the bastion,", aside=False)


def _copied(
    name: str, view: EtcdView, manifest: ManifestView, requires: tuple[FindingKey, ...], situation: Situation
) -> SafetyCopy:
    """With etcd stopped, so that the copy is whole."""
    host, incident = situation.host(name), situation.kept
    data = host.etcd_data.path if host and host.etcd_data else "/var/lib/etcd"
    # the revision is in the names, so that nothing of an earlier attempt is taken for this one's
    move = MovePath(manifest.path, f"{HELD}/{incident}/etcd-at-{view.revision}.yaml")
    copy = CopyPath(f"{data}/member", f"{data}/member.before-{incident}-at-{view.revision}")
    log, log_kept = log_apart(manifest.content, data), f"{copy.target}.wal"
    kept, of_log = f"copy of the data, {copy.target}", tuple[Step, ...]()
    if log:
        kept = f"copies of the data and the log, {copy.target} and {log_kept}"
        also = f"copy its log, which it keeps apart in {log}, to {log_kept}"
        of_log = (sized(Step(name, also, CopyPath(log, log_kept), 180.0, requires), SEGMENTS * SEGMENT),)
    stop = f"stop etcd on {name}, for a copy of its data (its probe restarts it, and then it serves no snapshot)"
    what = f"copy the data of etcd on {name} (revision {view.revision}) to {copy.target}"
    return SafetyCopy(
        (
            Step(name, f"{stop}: its manifest goes aside", move, 20.0, requires, undo=move.inverse()),
            Step(name, f"wait until no etcd runs on {name}", AwaitContainerGone("etcd", 60), 75.0, requires),
            sized(Step(name, what, copy, 180.0, requires), view.db_size),
            *of_log,
        ),
        f"the {kept} on {name} itself,",
        aside=True,
    )
