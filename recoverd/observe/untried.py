"""Pods that no scheduler has looked at. The list of pods is a table, which says of none why it is Pending: those that
are bound to no node are read whole while one of them waits for long, which is a small list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio.client import ApiClient

from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.witness import UntriedPods
from recoverd.observe.kubelet import ListedPod, from_object
from recoverd.observe.lists import read_json
from recoverd.observe.rest import list_all

WAITS = 60.0
"""Seconds that a pod is bound to no node before any is read."""
MOST = 200
"""Pods that are read."""
DEFAULT = "default-scheduler"
"""Whose pods are meant: another scheduler is somebody's own."""
SHOWN = 20


async def look(
    client: ApiClient | None, pods: Iterable[ListedPod], seconds: float, now: datetime | None = None
) -> UntriedPods | Unseen:
    """Those of the newest list that wait, within the deadline."""
    if client is None:
        return Unseen(UnseenKind.NOT_TRIED, "no API server is ready to list the pods that wait")
    now = now or datetime.now(UTC)
    waiting = (p.created for p in pods if not (p.node or p.deleting or p.may_have_ended))
    if not any(at and (now - at).total_seconds() >= WAITS for at in waiting):
        return UntriedPods()
    read = await read_json(
        "the pods that have no node",
        lambda: list_all(client, "pods", fieldSelector="spec.nodeName=,status.phase=Pending", limit=str(MOST)),
        seconds,
    )
    if isinstance(read, Unseen):
        return read
    try:
        return untried(read.body, read.at)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"the API server gave the pods that have no node in an odd form ({error!r})"
        return Unseen(UnseenKind.GARBAGE, why)


def untried(body: Mapping[str, Any], now: datetime) -> UntriedPods:
    """Of a list of pods, by the API server's clock: the scheduler says of each that it has looked at whether it found a
    node (the condition PodScheduled), and the API server that one is not to be looked at yet (its schedulingGates).
    """
    ages = dict[str, float]()
    for item in body.get("items") or ():
        pod, conditions = from_object(item), (item.get("status") or {}).get("conditions") or ()
        of = (item.get("spec") or {}).get("schedulerName") or DEFAULT
        told = any(c.get("type") == "PodScheduled" for c in conditions)
        if of == DEFAULT and pod.created and not (told or pod.node or pod.deleting):
            ages[pod.name] = (now - pod.created).total_seconds()
    eldest = sorted(ages, key=lambda name: -ages[name])
    return UntriedPods(len(ages), max(ages.values(), default=0.0), tuple(eldest[:SHOWN]))
