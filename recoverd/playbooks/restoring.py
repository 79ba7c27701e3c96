"""What a restore from a restore point is made of: its members, its names on the hosts, and
what it destroys, in words. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from recoverd.diagnose.loss import only_its_log, unaccounted
from recoverd.model.finding import FindingKey
from recoverd.model.operations import HELD
from recoverd.model.points import RestorePoint
from recoverd.model.text import some, utc
from recoverd.playbooks.base import Situation

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
    kept: str
    """`Situation.kept`: a plan that is made again after one that failed finds other
    things in place than that one did.
    """
    requires: tuple[FindingKey, ...]
    """What must be found still while the API servers are stopped; nothing when a person asked for it."""

    @property
    def name(self) -> str:
        """What it puts into the names of all that it keeps aside and writes."""
        return f"{self.kept}-{self.stamp}"

    @property
    def asked(self) -> bool:
        """A person said that the data is wrong."""
        return not self.requires

    @property
    def cluster(self) -> str:
        return ",".join(f"{m.name}={m.peer_url}" for m in self.members)

    @property
    def token(self) -> str:
        """The token of the new cluster. What an earlier attempt at another point, bump or list of members has left
        is never taken for this one's.
        """
        made_of = hashlib.sha256(f"{self.point.sha256} {self.bump} {self.cluster}".encode()).hexdigest()
        return f"recoverd-{self.incident}-{self.stamp}-{made_of[:12]}"


def held(restore: Restore) -> str:
    return f"{HELD}/{restore.name}"


def aside(restore: Restore, member: Member) -> str:
    return f"{member.data}/member.{restore.name}"


def database(member: Member) -> str:
    return f"{member.data}/member/snap/db"


def chosen(restore: Restore, situation: Situation) -> Iterator[str]:
    point = restore.point
    count = len(situation.memory.points)
    if situation.point:
        how = "as asked for" + ("" if point.verified else "; it was not verified by restoring it")
    else:
        verified = "the newest that was verified by restoring it"
        how = verified if point.verified else "the newest, whose hash was good; none has been verified by restoring it"
    yield (
        f"chosen: {point.id}, {how} ({count} known); {point.how_verified}; sha256 {point.sha256[:12]}, "
        f"{point.size} bytes, from {point.host}"
    )
    if point in situation.memory.strangers:
        yield (
            f"IT IS OF ANOTHER KUBERNETES CLUSTER: the UID of the namespace kube-system is {point.uid} in it, and "
            "another in the cluster that was seen here last"
        )
    elif restore.old_cluster and point.cluster_id != restore.old_cluster:
        yield f"it is of the cluster {point.cluster_id}, and the one that was lost is {restore.old_cluster}"
    if empty := {f"{m.host}:{m.data}" for m in restore.members if m.empty}:
        yield (
            "look before you approve: a disk that is not mounted looks like data that is gone (`findmnt -T` of "
            f"{', '.join(sorted(empty))})"
        )
    if restore.bump:
        yield (
            f"revisions go on at {point.revision + restore.bump}, beyond every one that was handed out, and "
            "older ones count as compacted"
        )
    else:
        yield (
            "an etcdctl here does not know --bump-revision, so revisions go back, and whatever watches the API "
            "on the nodes is restarted"
        )


def destroys(restore: Restore, situation: Situation) -> Iterator[str]:
    """What is lost, as far as recoverd knows it."""
    yield from _since(restore.point, situation)
    for member in restore.members:
        if not member.empty and only_its_log(situation.scene, member.host):
            yield (
                f"WHAT THE DATABASE OF {member.host} HOLDS: by etcd's own words only its log is damaged, and "
                f"{database(member)} may be whole, and "
                "newer than the point. It is kept aside. To look first: copy it away, and restore the copy "
                "elsewhere with `etcdutl snapshot "
                "restore --skip-hash-check`"
            )
    for name in unaccounted(situation.scene):
        yield (
            f"the member {name}, as on a machine that is gone for good: it must never be started again with its old "
            "data. After `kubeadm reset -f` "
            "there it is joined anew by recoverctl join-control-plane"
        )
    if restore.asked:
        yield (
            "the data that is there now, and every API server's answers while the plan runs; the data "
            "is kept aside on every host"
        )
        return
    for member in restore.members:
        if (view := situation.etcd(member.host)) is not None:
            yield (
                f"what was written to the empty cluster that {member.host} has begun (revision "
                f"{view.revision}); it is kept aside"
            )


def _since(point: RestorePoint, situation: Situation) -> Iterator[str]:
    """What was written after the point was taken, by revisions and by the objects that recoverd saw."""
    watermark = situation.memory.watermark
    if watermark is None:
        yield f"everything written since {taken_at(point)}, when the restore point was taken"
    else:
        span = max(0.0, watermark.at.timestamp() - point.taken_at)
        writes = (
            f"{max(0, watermark.revision - point.revision)} revisions"
            if watermark.cluster_id == point.cluster_id
            else "an unknown number of revisions"
        )
        yield (
            f"everything written between {taken_at(point)}, when the point was taken, and the end: at least "
            f"{_length(span)} and {writes} "
            f"(last seen: revision {watermark.revision} at {utc(watermark.at)})"
        )
    taken = datetime.fromtimestamp(point.taken_at, UTC)
    new = [c for c in situation.memory.newest if c.at > taken]
    if new:
        yield (
            "objects that were created since, as far as recoverd saw them: "
            f"{some([f'{c.kind} {c.name}' for c in new], SHOWN)}"
        )
        yield "pods among them that run still are ended when their kubelet hears of the restored data"


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def taken_at(point: RestorePoint) -> str:
    return utc(datetime.fromtimestamp(point.taken_at, UTC))
