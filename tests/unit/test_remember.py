"""What is kept in mind of a healthy cluster, and what must never be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.scene import API
from recoverd.memory.remember import SETTLE, Sights, remember
from recoverd.model.catalogue import Code
from recoverd.model.finding import State
from recoverd.model.memory import Memory
from recoverd.model.observation import EndpointHealth, ManifestView, UnseenKind
from tests.unit.builders import NOW, Cluster, manifest


def looked(cluster: Cluster, memory: Memory, sights: Sights | None = None) -> tuple[Memory, Sights]:
    observation = cluster.observation()
    return remember(
        observation, diagnose(observation, memory, cluster.settings), memory, cluster.settings, sights or {}
    )


def test_the_first_healthy_sweep_records_every_manifest_counts_and_the_watermark() -> None:
    memory, _ = looked(Cluster(3), Memory())
    assert set(memory.manifests) == {"cp1", "cp2", "cp3"}
    assert set(memory.manifests["cp1"]) == {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
    assert memory.watermark is not None and memory.watermark.revision == 1234
    assert memory.node_count == 5


def test_a_sick_cluster_teaches_nothing() -> None:
    memory, _ = looked(Cluster(1, spares=1).join_stuck(), Memory())
    assert memory == Memory()


def test_a_changed_manifest_is_not_known_good_before_it_has_run_for_a_while() -> None:
    memory = Cluster(1).memory()
    edited = manifest("kube-apiserver", "--secure-port=6443", "--mistyped")

    def sweep(seconds: float, sights: Sights) -> tuple[Memory, Sights]:
        cluster = Cluster(1, now=NOW + timedelta(seconds=seconds)).manifest("cp1", "kube-apiserver", edited)
        return looked(cluster, memory, sights)

    after, sights = sweep(0, {})  # kubelet has not acted on it yet: the old process still answers
    assert after.manifests == memory.manifests
    after, sights = sweep(SETTLE - 1, sights)
    assert after.manifests == memory.manifests
    after, _ = sweep(SETTLE, sights)
    assert after.manifests["cp1"]["kube-apiserver"].sha256 == edited.sha256


@pytest.mark.parametrize(
    "damaged", [None, replace(manifest("kube-apiserver"), content="apiVersion", problem="it ends in the middle")]
)
def test_a_control_plane_that_has_served_is_a_part_of_the_cluster_though_its_manifest_is_too_new_to_be_known(
    damaged: ManifestView | None,
) -> None:
    """Seen on the lab: an edit, a new bastion, and a second edit half a minute later left the cluster
    `unobservable`, and no fault was found.
    """

    def cluster() -> Cluster:
        view = replace(manifest("kube-apiserver"), modified_at=NOW - timedelta(seconds=20))
        return Cluster(1).manifest("cp1", API, view).container("cp1", API, started_at=NOW - timedelta(hours=1))

    memory, _ = looked(cluster(), Memory())
    assert API not in memory.manifests["cp1"] and memory.worked == ("cp1",)
    broken = cluster().manifest("cp1", API, damaged).container("cp1", API, running=False).api_down()
    diagnosis = diagnose(broken.observation(), memory, broken.settings)
    assert diagnosis.state is State.APISERVER_DOWN, diagnosis.summary
    assert diagnosis.faults[0].code == (Code.MANIFEST_INVALID if damaged else Code.MANIFEST_MISSING)


def test_an_api_server_that_has_only_just_started_has_not_worked_yet() -> None:
    """A join in its first seconds, beside control planes that have."""
    cluster = (
        Cluster(3)
        .container("cp1", API, started_at=NOW - timedelta(hours=1))
        .container("cp3", API, started_at=NOW - timedelta(seconds=20))
    )
    assert looked(cluster, Memory())[0].worked == ("cp1", "cp2")


def test_a_fault_in_between_starts_the_wait_anew() -> None:
    memory = Cluster(1).memory()
    cluster = Cluster(1).manifest("cp1", "kube-apiserver", manifest("kube-apiserver", "--other"))
    _, sights = looked(cluster, memory)
    assert sights
    _, sights = looked(cluster.api_down(), memory, sights)
    assert not sights


def test_a_manifest_whose_component_is_not_seen_healthy_is_not_recorded() -> None:
    cluster = Cluster(3).ssh_fails("cp2").endpoint("cp3", EndpointHealth.TIMEOUT)
    memory, _ = looked(cluster, Memory())
    assert "cp2" not in memory.manifests
    assert "kube-apiserver" not in memory.manifests.get("cp3", {})


def test_a_manifest_with_the_force_flag_is_never_known_good() -> None:
    cluster = Cluster(1).manifest("cp1", "etcd", manifest("etcd", "--force-new-cluster=true"))
    memory, _ = looked(cluster, Memory())
    assert "etcd" not in memory.manifests.get("cp1", {})


def test_the_watermark_only_rises_within_one_cluster_id() -> None:
    memory = Cluster(1).memory()
    later = Cluster(1, now=NOW + timedelta(minutes=5)).etcd_changed(revision=2000)
    after, _ = looked(later, memory)
    assert after.watermark is not None and after.watermark.revision == 2000
    back = Cluster(1, now=NOW + timedelta(minutes=10)).etcd_changed(revision=900)
    after, _ = looked(back, after)
    assert after.watermark is not None and after.watermark.revision == 2000


def test_known_good_manifests_of_a_machine_that_is_off_are_kept() -> None:
    memory = Cluster(3).memory()
    after, _ = looked(Cluster(3, now=NOW + timedelta(minutes=5)).ssh_fails("cp2", kind=UnseenKind.DENIED), memory)
    assert after.manifests["cp2"] == memory.manifests["cp2"]


def test_what_is_seen_for_the_first_time_is_known_good_when_it_has_been_in_place_for_a_while() -> None:
    """kubelet may not have acted yet on a file that was written a moment before recoverd looked for the first time."""

    def sweep(seconds: float, sights: Sights) -> tuple[Memory, Sights]:
        cluster = Cluster(1, now=NOW + timedelta(seconds=seconds))
        young = replace(manifest("kube-apiserver", "--mistyped"), modified_at=NOW)
        return looked(cluster.manifest("cp1", "kube-apiserver", young), Memory(), sights)

    after, sights = sweep(5, {})
    assert set(after.manifests["cp1"]) == {"etcd", "kube-controller-manager", "kube-scheduler"}
    after, sights = sweep(SETTLE - 1, sights)
    assert "kube-apiserver" not in after.manifests["cp1"]
    after, _ = sweep(SETTLE, sights)
    assert "kube-apiserver" in after.manifests["cp1"]


def test_one_whose_age_nobody_knows_is_known_good_after_it_was_watched_for_as_long() -> None:
    def sweep(seconds: float, sights: Sights) -> tuple[Memory, Sights]:
        cluster = Cluster(1, now=NOW + timedelta(seconds=seconds))
        return looked(cluster.manifest("cp1", "kube-apiserver", manifest("kube-apiserver")), Memory(), sights)

    after, sights = sweep(0, {})
    assert "kube-apiserver" not in after.manifests["cp1"]
    after, _ = sweep(SETTLE, sights)
    assert "kube-apiserver" in after.manifests["cp1"]
