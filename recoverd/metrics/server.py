"""What Prometheus scrapes: the state of each cluster, what recoverd did, and how old what it knows is.
OpenMetrics names, base units.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase

from recoverd import __version__
from recoverd.metrics.incidents import IncidentMetrics
from recoverd.metrics.notifications import NotificationMetrics
from recoverd.metrics.points import PointMetrics
from recoverd.metrics.sight import Series, SightMetrics
from recoverd.metrics.sweeps import SweepMetrics
from recoverd.model.events import Instruction, Note, Remember, SaveIncident, SavePlan
from recoverd.model.finding import Phase, State
from recoverd.model.fleet import CommonCause
from recoverd.model.observation import Observation
from recoverd.model.plan import Incident, Plan
from recoverd.model.status import ClusterStatus

PLACES = ("record", "memory", "incident", "plan", "step", "note", "decision", "audit")
"""Where a row of the journal may be that cannot be read."""


class Fleet(Protocol):
    """What goes on in all clusters together."""

    @property
    def acting(self) -> int: ...
    @property
    def called(self) -> tuple[CommonCause, ...]: ...


class Metrics:
    """The registry and everything in it. Labels that no longer apply are taken away, so that no alert
    hangs on a thing that is gone.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
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
        self.observed = Gauge(
            "recoverd_cluster_observed",
            "1 while the configuration says that it is only observed (mode: observe).",
            cluster,
            registry=registry,
        )
        self.never_healthy = Gauge(
            "recoverd_cluster_never_healthy",
            "1 until recoverd has seen it healthy for the first time: the installation is to be finished.",
            cluster,
            registry=registry,
        )
        self.finding = Gauge(
            "recoverd_finding",
            "1 for each finding of the newest sweep.",
            ["cluster", "code", "subject", "severity"],
            registry=registry,
        )
        self.incident_open = Gauge("recoverd_incident_open", "1 while an incident is open.", cluster, registry=registry)
        self.watched = Gauge(
            "recoverd_cluster_watched",
            "1 while this bastion watches the cluster and may act on it; of several bastions, one does.",
            cluster,
            registry=registry,
        )
        self.series = Series()
        self.sight = SightMetrics(registry, self.series)
        self.sweeps = SweepMetrics(registry, self.series)
        self.history = IncidentMetrics(registry, self.series)
        self.points = PointMetrics(registry)
        self.notifications = NotificationMetrics(registry)
        self._of_recoverd(registry)

    def _of_recoverd(self, registry: CollectorRegistry) -> None:
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
        self.store = Gauge(
            "recoverd_store_available",
            "1 while what is done can be journalled; 0 while the bastions' etcd is not there, or refuses it, and "
            "nothing is done.",
            registry=registry,
        )
        self.store.set(1)
        self.shared_fault = Gauge(
            "recoverd_cluster_common_cause",
            "1 while its fault is one that many clusters have together: `recoverd_common_cause_clusters` is above 0 "
            "then, and calls for all of them.",
            ["cluster"],
            registry=registry,
        )
        self._fleet: Callable[[], Fleet] | None = None
        self.acting = Gauge(
            "recoverd_clusters_acting",
            "Clusters of the whole fleet on which plans are under way.",
            registry=registry,
        )
        self.common = Gauge(
            "recoverd_common_cause_clusters",
            "Clusters in which the same fault began together, so that its cause is above them and nothing is done "
            "about it unasked; 0: none. Clusters that were all never seen healthy do not count.",
            registry=registry,
        )
        self.unreadable = Gauge(
            "recoverd_journal_unreadable_rows",
            "Rows of the journal that cannot be read; a cluster's record and memory until it is resumed.",
            ["place"],
            registry=registry,
        )
        self.requests = Counter(
            "recoverd_requests",
            "What persons asked for on the control socket that changes anything, by its answer.",
            ["request", "answer"],
            registry=registry,
        )

    def expect(self, clusters: Iterable[str], playbooks: Collection[str]) -> None:
        """Show the counters of these from 0 on: Prometheus sees no increase in a series
        that appears with its first event.
        """
        self.history.expect(clusters, playbooks)

    def seed(self, incidents: Iterable[Incident], plans: Iterable[Plan]) -> None:
        """Count what the journal holds from before the start, so that the counters do not begin anew."""
        for incident in incidents:
            self.history.incident(incident)
        for plan in plans:
            self.history.plan(plan)

    def configured(self, taken: bool) -> None:
        """The configuration was read, at the start or anew."""
        self.reloaded.set(taken)
        if taken:
            self.reloaded_at.set_to_current_time()

    def journal(self, places: Callable[[], Sequence[str]]) -> None:
        """Show what the journal cannot read, now and from now on, by its place."""
        for place in PLACES:
            self.unreadable.labels(place).set_function(lambda place=place: places().count(place))  # type: ignore[misc]

    def watches(self, cluster: str, mine: bool) -> None:
        """Whether this bastion watches the cluster, and may act on it, from now on."""
        self.watched.labels(cluster).set(mine)

    def shared(self, trouble: Callable[[], str]) -> None:
        """The journal is kept where several bastions keep theirs; `trouble` says why that cannot be used, or ""."""
        self.store.set_function(lambda: float(not trouble()))

    def fleet(self, neighbours: Callable[[], Fleet]) -> None:
        """On how many clusters something is done, and what they have in common, now and from now on."""
        self._fleet = neighbours
        self.acting.set_function(lambda: float(neighbours().acting))
        self.common.set_function(lambda: float(sum(len(cause.clusters) for cause in neighbours().called)))

    def asked(self, request: str, answer: str) -> None:
        """A person has asked for something that changes anything, and has been answered."""
        self.requests.labels(request, answer).inc()

    def forget(self, cluster: str) -> None:
        """The cluster is watched no more: none of its series stays."""
        for collector in list(self.registry._collector_to_names):
            if isinstance(collector, MetricWrapperBase) and "cluster" in collector._labelnames:
                collector.remove_by_labels({"cluster": cluster})
        self.series.forget(cluster)
        self.sight.forget(cluster)
        self.history.forget(cluster)

    def swept(self, observation: Observation, status: ClusterStatus) -> None:
        """Take in one sweep and what the machine made of it."""
        name = observation.cluster
        self.status(status)
        self.sweeps.swept(observation)
        self.sight.swept(observation)
        self.series.set(self.finding, name, {(f.code, f.subject, str(f.severity)): 1.0 for f in status.findings})

    def status(self, status: ClusterStatus) -> None:
        """State and phase, which change between sweeps too."""
        self.series.set(self.state, status.name, {(state,): float(state is status.state) for state in State})
        self.series.set(self.phase, status.name, {(phase,): float(phase is status.phase) for phase in Phase})
        self.series.set(self.paused, status.name, {(): status.paused})
        self.series.set(self.observed, status.name, {(): status.observed})
        self.series.set(self.never_healthy, status.name, {(): status.never_healthy})
        called = self._fleet().called if self._fleet else ()
        self.series.set(self.shared_fault, status.name, {(): any(c.code == status.above for c in called)})
        self.history.waits(status.name)
        self.series.set(self.incident_open, status.name, {(): status.incident is not None})

    def applied(self, instructions: Sequence[Instruction]) -> None:
        """Count what the machine decided."""
        for instruction in instructions:
            match instruction:
                case SaveIncident(incident=incident):
                    self.history.incident(incident)
                case SavePlan(plan=plan):
                    self.history.plan(plan)
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
