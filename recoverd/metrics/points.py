"""What Prometheus learns of the restore points. Times of points are those by the
bastion's clock when they were taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from recoverd.model.history import History
from recoverd.model.points import RestorePoint

OUTCOMES: Mapping[str, str] = {History.RESTORE_POINT_TAKEN: "taken", History.RESTORE_POINT_FAILED: "failed"}
"""By the word in the history."""


class PointMetrics:
    """Part of `recoverd.metrics.server.Metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        cluster = ["cluster"]
        self.interval = Gauge(
            "recoverd_restore_point_interval_seconds",
            "From one restore point to the next; 0: none.",
            cluster,
            registry=registry,
        )
        self.last = Gauge(
            "recoverd_restore_point_timestamp_seconds",
            "When the newest was taken; 0: never.",
            cluster,
            registry=registry,
        )
        self.verified = Gauge(
            "recoverd_restore_point_verified_timestamp_seconds",
            "When the newest that was really restored was taken; 0: never.",
            cluster,
            registry=registry,
        )
        self.size = Gauge("recoverd_restore_point_size_bytes", "Snapshot of the newest.", cluster, registry=registry)
        self.total = Gauge(
            "recoverd_restore_points_size_bytes", "Snapshots of all together.", cluster, registry=registry
        )
        self.count = Gauge("recoverd_restore_points", "Restore points there are.", cluster, registry=registry)
        self.attempts = Counter(
            "recoverd_restore_point_attempts",
            "Restore points taken, or not.",
            ["cluster", "outcome"],
            registry=registry,
        )

    def expect(self, cluster: str, interval: float, points: Sequence[RestorePoint]) -> None:
        """Show them from the start on, and nothing later than that."""
        self.interval.labels(cluster).set(interval)
        for outcome in OUTCOMES.values():
            self.attempts.labels(cluster, outcome)
        self.set(cluster, points)

    def set(self, cluster: str, points: Sequence[RestorePoint]) -> None:
        """Show the restore points that there are, of which the newest is last."""
        verified = [p for p in points if p.verified]
        self.last.labels(cluster).set(points[-1].taken_at if points else 0)
        self.verified.labels(cluster).set(verified[-1].taken_at if verified else 0)
        self.size.labels(cluster).set(points[-1].size if points else 0)
        self.total.labels(cluster).set(sum(p.size for p in points))
        self.count.labels(cluster).set(len(points))

    def noted(self, cluster: str, event: str) -> None:
        if outcome := OUTCOMES.get(event):
            self.attempts.labels(cluster, outcome).inc()
