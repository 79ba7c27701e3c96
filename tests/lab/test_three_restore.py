"""etcd's data deleted on all of three control planes: restored everywhere as one cluster and exactly once, even
when recoverd is killed meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from recoverd.diagnose.setback import BUMP
from tests.lab import etcd, newer
from tests.lab.bastion import Bastion, Shape
from tests.lab.kubelab.cluster import Cluster
from tests.lab.loss import delete_data, is_as_at_the_point, kubelets, planes, point_of, write_later
from tests.lab.witness import boots, ready

NAMES = ["cp1", "cp2", "cp3"]


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, workers=1)


def offered(cluster: Cluster, daemon: Bastion) -> Shape:
    """The plan, approved, after a restore point was taken and everything deleted."""
    for node in planes(cluster):
        node.sh("rm -rf /var/lib/etcd/restored-*")  # an earlier test's
    point = point_of(daemon)
    write_later(cluster.node("cp1"))
    delete_data(cluster)
    plan = daemon.approve("restore-etcd-snapshot", 180)
    assert point in plan["summary"], plan
    return plan


def is_restored_once(cluster: Cluster, daemon: Bastion, plan: Shape) -> None:
    """One plan did it, and each member is one of the same new cluster, made of the point a single time."""
    approved = time.monotonic()
    done = daemon.ended(plan, 600)
    assert done["status"] == "succeeded", (done, daemon.tail())
    print(f"done {time.monotonic() - approved:.1f} s after")
    daemon.wait_state("healthy", seconds=240)
    print(f"healthy {time.monotonic() - approved:.1f} s after")
    acted = [p for p in daemon.plans(everything=True) if p["status"] not in ("superseded", "expired")]
    assert [p["id"] for p in acted] == [plan["id"]], acted
    assert len({etcd.ctl(node, "member", "list") for node in planes(cluster)}) == 1
    for node in planes(cluster):
        assert ready(node) and etcd.members(node) == NAMES
        assert node.answers("test $(ls -d /var/lib/etcd/restored-* | wc -l) = 1"), node.name
    is_as_at_the_point(cluster)


def test_deleted_everywhere_and_killed_during_the_restore(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    daemon, booted = bastion(cluster), boots(cluster)
    plan = offered(cluster, daemon)
    daemon.wait(
        "the second member is made",
        lambda: any("restore the snapshot on cp2" in step for step in daemon.begun(plan)),
        240,
        every=0.05,
    )
    daemon.kill()
    begun = daemon.begun(plan)
    assert not any("start etcd" in step for step in begun), begun
    daemon.start()
    is_restored_once(cluster, daemon, plan)
    again = [step for step in set(daemon.begun(plan)) if daemon.begun(plan).count(step) > 1]
    print(f"begun more than once: {again}")
    assert again in ([], [begun[-1]])
    assert boots(cluster) == booted, "no machine was rebooted"


@pytest.mark.spoils
def test_with_a_newer_etcd_revisions_go_on_and_no_agent_is_restarted(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    newer.upgrade(cluster)
    kubelet, revision = kubelets(cluster), etcd.revision(cluster.node("cp1"))
    daemon = bastion(cluster, points={"programs": str(newer.PROGRAMS)})
    plan = offered(cluster, daemon)
    assert "revisions raised by" in plan["summary"]
    is_restored_once(cluster, daemon, plan)
    assert etcd.revision(cluster.node("cp1")) > revision + BUMP // 2
    assert kubelets(cluster) == kubelet, "nobody who watches had to be restarted"
