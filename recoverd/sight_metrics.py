"""What Prometheus learns of machines and etcd members, as the newest sweep saw them."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from recoverd.model.observation import EtcdView, HostView, Observation, Unseen


class Series:
    """The label values that a gauge has for a cluster now, so that those of what is gone can be taken away."""

    def __init__(self) -> None:
        self._labels: dict[tuple[str, str], set[tuple[str, ...]]] = {}

    def set(self, gauge: Gauge, cluster: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Make these the gauge's only values for the cluster."""
        before = self._labels.get((gauge._name, cluster), set())
        for labels in before - values.keys():
            gauge.remove(cluster, *labels)
        for labels, value in values.items():
            gauge.labels(cluster, *labels).set(value)
        self._labels[gauge._name, cluster] = set(values)

    def forget(self, cluster: str) -> None:
        """The gauges have no values for the cluster any more."""
        self._labels = {key: labels for key, labels in self._labels.items() if key[1] != cluster}


class SightMetrics:
    """Part of `recoverd.metrics.Metrics`."""

    def __init__(self, registry: CollectorRegistry, series: Series) -> None:
        member = ["cluster", "member"]
        self.last_seen = Gauge(
            "recoverd_source_last_seen_timestamp_seconds", "When the source was last really seen.", ["cluster", "source", "host"], registry=registry
        )
        self.certificate = Gauge(
            "recoverd_certificate_expiry_timestamp_seconds", "When a certificate expires.", ["cluster", "host", "path"], registry=registry
        )
        self.revision = Gauge("recoverd_etcd_revision", "etcd's revision at a member.", member, registry=registry)
        self.db_size = Gauge("recoverd_etcd_database_size_bytes", "Size of etcd's database file.", member, registry=registry)
        self.db_in_use = Gauge("recoverd_etcd_database_in_use_bytes", "Part of etcd's database that is in use.", member, registry=registry)
        self.db_quota = Gauge("recoverd_etcd_database_quota_bytes", "Quota of etcd's database.", member, registry=registry)
        self._series = series
        self._seen: dict[str, set[tuple[str, str]]] = {}

    def swept(self, observation: Observation) -> None:
        self._sources(observation)
        self._certificates(observation)
        self._etcd(observation)

    def forget(self, cluster: str) -> None:
        """The gauges have no values for the cluster any more."""
        self._seen.pop(cluster, None)

    def _sources(self, observation: Observation) -> None:
        """The time of what was seen now; what is unseen keeps the time when it last was, and what is no longer looked at goes."""
        name, at = observation.cluster, observation.at.timestamp()
        views: dict[tuple[str, str], object] = {("api", ""): observation.api.objects}
        views |= {("etcd", host): view for host, view in observation.etcd.items()}
        views |= {("hosts", host): view for host, view in observation.hosts.items()}
        before = self._seen.setdefault(name, set())
        for source in before - views.keys():
            self.last_seen.remove(name, *source)
        seen = {source for source, view in views.items() if not isinstance(view, Unseen)}
        for source in seen:
            self.last_seen.labels(name, *source).set(at)
        self._seen[name] = (before & views.keys()) | seen

    def _certificates(self, observation: Observation) -> None:
        values: dict[tuple[str, ...], float] = {
            (host, c.path): c.not_after.timestamp()
            for host, view in observation.hosts.items()
            if isinstance(view, HostView)
            for c in view.certificates
        }
        self._series.set(self.certificate, observation.cluster, values)

    def _etcd(self, observation: Observation) -> None:
        views: dict[tuple[str, ...], EtcdView] = {(name,): view for name, view in observation.etcd.items() if isinstance(view, EtcdView)}
        for gauge, field in ((self.revision, "revision"), (self.db_size, "db_size"), (self.db_in_use, "db_in_use"), (self.db_quota, "quota")):
            self._series.set(gauge, observation.cluster, {key: float(getattr(view, field)) for key, view in views.items()})
