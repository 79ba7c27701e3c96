"""What Prometheus learns of machines and etcd members, as the newest sweep saw them."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from recoverd.model.etcd import EtcdView
from recoverd.model.observation import HostView, Observation, Unseen


class Series:
    """What a gauge has for a cluster now, by its other labels, so that the series of what is gone can be taken away.

    They are kept with their values: a gauge takes long to find one by its labels, and most of what a
    sweep would set is so already.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], dict[tuple[str, ...], tuple[Gauge, float]]] = {}

    def set(self, gauge: Gauge, cluster: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Make these the gauge's only values for the cluster."""
        kept = self._kept.setdefault((gauge._name, cluster), {})
        for labels in kept.keys() - values.keys():
            gauge.remove(cluster, *labels)
            del kept[labels]
        for labels, value in values.items():
            series, before = kept.get(labels, (None, None))
            if series is None:
                series = gauge.labels(cluster, *labels)
            if value != before:
                series.set(value)
                kept[labels] = series, value

    def forget(self, cluster: str) -> None:
        """The gauges have no values for the cluster any more."""
        self._kept = {key: series for key, series in self._kept.items() if key[1] != cluster}


class SightMetrics:
    """Part of `recoverd.metrics.server.Metrics`."""

    def __init__(self, registry: CollectorRegistry, series: Series) -> None:
        member = ["cluster", "member"]
        self.last_seen = Gauge(
            "recoverd_source_last_seen_timestamp_seconds",
            "When the source was last really seen.",
            ["cluster", "source", "host"],
            registry=registry,
        )
        self.certificate = Gauge(
            "recoverd_certificate_expiry_timestamp_seconds",
            "When a certificate expires.",
            ["cluster", "host", "path"],
            registry=registry,
        )
        self.credential = Gauge(
            "recoverd_credential_expiry_timestamp_seconds",
            "When a credential of recoverd itself expires, with which it asks the cluster.",
            ["cluster", "kind"],
            registry=registry,
        )
        self.revision = Gauge("recoverd_etcd_revision", "etcd's revision at a member.", member, registry=registry)
        self.db_size = Gauge(
            "recoverd_etcd_database_size_bytes", "Size of etcd's database file.", member, registry=registry
        )
        self.db_in_use = Gauge(
            "recoverd_etcd_database_in_use_bytes", "Part of etcd's database that is in use.", member, registry=registry
        )
        self.db_quota = Gauge(
            "recoverd_etcd_database_quota_bytes", "Quota of etcd's database.", member, registry=registry
        )
        self._series = series
        self._seen: dict[str, dict[tuple[str, ...], float]] = {}

    def swept(self, observation: Observation) -> None:
        self._sources(observation)
        self._certificates(observation)
        self._etcd(observation)

    def forget(self, cluster: str) -> None:
        """The gauges have no values for the cluster any more."""
        self._seen.pop(cluster, None)

    def _sources(self, observation: Observation) -> None:
        """The time of what was seen now; what is unseen keeps the time when it last was, and
        what is no longer looked at goes.
        """
        name, at = observation.cluster, observation.at.timestamp()
        views: dict[tuple[str, ...], object] = {("api", ""): observation.api.objects}
        views |= {("etcd", host): view for host, view in observation.etcd.items()}
        views |= {("hosts", host): view for host, view in observation.hosts.items()}
        before = {source: last for source, last in self._seen.get(name, {}).items() if source in views}
        self._seen[name] = before | {source: at for source, view in views.items() if not isinstance(view, Unseen)}
        self._series.set(self.last_seen, name, self._seen[name])

    def _certificates(self, observation: Observation) -> None:
        values: dict[tuple[str, ...], float] = {
            (host, c.path): c.not_after.timestamp()
            for host, view in observation.hosts.items()
            if isinstance(view, HostView)
            for c in view.certificates
        }
        self._series.set(self.certificate, observation.cluster, values)
        until = observation.api.credentials_expire
        own: dict[tuple[str, ...], float] = {("kubeconfig",): until.timestamp()} if until else {}
        self._series.set(self.credential, observation.cluster, own)

    def _etcd(self, observation: Observation) -> None:
        views: dict[tuple[str, ...], EtcdView] = {
            (name,): view for name, view in observation.etcd.items() if isinstance(view, EtcdView)
        }
        for gauge, field in (
            (self.revision, "revision"),
            (self.db_size, "db_size"),
            (self.db_in_use, "db_in_use"),
            (self.db_quota, "quota"),
        ):
            self._series.set(
                gauge, observation.cluster, {key: float(getattr(view, field)) for key, view in views.items()}
            )
