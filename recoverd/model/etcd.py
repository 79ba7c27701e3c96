"""One etcd member as it describes itself, and what is asked of several: quorum, and who is
accused of being corrupt. Data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

FORCE = "--force-new-cluster"
"""The flag of etcd that keeps the data of one member and throws every other member out
(etcd's disaster recovery guide).
"""


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """One row of etcd's member list. An unstarted member has no name and no client URLs (seen on etcd 3.4 and 3.5)."""

    id: str
    """Hexadecimal, as etcdctl prints it."""
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...] = ()
    learner: bool = False

    @property
    def started(self) -> bool:
        return bool(self.name)


@dataclass(frozen=True, slots=True)
class AlarmEntry:
    member_id: str
    """`WHOLE` where it names none."""
    alarm: str
    """`NOSPACE` or `CORRUPT`."""


@dataclass(frozen=True, slots=True)
class PrefixUse:
    """What lies under one prefix of etcd's keys, as `/registry/events/`."""

    prefix: str
    keys: int
    size: int
    """Bytes of the keys and of their newest values, by the size of the first and last few of them: an estimate."""


@dataclass(frozen=True, slots=True)
class DiskTimes:
    """How long a member's disk took to write through, between two readings of its metrics."""

    SLOW: ClassVar[float] = 0.064
    """Seconds: a bound of etcd's own buckets, some six times what its documentation calls the limit of a good disk."""
    seconds: float
    """Between the two."""
    count: int
    """How often it was asked to."""
    p99: float
    """Seconds that 99 of 100 took at the most."""
    slow: int
    """How many took longer than `SLOW`."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """What a member's data come to (etcd's HashKV) at a revision for which all members were asked."""

    revision: int
    compacted: int
    """Up to which it has dropped its history. Only hashes of the same revisions can be compared."""
    value: int


@dataclass(frozen=True, slots=True)
class EtcdView:
    """One etcd member as it describes itself (JSON gateway over an SSH tunnel, and its metrics port)."""

    member_id: str
    cluster_id: str
    version: str
    revision: int
    raft_term: int
    leader: str
    """Member id of the leader in hexadecimal, "" when this member knows of none."""
    learner: bool
    healthy: bool
    """/health answered true."""
    health_reason: str
    members: tuple[MemberEntry, ...]
    """The member list, read without quorum. A learner tells none: it has that of a voter of its cluster which was seen
    in the same sweep, and none where there is no such voter.
    """
    db_size: int
    db_in_use: int
    quota: int
    """Backend quota in bytes; 0 where it could not be learnt."""
    alarms: tuple[AlarmEntry, ...] = ()
    nodes: int | None = None
    """Keys under /registry/minions/, a serializable count, None where it was not answered."""
    pods: int | None = None
    """Keys under /registry/pods/."""
    uid: str | None = None
    """UID of the namespace kube-system in this member's data, by which one Kubernetes cluster is told from another; ""
    where there is none, None where that was not answered or is encrypted.
    """
    remembered: str = ""
    """Why this is what the member said before and not what it says now (`recoverd.memory.recall`); ""
    for what was seen in this sweep.
    """
    seen_at: datetime | None = None
    """When it said this, set for what is kept of it."""
    of_data: str = ""
    """`EtcdDataView.identity` of the data that it spoke of, set for what is kept of it; "" where it was not known."""
    ended: bool = False
    """Its process has ended itself since and was not seen to stay up, set for what is kept of it: it says nothing."""
    fsync: DiskTimes | None = None
    """Of its log; None where its metrics were not read twice yet."""
    commit: DiskTimes | None = None
    """Of its database."""
    prefixes: tuple[PrefixUse, ...] = ()
    """What its space is taken by, the biggest first; read only while the NOSPACE alarm is up, and
    empty where that was not answered.
    """
    hashed: Hashed | None = None
    """Asked only while a CORRUPT alarm is up that names no member; None where that was not answered."""
    raft_index: int = 0
    """Of the newest committed entry of its log; 0 where that was not answered. A restored snapshot begins a new log, of
    which each member is an entry (etcd's `etcdutl snapshot restore`; seen on 3.4.23 and 3.5.16).
    """

    @property
    def full(self) -> bool:
        """Some member has reached its quota: each tells the alarms of all."""
        return any(a.alarm == "NOSPACE" for a in self.alarms)

    @property
    def has_leader(self) -> bool:
        return bool(self.leader)

    @property
    def voters(self) -> tuple[MemberEntry, ...]:
        return tuple(m for m in self.members if not m.learner)

    @property
    def quorum(self) -> int:
        """Voters that must be alive, of those that it lists, started or not."""
        return quorum_of(len(self.voters))


def quorum_of(voters: int) -> int:
    """How many of so many voters must be alive: more than half of them (etcd's rule),
    whether they have started or not.
    """
    return voters // 2 + 1


def mib(size: float) -> str:
    """Bytes in words, as the operator reads of databases and quotas."""
    return f"{size / 1048576:.0f} MiB"


WHOLE = "0"
"""The member id of an alarm that names no member: the data of the members differ, and etcd cannot tell whose are wrong.
From 3.4.23 and 3.5.7 on (etcd's changelogs: "Remove memberID from data corrupt alarm"; seen on 3.4.23).
"""


def differ(views: Iterable[EtcdView]) -> bool:
    """Whether the CORRUPT alarm that names no member is up, as any member tells it."""
    return any(a.alarm == "CORRUPT" and a.member_id == WHOLE for v in views for a in v.alarms)


def outvoted(views: Iterable[EtcdView]) -> frozenset[str]:
    """Ids of the members whose data are not those of a majority of the voters, while that alarm is up: what etcd's own
    check goes by where it can name a member (etcd's server/etcdserver/corrupt.go, CompactHashCheck, from 3.5.5 on).
    """
    seen = [v for v in views if not v.remembered]
    if not differ(seen):
        return frozenset()
    voters = {m.id for v in seen for m in v.voters}
    of: dict[Hashed, set[str]] = {}
    for view in seen:
        if view.hashed is not None and view.member_id in voters:
            of.setdefault(view.hashed, set()).add(view.member_id)
    right = next((h for h, ids in of.items() if len(ids) >= quorum_of(len(voters))), None)
    if right is None:
        return frozenset()
    same = [h for h in of if h != right and (h.revision, h.compacted) == (right.revision, right.compacted)]
    return frozenset(id for h in same for id in of[h])


def accused_alone(views: Iterable[EtcdView]) -> frozenset[str]:
    """Ids of the members against which etcd has raised the CORRUPT alarm by name, as any member tells it, or that are
    outvoted where it names none.
    """
    seen = tuple(views)
    named = frozenset(a.member_id for v in seen for a in v.alarms if a.alarm == "CORRUPT") - {WHOLE}
    return named | outvoted(seen)


def accused(views: Iterable[EtcdView]) -> frozenset[str]:
    """Ids of the members that must be the source of nothing: those of the CORRUPT alarm, and all that there are where
    it names none and the members' hashes do not tell, either.
    """
    seen = tuple(views)
    if not differ(seen) or outvoted(seen):
        return accused_alone(seen)
    return frozenset(id for v in seen for id in (v.member_id, *(m.id for m in v.members)))
