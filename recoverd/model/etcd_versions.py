"""What remedies of etcd are safe in which version, with where each row was learnt. Data, and what is asked of it.

A remedy that is known to fail past its point of no return is refused, naming the version; one that may leave something
for later says so in its plan. A version that cannot be read has every caveat.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from recoverd.model.etcd import MemberEntry

Version = tuple[int, int, int]
ALWAYS: Version = (99, 0, 0)


class Where(Enum):
    """In which clusters of these versions a caveat counts."""

    ANY = auto()
    LEARNER = auto()
    """A learner is in the member list."""


@dataclass(frozen=True, slots=True)
class Caveat:
    """What is known of a remedy from one version on, and up to the one that mends it (by release line)."""

    since: Version
    mended: Version
    """`ALWAYS` where no release is known that mends it."""
    what: str
    source: str
    where: Where = Where.ANY
    refused: bool = False
    """The remedy fails then, or cannot be trusted to end well, after others' data were moved aside."""

    def holds(self, version: Version | None) -> bool:
        return version is None or self.since <= version < self.mended


FORCE_NEW_CLUSTER = (
    Caveat(
        (3, 4, 0),
        (3, 4, 14),
        "etcd panics (unknown ConfChange Type) where a learner was added since its last raft snapshot",
        "etcd-io/etcd#12285, mended by #12299",
        Where.LEARNER,
        refused=True,
    ),
    # one that has been promoted or removed since is seen nowhere
    Caveat(
        (3, 4, 0),
        (3, 4, 14),
        "etcd panics over the flag where a member was added as a learner since its last raft snapshot, also when it is "
        "none any more; the way back is then the data that are kept, with the image of 3.4.14 or later",
        "etcd-io/etcd#12285",
    ),
    # a learner that is in the raft snapshot stays a member; counted as none, it is not noticed
    *(
        Caveat(
            since,
            mended,
            "a learner may stay in the cluster that is made",
            "etcd-io/etcd#20893, mended by #20896 and #20897",
            Where.LEARNER,
            refused=True,
        )
        for since, mended in (((3, 4, 14), (3, 5, 0)), ((3, 5, 0), (3, 5, 25)), ((3, 6, 0), (3, 6, 6)))
    ),
    *(
        Caveat(
            since,
            mended,
            "other members may stay in the list when etcd is ended in that very moment (the step that looks for them "
            "fails then, and the copy from before is the way back)",
            "etcd-io/etcd#20055",
        )
        for since, mended in (((3, 4, 0), (3, 5, 0)), ((3, 5, 0), (3, 5, 22)), ((3, 6, 0), (3, 6, 1)))
    ),
    Caveat(
        (3, 6, 0),
        ALWAYS,
        "etcd may not start any more with data that it has used before (nil pointer)",
        "etcd-io/etcd#20009, open",
        refused=True,
    ),
)
LEARNERS = (
    Caveat(
        (3, 5, 1),
        (3, 5, 20),
        "a learner's promotion is not written to the newer store: before an upgrade to 3.6, go to the newest 3.5, "
        'or 3.6 says "too many learner members"',
        "etcd-io/etcd#19557",
    ),
)
PROMOTING = (
    Caveat(
        (3, 4, 0),
        (3, 4, 5),
        "a single voter refuses to give a learner its vote (not enough started members)",
        "etcd-io/etcd#11633, mended by #11640",
        refused=True,
    ),
)
FIRST_LEARNER: Version = (3, 4, 14)
"""From which on members are added as learners. etcd knows them from 3.4.0 on; but where one was ever added, 3.4.0 to
3.4.13 may panic at --force-new-cluster (etcd-io/etcd#12285): what rebuilds one member must not take the last resort
away.
"""


def number(version: str) -> Version | None:
    """As etcd says it, as `3.4.13` or `3.6.0-rc.1`; None for what is none."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def caveats(of: Iterable[Caveat], version: str, members: Iterable[MemberEntry] = ()) -> list[Caveat]:
    """Those that count in this version with these members."""
    known, learner = number(version), any(m.learner for m in members)
    return [c for c in of if c.holds(known) and (learner or c.where is Where.ANY)]


def adds_learners(version: str) -> bool:
    """Whether new members are added without a vote."""
    known = number(version)
    return known is not None and known >= FIRST_LEARNER


def told(caveat: Caveat, version: str) -> str:
    """In a line of a plan."""
    return f"etcd {version or 'of an unknown version'}: {caveat.what} ({caveat.source})"
