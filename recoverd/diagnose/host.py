"""Machines: kubelet and container runtime; and control planes that are not part of the cluster."""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose import words
from recoverd.diagnose.causes import Reason
from recoverd.diagnose.members import Membership
from recoverd.diagnose.nodes import node_of
from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import HostView, UnitView
from recoverd.model.text import utc

NOBODY_LEADS = "no etcd that is left has a leader"
RUNTIMES = ("containerd", "docker", "crio")


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.control_plane_names:
        host = scene.host(name)
        if name not in scene.parts:
            yield _reset(scene, name) or _not_joined(scene, name)
        elif host is not None:
            yield from _services(scene, name, host, Severity.FAULT)
    for worker in scene.workers:
        host = scene.host(worker.name)
        if host is not None and host.joined:
            node = scene.node(worker.name)
            down = node is not None and not node.ready
            yield from (
                _worker_down(scene, worker.name, host) if down else _services(scene, worker.name, host, Severity.NOTICE)
            )


def _services(scene: Scene, name: str, host: HostView, severity: Severity) -> Iterator[Finding]:
    if not host.joined:
        return
    state = State.APISERVER_DOWN if severity is Severity.FAULT else None
    runtimes = (host.runtime,) if host.runtime else RUNTIMES
    for code, units in ((Code.RUNTIME_DOWN, runtimes), (Code.KUBELET_DOWN, ("kubelet",))):
        for unit in (host.units[u] for u in units if u in host.units):
            if _runs(scene, unit) or _starting(scene, name, unit):
                continue
            effect = (
                "static pods that stop are not started again"
                if code == Code.KUBELET_DOWN
                else "no container can be started"
            )
            said = words.of_unit(scene, name, unit)
            yield Finding(
                code,
                name,
                f"{unit.name} on {name} {_how(scene, unit)}: {effect}.{words.sentence(said)}",
                (_unit_line(scene, name, unit), *_said(scene, name, unit, said), *_consequence(scene, name)),
                severity=severity,
                state=state,
                facts=words.unit_facts(scene, name, "", unit, said),
            )


def _worker_down(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    """A worker that is not Ready because its kubelet or runtime does not run. The runtime first: kubelet needs it."""
    for unit in (host.units[u] for u in (host.runtime or "containerd", "kubelet") if u in host.units):
        if _runs(scene, unit) or _starting(scene, name, unit):
            continue
        said, node = words.of_unit(scene, name, unit), node_of(scene, name)
        yield Finding(
            Code.WORKER_KUBELET_DOWN,
            node,
            f"{unit.name} on the worker {name} {_how(scene, unit)}, and its node is not Ready.{words.sentence(said)}",
            (
                _unit_line(scene, name, unit),
                *_said(scene, name, unit, said),
                f"the API server calls the node {node} not Ready",
            ),
            state=State.WORKER_NETWORK_BROKEN,
            facts=words.unit_facts(scene, name, node, unit, said),
        )
        return


def _said(scene: Scene, name: str, unit: UnitView, why: Reason | None) -> tuple[str, ...]:
    return words.proof(unit.name, name, why) or words.last_words(scene, name, unit)


def _runs(scene: Scene, unit: UnitView) -> bool:
    return unit.active in ("active", "reloading") and not words.falling(scene, unit)


def _how(scene: Scene, unit: UnitView) -> str:
    if words.refused(unit):
        line = f"`systemd-analyze verify {unit.name}.service` tells which line"
        return f"is not started by systemd, which refuses its unit or a drop-in of it ({unit.load}; {line})"
    if unit.active != "failed" and words.fails(scene, unit):
        return "does not stay up, and systemd starts it again and again"
    return f"is not running ({unit.active}, {unit.sub or unit.result})"


def _starting(scene: Scene, name: str, unit: UnitView) -> bool:
    """A unit on its way up after a boot; `auto-restart` is one that failed."""
    return unit.active == "activating" and unit.sub != "auto-restart" and scene.settling(name)


def _unit_line(scene: Scene, name: str, unit: UnitView) -> str:
    age = scene.age(unit.since)
    since = f" since {utc(unit.since)}, {age:.0f} s ago" if unit.since and age is not None else ""
    load = "" if unit.load == "loaded" else f", {unit.load}"
    return (
        f"{name}: systemctl show {unit.name}: {unit.active} ({unit.sub}{load}), result "
        f"{unit.result or 'none'}{since}, {unit.restarts} restarts"
    )


def _consequence(scene: Scene, name: str) -> tuple[str, ...]:
    endpoint = scene.endpoint(name)
    return (f"API server at {endpoint.address}: {endpoint.health}",) if endpoint else ()


def _not_joined(scene: Scene, name: str) -> Finding:
    host, membership = scene.host(name), scene.membership
    entry = membership.entry_of(name)
    if membership.leader and entry is None and scene.remembered(name):
        return _lost_member(scene, name)
    if host is not None and not host.joined:
        why = "kubeadm has not made it a node (no /etc/kubernetes/kubelet.conf)"
    elif membership.known and entry is None:
        why = "its etcd is not a member of the cluster: it was removed, or never joined"
    elif entry is not None and (entry.learner or not entry.started):
        why = "its etcd is in the member list and has not become a voter that serves"
    elif scene.of_others(name):
        why = (
            "none of kubeadm's static pod manifests and certificates is there, and only control planes that kubeadm "
            "has made are supported: recoverd does nothing to it"
        )
    elif host is None:
        why = "it cannot be looked at and was never seen working"
    else:
        why = f"its {API} was never seen working; it may just be joining"
    return Finding(
        Code.NOT_JOINED,
        name,
        f"{name} is configured as a control plane and is not a working part of the cluster: {why}. What fails on it "
        "is not counted as a fault.",
        (_listed(membership),) if membership.known else (),
        severity=Severity.NOTICE,
    )


def _listed(membership: Membership) -> str:
    return f"member list as {membership.source} gives it: {', '.join(membership.label(e) for e in membership.entries)}"


def _reset(scene: Scene, name: str) -> Finding | None:
    """It worked, and has neither kubelet.conf nor manifests nor etcd's data any more.

    While its peers go on, somebody may be replacing it by hand, which begins with a drain and ends with its node
    deleted (kubeadm's documentation): one whose node is cordoned or gone is not missed.
    """
    host = scene.host(name)
    if host is None or host.joined or host.manifests or not scene.remembered(name):
        return None
    data = host.etcd_data
    if data is None or data.holds or any("manifests" in problem for problem in host.problems):
        return None
    leads = scene.api_ready if scene.external_etcd else bool(scene.membership.leader)
    if leads and ((node := scene.node(name)) is None or node.spared):
        return None
    known = scene.memory.pki.get(name)
    copy = f"certificates are kept in {known.kept} there" if known and known.kept else "no certificates are kept there"
    lost = "kubelet.conf and the manifests" if scene.external_etcd else "kubelet.conf, the manifests and etcd's data"
    empty = () if scene.external_etcd else (f"{name}:{data.path}: {'empty' if data.exists else 'missing'}",)
    return Finding(
        Code.CONTROL_PLANE_RESET,
        name,
        f"{name} was a control plane and is none any more: {lost} are gone from "
        f"it, as after `kubeadm reset` or with a new disk, and {_left(scene) if leads else _nobody(scene)}.",
        (
            f"{name}: /etc/kubernetes/kubelet.conf does not exist, /etc/kubernetes/manifests holds nothing",
            *empty,
            *((_listed(scene.membership),) if leads and scene.membership.known else ()),
            f"{name}: {copy}, as far as is remembered; `kubeadm reset` does not touch /var/lib/recoverd, and a new "
            "disk has none",
        ),
        state=State.APISERVER_DOWN if scene.external_etcd else State.ETCD_STUCK,
        facts=Facts(name),
    )


def _nobody(scene: Scene) -> str:
    return "no API server that is left is ready" if scene.external_etcd else NOBODY_LEADS


def _left(scene: Scene) -> str:
    """What the others are without one that was reset."""
    membership = scene.membership
    if scene.external_etcd:
        by = ", ".join(scene.ready_members) or scene.vip.address
        return f"the cluster goes on without it, by the API servers of {by}"
    seen = len(membership.electorate)
    return f"the cluster goes on without it: {seen} of {len(membership.voters)} voters seen, {membership.needed} needed"


def _lost_member(scene: Scene, name: str) -> Finding:
    """It worked and is no member any more, as when it was removed and could not be added again:
    quorum holds, with less to spare.
    """
    membership = scene.membership
    voters = len(membership.voters)
    spare = voters - membership.needed
    return Finding(
        Code.NOT_JOINED,
        name,
        f"{name} was a working control plane, and its etcd is not a member any more: {voters} voters are left and "
        f"{membership.needed} needed: etcd "
        f"survives the loss of {spare or 'none'}. Make it one again: `kubeadm reset -f` on {name}, `kubectl delete "
        f"node {name}`, then `recoverctl "
        f"join-control-plane`; or take it out of the configuration. What fails on it is not counted as a fault.",
        (_listed(membership),),
        severity=Severity.WARNING,
    )
