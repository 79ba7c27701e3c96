"""etcd members: starting, joining, elections by quorum, replication, membership, `--force-new-cluster`. The
rules are raft's; time is in ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from recoverd.model.etcd import FORCE, WHOLE, AlarmEntry, DiskTimes, EtcdView, Hashed, MemberEntry
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.simulate.hosts import Container, Machine
from recoverd.simulate.network import Network
from recoverd.simulate.pki import etcd_trouble
from recoverd.simulate.store import PAGES, SMALL, Store, founded, id_of, named, peer_url, prefixes
from recoverd.simulate.texts import ETCD_DIR, command_of, peers_in

BOOT = 0.5
"""From the start of its container until it listens: with kubelet's reaction and an election that
makes the 2.5 s that were observed.
"""
ELECTION = 0.5
LIVENESS, STARTUP = 80.0, 240.0
"""kubelet kills an etcd that has no leader: 8 (liveness) or, before it ever served, 24 (startup) failures of /health 10
s apart (kubeadm's manifest). So quorum lost for a minute and a half leaves a member that was restarted without a
leader: it listens and answers nothing (observed).
"""
QUOTA = 2 << 30
"""Bytes, etcd's own default."""
SLOW_DISK = DiskTimes(60.0, 55, 0.5, 31)
"""What a member says of fsyncs and commits on a disk that stalls for half a second again and again (observed with a
real etcd 3.4.23 whose files were); it serves, and keeps its leader.
"""
HASHES = "3.5.10"
"""The first version whose gateway leads to HashKV; of those that the model knows, as text."""
PANICS = 10.0
"""Seconds after a start with the flag in which a message of an old member that is still alive ends it
(observed: it panics or splits).
"""

Exit = Callable[[str, str], None]
"""(machine, last line): ends the etcd container there."""


@dataclass(slots=True)
class Process:
    """A running etcd. Its data are `machine.data[path]`."""

    machine: Machine
    container: Container
    path: str
    forced: bool
    leader: str = ""
    """Member id; "" when it knows none."""
    well: bool = False
    """Its /health has said true since it was started."""
    answers: bool = False
    """It had a leader since it was started; before that it listens and answers nothing (observed on 3.4)."""
    without_since: float = 0.0
    _open: Store = field(init=False)

    def __post_init__(self) -> None:
        self._open = self.machine.data[self.path]

    @property
    def store(self) -> Store:
        """What it holds open, though its directory was moved away or deleted."""
        self._open = self.machine.data.get(self.path, self._open)
        return self._open

    @store.setter
    def store(self, store: Store) -> None:
        self._open = store
        if self.path in self.machine.data:
            self.machine.data[self.path] = store

    @property
    def id(self) -> str:
        return self.store.member_id

    @property
    def leads(self) -> bool:
        return bool(self.leader) and self.leader == self.id

    @property
    def healthy(self) -> bool:
        """/health says true: not without a leader, nor while an alarm is up."""
        return bool(self.leader) and not self.store.alarms and not self.store.differs


class Etcd:
    """All etcd processes of the model."""

    def __init__(self, machines: Mapping[str, Machine], network: Network, leave: Exit, *, apart: bool = False) -> None:
        self._machines = machines
        self._network = network
        self._leave = leave
        self._apart = apart
        """These machines are its own, where systemd starts it and nobody probes it."""
        self._now = 0.0
        self.processes: dict[str, Process] = {}
        """By machine, those that listen."""
        self.files: dict[str, int] = {}
        """Bytes of the database's file, by machine: free pages stay in it until it is defragmented."""
        self.odd: set[str] = set()
        """Ids of the members whose data are silently others than their peers'."""
        self.version = "3.4.23"
        self.busy = True
        """Something writes: leases alone are some writes a second."""

    # --- what others ask ---

    def behind(self, plane: str) -> Process | None:
        """The member with a leader that the API server of a machine uses: that of the machine itself, or one of those
        that it reaches and that it and the member accept each other. A learner serves no API server, and no member
        does while the CORRUPT alarm is up.
        """
        for name in self._machines if self._apart else (plane,):
            process = self.processes.get(name)
            if process is None or not process.leader or process.store.differs or self._learner(process):
                continue
            if not self._apart or self._accepted(plane, process.machine):
                return process
        return None

    def _accepted(self, plane: str, server: Machine) -> bool:
        return self._network.routed(plane, server.name) and not etcd_trouble(server.papers, self._now)

    def leaders(self) -> list[Process]:
        """One for each live cluster: more than one is a split brain."""
        return [p for p in self.processes.values() if p.leads]

    def view(self, name: str) -> EtcdView | Unseen:
        """What the member says of itself to one who reaches its machine."""
        process = self.processes.get(name)
        if process is None:
            return Unseen(UnseenKind.REFUSED, f"etcd on {name} cannot be asked: connection refused on port 2379")
        if not process.answers:
            return Unseen(UnseenKind.TIMEOUT, f"etcd on {name} did not answer within 3 s")
        store, well = process.store, process.healthy
        why = "" if well else "/health says false"
        # while data differ, reads are refused: "etcdserver: corrupt cluster"
        reads = not store.differs
        nodes, pods, uid = (len(store.nodes), len(store.pods), store.uid) if reads else (None, None, None)
        alarms = tuple(AlarmEntry(member, "NOSPACE") for member in store.alarms)
        alarms += (AlarmEntry(WHOLE, "CORRUPT"),) * store.differs
        disk = SLOW_DISK if self._machines[name].slow else None
        return EtcdView(
            store.member_id, store.cluster_id, self.version, store.revision, store.term, process.leader,
            self._learner(process), well, why,
            store.members, self.size(name), store.in_use, QUOTA, alarms, nodes, pods, uid,
            fsync=disk, commit=disk, prefixes=prefixes(store) if store.alarms else (), hashed=self._hashed(store),
            raft_index=store.index,
        )  # fmt: skip

    def _hashed(self, store: Store) -> Hashed | None:
        """What HashKV says, which is asked only while the CORRUPT alarm names no member; before 3.5.10 the gateway does
        not lead to it.
        """
        if not store.differs or self.version < HASHES:
            return None
        least = min(p.store.revision for p in self.processes.values() if p.answers and p.store.same_cluster(store))
        return Hashed(least, store.compacted, 2 if store.member_id in self.odd else 1)

    def size(self, name: str) -> int:
        """Bytes of the file of the member's database."""
        process = self.processes[name]
        return max(self.files.get(name, 2 * SMALL), process.store.in_use)

    # --- what others do ---

    def add(self, name: str, *, learner: bool = False) -> None:
        """`member add` for a machine that is about to join; raises `ValueError` without a leader."""
        leader = self._a_leader()
        url = peer_url(self._machines[name].address)
        row = MemberEntry(id_of(f"{url} {len(leader.store.members)}"), "", (url,), (), learner)
        leader.store = replace(leader.store, members=(*leader.store.members, row), revision=leader.store.revision + 1)
        self._replicate(leader, self._reached(leader))

    def remove(self, name: str, member_id: str) -> str:
        """`member remove`, asked of the member on `name`. Returns why etcd refuses it: no leader, or too few
        members that have ever started would be left for a quorum (its strict reconfiguration check), as when
        the only one is to be removed.
        """
        process = self.processes.get(name)
        left = [m for m in process.store.members if m.id != member_id and not m.learner] if process else []
        if process and process.store.member(member_id) and sum(m.started for m in left) < len(left) // 2 + 1:
            return "etcdserver: re-configuration failed due to not enough started members"
        removed = self.write(
            name, lambda store: replace(store, members=tuple(m for m in store.members if m.id != member_id))
        )
        return "" if removed else "etcdserver: no leader"

    def write(self, name: str, change: Callable[[Store], Store]) -> bool:
        """A write through the member on `name`. False when it is refused for want of a leader."""
        process = self.processes.get(name)
        if process is None or not process.leader:
            return False
        leader = next(
            (p for p in self.leaders() if p.id == process.leader and p.store.same_cluster(process.store)), None
        )
        if leader is None:
            return False
        leader.store = change(leader.store)
        self._replicate(leader, self._reached(leader))
        return True

    # --- time ---

    def tick(self, now: float) -> None:
        self._now = now
        for name, machine in self._machines.items():
            self._follow_container(name, machine, now)
        self._old_members_disturb(now)
        self._elect()
        self._live_or_die(now)

    def _follow_container(self, name: str, machine: Machine, now: float) -> None:
        container, process = machine.container("etcd"), self.processes.get(name)
        if container is None and process is None:
            return
        if process is not None and (why := self._ends(process, container)):
            self._leave(name, why)
            container = None
        if process is not None and (process.container is not container or process.path not in machine.data):
            del self.processes[name]
            process = None
        if (
            container is None
            or process is not None
            or container.stops_at is not None
            or now - container.started_at < BOOT
        ):
            return
        if machine.disk:
            self._leave(name, machine.disk)
            return
        command = command_of(container.content)
        if flag := command.unknown("etcd"):
            self._leave(name, f"error verifying flags, unknown flag: {flag}")
            return
        path = f"{command.flags.get('--data-dir', ETCD_DIR)}/member"
        if path in machine.data and machine.data[path].corrupt:
            self._leave(name, machine.data[path].corrupt)
            return
        if path not in machine.data and (trouble := self._begin(machine, path, command.flags)):
            self._leave(name, trouble)
            return
        store, forced = machine.data[path], FORCE in command.flags
        if forced:
            own = tuple(m for m in store.members if m.id == store.member_id)
            machine.data[path] = replace(
                store, members=own, history=f"{store.history}+forced on {name}", term=store.term + 1
            )
        elif self._removed(machine, store):
            self._leave(name, "the member has been permanently removed from the cluster")
            return
        self.processes[name] = Process(machine, container, path, forced, without_since=now)

    @staticmethod
    def _ends(process: Process, container: Container | None) -> str:
        """Why one that runs ends itself; "" when it does not."""
        machine = process.machine
        if machine.disk:
            return machine.disk
        if process.path in machine.data and process.store.corrupt == PAGES:
            return "panic: page 23 already freed"
        if process.container is container and process.path not in machine.data:
            return "panic: open /var/lib/etcd/member/wal/1.tmp: no such file or directory"
        return ""

    def _begin(self, machine: Machine, path: str, flags: Mapping[str, str]) -> str:
        """Start on an empty directory: join those who are there, or begin a cluster of
        its own. Returns why it cannot.
        """
        if flags.get("--initial-cluster-state", "new") == "new":
            return self._found(machine, path, peers_in(flags.get("--initial-cluster", "")))
        for process in self.processes.values():
            if not self._network.peers(machine.name, process.machine.name):
                continue
            row = next((m for m in process.store.members if peer_url(machine.address) in m.peer_urls), None)
            if row is None:
                return "error validating peerURLs: member count is unequal"
            machine.data[path] = replace(process.store.seen_by(row.id), revision=0, term=0)
            return ""
        return "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs"

    def _found(self, machine: Machine, path: str, named: Mapping[str, str]) -> str:
        """Begin the cluster that the flags name; refused where one of those has this member in a cluster that serves
        (etcd asks them; seen with 3.4.23).
        """
        url = peer_url(machine.address)
        for process in self.processes.values():
            row = next((m for m in process.store.members if url in m.peer_urls and m.client_urls), None)
            seen = process.machine.name in named and self._network.peers(machine.name, process.machine.name)
            if process.machine is not machine and seen and row is not None:
                return f"member {row.id} has already been bootstrapped"
        machine.data[path] = founded(named or {machine.name: machine.address}, id_of(url))
        return ""

    def _removed(self, machine: Machine, store: Store) -> bool:
        return any(
            p.leads
            and p.store.same_cluster(store)
            and self._network.peers(machine.name, p.machine.name)
            and p.store.member(store.member_id) is None
            for p in self.processes.values()
        )

    def _old_members_disturb(self, now: float) -> None:
        """A cluster made by force, and members of the old one that are alive and know it."""
        for name, process in [(n, p) for n, p in self.processes.items() if p.forced]:
            if now - process.container.started_at > PANICS:
                continue
            for other in self.processes.values():
                old = not other.store.same_cluster(process.store) and other.store.member(process.id) is not None
                if other is not process and old and self._network.peers(name, other.machine.name):
                    self._leave(
                        name,
                        "panic: tocommit is out of range [lastIndex]: was the raft log corrupted, truncated, or lost?",
                    )
                    del self.processes[name]
                    break

    def _elect(self) -> None:
        free, best = dict(self.processes), list[tuple[int, int, bool, str]]()
        for name, process in free.items():
            store = process.store
            best.append((store.term, store.revision, process.leader == store.member_id, name))
            process.leader = ""
        best.sort(reverse=True)
        for _, _, led, name in best:
            if name not in free:
                continue
            candidate = free[name]
            store = candidate.store
            voters, reached = store.voters, self._reached(candidate)
            with_it = [n for n, member_id in reached.items() if n in free and member_id in voters]
            if store.member_id not in voters or 2 * len(with_it) <= len(voters):
                continue
            candidate.leader = store.member_id
            if not led:
                store = replace(store, term=store.term + 1)
            if self.busy and not store.alarms and self.size(name) >= QUOTA:
                store = replace(store, alarms=(store.member_id,))
            candidate.store = store.at_revision(store.revision + 1) if self.busy and not store.alarms else store
            self._replicate(candidate, reached)
            for follower in reached:
                free.pop(follower, None)

    def _reached(self, leader: Process) -> dict[str, str]:
        """Members that a leader lists and that reach it, itself too: their ids by their machines' names."""
        own, store, reached = leader.machine.name, leader.store, dict[str, str]()
        listed = {m.id for m in store.members}
        for name, process in self.processes.items():
            if self._network.peers(own, name):
                other = process.store
                if other.same_cluster(store) and other.member_id in listed:
                    reached[name] = other.member_id
        return reached

    def _replicate(self, leader: Process, reached: Mapping[str, str]) -> None:
        """Give the leader's data to all that it has reached, and publish the names of those that have just come."""
        store = leader.store
        if not all(m.started for m in store.members):
            rows = {member_id: (n, self._machines[n].address) for n, member_id in reached.items()}
            members = tuple(m if m.started or m.id not in rows else named(m, *rows[m.id]) for m in store.members)
            store = leader.store = replace(store, members=members)
        for name, member_id in reached.items():
            process = self.processes[name]
            process.store = store.seen_by(member_id)
            process.leader = store.member_id
        others = [n for n, p in self.processes.items() if n not in reached and p.leader == store.member_id]
        for name in others:
            if store.member(self.processes[name].id) is None:
                self._leave(name, "the member has been permanently removed from the cluster")
                del self.processes[name]

    def _live_or_die(self, now: float) -> None:
        for name, process in tuple(self.processes.items()):
            process.answers = process.answers or bool(process.leader)
            if process.healthy:
                process.well, process.without_since = True, now
            elif not self._apart and now - process.without_since > (LIVENESS if process.well else STARTUP):
                self._leave(
                    name, "received signal; shutting down (killed by kubelet: the liveness probe of /health failed)"
                )
                del self.processes[name]

    def _a_leader(self) -> Process:
        found = self.leaders()
        if not found:
            raise ValueError("etcdserver: no leader")
        return found[0]

    def _learner(self, process: Process) -> bool:
        row = process.store.member(process.id)
        return row is not None and row.learner
