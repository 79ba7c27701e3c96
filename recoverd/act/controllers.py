"""What kube-controller-manager does, awaited before anything on nodes is started anew that depends on it."""

from __future__ import annotations

import asyncio

from recoverd.act.carry import hand
from recoverd.act.kube import Kube, KubeFailure
from recoverd.act.node import poll
from recoverd.model.node_operations import CONTROLLER_MANAGER, AwaitControllers, AwaitEndpoints
from recoverd.model.plan import StepResult

STEADY = 1.0
"""Seconds for which endpoints must agree with pods: a kubelet that has only just started has
not told the API yet what it did.
"""
UNTOLD = (401, 403, 404)
"""Answers by which it cannot be told who leads: not allowed, or no Lease (before Kubernetes
1.14, or --leader-elect=false).
"""

OTHERWISE = {
    CONTROLLER_MANAGER: "Services would not follow pods that are started anew, so none are",
    "kube-scheduler": "New pods get no node",
}


async def await_controllers(kube: Kube, until: float, component: str = CONTROLLER_MANAGER) -> StepResult:
    """Poll the Lease. Not to be told is no failure; a lease that nobody renews is one."""
    seen, untold = "", ""

    async def look() -> str:
        nonlocal seen, untold
        try:
            spec = (await kube.lease(component)).get("spec") or {}
        except KubeFailure as failure:
            untold = str(failure) if failure.status in UNTOLD else ""
            return "" if untold else str(failure)
        at = str(spec.get("renewTime", ""))
        before, seen = seen, at
        return (
            ""
            if before not in ("", at)
            else f"has not renewed its lease yet (held by {spec.get('holderIdentity', 'nobody')}, renewed at {at})"
        )

    trouble, took = await poll(look, component, until)
    if untold:
        return StepResult(
            True,
            f"who leads cannot be told, and the plan goes on without: {untold}. config/rbac.yaml "
            "lets recoverd read the lease",
        )
    if trouble:
        return StepResult(
            False,
            f"no {component} leads after {took:.0f} s: it {trouble}. {OTHERWISE[component]}; "
            f"look at it: crictl ps -a --name {component}, and crictl logs",
        )
    return StepResult(True, f"{component} leads, after {took:.0f} s")


async def await_endpoints(kube: Kube, until: float) -> StepResult:
    """Poll pods and endpoints; when the time is over, say what is left."""
    now = asyncio.get_running_loop().time
    right: float | None = None
    untold = ""

    async def look() -> str:
        nonlocal right, untold
        try:
            left = await kube.astray()
        except KubeFailure as failure:
            right, untold = None, str(failure) if failure.status in UNTOLD else ""
            return "" if untold else f"cannot be looked at: {failure}"
        if left:
            right = None
            return f"still have {'; '.join(left[:3])}{f' and {len(left) - 3} more' if len(left) > 3 else ''}"
        right = now() if right is None else right
        return "" if now() - right >= STEADY else f"have been those of the pods for {now() - right:.0f} s"

    trouble, took = await poll(look, "endpoints", until)
    if untold:
        return StepResult(
            True,
            "whether endpoints follow the pods cannot be told, and the plan goes on without: "
            f"{untold}. See config/rbac.yaml",
        )
    if trouble:
        return StepResult(
            True,
            f"after {took:.0f} s endpoints {trouble}; the plan goes on, since kube-proxy follows what "
            f"{CONTROLLER_MANAGER} does later",
        )
    return StepResult(True, f"the endpoints of all services are the addresses of their pods, after {took:.0f} s")


hand(AwaitControllers)(lambda o, at: await_controllers(at.reach.kube, at.until, o.component))
hand(AwaitEndpoints)(lambda o, at: await_endpoints(at.reach.kube, at.until))
