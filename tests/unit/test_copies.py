"""A second file that defines a static pod: found whatever it is called, and nothing is planned on such a directory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose import diagnose
from recoverd.machine.guards import defined_twice
from recoverd.model.catalogue import Code
from recoverd.model.effects import rewrites
from recoverd.model.finding import Diagnosis, Severity
from recoverd.model.observation import EndpointHealth
from recoverd.model.operations import MANIFESTS, MovePath, WriteFile
from tests.unit.builders import Cluster, manifest, manifest_of


def copied(key: str, component: str = "kube-apiserver", problem: str = "") -> Cluster:
    cluster = Cluster(1, 1)
    made = manifest_of(component, manifest(component, "--old").content, problem)
    path = f"{MANIFESTS}/{key}" if "." in key else f"{MANIFESTS}/{key}.yaml"
    return cluster.manifest("cp1", key, replace(made, path=path))


def judged(cluster: Cluster) -> Diagnosis:
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings)


@pytest.mark.parametrize("key", ["kube-apiserver.yaml.bak", "kube-apiserver.yaml~", "api-old", "kube-apiserver.yml"])
def test_a_copy_is_a_warning_while_all_is_well_and_the_cause_where_its_pod_ends(key: str) -> None:
    cluster = copied(key)
    found = judged(cluster).find(Code.MANIFEST_COPY)
    assert found and found.severity is Severity.WARNING and f"mv {MANIFESTS}/{key}" in found.message
    down = judged(cluster.api_down(health=EndpointHealth.REFUSED))
    assert down.faults[0].code == Code.MANIFEST_COPY


def test_what_kubelet_cannot_run_and_other_pods_are_no_copies() -> None:
    assert judged(copied("kube-apiserver.yaml.bak", problem="empty")).find(Code.MANIFEST_COPY) is None
    assert judged(copied("kube-vip", "kube-vip")).find(Code.MANIFEST_COPY) is None


def test_a_manifest_that_was_only_renamed_is_not_missing() -> None:
    cluster = copied("kube-apiserver.yaml.bak").manifest("cp1", "kube-apiserver", None)
    found = judged(cluster)
    assert found.find(Code.MANIFEST_MISSING) is None and found.faults == ()
    named = found.find(Code.MANIFEST_COPY)
    assert named and "is not there" in named.message


def test_no_manifest_of_that_pod_is_moved_or_written_and_no_data_from_under_it() -> None:
    found = judged(copied("etcd.yaml.bak", "etcd"))
    own, data = f"{MANIFESTS}/etcd.yaml", "/var/lib/etcd/member"
    aside = MovePath(own, "/etc/kubernetes/recoverd/etcd.yaml")
    for operation in (aside, MovePath(data, f"{data}.old"), WriteFile(own, "", "", "")):
        assert defined_twice("cp1", operation, found) and not defined_twice("cp2", operation, found)
        assert not rewrites(operation, "kube-apiserver")
