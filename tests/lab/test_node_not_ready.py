"""Nodes that are not Ready though their kubelet runs: found with the cause within a minute,
and undone by the lowest remedy.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab.bastion import Bastion, Shape
from tests.lab.kubelab.cluster import Cluster
from tests.lab.witness import boots

FILES, AGENTS = "restore-node-files", "restart-node-agents"
FLAGS = "/var/lib/kubelet/kubeadm-flags.env"


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


@pytest.fixture
def daemon(cluster: Cluster, bastion: Callable[..., Bastion]) -> Bastion:
    made = bastion(cluster, bounds={"cooldown": 0, "attempts": 100})
    made.wait("the files of the nodes are known", lambda: _known(made), 300)
    return made


def _known(daemon: Bastion) -> bool:
    """Each worker's line in /etc/hosts and every kubelet's flags are remembered, and with them what else was seen."""
    files = daemon.memory()["files"]
    return FLAGS in files.get("cp1", {}) and all(
        {"/etc/hosts", FLAGS} <= set(files.get(name, {})) for name in ("w1", "w2")
    )


def unready(cluster: Cluster, node: str, seconds: float = 300) -> float:
    """Waits until the API calls the node not Ready, and returns when that was."""
    cp1 = cluster.node("cp1")
    ask = f"kubectl get node {node} -o jsonpath='{{.status.conditions[?(@.type==\"Ready\")].status}}'"
    cp1.wait_for(lambda: cp1.sh(ask, capture_output=True).stdout != "True", f"calls {node} not Ready", seconds)
    return time.monotonic()


def found(daemon: Bastion, code: str, subject: str, since: float, seconds: float) -> None:
    daemon.wait(
        f"{code} is found of {subject}",
        lambda: any((f["code"], f["subject"]) == (code, subject) for f in _faults(daemon)),
        seconds,
        0.5,
    )
    print(f"{code} of {subject} was found {time.monotonic() - since:.0f} s after the API called it not Ready")


def _faults(daemon: Bastion) -> list[Shape]:
    return [f for f in daemon.status()["findings"] if f["severity"] == "fault"]


@pytest.mark.parametrize(
    ("node", "fault", "code", "playbook"),
    [
        pytest.param("w1", "kill -STOP $(pidof kubelet)", "kubelet-hangs", AGENTS, id="kubelet"),
        pytest.param("w1", "kill -STOP $(pidof containerd)", "container-runtime-hangs", AGENTS, id="runtime"),
        pytest.param("cp1", "kill -STOP $(pidof kubelet)", "kubelet-hangs", AGENTS, id="kubelet-of-a-control-plane"),
        pytest.param(
            "w1", "sed '/k8s-api/d' /etc/hosts >/root/h; cat /root/h >/etc/hosts; systemctl restart kubelet",
            "node-cut-off", FILES, id="name",
            marks=pytest.mark.core("restore-node-files"),
        ),
        pytest.param("w1", "mv /etc/cni/net.d/10-lab.conflist /root/; systemctl restart containerd",
        "cni-config-missing", FILES, id="cni"),
    ],
)  # fmt: skip
def test_a_hanging_node_is_undone_unasked(
    cluster: Cluster, daemon: Bastion, node: str, fault: str, code: str, playbook: str
) -> None:
    before = boots(cluster)
    cluster.node(node).sh(fault)
    since = unready(cluster, node)
    found(daemon, code, node, since, 60)
    incident = daemon.repaired(300)
    ran = {p["playbook"] for p in daemon.plans(everything=True) if p["status"] == "succeeded"}
    assert (incident["state"], incident["outcome"], ran) == ("worker-network-broken", "recovered", {playbook}), (
        daemon.tail()
    )
    daemon.wait_state("healthy", seconds=60)
    assert boots(cluster) == before


def test_a_deleted_node_is_made_anew_after_approval(cluster: Cluster, daemon: Bastion) -> None:
    cluster.node("cp1").sh("kubectl delete node w2 --wait=false")
    daemon.wait("it is found", lambda: any(f["code"] == "node-deleted" for f in _faults(daemon)), 90)
    plan = daemon.approve(AGENTS, 60)
    assert daemon.ended(plan, 200)["status"] == "succeeded", daemon.tail()
    daemon.wait_state("healthy", seconds=120)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            f"sed -i 's/^KUBELET_KUBEADM_ARGS=\"/&--network-plugin-gone=cni /' {FLAGS}; systemctl restart kubelet",
            id="flag",
        ),
        pytest.param(
            "mkdir -p /etc/systemd/system/kubelet.service.d; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' "
            "> /etc/systemd/system/kubelet.service.d/zz-broken.conf; systemctl daemon-reload; "
            "systemctl restart kubelet",
            id="drop-in",
        ),
        pytest.param(
            "printf 'disabled_plugins = [\"cri\"]\\n' > /etc/containerd/config.toml; systemctl restart containerd; "
            "systemctl restart kubelet",
            id="runtime",
        ),
    ],
)
@pytest.mark.parametrize("node", ["w1", "cp1"])
def test_what_was_changed_before_kubelet_ended_is_put_back_after_approval(
    cluster: Cluster, daemon: Bastion, node: str, change: str
) -> None:
    before = boots(cluster)
    cluster.node(node).sh(change)
    plan = daemon.approve(FILES, 200)
    assert all(step["host"] == node for step in plan["steps"])
    assert daemon.ended(plan, 200)["status"] == "succeeded", daemon.tail()
    daemon.wait_state("healthy", seconds=180)
    assert {p["playbook"] for p in daemon.plans(everything=True)} == {FILES}, [
        p["summary"] for p in daemon.plans(everything=True)
    ]
    assert boots(cluster) == before


def test_a_worker_that_is_off_is_a_fault_until_it_is_cordoned(cluster: Cluster, daemon: Bastion) -> None:
    node = cluster.node("w2")
    node.power_off()
    try:
        since = unready(cluster, "w2")
        found(daemon, "node-not-ready", "w2", since, 90)
        cluster.node("cp1").sh("kubectl cordon w2")
        daemon.wait_state("healthy", seconds=60)
    finally:
        node.power_on()
        cluster.node("cp1").sh("kubectl uncordon w2")
