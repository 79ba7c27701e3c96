"""What is so on a lab cluster, whatever recoverd says of it: asked of the machines, etcd and the service themselves."""

from __future__ import annotations

import hashlib
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.lab import etcd
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node
from tests.lab.soak.trouble import MANIFESTS
from tests.lab.witness import ready

NODES = "kubectl get nodes -o json"
ASK = "for i in 1 2 3 4 5 6; do curl -s -m 5 -o /dev/null http://10.96.0.80/ || exit 1; done"
OURS = "recoverd/incident: "
"""What force-new-cluster leaves in etcd's manifest, so that kubelet makes the pod anew."""
MARK = (
    "kubectl create configmap soak --from-literal=number={number} --dry-run=client -o yaml | "
    "kubectl apply -f - >/dev/null"
)


@dataclass(frozen=True)
class Truth:
    """What stays as it is over an episode, unless its own troubles or an approved plan change it."""

    history: str
    """Id of etcd's cluster."""
    members: tuple[str, ...]
    manifests: str
    """Digest of all manifests of all control planes."""


def planes(cluster: Cluster) -> list[Node]:
    return [n for n in cluster.nodes if n.name.startswith("cp")]


def take(cluster: Cluster) -> Truth:
    """Of a cluster that is well."""
    first = planes(cluster)[0]
    return Truth(history(first), tuple(etcd.members(first)), _manifests(cluster))


def history(node: Node) -> str:
    """Id of the cluster that the member on a control plane is in; "" while it does not say."""
    try:
        said = etcd.ctl(
            node, "endpoint", "status", "-w", "json", "--dial-timeout=2s", "--command-timeout=3s", check=False
        )
        return str(json.loads(said)[0]["Status"]["header"]["cluster_id"])
    except (ValueError, LookupError, TypeError, OSError, subprocess.SubprocessError):
        return ""


def mark(cluster: Cluster, number: int) -> None:
    """Write what has to be there after the episode."""
    planes(cluster)[0].sh(MARK.format(number=number))


def ills(cluster: Cluster, was: Truth, number: int) -> list[str]:
    """What is not as it was and must be, in words; each machine is asked beside the others."""
    found: list[str] = []
    with ThreadPoolExecutor() as pool:
        for said in pool.map(_machine, cluster.nodes):
            found += said
    first = planes(cluster)[0]
    now = first.sh("kubectl get configmap soak -o 'jsonpath={.data.number}'", capture_output=True, check=False).stdout
    if now != str(number):
        found.append(f"what was written last is not there: {now or 'nothing'} and not {number}")
    if (members := tuple(etcd.members(first))) != was.members:
        found.append(f"etcd's members are {members} and were {was.members}")
    if _manifests(cluster) != was.manifests:
        found.append("a manifest is not as it was")
    listed = first.sh(NODES, capture_output=True, check=False).stdout
    for item in json.loads(listed)["items"] if listed else ():
        name = item["metadata"]["name"]
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"]["conditions"]):
            found.append(f"{name} is not Ready")
        if item["spec"].get("unschedulable"):
            found.append(f"{name} is cordoned")
    return found


def _machine(node: Node) -> list[str]:
    if not node.running:
        return [f"{node.name} is off"]
    found = [
        f"{unit} does not run on {node.name}"
        for unit in ("kubelet", "containerd")
        if not node.answers(f"systemctl is-active -q {unit}")
    ]
    if node.name.startswith("cp") and not ready(node):
        found.append(f"the API server on {node.name} is not ready")
    if not node.answers(ASK):
        found.append(f"the service is not answered on {node.name}")
    return found


def _manifests(cluster: Cluster) -> str:
    digest = hashlib.sha256()
    for node in planes(cluster):
        directory = node.dir / "root" / MANIFESTS.lstrip("/")
        for file in sorted(directory.glob("*.yaml")):
            kept = [line for line in file.read_text().splitlines() if OURS not in line]
            digest.update("\n".join((node.name, file.name, *kept)).encode())
    return digest.hexdigest()
