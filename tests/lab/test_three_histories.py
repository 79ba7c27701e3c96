"""Three control planes of which one has forgotten what it acknowledged, as a machine that was rolled back; and on each
of which the same snapshot was restored by itself, so that three clusters answer behind one address.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.host import run
from tests.lab.kubelab.node import Node
from tests.lab.loss import planes
from tests.lab.witness import boots

MANIFESTS = "/etc/kubernetes/manifests"
AWAY = (
    f"mkdir -p /root/m; mv {MANIFESTS}/{{etcd,kube-apiserver}}.yaml /root/m/; "
    "while pidof etcd >/dev/null; do sleep 0.5; done"
)
BACK = f"mv /root/m/*.yaml {MANIFESTS}/"


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, workers=1)


def leads(cluster: Cluster, name: str) -> bool:
    """Its member commits what is proposed."""
    ask = etcd.command(cluster.node(name), "endpoint", "health", "--command-timeout=3s")
    return subprocess.run(ask, capture_output=True, timeout=30).returncode == 0


@pytest.mark.spoils
def test_a_member_that_was_rolled_back_is_rebuilt_from_its_peers(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """`tocommit is out of range` (etcd-io/etcd #13509): it acknowledged what its disk has no more."""
    daemon, cp2 = bastion(cluster, bounds={"member_down_after": "15s"}), cluster.node("cp2")
    daemon.ctl("pause", cluster.name, "--reason", "cp2 is rolled back")
    cp2.sh(f"{AWAY}; cp -a /var/lib/etcd/member /root/member.old; {BACK}")
    cp2.wait_for(lambda: leads(cluster, "cp2"), "has not caught up", 180)
    puts = "".join(f"put later/{n} x\n" for n in range(100))
    run(etcd.command(cluster.node("cp1"), "txn"), input=f"\n{puts}\n\n", capture_output=True)
    for n in range(10):  # entries of their own in the log, whose number is what it forgets
        etcd.ctl(cluster.node("cp1"), "put", f"later/{n}", "y")
    cp2.sh(f"{AWAY}; rm -rf /var/lib/etcd/member; cp -a /root/member.old /var/lib/etcd/member; {BACK}")
    daemon.ctl("resume", cluster.name)
    began = time.monotonic()
    plan = daemon.wait_plan("rebuild-member", 240)
    print(f"offered after {time.monotonic() - began:.0f} s: {daemon.status()['explanation']}")
    assert any("tocommit" in line or "out of range" in line for line in plan["evidence"]), plan
    done = daemon.ended(daemon.approve("rebuild-member"), 400)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=240)
    assert etcd.members(cp2) == ["cp1", "cp2", "cp3"]
    assert "later/99" in etcd.ctl(cp2, "get", "later/99")


@pytest.mark.spoils
def test_one_snapshot_restored_on_each_by_itself_stops_everything_unasked(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """kubernetes/kubeadm #2641: without names, every machine gets the same member and cluster id."""
    daemon, machines = bastion(cluster), planes(cluster)
    booted = boots(cluster)
    daemon.ctl("pause", cluster.name, "--reason", "a restore by hand")
    snapshot = cluster.dir / "by-hand.db"
    etcd.ctl(machines[0], "snapshot", "save", str(snapshot))

    def restore(node: Node) -> None:
        node.sh(AWAY)
        etcd.restore(snapshot, node)
        node.sh(BACK)

    with ThreadPoolExecutor() as threads:
        list(threads.map(restore, machines))
    for node in machines:
        node.wait_for(lambda n=node: leads(cluster, n.name), "does not lead its own", 180)
        assert len(etcd.members(node)) == 1, "each is a cluster of its own"
    daemon.ctl("resume", cluster.name)
    began = time.monotonic()
    daemon.wait("their histories are found", lambda: "etcd-cluster-id-differs" in daemon.codes(), 90)
    print(f"found after {time.monotonic() - began:.0f} s: {daemon.status()['explanation']}")
    daemon.wait("a person is called", lambda: daemon.status()["phase"] in ("escalated", "awaiting-approval"), 120)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        ran = [p for p in daemon.plans(everything=True) if p["status"] not in ("superseded", "awaiting-approval")]
        assert not ran, ran
        time.sleep(2)
    assert boots(cluster) == booted
