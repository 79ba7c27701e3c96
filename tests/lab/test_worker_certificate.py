"""A worker whose kubelet's client certificate is over, while kubelet runs and after a reboot: signed anew by the
control plane, with a key that never leaves the worker.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.lab.bastion import Bastion
from tests.lab.certificates import kubernetes
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node
from tests.lab.witness import boots
from tests.pki import signed_anew

CURRENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


def expire(cluster: Cluster, node: Node) -> None:
    """The same certificate, of the same key, by the cluster's CA, over since yesterday; kubelet reads it anew."""
    path = node.dir / "root" / node.sh(f"readlink -f {CURRENT}", capture_output=True).stdout.strip().lstrip("/")
    text = path.read_text()
    pem = signed_anew(kubernetes(cluster.node("cp1")), path, text.encode(), -1).decode()
    key = re.search("-----BEGIN [A-Z ]*PRIVATE KEY-----.*", text, re.DOTALL)
    assert key, f"no private key in {path}"
    path.write_text(pem + key.group())


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("kubelet-restarted", marks=pytest.mark.core("renew-worker-certificate")),
        "rebooted",
        "emptied",
    ],
)
def test_it_is_signed_anew_after_approval(cluster: Cluster, bastion: Callable[..., Bastion], way: str) -> None:
    daemon, w1 = bastion(cluster, bounds={"cooldown": 0, "attempts": 100}), cluster.node("w1")
    daemon.wait_healthy(120)
    if way == "emptied":
        # what lies beside it tells which node this is, as where kubelet has rotated once
        w1.sh(f"cp $(readlink -f {CURRENT}) /var/lib/kubelet/pki/kubelet-client-2020-01-01-00-00-00.pem")
        w1.sh(f": >$(readlink -f {CURRENT}); systemctl restart kubelet", check=False)
    else:
        expire(cluster, w1)
        if way == "rebooted":
            w1.reboot()
        else:
            w1.sh("systemctl restart kubelet", check=False)
    before = boots(cluster)
    plan = daemon.approve("renew-worker-certificate", 300)
    assert {step["host"] for step in plan["steps"]} == {"w1"}
    assert daemon.ended(plan, 240)["status"] == "succeeded", daemon.tail()
    daemon.wait_state("healthy", seconds=120)
    w1.sh(f"openssl verify -purpose sslclient -CAfile /etc/kubernetes/pki/ca.crt {CURRENT}")
    w1.sh(f"openssl x509 -noout -checkend 864000 -in {CURRENT}")
    assert {p["playbook"] for p in daemon.plans(everything=True)} == {"renew-worker-certificate"}, daemon.tail()
    assert boots(cluster) == before
