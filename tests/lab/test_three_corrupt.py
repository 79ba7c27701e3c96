"""One of three control planes with overwritten pages of etcd's database: it is named, and rebuilt from its peers. And
one that was let in again as a learner, and never promoted: it is given its vote.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.witness import ready

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


@pytest.mark.core("promote-member")
def test_a_learner_that_nobody_promotes_is_given_its_vote(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    """What a join by kubeadm 1.29 leaves that is cut off before the promotion. kubeadm 1.20 adds voters, so a person
    does it here: the member is out, its data aside, and it is back as a learner.
    """
    daemon, cp1, cp3 = bastion(cluster), cluster.node("cp1"), cluster.node("cp3")
    daemon.wait_healthy()
    daemon.ctl("pause", cluster.name, "--reason", "cp3 is let in anew")
    old = next(line.split(", ")[0] for line in etcd.ctl(cp1, "member", "list").splitlines() if ", cp3, " in line)
    cp3.sh(f"mv {MANIFESTS}/etcd.yaml /root/")
    cp3.wait_for(lambda: not cp3.answers("pidof etcd"), "runs etcd without its manifest", 60)
    etcd.ctl(cp1, "member", "remove", old)
    cp3.sh("rm -rf /var/lib/etcd/member")
    add = ("member", "add", "cp3", "--learner", f"--peer-urls=https://{cp3.address}:2380")
    # it is refused while the others have been connected for less than 5 s
    cp3.wait_for(lambda: bool(etcd.ctl(cp1, *add, check=False)), "is not added as a learner", 60)
    cp3.sh(f"grep -q -e --initial-cluster-state=existing /root/etcd.yaml && mv /root/etcd.yaml {MANIFESTS}/")
    cp3.wait_for(lambda: "cp3" in etcd.members(cp1), "does not start its etcd", 120)
    daemon.ctl("resume", cluster.name)
    plan = daemon.approve("promote-member", 300)
    assert "etcd-learner-not-promoted" in daemon.codes(), daemon.status()
    assert any("afterwards 3, 2 needed, 3 healthy" in line for line in plan["evidence"]), plan
    done = daemon.ended(plan, 300)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=120)
    voters = [line for line in etcd.ctl(cp3, "member", "list").splitlines() if line.endswith(", false")]
    assert len(voters) == 3 and ready(cp3)
    assert not [p for p in daemon.plans(everything=True) if p["playbook"] != "promote-member"]
