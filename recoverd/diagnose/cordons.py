"""Nodes that take no new pods since somebody, or a plan of recoverd, has cordoned them. Pure.

One is nothing: somebody is at work there, or upgrades one after the other. Where hardly any is left, what ends is not
made anew, and every node is Ready meanwhile (kubernetes-sigs/kubespray #1344, rancher/rancher #26405).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity
from recoverd.model.lease import HeldBy
from recoverd.model.node_operations import CORDONED
from recoverd.model.observation import NodeView

SHOWN = 20


def findings(scene: Scene) -> Iterator[Finding]:
    nodes = scene.objects.nodes if scene.objects else ()
    for node in nodes:
        if (
            node.unschedulable
            and node.cordoned_by not in ("", scene.busy)
            and not isinstance(scene.observation.lease, HeldBy)
        ):
            yield Finding(
                Code.NODE_LEFT_CORDONED,
                node.name,
                f"The node {node.name} was cordoned by plan {node.cordoned_by} of recoverd, which is over, and "
                "is cordoned still, so that "
                f"no new pod gets there. When it is well: kubectl uncordon {node.name}",
                (f"its annotation {CORDONED} says {node.cordoned_by}",),
                severity=Severity.WARNING,
            )
    for_pods = [n for n in nodes if not n.control_plane] or list(nodes)
    cordoned = [n for n in for_pods if n.unschedulable]
    if cordoned and _too_many(scene, len(for_pods), len(cordoned)) and not _by_plan(scene, cordoned):
        yield _hardly_any(scene, for_pods, cordoned)


def _too_many(scene: Scene, nodes: int, cordoned: int) -> bool:
    """All; all but one of three or more. The only one of all only where a pod waits for it."""
    if nodes == 1:
        return scene.objects is not None and scene.objects.pods.get("", 0) > 0
    return cordoned == nodes or (nodes > 2 and cordoned == nodes - 1)


def _by_plan(scene: Scene, cordoned: Sequence[NodeView]) -> bool:
    """A plan of recoverd that is at work has brought it to this, and brings it back."""
    return bool(scene.busy) and any(n.cordoned_by == scene.busy for n in cordoned)


def _hardly_any(scene: Scene, nodes: Sequence[NodeView], cordoned: Sequence[NodeView]) -> Finding:
    names = [n.name for n in cordoned]
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    left = [n.name for n in nodes if not n.unschedulable]
    waiting = scene.objects.pods.get("", 0) if scene.objects else 0
    what = f"{len(names)} of the {len(nodes)} nodes for pods are" if len(nodes) > 1 else "The only node for pods is"
    room = f"new pods get to {left[0]} alone" if left else "no new pod gets anywhere"
    now = f"; {waiting} wait{'s' if waiting == 1 else ''} now" if waiting else ""
    return Finding(
        Code.NODES_CORDONED,
        "",
        f"{what} cordoned ({shown}): {room}, and what ends elsewhere stays Pending{now}. When nobody is at work there: "
        f"kubectl uncordon {' '.join(names[:SHOWN])}",
        tuple(f"{n.name}: unschedulable{_since(n)}" for n in cordoned[:SHOWN]),
        severity=Severity.WARNING,
    )


def _since(node: NodeView) -> str:
    return f" since {node.cordoned_at:%Y-%m-%d %H:%M} UTC" if node.cordoned_at else ""
