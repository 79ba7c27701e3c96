"""Nodes that take no new pods: somebody, or a plan of recoverd, has cordoned them, or they have a taint. Pure.

One is nothing: somebody is at work there, or upgrades one after the other. Where hardly any is left, what ends is not
made anew, and every node is Ready meanwhile (kubernetes-sigs/kubespray #1344, rancher/rancher #26405). Taints are
often meant, so that pods that tolerate them have a node alone; some a controller puts on a new node and takes off once
it can be used, and with that controller away it never does: every node is Ready, and every new pod
Pending (kubernetes/cloud-provider-openstack #2200, awslabs/amazon-eks-ami #1446).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.lease import HeldBy
from recoverd.model.node_operations import CORDONED
from recoverd.model.observation import NodeView

SHOWN = 20
LASTS = 180.0
"""Seconds for which a node has to be Ready, or to be called without a network: a controller takes its taint off a
moment after that, and a CNI's agent that is started anew calls its node so meanwhile (Calico).
"""
MANAGER = (
    "kube-controller-manager has not taken it off, though the node is Ready",
    "see to the kube-controller-manager that leads (`kubectl -n kube-system get lease kube-controller-manager`) and "
    "what it says",
)
NO_NETWORK = "node.kubernetes.io/network-unavailable"
OF_CONTROLLERS = {
    "node.cloudprovider.kubernetes.io/uninitialized": (
        "its cloud provider's controller has not initialised it (kubelet's --cloud-provider=external waits for that)",
        "see to the pods of the cloud-controller-manager and what they say: their credentials, and whether they "
        "tolerate the taint themselves",
    ),
    "node.cluster.x-k8s.io/uninitialized": (
        "Cluster API's controllers have not initialised it",
        "see to them in the management cluster, and whether they reach this one",
    ),
    NO_NETWORK: (
        "nobody has told that its network is there: that is for the CNI's agent on it, or for the cloud's route "
        "controller",
        "see to that agent and what it says; where an agent was replaced that had set it, `kubectl get node NAME -o "
        "yaml` shows by its condition NetworkUnavailable who",
    ),
    "node.kubernetes.io/not-ready": MANAGER,
    "node.kubernetes.io/unreachable": MANAGER,
}
"""By key of a taint that a controller takes off: why it is still there, and what a person does."""


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
    elif _none_takes(scene, for_pods):
        yield _none(scene, for_pods)
        return
    for node in nodes:
        yield from _uninitialised(scene, node)


def _none_takes(scene: Scene, nodes: Sequence[NodeView]) -> bool:
    """Pods wait, and no node is left for one that tolerates nothing."""
    waits = scene.objects is not None and scene.objects.pods.get("", 0) > 0
    return bool(nodes) and waits and all(n.unschedulable or _kept_away(scene, n) for n in nodes)


def _key(taint: str) -> str:
    return taint.rpartition(":")[0]


def _kept_away(scene: Scene, node: NodeView) -> tuple[str, ...]:
    """The taints of a node without those that a controller may still take off."""
    own = tuple(t for t in node.taints if _key(t) not in OF_CONTROLLERS)
    return (*own, *_left_by_controllers(scene, node))


def _left_by_controllers(scene: Scene, node: NodeView) -> tuple[str, ...]:
    """The taints of a Ready node that a controller should have taken off."""
    age, off = scene.age(node.since), scene.age(node.without_network)
    if not node.ready or age is None or age < LASTS:
        return ()
    of = [t for t in node.taints if _key(t) in OF_CONTROLLERS]
    return tuple(t for t in of if not t.startswith(NO_NETWORK) or (off is not None and off >= LASTS))


def _uninitialised(scene: Scene, node: NodeView) -> Iterator[Finding]:
    left = _left_by_controllers(scene, node)
    if left:
        why, cure = OF_CONTROLLERS[_key(left[0])]
        yield Finding(
            Code.NODE_UNINITIALISED,
            node.name,
            f"The node {node.name} is Ready and takes no new pods: it has the taint {left[0]}, since {why}. Cure: "
            f"{cure}.",
            (f"{node.name}: {', '.join(node.taints)}",),
            severity=Severity.WARNING,
        )


def _none(scene: Scene, nodes: Sequence[NodeView]) -> Finding:
    """A fault where no person has to do with it: nothing that ends is made anew until somebody sees to it."""
    left = {n.name: _left_by_controllers(scene, n) for n in nodes}
    alone = all(set(n.taints) == set(left[n.name]) and not n.unschedulable for n in nodes)
    waiting = scene.objects.pods.get("", 0) if scene.objects else 0
    keys = dict.fromkeys(_key(t) for of in left.values() for t in of)
    cures = [f"{key}: {OF_CONTROLLERS[key][0]}; {OF_CONTROLLERS[key][1]}" for key in keys]
    if not alone:
        cures.append("a taint that nobody means any more goes with `kubectl taint nodes NAME KEY-`")
    what = f"All {len(nodes)} nodes for pods have" if len(nodes) > 1 else "The only node for pods has"
    return Finding(
        Code.NODES_TAKE_NO_PODS,
        "",
        f"{what} a taint{'' if all(n.taints for n in nodes) else ' or a cordon'}: a pod that does not tolerate it gets "
        f"nowhere, and what ends stays Pending; {waiting} wait{'s' if waiting == 1 else ''} now. Cure: "
        f"{'. '.join(cures)}.",
        tuple(f"{n.name}: {', '.join((*n.taints, *(['cordoned'] if n.unschedulable else [])))}" for n in nodes[:SHOWN]),
        severity=Severity.FAULT if alone else Severity.WARNING,
        state=State.WORKER_NETWORK_BROKEN if alone else None,
    )


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
