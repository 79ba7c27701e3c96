"""With whom of its peers an etcd is connected, by what the kernels of their machines know. Pure.

One that is called and does not answer stands there as called (SYN_SENT), as behind a firewall that drops; one whose
machine refuses the connection, as where no etcd listens, stands nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from recoverd.diagnose.loss import says_why_it_ends
from recoverd.diagnose.members import peer_address
from recoverd.diagnose.scene import Scene
from recoverd.model.etcd import MemberEntry
from recoverd.model.places import ip_of


@dataclass(frozen=True, slots=True)
class Connections:
    """Of one member, to the other voters that have started."""

    host: str
    others: tuple[str, ...]
    """HOST:PORT of each."""
    reached: tuple[str, ...]
    """Those of them that it is connected to."""
    known: bool
    """Whether it could be seen at all."""

    @property
    def lines(self) -> tuple[str, ...]:
        """As evidence."""
        return tuple(
            f"{self.host} > {s}: {'connected' if s in self.reached else 'no connection'}"
            for s in self.others
            if self.known
        )

    @property
    def none(self) -> str:
        """In words, that there is none; "" where there is one, or it is not known."""
        cut = self.known and self.others and not self.reached
        return f"no connection to {' nor to '.join(self.others)}" if cut else ""


def connections(scene: Scene, host: str, entry: MemberEntry) -> Connections:
    """Those of the member that runs on this host."""
    machine = scene.host(host)
    others = {_socket(e): e for e in scene.membership.voters if e.id != entry.id and e.started}
    called = machine.peers if machine else None
    answered = {a for a, yes in (called or {}).items() if yes}
    known = called is not None and all(ip_of(peer_address(e)) for e in others.values())
    reached = tuple(sorted(s for s, e in others.items() if peer_address(e) in answered))
    return Connections(host, tuple(sorted(others)), reached, known)


def called_in_vain(scene: Scene, host: str, entry: MemberEntry) -> tuple[str, ...]:
    """Lines that say that all others that follow the leader call this member and get no answer, while its machine
    answers the bastion and its etcd, which kubelet's probe ends for want of a leader, waits for its next start. None
    where that is not so: one that was only stopped refuses connections.
    """
    container, address = scene.container(host, "etcd"), peer_address(entry)
    if container is None or container.running or not container.restarts or says_why_it_ends(container.log_tail):
        return ()
    follow = [n for n, v in scene.membership.electorate.items() if v.has_leader and n != host]
    machines = {n: m for n in follow if (m := scene.host(n)) is not None}
    silent = [n for n, m in machines.items() if m.peers is not None and m.peers.get(address) is False]
    if not silent or len(silent) < len(follow):
        return ()
    return tuple(f"{n} > {_socket(entry)}: called, and no answer" for n in sorted(silent))


def _socket(entry: MemberEntry) -> str:
    try:
        return urlsplit(next(iter(entry.peer_urls), "")).netloc or peer_address(entry)
    except ValueError:
        return peer_address(entry)
