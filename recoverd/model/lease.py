"""Which bastion may act on a cluster: the one that holds the lease on most of its control planes. Pure.

The lease is a line on each control plane's own disk, with an expiry by that machine's time since its boot and a fencing
number that only grows. It is renewed in every look at the machine. A bastion that holds it on more than half of the
control planes acts; one that sees another hold it only looks. A bastion that has never met another on these machines is
not held up by control planes that it cannot ask, or on which nothing can be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

SECONDS = 60.0
"""How long a lease lasts without being renewed: several sweeps with all their deadlines, and no longer than an
outage can wait for another one.
"""


@dataclass(frozen=True, slots=True)
class HostLease:
    """What one control plane says of it."""

    holder: str = ""
    """Id of the bastion; "" where nobody holds it."""
    name: str = ""
    """Its host name."""
    fence: int = 0
    left: float = 0.0
    """Seconds until it runs out, by the machine's own clock; not above 0: it has."""
    mine: bool = False
    """This very process holds it there since this look."""
    problem: str = ""
    """Why it could not be written there."""
    others: tuple[str, ...] = ()
    """Names of the other bastions that have looked at the machine of late."""


@dataclass(frozen=True, slots=True)
class Held:
    """This bastion may act."""

    fences: Mapping[str, int]
    """By control plane: the number that its lease has there."""


@dataclass(frozen=True, slots=True)
class HeldBy:
    """Another bastion may act on the cluster."""

    name: str
    left: float
    """Seconds until its lease runs out where it lasts longest, if it is not renewed."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody is known to hold it on more than half of the control planes."""

    reason: str
    others: tuple[str, ...] = ()
    """Names of the other bastions that watch this cluster, as far as that was ever seen."""


Lease = Held | HeldBy | Unknown


def judged(planes: Mapping[str, HostLease | None], others: tuple[str, ...]) -> Lease:
    """Who may act by what the control planes say; None is one that was not seen. `others` are
    bastions that were met on them before.
    """
    mine = {plane: lease.fence for plane, lease in planes.items() if lease and lease.mine}
    if 2 * len(mine) > len(planes):
        return Held(mine)
    foreign = [lease for lease in planes.values() if lease and not lease.mine and lease.holder and lease.left > 0]
    if foreign:
        first, _ = Counter(lease.holder for lease in foreign).most_common(1)[0]
        return HeldBy(
            next(x.name for x in foreign if x.holder == first), max(x.left for x in foreign if x.holder == first)
        )
    lacking = [f"{plane}: {_why(lease)}" for plane, lease in planes.items() if plane not in mine]
    return Unknown(
        f"this bastion holds the lease on {len(mine)} of {len(planes)} control planes ({'; '.join(lacking)})", others
    )


def _why(lease: HostLease | None) -> str:
    if lease is None:
        return "it was not seen"
    return lease.problem or "it is free"


def wanted(planes: Mapping[str, HostLease | None], me: str, lease: Lease) -> bool:
    """Whether this bastion, whose id is `me`, is to take or keep what it can get in the next look.

    Where each of two holds some, the one with more of them goes on, or the one whose id comes first,
    and the other lets go of its own.
    """
    if not isinstance(lease, HeldBy):
        return True
    # a copy of this bastion, as of a machine put back to a snapshot, has its id and another number: it comes first
    holders = (
        me if x.mine else "" if x.holder == me else x.holder
        for x in planes.values()
        if x and (x.mine or (x.holder and x.left > 0))
    )
    count = Counter(holders)
    return count[me] > 0 and min(count, key=lambda who: (-count[who], who)) == me


def forbids(lease: Lease | None, *, unasked: bool) -> str:
    """Why this bastion may not act on the cluster; "" when it may. `unasked`: no person has approved it. None:
    nothing is known of any lease.
    """
    match lease:
        case HeldBy(name=name):
            return (
                f"the recoverd on {name} acts on this cluster, as its lease on the control planes says, so this one "
                "only looks. Ask there; to have "
                f"this one act, stop that one (systemctl stop recoverd), and it takes over within {SECONDS + 15:.0f} s"
            )
        case Unknown(reason=reason, others=others) if unasked and others:
            return (
                f"{reason}, and the recoverd on {', '.join(others)} watches this cluster, too, and may be acting where "
                "this one cannot look, so "
                "nothing is done unasked"
            )
        case _:
            return ""
