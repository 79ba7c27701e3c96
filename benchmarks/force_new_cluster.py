"""How long recoverd takes to bring a cluster back by force-new-cluster, against the same commands typed
by a person who has them ready.

    python -m benchmarks.force_new_cluster [ROUNDS]      root; builds and takes down a lab cluster of
    one control plane and one worker

Both begin at a cluster whose etcd has lost its quorum to a member that never started, and end when etcd has one member,
runs without the flag, and /readyz says ok. Both keep a copy of etcd's directory first, made with etcd stopped, as the
plan does it. The person's run is a script on the control plane: no thinking, no typing. What is printed is the ratio of
the two medians.
"""

from __future__ import annotations

import asyncio
import sys
import time

from benchmarks.compare import compare
from recoverd.control.client import ControlClient
from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node
from tests.lab.witness import ready

NUMBER = 9
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
HEALTHY = (
    f"curl -s -m 2 --cacert {etcd.PKI}/ca.crt --cert {etcd.PKI}/server.crt --key {etcd.PKI}/server.key "
    "https://127.0.0.1:2379/health | grep -q true"
)
DATA = "/var/lib/etcd"
BY_HAND = f"""flagged() {{ tr '\\0' '\\n' 2>/dev/null </proc/$(pidof etcd)/cmdline | grep -q force-new-cluster; }}
sed 's/^    - etcd$/    - etcd\\n    - --force-new-cluster/' {MANIFEST} >/root/flagged.yaml
mv {MANIFEST} /root/plain.yaml
while pidof etcd >/dev/null; do sleep 0.3; done
cp -a {DATA}/member {DATA}/member.by-hand
sync
mv /root/flagged.yaml {MANIFEST}
until flagged && {HEALTHY}; do sleep 0.3; done
mv /root/plain.yaml {MANIFEST}
until pidof etcd >/dev/null && ! flagged && {HEALTHY}; do sleep 0.3; done
until curl -sk -m 2 https://127.0.0.1:6443/readyz | grep -qx ok; do sleep 0.3; done
"""


def broken(node: Node) -> None:
    """Take the quorum away, and wait until the API server has noticed."""
    etcd.add_phantom(node, f"10.99.{NUMBER}.99")
    node.wait_for(lambda: not ready(node), "still serves", 120)


def by_hand(node: Node) -> float:
    broken(node)
    began = time.monotonic()
    node.sh(BY_HAND, timeout=300)
    while not whole(node):
        time.sleep(0.1)
    took = time.monotonic() - began
    node.sh(f"rm -r {DATA}/member.by-hand")
    return took


def by_recoverd(daemon: Bastion, node: Node) -> float:
    daemon.start()
    daemon.wait_healthy()
    broken(node)
    plan = daemon.wait_plan("force-new-cluster", 60)
    began = time.monotonic()
    # past recoverctl, whose start would be counted; an earlier daemon knows no digest
    approval = {"reason": "the benchmark", "digest": plan.get("digest", "")}
    asyncio.run(ControlClient(daemon.socket).post(f"/v1/plans/{plan['id']}/approve", **approval))
    daemon.wait("it is whole", lambda: whole(node), 300, every=0.1)
    took = time.monotonic() - began
    daemon.wait_state("healthy", seconds=120)
    daemon.stop()
    return took


def whole(node: Node) -> bool:
    """One member again, by a process without the flag, and the API server is ready. Before the repair
    /readyz may say ok in between.
    """
    return (
        etcd.members(node) == ["cp1"]
        and node.answers(f"! grep -q force-new {MANIFEST} /proc/$(pidof etcd)/cmdline")
        and ready(node)
    )


def main(rounds: int) -> None:
    cluster = Cluster(NUMBER)
    cluster.down()
    cluster.up(control_planes=1, workers=1)
    daemon = Bastion(cluster)
    try:
        node = cluster.node("cp1")
        compare(rounds, lambda: by_hand(node), lambda: by_recoverd(daemon, node))
    finally:
        daemon.remove()
        cluster.down()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
