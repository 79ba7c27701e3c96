"""Whose memory it is. A machine that is put in another's place has its name and address, and nothing that was known of
that one says how it should be: a worker that was made anew and joined was to get the address of its predecessor's pod
bridge, of another part of the pod network than its own. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from recoverd.diagnose.scene import Scene
from recoverd.model.memory import KnownNode, Memory

OF_MACHINES = "manifests", "networks", "pki", "files", "pod_files", "mounts"
"""Fields of a memory, by host, that say how a machine was; copies that they name are on its own disk."""


def of_those_there(scene: Scene) -> tuple[Memory, tuple[str, ...]]:
    """The memory without what is of machines that were replaced, or joined anew with another part of the pod network;
    and in words what was forgotten. The very same memory where nothing is new.

    The Node object says who is there: its kubelet reports the machine-id when it starts. Nothing is concluded from what
    a node does not say, nor from one that is not listed.
    """
    memory, told = scene.memory, []
    for host in scene.addresses:
        node = scene.node(host)
        before = memory.nodes.get(host, KnownNode())
        if node is None:
            continue
        # a Node that was made a moment ago says neither yet
        now = KnownNode(node.machine_id or before.machine_id, node.pod_cidrs or before.pod_cidrs)
        if now == before:
            continue
        for why, fields in _other(before, now):
            less = _without(memory, host, fields)
            if less != memory:
                told.append(f"{host}: {why}")
            memory = less
        memory = replace(memory, nodes={**memory.nodes, host: now})
    return memory, tuple(told)


def _other(before: KnownNode, now: KnownNode) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What is another one, in words, and what is not to be known any more for it."""
    if before.machine_id and now.machine_id and before.machine_id != now.machine_id:
        yield f"its machine-id was {before.machine_id} and is {now.machine_id}", OF_MACHINES
    if before.pod_cidrs and now.pod_cidrs and before.pod_cidrs != now.pod_cidrs:
        was, are = ", ".join(before.pod_cidrs), ", ".join(now.pod_cidrs)
        yield f"its part of the pod network was {was} and is {are}", ("networks",)


def _without(memory: Memory, host: str, fields: tuple[str, ...]) -> Memory:
    changes: dict[str, Any] = {
        name: {h: known for h, known in by_host.items() if h != host}
        for name in fields
        if host in (by_host := getattr(memory, name))
    }
    if "manifests" in fields and host in memory.worked:
        # a control plane that joins again is judged as one that joins
        changes["worked"] = tuple(h for h in memory.worked if h != host)
    return replace(memory, **changes) if changes else memory
