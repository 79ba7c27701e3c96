"""Three control planes, one machine lost, two machines lost; they stay lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.witness import pods, ready


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, workers=1)


@pytest.mark.core("remove-member")
@pytest.mark.spoils
def test_a_machine_that_is_lost_for_good_is_removed_from_the_members(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon = bastion(cluster, bounds={"member_down_after": "15s", "force_after": "30s"})
    cluster.node("cp3").power_off()
    plan = daemon.approve("remove-member", 90)
    done = daemon.ended(plan, 240)
    assert done["status"] == "succeeded", done
    for name in ("cp1", "cp2"):
        node = cluster.node(name)
        assert etcd.members(node) == ["cp1", "cp2"] and ready(node)


@pytest.mark.spoils
def test_lost_machines(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    """One of three: remove-member is offered and not done. Two of three: quorum lost, and
    force-new-cluster states what survives.
    """
    daemon = bastion(cluster, bounds={"member_down_after": "15s", "force_after": "30s"})
    running = pods(cluster)
    cluster.node("cp3").power_off()
    plan = daemon.wait_plan("remove-member", 90)
    assert daemon.status()["phase"] == "awaiting-approval"
    assert "cp3" in etcd.members(cluster.node("cp1"))
    assert "quorum holds afterwards" in plan["summary"], plan
    assert daemon.ctl("reject", plan["id"], "--reason", "it may come back").returncode == 0
    cluster.node("cp2").power_off()
    daemon.wait("quorum lost is named", lambda: "etcd-quorum-lost" in daemon.codes(), 60)
    plan = daemon.wait_plan("force-new-cluster", 120)
    revision = etcd.revision(cluster.node("cp1"))
    assert f"revision {revision}," in plan["summary"] and any(
        f"its revision {revision} is the highest" in line for line in plan["evidence"]
    ), plan
    assert any("cp2" in line and "OFF" in line for line in plan["destroys"]), plan["destroys"]
    plan = daemon.approve("force-new-cluster")
    done = daemon.ended(plan, 240)
    assert done["status"] == "succeeded", done
    assert etcd.members(cluster.node("cp1")) == ["cp1"]
    assert {n: p.uid for n, p in pods(cluster).items()}.items() <= {n: p.uid for n, p in running.items()}.items()
