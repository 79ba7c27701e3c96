"""etcd of a lab cluster, by this machine's etcdctl.

Not by the one in the container: after kubelet was restarted, runc cannot exec into containers on these nodes any more
(their control group in systemd's own hierarchy is gone).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

from tests import filling
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.host import run
from tests.lab.kubelab.node import Node

PKI = "/etc/kubernetes/pki/etcd"


def command(node: Node, *arguments: str) -> list[str]:
    """etcdctl against the member on a control plane."""
    pki = node.dir / "root" / PKI.removeprefix("/")
    tls = [f"--cacert={pki}/ca.crt", f"--cert={pki}/server.crt", f"--key={pki}/server.key"]
    return ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints=https://{node.address}:2379", *tls, *arguments]


def ctl(node: Node, *arguments: str, check: bool = True) -> str:
    """Run etcdctl against the member on a control plane, and give what it printed."""
    return run(command(node, *arguments), capture_output=True, check=check).stdout


def restore(snapshot: Path, node: Node) -> None:
    """The page's one line on a control plane whose etcd is stopped, without a name or a list of members: what was
    there is kept as /root/member.before.
    """
    made = snapshot.with_name(f"restored-{node.name}")
    run(["env", "ETCDCTL_API=3", "etcdctl", "snapshot", "restore", snapshot, "--data-dir", made], capture_output=True)
    node.sh("mv /var/lib/etcd/member /root/member.before")
    shutil.move(made / "member", node.dir / "root/var/lib/etcd/member")


def members(node: Node) -> list[str]:
    """Names of the started members, "" for one that never started; within 20 s, since etcd
    may just have been started anew.
    """
    deadline = time.monotonic() + 20
    while not (listed := ctl(node, "member", "list", check=False)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return sorted(line.split(", ")[2] for line in listed.splitlines() if ", " in line)


def revision(node: Node) -> int:
    """The member's own, which it tells without quorum, too."""
    return int(json.loads(ctl(node, "endpoint", "status", "-w", "json"))[0]["Status"]["header"]["revision"])


def add_phantom(node: Node, address: str) -> None:
    """Add a voter that never starts: what a join whose port 2380 is blocked leaves, without waiting for kubeadm."""
    ctl(node, "member", "add", "phantom", f"--peer-urls=https://{address}:2380")


def forget_join(cluster: Cluster, spare: str) -> None:
    """Make a spare control plane as new after a join that failed."""
    # whoever gave up the join has left kubeadm running there for minutes, which is somebody at work for
    # every daemon that comes after
    cluster.node(spare).sh(
        "pkill -KILL -x kubeadm || :; timeout 60 kubeadm reset -f "
        f"--cri-socket={cluster.profile.socket} "
        ">/dev/null 2>&1 || true; nft flush ruleset; "
        "rm -rf /etc/kubernetes /var/lib/etcd; mkdir -p /etc/kubernetes/manifests"
    )
    cluster.node("cp1").sh(f"kubectl delete node {spare} --ignore-not-found >/dev/null")


def set_quota(node: Node, size: int, *, full: bool = False) -> None:
    """Give etcd a quota of so many bytes, and wait until it serves with it, or, where it is full, runs."""
    manifest, flag = "/etc/kubernetes/manifests/etcd.yaml", f"--quota-backend-bytes={size}"
    node.sh(
        f"sed -e /quota-backend/d -e 's|^    - etcd$|&\\n    - {flag}|' {manifest} > /root/etcd.yaml && mv "
        f"/root/etcd.yaml {manifest}"
    )

    def serves() -> bool:
        ask = ("endpoint", "status" if full else "health", "--command-timeout=2s")
        asked = subprocess.run(command(node, *ask), capture_output=True, timeout=30)
        return asked.returncode == 0 and node.answers(f"pgrep -xa etcd | grep -q -e {flag}")

    node.wait_for(serves, f"does not serve with {flag}", 120)


def fill(node: Node, *, objects: bool = False) -> int:
    """Put megabytes under fill/ until etcd has no space left (`tests.filling`). Returns how many."""
    return filling.fill(lambda key: command(node, "put", f"fill/{key}"), objects=objects)


def alarms(node: Node) -> str:
    return ctl(node, "alarm", "list", check=False).strip()
