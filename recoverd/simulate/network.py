"""Who reaches whom: the bastion's view of machines, etcd's peer port between them, and pods from machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recoverd.simulate.hosts import BRIDGE, TUNNEL, Machine

HOLDER = "kube-vip"
"""The static pod that has the API server's address on its machine, where one does."""


@dataclass(slots=True)
class Network:
    blind: bool = False
    """The bastion's own network is down."""
    hidden: set[str] = field(default_factory=set)
    """Machines that the bastion alone cannot reach."""
    blocked: set[str] = field(default_factory=set)
    """Machines whose peer port is filtered (nft drops 2380, as in the incident's fault)."""
    groups: dict[str, int] = field(default_factory=dict)
    """A partition between machines: those in the same group see each other; empty means all do."""
    vip_broken: bool = False
    held: set[str] = field(default_factory=set)
    """Control planes that were given kube-vip to hold the API server's address; where none was, a balancer has it."""
    balanced: bool = False
    """A balancer has it all the same."""

    def bastion_reaches(self, name: str) -> bool:
        return not self.blind and name not in self.hidden

    def peers(self, one: str, other: str) -> bool:
        """Whether etcd's peer port is open between two machines."""
        return one == other or (not {one, other} & self.blocked and self.routed(one, other))

    def routed(self, one: str, other: str) -> bool:
        """Whether a packet gets from one machine to the other."""
        return not self.groups or self.groups.get(one, 0) == self.groups.get(other, 0)


class PodPaths:
    """Which pods machines reach, as everything stands at one moment."""

    def __init__(self, machines: Mapping[str, Machine], now: float) -> None:
        self._machines = machines
        self._now = now
        self._pods = {
            pod.address: (machine, pod)
            for machine in machines.values()
            if machine.up(now)
            for pod in machine.pods.values()
        }
        self._sorted: dict[frozenset[str], Sequence[str]] = {}

    def reaches(self, source: str, address: str) -> bool | None:
        """Whether a packet from a machine arrives at a pod; None when nobody has that address any more."""
        machine, pod = self._pods.get(address, (None, None))
        if machine is None or pod is None or pod.started_at > self._now:
            return None
        sender = self._machines[source]
        if machine.conntrack_full or sender.conntrack_full:
            return False
        if machine.name == source or not machine.passes(BRIDGE):
            return machine.passes(BRIDGE)
        if machine.wedged or sender.wedged or not (machine.passes(TUNNEL) and sender.passes(TUNNEL)):
            return False
        if machine.filtered or sender.filtered or machine.astray_packets:
            return False
        if machine.tunnel_filtered or sender.tunnel_filtered:  # an answer comes by the tunnel, too
            return False
        known = machine.known_at <= self._now and machine.number not in sender.lost_routes
        return machine.forwarding and known

    def programmed(self, source: str) -> Sequence[str]:
        """The endpoints of the service that a machine's rules know, in order."""
        known = self._machines[source].programmed
        if known not in self._sorted:  # nearly always those of every other machine too
            self._sorted[known] = sorted(known)
        return self._sorted[known]
