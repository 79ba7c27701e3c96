"""What Prometheus scrapes: the state of each cluster, what recoverd did, and how old what it knows is.
OpenMetrics names, base units.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Histogram, Info
from prometheus_client import Counter as Total
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase

from recoverd import __version__
from recoverd.metrics.notifications import NotificationMetrics
from recoverd.metrics.points import PointMetrics
from recoverd.metrics.sight import Series, SightMetrics
from recoverd.model.events import Instruction, Note, Remember, SaveIncident, SavePlan
from recoverd.model.finding import FAULT_STATES, Phase, State
from recoverd.model.lease import Held, HeldBy, Unknown
from recoverd.model.network import NetworkView, NodePods
from recoverd.model.observation import Observation
from recoverd.model.plan import Incident, Plan, PlanStatus
from recoverd.model.status import ClusterStatus

SWEEP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ENDED = (PlanStatus.SUCCEEDED, PlanStatus.FAILED, PlanStatus.SUPERSEDED)
"""How a plan that ran can end."""
PAIRS_SHOWN = 32
"""Nodes up to which every probed pair has a time series."""
PLACES = ("record", "memory", "incident", "plan", "step", "note", "decision")
"""Where a row of the journal may be that cannot be read."""
RECOVERY_BUCKETS = (5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)


class Metrics:
    """The registry and everything in it. Labels that no longer apply are taken away, so that no alert
    hangs on a thing that is gone.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        Info("recoverd_build", "Version of recoverd.", registry=registry).info({"version": __version__})
        cluster = ["cluster"]
        self.state = Gauge(
            "recoverd_cluster_state", "1 for the state that the cluster is in.", ["cluster", "state"], registry=registry
        )
        self.phase = Gauge(
            "recoverd_cluster_phase",
            "1 for the phase of the fault state; all 0 when there is none.",
            ["cluster", "phase"],
            registry=registry,
        )
        self.paused = Gauge(
            "recoverd_cluster_paused", "1 while recoverd is told to keep its hands off.", cluster, registry=registry
        )
        self.finding = Gauge(
            "recoverd_finding",
            "1 for each finding of the newest sweep.",
            ["cluster", "code", "subject", "severity"],
            registry=registry,
        )
        self.incident_open = Gauge("recoverd_incident_open", "1 while an incident is open.", cluster, registry=registry)
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
        self.sweep = Histogram(
            "recoverd_sweep_duration_seconds",
            "How long a source took in a sweep.",
            ["cluster", "source"],
            registry=registry,
            buckets=SWEEP_BUCKETS,
        )
        self.last_sweep = Gauge(
            "recoverd_last_sweep_timestamp_seconds", "When the newest sweep ended.", cluster, registry=registry
        )
        self.behind = Gauge(
            "recoverd_sweep_behind_seconds",
            "By how much recoverd itself was late in the newest sweep; what did not answer is not called silent then.",
            cluster,
            registry=registry,
        )
        self.own = Gauge(
            "recoverd_own_troubles",
            "What recoverd itself lacked in the newest sweep, by number.",
            cluster,
            registry=registry,
        )
        self.lease = Gauge(
            "recoverd_cluster_lease",
            "1 for who may act on the cluster: this bastion (held), another one (other), or it "
            "cannot be told (unknown).",
            ["cluster", "state"],
            registry=registry,
        )
        self.series = Series()
        self.sight = SightMetrics(registry, self.series)
        self.probes = Gauge(
            "recoverd_pod_network_probes",
            "Probes of pods in the newest round, by the node that tried and the node tried; of large "
            "clusters only what failed.",
            ["cluster", "source", "target", "result"],
            registry=registry,
        )
        self.pods_wrong = Gauge(
            "recoverd_pods_not_on_node",
            "Pods that the API's list and the node's kubelet do not agree about.",
            ["cluster", "node"],
            registry=registry,
        )
        self.points = PointMetrics(registry)
        self.notifications = NotificationMetrics(registry)
        self.reloaded = Gauge(
            "recoverd_config_last_reload_successful",
            "1 when the newest configuration was taken, 0 when it was refused.",
            registry=registry,
        )
        self.reloaded.set(1)  # of the one that it was started with
        self.reloaded_at = Gauge(
            "recoverd_config_last_reload_success_timestamp_seconds",
            "When a configuration was last taken.",
            registry=registry,
        )
        self.unreadable = Gauge(
            "recoverd_journal_unreadable_rows",
            "Rows of the journal that could not be read since the start.",
            ["place"],
            registry=registry,
        )
        self._counted: set[tuple[str, str]] = set()
        self._waiting: dict[str, dict[tuple[str, ...], float]] = {}

    def expect(self, clusters: Iterable[str], playbooks: Collection[str]) -> None:
        """Show the counters of these from 0 on: Prometheus sees no increase in a series
        that appears with its first event.
        """
        for cluster in clusters:
            for state in FAULT_STATES:
                self.incidents.labels(cluster, state)
            for playbook in playbooks:
                for outcome in ENDED:
                    self.actions.labels(cluster, playbook, outcome)

    def seed(self, incidents: Iterable[Incident], plans: Iterable[Plan]) -> None:
        """Count what the journal holds from before the start, so that the counters do not begin anew."""
        for incident in incidents:
            self._incident(incident)
        for plan in plans:
            self._plan(plan)

    def configured(self, taken: bool) -> None:
        """The configuration was read, at the start or anew."""
        self.reloaded.set(taken)
        if taken:
            self.reloaded_at.set_to_current_time()

    def journal(self, unreadable: Mapping[tuple[str, str], str]) -> None:
        """Show what the journal cannot read, now and from now on, by its place."""
        for place in PLACES:
            self.unreadable.labels(place).set_function(lambda place=place: sum(p == place for p, _ in list(unreadable)))  # type: ignore[misc]

    def forget(self, cluster: str) -> None:
        """The cluster is watched no more: none of its series stays."""
        for collector in list(self.registry._collector_to_names):
            if isinstance(collector, MetricWrapperBase) and "cluster" in collector._labelnames:
                collector.remove_by_labels({"cluster": cluster})
        self.series.forget(cluster)
        self.sight.forget(cluster)
        self._waiting.pop(cluster, None)

    def swept(self, observation: Observation, status: ClusterStatus) -> None:
        """Take in one sweep and what the machine made of it."""
        name, at = observation.cluster, observation.at.timestamp()
        self.status(status)
        self.series.set(self.last_sweep, name, {(): at})
        self.series.set(self.behind, name, {(): observation.behind})
        lease = {"held": Held, "other": HeldBy, "unknown": Unknown}
        self.series.set(
            self.lease, name, {(state,): float(isinstance(observation.lease, kind)) for state, kind in lease.items()}
        )
        self.series.set(self.own, name, {(): len(observation.own)})
        for source, seconds in observation.durations.items():
            self.sweep.labels(name, source).observe(seconds)
        self.sight.swept(observation)
        self.series.set(self.finding, name, {(f.code, f.subject, str(f.severity)): 1.0 for f in status.findings})
        self._network(observation)

    def status(self, status: ClusterStatus) -> None:
        """State and phase, which change between sweeps too."""
        self.series.set(self.state, status.name, {(state,): float(state is status.state) for state in State})
        self.series.set(self.phase, status.name, {(phase,): float(phase is status.phase) for phase in Phase})
        self.series.set(self.paused, status.name, {(): status.paused})
        self.waiting.labels(status.name).set(len(self._waiting.get(status.name, {})))
        self.series.set(self.incident_open, status.name, {(): status.incident is not None})

    def applied(self, instructions: Sequence[Instruction]) -> None:
        """Count what the machine decided."""
        for instruction in instructions:
            match instruction:
                case SaveIncident(incident=incident):
                    self._incident(incident)
                case SavePlan(plan=plan):
                    self._plan(plan)
                case Note(cluster=cluster, entry=entry):
                    self.points.noted(cluster, entry.event)
                case Remember(cluster=cluster, memory=memory):
                    self.points.set(cluster, memory.points)
                case _:
                    pass

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type, in the format that `accept` asks for."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type

    def _incident(self, incident: Incident) -> None:
        if self._first("opened", incident.id):
            self.incidents.labels(incident.cluster, incident.state).inc()
            if incident.maintenance:
                return
            self.detect.labels(incident.cluster).observe(_lasted(incident.fault_since, incident.opened_at))
        if incident.closed_at and not incident.maintenance and self._first("closed", incident.id):
            self.recover.labels(incident.cluster).observe(_lasted(incident.fault_since, incident.closed_at))

    def _plan(self, plan: Plan) -> None:
        waiting = self._waiting.setdefault(plan.cluster, {})
        waiting.pop((plan.id, plan.playbook), None)
        if plan.status is PlanStatus.AWAITING_APPROVAL:
            waiting[plan.id, plan.playbook] = plan.created_at.timestamp()
        self.series.set(self.waiting_since, plan.cluster, waiting)
        self.waiting.labels(plan.cluster).set(len(waiting))
        if plan.status is PlanStatus.RUNNING:
            self._first("ran", plan.id)
        # a superseded plan may never have run; one that succeeded or failed has
        ran = plan.status in (PlanStatus.SUCCEEDED, PlanStatus.FAILED) or ("ran", plan.id) in self._counted
        if not plan.status.open and ran and self._first("ended", plan.id):
            self.actions.labels(plan.cluster, plan.playbook, plan.status).inc()

    def _network(self, observation: Observation) -> None:
        view = observation.network
        if not isinstance(view, NetworkView):
            view = NetworkView(0, {}, {})
        counts = Tally((p.source, p.target, "ok" if p.answer.arrived else "failed") for p in view.probes)
        shown: dict[tuple[str, ...], float] = {
            k: float(n) for k, n in counts.items() if len(view.hosts) <= PAIRS_SHOWN or k[2] == "failed"
        }
        self.series.set(self.probes, observation.cluster, shown)
        wrong: dict[tuple[str, ...], float] = {
            (node,): float(len(p.missing) + len(p.extra)) for node, p in view.pods.items() if isinstance(p, NodePods)
        }
        self.series.set(self.pods_wrong, observation.cluster, wrong)

    def _first(self, what: str, id: str) -> bool:
        if (what, id) in self._counted:
            return False
        self._counted.add((what, id))
        return True


def app(metrics: Metrics, ready: Callable[[], str | None], healthy: Callable[[], str | None]) -> web.Application:
    """Serves /metrics, /-/healthy and /-/ready; the two callables give the reason why not, or None."""

    async def scrape(request: web.Request) -> web.Response:
        body, content_type = metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def probe(ask: Callable[[], str | None]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            trouble = ask()
            return web.Response(status=503 if trouble else 200, text=(trouble or "ok") + "\n")

        return answer

    application = web.Application()
    application.router.add_get("/metrics", scrape)
    application.router.add_get("/-/healthy", probe(healthy))
    application.router.add_get("/-/ready", probe(ready))
    return application


def _lasted(since: datetime, until: datetime) -> float:
    """Seconds; 0 where the clock was set back meanwhile, since a sum that falls is no counter."""
    return max(0.0, (until - since).total_seconds())
