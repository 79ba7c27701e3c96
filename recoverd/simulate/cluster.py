"""The model cluster: machines, kubelets, etcd and API servers, moved on together in small ticks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from recoverd.model.etcd import MemberEntry
from recoverd.model.points import RestorePoint
from recoverd.model.settings import ClusterSettings, HostSettings
from recoverd.simulate.api import API, Api
from recoverd.simulate.etcd import Etcd
from recoverd.simulate.hosts import BOOT, NODE_FILES, NONE, UP_SINCE, AgentProcess, Machine
from recoverd.simulate.kubelet import Kubelet
from recoverd.simulate.network import Network
from recoverd.simulate.nodes import AGENT_START, AGENTS, Nodes
from recoverd.simulate.pki import fresh as fresh_papers
from recoverd.simulate.pki import of_plane, of_worker
from recoverd.simulate.service import Service
from recoverd.simulate.store import Store, client_url, fresh, id_of, peer_url
from recoverd.simulate.texts import COMPONENTS, ETCD_DIR, manifest, path_of

TICK = 0.5
WARM_UP = 30.0
"""Seconds that the cluster has run when the story begins."""


def settings_for(control_planes: int = 1, workers: int = 2, spares: int = 0) -> ClusterSettings:
    """Names and addresses as in the lab; spares are control planes that have not joined."""
    planes = tuple(HostSettings(f"cp{i}", f"10.99.1.{10 + i}") for i in range(1, control_planes + spares + 1))
    return ClusterSettings(
        "prod", planes, tuple(HostSettings(f"w{i}", f"10.99.1.{20 + i}") for i in range(1, workers + 1))
    )


class ModelCluster:
    """A kubeadm cluster with stacked etcd, or with `external` machines of etcd's own. `advance` is the only thing that
    lets time pass.
    """

    def __init__(self, settings: ClusterSettings, joined: int, external: int = 0) -> None:
        self.settings = settings
        planes = [Machine(h.name, h.address, True) for h in settings.control_planes]
        workers = [Machine(h.name, h.address, False) for h in settings.workers]
        self.machines: dict[str, Machine] = {m.name: m for m in (*planes, *workers)}
        apart = [Machine(f"etcd{i}", f"10.99.1.{30 + i}", False) for i in range(1, external + 1)]
        self.apart: dict[str, Machine] = {m.name: m for m in apart}
        """Machines of etcd's own: no nodes, and none that the bastion logs in to."""
        self.services = {m.name: Service(m, {o.name: o.address for o in apart}) for m in apart}
        self.network = Network()
        self.kubelets: dict[str, Kubelet] = {n: Kubelet(m) for n, m in self.machines.items()}
        self.etcd = Etcd(
            self.apart or self.machines,
            self.network,
            lambda name, line: self.exited(name, "etcd", line),
            apart=bool(apart),
        )
        self.api = Api(self.machines, self.network, self.etcd, lambda name, line: self.exited(name, API, line))
        self.nodes = Nodes(self.machines, self.api)
        self.snapshots: list[Store] = []
        """Those that the bastion has fetched."""
        self.points: tuple[RestorePoint, ...] = ()
        """On the bastion's disk."""
        self.saved: Store | None = None
        """The snapshot that a person has taken."""
        self.now = -WARM_UP
        self._found([m.name for m in planes[:joined]], [m.name for m in workers])
        self.advance(0.0)

    def _found(self, planes: Sequence[str], workers: Sequence[str]) -> None:
        """As `kubeadm init` and the joins have left it."""
        nodes = (*planes, *workers)
        pods = {f"{node}-web-{i}": node for node in nodes for i in range(5)}
        for number, machine in enumerate(self.machines.values(), 1):
            machine.number = number
        for uid, node in pods.items():
            self.machines[node].pods[uid] = self.nodes.pod(self.machines[node], uid, self.now)
            self.nodes.bound[uid] = UP_SINCE
        ready = {uid: self.machines[node].pods[uid].address for uid, node in pods.items()}
        for name in nodes:
            self.machines[name].agents = {a: AgentProcess(a, UP_SINCE, frozenset(ready.values())) for a in AGENTS}
        members = [self.machines[n] for n in planes] if not self.apart else [*self.apart.values()]
        first = members[0]
        store = replace(fresh(first.name, first.address, nodes, pods), uid="the UID of kube-system")
        store = replace(store, revision=1000, term=3, ready=ready, endpoints=frozenset(ready.values()))
        rows = tuple(map(_row, members))
        for machine in members:
            machine.data[f"{ETCD_DIR}/member"] = replace(
                store, members=rows, member_id=id_of(peer_url(machine.address))
            )
        for count, name in enumerate(planes, 1):
            machine = self.machines[name]
            self.give_files(name, planes[:count], "new" if count == 1 else "existing")
            machine.first = dict(machine.files)
        for name in workers:
            self.machines[name].files |= {"/etc/kubernetes/kubelet.conf": "", **NODE_FILES}
            self.machines[name].papers = of_worker()
            self.machines[name].first = dict(self.machines[name].files)

    def give_files(self, name: str, peers: Sequence[str], state: str) -> None:
        """What kubeadm writes on a control plane."""
        machine = self.machines[name]
        machine.files |= {"/etc/kubernetes/kubelet.conf": "", **NODE_FILES}
        machine.papers = of_plane() if self.apart else fresh_papers()
        # DaemonSets have their pods on whoever joins; of a node that there was they are what they were
        machine.agents = machine.agents or {a: AgentProcess(a, self.now + AGENT_START) for a in AGENTS}
        initial: Mapping[str, str] = {n: self.machines[n].address for n in peers}
        servers = [m.address for m in self.apart.values()]
        for component in COMPONENTS[1:] if self.apart else COMPONENTS:
            machine.files[path_of(component)] = manifest(component, name, machine.address, initial, state, servers)

    def at(self, name: str) -> Machine:
        """The machine of this name, whoever's it is. Raises `KeyError`."""
        return self.apart[name] if name in self.apart else self.machines[name]

    def exited(self, name: str, component: str, line: str) -> None:
        """A process there has ended; `line` is the last that it said."""
        (self.services if name in self.apart else self.kubelets)[name].exited(component, self.now, line)

    # --- time ---

    def advance(self, to: float) -> None:
        """Let time pass up to `to`, in whole ticks."""
        while self.now + TICK <= to + 1e-9:
            self.now += TICK
            for name, machine in self.machines.items():
                if not machine.up(self.now):
                    continue
                if machine.booting:
                    self._booted(name, machine)
                self.kubelets[name].tick(self.now)
            for name, service in self.services.items():
                if self.apart[name].up(self.now):
                    self._service_booted(self.apart[name])
                    service.tick(self.now)
            self.etcd.tick(self.now)
            self.api.tick(self.now)
            self.nodes.tick(self.now)

    def _booted(self, name: str, machine: Machine) -> None:
        machine.booting = False
        machine.boots += 1
        self.kubelets[name].started()
        for unit in machine.units.values():
            unit.falls_since = None
            machine.start(unit.name, self.now)
        for pod in machine.pods.values():
            pod.started_at = self.now
        self.nodes.booted(name)

    def _service_booted(self, machine: Machine) -> None:
        if machine.booting:
            machine.booting, machine.boots = False, machine.boots + 1
            machine.start("etcd", self.now)

    def power_off(self, name: str) -> None:
        machine = self.at(name)
        machine.on = False
        for container in machine.containers.values():
            if container.running:
                container.running, container.ended_at = False, self.now
        self.etcd.processes.pop(name, None)

    def power_on(self, name: str, after: float = 0.0) -> None:
        """It is up again `after` seconds and its boot later."""
        machine = self.at(name)
        if machine.on:
            return
        machine.on, machine.booting, machine.up_at = True, True, self.now + after + BOOT

    def restart_unit(self, name: str, unit: str) -> str:
        """Start or restart; returns why it does not come up."""
        it = self.at(name).units[unit]
        self.at(name).start(unit, self.now)
        if it.active and unit == "kubelet":
            self.kubelets[name].started()
            for agent in self.machines[name].agents.values():
                if agent.started_at >= NONE:
                    self.machines[name].start_agent(agent.name, self.now + AGENT_START)
            self.api.register(name)
        return it.refuses


def _row(machine: Machine) -> MemberEntry:
    url = peer_url(machine.address)
    return MemberEntry(id_of(url), machine.name, (url,), (client_url(machine.address),))
