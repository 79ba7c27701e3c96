"""A cause that a program names in its own words, and whose words they are; the known ones are in `causes_of_nodes`,
`causes_of_control_planes` and their neighbours. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

KUBELET, ETCD, API = "kubelet", "etcd", "kube-apiserver"
RUNTIMES = ("containerd", "docker", "crio")
KERNEL = "kernel"
NOT_MADE = "pod-not-made"
"""What kubelet says of a pod whose sandbox or network cannot be made, in whatever words of whoever makes it."""
SANDBOX, IMAGE, POD_NETWORK = "sandbox", "image", "pod-network"
"""What kubelet says of pods that it cannot start: of all on the machine, of the one whose name is in the line, or of
those that are not in the host's own network, as static pods are.
"""
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
PROGRAMS = (KUBELET, *RUNTIMES, ETCD, API, *CONTROLLERS)
PROXY, CNI, DNS = "kube-proxy", "cni", "coredns"
AGENTS = (PROXY, CNI, DNS)
"""What runs as pods for the nodes' network, by their own logs."""
POD = "pod"
"""What kubelet says of the pod whose name is in the line, beside what it says of images."""
MACHINE = (*PROGRAMS, SANDBOX)
"""Whoever meets it says so."""
BY_ITSELF = "; it comes up by itself then"
"""The end of a cure after which nothing has to be started."""
NO_ADDRESS, NO_CNI_AGENT = "no-pod-address", "no-cni-agent"
NO_RESOLV_CONF, NO_SANDBOX_IMAGE = "no-resolv-conf", "no-sandbox-image"
BY_SIGNAL = "ended-by-signal"
NO_IMAGE, NO_ROOM_FOR_IMAGE = "no-image", "no-room-for-image"
ANOTHER_NAME = "another-name"
NO_API_THERE = "no-api-server-there"
OF_DISKS = ("disk-full", "read-only")


@dataclass(frozen=True, slots=True)
class Cause:
    name: str
    of: tuple[str, ...]
    """Whose words these are."""
    says: re.Pattern[str]
    why: str
    """What is wrong, with what the line names as {0}, {1}."""
    cure: str
    restart: bool = False
    """A restart of the program, or of its machine, may be all that is needed. Without it
    neither helps, and none is offered.
    """
    weak: bool = False
    """It is often said beside the real cause, and often is only its consequence: taken where nothing else is said."""


def row(
    name: str, of: Iterable[str], says: str, why: str, cure: str, *, restart: bool = False, weak: bool = False
) -> Cause:
    return Cause(name, tuple(of), re.compile(says), why, cure, restart, weak)
