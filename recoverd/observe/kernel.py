"""What `network.sh` printed of the kernel's tables, and how the counts in it have grown. Stateful, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from recoverd.model.kernel import KernelView, TableView

LATELY = 60.0
"""Seconds for which a count that has grown is told of: a node that is full drops what comes, and little may come."""
DEVICES = 16
SYS = "/proc/sys/"


@dataclass(frozen=True, slots=True)
class Counts:
    """As one look has them; None for what is not there."""

    conntrack: tuple[int, int, int | None] | None = None
    """Used, limit, dropped since the boot."""
    neighbours: tuple[int, int, int | None, int | None] | None = None
    """Used, limit, found full since the boot, collected for want of room since the boot."""
    reverse_path: int | None = None
    strict: tuple[str, ...] = ()
    neighbours6: tuple[int, int, int | None, int | None] | None = None
    still: tuple[str, ...] = ()


def counts_of(sysctls: Sequence[str], tables: Sequence[str]) -> Counts:
    """Of the lines `PATH:VALUE` and `TABLE COUNT ...`; what makes no sense is not there."""
    set_to = {path.removeprefix(SYS): _number(value) for path, _, value in (line.partition(":") for line in sysctls)}
    counted = {words[0]: [_number(w) for w in words[1:]] for line in tables if (words := line.split())}
    strict = (p.split("/")[3] for p, value in set_to.items() if p.endswith("/rp_filter") and value == 1)
    still = (p.split("/")[3] for p, value in set_to.items() if p.endswith("/forwarding") and value == 0)
    conntrack = None
    match set_to.get("net/netfilter/nf_conntrack_count"), set_to.get("net/netfilter/nf_conntrack_max"):
        case int(used), int(limit):
            conntrack = used, limit, next(iter(counted.get("conntrack", ())), None)
    return Counts(
        conntrack,
        _neighbours(counted.get("neighbours"), set_to.get("net/ipv4/neigh/default/gc_thresh3")),
        next(iter(counted.get("reverse-path", ())), None),
        tuple(islice(strict, DEVICES)),
        _neighbours(counted.get("neighbours6"), set_to.get("net/ipv6/neigh/default/gc_thresh3")),
        tuple(islice(still, DEVICES)),
    )


def _neighbours(counted: list[int | None] | None, limit: int | None) -> tuple[int, int, int | None, int | None] | None:
    match counted:
        case [int(used), full, pressed] if limit is not None:
            return used, limit, full, pressed
    return None


def _number(word: str) -> int | None:
    return int(word) if word.strip().isdecimal() else None


class KernelWatch:
    """Remembers of each host of one cluster what its kernel had counted. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[int, int, float]] = {}
        """By host and count: what it was, by how much it has grown last, and when."""

    def look(self, host: str, counts: Counts | None, now: float) -> KernelView | None:
        """What this look shows; None where nothing was printed of it."""
        if counts is None:
            return None
        conntrack = None
        if counts.conntrack:
            used, limit, dropped = counts.conntrack
            conntrack = TableView(used, limit, self._lately(host, "dropped", dropped, now))
        return KernelView(
            conntrack,
            self._neighbours(host, "", counts.neighbours, now),
            counts.strict,
            self._lately(host, "reverse-path", counts.reverse_path, now),
            self._neighbours(host, "6", counts.neighbours6, now),
            counts.still,
        )

    def _neighbours(
        self, host: str, family: str, counts: tuple[int, int, int | None, int | None] | None, now: float
    ) -> TableView | None:
        if counts is None:
            return None
        used, limit, full, collected = counts
        pressed = bool(self._lately(host, f"collected{family}", collected, now))
        return TableView(used, limit, self._lately(host, f"full{family}", full, now), pressed)

    def _lately(self, host: str, what: str, count: int | None, now: float) -> int | None:
        """By how much it has grown in the last minute; None where that cannot be told."""
        before = self._kept.pop((host, what), None)
        if count is None:
            return None
        known, grown, at = before if before and before[0] <= count else (count, 0, now)  # a boot begins at 0
        if count > known:
            grown, at = count - known, now
        self._kept[host, what] = count, grown if now - at <= LATELY else 0, at
        return None if before is None else self._kept[host, what][1]
