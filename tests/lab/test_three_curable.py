"""Members that are stopped and not lost, for a reason that a person can cure: it is named, and nothing is forced,
removed, restarted or rebooted.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster

FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
WRONG = f"sed -i 's/^KUBELET_KUBEADM_ARGS=\"/&--no-such-flag=1 /' {FLAGS}"
RIGHT = f"sed -i 's/--no-such-flag=1 //' {FLAGS}"
LASTS = 60.0
"""Seconds for which nothing may be offered; the patience of the tests' bounds is half of it."""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, workers=1)


def says(daemon: Bastion, code: str, words: str) -> bool:
    return any(f["code"] == code and words in f["message"] for f in daemon.status()["findings"])


def nothing_is_offered(daemon: Bastion, seconds: float = LASTS) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert not [p for p in daemon.plans(everything=True) if p["status"] != "superseded"], daemon.plans(
            everything=True
        )
        time.sleep(2)


@pytest.mark.spoils
def test_two_kubelets_that_end_at_once_are_named_and_one_cured_brings_quorum_back(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon = bastion(cluster, bounds={"member_down_after": "15s", "force_after": "30s"})
    for name in ("cp2", "cp3"):
        cluster.node(name).sh(f"{WRONG}; systemctl restart kubelet || true; kill -9 $(pidof etcd)")
    for code, words in (("kubelet-down", "--no-such-flag"), ("etcd-quorum-lost", "lost quorum")):
        daemon.wait(f"{code} is found", lambda code=code, words=words: says(daemon, code, words), 90)
    daemon.wait(
        "why nothing is forced is told",
        lambda: "as soon as etcd runs again on cp2, cp3" in daemon.status()["explanation"],
        60,
    )
    nothing_is_offered(daemon)
    revision = etcd.revision(cluster.node("cp1"))
    cluster.node("cp2").sh(f"{RIGHT}; systemctl restart kubelet")
    daemon.wait(
        "quorum is back",
        lambda: "etcd-quorum-lost" not in daemon.codes() and etcd.revision(cluster.node("cp1")) > revision,
        120,
    )
    cluster.node("cp3").sh(f"{RIGHT}; systemctl restart kubelet")
    daemon.wait_state("healthy", seconds=180)


@pytest.mark.spoils
def test_a_member_on_a_disk_that_is_read_only_is_not_removed(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    daemon, cp2 = bastion(cluster, bounds={"member_down_after": "15s"}), cluster.node("cp2")
    cp2.sh("mount --bind /var/lib/etcd /var/lib/etcd; mount -o remount,ro,bind /var/lib/etcd; kill -9 $(pidof etcd)")
    daemon.wait(
        "the read-only file system is found", lambda: says(daemon, "file-system-read-only", "/var/lib/etcd"), 120
    )
    daemon.wait("why it is not removed is told", lambda: "stopped and not lost" in daemon.status()["explanation"], 90)
    nothing_is_offered(daemon)
    cp2.sh("umount /var/lib/etcd; systemctl restart kubelet")
    daemon.wait_state("healthy", seconds=180)


@pytest.mark.spoils
def test_a_workers_kubelet_that_ends_at_once_is_neither_restarted_nor_rebooted(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon, w1 = bastion(cluster), cluster.node("w1")
    w1.sh(f"{WRONG}; systemctl restart kubelet || true")
    daemon.wait("the flag is named", lambda: says(daemon, "worker-kubelet-down", "--no-such-flag"), 120)
    nothing_is_offered(daemon)
    assert "kubeadm-flags.env" in daemon.status()["explanation"]
    w1.sh(f"{RIGHT}; systemctl restart kubelet")
    daemon.wait_state("healthy", seconds=120)
