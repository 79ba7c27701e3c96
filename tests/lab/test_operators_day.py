"""An operator's day on a watched cluster that nobody pauses: what is done by hand is never fought.

Whoever works on a machine has a terminal open there, as people do; what is done from a bastion (kubectl) is done
without one. Nothing may run unasked, whatever is offered meanwhile, and at the end the cluster is healthy and no
incident is open.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster, join_control_plane
from tests.lab.kubelab.node import Node
from tests.lab.witness import ready

MANIFESTS = "/etc/kubernetes/manifests"
FAULTS = Path(__file__).with_name("faults")
QUIET = 30.0
"""Seconds for which it has to be healthy before the next piece of work: what the last one did is found by then."""
AWAY = 90
"""Seconds that manifests are out of their directory."""
DAY = 60 * float(os.environ.get("LAB_DAY", "0"))
"""Seconds that the day has at least: the same work comes again until they are over. It is done once without it."""


@contextmanager
def at_work(node: Node) -> Iterator[None]:
    """Somebody has a terminal on the machine, and types now and then."""
    with subprocess.Popen(
        [*node.ssh("-tt"), "cat >/dev/null"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as terminal:
        assert terminal.stdin
        terminal.stdin.write(b"\n")
        terminal.stdin.flush()
        try:
            yield
        finally:
            terminal.kill()


def is_ready(first: Node, name: str) -> bool:
    """Whether a node is Ready, as the API server of `first` says."""
    asked = "kubectl get node {} -o jsonpath='{{.status.conditions[?(@.type==\"Ready\")].status}}'"
    return first.sh(asked.format(name), capture_output=True, check=False).stdout.strip() == "True"


def until(what: str, condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(1)


def carried_out(s: Bastion) -> list[str]:
    """The playbooks of plans of which any step was begun."""
    begun = {plan for (plan,) in s.journal("SELECT DISTINCT plan FROM step")}
    return [p["playbook"] for p in s.plans(everything=True) if p["id"] in begun]


def settled(s: Bastion, piece: str) -> None:
    """It is healthy for a while, and recoverd has done nothing. What it offered is in the log of the test."""
    since = [time.monotonic()]

    def quiet() -> bool:
        status = s.status()
        if status["state"] != "healthy" or status["incident"]:
            since[0] = time.monotonic()
        return time.monotonic() - since[0] > QUIET

    s.wait(f"it is healthy after: {piece}", quiet, 400)
    print(f"{piece}: offered by now {[p['playbook'] for p in s.plans(everything=True)]}", flush=True)
    assert carried_out(s) == [], piece


# --- the pieces of work ---


def edit_a_manifest(cluster: Cluster) -> None:
    node = cluster.node("cp1")
    runs_so = "pgrep -a kube-apiserver | grep -q -e --v=3"
    with at_work(node):
        node.sh(f"sed -i 's/^    - kube-apiserver$/&\\n    - --v=3/' {MANIFESTS}/kube-apiserver.yaml")
        until("it runs with the flag", lambda: node.answers(runs_so))
        until("the API server is ready", lambda: ready(node))


def move_manifests_away(cluster: Cluster) -> None:
    node = cluster.node("cp1")
    with at_work(node):
        node.sh(f"mkdir -p /root/aside && mv {MANIFESTS}/*.yaml /root/aside/")
        time.sleep(AWAY)  # a person looks into something
        node.sh(f"mv /root/aside/*.yaml {MANIFESTS}/")
        until("the API server is ready", lambda: ready(node))


def restart_kubelets(cluster: Cluster) -> None:
    for name in ("w1", "cp1"):
        with at_work(cluster.node(name)):
            cluster.node(name).sh("systemctl restart kubelet")
    cluster.node("w2").sh("systemctl stop kubelet && sleep 3 && systemctl start kubelet")  # by a script


def drain_and_reboot(cluster: Cluster) -> None:
    first, node = cluster.node("cp1"), cluster.node("w1")
    first.sh("kubectl drain w1 --ignore-daemonsets --delete-emptydir-data --force --timeout=120s >/dev/null")
    node.reboot()
    until("w1 is Ready", lambda: is_ready(first, "w1"))
    first.sh("kubectl uncordon w1 >/dev/null")


def change_containerd(cluster: Cluster) -> None:
    node = cluster.node("w2")
    with at_work(node):
        node.sh("echo '# changed by hand' >>/etc/containerd/config.toml; systemctl restart containerd")
        until("containerd answers", lambda: node.answers("ctr version"))


def renew_certificates(cluster: Cluster) -> None:
    node = cluster.node("cp1")
    with at_work(node):
        node.sh("kubeadm certs renew all >/dev/null 2>&1 || kubeadm alpha certs renew all >/dev/null")
        node.sh("mkdir -p /root/aside")
        node.sh(f"mv {MANIFESTS}/*.yaml /root/aside/; sleep 20; mv /root/aside/*.yaml {MANIFESTS}/")
        until("the API server is ready", lambda: ready(node))


def roll_out(cluster: Cluster) -> None:
    first = cluster.node("cp1")
    first.sh("kubectl -n kube-system rollout restart daemonset kube-proxy >/dev/null")
    first.sh("kubectl -n kube-system rollout status daemonset kube-proxy --timeout=180s >/dev/null")


def restore_older_data(cluster: Cluster) -> None:
    """Whoever restores knows what has to be started anew after it, and does so."""
    with ExitStack() as terminals:
        for node in cluster.nodes:
            terminals.enter_context(at_work(node))
        subprocess.run([str(FAULTS / "stale-restore"), str(cluster.number)], check=True, stdin=subprocess.DEVNULL)
        first = cluster.node("cp1")
        first.sh("pkill -x kube-controller; pkill -x kube-scheduler")
        for node in cluster.nodes:
            node.sh("systemctl restart kubelet")
        first.sh("kubectl -n kube-system delete pods -l k8s-app=kube-proxy >/dev/null")
        until("all nodes are Ready", lambda: all(is_ready(first, node.name) for node in cluster.nodes))
        first.sh("kubectl -n kube-system rollout status daemonset kube-proxy --timeout=180s >/dev/null")


def reboot_one_after_the_other(cluster: Cluster) -> None:
    for name in ("cp3", "cp2", "cp1"):
        _reboot(cluster.node(name), cluster.node("cp2" if name == "cp1" else "cp1"))


def _reboot(node: Node, other: Node) -> None:
    other.sh(f"kubectl cordon {node.name} >/dev/null")
    node.reboot()
    until(f"{node.name} is Ready", lambda: is_ready(other, node.name))
    until("its API server is ready", lambda: ready(node))
    other.sh(f"kubectl uncordon {node.name} >/dev/null")


def replace_a_member(cluster: Cluster) -> None:
    """As kubeadm's documentation says: reset it, take it out of etcd, join it again."""
    first, node = cluster.node("cp1"), cluster.node("cp3")
    with at_work(node):
        first.sh("kubectl drain cp3 --ignore-daemonsets --delete-emptydir-data --force --timeout=120s >/dev/null")
        node.sh("kubeadm reset --force >/dev/null 2>&1")
        assert "cp3" not in etcd.members(first)  # kubeadm takes it out
        until("the node is deleted", lambda: first.answers("kubectl delete node cp3 --ignore-not-found"))
        join_control_plane(first, node)
    until("cp3 is Ready", lambda: is_ready(first, "cp3"))


@pytest.mark.timeout(1500 + 2 * DAY)
@pytest.mark.parametrize("size", [1, 3])
def test_a_day_of_work_by_hand_is_not_interfered_with(
    size: int, bring_up: Callable[..., Cluster], bastion: Callable[..., Bastion]
) -> None:
    cluster = bring_up(control_planes=size, workers=2 if size == 1 else 1)
    s = bastion(cluster)
    s.wait_network(cluster)
    small = (edit_a_manifest, move_manifests_away, restart_kubelets, drain_and_reboot, change_containerd)
    of_three = (edit_a_manifest, move_manifests_away, renew_certificates, reboot_one_after_the_other, replace_a_member)
    pieces = (*small, renew_certificates, roll_out, restore_older_data) if size == 1 else of_three
    begun = time.monotonic()
    for piece in itertools.cycle(pieces):
        piece(cluster)
        settled(s, piece.__name__)
        if piece is pieces[-1] and time.monotonic() - begun >= DAY:
            break
    assert s.incidents() == [] or all(i["closed_at"] for i in s.incidents())
