"""What Prometheus learns of incidents and plans: how many, how long, what waits for a person."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client import Counter as Total

from recoverd.metrics.sight import Series
from recoverd.model.finding import FAULT_STATES
from recoverd.model.plan import Incident, Plan, PlanStatus

ENDED = (PlanStatus.SUCCEEDED, PlanStatus.FAILED, PlanStatus.SUPERSEDED)
"""How a plan that ran can end."""
RECOVERY_BUCKETS = (5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)


class IncidentMetrics:
    """Part of `recoverd.metrics.server.Metrics`. Each incident and plan counts once, however often it is saved."""

    def __init__(self, registry: CollectorRegistry, series: Series) -> None:
        cluster = ["cluster"]
        self.incidents = Total("recoverd_incidents", "Incidents opened.", ["cluster", "state"], registry=registry)
        self.waiting = Gauge(
            "recoverd_plans_awaiting_approval", "Plans that wait for a person.", cluster, registry=registry
        )
        self.waiting_since = Gauge(
            "recoverd_plan_awaiting_since_timestamp_seconds",
            "When the waiting plan was made.",
            ["cluster", "plan", "playbook"],
            registry=registry,
        )
        self.actions = Total(
            "recoverd_actions",
            "Plans that ran, by how they ended.",
            ["cluster", "playbook", "outcome"],
            registry=registry,
        )
        self.detect = Histogram(
            "recoverd_detection_seconds",
            "From the first suspecting sweep to the confirmed incident.",
            cluster,
            registry=registry,
            buckets=RECOVERY_BUCKETS,
        )
        self.recover = Histogram(
            "recoverd_recovery_seconds",
            "From the first suspecting sweep to healthy again.",
            cluster,
            registry=registry,
            buckets=RECOVERY_BUCKETS,
        )
        self._series = series
        self._counted: set[tuple[str, str]] = set()
        self._waiting: dict[str, dict[tuple[str, ...], float]] = {}

    def expect(self, clusters: Iterable[str], playbooks: Collection[str]) -> None:
        """Show the counters of these from 0 on."""
        for cluster in clusters:
            for state in FAULT_STATES:
                self.incidents.labels(cluster, state)
            for playbook in playbooks:
                for outcome in ENDED:
                    self.actions.labels(cluster, playbook, outcome)

    def forget(self, cluster: str) -> None:
        """The cluster is watched no more."""
        self._waiting.pop(cluster, None)

    def waits(self, cluster: str) -> None:
        """Show how many plans wait there, which may be none from the start on."""
        self.waiting.labels(cluster).set(len(self._waiting.get(cluster, {})))

    def incident(self, incident: Incident) -> None:
        """Count its begin and its end."""
        if self._first("opened", incident.id):
            self.incidents.labels(incident.cluster, incident.state).inc()
            if incident.maintenance:
                return
            self.detect.labels(incident.cluster).observe(_lasted(incident.fault_since, incident.opened_at))
        if incident.closed_at and not incident.maintenance and self._first("closed", incident.id):
            self.recover.labels(incident.cluster).observe(_lasted(incident.fault_since, incident.closed_at))

    def plan(self, plan: Plan) -> None:
        """Count how it ended, where it ran, and show it while it waits."""
        waiting = self._waiting.setdefault(plan.cluster, {})
        waiting.pop((plan.id, plan.playbook), None)
        if plan.status is PlanStatus.AWAITING_APPROVAL:
            waiting[plan.id, plan.playbook] = plan.created_at.timestamp()
        self._series.set(self.waiting_since, plan.cluster, waiting)
        self.waiting.labels(plan.cluster).set(len(waiting))
        if plan.status is PlanStatus.RUNNING:
            self._first("ran", plan.id)
        # a superseded plan may never have run; one that succeeded or failed has
        ran = plan.status in (PlanStatus.SUCCEEDED, PlanStatus.FAILED) or ("ran", plan.id) in self._counted
        if not plan.status.open and ran and self._first("ended", plan.id):
            self.actions.labels(plan.cluster, plan.playbook, plan.status).inc()

    def _first(self, what: str, id: str) -> bool:
        if (what, id) in self._counted:
            return False
        self._counted.add((what, id))
        return True


def _lasted(since: datetime, until: datetime) -> float:
    """Seconds; 0 where the clock was set back meanwhile, since a sum that falls is no counter."""
    return max(0.0, (until - since).total_seconds())
