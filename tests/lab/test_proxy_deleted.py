"""kube-proxy's DaemonSet is deleted on a running cluster, as on the way to Cilium without kube-proxy: that is nobody's
fault, and nothing is restarted for it. A restore to older data still restarts what has to be restarted.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.test_churn import Watch
from tests.lab.test_operators_day import carried_out, until
from tests.lab.test_worker_network import FAULTS
from tests.lab.witness import boots

DELETE = "kubectl -n kube-system delete daemonset kube-proxy >/dev/null"
LOOKED = 120.0
"""Seconds for which nothing may come of it."""


def proxies(cluster: Cluster) -> list[str]:
    """The nodes on which a kube-proxy runs."""
    return [node.name for node in cluster.nodes if node.answers("pidof kube-proxy")]


def restored(s: Bastion, cluster: Cluster, between: str = "") -> dict[str, object]:
    """The plan that older data was answered by, once all is well again. `between` is done after the snapshot."""
    fault = ["bash", str(FAULTS / "stale-restore"), str(cluster.number), *([between] if between else [])]
    subprocess.run(fault, check=True, stdin=subprocess.DEVNULL)
    s.wait("agents are restarted", lambda: "restart-node-agents" in carried_out(s), 240)
    s.wait_state("healthy", seconds=600)
    plans = [p for p in s.plans(everything=True) if p["playbook"] == "restart-node-agents"]
    assert {p["status"] for p in plans} == {"succeeded"}, plans
    assert set(carried_out(s)) <= {"restart-node-agents", "start-pods"}, carried_out(s)
    return dict(plans[0])


@pytest.mark.spoils
def test_it_is_nobodys_fault_and_older_data_still_has_kubelets_restarted(
    bring_up: Callable[..., Cluster], bastion: Callable[..., Bastion]
) -> None:
    cluster = bring_up(control_planes=1, workers=2)
    s = bastion(cluster)
    s.wait_network(cluster)
    before, watch = boots(cluster), Watch(s)
    try:
        cluster.node("cp1").sh(DELETE)
        until("no kube-proxy runs", lambda: not proxies(cluster))
        time.sleep(LOOKED)
        # from now on rules lead to pods that are gone, and nobody has to write them
        cluster.node("cp1").sh(
            "kubectl rollout restart deploy/web >/dev/null; kubectl rollout status deploy/web --timeout=180s >/dev/null"
        )
        time.sleep(LOOKED / 2)
    finally:
        watch.end()
    assert watch.seen == {} and s.plans(everything=True) == [] and s.incidents() == [], watch.seen
    plan = restored(s, cluster)
    assert not proxies(cluster) and boots(cluster) == before
    assert "kube-proxy" not in str(plan["steps"]), "there is none to restart"


@pytest.mark.spoils
def test_older_data_that_has_it_brings_it_back_on_every_node(
    bring_up: Callable[..., Cluster], bastion: Callable[..., Bastion]
) -> None:
    cluster = bring_up(control_planes=1, workers=2)
    s = bastion(cluster)
    s.wait_network(cluster)
    before = boots(cluster)
    restored(s, cluster, DELETE)
    assert proxies(cluster) == [node.name for node in cluster.nodes] and boots(cluster) == before
