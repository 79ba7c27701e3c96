"""What every rule about the network asks of a host first."""

from __future__ import annotations

from ipaddress import ip_address

from recoverd.diagnose.scene import Scene, just_booted
from recoverd.model.facts import Facts
from recoverd.model.network import NodeNetworkView

NEW = 90.0
"""Seconds for which a node that was never seen before is Ready, as those of a boot (`scene.just_booted`)."""


def booting(scene: Scene, name: str) -> bool:
    """It has only just been switched on: agents, devices and pods are on their way."""
    host = scene.host(name)
    return host is not None and just_booted(host)


def away(scene: Scene, name: str) -> bool:
    """Nothing is said of its network and its pods: it is booting, or a control plane that was reset, of which that
    is found.
    """
    host = scene.host(name)
    return booting(scene, name) or (name in scene.control_plane_names and host is not None and not host.joined)


def joining(scene: Scene, name: str) -> bool:
    """Its network was never remembered, and its node is Ready since just now: the CNI's agents of all nodes make the
    ways to it and from it (observed with an agent over VXLAN and 1.20.2, where the API server was away while it joined:
    40 s, and its agents were to be restarted).
    """
    node = scene.node(name)
    age = scene.age(node.since) if node else None
    return name not in scene.memory.networks and age is not None and age < NEW


def judged(scene: Scene, name: str) -> bool:
    """It was looked at in this sweep, its node is Ready and it is not just booting or joining (or reset): only
    then is anything said of its network.
    """
    node = scene.node(name)
    seen = scene.host(name) is not None and node is not None and node.ready
    return seen and not (away(scene, name) or joining(scene, name))


def node_of(scene: Scene, name: str) -> str:
    """Name of the Node of a machine; its own where the API server lists none."""
    node = scene.node(name)
    return node.name if node else name


def facts_of(scene: Scene, name: str) -> Facts:
    return Facts(name, node_of(scene, name))


def ipv6_alone(scene: Scene, name: str, host: NodeNetworkView) -> bool:
    """Whether every pod that is seen on the host has an IPv6 address, or the node itself where none is seen."""
    node = scene.node(name)
    seen = host.pod_addresses or ((node.address,) if node else ())
    return bool(seen) and all(_is_ipv6(a) for a in seen)


def _is_ipv6(address: str) -> bool:
    try:
        return ip_address(address).version == 6
    except ValueError:
        return False
