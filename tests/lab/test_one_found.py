"""What keeps the only control plane away from everybody and is a person's to cure, or is put back by what was
remembered: found, named, and nothing destroyed for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.network import LoadBalancer
from tests.lab.loss import point_of
from tests.lab.witness import ready

RESOLV = "/run/systemd/resolve/resolv.conf"
CONFIG = "/var/lib/kubelet/config.yaml"
RUNTIME = "/etc/containerd/config.toml"
OTHER = "k8s.gcr.io/pause:3.99"
NAMES = """apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      dnsPolicy: Default
      terminationGracePeriodSeconds: 2
      containers:
      - name: coredns
        image: docker.io/lab/busybox:1
        command: [/bin/busybox, httpd, -f, -p, "53"]
        readinessProbe: {httpGet: {port: 8181, path: /ready}, periodSeconds: 2}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {selector: {k8s-app: kube-dns}, ports: [{name: dns-tcp, port: 53, protocol: TCP}]}
"""
WELL = '[{"op": "remove", "path": "/spec/template/spec/containers/0/readinessProbe"}]'
END = "while p=$(pidof etcd); do kill -9 $p; sleep 0.2; done"


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


def says(daemon: Bastion, words: str, *codes: str) -> bool:
    return any(words in f["message"] for f in daemon.status()["findings"] if f["code"] in codes)


def remembered(daemon: Bastion, *paths: str) -> bool:
    known = daemon.memory()["files"].get("cp1", {})
    return set(paths) <= known.keys()


@pytest.mark.parametrize("what", ["resolv.conf", "pause image"])
def test_after_a_boot_no_sandbox_can_be_made(cluster: Cluster, bastion: Callable[..., Bastion], what: str) -> None:
    """A configuration was changed while everything ran, and shows only now."""
    daemon, cp1 = bastion(cluster), cluster.node("cp1")
    if what == "resolv.conf":
        names, change = RESOLV, f"sed -i '/^resolvConf:/d' {CONFIG}; echo 'resolvConf: {RESOLV}' >>{CONFIG}"
    else:
        names = OTHER
        change = f"sed -i 's#sandbox_image = .*#sandbox_image = \"{OTHER}\"#' {RUNTIME}; grep -q {OTHER} {RUNTIME}"
    daemon.wait("its files are remembered", lambda: remembered(daemon, CONFIG, RUNTIME), 180, 1)
    cp1.sh(change)
    cp1.reboot()
    began = time.monotonic()
    stuck = ("static-pods-do-not-start", "pods-do-not-start")
    daemon.wait(f"{names} is named", lambda: says(daemon, names, *stuck), 240)
    print(f"named {time.monotonic() - began:.0f} s after the boot: {daemon.status()['explanation']}")
    plan = daemon.wait_plan("restore-node-files", 120)
    assert any(names in line for line in plan["evidence"]), plan
    done = daemon.ended(daemon.approve("restore-node-files"), 300)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=240)
    assert not [p for p in daemon.plans(everything=True) if p["destructive"]]


def test_the_address_before_the_api_servers_is_dead(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    """haproxy has ended: every API server is well behind it, and nothing is done to any machine."""
    daemon, namespace = bastion(cluster), LoadBalancer(cluster.number).id
    told = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True).stdout
    for pid in told.split():
        os.kill(int(pid), signal.SIGKILL)
    began = time.monotonic()
    daemon.wait("the address is named", lambda: "api-address-wrong" in daemon.codes(), 90)
    print(f"named after {time.monotonic() - began:.0f} s: {daemon.status()['explanation']}")
    daemon.wait("a person is called", lambda: daemon.status()["phase"] == "escalated", 90)
    assert not [p for p in daemon.plans(everything=True) if p["status"] != "superseded"]
    LoadBalancer(cluster.number).start([cluster.node("cp1")])
    daemon.wait_state("healthy", seconds=240)


@pytest.mark.spoils
def test_a_database_older_than_the_newest_snapshot_is_a_restore(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """As a power cut leaves it under a disk that lies (etcd-io/etcd #12237)."""
    cp1, path = cluster.node("cp1"), "/etc/kubernetes/manifests/etcd.yaml"
    cp1.sh(f"sed 's/--snapshot-count=10000/--snapshot-count=50/' {path} >/root/new.yaml && mv /root/new.yaml {path}")
    cp1.wait_for(
        lambda: cp1.answers("tr '\\0' ' ' </proc/$(pidof etcd)/cmdline | grep -q snapshot-count=50") and ready(cp1),
        "does not serve with that",
        180,
    )
    daemon = bastion(cluster)
    point = point_of(daemon)
    db = "/var/lib/etcd/member/snap/db"
    cp1.sh(f"kill -STOP $(pidof kubelet); {END}; cp {db} /root/db.old; kill -CONT $(pidof kubelet)")
    cp1.wait_for(lambda: ready(cp1), "does not serve", 240)
    for _ in range(8):  # more than 50 writes beyond, of which a snapshot is made
        for n in range(20):
            etcd.ctl(cp1, "put", f"later/{n}", "x", check=False)
    cp1.sh(f"kill -STOP $(pidof kubelet); {END}; cp /root/db.old {db}; kill -CONT $(pidof kubelet)")
    began = time.monotonic()
    plan = daemon.wait_plan("restore-etcd-snapshot", 180)
    print(f"offered after {time.monotonic() - began:.0f} s: {plan['summary']}")
    assert point in plan["summary"], plan
    assert any("snapshot file" in line for line in (*plan["evidence"], daemon.status()["explanation"])), plan
    done = daemon.ended(daemon.approve("restore-etcd-snapshot"), 300)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=240)


def test_a_dns_that_asks_itself_is_named(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    """Every node and API server is well, and the pods behind the DNS are not ready; what they are given as name
    servers is their own node's, which names itself (https://coredns.io/plugins/loop/#troubleshooting).
    """
    daemon, cp1 = bastion(cluster), cluster.node("cp1")
    cp1.sh("kubectl apply -f - >/dev/null", stdin=None, input=NAMES)
    select = "-n kube-system get pods -l k8s-app=kube-dns -o jsonpath"
    asked = f"kubectl {select}='{{.items[0].status.podIP}} {{.items[0].spec.nodeName}}'"

    def on() -> str:
        told = cp1.sh(asked, capture_output=True, check=False).stdout.split()
        return told[1] if len(told) == 2 else ""

    node = daemon.wait("its pod has an address and a node", on, 120)
    cluster.node(node).sh("cp /etc/resolv.conf /root/resolv.before; echo nameserver 127.0.0.53 >/etc/resolv.conf")
    began = time.monotonic()
    daemon.wait("the DNS is named", lambda: "cluster-dns-down" in daemon.codes(), 180)
    daemon.wait("so is why", lambda: says(daemon, f"/etc/resolv.conf on {node}", "cluster-dns-down"), 60)
    print(f"named after {time.monotonic() - began:.0f} s: {daemon.status()['explanation']}")
    assert not [p for p in daemon.plans(everything=True) if p["status"] != "superseded"]
    cluster.node(node).sh("cat /root/resolv.before >/etc/resolv.conf")
    cp1.sh(f"kubectl -n kube-system patch deploy coredns --type=json -p='{WELL}' >/dev/null")
    daemon.wait_state("healthy", seconds=240)
    cp1.sh("kubectl -n kube-system delete deploy/coredns svc/kube-dns --wait=false >/dev/null")
