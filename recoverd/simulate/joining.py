"""A guarded join on the model: what its machines say before, the join itself, and its taking back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from recoverd.model.join_operations import JoinControlPlane, TakeBackJoin
from recoverd.model.joining import PORTS, JoinFacts, JoinRequest, MachineFacts, Probe, Reached
from recoverd.model.observation import EndpointHealth, EtcdView, MemberEntry, Unseen
from recoverd.model.plan import StepResult
from recoverd.simulate.clock import moment
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.hosts import Machine
from recoverd.simulate.look import member, unreachable
from recoverd.simulate.store import peer_url
from recoverd.simulate.texts import ETCD_DIR, FORCE, path_of

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


class JoinHands:
    """One of the two operations, asked again and again; `over` when a failure is final."""

    def __init__(self, cluster: ModelCluster, operation: JoinControlPlane | TakeBackJoin, *, ask: bool = False) -> None:
        self._cluster = cluster
        self._it = operation
        self._ask = ask
        self._machine = cluster.machines[operation.name]
        self._added: float | None = None
        self._began: float | None = None
        self._forced = False
        self.over = False

    def attempt(self) -> StepResult:
        if isinstance(self._it, JoinControlPlane):
            return self._join(self._it)
        return self._back(self._it)

    def _entry(self) -> MemberEntry | None:
        view = self._view()
        return next((m for m in view.members if peer_url(self._it.address) in m.peer_urls), None) if view else None

    def _view(self) -> EtcdView | None:
        view = member(self._cluster, self._it.source)
        return view if isinstance(view, EtcdView) else None

    def _fail(self, why: str) -> StepResult:
        self.over = True
        return StepResult(False, why)

    # --- the join ---

    def _join(self, it: JoinControlPlane) -> StepResult:
        now = self._cluster.now
        self._began = now if self._began is None else self._began
        entry = self._entry()
        if not self._machine.joined and entry is None:
            if self._ask:
                self.over = True
                return StepResult(False, f"kubeadm join has not been started on {it.name} yet", undone=True)
            if now - self._began < KUBEADM_SECONDS:
                return StepResult(False, f"kubeadm join is at work on {it.name}")
            try:
                self._cluster.etcd.add(it.name)
            except ValueError as error:
                return self._fail(f"the join of {it.name} failed: {error}")
            planes = [n for n, m in self._cluster.machines.items() if m.control_plane and (m.joined or n == it.name)]
            self._cluster.give_files(it.name, planes, "existing")
        self._added = now if self._added is None else self._added
        if entry is not None and entry.started and self._cluster.api.endpoint(it.name).health is EndpointHealth.READY:
            return StepResult(True, f"{it.name} has joined, its etcd member is a voter")
        if now - self._added >= it.member_seconds and (entry is None or not entry.started):
            waited = f"its etcd member was added and has not started within {now - self._added:.0f} s"
            return self._fail(f"the join of {it.name} failed: {waited}, so the join was stopped")
        return StepResult(False, f"waiting for the etcd member on {it.name} to start")

    # --- its taking back ---

    def _back(self, it: TakeBackJoin) -> StepResult:
        cluster, machine, source = self._cluster, self._machine, self._cluster.machines[it.source]
        entry, view = self._entry(), self._view()
        if view is None:
            return StepResult(False, f"etcd on {it.source} is not seen")
        if entry is not None:
            if not entry.started:
                machine.files.pop(path_of("etcd"), None)
            if view.has_leader:
                cluster.etcd.remove(it.source, entry.id)
                return StepResult(False, f"member {entry.id} is being removed")
            if it.force is None:
                return self._fail(f"etcd on {it.source} has no leader and no member can be removed; {it.name} was not cleaned")
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
        self._clean(machine)
        return StepResult(True, f"etcd on {it.source} has no member at {it.address}; the API server there is ready; {it.name} is clean")

    @staticmethod
    def _clean(machine: Machine) -> None:
        for path in [p for p in machine.files if p.startswith("/etc/kubernetes/")]:
            del machine.files[path]
        machine.data.clear()
