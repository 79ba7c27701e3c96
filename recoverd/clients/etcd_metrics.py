"""What one etcd member says of itself on its metrics port: its quota, and how long its disk takes to write through.

A histogram counts since the member was started, and only what was added between two readings says how the disk is now.
Sources: etcd's documentation of its metrics (`etcd_disk_wal_fsync_duration_seconds`,
`etcd_disk_backend_commit_duration_seconds`) and its FAQ on slow disks (p99 below 10 ms and below 25 ms).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from recoverd.model.etcd import DiskTimes

FSYNC, COMMIT = "etcd_disk_wal_fsync_duration_seconds", "etcd_disk_backend_commit_duration_seconds"
QUOTA = "etcd_server_quota_backend_bytes"
BUCKET = re.compile(rf"^(?:{FSYNC}|{COMMIT})_bucket\{{[^\n]*$|^{QUOTA} [^\n]*$", re.MULTILINE)
"""The lines that are wanted of some thousand."""

Buckets = Mapping[float, float]
"""How many took so many seconds or less, by their upper bound; the last is infinite."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the metrics."""

    at: float
    """By the bastion's monotonic clock."""
    quota: int = 0
    """Bytes; 0 where it is not told."""
    fsync: Buckets = field(default_factory=dict)
    commit: Buckets = field(default_factory=dict)

    def since(self, before: Reading) -> tuple[DiskTimes | None, DiskTimes | None]:
        """How long fsyncs of the log and commits of the database took since the reading before."""
        seconds = self.at - before.at
        return _times(self.fsync, before.fsync, seconds), _times(self.commit, before.commit, seconds)


def reading(text: str, at: float) -> Reading:
    """What a member answered. Raises `ValueError` where that cannot be understood."""
    quota, found = 0, dict[str, dict[float, float]]()
    for family in text_string_to_metric_families("\n".join(BUCKET.findall(text)) + "\n"):
        for sample in family.samples:
            if sample.name == QUOTA:
                quota = int(sample.value)
            elif "le" in sample.labels:
                bounds = found.setdefault(sample.name.removesuffix("_bucket"), {})
                bounds[float(sample.labels["le"])] = sample.value
    return Reading(at, quota, found.get(FSYNC, {}), found.get(COMMIT, {}))


def _times(now: Buckets, before: Buckets, seconds: float) -> DiskTimes | None:
    """None where nothing was counted, where the counting began anew, or where it was not read twice."""
    if not now or now.keys() != before.keys() or any(now[le] < before[le] for le in now):
        return None
    added = {le: now[le] - before[le] for le in sorted(now)}
    count = int(added.get(math.inf, 0))
    if count <= 0 or seconds <= 0:
        return None
    return DiskTimes(seconds, count, _quantile(added, 0.99), count - int(_within(added, DiskTimes.SLOW)))


def _within(added: Buckets, limit: float) -> float:
    """How many took no longer than the widest bucket that is within the limit."""
    return max((n for le, n in added.items() if le <= limit), default=0)


def _quantile(added: Buckets, q: float) -> float:
    """As Prometheus's histogram_quantile: linear within a bucket; of the last one, its lower bound."""
    wanted = q * added[math.inf]
    low, below = 0.0, 0.0
    for le, n in added.items():
        if n >= wanted:
            return low if math.isinf(le) else low + (le - low) * (wanted - below) / (n - below)
        low, below = le, n
    return low
