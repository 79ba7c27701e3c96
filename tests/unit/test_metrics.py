"""What is exported: counters that start at 0, times of what is looked at still, and nothing of what is gone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from prometheus_client.samples import Sample

from recoverd.metrics.server import Metrics
from recoverd.model.events import Note, Remember
from recoverd.model.finding import State
from recoverd.model.fleet import CommonCause
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.plan import TimelineEntry
from recoverd.model.status import ClusterStatus
from recoverd.playbooks import registry
from tests.unit.builders import NOW, Cluster
from tests.unit.test_points import point


def healthy() -> ClusterStatus:
    return ClusterStatus("prod", State.HEALTHY, None, NOW, False, "", "", (), None, None, None, NOW, "")


def samples(metrics: Metrics, name: str) -> list[Sample]:
    return [s for family in metrics.registry.collect() for s in family.samples if s.name == name]


def sources(metrics: Metrics) -> dict[tuple[str, str], float]:
    found = samples(metrics, "recoverd_source_last_seen_timestamp_seconds")
    return {(s.labels["source"], s.labels["host"]): s.value for s in found}


def sweep(metrics: Metrics, observation: Observation) -> None:
    metrics.swept(observation, healthy())


def test_counters_are_there_before_anything_happened() -> None:
    metrics = Metrics()
    metrics.expect(["prod"], [p.name for p in registry()])
    found = samples(metrics, "recoverd_actions_total")
    assert {s.labels["playbook"] for s in found} == {p.name for p in registry()}
    assert {s.labels["outcome"] for s in found} == {"succeeded", "failed", "superseded"}
    assert {s.labels["state"] for s in samples(metrics, "recoverd_incidents_total")} == {
        "apiserver-down",
        "etcd-stuck",
        "worker-network-broken",
    }
    assert {s.value for s in found} == {0.0}


def test_an_unseen_source_keeps_the_time_when_it_was_seen() -> None:
    metrics, cluster = Metrics(), Cluster()
    sweep(metrics, cluster.observation())
    before = sources(metrics)[("hosts", "w1")]
    cluster.ssh_fails("w1")
    cluster.now = NOW + timedelta(minutes=1)
    later = cluster.observation()
    sweep(metrics, later)
    assert sources(metrics)[("hosts", "w1")] == before
    assert sources(metrics)[("hosts", "w2")] == later.at.timestamp() > before


def test_a_source_that_is_no_longer_looked_at_goes() -> None:
    metrics = Metrics()
    sweep(metrics, Cluster(workers=2).observation())
    assert ("hosts", "w2") in sources(metrics)
    sweep(metrics, Cluster(workers=1).observation())
    assert ("hosts", "w2") not in sources(metrics)
    assert ("hosts", "w1") in sources(metrics)
    assert ("api", "") in sources(metrics)


def test_restore_points_are_there_from_the_start_and_follow_the_memory() -> None:
    def value(name: str, **labels: str) -> float:
        return next(s.value for s in samples(metrics, name) if labels.items() <= s.labels.items())

    metrics = Metrics()
    metrics.points.expect("prod", 7200.0, ())
    verified, newest = point(1, age=7200.0), point(2, verified=False)
    assert (
        value("recoverd_restore_point_timestamp_seconds")
        == value("recoverd_restore_point_verified_timestamp_seconds")
        == 0
    )
    assert value("recoverd_restore_point_attempts_total", outcome="failed") == 0
    notes = [
        Note("prod", "", TimelineEntry(NOW, event, ""))
        for event in ("restore-point-failed", "restore-point-taken", "restore-point-started")
    ]
    metrics.applied([*notes, Remember("prod", Memory(points=(verified, newest)))])
    assert value("recoverd_restore_point_timestamp_seconds") == newest.taken_at
    assert value("recoverd_restore_point_verified_timestamp_seconds") == verified.taken_at
    assert (value("recoverd_restore_points"), value("recoverd_restore_points_size_bytes")) == (2, 2 << 20)
    assert [value("recoverd_restore_point_attempts_total", outcome=o) for o in ("taken", "failed")] == [1, 1]


@dataclass
class Neighbours:
    called: tuple[CommonCause, ...]
    acting: int = 0


def test_a_fault_is_shown_as_a_common_one_for_as_long_as_somebody_is_called_for_all() -> None:
    """Then the cluster's own alerts are silent; not for another fault, nor once the others have recovered."""
    metrics = Metrics()
    around = Neighbours((CommonCause("kubelet-down", ("east", "prod", "west"), NOW),))
    metrics.fleet(lambda: around)

    def shown(above: str) -> float:
        metrics.status(replace(healthy(), state=State.WORKER_NETWORK_BROKEN, above=above))
        (sample,) = samples(metrics, "recoverd_cluster_common_cause")
        return sample.value

    assert (shown("kubelet-down"), shown("node-cut-off"), shown("")) == (1.0, 0.0, 0.0)
    around.called = ()
    assert shown("kubelet-down") == 0.0
