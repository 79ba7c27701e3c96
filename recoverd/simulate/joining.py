"""A guarded join on the model: what its machines say before, the join itself, and its taking back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from recoverd.model.etcd import FORCE, EtcdView, MemberEntry
from recoverd.model.join_operations import JoinControlPlane, TakeBackJoin
from recoverd.model.joining import PORTS, JoinFacts, JoinRequest, MachineFacts, Probe, Reached
from recoverd.model.observation import EndpointHealth, Unseen
from recoverd.model.plan import StepResult
from recoverd.simulate.carry import Carry, hand
from recoverd.simulate.clock import moment
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.hosts import Machine
from recoverd.simulate.look import member, unreachable
from recoverd.simulate.store import peer_url
from recoverd.simulate.texts import ETCD_DIR, path_of

VERSION = "v1.20.2"
KUBEADM_SECONDS = 6.0
"""From the command to the new member in the list."""


def survey(cluster: ModelCluster, request: JoinRequest, source: str, planes: Sequence[str]) -> JoinFacts:
    names = [*planes, request.name]
    machines: dict[str, MachineFacts | Unseen] = {}
    for name in names:
        machine = cluster.machines.get(name)
        if machine is None:
            raise ValueError(f"the model has no machine {name}")
        machines[name] = unreachable(cluster, machine) or _facts(cluster, machine)
    pairs = [(a, b, port) for a in names for b in names for port in PORTS if a != b]
    probes = tuple(Probe(a, b, p, _reached(cluster, a, b, p)) for a, b, p in pairs)
    return JoinFacts(source, machines, probes, "", VERSION, "k8s-api:6443")


def _facts(cluster: ModelCluster, machine: Machine) -> MachineFacts:
    left = tuple(sorted(p for p in (*machine.files, *machine.data) if p.startswith(("/etc/kubernetes/manifests", ETCD_DIR))))
    ends = moment(cluster.now) + timedelta(days=3650)
    authorities = {"ca.crt": ends, "etcd/ca.crt": ends, "front-proxy-ca.crt": ends} if machine.joined else {}
    free = {"/var/lib/etcd": 50 << 30, "/var/lib/kubelet": 50 << 30}
    names = {"k8s-api": ("10.99.1.10",)}
    return MachineFacts(machine.name, (machine.address,), 0.0, 0.1, VERSION, VERSION, "containerd", True, True, left, free, names, (), authorities)


def _reached(cluster: ModelCluster, source: str, target: str, port: int) -> Reached:
    if port == 2380 and not cluster.network.peers(source, target):
        return Reached.FILTERED
    return Reached.OPEN


def _entry(it: JoinControlPlane | TakeBackJoin, view: EtcdView | None) -> MemberEntry | None:
    return next((m for m in view.members if peer_url(it.address) in m.peer_urls), None) if view else None


def _source(it: JoinControlPlane | TakeBackJoin, at: Carry) -> EtcdView | None:
    view = member(at.cluster, it.source)
    return view if isinstance(view, EtcdView) else None


def _fail(at: Carry, why: str) -> StepResult:
    at.over = True
    return StepResult(False, why)


@hand(JoinControlPlane, waits=True, on_machine=False)
def join(it: JoinControlPlane, at: Carry) -> StepResult:
    now, machine, entry = at.now, at.cluster.machines[it.name], _entry(it, _source(it, at))
    at.began = now if at.began is None else at.began
    if not machine.joined and entry is None:
        if at.ask:
            at.over = True
            return StepResult(False, f"kubeadm join has not been started on {it.name} yet", undone=True)
        if now - at.began < KUBEADM_SECONDS:
            return StepResult(False, f"kubeadm join is at work on {it.name}")
        try:
            at.cluster.etcd.add(it.name)
        except ValueError as error:
            return _fail(at, f"the join of {it.name} failed: {error}")
        planes = [n for n, m in at.cluster.machines.items() if m.control_plane and (m.joined or n == it.name)]
        at.cluster.give_files(it.name, planes, "existing")
    if not at.was:
        at.was, at.since = True, now
    if entry is not None and entry.started and at.cluster.api.endpoint(it.name).health is EndpointHealth.READY:
        return StepResult(True, f"{it.name} has joined, its etcd member is a voter")
    if now - at.since >= it.member_seconds and (entry is None or not entry.started):
        lasted = f"its etcd member was added and has not started within {now - at.since:.0f} s"
        return _fail(at, f"the join of {it.name} failed: {lasted}, so the join was stopped")
    return StepResult(False, f"waiting for the etcd member on {it.name} to start")


@hand(TakeBackJoin, waits=True, on_machine=False)
def take_back(it: TakeBackJoin, at: Carry) -> StepResult:
    cluster, machine, source = at.cluster, at.cluster.machines[it.name], at.cluster.machines[it.source]
    view = _source(it, at)
    entry = _entry(it, view)
    if view is None:
        return StepResult(False, f"etcd on {it.source} is not seen")
    if entry is not None:
        if not entry.started:
            machine.files.pop(path_of("etcd"), None)
        if view.has_leader:
            cluster.etcd.remove(it.source, entry.id)
            return StepResult(False, f"member {entry.id} is being removed")
        if it.force is None:
            return _fail(at, f"etcd on {it.source} has no leader and no member can be removed; {it.name} was not cleaned")
        source.files[path_of("etcd")] = it.force.flagged
        return StepResult(False, f"etcd on {it.source} is being made a cluster of its own")
    if it.force and FORCE in source.files[path_of("etcd")]:
        if not view.has_leader:
            return StepResult(False, f"etcd on {it.source} has no leader yet")
        source.files[path_of("etcd")] = it.force.final
    running = source.container("etcd")
    if running is None or FORCE in running.content:
        return StepResult(False, f"etcd on {it.source} still runs with {FORCE}")
    if cluster.api.endpoint(it.source).health is not EndpointHealth.READY:
        return StepResult(False, f"the API server on {it.source} is not ready")
    _clean(machine)
    return StepResult(True, f"etcd on {it.source} has no member at {it.address}; the API server there is ready; {it.name} is clean")


def _clean(machine: Machine) -> None:
    for path in [p for p in machine.files if p.startswith("/etc/kubernetes/")]:
        del machine.files[path]
    machine.data.clear()
