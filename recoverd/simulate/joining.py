"""A guarded join on the model: what its machines say before, the join itself, and its taking back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from recoverd.model.etcd import FORCE, EtcdView, MemberEntry
from recoverd.model.join_operations import CheckJoin, EndLeftPods, JoinControlPlane, TakeBackJoin
from recoverd.model.joining import ETCD_PORTS, JoinFacts, JoinRequest, MachineFacts, Probe, Reached
from recoverd.model.observation import EndpointHealth, ObjectsView, Unseen
from recoverd.model.pki_operations import KUBERNETES
from recoverd.model.places import API_PORT
from recoverd.model.plan import Step, StepResult
from recoverd.playbooks.join_machines import again, told
from recoverd.playbooks.take_back import Force, Looks, Nothing, Remove, Silence, Stop, choose
from recoverd.simulate.carry import HANDS, Carry, Write, hand
from recoverd.simulate.clock import moment
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.hosts import Machine
from recoverd.simulate.look import member, unreachable
from recoverd.simulate.store import peer_url
from recoverd.simulate.texts import COMPONENTS, ETCD_DIR, path_of

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
    pairs = [(a, b, port) for a in names for b in names for port in (*ETCD_PORTS, API_PORT) if a != b]
    probes = tuple(Probe(a, b, p, _reached(cluster, a, b, p)) for a, b, p in pairs)
    return JoinFacts(source, machines, probes, "", VERSION, "k8s-api:6443", flags=frozenset({"profiling"}))


@hand(EndLeftPods)
def end_left(_: EndLeftPods, at: Carry) -> StepResult:
    machine = at.machine
    if machine.joined or any(path_of(c) in machine.files for c in COMPONENTS):
        return at.refused("it is a node, so what runs here is left alone")
    machine.units["kubelet"].stop(at.now)
    for container in machine.containers.values():
        if container.running:
            container.running, container.ended_at = False, at.now
    machine.pods.clear()
    return StepResult(True, f"ending what is left running in pods on {at.name}: done")


@hand(CheckJoin, on_machine=False)
def check(it: CheckJoin, at: Carry) -> StepResult:
    view = _source(it, at)
    if view is None:
        return StepResult(False, f"etcd on {it.source} tells nothing; nothing was changed", untouched=True)
    request = JoinRequest(it.name, it.address, skip_preflight=True)
    facts = survey(at.cluster, request, it.source, it.planes)
    return told(it, again(request, facts, view.db_size, 30.0, moment(at.now), it.flags))


def _facts(cluster: ModelCluster, machine: Machine) -> MachineFacts:
    left = tuple(
        sorted(p for p in (*machine.files, *machine.data) if p.startswith(("/etc/kubernetes/manifests", ETCD_DIR)))
    )
    ends = moment(cluster.now) + timedelta(days=3650)
    authorities = {"ca.crt": ends, "etcd/ca.crt": ends, "front-proxy-ca.crt": ends} if machine.joined else {}
    free = {"/var/lib/etcd": 50 << 30, "/var/lib/kubelet": 50 << 30}
    names = {"k8s-api": ("10.99.1.10",)}
    return MachineFacts(
        machine.name,
        (machine.address,),
        0.0,
        0.1,
        VERSION,
        VERSION,
        "containerd",
        True,
        True,
        left,
        free,
        names,
        (),
        authorities,
    )


def _reached(cluster: ModelCluster, source: str, target: str, port: int) -> Reached:
    if port == 2380 and not cluster.network.peers(source, target):
        return Reached.FILTERED
    return Reached.OPEN


def _entry(it: JoinControlPlane | TakeBackJoin, view: EtcdView | None) -> MemberEntry | None:
    return next((m for m in view.members if peer_url(it.address) in m.peer_urls), None) if view else None


def _source(it: CheckJoin | JoinControlPlane | TakeBackJoin, at: Carry) -> EtcdView | None:
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
        objects = at.cluster.api.objects()
        if isinstance(objects, ObjectsView) and any(n.name == it.name and n.ready for n in objects.nodes):
            return _fail(at, f"the join of {it.name} failed: a Node with that name and the status Ready already exists")
        try:
            at.cluster.etcd.add(it.name)
        except ValueError as error:
            return _fail(at, f"the join of {it.name} failed: {error}")
        planes = [n for n, m in at.cluster.machines.items() if m.control_plane and (m.joined or n == it.name)]
        found = machine.papers
        at.cluster.give_files(it.name, planes, "existing")
        # kubeadm makes no certificate that is there already
        machine.papers |= {p: paper for p, paper in found.items() if p.startswith(f"{KUBERNETES}/pki/")}
        if not machine.units["kubelet"].active:
            at.cluster.restart_unit(it.name, "kubelet")
    if not at.was:
        at.was, at.since = True, now
    if entry is not None and entry.started and at.cluster.api.endpoint(it.name).health is EndpointHealth.READY:
        return StepResult(True, f"{it.name} has joined, its etcd member is a voter")
    if now - at.since >= it.member_seconds and (entry is None or not entry.started):
        lasted = f"its etcd member was added and has not started within {now - at.since:.0f} s"
        return _fail(at, f"the join of {it.name} failed: {lasted}, so the join was stopped")
    return StepResult(False, f"waiting for the etcd member on {it.name} to start")


@dataclass(slots=True)
class Back:
    """How far one taking back has come."""

    looks: Looks
    steps: list[Step] = field(default_factory=list)
    """Of what was chosen, still to be carried out."""
    always: Step | None = None
    """That of them which is made though it cannot be journalled."""
    out: bool = False
    """Its member is out of etcd."""


@hand(TakeBackJoin, waits=True, on_machine=False)
def take_back(it: TakeBackJoin, at: Carry) -> StepResult:
    """As the live hand does it: a look, what `choose` says of it, and another look."""
    back: Back = at.kept or Back(Looks(at.now))
    at.kept = back
    if back.steps:
        return _next(it, at, back)
    return _left(it, at) if back.out else _chosen(it, at, back)


def _chosen(it: TakeBackJoin, at: Carry, back: Back) -> StepResult:
    machine, source = at.cluster.machines[it.name], at.cluster.machines[it.source]
    view = _source(it, at)
    flagged = it.force is not None and FORCE in source.files.get(it.force.path, "")
    reachable = unreachable(at.cluster, machine) is None
    seen = back.looks.seen(at.now, view, f"etcd on {it.source} is not seen", reachable=reachable, flagged=flagged)
    match choice := choose(it, seen):
        case Stop(reason=reason):
            return _fail(at, reason)
        case Silence():
            at.due = Write(f"end etcd on {it.name}", lambda: _silence(machine, back))
        case Remove(via=step):
            back.steps = [step]
        case Force(into=into, out=out):
            back.steps, back.always = [*into, *out], out[0]
        case Nothing(waits=waits):
            back.steps, back.out = list(waits), True
    if back.steps:
        return _next(it, at, back)
    return (
        _left(it, at) if back.out else StepResult(False, f"etcd on {it.source} is looked at: {type(choice).__name__}")
    )


def _next(it: TakeBackJoin, at: Carry, back: Back) -> StepResult:
    """The next of the steps that were chosen: one that writes is made once it is journalled."""
    step = back.steps[0]
    if step.looks:
        result = _carried(step, at)
        if result.ok:
            back.steps.pop(0)
            return take_back(it, at)
        return result
    at.due = Write(step.description, lambda: _written(step, at, back), step == back.always)
    return StepResult(False, step.description)


def _written(step: Step, at: Carry, back: Back) -> StepResult:
    result = _carried(step, at)
    if result.ok:
        back.steps.pop(0)
    else:
        at.over = True
    return result


def _carried(step: Step, at: Carry) -> StepResult:
    machine = at.cluster.machines[step.host]
    if (unseen := unreachable(at.cluster, machine)) is not None:
        return StepResult(False, unseen.reason)
    return HANDS[type(step.operation)].attempt(step.operation, Carry(at.cluster, step.host, False, False))


def _silence(machine: Machine, back: Back) -> StepResult:
    machine.files.pop(path_of("etcd"), None)
    back.looks.silenced = True
    return StepResult(True, "ended")


def _left(it: TakeBackJoin, at: Carry) -> StepResult:
    """What is left to do once the member is out."""
    machine = at.cluster.machines[it.name]
    if at.cluster.api.endpoint(it.source).health is not EndpointHealth.READY:
        return StepResult(False, f"the API server on {it.source} is not ready")
    if machine.data or any(p.startswith("/etc/kubernetes/") for p in machine.files):
        at.due = Write(f"clean {it.name}", lambda: _clean(it, at))
        return StepResult(False, f"{it.name} is not clean")
    return StepResult(
        True, f"etcd on {it.source} has no member at {it.address}; the API server there is ready; {it.name} is clean"
    )


def _clean(it: TakeBackJoin, at: Carry) -> StepResult:
    machine = at.cluster.machines[it.name]
    if it.keeps_node:  # it was a node before, and is what `kubeadm reset` leaves of one
        machine.units["kubelet"].stop(at.now)
    machine.papers = {}
    for path in [p for p in machine.files if p.startswith(("/etc/kubernetes/", "/var/lib/kubelet/"))]:
        del machine.files[path]
    machine.data.clear()
    return StepResult(True, "clean")
