"""A pod network over VXLAN by a DaemonSet's agent, and a cluster's DNS in pods (the profile vxlan): what fails of them
is found in the right words and mended by the lowest remedy.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.lab.bastion import Bastion, Shape
from tests.lab.kubelab.cluster import Cluster
from tests.lab.test_worker_network import acted, spread
from tests.lab.witness import boots, pods

AGENT, PROXY = "app=flannel", "k8s-app=kube-proxy"
LOST_ENTRY = (
    "bridge fdb del $(bridge fdb show dev flannel.1 | grep 'dst .*\\.22 ' | cut -d' ' -f1) dev flannel.1 dst "
    "$(bridge fdb show dev flannel.1 | grep -o 'dst .*\\.22 ' | cut -d' ' -f2)"
)
"""w1 does not know any more by which machine the MAC of w2's tunnel is reached."""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, workers=3, profile="vxlan")


@pytest.fixture
def site(cluster: Cluster, bastion: Callable[..., Bastion]) -> Callable[[], Bastion]:
    def start() -> Bastion:
        spread(cluster)
        made = bastion(cluster, bounds={"cooldown": 0, "attempts": 100})
        made.wait_network(cluster)
        return made

    return start


def agents(cluster: Cluster, label: str) -> dict[str, tuple[str, int]]:
    """UID and restarts of the pod of that label, by node."""
    said = cluster.node("cp1").sh(f"kubectl -n kube-system get pods -l {label} -o json", capture_output=True).stdout
    return {
        p["spec"]["nodeName"]: (p["metadata"]["uid"], sum(c["restartCount"] for c in p["status"]["containerStatuses"]))
        for p in json.loads(said)["items"]
    }


def anew(cluster: Cluster, label: str, before: dict[str, tuple[str, int]]) -> set[str]:
    """Nodes on which that pod, or its container, is another one."""
    return {node for node, pod in agents(cluster, label).items() if before.get(node) != pod}


def found(s: Bastion, code: str) -> Shape:
    """The finding of this code in an incident."""

    def there() -> Shape | None:
        status = s.status()
        return next((f for f in status["findings"] if f["code"] == code and status["incident"]), None)

    finding: Shape = s.wait(f"{code} is found", there, 120)
    return finding


def test_a_tunnel_that_is_gone_is_made_anew_by_its_agent_and_nothing_else_is_touched(
    cluster: Cluster, site: Callable[[], Bastion]
) -> None:
    s = site()
    before, web, flannels, proxies = boots(cluster), pods(cluster), agents(cluster, AGENT), agents(cluster, PROXY)
    cluster.node("w1").sh("ip link del flannel.1")
    incident = s.repaired(240)
    assert incident["state"] == "worker-network-broken" and incident["outcome"] == "recovered", incident
    assert "The device flannel.1 (vxlan) on w1 is gone" in s.ctl("show", incident["id"]).stdout, incident
    done = acted(s)
    assert done == [("restart-node-agents", "succeeded", frozenset({"w1"}))], done
    assert anew(cluster, AGENT, flannels) == {"w1"} and anew(cluster, PROXY, proxies) == set()
    assert pods(cluster) == web and boots(cluster) == before


def test_a_forwarding_entry_that_is_lost_comes_back_with_the_agent(
    cluster: Cluster, site: Callable[[], Bastion]
) -> None:
    s = site()
    before, flannels = boots(cluster), agents(cluster, AGENT)
    cluster.node("w1").sh(LOST_ENTRY)
    message = found(s, "pod-path-broken")["message"]
    assert "look at the route or tunnel" in message and "w1" in message and "w2" in message, message
    s.repaired(300)
    assert {name for name, _, _ in acted(s)} == {"restart-node-agents"} and boots(cluster) == before, acted(s)
    assert "w1" in anew(cluster, AGENT, flannels) and "w3" not in anew(cluster, AGENT, flannels)


def test_an_agent_whose_token_is_no_more_is_made_anew_and_gets_another(
    cluster: Cluster, site: Callable[[], Bastion]
) -> None:
    """Its Secret was deleted: kubelet does not start its container again, since it cannot mount what the pod names."""
    s, cp1 = site(), cluster.node("cp1")
    before, proxies = boots(cluster), agents(cluster, PROXY)
    cp1.sh(
        "kubectl -n kube-system delete $(kubectl -n kube-system get secrets -o name | grep flannel-token) >/dev/null"
    )
    try:
        cluster.node("w1").sh("pkill -x flanneld")
        message = found(s, "cni-agent-down")["message"]
        assert "kube-system/kube-flannel-ds does not work on w1" in message, message
        s.repaired(240)
        assert acted(s) == [("restart-node-agents", "succeeded", frozenset({"w1"}))], acted(s)
        assert anew(cluster, PROXY, proxies) == set() and boots(cluster) == before
    finally:  # the others have the old one
        cp1.sh(
            "kubectl -n kube-system rollout restart ds/kube-flannel-ds >/dev/null; "
            "kubectl -n kube-system rollout status ds/kube-flannel-ds --timeout=180s >/dev/null"
        )
    s.wait_state("healthy", seconds=120)


@pytest.mark.parametrize(
    ("drop", "words"),
    [
        pytest.param("-d 10.96.0.10 ", "though w1 reaches its endpoints directly", id="address"),
        pytest.param("", "nor do its pods when w1 asks them directly", id="udp"),
    ],
)
def test_dns_that_a_worker_cannot_ask_is_found_and_a_reboot_for_it_asks(
    cluster: Cluster, site: Callable[[], Bastion], drop: str, words: str
) -> None:
    s, w1 = site(), cluster.node("w1")
    before = boots(cluster)
    w1.sh(f"iptables -t raw -I OUTPUT {drop}-p udp --dport 53 -j DROP")
    try:
        finding = found(s, "cluster-dns-unreachable")
        assert finding["subject"] == "w1" and words in finding["message"], finding
        s.wait_plan("rolling-worker-reboot", 240)
        assert {(name, status) for name, status, _ in acted(s)} == {
            ("restart-node-agents", "failed"),
            ("rolling-worker-reboot", "awaiting-approval"),
        }, acted(s)
    finally:
        w1.sh(f"iptables -t raw -D OUTPUT {drop}-p udp --dport 53 -j DROP", check=False)
    s.wait_state("healthy", seconds=120)
    assert boots(cluster) == before
