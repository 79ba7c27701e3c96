"""Draining a node as `kubectl drain` does: what it evicts, what it leaves, what it
refuses; and every end of it in words.

Source of the rules: the filters of kubectl's drain package (DaemonSet, mirror, local storage,
unreplicated), unchanged from 1.17 to today.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from recoverd.act.carry import hand
from recoverd.act.kube import Json, Kube, KubeFailure
from recoverd.engine.progress import report
from recoverd.model.node_operations import Drain, PodChoice
from recoverd.model.plan import StepResult
from recoverd.model.text import some

POLL_SECONDS = 1.0
EVICT_EVERY = 5.0
"""Seconds between two attempts at a pod that a budget protects, as kubectl's."""
OVER_GRACE = 60.0
"""Seconds beyond a pod's own grace period after which its kubelet is taken not to be ending it:
a deaf or dead one never does.
"""
RESERVE = 1.0
NAMED = 6
MIRROR = "kubernetes.io/config.mirror"


@dataclass(slots=True)
class Sorting:
    """The pods of a node by what a drain does with them."""

    evict: list[Json] = field(default_factory=list)
    daemons: list[str] = field(default_factory=list)
    mirrors: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """By choice."""
    refused: list[str] = field(default_factory=list)
    """With the reason; when there is one, nothing is evicted."""
    chosen: list[str] = field(default_factory=list)
    """Evicted though kubectl would have to be told to."""


def name_of(pod: Json) -> str:
    return f"{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"


def sort(pods: Iterable[Json], operation: Drain) -> Sorting:
    """Decide for every pod. Pure."""
    out = Sorting()
    for pod in pods:
        meta, spec = pod["metadata"], pod.get("spec", {})
        name = name_of(pod)
        owner = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), None)
        ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        volumes = [str(v.get("name")) for v in spec.get("volumes") or () if v.get("emptyDir") is not None]
        if MIRROR in (meta.get("annotations") or {}):
            out.mirrors.append(name)
        elif owner and owner.get("kind") == "DaemonSet" and not ended:
            out.daemons.append(name)
        elif ended:
            out.evict.append(pod)
        else:
            reasons = [(operation.local_storage, f"local storage (emptyDir {', '.join(volumes)})")] if volumes else []
            if not owner:
                reasons.append((operation.unmanaged, "no controller, so that nothing would make it anew elsewhere"))
            _choose(out, pod, name, reasons)
    return out


def _choose(out: Sorting, pod: Json, name: str, reasons: list[tuple[PodChoice, str]]) -> None:
    refused = [why for choice, why in reasons if choice is PodChoice.REFUSE]
    if refused:
        out.refused.append(f"{name} has {' and '.join(refused)}")
    elif any(choice is PodChoice.LEAVE for choice, _ in reasons):
        out.left.append(name)
    else:
        out.evict.append(pod)
        if reasons:
            out.chosen.append(f"{name} ({' and '.join(why for _, why in reasons)})")


@dataclass(slots=True)
class _Leaving:
    """One pod on its way out."""

    pod: Json
    accepted_at: float | None = None
    tried_at: float = float("-inf")
    blocked: str = ""

    @property
    def grace(self) -> float:
        meta, spec = self.pod["metadata"], self.pod.get("spec", {})
        return float(meta.get("deletionGracePeriodSeconds") or spec.get("terminationGracePeriodSeconds") or 30)


async def drain(operation: Drain, kube: Kube, until: float, *, ask: bool = False) -> StepResult:
    """Evict until the node is empty of what can go, or the deadline: the result says which pods are where, and why.

    `ask`: evict nothing. A drain that was over is gone through again in a moment, so nothing needs to
    be known of how far it had come.
    """
    if ask:
        return StepResult(
            False,
            f"whether {operation.node} still has to be drained is seen first; nothing more is evicted before that",
            undone=True,
        )
    try:
        sorting = sort(await kube.pods(operation.node), operation)
        if sorting.refused:
            return StepResult(False, _refusal(operation, sorting))
        return await _evict(operation, kube, sorting, until - RESERVE)
    except KubeFailure as failure:
        return StepResult(
            False, f"the drain of {operation.node} stopped: {failure}. What was evicted by then stays evicted"
        )
    except (KeyError, TypeError, AttributeError) as error:
        return StepResult(
            False,
            f"the drain of {operation.node} stopped: the API server described a pod in a form "
            f"not understood ({error!r})",
        )


async def _evict(operation: Drain, kube: Kube, sorting: Sorting, until: float) -> StepResult:
    now = asyncio.get_running_loop().time
    began, total = now(), len(sorting.evict)
    leaving = {str(p["metadata"]["uid"]): _Leaving(p) for p in sorting.evict}
    trouble = ""
    while True:
        try:
            await _ask(kube, leaving, now(), until)
            there = {str(p["metadata"]["uid"]) for p in await kube.pods(operation.node)}
            ready = _ready(await kube.node(operation.node))
            trouble = ""
        except KubeFailure as failure:
            if failure.status in (401, 403, 404):
                raise
            trouble = str(failure)  # the API server may be away for a moment
        else:
            for uid in [u for u in leaving if u not in there]:
                del leaving[uid]
            stuck = [
                x
                for x in leaving.values()
                if x.accepted_at is not None and (not ready or now() - x.accepted_at > x.grace + OVER_GRACE)
            ]
            if len(stuck) == len(leaving):
                return StepResult(
                    True, _done(operation, sorting, total, [name_of(x.pod) for x in stuck], now() - began)
                )
        if now() + POLL_SECONDS > until:
            return StepResult(False, _late(operation, leaving, total, now() - began, trouble))
        report(f"draining {operation.node}: {_standing(leaving, total)}", now() - began)
        await asyncio.sleep(POLL_SECONDS)


async def _ask(kube: Kube, leaving: dict[str, _Leaving], now: float, until: float) -> None:
    """Ask for the eviction of every pod that has not been granted it. Raises
    `KubeFailure` for what no waiting mends.
    """
    for uid, each in list(leaving.items()):
        if (
            each.accepted_at is not None
            or now - each.tried_at < EVICT_EVERY
            or asyncio.get_running_loop().time() > until
        ):
            continue
        each.tried_at = now
        if each.pod["metadata"].get("deletionTimestamp"):
            each.accepted_at, each.blocked = now, ""
            continue
        answer = await kube.evict(each.pod)
        if answer.answer == "accepted":
            each.accepted_at, each.blocked = now, ""
        elif answer.answer == "gone":
            del leaving[uid]
        else:
            each.blocked = answer.reason


def _ready(node: Json) -> bool:
    conditions: list[Any] = node.get("status", {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _standing(leaving: dict[str, _Leaving], total: int) -> str:
    parts = [f"{total - len(leaving)} of {total} pods gone"]
    if blocked := _blocked(leaving):
        parts.append(f"not let go: {blocked}")
    if ending := [name_of(x.pod) for x in leaving.values() if x.accepted_at is not None]:
        parts.append(f"ending: {_names(ending)}")
    return "; ".join(parts)


def _blocked(leaving: dict[str, _Leaving]) -> str:
    """What keeps pods from being evicted, each reason once with its pods."""
    reasons: dict[str, list[str]] = {}
    for each in leaving.values():
        if each.blocked:
            reasons.setdefault(each.blocked.rstrip("."), []).append(name_of(each.pod))
    return "; ".join(f"{reason} ({_names(names)})" for reason, names in reasons.items())


def _late(operation: Drain, leaving: dict[str, _Leaving], total: int, took: float, trouble: str) -> str:
    ending = [name_of(x.pod) for x in leaving.values() if x.accepted_at is not None]
    also = f". Still ending: {_names(ending)}" if ending else ""
    return (
        f"the drain of {operation.node} was not over after {took:.0f} s: {total - len(leaving)} "
        f"of {total} pods are gone, "
        f"{_names([name_of(x.pod) for x in leaving.values()])} not. "
        f"{_blocked(leaving) or trouble or 'No budget blocks it'}{also}. "
        "Let the budget allow it (more replicas elsewhere, or a smaller minAvailable), or move these pods by hand"
    )


def _refusal(operation: Drain, sorting: Sorting) -> str:
    more = f"; and {len(sorting.refused) - NAMED} more" if len(sorting.refused) > NAMED else ""
    return (
        f"the drain of {operation.node} was refused before anything was evicted: "
        f"{'; '.join(sorting.refused[:NAMED])}{more}. "
        "In the configuration, `drain: {local_storage: ..., unmanaged: ...}` chooses for such pods: `evict` (their "
        "emptyDir data is deleted, what "
        "has no controller is gone for good) or `leave` (they stay and go through the reboot)"
    )


def _done(operation: Drain, sorting: Sorting, total: int, stuck: list[str], took: float) -> str:
    parts = [f"{operation.node} is drained after {took:.0f} s: {total - len(stuck)} pods evicted and gone"]
    if stuck:
        parts.append(f"evicted, and not ended by the kubelet there: {_names(stuck)}; they end with the reboot")
    if sorting.chosen:
        parts.append(f"evicted by choice: {_names(sorting.chosen)}")
    if sorting.left:
        parts.append(f"left by choice, and rebooted with the node: {_names(sorting.left)}")
    parts.append(
        f"stay as with kubectl drain: {len(sorting.daemons)} of DaemonSets, {len(sorting.mirrors)} mirror pods"
    )
    return "; ".join(parts)


def _names(names: list[str]) -> str:
    return some(names, NAMED)


hand(Drain)(lambda o, at: drain(o, at.reach.kube, at.until, ask=at.ask))
