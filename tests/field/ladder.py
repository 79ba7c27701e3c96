"""Rows of the matrix for the higher rungs: the faults of other rows, where a person wants none of the lower ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.field.environment import Environment
from tests.field.of_nodes import OF_NODES
from tests.field.remedies import REMEDIES
from tests.field.rows import ROWS

FILES, START, NETWORK = "restore-node-files", "start-node-services", "restore-node-network"
AGENTS, REBOOT = "restart-node-agents", "rolling-worker-reboot"
REJECTED: dict[str, tuple[tuple[str, ...], str]] = {
    "1.36 with containerd 2, kube-proxy with nftables, etcd 3.6": ((START,), AGENTS),
    "CRI-O": ((START, AGENTS), REBOOT),
    "Calico with IPIP": ((NETWORK,), AGENTS),
    "Antrea": ((NETWORK, AGENTS), REBOOT),
    "kube-proxy with iptables, and its rules are flushed": ((AGENTS,), REBOOT),
    "a worker's kubelet is deaf": ((AGENTS,), REBOOT),
    "1.17 with docker, and a worker's kubelet hangs": ((AGENTS,), REBOOT),
    "Cilium without kube-proxy, and its agent on a worker ends": ((AGENTS,), REBOOT),
    "Flannel, and a worker's tunnel is gone": ((AGENTS,), REBOOT),
    "a worker's kube-proxy ends again and again": ((AGENTS,), REBOOT),
    "nobody reaches a worker's pods": ((AGENTS,), REBOOT),
    "a service's address leads nowhere from a worker": ((AGENTS,), REBOOT),
    "the address of the cluster's DNS leads nowhere from a worker": ((AGENTS,), REBOOT),
}
"""By another row: what is rejected, one after the other, and what is offered then."""


def rows() -> Iterator[tuple[str, Environment]]:
    known = ROWS | REMEDIES | OF_NODES
    for name, (declined, plan) in REJECTED.items():
        yield f"{name}, no {', no '.join(declined)}", replace(known[name], declined=declined, plan=plan)


LADDER = dict(rows())
