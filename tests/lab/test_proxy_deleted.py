"""kube-proxy's DaemonSet is deleted on a running cluster, as on the way to Cilium without kube-proxy: that is nobody's
fault, and nothing is restarted for it. A restore to older data still restarts what has to be restarted.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable

import pytest

from recoverd.model.proxy_operations import DAEMONSET_ANEW
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.test_churn import Watch
from tests.lab.test_operators_day import carried_out, until
from tests.lab.test_worker_network import FAULTS
from tests.lab.witness import boots

DELETE = "kubectl -n kube-system delete daemonset kube-proxy >/dev/null"
LOOKED = 120.0
"""Seconds for which nothing may come of it."""

MAY = {"restart-node-agents", "start-pods", "end-back-off"}
"""What may run for older data: an API server that kubelet lets wait on a busy machine is started before."""


def proxies(cluster: Cluster) -> list[str]:
    """The nodes on which a kube-proxy runs."""
    return [node.name for node in cluster.nodes if node.answers("pidof kube-proxy")]


def restored(s: Bastion, cluster: Cluster, between: str = "") -> None:
    """Older data is put back under the running nodes, and agents are restarted for it. `between` is done after the
    snapshot.
    """
    fault = ["bash", str(FAULTS / "stale-restore"), str(cluster.number), *([between] if between else [])]
    subprocess.run(fault, check=True, stdin=subprocess.DEVNULL)
    s.wait("agents are restarted", lambda: "restart-node-agents" in carried_out(s), 240)


def faults(s: Bastion) -> set[str]:
    return {f["code"] for f in s.status()["findings"] if f["severity"] == "fault"}


@pytest.mark.spoils
def test_it_is_nobodys_fault_and_older_data_still_has_kubelets_restarted(
    bring_up: Callable[..., Cluster], bastion: Callable[..., Bastion]
) -> None:
    cluster = bring_up(control_planes=1, workers=2)
    s = bastion(cluster)
    s.wait_network(cluster)
    first, before, watch = cluster.node("cp1"), boots(cluster), Watch(s)
    try:
        first.sh(DELETE)
        until("no kube-proxy runs", lambda: not proxies(cluster))
        time.sleep(LOOKED)
    finally:
        watch.end()
    assert watch.seen == {} and s.plans(everything=True) == [] and s.incidents() == [], watch.seen

    # rules lead to pods that are gone, and nobody has to write them: whoever asks the service is not answered
    first.sh(
        "kubectl rollout restart deploy/web >/dev/null; kubectl rollout status deploy/web --timeout=180s >/dev/null"
    )
    s.wait_state("worker-network-broken", "escalated", seconds=120)
    assert faults(s) == {"service-unreachable"} and s.plans(everything=True) == []
    status = s.status()
    assert "no DaemonSet wants a kube-proxy" in status["explanation"]
    incident = status["incident"]

    restored(s, cluster)
    assert [i["id"] for i in s.incidents()] == [incident], "nobody has answered the service meanwhile"
    s.wait("nothing is left but that", lambda: faults(s) == {"service-unreachable"}, 300)
    assert not proxies(cluster) and boots(cluster) == before
    assert set(carried_out(s)) <= MAY, carried_out(s)

    # as a person is told to
    asked, given = (command for command in re.findall("`(.*?)`", DAEMONSET_ANEW))
    first.sh(f"cd /root; {asked}; {given} >/dev/null")
    s.wait_state("healthy", seconds=240)
    assert proxies(cluster) == [node.name for node in cluster.nodes]
    configuration = first.sh("kubectl -n kube-system get configmap kube-proxy -o yaml", capture_output=True).stdout
    assert "server: https://k8s-api:6443" in configuration, configuration


@pytest.mark.spoils
def test_older_data_that_has_it_brings_it_back_on_every_node(
    bring_up: Callable[..., Cluster], bastion: Callable[..., Bastion]
) -> None:
    cluster = bring_up(control_planes=1, workers=2)
    s = bastion(cluster)
    s.wait_network(cluster)
    before = boots(cluster)
    restored(s, cluster, DELETE)
    s.wait_state("healthy", seconds=600)
    assert set(carried_out(s)) <= MAY, carried_out(s)
    assert proxies(cluster) == [node.name for node in cluster.nodes] and boots(cluster) == before
