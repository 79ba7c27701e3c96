"""A restore point is taken; then etcd's data is deleted on the only control plane: restored, and the
API and the workload are back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from recoverd.diagnose.setback import BUMP
from tests.lab import etcd, newer
from tests.lab.bastion import Bastion, Shape
from tests.lab.kubelab.cluster import Cluster
from tests.lab.loss import delete_data, is_as_at_the_point, kubelets, point_of, write_later
from tests.lab.witness import boots, ready


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


def restored(cluster: Cluster, daemon: Bastion) -> Shape:
    """Everything is deleted after a restore point was taken; the plan, when it has
    succeeded and the cluster is healthy.
    """
    cp1, point = cluster.node("cp1"), point_of(daemon)
    write_later(cp1)
    booted = boots(cluster)
    delete_data(cluster)
    began = time.monotonic()
    plan = daemon.wait_plan("restore-etcd-snapshot", 90)
    print(f"offered after {time.monotonic() - began:.1f} s: {plan['summary']}")
    assert "etcd-data-lost" in daemon.codes()
    assert point in plan["summary"] and any("revisions" in line for line in plan["destroys"]), plan
    plan = daemon.approve("restore-etcd-snapshot")
    approved = time.monotonic()
    daemon.wait(
        "the API server is back",
        lambda: ready(cp1) and "web" in cp1.sh("kubectl get pods", capture_output=True, check=False).stdout,
        240,
    )
    print(f"API back {time.monotonic() - approved:.1f} s after the approval")
    done = daemon.ended(plan, 300)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=240)
    print(f"healthy {time.monotonic() - approved:.1f} s after the approval")
    is_as_at_the_point(cluster)
    assert boots(cluster) == booted, "no machine was rebooted"
    assert cp1.answers(f"ls -d /var/lib/etcd/member.{plan['incident']}-*"), (
        "the data of the empty cluster is kept aside"
    )
    return done


@pytest.mark.core("restore-etcd-snapshot")
def test_deleted_data_is_restored_and_the_workload_is_back(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    cp1, kubelet = cluster.node("cp1"), kubelets(cluster)
    revision = etcd.revision(cp1)
    restored(cluster, bastion(cluster))
    assert etcd.revision(cp1) < revision + 500, "this etcdctl knows no bump"
    assert not kubelets(cluster).items() & kubelet.items(), "every kubelet was started anew"


def test_wrong_data_is_taken_back_to_the_point_that_a_person_names(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon, cp1 = bastion(cluster), cluster.node("cp1")
    point = point_of(daemon)
    write_later(cp1)
    cp1.sh("kubectl delete deployment web --wait=false >/dev/null")
    unnamed = daemon.ctl("run", "restore-etcd-snapshot", cluster.name)
    assert unnamed.returncode != 0 and "--point" in unnamed.stderr
    asked = daemon.ctl(
        "run", "restore-etcd-snapshot", cluster.name, "--point", point, "--reason", "web was deleted by mistake"
    )
    assert asked.returncode == 0, asked.stderr
    plan = daemon.approve("restore-etcd-snapshot")
    assert point in plan["summary"] and plan["requested_by"] == "root"
    done = daemon.ended(plan, 300)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=240)
    cp1.sh("kubectl rollout status deploy/web --timeout=120s")
    is_as_at_the_point(cluster)
    assert cp1.answers(f"ls -d /var/lib/etcd/member.{plan['incident']}-*"), "what a person called wrong is kept aside"


@pytest.mark.spoils
def test_with_a_newer_etcd_revisions_go_on_and_no_agent_is_restarted(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    newer.upgrade(cluster)
    cp1, kubelet = cluster.node("cp1"), kubelets(cluster)
    revision = etcd.revision(cp1)
    plan = restored(cluster, bastion(cluster, points={"programs": str(newer.PROGRAMS)}))
    assert "revisions raised by" in plan["summary"]
    assert etcd.revision(cp1) > revision + BUMP // 2
    assert kubelets(cluster) == kubelet, "nobody who watches had to be restarted"
