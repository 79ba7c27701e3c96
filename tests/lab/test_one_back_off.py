"""An etcd that was away for minutes and is back: kubelet lets the API server wait all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node
from tests.lab.witness import ready

API, MANIFEST = "kube-apiserver", "/etc/kubernetes/manifests/etcd.yaml"
LOG = f"$(ls -t /var/log/pods/*{API}*/{API}/*.log | head -n 1)"
REFUSED = f"grep -qs '127.0.0.1:2379: connect: connection refused' {LOG}"
ENDS = 4
"""After which kubelet waits for 160 s (observed), with the end of before the boot."""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, workers=1)


def started(node: Node) -> str:
    """Since when its kubelet runs."""
    shown = node.sh("systemctl show --value -p ActiveEnterTimestampMonotonic kubelet", capture_output=True)
    return str(shown.stdout).strip()


@pytest.mark.core("end-back-off")
@pytest.mark.spoils
def test_an_api_server_is_started_at_once_when_its_etcd_serves_again(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    cp1, daemon = cluster.node("cp1"), bastion(cluster)
    daemon.wait_healthy()
    daemon.ctl("pause", daemon.name, "--reason", "etcd's disk is changed")
    cp1.sh(f"mv {MANIFEST} /root/etcd.yaml")
    for _ in range(ENDS):
        # it ends by itself after 20 s without etcd, and there is nothing to see in these
        cp1.wait_for(lambda: cp1.answers(f"pidof {API} && {REFUSED}"), "starts no API server that lacks etcd", 240)
        cp1.sh(f"kill -KILL $(pidof {API})")
        cp1.wait_for(lambda: not cp1.answers(f"pidof {API}"), "does not end its API server", 30)
    before = started(cp1)
    cp1.sh(f"mv /root/etcd.yaml {MANIFEST}")
    cp1.wait_for(lambda: cp1.answers("curl -fs http://127.0.0.1:2381/health | grep -q true"), "has no etcd", 120)
    daemon.ctl("resume", daemon.name)
    daemon.wait_state("healthy", seconds=120)
    assert [(p["playbook"], p["status"]) for p in daemon.plans(everything=True)] == [("end-back-off", "succeeded")]
    assert started(cp1) != before, "kubelet had to be started anew for it, or it came up by itself"
    assert ready(cp1)
    [incident] = daemon.incidents()
    assert incident["outcome"] == "recovered"
