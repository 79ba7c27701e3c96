"""etcd's data deleted on every control plane of a lab cluster, and what a restore leaves behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node

ASK = "for i in 1 2 3 4 5 6; do curl -s -m 5 http://10.96.0.80/ && echo; done"


def planes(cluster: Cluster) -> list[Node]:
    """Its control planes, spares left out."""
    return [node for node in cluster.nodes if node.answers("test -e /etc/kubernetes/manifests/kube-apiserver.yaml")]


def joined(cluster: Cluster) -> list[Node]:
    """Its nodes, spares left out."""
    return [node for node in cluster.nodes if node.answers("test -e /etc/kubernetes/kubelet.conf")]


def point_of(daemon: Bastion) -> str:
    """Id of the restore point that the daemon takes by itself as soon as the cluster is healthy,
    verified where this machine has etcd.
    """
    (point,) = daemon.wait("a restore point is taken", lambda: daemon.json("restore-points")["restore_points"], 90)
    print(f"restore point: {point}")
    return str(point["id"])


def delete_data(cluster: Cluster) -> None:
    """Everywhere at once. What kubelet starts then finds an empty directory, and the first
    control plane's manifest says `new`.
    """
    nodes = planes(cluster)
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda node: node.sh("rm -rf /var/lib/etcd/member; kill -9 $(pidof etcd) || true"), nodes))


def write_later(node: Node) -> None:
    """What is written after the restore point, and lost with the data."""
    node.sh(
        "kubectl create namespace later >/dev/null; kubectl -n later create configmap lost "
        "--from-literal=a=b >/dev/null"
    )


def is_as_at_the_point(cluster: Cluster) -> None:
    """The workload answers from every node, and what came after the point is not there."""
    for node in joined(cluster):
        # endpoints come back with the controllers, a little after the cluster is healthy
        node.wait_for(
            lambda n=node: len(n.sh(ASK, capture_output=True, check=False).stdout.split()) >= 6,
            "is not answered by the service",
            60,
        )
    said = cluster.node("cp1").sh("kubectl get namespace later 2>&1", capture_output=True, check=False).stdout
    assert "not found" in said, "what came after the point is lost"


def kubelets(cluster: Cluster) -> dict[str, str]:
    """Process of kubelet, by worker; a control plane's is restarted, too, where it does
    not start a static pod in time.
    """
    return {
        n.name: n.sh("systemctl show -p MainPID --value kubelet", capture_output=True).stdout.strip()
        for n in joined(cluster)
        if n.name.startswith("w")
    }
