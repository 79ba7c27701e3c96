"""At which address a node's CNI tells the others to send packets for its pods. Pure.

Flannel and Calico choose the first device that they find, unless they are told one, and say so in an annotation of the
node. After a device was added or renamed that may be another one, of a network that the others do not reach: the node
is Ready, its agent runs, and paths of its pods are broken; the agent chooses the same again at each start
(docs.tigera.io, "IP autodetection methods"; flannel's `--iface`). Some clusters have a network of its own for pods,
and some nodes are reached by another address on purpose (flannel's `--public-ip`): what was announced while the node's
pods were reached is no cause. Where that is not known it is named beside a broken path, if the other nodes are
announced at an address of theirs and this one is not. One that several share is never right. Nor is the cluster's own,
which kube-vip or keepalived carry from one control plane to the next: the agent that took it for its node's goes on
announcing it once it is elsewhere, and takes another when it is started anew (projectcalico/calico #6711).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from recoverd.diagnose.scene import Scene
from recoverd.diagnose.tables import BETWEEN, concerned
from recoverd.model.catalogue import Code
from recoverd.model.facts import CureFacts, Facts
from recoverd.model.finding import Finding, State
from recoverd.model.observation import NodeView
from recoverd.model.places import host_of


def findings(scene: Scene, beside: Iterable[Finding]) -> Iterator[Finding]:
    """`beside` are the findings of paths, which that explains."""
    struck = frozenset[str]().union(*(concerned(f) for f in beside if f.code in BETWEEN))
    nodes = [n for n in scene.objects.nodes if _compares(n)] if scene.objects and struck else []
    odd = [n.name for n in nodes if n.announced not in (n.address, *n.more_addresses)]
    at = Counter(n.announced for n in nodes)
    moves = host_of(scene.vip.address)
    few = len(odd) * 2 <= len(nodes)
    for node in nodes:
        machine = scene.machines.get(node.name, node.name)
        known = scene.memory.networks.get(machine)
        worked = known.announced if known else ""
        if at[node.announced] > 1 or node.announced == moves:
            wrong = node.name in odd
        elif worked:
            # where most of the others have a network for pods alone, its own address is elsewhere
            apart = len(set(odd) - {node.name}) * 2 > len(nodes) - 1
            wrong = worked != node.announced and (node.announced != node.address or apart)
        else:
            wrong = node.name in odd and few
        if wrong and machine in struck:
            others = [n.name for n in nodes if n.announced == node.announced and n is not node]
            yield _finding(scene, node, others, worked, moves=node.announced == moves)


def _compares(node: NodeView) -> bool:
    own = [a for a in (node.address, *node.more_addresses) if (":" in a) is (":" in node.announced)]
    return bool(node.announced and own)


def _finding(scene: Scene, node: NodeView, others: list[str], worked: str, *, moves: bool) -> Finding:
    cure = (
        "tell the CNI's agent which device counts (calico: IP_AUTODETECTION_METHOD=kubernetes-internal-ip, "
        "interface=... or can-reach=...; flannel: --iface or --iface-can-reach), and make its pods anew"
    )
    too = f" {', '.join(others)} {'is' if len(others) == 1 else 'are'} announced there as well." if others else ""
    before = f"it was {worked} while they were reached" if worked not in ("", node.announced) else ""
    not_its = f"which is not its address {node.address}" if node.announced != node.address else ""
    which = "the cluster's own address, which moves" if moves else ", ".join(filter(None, (not_its, before)))
    helps = "Its agent chooses anew when it is started anew" if moves else "No restart and no reboot changes that"
    machine = scene.machines.get(node.name, "")
    return Finding(
        Code.CNI_ADDRESS,
        node.name,
        f"The CNI tells other nodes to send what is for pods of {node.name} to {node.announced}, {which}, and "
        f"paths of its pods are broken.{too} {helps}. Cure{' for good' if moves else ''}: {cure}.",
        (f"{node.name}: InternalIP {node.address}; its annotation of the CNI's address: {node.announced}",),
        state=State.WORKER_NETWORK_BROKEN,
        facts=Facts(machine, node.name) if moves else CureFacts(machine, node.name, cure),
    )
