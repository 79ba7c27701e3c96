"""Nodes: cordoned and uncordoned, rebooted, awaited, and their agents' pods made anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tenacity import AsyncRetrying, RetryError, retry_if_result, wait_fixed

from recoverd.act.begin import begin
from recoverd.act.carry import Carry, hand
from recoverd.act.drain import name_of
from recoverd.act.host import GUARD_STATUS, HostRunner
from recoverd.act.kube import Json, Kube, KubeFailure
from recoverd.act.until import stop_at, timeout
from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.engine.progress import report
from recoverd.model.call import Call
from recoverd.model.node_operations import (
    CORDONED,
    Agent,
    AwaitNodeReady,
    AwaitNodeWell,
    AwaitReboot,
    Cordon,
    Reboot,
    RestartDaemonPods,
    Uncordon,
)
from recoverd.model.plan import StepResult
from recoverd.model.unit_operations import RestartStaticPod

POLL_SECONDS = 1.0
LOOK_SECONDS = 3.0
CONFLICT = 409
TRIES = 5
PROXY_GRACE = 1
"""Seconds. kube-proxy, as process 1 of its container, does not hear SIGTERM and would be waited for 30 s
(observed); what it has programmed stays.
"""
PROCESS_SECONDS = 20
"""For kubelet to start another kube-proxy after its process was ended."""
WRITTEN_SECONDS = 15.0
CNI_PATHS = ("/etc/cni", "/opt/cni")
CHAINED = ("istio-cni", "linkerd-cni", "multus", "kube-multus", "whereabouts", "cni-metrics", "tuning", "sriov")
"""How DaemonSets are called that put themselves behind another CNI's agent: no pod's path to another one is theirs."""
UNMARK: Json = {"metadata": {"annotations": {CORDONED: None}}}
Change = tuple[Json, str]
"""A patch, and what it does in words."""


# --- cordon ---


async def cordon(operation: Cordon, kube: Kube, *, ask: bool = False) -> StepResult:
    """One patch with the version that was read, so that a cordon by a person a moment earlier
    is not taken for recoverd's own.

    `ask`: only look whether the node is cordoned.
    """
    if ask:
        try:
            if not (await kube.node(operation.node)).get("spec", {}).get("unschedulable"):
                return StepResult(False, f"{operation.node} has not been cordoned yet", undone=True)
        except KubeFailure as failure:
            what = (
                f"whether recoverd has cordoned {operation.node} cannot be told: {failure}. If it has: kubectl "
                f"uncordon {operation.node}"
            )
            return StepResult(False, what, uncertain=True)

    def change(node: Json) -> Change | str:
        name, mark = operation.node, _mark(node)
        if not node.get("spec", {}).get("unschedulable"):
            return {
                "spec": {"unschedulable": True},
                "metadata": {"annotations": {CORDONED: operation.mark}},
            }, f"{name} is cordoned"
        if mark and mark == operation.mark:
            return f"{name} was cordoned already: by recoverd, for this plan"
        if not mark:
            return f"{name} was cordoned already: somebody cordoned it, and it stays cordoned afterwards"
        by = f"by recoverd's plan {mark} or by somebody since (its mark was taken off)"
        return (
            UNMARK,
            f"{name} was cordoned already, {by}, and it stays cordoned afterwards; kubectl uncordon {name} ends that",
        )

    return await _patched(kube, operation.node, change, "It was not cordoned")


async def uncordon(operation: Uncordon, kube: Kube) -> StepResult:
    """Only with this plan's mark, which goes away with the cordon."""

    def change(node: Json) -> Change | str:
        name, mark = operation.node, _mark(node)
        if mark and mark == operation.mark:
            return {"spec": {"unschedulable": None}, **UNMARK}, f"{name} is schedulable again"
        cordoned = node.get("spec", {}).get("unschedulable")
        if cordoned:
            return f"{name} was cordoned by somebody else and stays cordoned; kubectl uncordon {name} ends that"
        return f"{name} is not cordoned"

    return await _patched(
        kube, operation.node, change, f"It stays cordoned; when it is well: kubectl uncordon {operation.node}"
    )


async def _patched(kube: Kube, name: str, change: Callable[[Json], Change | str], otherwise: str) -> StepResult:
    """Patch the node by what it is; `change` gives the patch with what it does, or why none is needed. A
    change by others is looked at anew.
    """
    try:
        for last in (*[False] * (TRIES - 1), True):
            node = await kube.node(name)
            wanted = change(node)
            if isinstance(wanted, str):
                return StepResult(True, wanted, already_done=True)
            patch, done = wanted
            patch = {**patch, "metadata": {**patch["metadata"], "resourceVersion": node["metadata"]["resourceVersion"]}}
            try:
                await kube.patch_node(name, patch)
                return StepResult(True, done)
            except KubeFailure as failure:
                # no answer: the next look tells whether it was done
                if last or failure.status not in (0, CONFLICT):
                    raise
    except KubeFailure as failure:
        return StepResult(False, f"{failure}. {otherwise}")
    except (KeyError, TypeError, AttributeError) as error:
        return StepResult(
            False, f"the API server described node {name} in a form not understood ({error!r}). {otherwise}"
        )
    raise AssertionError("not reached")


def _mark(node: Json) -> str:
    return str((node["metadata"].get("annotations") or {}).get(CORDONED, ""))


# --- reboot ---


async def reboot(operation: Reboot, hosts: HostPool, host: str, until: float, *, ask: bool = False) -> StepResult:
    """Ask once; the script on the host itself sees to it that a second asking does nothing. That the
    connection breaks is as it should be.

    `ask`: only look whether it was asked before.
    """
    if ask:
        return await HostRunner(hosts, host).asked(operation, until)
    try:
        result = await begin(hosts, host, operation.call(), until)
    except HostUnseen as unseen:
        if unseen.sent:
            return StepResult(
                True,
                f"{host} was asked to reboot, and the connection went ({unseen.unseen.kind}); its "
                "boot id tells whether it did",
            )
        return StepResult(
            False,
            f"{host} was not asked to reboot: {unseen}. Nothing was changed on it; look at it, or reboot it by hand",
            untouched=True,
        )
    if result.exit_status == GUARD_STATUS:
        return StepResult(False, f"{host} was not asked to reboot: {result.stderr.strip()[-300:]}", untouched=True)
    if result.exit_status != 0:
        said = (result.stderr or result.stdout).strip()[-300:]
        return StepResult(
            False,
            f"{host} does not reboot when asked (systemctl ended with {result.exit_status}): {said}. Reboot it by hand",
        )
    said = result.stdout.strip()
    return StepResult(True, f"{host} {said or 'was asked to reboot'}", already_done=bool(said))


async def await_reboot(operation: AwaitReboot, hosts: HostPool, host: str, until: float) -> StepResult:
    """Poll over SSH until the boot id is another."""

    async def look() -> str:
        try:
            result = await hosts.ask(host, Call.of("boot_id"), timeout=min(LOOK_SECONDS, timeout(until)))
        except HostUnseen as unseen:
            return f"does not answer over SSH ({unseen})"
        seen = result.stdout.strip()
        if result.exit_status != 0 or not seen:
            return f"does not tell its boot id ({result.stderr.strip()[:200]})"
        return "has not gone down yet, boot id unchanged" if seen == operation.boot_id else ""

    trouble, took = await poll(look, host, until)
    if trouble:
        return StepResult(
            False,
            f"{host} did not come back from its reboot within {took:.0f} s: it {trouble}. Look at its console, "
            "switch it on, or reset it",
        )
    return StepResult(True, f"{host} is in a new boot, after {took:.0f} s")


async def await_node_ready(operation: AwaitNodeReady, kube: Kube, until: float) -> StepResult:
    """Poll the Node object."""

    async def look() -> str:
        try:
            node = await kube.node(operation.node)
            status = node.get("status", {})
            ready: Json = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), {})
            same = operation.boot_id and status.get("nodeInfo", {}).get("bootID") == operation.boot_id
        except KubeFailure as failure:
            return str(failure)
        if same:
            return "its kubelet has not reported since the reboot (the API shows the old boot id)"
        if ready.get("status") != "True":
            return f"is not Ready ({ready.get('reason', 'no condition')}: {ready.get('message', '')})"
        return ""

    trouble, took = await poll(look, operation.node, until)
    if trouble:
        return StepResult(
            False,
            f"node {operation.node} was not Ready within {took:.0f} s: {trouble}. Look there: "
            "journalctl -u kubelet -n 50",
        )
    return StepResult(True, f"node {operation.node} is Ready, after {took:.0f} s")


async def poll(look: Callable[[], Awaitable[str]], name: str, until: float) -> tuple[str, float]:
    """Ask every second until it answers "" or the time is over; what it said last, and the seconds it took."""
    now = asyncio.get_running_loop().time
    began = now()

    async def told() -> str:
        trouble = await look()
        if trouble:
            report(f"{name} {trouble}", now() - began)
        return trouble

    try:
        await AsyncRetrying(
            retry=retry_if_result(bool),
            wait=wait_fixed(POLL_SECONDS),
            stop=stop_at(until - POLL_SECONDS),
            sleep=asyncio.sleep,
        )(told)
    except RetryError as over:
        return str(over.last_attempt.result()), now() - began
    return "", now() - began


# --- agents ---


async def restart_daemon_pods(
    operation: RestartDaemonPods, kube: Kube, hosts: HostPool, host: str, until: float
) -> StepResult:
    """By the process where that can be; else delete the pods, and wait for a Ready one of each of their
    DaemonSets that is none of them.
    """
    by_process = operation.agent is Agent.KUBE_PROXY and not operation.by_pod
    if by_process and (ended := await _end_proxy(operation, hosts, host, until)):
        return ended
    try:
        old = [p for p in await kube.pods(operation.node) if is_agent(p, operation.agent)]
    except KubeFailure as failure:
        return StepResult(
            False, f"{operation.agent} on {operation.node} was not restarted: {failure}. Nothing was changed"
        )
    if not old and (operation.agent is Agent.CNI or not await _proxy_wanted(kube)):
        which = "a CNI agent" if operation.agent is Agent.CNI else operation.agent
        return StepResult(
            True,
            f"no DaemonSet's pod of {which} is bound to {operation.node}: there is nothing to restart",
            already_done=True,
        )
    try:
        for pod in old:
            if not pod["metadata"].get("deletionTimestamp"):
                await kube.delete_pod(pod, PROXY_GRACE if operation.agent is Agent.KUBE_PROXY else None)
    except KubeFailure as failure:
        return StepResult(
            False,
            f"{operation.agent} on {operation.node} was not restarted: {failure}. What was "
            "deleted by then is made anew",
        )
    trouble, took = await poll(lambda: _other_than(old, operation, kube), operation.node, until)
    names = ", ".join(name_of(p) for p in old) or "none was there"
    if trouble:
        return StepResult(
            False,
            f"after its pods ({names}) were deleted, {operation.node} {trouble} within {took:.0f} s; look "
            "with kubectl describe pod",
        )
    rules = await _rules(hosts, host, until) if operation.agent is Agent.KUBE_PROXY else ""
    return StepResult(True, f"{operation.agent} on {operation.node} was made anew ({names}), after {took:.0f} s{rules}")


async def _end_proxy(operation: RestartDaemonPods, hosts: HostPool, host: str, until: float) -> StepResult | None:
    """End kube-proxy's process, which kubelet starts again; None where its pod has to be deleted instead."""
    again = RestartStaticPod("kube-proxy", PROCESS_SECONDS, signal="KILL", static=False)
    result = await HostRunner(hosts, host).perform(
        again, min(until, asyncio.get_running_loop().time() + PROCESS_SECONDS + 5), resume=False
    )
    if result.ok:
        return StepResult(
            True,
            f"kube-proxy on {operation.node} was ended, and kubelet has started another"
            f"{await _rules(hosts, host, until)}",
        )
    report(f"{operation.node}: {result.detail}; its pod is deleted instead", 0)
    return None


async def _other_than(old: Sequence[Json], operation: RestartDaemonPods, kube: Kube) -> str:
    """What is still missing: a Ready pod of each DaemonSet of the old ones that is none of them; "" when all are."""
    gone, wanted = {p["metadata"]["uid"] for p in old}, {_owner(p) for p in old}
    try:
        pods = await kube.pods(operation.node)
    except KubeFailure as failure:
        return str(failure)
    up = {
        _owner(p) for p in pods if is_agent(p, operation.agent) and p["metadata"]["uid"] not in gone and _pod_ready(p)
    }
    missing = wanted - up if wanted else set() if up else {str(operation.agent)}
    return f"has no new pod of {', '.join(sorted(missing))} that is Ready" if missing else ""


async def _rules(hosts: HostPool, host: str, until: float) -> str:
    """Wait a few seconds until a kube-proxy that has just been started has written its rules (0.4 s,
    observed); what came of that, in words.
    """
    try:
        said = await hosts.ask(host, Call.of("rules_written"), timeout=min(WRITTEN_SECONDS, timeout(until)))
    except HostUnseen as unseen:
        return f"; whether it has written its rules cannot be told: {unseen.unseen.reason}"
    return (
        ", which has written its rules"
        if "written" in said.stdout
        else "; whether it has written its rules its metrics on port 10249 do not tell"
    )


async def _proxy_wanted(kube: Kube) -> bool:
    """Whether a DaemonSet wants a kube-proxy on some node, or may: where it was replaced, it is gone (Cilium), or is
    told to run on none (Calico's eBPF). Where they cannot be listed it may.
    """
    try:
        found = [d for d in await kube.daemonsets() if _of_proxy((d["spec"].get("template") or {}).get("metadata"))]
        return any(
            d.get("status", {}).get("desiredNumberScheduled")
            or d.get("status", {}).get("observedGeneration", 0) < d["metadata"].get("generation", 1)
            for d in found
        )
    except (KubeFailure, KeyError, TypeError, AttributeError):
        return True


def _of_proxy(meta: Json | None) -> bool:
    labels = (meta or {}).get("labels") or {}
    return labels.get("k8s-app") == "kube-proxy" or labels.get("component") == "kube-proxy"


def is_agent(pod: Json, agent: Agent) -> bool:
    """Whether a pod is a DaemonSet's pod of this agent. Pure."""
    meta, spec = pod["metadata"], pod.get("spec", {})
    if not (owner := _owner(pod).partition("/")[2]):
        return False
    if agent is Agent.KUBE_PROXY:
        return _of_proxy(meta)
    paths = [str((v.get("hostPath") or {}).get("path", "")) for v in spec.get("volumes") or ()]
    return not owner.startswith(CHAINED) and any(path.startswith(CNI_PATHS) for path in paths)


def _owner(pod: Json) -> str:
    owners = pod["metadata"].get("ownerReferences") or ()
    return next(
        (f"{pod['metadata'].get('namespace', '')}/{o.get('name')}" for o in owners if o.get("kind") == "DaemonSet"), ""
    )


def _pod_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


async def _await_node_well(operation: AwaitNodeWell, at: Carry) -> StepResult:
    return StepResult(False, "this step is judged by the state machine, sweep by sweep, and is never carried out")


# each looks at what is there before it does anything, so a resumed one is simply done again,
# unless it is only asked about
hand(Cordon)(lambda o, at: cordon(o, at.reach.kube, ask=at.ask))
hand(Uncordon)(lambda o, at: uncordon(o, at.reach.kube))
hand(Reboot)(lambda o, at: reboot(o, at.reach.hosts, at.host, at.until, ask=at.ask))
hand(AwaitReboot)(lambda o, at: await_reboot(o, at.reach.hosts, at.host, at.until))
hand(AwaitNodeReady)(lambda o, at: await_node_ready(o, at.reach.kube, at.until))
hand(RestartDaemonPods)(lambda o, at: restart_daemon_pods(o, at.reach.kube, at.reach.hosts, at.host, at.until))
hand(AwaitNodeWell)(_await_node_well)
