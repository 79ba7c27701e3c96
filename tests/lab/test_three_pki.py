"""Three control planes on which every leaf certificate is over: no member trusts
another, so none can come back alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.certificates import END, authorities, expire, serving
from tests.lab.kubelab.cluster import Cluster
from tests.lab.loss import ASK, planes
from tests.lab.witness import boots, ready


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, workers=1)


def test_all_over_on_three_and_renewed_after_approval(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    daemon, booted = bastion(cluster), boots(cluster)
    of_old = {node.name: authorities(node) for node in planes(cluster)}
    for node in planes(cluster):
        expire(node)
    for node in planes(cluster):
        node.sh(END)
    began = time.monotonic()
    daemon.wait("it is found", lambda: "certificate-expired" in daemon.codes(), 90)
    plan = daemon.approve("renew-certificates", 180)
    print(f"offered and approved after {time.monotonic() - began:.1f} s: {plan['summary']}")
    done = daemon.ended(plan, 600)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=240)
    print(f"healthy {time.monotonic() - began:.1f} s after the fault")
    for node in planes(cluster):
        assert serving(node) > datetime.now(UTC) + timedelta(days=300) and authorities(node) == of_old[node.name]
        assert ready(node) and etcd.members(node) == ["cp1", "cp2", "cp3"]
    cluster.node("cp1").sh(
        "kubectl --kubeconfig /etc/kubernetes/admin.conf wait --for=condition=Ready nodes --all --timeout=90s"
    )
    assert len(cluster.node("w1").sh(ASK, capture_output=True).stdout.split()) >= 6
    assert boots(cluster) == booted
