"""What the kernel of a node says of its tables of connections and neighbours, and of packets that it drops: facts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableView:
    """One table of the kernel's, whose size is a sysctl."""

    used: int
    limit: int
    refused: int | None = None
    """How often in the last minute there was no room, so that a packet was dropped, by the kernel's own count; None
    where it tells none, or was not asked before.
    """
    pressed: bool = False
    """In the last minute it had to look for entries that it can do without."""

    @property
    def share(self) -> float:
        return self.used / self.limit if self.limit > 0 else 0.0


@dataclass(frozen=True, slots=True)
class KernelView:
    """What is None was not told: the file is not there, as where there is no connection tracking."""

    conntrack: TableView | None = None
    """nf_conntrack: a connection that finds no room in it is dropped."""
    neighbours: TableView | None = None
    """ARP's, of all network namespaces together: whoever finds no room in it is not reached."""
    strict: tuple[str, ...] = ()
    """Devices (`all` counts for each) with rp_filter 1: a packet is taken only from where its answer would go."""
    reverse_path: int | None = None
    """Packets that were dropped for that in the last minute; None as `TableView.refused`."""
    neighbours6: TableView | None = None
    """As `neighbours`, of IPv6 (NDP)."""
    still: tuple[str, ...] = ()
    """Devices (`all` among them, where IP forwarding is off) whose own setting of it is 0: what comes in there is not
    forwarded, whatever net.ipv4.ip_forward says.
    """
