"""What Prometheus learns of the sweeps themselves: how long, how late, and what the bastion itself lacked."""

from __future__ import annotations

from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Gauge, Histogram

from recoverd.metrics.sight import Series
from recoverd.model.lease import Held, HeldBy, Unknown
from recoverd.model.network import NetworkView, NodePods
from recoverd.model.observation import Observation

SWEEP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PAIRS_SHOWN = 32
"""Nodes up to which every probed pair has a time series."""


class SweepMetrics:
    """Part of `recoverd.metrics.server.Metrics`."""

    def __init__(self, registry: CollectorRegistry, series: Series) -> None:
        cluster = ["cluster"]
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
        self.stretched = Gauge(
            "recoverd_sweep_stretched_seconds",
            "Seconds from the beginning of the sweep before to that of the newest, where that is longer than the "
            "interval since recoverd does not manage its sweeps; 0: it does.",
            cluster,
            registry=registry,
        )
        self.own = Gauge(
            "recoverd_own_troubles",
            "What recoverd itself lacked in the newest sweep, by number.",
            cluster,
            registry=registry,
        )
        self._series = series
        self._of_the_cluster(registry)

    def _of_the_cluster(self, registry: CollectorRegistry) -> None:
        cluster = ["cluster"]
        self.lease = Gauge(
            "recoverd_cluster_lease",
            "1 for who may act on the cluster: this bastion (held), another one (other), or it "
            "cannot be told (unknown).",
            [*cluster, "state"],
            registry=registry,
        )
        self.probes = Gauge(
            "recoverd_pod_network_probes",
            "Probes of pods in the newest round, by the node that tried and the node tried; of large "
            "clusters only what failed.",
            [*cluster, "source", "target", "result"],
            registry=registry,
        )
        self.pods_wrong = Gauge(
            "recoverd_pods_not_on_node",
            "Pods that the API's list and the node's kubelet do not agree about.",
            [*cluster, "node"],
            registry=registry,
        )

    def swept(self, observation: Observation) -> None:
        """Take in one sweep."""
        name, at = observation.cluster, observation.at.timestamp()
        self._series.set(self.last_sweep, name, {(): at})
        self._series.set(self.behind, name, {(): observation.behind})
        self._series.set(self.stretched, name, {(): observation.stretched})
        lease = {"held": Held, "other": HeldBy, "unknown": Unknown}
        self._series.set(
            self.lease, name, {(state,): float(isinstance(observation.lease, kind)) for state, kind in lease.items()}
        )
        self._series.set(self.own, name, {(): len(observation.own)})
        for source, seconds in observation.durations.items():
            self.sweep.labels(name, source).observe(seconds)
        self._network(observation)

    def _network(self, observation: Observation) -> None:
        view = observation.network
        if not isinstance(view, NetworkView):
            view = NetworkView(0, {}, {})
        counts = Tally((p.source, p.target, "ok" if p.answer.arrived else "failed") for p in view.probes)
        shown: dict[tuple[str, ...], float] = {
            k: float(n) for k, n in counts.items() if len(view.hosts) <= PAIRS_SHOWN or k[2] == "failed"
        }
        self._series.set(self.probes, observation.cluster, shown)
        wrong: dict[tuple[str, ...], float] = {
            (node,): float(len(p.missing) + len(p.extra)) for node, p in view.pods.items() if isinstance(p, NodePods)
        }
        self._series.set(self.pods_wrong, observation.cluster, wrong)
