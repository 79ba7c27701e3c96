"""`kubeadm reset` is typed on the only control plane: rebuilt after one approval, from the copies on the machine and a
restore point.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.lab.bastion import Bastion
from tests.lab.certificates import authorities
from tests.lab.kubelab.cluster import Cluster
from tests.lab.loss import is_as_at_the_point, point_of, write_later
from tests.lab.test_one_pki import wait_kept
from tests.lab.witness import boots, ready

CONFIG = "/var/lib/kubelet/config.yaml"


def dumped(daemon: Bastion) -> str:
    return daemon.ctl("dump", daemon.name).stdout


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


@pytest.mark.core("rebuild-control-plane")
def test_a_reset_control_plane_serves_again_after_one_approval(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon, cp1 = bastion(cluster), cluster.node("cp1")
    wait_kept(daemon)
    of_old, booted, point = authorities(cp1), boots(cluster), point_of(daemon)
    # kubelet's configuration is known once kubelet has been up for a while, and of each machine in its own time
    daemon.wait("it is known", lambda: CONFIG in json.loads(dumped(daemon))["memory"]["files"].get("cp1", {}), 300)
    write_later(cp1)
    cp1.sh(f"kubeadm reset -f --cri-socket={cluster.profile.socket}", check=False)
    plan = daemon.approve("rebuild-control-plane", 120)
    assert point in plan["summary"] and plan["destructive"] and plan["destroys"], plan
    daemon.wait("the API server is back", lambda: ready(cp1), 300)
    assert daemon.ended(plan, 400)["status"] == "succeeded", daemon.tail()
    daemon.wait_state("healthy", seconds=300)
    assert authorities(cp1) == of_old
    is_as_at_the_point(cluster)
    cp1.sh("kubectl --kubeconfig /etc/kubernetes/admin.conf wait --for=condition=Ready nodes --all --timeout=90s")
    assert boots(cluster) == booted, "no machine was rebooted"
