"""Which bastion takes which cluster, and which one gives one up: each works it out from the same view, and etcd's
transactions decide where two have seen different ones. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class View:
    """The fleet at one revision."""

    revision: int
    bastions: frozenset[str]
    """Names of those that live."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Cluster to the name of the bastion that watches it."""


def counts(view: View, clusters: Iterable[str]) -> dict[str, int]:
    """How many of the clusters each living bastion watches."""
    found = dict.fromkeys(sorted(view.bastions), 0)
    for cluster in clusters:
        if (owner := view.owners.get(cluster)) in found:
            found[owner] += 1
    return found


def to_take(view: View, me: str, clusters: Sequence[str], waiting: Iterable[str] = ()) -> list[str]:
    """The free clusters that are this bastion's to take: each goes to the one that has fewest by then, by name where
    several have. Those in `waiting` have been free for so long that whoever can takes them.
    """
    have, late = counts(view, clusters), set(waiting)
    if me not in have:
        return []
    taken = []
    for cluster in sorted(c for c in clusters if c not in view.owners):
        best = min(have, key=lambda who: (have[who], who))
        have[best] += 1
        if best == me or cluster in late:
            taken.append(cluster)
    return taken


def to_give_up(view: View, me: str, clusters: Sequence[str], resting: Iterable[str]) -> list[str]:
    """The clusters that this bastion gives up, of those where nothing goes on: half of what it has more than the one
    that has fewest.
    """
    have = counts(view, clusters)
    if me not in have or len(have) < 2 or any(c not in view.owners for c in clusters):
        return []
    most = max(have, key=lambda who: (have[who], who))
    if most != me:
        return []
    more = (have[me] - min(have.values())) // 2
    mine = sorted(c for c in resting if view.owners.get(c) == me)
    return mine[:more]
