"""Machines that take each other's place: two kubelets that are one node, two nodes with one identity. Pure.

A machine that was cloned, or joined under the name of another, makes two kubelets write one Node object in turn: its
address, its boot and its pods are those of whoever wrote last, each ends what the other was given, and the second
machine is in the cluster under no name of its own (kubernetes/kubeadm #31: names, MAC addresses and product_uuid must
be unique, https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/). No restart and no
reboot changes it. The name of a node is that in its kubelet's certificate, by which the API server knows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from recoverd.diagnose.certificates import KUBELET_CLIENT
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import DoubleFacts, Facts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import NodeView
from recoverd.model.text import some

NODE_USER = re.compile(r"\bCN=system:node:([^,+]+)")
VENDORS = frozenset({"", "03000200-0400-0500-0006-000700080009", "ffffffff-ffff-ffff-ffff-ffffffffffff"})
"""UUIDs that boards have which were never given one of their own, with that of none."""


def findings(scene: Scene) -> Iterator[Finding]:
    for node, names in _claimed(scene).items():
        for name in names[1:]:
            yield _one_node(scene, node, names[0], name)
    nodes = scene.objects.nodes if scene.objects else ()
    clones = {f.key: f for f in _alike(scene, ((n, n.system_uuid) for n in nodes), *_UUID)}
    clones |= {f.key: f for f in _alike(scene, ((n, n.machine_id) for n in nodes), *_ID)}
    yield from clones.values()


def sharing(scene: Scene) -> frozenset[str]:
    """The machines that are one node with another."""
    return frozenset(name for names in _claimed(scene).values() for name in names)


_ID = (
    "machine-id",
    "CNIs, systemd-networkd's DHCP and some agents take it for one machine. Cure, on the clone, drained: "
    "`rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup`, and a reboot",
    Severity.WARNING,
)
_UUID = (
    "product_uuid",
    "kubeadm asks for one of its own for each node, and some CNIs and cloud controllers take both for one machine. "
    "Cure: give the clone another one in its hypervisor",
    Severity.NOTICE,
)


def _claimed(scene: Scene) -> Mapping[str, list[str]]:
    """The machines whose running kubelets call themselves this node, where they are more than one. One that recoverd
    knows by two names or addresses is one still: both have its boot.
    """
    found = dict[str, dict[str, str]]()
    for name in scene.addresses:
        if (node := _calls_itself(scene, name)) and (host := scene.host(name)):
            found.setdefault(node, {}).setdefault(host.boot_id, name)
    return {node: list(names.values()) for node, names in found.items() if len(names) > 1}


def _calls_itself(scene: Scene, name: str) -> str:
    host = scene.host(name)
    kubelet = host.units.get("kubelet") if host else None
    if host is None or not host.joined or kubelet is None or not kubelet.running:
        return ""
    subjects = (c.subject for c in host.certificates if c.path.endswith(f"/{KUBELET_CLIENT}"))
    return next((said[1] for subject in subjects if (said := NODE_USER.search(subject))), "")


def _one_node(scene: Scene, node: str, one: str, other: str) -> Finding:
    listed = scene.objects and next((n for n in scene.objects.nodes if n.name == node), None)
    where = f"; the API server lists it at {listed.address} now" if listed and listed.address else ""
    cure = (
        f"which of them is {node} a person knows; on the other one `kubeadm reset`, `hostnamectl set-hostname` to a "
        "name of its own, and `kubeadm join` again (or --node-name at the join)"
    )
    return Finding(
        Code.MACHINES_SHARE_NODE,
        f"{one}>{other}",
        f"{one} and {other} are one node: the kubelets of both call themselves {node}, as where a machine was cloned "
        f"or joined under the name of another{where}. Each takes the node from the other, and ends pods that the other "
        f"was given. No restart and no reboot changes that. Cure: {cure}.",
        tuple(
            f"{name} ({scene.addresses[name]}): kubelet's certificate is system:node:{node}" for name in (one, other)
        ),
        state=State.WORKER_NETWORK_BROKEN,
        facts=DoubleFacts(one, node, cure, other),
    )


def _alike(
    scene: Scene, ids: Iterable[tuple[NodeView, str]], what: str, effect: str, grave: Severity
) -> Iterable[Finding]:
    having = dict[str, list[NodeView]]()
    for node, id in ids:
        if id.lower() not in VENDORS:
            having.setdefault(id, []).append(node)
    for id, nodes in having.items():
        first = nodes[0]
        if len(nodes) > 1:
            yield Finding(
                Code.MACHINE_IDS_SHARED,
                first.name,
                f"{some([n.name for n in nodes], 8)} have the same {what}, as machines that were cloned: {effect}.",
                tuple(f"{n.name} ({n.address}): {what} {id}" for n in nodes[:8]),
                severity=grave,
                facts=Facts(scene.machines.get(first.name, ""), first.name),
            )
