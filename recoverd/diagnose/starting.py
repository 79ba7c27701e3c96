"""Pods that are bound to a node and do not start there, for a reason that its kubelet gives. Pure.

A pod that waits for an image or for a volume waits as well: nothing is said of it before kubelet has named, in a line
about that very pod, what keeps its sandbox from being made. Pods of the host's own network are not concerned, so the
node is Ready meanwhile and everything that runs is well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recoverd.diagnose.cause import NO_CNI_AGENT, NOT_MADE, POD_NETWORK, SANDBOX
from recoverd.diagnose.causes import Reason, reason
from recoverd.diagnose.nodes import away
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import WaitingFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.network import NetworkView, WaitingPods
from recoverd.model.observation import Observation

LASTS = 60.0
"""Seconds for which a pod has to wait before it counts that the CNI's agent is away, or what no row of the table knows:
while an agent starts, as in its rollout, every pod is refused.
"""
OF_OWNER = re.compile(r"(-[a-z0-9]{6,10})?-([a-z0-9]{5}|\d+)$")


def findings(scene: Scene) -> Iterator[Finding]:
    network = scene.observation.network
    for node, pods in network.waiting.items() if isinstance(network, NetworkView) else ():
        name = scene.machines.get(node, "")
        if name and not away(scene, name) and (why := _reason(scene, name, pods)):
            yield _finding(scene, node, name, pods, why)


def still_waiting(observation: Observation, node: str) -> str:
    """What shows that the finding of a node is not gone though it is not made: what kubelet says of a pod that waits
    there was perhaps not read. "" where none waits.
    """
    pods = observation.network.waiting.get(node) if isinstance(observation.network, NetworkView) else None
    return f"{pods.count} pods bound to {node} wait there for their containers" if pods else ""


def _reason(scene: Scene, name: str, pods: WaitingPods) -> Reason | None:
    host = scene.host(name)
    lines = host.journals.get("kubelet", ()) if host else ()
    bare = [pod.rpartition("/")[2] for pod in pods.names]
    theirs = [line for line in lines if any(pod in line for pod in bare)]
    why = reason(theirs, POD_NETWORK) or reason(theirs, SANDBOX) or reason(theirs, NOT_MADE)
    passes = why is not None and (why.cause.name == NO_CNI_AGENT or NOT_MADE in why.cause.of)
    return None if passes and pods.longest < LASTS else why


def _severity(scene: Scene, name: str, pods: WaitingPods, why: Reason) -> Severity:
    """In words that nobody knows it may be the pod itself that asks for what is not there, and one pod's trouble is not
    its node's.
    """
    if NOT_MADE not in why.cause.of:
        return Severity.FAULT
    host = scene.host(name)
    said = [line for line in (host.journals.get("kubelet", ()) if host else ()) if reason([line], NOT_MADE)]
    owners = {_owner(pod) for pod in pods.names if any(pod.rpartition("/")[2] in line for line in said)}
    return Severity.FAULT if len(owners) > 1 else Severity.WARNING


def _owner(pod: str) -> str:
    """What made it, by its name: a Deployment's pods have two endings (`web-6d4c-x2x9p`), and others one (`db-0`)."""
    return OF_OWNER.sub("", pod)


def _without_part(scene: Scene, node: str) -> Iterator[str]:
    """That the node alone was given no part of the pod network, where others were."""
    given = {n.name: bool(n.pod_cidrs) for n in scene.objects.nodes} if scene.objects else {}
    if any(given.values()) and given.get(node) is False:
        yield f"{node}: the API server lists no spec.podCIDR of it, and one of {sum(given.values())} others"


def _finding(scene: Scene, node: str, name: str, pods: WaitingPods, why: Reason) -> Finding:
    severity = _severity(scene, name, pods, why)
    some = f"{pods.count} pod{'s' if pods.count > 1 else ''} bound to {node} {'do' if pods.count > 1 else 'does'}"
    return Finding(
        Code.PODS_DO_NOT_START,
        node,
        f"{some} not start there, for {pods.longest:.0f} s: {why.why}. Cure: {why.cure}.",
        (
            f"kubelet on {name} says: {why.line}",
            f"{node}: waiting: {', '.join(pods.names[:6])}",
            *_without_part(scene, node),
        ),
        severity=severity,
        state=State.WORKER_NETWORK_BROKEN if severity is Severity.FAULT else None,
        facts=WaitingFacts(name, node, why.cause.name, next(iter(why.named), "")),
    )
