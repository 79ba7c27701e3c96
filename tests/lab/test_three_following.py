"""One of three control planes whose etcd runs and follows nobody, as behind a firewall that came on or on a disk that
hangs: it is named with its cause, nothing is done to it, and it is well again by itself once that is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node

FILTER = "nft add table inet fw; " + " ".join(
    f'nft "add chain inet fw {hook} {{ type filter hook {hook} priority 0; }}"; '
    f"nft add rule inet fw {hook} tcp dport 2380 drop;"
    for hook in ("input", "output")
)


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, workers=1)


def found(daemon: Bastion, code: str, words: str, began: float) -> None:
    """Until that is said of cp3; connections end some seconds after their way has."""

    def said() -> bool:
        findings = daemon.status()["findings"]
        return any((f["code"], f["subject"]) == (code, "cp3") and words in f["message"] for f in findings)

    daemon.wait(f"{code} is found: {words}", said, 60)
    print(f"{code} after {time.monotonic() - began:.1f} s")


def left_alone(daemon: Bastion, cp3: Node, before: str) -> None:
    daemon.wait_state("healthy", seconds=240)
    assert not daemon.plans(everything=True), daemon.plans(everything=True)
    assert cp3.sh("cat /etc/kubernetes/manifests/etcd.yaml", capture_output=True).stdout == before


def test_one_that_is_cut_off_from_its_peers_and_one_that_hangs(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon, cp3 = bastion(cluster), cluster.node("cp3")
    before = cp3.sh("cat /etc/kubernetes/manifests/etcd.yaml", capture_output=True).stdout
    cp3.sh(FILTER)
    began = time.monotonic()
    found(daemon, "etcd-member-isolated", "no connection to", began)
    daemon.wait("a person is called", lambda: "escalated" in str(daemon.status()), 90)
    # past the time in which kubelet restarts it, after which it answers nothing
    daemon.wait("it was restarted", lambda: time.monotonic() - began > 120, 150)
    found(daemon, "etcd-member-isolated", "no connection to", began)
    cp3.sh("nft delete table inet fw")
    left_alone(daemon, cp3, before)

    cp3.sh("kill -STOP $(pidof etcd)")
    found(daemon, "etcd-member-hangs", "answers nothing", time.monotonic())
    cp3.sh("kill -CONT $(pidof etcd) || true")  # its probe may have ended it meanwhile
    left_alone(daemon, cp3, before)
