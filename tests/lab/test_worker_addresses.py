"""A worker whose pods get no address any more, since crashes have left those of gone containers behind."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster

NETWORKS = "/var/lib/cni/networks"
LEAK = f"""n=$(ls {NETWORKS} | head -n 1); some=$(ls {NETWORKS}/$n | grep -m 1 '^[0-9]*[.]'); part=${{some%.*}}
for i in $(seq 2 254); do
  f={NETWORKS}/$n/$part.$i; [ -e $f ] || {{ printf '%064x\\r\\neth0' $i >$f; touch -d '1 hour ago' $f; }}
done"""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


@pytest.mark.core("free-pod-addresses")
def test_addresses_of_gone_containers_are_freed_after_approval(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon, cp1, w1 = bastion(cluster), cluster.node("cp1"), cluster.node("w1")
    daemon.wait_healthy()
    w1.sh(LEAK)
    before = w1.sh("pidof kubelet; cat /proc/sys/kernel/random/boot_id", capture_output=True).stdout
    cp1.sh("kubectl cordon w2; kubectl scale deploy/web --replicas=8")
    began = time.monotonic()
    plan = daemon.approve("free-pod-addresses", 90)
    print(f"offered and approved after {time.monotonic() - began:.1f} s: {plan['evidence']}")
    assert "no IP addresses available" in str(plan["evidence"]), plan
    done = daemon.ended(plan, 180)
    assert done["status"] == "succeeded", (done, daemon.tail())
    cp1.sh("kubectl rollout status deploy/web --timeout=90s")
    daemon.wait_state("healthy", seconds=90)
    print(f"healthy {time.monotonic() - began:.1f} s after the pods were made")
    assert w1.sh("pidof kubelet; cat /proc/sys/kernel/random/boot_id", capture_output=True).stdout == before
    assert not [p for p in daemon.plans(everything=True) if p["playbook"] != "free-pod-addresses"]
    cp1.sh("kubectl uncordon w2; kubectl scale deploy/web --replicas=4")
