"""etcd of one control plane has reached its quota: history is dropped and it takes writes again; where
objects fill it, they are named.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster

QUOTA = 40 << 20


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


@pytest.mark.spoils
@pytest.mark.core("free-etcd-space")
def test_an_etcd_that_has_reached_its_quota_takes_writes_again(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    cp1 = cluster.node("cp1")
    etcd.set_quota(cp1, QUOTA)
    daemon = bastion(cluster)
    print(f"full after {etcd.fill(cp1)} puts of a megabyte")
    began = time.monotonic()
    plan = daemon.approve("free-etcd-space", 120)
    assert not plan["destructive"] and any("fill/: 1 keys" in line for line in plan["evidence"]), plan["evidence"]
    done = daemon.ended(plan, 400)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=120)
    print(f"healthy {time.monotonic() - began:.1f} s after it was full")
    assert not etcd.alarms(cp1)
    cp1.sh(
        "kubectl create configmap written -n default >/dev/null; kubectl get configmap written -n default >/dev/null"
    )
    # the same again with objects that take more than a smaller quota: nothing is there to be freed, and
    # what takes the most is named
    etcd.ctl(cp1, "del", "fill/one")
    print(f"full after {etcd.fill(cp1, objects=True)} objects of a megabyte")
    etcd.set_quota(cp1, 30 << 20, full=True)
    daemon.wait("what takes the most is named", lambda: "fill/: " in daemon.status()["explanation"], 180)
    assert not [p for p in daemon.plans() if p["status"] == "awaiting-approval"], daemon.status()
    assert etcd.alarms(cp1), "nobody took the alarm back"
