"""Nodes that are not Ready, each with its cause as far as it is proven. Pure.

A node that has not been Ready for a minute is a fault, whoever's fault it is; what its machine answers says which one.
A node that a person has cordoned is missed by nobody, one that just boots is on its way, and what its stopped units
explain is found of them (`recoverd.diagnose.host`). Sources: the reasons and messages of the condition Ready are
kubelet's (pkg/kubelet/nodestatus, 1.20) and the node controller's (pkg/controller/nodelifecycle), observed on 1.20.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from recoverd.diagnose import address, doubles
from recoverd.diagnose.cause import KUBELET
from recoverd.diagnose.nodes import booting
from recoverd.diagnose.scene import API, Scene, just_booted
from recoverd.diagnose.why_not_ready import (
    LONG,
    UNKNOWN,
    Cause,
    boots_again,
    by_one_api_server,
    by_the_address,
    cut_off,
    just_served_again,
    proven,
    unproven,
    up,
)
from recoverd.diagnose.words import unit_facts
from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts, UnitFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.lease import HeldBy
from recoverd.model.node_look import NodeLook
from recoverd.model.observation import EndpointHealth, HostView, NodeView
from recoverd.model.text import utc

SHORT = 10.0
"""The same where the cause is proven."""
UNTOLD = 30.0
"""Seconds for which it may not be told yet why a node is not Ready, whose machine answers: `SHORT`, and the sweeps that
confirm it.
"""
SPREAD = 20.0
"""Seconds within which nodes that lost the API server at one moment are listed as not Ready, one after the other."""


def findings(scene: Scene, explained: frozenset[str]) -> Iterator[Finding]:
    """Finds each node that is not Ready, and each that was deleted. `explained` are hosts of which
    a fault is found that says why, or that their etcd member is down.
    """
    if scene.objects is None:
        return
    for node in scene.objects.nodes:
        if not node.ready:
            yield _finding(scene, node, scene.machines.get(node.name, ""), explained)
    for name in (*scene.parts, *(w.name for w in scene.workers)):
        if scene.node(name) is None:
            yield _unlisted(scene, name)


def _finding(scene: Scene, node: NodeView, name: str, explained: frozenset[str]) -> Finding:
    age, host = _age(scene, node, name), scene.host(name)
    excused = _spared(scene, node, host) or name in explained or _apart(scene, name) or not _api_stands(scene)
    young, boot = booting(scene, name), scene.settings.bounds.force_after  # for which a machine may take to boot
    if age is None or excused or age < (LONG if host is None else boot if young else SHORT):
        return _not_ready(scene, node, name, _severity(scene, node, name))
    if host is None:
        return _not_ready(scene, node, name, Severity.FAULT)
    if young:
        return _found(scene, node, name, host, boots_again(name, host, age))
    look = host.node or NodeLook()
    cause = proven(scene, node, name, look, age)
    if cause is None and node.reason == UNKNOWN and by_the_address(scene, look):
        return _not_ready(scene, node, name, Severity.NOTICE)
    if cause is None and node.reason == UNKNOWN:
        cause = by_one_api_server(scene, name, look)
        if cause is None and just_served_again(scene, name, look):
            return _not_ready(scene, node, name, Severity.NOTICE)
    cause = cause or cut_off(scene, node, name, look)
    if cause is None and age < LONG:
        return _not_ready(scene, node, name, Severity.NOTICE)
    return _found(scene, node, name, host, cause or unproven(scene, node, name, host, look))


def _spared(scene: Scene, node: NodeView, host: HostView | None) -> bool:
    """A person has cordoned it; or the plan that has is at work, here or on the bastion that acts, and its machine is
    away or boots: that plan waits for it, or fails.
    """
    at_work = node.cordoned_by == scene.busy or isinstance(scene.observation.lease, HeldBy)
    return node.spared or (bool(node.cordoned_by) and at_work and (host is None or just_booted(host)))


def _apart(scene: Scene, name: str) -> bool:
    """It is a control plane that is no part of the cluster, what fails on which is not counted. One whose etcd is
    elsewhere is in no list of members, so that a silent one that is listed as a node is one.
    """
    silent = scene.host(name) is None
    return name in scene.control_plane_names and name not in scene.parts and not (silent and scene.external_etcd)


def _found(scene: Scene, node: NodeView, name: str, host: HostView, cause: Cause) -> Finding:
    since = f" since {utc(node.since)}" if node.since else ""
    return Finding(
        cause.code,
        node.name,
        f"The node {node.name} has not been Ready{since}: {cause.why}",
        (_condition(node), *cause.evidence),
        state=State.WORKER_NETWORK_BROKEN,
        facts=_facts(scene, node, name, host, cause),
    )


def _facts(scene: Scene, node: NodeView, name: str, host: HostView, cause: Cause) -> Facts:
    if cause.words:
        return unit_facts(scene, name, node.name, host.units[KUBELET], cause.words)
    if cause.vain:
        return UnitFacts(name, node.name, KUBELET, cause.vain, cause.cure, restart=False, said=False)
    return Facts(name, node.name)


def _not_ready(scene: Scene, node: NodeView, name: str, severity: Severity) -> Finding:
    silent = f", and its machine {name} does not answer" if name and scene.dark(name) else ""
    advice = (
        f"; switch it on, or {'' if node.cordoned_by else 'cordon or '}delete the node when it is off on purpose"
        if silent and severity is Severity.FAULT
        else ""
    )
    return Finding(
        Code.NODE_NOT_READY,
        node.name,
        f"The node {node.name} is not Ready{silent}{advice}.",
        (
            f"as listed by the API server, {'cordoned' if node.unschedulable else 'schedulable'}",
            *((_condition(node),) if node.reason else ()),
        ),
        severity=severity,
        state=_state(scene, name) if severity is Severity.FAULT else None,
        facts=Facts(name, node.name),
    )


def _state(scene: Scene, name: str) -> State:
    """What is down with a machine that cannot be looked at."""
    plane = name in scene.control_plane_names and scene.endpoint_health(name) is not EndpointHealth.READY
    return State.APISERVER_DOWN if plane else State.WORKER_NETWORK_BROKEN


def _severity(scene: Scene, node: NodeView, name: str) -> Severity:
    """One that was cordoned is missed by nobody, and one that answers is judged by what is found on it."""
    ours = name in scene.parts or name in {w.name for w in scene.workers}
    missed = not _spared(scene, node, scene.host(name))
    return Severity.WARNING if ours and scene.dark(name) and missed else Severity.NOTICE


def _condition(node: NodeView) -> str:
    since = f" since {utc(node.since)}" if node.since else ""
    return f"Ready of {node.name}: {node.reason or 'no reason given'}{since}: {node.message or 'no message'}"


def untold(scene: Scene, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Of what is found, the nodes that became not Ready a moment ago, whose machines answer and of which nothing else
    is at fault: the next sweeps may say why.
    """
    told = {f.facts.host for f in found if f.severity is Severity.FAULT}
    about = (f for f in found if f.code == Code.NODE_NOT_READY and f.facts.host not in told)
    looked_at = ((f, scene.node(f.facts.host)) for f in about if scene.host(f.facts.host) is not None)
    ages = ((f, _age(scene, node, f.facts.host)) for f, node in looked_at if node is not None)
    return tuple(f for f, age in ages if age is not None and age < UNTOLD)


def spreads(scene: Scene, names: Iterable[str]) -> str:
    """The one of these nodes that is not Ready for so short a time that others, which lost the same at the same moment,
    may be listed as Ready still; "" where there is none. A kubelet renews its lease every 10 s, and the node controller
    looks every 5 s (--node-monitor-period): on a busy machine two of four nodes were listed 6 s before the others.
    """
    nodes = ((name, scene.node(name)) for name in names)
    ages = ((name, _age(scene, node, name)) for name, node in nodes if node is not None and not node.ready)
    return next((name for name, age in ages if age is not None and age < SPREAD), "")


def _age(scene: Scene, node: NodeView, name: str) -> float | None:
    """Seconds for which it has not been Ready, at least; None where that is not said. The time is by
    kubelet's clock or a control plane's.
    """
    if node.since is None:
        return None
    clocks = (name,) if node.reason != UNKNOWN else scene.control_plane_names
    offsets = [view.clock_offset for n in clocks if (view := scene.host(n)) is not None]
    return (scene.now - node.since).total_seconds() + min(offsets, default=0.0)


def _api_stands(scene: Scene) -> bool:
    """An API server that is ready was started a minute ago or more, and the cluster's address, by which kubelets tell
    it how they are, has not been silent since: they have told it by now. (Observed where haproxy was back after two
    minutes: two kubelets, of which every node was Ready 15 s later, were to be restarted unasked.)
    """
    silent = scene.age(scene.memory.silent_at)
    if silent is not None and silent < LONG and not address.does_not_answer(scene):
        return False
    for name in scene.control_plane_names:
        host = scene.host(name)
        if scene.endpoint_health(name) is EndpointHealth.READY and host is not None:
            age = scene.age(host.running_since(API))
            if age is not None and age >= LONG:
                return True
    return False


def _unlisted(scene: Scene, name: str) -> Finding:
    """It is in the configuration and no node; where it was one that was well, and its kubelet runs,
    somebody has deleted the node.
    """
    assert scene.objects is not None
    listed = ", ".join(sorted(n.name for n in scene.objects.nodes)[:10]) or "none"
    host = scene.host(name)
    known = scene.memory.networks.get(name)
    if (
        known is not None
        and host is not None
        and host.joined
        and up(scene, host, "kubelet") >= LONG
        and _api_stands(scene)
        and name not in doubles.sharing(scene)
    ):
        return Finding(
            Code.NODE_DELETED,
            name,
            f"{name} was a node of the cluster and is none any more, and its kubelet runs: the Node was deleted. A "
            "kubelet makes it anew only when "
            "it starts. When it was deleted on purpose: kubeadm reset there, and take it out of the configuration.",
            (f"nodes: {listed}",),
            state=State.WORKER_NETWORK_BROKEN,
            facts=Facts(name, name),
        )
    return Finding(
        Code.SOURCE_UNSEEN,
        f"{name}/node",
        f"{name} is in the configuration, and the cluster has no node of this name or address.",
        (f"nodes: {listed}",),
        severity=Severity.NOTICE,
    )
