"""etcd of three control planes has reached its quota, and kubelet's probe ends its members again and again."""

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
    return bring_up(control_planes=3, workers=1)


@pytest.mark.spoils
def test_members_that_their_probe_restarts_are_not_called_down_and_take_writes_again(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    planes = [cluster.node(n) for n in ("cp1", "cp2", "cp3")]
    for node in planes:
        etcd.set_quota(node, QUOTA)
    daemon = bastion(cluster)
    before = {n.name: n.sh("pidof etcd", capture_output=True).stdout for n in planes}
    print(f"full after {etcd.fill(planes[0])} puts of a megabyte")
    daemon.wait("it is found", lambda: "etcd-nospace" in daemon.codes(), 60)
    seen: set[str] = set()

    def restarted() -> bool:
        seen.update(daemon.codes())
        return all(not n.answers(f"[ \"$(pidof etcd)\" = '{before[n.name].strip()}' ]") for n in planes)

    daemon.wait("kubelet's probe has restarted every member", restarted, 400)
    for _ in range(60):
        seen.update(daemon.codes())
        time.sleep(1)
    print(f"found meanwhile: {sorted(seen)}")
    assert not seen & {"etcd-member-down", "etcd-quorum-lost", "etcd-data-lost"}, seen
    (plan,) = [p for p in daemon.plans() if p["status"] == "awaiting-approval"]
    assert plan["playbook"] == "free-etcd-space"
    began = time.monotonic()
    plan = daemon.approve("free-etcd-space", 120)
    done = daemon.ended(plan, 600)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=180)
    print(f"healthy {time.monotonic() - began:.1f} s after the approval")
    assert not etcd.alarms(planes[0]) and etcd.members(planes[0]) == ["cp1", "cp2", "cp3"]
    planes[0].sh("kubectl create configmap written -n default >/dev/null")
