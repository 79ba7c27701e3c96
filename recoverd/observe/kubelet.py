"""The pods that the API binds to a node against those that its kubelet has. Pure.

By uid, since a pod of the same name may be another pod. A static pod's uid is the hash of its manifest, and
its mirror in the API has a uid of its own and the hash in an annotation; older kubelets list the mirror, newer
the static pod, so both count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from recoverd.model.network import BEGINNING, BEGINS, WaitingPods

MIRROR = "kubernetes.io/config.mirror"
HASH = "kubernetes.io/config.hash"
ENDED = ("Succeeded", "Failed")
ENDED_WORDS = (
    "Completed",
    "Succeeded",
    "Failed",
    "Error",
    "Evicted",
    "OOMKilled",
    "Terminated",
    "NodeLost",
    "Shutdown",
    "NodeShutdown",
)
"""What a table says of pods that may have ended: it has no phase. Those are looked at closer
before anything is said of them.
"""
SHOWN = 50


@dataclass(frozen=True, slots=True)
class ListedPod:
    """One pod of the API's list; of a table's row, the few fields that are in it."""

    uid: str
    name: str
    """NAMESPACE/NAME."""
    node: str
    ip: str
    status: str
    """As kubectl prints it, or the phase."""
    ready: bool
    created: datetime | None
    deleting: bool
    mirror: str = ""
    """Hash of the static pod that this is the mirror of."""
    owner: str = ""
    """Uid of the DaemonSet that made it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    bound: datetime | None = None
    """When it was bound to the node; only of whole objects."""
    version: str = ""
    """Its resourceVersion, only of a table's row: the next table has the same row while it is the same."""

    @property
    def may_have_ended(self) -> bool:
        return self.status in ENDED_WORDS or self.status in ENDED


def instant(text: Any) -> datetime | None:
    """The moment that a timestamp of the API says."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).astimezone(UTC) if text else None
    except ValueError:
        return None


def from_object(pod: Mapping[str, Any]) -> ListedPod:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    bound = conditions.get("PodScheduled")
    meta = pod["metadata"]
    return ListedPod(
        uid=str(meta["uid"]),
        name=f"{meta.get('namespace', '')}/{meta['name']}",
        node=str(spec.get("nodeName", "")),
        ip=str(status.get("podIP", "")),
        status=str(status.get("phase", "")),
        ready=conditions.get("Ready", {}).get("status") == "True",
        created=instant(meta.get("creationTimestamp")),
        deleting=bool(meta.get("deletionTimestamp")),
        mirror=str((meta.get("annotations") or {}).get(MIRROR, "")),
        owner=owner_of(meta.get("ownerReferences")),
        labels=meta.get("labels") or {},
        bound=instant(bound.get("lastTransitionTime")) if bound else None,
    )


def owner_of(references: Sequence[Mapping[str, Any]] | None) -> str:
    """The uid of the DaemonSet among a pod's owners, or ""."""
    return next((str(o["uid"]) for o in references or () if o.get("kind") == "DaemonSet"), "")


def waiting(pods: Mapping[str, Sequence[ListedPod]], nodes: Iterable[str], now: datetime) -> dict[str, WaitingPods]:
    """By node, of these: what is bound to it and waits for its containers to be made."""
    found = dict[str, WaitingPods]()
    for node in nodes:
        ages = {
            p.name: (now - p.created).total_seconds()
            for p in pods.get(node, ())
            if p.status.startswith(BEGINNING) and p.created and not (p.ip or p.deleting)
        }
        if late := [name for name, age in ages.items() if age >= BEGINS]:
            found[node] = WaitingPods(len(late), max(ages.values()), tuple(late[:SHOWN]))
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    missing: tuple[ListedPod, ...]
    """Listed, neither deleted nor ended, and not run."""
    extra: tuple[tuple[str, str], ...]
    """(uid, NAMESPACE/NAME) of what is run, not being deleted as far as the node knows, and not listed."""


def compare(listed: Sequence[ListedPod], run: Mapping[str, str]) -> Difference:
    """`run` is what the node has: uid to NAMESPACE/NAME, without what it is deleting; see `kubelet_uids`.

    A mirror pod is never missing: kubelet makes it after its static pod, so one that is behind (observed for 15 s after
    a static pod's manifest was changed while the API server was down) says nothing of what kubelet hears.
    """
    known = {p.uid for p in listed} | {p.mirror for p in listed if p.mirror}
    missing = tuple(p for p in listed if not p.mirror and not p.deleting and not p.may_have_ended and p.uid not in run)
    return Difference(missing, tuple((uid, name) for uid, name in run.items() if uid not in known))


def kubelet_uids(body: Mapping[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
    """From kubelet's own list: every uid (and static pod's hash) with its name; and those that are static or being
    deleted or have ended, whose absence from the API's list means nothing.
    """
    uids: dict[str, str] = {}
    excused = set()
    for pod in body.get("items") or ():
        meta = pod["metadata"]
        notes = meta.get("annotations") or {}
        name = f"{meta.get('namespace', '')}/{meta['name']}"
        ids = {str(meta["uid"]), *(str(notes[k]) for k in (MIRROR, HASH) if notes.get(k))}
        uids |= dict.fromkeys(ids, name)
        static = notes.get("kubernetes.io/config.source", "api") != "api" or MIRROR in notes
        if static or meta.get("deletionTimestamp") or (pod.get("status") or {}).get("phase") in ENDED:
            excused |= ids
    return uids, frozenset(excused)


def without(difference: Difference, excused: Collection[str]) -> Difference:
    return Difference(difference.missing, tuple(e for e in difference.extra if e[0] not in excused))
