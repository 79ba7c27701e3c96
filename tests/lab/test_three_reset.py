"""`kubeadm reset` is typed on one of three control planes: joined again after one approval, its node as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.certificates import authorities
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node
from tests.lab.test_one_pki import wait_kept
from tests.lab.witness import boots, ready

LABEL = "example.org/rack=7"


def said(node: Node, command: str) -> str:
    return str(node.sh(command, capture_output=True).stdout).strip()


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, workers=1)


@pytest.mark.core("rebuild-control-plane")
@pytest.mark.spoils
def test_one_that_was_reset_is_joined_again_after_one_approval(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon, first, node = (
        bastion(cluster, bounds={"member_down_after": "15s"}),
        cluster.node("cp1"),
        cluster.node("cp3"),
    )
    wait_kept(daemon)
    of_old, booted = authorities(node), boots(cluster)
    serving = said(node, "sha256sum </etc/kubernetes/pki/apiserver.crt")
    first.sh(f"kubectl label node cp3 {LABEL} >/dev/null")
    uid = said(first, "kubectl get node cp3 -o jsonpath='{.metadata.uid}'")
    node.sh(f"kubeadm reset -f --cri-socket={cluster.profile.socket}", check=False)
    daemon.wait("it is named", lambda: "control-plane-reset" in daemon.codes(), 60)
    plan = daemon.approve("rebuild-control-plane", 120)
    assert plan["destructive"] and "join cp3" in plan["summary"], plan
    done = daemon.ended(plan, 600)
    assert done["status"] == "succeeded", daemon.tail()
    daemon.wait_state("healthy", seconds=180)
    assert etcd.members(first) == ["cp1", "cp2", "cp3"] and ready(node)
    assert authorities(node) == of_old
    assert said(node, "sha256sum </etc/kubernetes/pki/apiserver.crt") == serving, "its certificates are those of before"
    first.sh("kubectl wait --for=condition=Ready nodes --all --timeout=90s >/dev/null")
    assert said(first, "kubectl get node cp3 -o jsonpath='{.metadata.uid}'") == uid, "the node is the one that it was"
    assert first.answers(f"kubectl get nodes -l {LABEL},node-role.kubernetes.io/master= -o name | grep -qx node/cp3")
    assert boots(cluster) == booted, "no machine was rebooted"
