"""A newer etcd than Debian 12's on a lab cluster: Debian 13's. Its etcdutl knows --bump-revision."""

from __future__ import annotations

import json

from tests.lab import etcd
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.newer_etcd import IMAGE, VERSION, archive, fetch
from tests.lab.kubelab.node import Node
from tests.lab.witness import ready

__all__ = ["VERSION", "fetch", "upgrade", "version"]


def upgrade(cluster: Cluster) -> None:
    """Every member runs it, one after the other, as etcd's upgrade guide says."""
    planes = [node for node in cluster.nodes if node.answers("test -e /etc/kubernetes/manifests/etcd.yaml")]
    for node in planes:
        with archive().open("rb") as file:
            node.sh("ctr -n k8s.io images import - >/dev/null", stdin=file)
        node.sh(f"sed -i 's|image: .*/etcd:.*|image: {IMAGE}|' /etc/kubernetes/manifests/etcd.yaml")
        node.wait_for(lambda n=node: version(n) == VERSION, f"does not run etcd {VERSION}", 120)
    for node in planes:
        node.wait_for(lambda n=node: ready(n), "is not ready", 120)


def version(node: Node) -> str:
    """Of the member on a control plane; "" when it does not answer."""
    told = json.loads(etcd.ctl(node, "endpoint", "status", "-w", "json", check=False) or "[]")
    return str(told[0]["Status"]["version"]) if told else ""
