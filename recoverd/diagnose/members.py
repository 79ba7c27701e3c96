"""Which etcd members form the cluster, by their own words: the reference member list, and
those that stand outside of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

from recoverd.model.etcd import EtcdView, MemberEntry, quorum_of
from recoverd.model.memory import Watermark
from recoverd.model.settings import ClusterSettings


def peer_address(entry: MemberEntry) -> str:
    """The host part of the first peer URL, or the member's id where there is none that can be read."""
    for url in entry.peer_urls:
        try:
            if host := urlsplit(url).hostname:
                return host
        except ValueError:
            continue
    return entry.id


def _weight(host: str, view: EtcdView) -> tuple[bool, bool, int, int, str]:
    """Whose member list is believed, the greatest one's: a learner has none of its own."""
    return not view.learner, view.has_leader, view.raft_term, view.revision, host


class Membership:
    """The member list that is believed, and who of the seen members belongs to it."""

    def __init__(self, views: Mapping[str, EtcdView], watermark: Watermark | None, settings: ClusterSettings) -> None:
        self._views = views
        self._settings = settings
        self.cluster_id = self._choose_cluster(watermark)
        same = {n: v for n, v in views.items() if v.cluster_id == self.cluster_id}
        self.strangers: dict[str, str] = {
            n: f"cluster id {v.cluster_id}, not {self.cluster_id}" for n, v in views.items() if n not in same
        }
        """Members that serve another cluster, and by what that is proven."""
        main = self._believe_one_leader(self._one_machine_each(same, watermark), watermark)
        told = {n: v for n, v in main.items() if v.members}
        self.source = max(told, key=lambda n: _weight(n, told[n]), default="")
        """The host whose member list is believed."""
        self.entries: tuple[MemberEntry, ...] = main[self.source].members if self.source else ()
        ids = {e.id for e in self.entries}
        self.camp = {n: v for n, v in main.items() if v.member_id in ids}
        """Seen members that the list holds, by host."""
        self.outsiders = tuple(n for n in main if n not in self.camp)
        """Seen members of the same cluster that the list does not hold: removed ones."""

    @property
    def known(self) -> bool:
        return bool(self.entries)

    @property
    def voters(self) -> tuple[MemberEntry, ...]:
        return tuple(e for e in self.entries if not e.learner)

    @property
    def electorate(self) -> dict[str, EtcdView]:
        """Seen members that have a vote, by host."""
        return {n: v for n, v in self.camp.items() if not v.learner}

    @property
    def needed(self) -> int:
        """Voters that must be alive: more than half of all that are listed, started or not (etcd's rule)."""
        return quorum_of(len(self.voters))

    @property
    def leader(self) -> str:
        """Member id of the leader that a seen member of the camp knows, or ""."""
        return next((v.leader for v in self.camp.values() if v.has_leader), "")

    @property
    def lead(self) -> EtcdView | None:
        """What the leader itself says, where it is seen. A follower may lag behind; the
        leader's own word is the history.
        """
        return next((v for v in self.camp.values() if v.member_id == self.leader), None)

    @property
    def revision(self) -> int:
        """The furthest that a member of the camp has come; 0 where none is seen."""
        return max((v.revision for v in self.camp.values()), default=0)

    def host_of(self, entry: MemberEntry) -> str | None:
        """Configured name of the machine that a member runs on."""
        for name, view in self.camp.items():
            if view.member_id == entry.id:
                return name
        host = self._settings.host_at(peer_address(entry))
        if host is not None:
            return host.name
        return next((h.name for h in self._settings.control_planes if entry.name and h.name == entry.name), None)

    def entry_of(self, host: str) -> MemberEntry | None:
        """The list's row of a machine; the started one where a stale row is left beside it."""
        rows = [e for e in self.entries if self.host_of(e) == host]
        return max(
            rows, key=lambda e: (host in self.camp and e.id == self.camp[host].member_id, e.started), default=None
        )

    def label(self, entry: MemberEntry) -> str:
        return self.host_of(entry) or entry.name or peer_address(entry)

    def _choose_cluster(self, watermark: Watermark | None) -> str:
        counts = Counter(v.cluster_id for v in self._views.values())
        if watermark and watermark.cluster_id in counts:
            return watermark.cluster_id
        best: dict[str, int] = {}
        for view in self._views.values():
            best[view.cluster_id] = max(best.get(view.cluster_id, 0), view.revision)
        return max(counts, key=lambda c: (counts[c], best[c], c), default="")

    def _one_machine_each(self, same: dict[str, EtcdView], watermark: Watermark | None) -> dict[str, EtcdView]:
        """Take out those that are a member which another machine is as well: no cluster has one twice, so each is one
        of its own. `etcdctl snapshot restore` without a name gives every machine the same member and cluster id
        (kubernetes/kubeadm #2641; seen with 3.4.23). Who was that member while all was well stays it; else nobody is
        believed, since nothing but a person says which history is right.
        """
        machines: dict[str, list[str]] = {}
        for name, view in same.items():
            if not view.remembered:
                machines.setdefault(view.member_id, []).append(name)
        for member, names in machines.items():
            known = watermark.members.get(member) if watermark and watermark.cluster_id == self.cluster_id else None
            for name in names if len(names) > 1 else ():
                if name != known:
                    others = " and ".join(n for n in names if n != name)
                    self.strangers[name] = (
                        f"it is the member {member}, and so is etcd on {others}: each was made by itself, as by a "
                        "snapshot that was restored on each"
                    )
        return {n: v for n, v in same.items() if n not in self.strangers}

    def _believe_one_leader(self, same: dict[str, EtcdView], watermark: Watermark | None) -> dict[str, EtcdView]:
        """Take out those that follow a leader which the others do not list (split brain). Two leaders that
        both sides list are an election.

        A cluster that was made by force keeps its id: the side that lists the members that were seen last, while all
        was well, is the one that went on, however many come back with the data of before.
        """
        last = set(watermark.members) if watermark else set()
        groups: dict[str, dict[str, EtcdView]] = {}
        for name, view in same.items():
            if view.has_leader and not view.learner:  # what that says is another's word
                groups.setdefault(view.leader, {})[name] = view
        if len(groups) < 2:
            return same

        def weight(leader: str) -> tuple[bool, int, int, int, str]:
            views = groups[leader].values()
            went_on = any({e.id for e in v.members} == last for v in views)
            return (went_on, len(views), max(len(v.voters) for v in views), max(v.revision for v in views), leader)

        chosen = max(groups, key=weight)
        listed = {e.id for v in groups[chosen].values() for e in v.members}
        for name, view in same.items():
            if not view.has_leader or view.leader == chosen:
                continue
            lists = {chosen} if view.learner else {e.id for e in view.members}
            if view.leader not in listed or chosen not in lists:
                self.strangers[name] = (
                    f"it follows the leader {view.leader}, the others follow {chosen}, and the two lists do not agree"
                )
        return {n: v for n, v in same.items() if n not in self.strangers}
