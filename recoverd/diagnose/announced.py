"""At which address a node's CNI tells the others to send packets for its pods. Pure.

Flannel and Calico choose the first device that they find, unless they are told one, and say so in an annotation of the
node. After a device was added or renamed that may be another one, of a network that the others do not reach: the node
is Ready, its agent runs, and paths of its pods are broken; the agent chooses the same again at each start
(docs.tigera.io, "IP autodetection methods"; flannel's `--iface`). Some clusters have a network of its own for pods:
it is named beside a broken path, where the other nodes are announced at their own address and this one is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from recoverd.diagnose.scene import Scene
from recoverd.diagnose.tables import BETWEEN, concerned
from recoverd.model.catalogue import Code
from recoverd.model.facts import CureFacts
from recoverd.model.finding import Finding, State
from recoverd.model.observation import NodeView


def findings(scene: Scene, beside: Iterable[Finding]) -> Iterator[Finding]:
    """`beside` are the findings of paths, which that explains."""
    struck = frozenset[str]().union(*(concerned(f) for f in beside if f.code in BETWEEN))
    nodes = [n for n in scene.objects.nodes if _compares(n)] if scene.objects and struck else []
    odd = [n for n in nodes if n.announced != n.address]
    times = Counter(n.announced for n in nodes)
    few = len(odd) * 2 <= len(nodes)
    for node in odd:
        if scene.machines.get(node.name, node.name) in struck and (few or times[node.announced] > 1):
            yield _finding(scene, node, [n.name for n in nodes if n.announced == node.announced and n is not node])


def _compares(node: NodeView) -> bool:
    return bool(node.announced and node.address) and (":" in node.announced) is (":" in node.address)


def _finding(scene: Scene, node: NodeView, others: list[str]) -> Finding:
    cure = (
        "tell the CNI's agent which device counts (calico: IP_AUTODETECTION_METHOD=kubernetes-internal-ip, "
        "interface=... or can-reach=...; flannel: --iface or --iface-can-reach), and make its pods anew"
    )
    too = f" {', '.join(others)} {'is' if len(others) == 1 else 'are'} announced there as well." if others else ""
    return Finding(
        Code.CNI_ADDRESS,
        node.name,
        f"The CNI tells other nodes to send what is for pods of {node.name} to {node.announced}, which is not its "
        f"address {node.address}, and paths of its pods are broken.{too} No restart and no reboot changes that. Cure: "
        f"{cure}.",
        (f"{node.name}: InternalIP {node.address}; its annotation of the CNI's address: {node.announced}",),
        state=State.WORKER_NETWORK_BROKEN,
        facts=CureFacts(scene.machines.get(node.name, ""), node.name, cure),
    )
