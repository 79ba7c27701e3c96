"""What every rule about the network asks of a host first."""

from __future__ import annotations

from recoverd.diagnose.scene import SETTLING, Scene
from recoverd.model.facts import Facts


def booting(scene: Scene, name: str) -> bool:
    """It has only just been switched on: agents, devices and pods are on their way."""
    host = scene.host(name)
    return host is not None and 0 < host.uptime < SETTLING


def judged(scene: Scene, name: str) -> bool:
    """It was looked at in this sweep, its node is Ready and it is not just booting: only then
    is anything said of its network.
    """
    node = scene.node(name)
    return scene.host(name) is not None and node is not None and node.ready and not booting(scene, name)


def node_of(scene: Scene, name: str) -> str:
    """Name of the Node of a machine; its own where the API server lists none."""
    node = scene.node(name)
    return node.name if node else name


def facts_of(scene: Scene, name: str) -> Facts:
    return Facts(name, node_of(scene, name))


def kubelet_age(scene: Scene, name: str) -> float | None:
    """Seconds since kubelet's unit changed its state or its node became Ready, None where neither is known.

    Observed on 1.20.2: a kubelet that was started without a way to the API server and then gets one posts at once,
    and lists its pods seconds later.
    """
    host, node = scene.host(name), scene.node(name)
    kubelet = host.units.get("kubelet") if host else None
    since = [
        at for at in (kubelet.since if kubelet else None, node.since if node and node.ready else None) if at is not None
    ]
    return scene.age(max(since)) if since else None
