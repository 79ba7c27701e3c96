"""The network of a cluster: one bridge, a network namespace for each node, and a load balancer before the API servers.

Cluster N has 10.99.N.0/24 with the bridge at .1; namespaces outlive the machines in them, as a cable outlives a reboot.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .host import CLUSTERS, attempt, run

if TYPE_CHECKING:
    from .node import Node


def bridge(cluster: int) -> str:
    return f"rdlab{cluster}"


def add_bridge(cluster: int) -> None:
    name = bridge(cluster)
    run(f"""ip link show {name} >/dev/null 2>&1 || ip link add {name} type bridge
        ip addr replace 10.99.{cluster}.1/24 dev {name}; ip link set {name} up""")


def remove_bridge(cluster: int) -> None:
    attempt(f"ip link del {bridge(cluster)}")


def add_namespace(cluster: int, name: str, address: str) -> None:
    """A network namespace with an interface `host0` on the cluster's bridge; one that is there already is made anew.

    A cloud's metadata service is refused there: kubelet (observed on 1.20.2) asks for it at each start,
    and waits 6 s where it is silent.
    """
    link = f"v{name}"[:15]
    remove_namespace(name)
    run(f"""ip netns add {name}; ip link add {link} type veth peer name host0 netns {name}
        ip link set {link} master {bridge(cluster)} up
        ip -n {name} addr add {address}/24 dev host0; ip -n {name} link set host0 up; ip -n {name} link set lo up
        ip -n {name} route add default via 10.99.{cluster}.1
        ip -n {name} route add unreachable 169.254.169.254""")


def remove_namespace(name: str) -> None:
    attempt(f"ip netns del {name}")
    attempt(f"ip link del {f'v{name}'[:15]}")


def plug(name: str, into: bool) -> None:
    """Switch the link of a namespace on or off: a machine without power does not even refuse a connection."""
    attempt(f"ip link set {f'v{name}'[:15]} {'up' if into else 'down'}")


HAPROXY = """defaults
 mode tcp
 timeout connect 2s
 timeout client 1h
 timeout server 1h
frontend api
 bind :6443
 default_backend api
backend api
 option httpchk GET /readyz
 http-check expect status 200
 default-server on-marked-down shutdown-sessions
"""


class LoadBalancer:
    """haproxy in a namespace of its own at .10, the address behind the name k8s-api; it sends to
    the API servers that are ready.
    """

    def __init__(self, cluster: int) -> None:
        self.cluster, self.id = cluster, f"rd{cluster}-lb"
        self.dir = CLUSTERS / str(cluster) / "lb"

    def start(self, servers: Sequence[Node]) -> None:
        """Begin to balance over `servers`, whether they answer yet or not."""
        self.stop()
        self.dir.mkdir(parents=True, exist_ok=True)
        lines = [
            f" server {n.name} {n.address}:6443 check check-ssl verify none inter 1s fall 2 rise 1\n" for n in servers
        ]
        (self.dir / "haproxy.cfg").write_text(HAPROXY + "".join(lines))
        add_namespace(self.cluster, self.id, f"10.99.{self.cluster}.10")
        run(
            ["ip", "netns", "exec", self.id, "haproxy", "-D", "-p", self.dir / "pid", "-f", self.dir / "haproxy.cfg"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """End haproxy, by the ids of the processes that live in its namespace, and remove the namespace."""
        pids = subprocess.run(["ip", "netns", "pids", self.id], capture_output=True, text=True).stdout.split()
        for pid in map(int, pids):
            if "haproxy" in Path(f"/proc/{pid}/comm").read_text():
                os.kill(pid, signal.SIGKILL)
        remove_namespace(self.id)
