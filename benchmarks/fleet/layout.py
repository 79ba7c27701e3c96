"""What a made-up cluster consists of: names, addresses, pods, services. Everything follows from its number, so that the
processes that serve it and the one that measures agree without telling each other.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from functools import cached_property

PODS = 30
"""Pods of a node, kube-proxy's and flannel's among them."""
SERVICES = 2
"""Services for each worker."""
BEHIND = 3
"""Pods behind a service."""
BOOTED = 30 * 86400
"""Seconds for which every machine has been up."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One node and its machine."""

    name: str
    number: int
    address: str
    plane: bool
    subnet: str
    """The first three parts of its pods' addresses."""

    @property
    def boot_id(self) -> str:
        return uid("boot", self.address)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that runs and is ready."""

    namespace: str
    name: str
    uid: str
    ip: str
    node: str
    owner: str
    """"DaemonSet" or "ReplicaSet"."""
    owner_name: str


@dataclass(frozen=True, slots=True)
class Service:
    namespace: str
    name: str
    ip: str
    port: int
    target: int
    endpoints: tuple[tuple[str, str, str, str], ...]
    """(IP, node, pod, pod's uid); the last two "" where it is no pod."""

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"


def uid(*words: object) -> str:
    """The same one for the same words."""
    return str(uuid.UUID(hashlib.md5("/".join(map(str, words)).encode()).hexdigest()))


class Layout:
    """The cluster number `number` with so many machines. `network` is the second part of the addresses of cluster 0:
    each cluster has its own /16 of 127.0.0.0/8.
    """

    def __init__(self, number: int, planes: int, workers: int, network: int) -> None:
        self.number, self.name = number, f"fleet{number}"
        # port 22 and 6443 of an address that another program of this machine may use are none of ours
        prefix = f"127.{(network + number) % 250 + 1}"
        self.vip = f"{prefix}.250.1"
        self.machines = tuple(
            Machine(
                f"{self.name}-{'cp' if i < planes else 'w'}{i + 1 if i < planes else i - planes + 1}",
                i,
                f"{prefix}.{i // 240}.{i % 240 + 2}",
                i < planes,
                f"10.{i // 256 + 200}.{i % 256}",
            )
            for i in range(planes + workers)
        )
        self.planes, self.workers = self.machines[:planes], self.machines[planes:]

    @cached_property
    def pods(self) -> dict[str, tuple[Pod, ...]]:
        """By node."""
        return {m.name: tuple(self._pods_on(m)) for m in self.machines}

    def _pods_on(self, machine: Machine) -> list[Pod]:
        def pod(namespace: str, name: str, ip: str, owner: str, owner_name: str) -> Pod:
            return Pod(namespace, name, uid(self.name, namespace, name), ip, machine.name, owner, owner_name)

        agents = ("kube-system", "kube-proxy"), ("kube-flannel", "kube-flannel-ds")
        found = [
            pod(space, f"{agent}-{machine.number:05x}", machine.address, "DaemonSet", agent) for space, agent in agents
        ]
        if machine.plane:
            return found
        for k in range(PODS - len(found)):
            app = f"app-{machine.number}-{k}"
            name = f"{app}-{uid(self.name, app)[:10]}-{k:05x}"
            found.append(pod("default", name, f"{machine.subnet}.{k + 2}", "ReplicaSet", app))
        return found

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """kubernetes, kube-dns, and two for each worker, whose pods are on three workers."""
        own = tuple((m.address, m.name, "", "") for m in self.planes)
        found = [Service("default", "kubernetes", "10.96.0.1", 443, 6443, own)]
        found.append(Service("kube-system", "kube-dns", "10.96.0.10", 53, 53, self._behind(0, PODS - 3, 2)))
        for i, worker in enumerate(self.workers):
            for k in range(SERVICES):
                number = i * SERVICES + k
                ip = f"10.{97 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
                found.append(Service("default", f"svc-{worker.number}-{k}", ip, 80, 8080, self._behind(i, k, BEHIND)))
        return tuple(found)

    def _behind(self, first: int, which: int, count: int) -> tuple[tuple[str, str, str, str], ...]:
        found = []
        for i in range(min(count, len(self.workers))):
            node = self.workers[(first + i) % len(self.workers)].name
            pod = self.pods[node][2 + (which + i * SERVICES) % (PODS - 2)]
            found.append((pod.ip, node, f"{pod.namespace}/{pod.name}", pod.uid))
        return tuple(found)
