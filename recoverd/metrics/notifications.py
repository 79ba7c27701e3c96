"""What Prometheus learns of who was told by the bastion itself."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES = ("sent", "retried", "overtaken", "given-up", "dropped")
"""`retried`: a try failed; `overtaken`: not so any more before it was told; `given-up`: never told;
`dropped`: there was no room for it.
"""


class NotificationMetrics:
    """Part of `recoverd.metrics.server.Metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.total = Counter(
            "recoverd_notifications",
            "Notifications by what became of them.",
            ["receiver", "outcome"],
            registry=registry,
        )
        self.last = Gauge(
            "recoverd_notification_last_success_timestamp_seconds",
            "When the receiver was told something last; 0: never.",
            ["receiver"],
            registry=registry,
        )
        self._known: set[str] = set()

    def expect(self, receivers: Iterable[str]) -> None:
        """Show these from the start on, and no others."""
        wanted = set(receivers)
        for name in self._known - wanted:
            self.last.remove(name)
            for outcome in OUTCOMES:
                self.total.remove(name, outcome)
        for name in wanted - self._known:
            self.last.labels(name).set(0)
            for outcome in OUTCOMES:
                self.total.labels(name, outcome)
        self._known = wanted

    def count(self, receiver: str, outcome: str) -> None:
        if receiver not in self._known:
            return  # it has just been taken out of the configuration
        self.total.labels(receiver, outcome).inc()
        if outcome == "sent":
            self.last.labels(receiver).set_to_current_time()
