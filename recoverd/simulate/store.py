"""What an etcd member has on its disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from recoverd.model.etcd import MemberEntry, PrefixUse

SMALL = 10 << 20
PAGES = "panic: invalid page type: 23: 0"
"""The last words of an etcd whose database has overwritten pages."""
BEHIND = (
    "panic: recovering backend from snapshot error: failed to find database snapshot file (snap: snapshot file doesn't "
    "exist)"
)
"""Those of one whose database is older than the snapshot that its log begins with (seen on 3.4.23)."""


@dataclass(frozen=True, slots=True)
class Store:
    """The data directory of one member. `history` tells apart data that were once the same:
    `--force-new-cluster` begins a new one.
    """

    cluster_id: str
    member_id: str
    members: tuple[MemberEntry, ...]
    revision: int
    term: int
    """Of the newest entry of its log."""
    history: str = ""
    uid: str = ""
    """Of the namespace kube-system; "" before an API server has made it."""
    nodes: tuple[str, ...] = ()
    pods: Mapping[str, str] = field(default_factory=dict)
    """Pod objects: uid to node."""
    ready: Mapping[str, str] = field(default_factory=dict)
    """Uid to IP:PORT of the pods that their kubelet has called ready."""
    endpoints: frozenset[str] = frozenset()
    """Of the one service; kube-controller-manager makes them of `ready`."""
    cordons: Mapping[str, str] = field(default_factory=dict)
    """Unschedulable nodes, with recoverd's mark or "" for somebody else's cordon."""
    budget: int = 0
    """How many ready pods the PodDisruptionBudget `web` asks for, of all."""
    compacted: int = 0
    """Whoever has followed an older revision is told that it is gone, and lists anew."""
    corrupt: str = ""
    """What an etcd says last that is started on it, where its files are damaged: this member's own affair, which is not
    replicated. "" where they are whole.
    """
    in_use: int = SMALL
    """Bytes of its database that are no free pages."""
    live: int = SMALL
    """Bytes of those that are of the newest revision of the objects."""
    alarms: tuple[str, ...] = ()
    """Ids of the members that have raised NOSPACE."""
    differs: bool = False
    """The CORRUPT alarm is up and names no member."""
    misled: bool = False
    """kube-proxy's ConfigMap names an API server that is gone."""
    began: int = 0
    """The revision with which its raft log begins: that of the snapshot that was restored."""

    @property
    def healthy(self) -> int:
        """Pods that are there and ready, as a budget counts them."""
        return sum(uid in self.pods for uid in self.ready)

    @property
    def voters(self) -> frozenset[str]:
        return frozenset(m.id for m in self.members if not m.learner)

    def member(self, member_id: str) -> MemberEntry | None:
        return next((m for m in self.members if m.id == member_id), None)

    def same_cluster(self, other: Store) -> bool:
        return self.cluster_id == other.cluster_id and self.history == other.history

    @property
    def index(self) -> int:
        """Of the newest committed entry of its log."""
        return len(self.members) + max(0, self.revision - self.began)

    @property
    def keys(self) -> int:
        return len(self.nodes) + len(self.pods)

    def seen_by(self, member_id: str) -> Store:
        """The same data at another member."""
        return (
            self
            if member_id == self.member_id and not self.corrupt
            else self._copy(member_id, self.revision, corrupt="")
        )

    def at_revision(self, revision: int) -> Store:
        return self._copy(self.member_id, revision, corrupt=self.corrupt)

    def _copy(self, member_id: str, revision: int, *, corrupt: str) -> Store:
        """As `dataclasses.replace` makes it, in a fraction of the time: every tick makes one for each member."""
        return Store(
            self.cluster_id, member_id, self.members, revision, self.term, self.history, self.uid, self.nodes,
            self.pods, self.ready,
            self.endpoints, self.cordons, self.budget, self.compacted, corrupt, self.in_use, self.live, self.alarms,
            self.differs, self.misled, self.began,
        )  # fmt: skip


def peer_url(address: str) -> str:
    return f"https://{address}:2380"


def client_url(address: str) -> str:
    return f"https://{address}:2379"


def id_of(text: str) -> str:
    """etcd makes ids of peer URLs, so a member begun anew on the same machine has its old id (and a
    one-member cluster its old cluster id).
    """
    return f"{int(hashlib.sha256(text.encode()).hexdigest()[:16], 16):x}"


def fresh(name: str, address: str, nodes: tuple[str, ...] = (), pods: Mapping[str, str] | None = None) -> Store:
    """What `--initial-cluster-state new` begins with, alone."""
    url = peer_url(address)
    row = MemberEntry(id_of(url), name, (url,), (client_url(address),))
    return Store(id_of(f"cluster {url}"), row.id, (row,), 1, 1, nodes=nodes, pods=pods or {})


def founded(named: Mapping[str, str], member_id: str) -> Store:
    """What one of several, names and addresses, begins with whom `--initial-cluster` names. Their ids, and that of the
    cluster, are made of their addresses: begun anew they are those that were.
    """
    name, address = next(iter(named.items()))
    made = replace(fresh(name, address), history=f"begun anew on {'+'.join(named)}")
    if len(named) == 1:
        return made
    rows = tuple(MemberEntry(id_of(url), "", (url,), ()) for url in map(peer_url, named.values()))
    return replace(made, members=rows, member_id=member_id)


def prefixes(store: Store) -> tuple[PrefixUse, ...]:
    """What a member that has reached its quota says takes its space."""
    events = store.live - SMALL // 2
    return (
        PrefixUse("/registry/events/", events >> 10, events),
        PrefixUse("/registry/pods/", len(store.pods), SMALL // 2),
    )


def named(row: MemberEntry, name: str, address: str) -> MemberEntry:
    """The row of a member that has started."""
    return replace(row, name=name, client_urls=(client_url(address),))
