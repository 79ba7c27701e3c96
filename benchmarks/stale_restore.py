"""How long recoverd takes to heal a cluster whose data was put back to an older snapshot, against the same
restarts typed by a person who knows.

    python -m benchmarks.stale_restore [ROUNDS]      root; builds and takes down a lab cluster of one
    control plane and three workers

Both begin when the API server is back at the older revision. Both end when every worker runs just the pods that the API
lists for it, by uid, and answers of the service come twenty times in a row from each. The person's run is a script:
every kubelet, the controllers, then kube-proxy's pods; no looking, no thinking. recoverd's contains its finding out.
What is printed is the ratio of the two medians.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.compare import compare
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node

NUMBER = 9
FAULT = Path(__file__).parents[1] / "tests/lab/faults/stale-restore"
RUNNING = (
    "cd /sys/fs/cgroup; find . -type d -name '*pod*' | grep -oE 'pod[0-9a-f]{8}([-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}' | "
    "tr _ - | cut -c4- | sort -u"
)
"""Uids of the pods that have a control group, which kubelet takes away with the pod."""
ASK = "for i in $(seq 20); do curl -s -m 1 -o /dev/null http://10.96.0.80/ || exit 1; done"
# A controller may have ended itself already, when it lost its lease with the API server.
AGENTS = (
    "kill $(pidof kube-controller-manager kube-scheduler) || true; "
    "until kubectl get --raw /readyz >/dev/null; do sleep 0.3; done; kubectl -n kube-system delete pod -l "
    "k8s-app=kube-proxy --wait=false"
)


def healed(cluster: Cluster) -> bool:
    """Every worker runs the pods that the API lists for it, and each is answered by the service."""
    answer = cluster.node("cp1").sh("kubectl get pods -l app=web -o json", capture_output=True, check=False)
    if answer.returncode:
        return False
    listed: dict[str, set[str]] = {}
    for pod in json.loads(answer.stdout)["items"]:
        listed.setdefault(pod["spec"].get("nodeName", ""), set()).add(pod["metadata"]["uid"])

    def whole(node: Node) -> bool:
        running = set(node.sh(RUNNING, capture_output=True, check=False).stdout.split())
        return listed.get(node.name, set()) <= running and node.answers(ASK)

    with ThreadPoolExecutor() as threads:
        return sum(map(len, listed.values())) == 4 and all(
            threads.map(whole, [n for n in cluster.nodes if n.name != "cp1"])
        )


def timed(cluster: Cluster, heal: Callable[[], object]) -> float:
    cluster.node("cp1").sh("kubectl rollout status deploy/web --timeout=120s")
    subprocess.run([str(FAULT), str(NUMBER)], check=True, stdin=subprocess.DEVNULL)
    began = time.monotonic()
    heal()
    while not healed(cluster):
        assert time.monotonic() - began < 300, "it is not healed"
    return time.monotonic() - began


def by_hand(cluster: Cluster) -> None:
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda node: node.sh("systemctl restart kubelet"), cluster.nodes))
    cluster.node("cp1").sh(AGENTS)


def by_recoverd(cluster: Cluster, daemon: Bastion) -> float:
    healed, _ = healed_and_healthy(cluster, daemon)
    return healed


def healed_and_healthy(cluster: Cluster, daemon: Bastion) -> tuple[float, float]:
    """Seconds until the workers are healed, and until recoverd calls the cluster healthy: some workers come by
    themselves to what the API lists, while others and the controllers are still deaf.
    """
    daemon.start()
    daemon.wait_healthy(240)
    daemon.wait_network(cluster)
    # an earlier daemon does not see that a person is at work, and puts back the manifests that the fault moves away
    daemon.ctl("pause", cluster.name, "--reason", "the benchmark breaks it")
    took = timed(cluster, lambda: daemon.ctl("resume", cluster.name))
    began = time.monotonic()
    daemon.wait_state("healthy", seconds=300)
    healthy = took + time.monotonic() - began
    daemon.stop()
    return took, healthy


def main(rounds: int) -> None:
    cluster = Cluster(NUMBER)
    cluster.down()
    cluster.up(control_planes=1, workers=3)
    cluster.workload()
    daemon = Bastion(cluster, bounds={"cooldown": 0, "attempts": 100})
    try:
        compare(rounds, lambda: timed(cluster, lambda: by_hand(cluster)), lambda: by_recoverd(cluster, daemon))
    finally:
        daemon.remove()
        cluster.down()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
