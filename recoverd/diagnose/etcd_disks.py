"""Members of etcd whose disk is slow to write through: told with numbers, and never a reason to act. Pure.

Sources: etcd's FAQ ("what does 'apply entries took too long' mean": p99 of wal_fsync below 10 ms, of backend_commit
below 25 ms, or the disk is too slow). It is told from ten times that on: every disk is late for a moment, and what is
told in vain is read by nobody. etcd-io/etcd #13169, #13587.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import DiskTimes
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, Severity

GUIDE_FSYNC, GUIDE_COMMIT = 0.01, 0.025
"""Seconds that 99 of 100 take at the most on a good disk, by etcd's documentation."""
TOLD = 10.0
"""Times that."""
LEAST, SLOW_ONES = 20, 5
"""How many must have been counted, and how many of them slow, before a share of them says anything."""


def findings(scene: Scene) -> Iterator[Finding]:
    for name, view in sorted(scene.etcd_views.items()):
        if view.remembered:
            continue
        said = [
            line
            for what, times, guide in (
                ("fsync of its log", view.fsync, GUIDE_FSYNC),
                ("commit of its database", view.commit, GUIDE_COMMIT),
            )
            if times is not None and _slow(times, guide) and (line := _line(name, what, times, guide))
        ]
        if said:
            yield Finding(
                Code.ETCD_SLOW_DISK,
                name,
                f"The disk of etcd on {name} is slow to write through: {said[0].partition(': ')[2]}. Writes wait, "
                "leaders change, and what holds a lease loses it. See what else writes there (`iostat -x 1`, "
                "`iotop -o`), give etcd a disk of its own, or a faster one.",
                tuple(said),
                severity=Severity.WARNING,
                facts=Facts(name),
            )


def _slow(times: DiskTimes, guide: float) -> bool:
    return times.count >= LEAST and times.slow >= SLOW_ONES and times.p99 >= TOLD * guide


def _line(name: str, what: str, times: DiskTimes, guide: float) -> str:
    return (
        f"{name}: 99 of 100 times a {what} took up to {times.p99 * 1000:.0f} ms (etcd's guide: {guide * 1000:.0f} ms), "
        f"{times.slow} of {times.count} in {times.seconds:.0f} s more than {DiskTimes.SLOW * 1000:.0f} ms"
    )
