"""One of three control planes with overwritten pages of etcd's database: it is named, and rebuilt from its peers."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster

MANIFESTS = "/etc/kubernetes/manifests"


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, workers=1)


@pytest.mark.core("rebuild-member")
def test_one_of_three_with_overwritten_pages_is_rebuilt_from_its_peers(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon, cp2 = bastion(cluster), cluster.node("cp2")
    others = {n: cluster.node(n).sh("pidof etcd", capture_output=True).stdout for n in ("cp1", "cp3")}
    db = "/var/lib/etcd/member/snap/db"
    cp2.sh(
        f"s=$(stat -c %s {db}); dd if=/dev/urandom of={db} bs=4096 seek=$((s / 16384)) count=$((s / "
        "8192)) conv=notrunc status=none"
    )
    cp2.sh("pkill -9 -x etcd || true")  # it may have ended itself already
    began = time.monotonic()
    plan = daemon.approve("rebuild-member", 120)
    print(f"offered and approved after {time.monotonic() - began:.1f} s: {plan['evidence']}")
    assert "etcd-member-corrupt" in daemon.codes(), daemon.status()
    done = daemon.ended(plan, 300)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=120)
    print(f"healthy {time.monotonic() - began:.1f} s after the damage")
    assert etcd.members(cp2) == ["cp1", "cp2", "cp3"]
    assert {n: cluster.node(n).sh("pidof etcd", capture_output=True).stdout for n in others} == others, (
        "its peers went on"
    )
    assert cp2.answers("ls -d /var/lib/etcd/member.*-*") and cp2.answers(
        f"grep -q -e --initial-cluster-state=existing {MANIFESTS}/etcd.yaml"
    )
    assert not [p for p in daemon.plans(everything=True) if p["playbook"] != "rebuild-member"]
