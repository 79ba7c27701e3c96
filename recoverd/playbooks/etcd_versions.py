"""What is not safe with the etcd that is there. Pure.

Sources: etcd's changelogs and issues, and the tags themselves. In 3.4.0 to 3.4.13 `--force-new-cluster` panics
("unknown ConfChange Type") where the log of the member holds the adding of a learner (#12285, fixed by #12288: `getIDs`
of v3.4.13 has no ConfChangeAddLearnerNode, that of v3.4.14 has). In 3.6.0 the flag ends with a nil pointer over data
that are there (#20009). Read, and not run.
"""

from __future__ import annotations

import re

LEARNERS = (3, 4, 14)
"""The first with learners that a cluster can be forced after."""
FORCE_FAILS = ((3, 6, 0),)


def number(version: str) -> tuple[int, ...]:
    """`3.4.13` as (3, 4, 13); empty where it says nothing."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return tuple(int(n) for n in found.groups()) if found else ()


def may_add_learner(version: str) -> bool:
    """Whether a member may be added without a vote, and the cluster be forced later all the same."""
    return number(version) >= LEARNERS


def force_fails(version: str) -> str:
    """Why the flag must not be used; "" where it may."""
    if number(version) not in FORCE_FAILS:
        return ""
    return (
        f"etcd {version} ends with a nil pointer when --force-new-cluster meets data (etcd-io/etcd#20009); restore a "
        "snapshot on it instead: `recoverctl run restore-etcd-snapshot`"
    )


def force_may_fail(version: str) -> str:
    """What the plan says of the flag with this version; "" where nothing is known against it."""
    if not (3, 4, 0) <= number(version) < LEARNERS:
        return ""
    return (
        f"etcd {version} panics over the flag where its log holds the adding of a learner (etcd-io/etcd#12285): then "
        "the way back is the data that are kept, with the image of 3.4.14 or later"
    )
