"""Who reaches whom: the bastion's view of machines, and etcd's peer port between them."""

from __future__ import annotations

from dataclasses import dataclass, field


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

    def bastion_reaches(self, name: str) -> bool:
        return not self.blind and name not in self.hidden

    def peers(self, one: str, other: str) -> bool:
        """Whether etcd's peer port is open between two machines."""
        if one == other:
            return True
        return not {one, other} & self.blocked and self.groups.get(one, 0) == self.groups.get(other, 0)
