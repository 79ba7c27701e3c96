"""Three control planes: peace and quiet, one manifest lost, and one that must not be put back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.witness import ready

MANIFESTS = "/etc/kubernetes/manifests"
ALONE = float(os.environ.get("LAB_ALONE_SECONDS", "60"))
"""How long the cluster is left alone; 600 was run by hand."""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, workers=1)


def test_left_alone_and_rebooted_by_hand_it_is_left_alone(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    daemon = bastion(cluster)
    deadline = time.monotonic() + ALONE
    while time.monotonic() < deadline:
        assert daemon.status()["state"] == "healthy", daemon.ctl("status").stdout
        time.sleep(2)
    assert daemon.incidents() == []
    for name in ("cp3", "w1", "cp2", "cp1"):
        node = cluster.node(name)
        node.reboot()
        node.wait_for(
            lambda n=node: n.name == "w1" or (n.answers() and ready(n)),
            "is not ready",
            120,
        )
    daemon.wait_state("healthy", seconds=120)
    ran = [p for p in daemon.plans(everything=True) if p["status"] in ("running", "succeeded", "failed")]
    assert ran == []
    assert [p for p in daemon.plans(everything=True) if p["destructive"]] == []


def test_etcds_manifest_deleted_on_one_of_three_is_put_back(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    daemon = bastion(cluster)
    cluster.node("cp2").sh(f"rm {MANIFESTS}/etcd.yaml")
    daemon.wait("it is found", lambda: "etcd-manifest-missing" in daemon.codes(), 30)
    daemon.wait_state("healthy", seconds=60)
    [incident] = daemon.incidents()
    assert (incident["state"], incident["outcome"]) == ("etcd-stuck", "recovered")
    assert [(p["playbook"], p["status"]) for p in daemon.plans(everything=True)] == [("restore-manifest", "succeeded")]
    assert etcd.members(cluster.node("cp2")) == ["cp1", "cp2", "cp3"]


def test_an_etcd_manifest_is_not_put_back_over_an_empty_data_directory(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """It would begin a second, empty cluster: kubeadm's first member says initial-cluster-state new."""
    daemon = bastion(cluster)
    cp1 = cluster.node("cp1")
    cp1.sh(
        f"mv {MANIFESTS}/etcd.yaml /root/; while pidof etcd; do sleep 0.3; done >/dev/null; mv "
        "/var/lib/etcd/member /root/member"
    )
    try:
        daemon.wait("it is found", lambda: "etcd-data-directory-empty" in daemon.codes(), 60)
        daemon.wait(
            "it is refused",
            lambda: "restore-manifest: /var/lib/etcd on cp1 is empty" in daemon.status()["explanation"],
            60,
        )
        assert not cp1.answers(f"test -e {MANIFESTS}/etcd.yaml")
        assert [p for p in daemon.plans(everything=True) if p["status"] in ("running", "succeeded", "failed")] == []
    finally:
        cp1.sh(f"mv /root/member /var/lib/etcd/member; mv /root/etcd.yaml {MANIFESTS}/")
    daemon.wait_state("healthy", seconds=90)
