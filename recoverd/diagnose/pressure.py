"""Nodes whose kubelet says that they lack disk, memory or processes. Pure.

Such a node is Ready. Its kubelet ends pods, one after the other, and new ones are kept away by a taint; where all nodes
are so, as where one log fills every disk, nothing that ends is made anew (kubernetes/kubernetes #74169, #91600). The
static pods of kubeadm are critical, and are not ended for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import NodeView

CURES = {
    "DiskPressure": "free its disk (`df -h`, `df -i`; /var/log, `crictl rmi --prune`)",
    "MemoryPressure": "see what takes its memory (`free -m`, `ps -eo rss,comm --sort -rss | head`)",
    "PIDPressure": "see what takes its processes (`ps -eLo comm= | sort | uniq -c | sort -n | tail`)",
}


def findings(scene: Scene) -> Iterator[Finding]:
    nodes = scene.objects.nodes if scene.objects else ()
    pressed = [n for n in nodes if n.ready and n.pressures]
    usable = [n for n in nodes if n.ready and not n.unschedulable and not n.control_plane]
    nowhere = bool(usable) and all(n.pressures for n in usable)
    for node in pressed:
        yield _finding(scene, node, nowhere and node in usable)


def _finding(scene: Scene, node: NodeView, nowhere: bool) -> Finding:
    what = " and ".join(node.pressures)
    cures = "; ".join(CURES[p] for p in node.pressures if p in CURES)
    everywhere = " All nodes for pods say so: nothing that ends is made anew anywhere." if nowhere else ""
    return Finding(
        Code.NODE_PRESSURE,
        node.name,
        f"The node {node.name} has {what}: its kubelet ends pods there, and no others are let in.{everywhere} Cure: "
        f"{cures}; kubelet takes it back some minutes later (evictionPressureTransitionPeriod).",
        (f"{node.name}: condition {what}: True, as listed by the API server",),
        severity=Severity.FAULT if nowhere else Severity.WARNING,
        state=State.WORKER_NETWORK_BROKEN if nowhere else None,
        facts=Facts(scene.machines.get(node.name, ""), node.name),
    )
