"""Images that the pods of a node's agents, or of the cluster's DNS, wait for in vain: which, and what the pull says.

A table of pods has the reason and no more; the pods of such a node are read whole, which is one small list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kubernetes.aio.client import ApiClient

from recoverd.model.network import ENDED, NOT_PULLED, AgentView, SilentDns, UnpulledImage, lacks_image
from recoverd.observe.kubelet import ListedPod
from recoverd.observe.lists import Answered, Lists
from recoverd.observe.text import printable

NODES = 8
"""Whose pods are read in a sweep; of more, as while a registry is away, the reason is enough."""
SAID = 600
"""Characters of what a pull says."""
STANDS = 600.0
"""Seconds for which an image that a pod waited for is taken to be away still, while its container has not run since:
kubelet tries again after five minutes at the latest.
"""


class ImageWatch:
    """Remembers between two pulls what a pod waits for. A container that ran before waits by turns for its own back-off
    and for the image, and in the first of them the API says nothing of an image (observed on 1.20.2: an agent whose
    image was gone was CrashLoopBackOff every minute, and was restarted in vain). Times are a monotonic clock's.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[UnpulledImage, float]] = {}
        """By uid of the pod: what it waited for, and when that was seen last."""

    def between(
        self, found: Mapping[str, UnpulledImage], pods: Iterable[ListedPod], now: float
    ) -> dict[str, UnpulledImage]:
        """What was found in this sweep, by pod, and what those wait for that are in their own back-off just now."""
        seen, standing = dict[str, tuple[UnpulledImage, float]](), dict(found)
        for pod in pods:
            if pod.name in found:
                seen[pod.uid] = found[pod.name], now
            elif pod.uid in self._seen and pod.status in ENDED and now - self._seen[pod.uid][1] < STANDS:
                seen[pod.uid] = self._seen[pod.uid]
                standing[pod.name] = seen[pod.uid][0]
        self._seen = seen
        return standing


async def unpulled(
    client: ApiClient,
    lists: Lists,
    pods: Sequence[ListedPod],
    agents: Sequence[AgentView],
    silent: Mapping[str, SilentDns],
) -> dict[str, UnpulledImage]:
    """By pod, NAMESPACE/NAME. Nobody is asked while no pod of these lacks an image."""
    theirs = {a.pod_key for a in agents if lacks_image(a.status)}
    theirs.update(name for dns in silent.values() for name in dns.pods)
    found = {p.name: p for p in pods if p.name in theirs and lacks_image(p.status)} if theirs else {}
    nodes = sorted({p.node for p in found.values()})[:NODES]
    answers = await asyncio.gather(*(lists.pods_on(client, node) for node in nodes))
    items = [i for read in answers if isinstance(read, Answered) for i in read.body.get("items") or ()]
    whole = {str((i.get("metadata") or {}).get("uid")): i for i in items}
    return {name: _image(pod, whole.get(pod.uid, {})) for name, pod in found.items()}


def _image(pod: ListedPod, item: Mapping[str, Any]) -> UnpulledImage:
    """Of a container that ran before the status has the image's id (observed on 1.20.2), which no registry knows."""
    spec = item.get("spec") or {}
    named = {c.get("name"): c.get("image") for kind in ("initContainers", "containers") for c in spec.get(kind) or ()}
    for container in _containers(item.get("status") or {}):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if (reason := str(waiting.get("reason"))) in NOT_PULLED:
            image = str(named.get(container.get("name")) or container.get("image") or "")
            said = str(waiting.get("message") or "")
            return UnpulledImage(pod.node, printable(image, SAID), reason, printable(said, SAID))
    return UnpulledImage(pod.node, "", pod.status.removeprefix("Init:"))


def _containers(status: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
