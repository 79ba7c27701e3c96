"""What runs on nodes and who hears of changes: watches and resource versions, kubelets' pods, the endpoints'
controller, kube-proxy's rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from recoverd.simulate.api import Api
from recoverd.simulate.hosts import BRIDGE, UP_SINCE, AgentProcess, Container, Machine, Pod
from recoverd.simulate.network import PodPaths
from recoverd.simulate.store import Store

AGENTS = ("flanneld", "kube-proxy")
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
CONTROLLERS = (CONTROLLER_MANAGER, SCHEDULER)
POD_START = 3.0
"""From the binding of a pod until it is ready."""
AGENT_START = 2.5
"""The same for an agent's pod, whose image is there."""
RESYNC = 12.0
"""After so long at most kubelet looks again whether an image is there for which a pod waits (10 to 15 s, 1.20); it
pulls it less often.
"""
UNREADY = 6.0
"""From the loss of a node's bridge until kubelet, whose probes fail, calls the pods on it not ready: three
periods of 2 s (as on the lab).
"""
LEASE = 15.0
"""A controller-manager or scheduler that is started anew waits until the lease of the one before has run out."""


@dataclass(slots=True)
class Watch:
    """What one process has followed. `since` tells one process from the next."""

    since: float
    revision: int = 0
    deaf: bool = False


class Nodes:
    """Everything on nodes that follows the API."""

    def __init__(self, machines: Mapping[str, Machine], api: Api) -> None:
        self._machines = machines
        self._api = api
        self._watches: dict[tuple[str, str], Watch] = {}
        self._made = 0
        self.bound: dict[str, float] = {}
        """When each pod was bound to its node, by uid."""
        self.odd: dict[tuple[str, str], float] = {}
        """(node, uid) of pods that run and are not in the API, and since when."""
        self.since: dict[str, float] = {}
        """Endpoints, and since when they have been some; those that are none any more are in `gone`."""
        self.gone: dict[str, float] = {}
        self.reported: dict[str, str] = {}
        """IP:PORT of pods that the API has an address of, by uid, whether ready or not."""
        self._cut: dict[str, float] = {}
        """Machines whose own pods kubelet cannot reach, and since when."""
        self.steady_since = 0.0
        self.followed: float | None = UP_SINCE
        """Since when an API server has served; None while none does."""
        self.owed: dict[str, str] = {}
        """Pods that a webhook keeps from being made, and their nodes."""
        self.leases: dict[str, tuple[str, float]] = {}
        """By controller: the machine whose replica leads or led last, and when it renewed its Lease."""
        self.passed_over: float | None = None
        """Since when a new pod waits that no scheduler has looked at; None where none does."""
        self._now = 0.0
        self._listed: Mapping[str, str] = {}
        self._by_node: dict[str, dict[str, None]] = {}
        """The pods of `_listed`, uids by node."""
        self._as_reported: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
        """Pods and ready pods of the API that were found to be as the kubelets had reported them."""

    # --- watches ---

    def hears(self, name: str, process: str, store: Store | None = None) -> bool:
        """Whether a process on a machine is told of changes; False while it does not run.

        One that has followed a later revision than there is now waits for a future that never comes, and is deaf
        until it is started anew (observed). In the model it stays so even when the new history has grown beyond:
        what it missed it never learns.
        """
        since = self._runs_since(name, process)
        store = store or self._api.store  # which is worked out anew for each who asks
        return since is not None and store is not None and self._told(name, process, since, store)

    def all_hear(self, name: str, store: Store) -> bool:
        """Whether its kubelet and every agent on a machine are told of changes."""
        machine = self._machines[name]
        return machine.up(self._now) and all(
            (since := self._process(machine, process)) is not None and self._told(name, process, since, store)
            for process in ("kubelet", *machine.agents)
        )

    def _told(self, name: str, process: str, since: float, store: Store) -> bool:
        """The same of one that runs since then. Whoever is told the same twice is none the wiser: it
        may be asked any number of times.
        """
        watch = self._watches.get((name, process))
        if watch is None or watch.since != since:
            watch = self._watches[name, process] = Watch(since)
        if not watch.deaf and store.revision >= watch.revision:  # nearly always
            watch.revision = store.revision
            return True
        if store.revision < watch.revision:
            watch.deaf = True
        else:
            watch.deaf = watch.deaf and store.compacted <= watch.revision
            watch.revision = store.revision
        return not watch.deaf

    def _runs_since(self, name: str, process: str) -> float | None:
        machine = self._machines[name]
        return self._process(machine, process) if machine.up(self._now) else None

    def _process(self, machine: Machine, process: str) -> float | None:
        """The same on a machine that is up."""
        if process == "kubelet":
            unit = machine.units["kubelet"]
            return unit.since if unit.active and machine.joined and not machine.called else None
        if process in CONTROLLERS:
            container = machine.container(process)
            works = container and self._now - container.started_at >= LEASE and not self._idle(machine, container)
            return container.started_at if container and works else None
        agent = machine.agents.get(process)
        return agent.started_at if agent and agent.runs(self._now) and not agent.misled else None

    def _idle(self, machine: Machine, container: Container) -> str:
        """Why a controller that runs does nothing."""
        return container.deaf or machine.astray.get(container.component, "")

    def leads(self, process: str) -> bool:
        """Its Lease is renewed, which one does too that is deaf to changes."""
        return process in self.leases and self.leases[process][1] == self._now

    def _renew(self, store: Store) -> None:
        """Whoever led goes on; else another one takes the Lease once it is over."""
        held = store.alarms or self._api.webhooks.blocking("lease")
        for process in () if held else CONTROLLERS:
            able = [
                n
                for n, m in self._machines.items()
                if m.control_plane and m.up(self._now) and self._process(m, process) is not None
            ]
            holder, renewed = self.leases.get(process, ("", -LEASE))
            if able and (holder in able or self._now - renewed >= LEASE or holder == ""):
                self.leases[process] = (holder if holder in able else able[0], self._now)
        if self.leads(SCHEDULER):  # else whatever waits goes on waiting
            container = self._machines[self.leases[SCHEDULER][0]].container(SCHEDULER)
            idle = container is not None and container.idle
            self.passed_over = (self.passed_over or self._now) if idle else None

    def controls(self, process: str, store: Store | None = None) -> bool:
        """Some controller-manager (or scheduler) works."""
        store = store or self._api.store
        return any(self.hears(n, process, store) for n, m in self._machines.items() if m.control_plane)

    # --- time ---

    def tick(self, now: float) -> None:
        self._now = now
        store = self._api.store
        if store is None:
            self.followed = None
            return
        self.followed = now if self.followed is None else self.followed
        self._renew(store)
        if self.owed and self._api.webhooks.blocking("pod") is None:
            self._api.write(lambda s: replace(s, pods={**s.pods, **self.owed}))
            store, self.owed = self._api.store or store, {}
        placed, hearing, controlled = self.placed(store), list[Machine](), False
        for name, machine in self._machines.items():
            if not machine.up(now):
                continue
            since = self._process(machine, "kubelet")
            self._start_waiting(machine, hears=since is not None)
            if since is not None and self._told(name, "kubelet", since, store) and name in store.nodes:
                hearing.append(machine)
                self._run_pods(machine, placed.get(name, {}))
            for process in CONTROLLERS if machine.containers else ():
                # each is told, so that it has followed the history up to now
                if (since := self._process(machine, process)) is not None and self._told(name, process, since, store):
                    controlled = controlled or process == CONTROLLER_MANAGER
            for process, agent in machine.agents.items():
                if agent.follows(now, misled=store.misled) and self._told(name, process, agent.started_at, store):
                    agent.programmed = frozenset() if agent.flushed else store.endpoints
                    agent.synced = True
        told, store = store, self._report(store, hearing)
        if store is not None and (controlled if store is told else self.controls(CONTROLLER_MANAGER, store)):
            store = self._endpoints(store)
        if store is not None:
            self._note_differences(store)

    def _start_waiting(self, machine: Machine, *, hears: bool) -> None:
        """A kubelet that runs (`hears`) finds the images there for which agents wait, and starts what ended again."""
        for agent in machine.agents.values() if hears else ():
            if agent.waits_since is not None and agent.image not in machine.unpulled and agent.name not in machine.ends:
                machine.start_agent(agent.name, self._now + RESYNC)

    def placed(self, store: Store) -> Mapping[str, dict[str, None]]:
        """Uids of the pods that the API binds to each node."""
        if store.pods is not self._listed:
            self._listed, self._by_node = store.pods, {}
            for uid, node in store.pods.items():
                self._by_node.setdefault(node, {})[uid] = None
        return self._by_node

    def _run_pods(self, machine: Machine, wanted: Mapping[str, None]) -> None:
        """kubelet makes the pods on its machine those that the API binds to it."""
        if machine.pods.keys() == wanted.keys():
            return
        for uid in machine.pods.keys() - wanted.keys():
            del machine.pods[uid]
        for uid in wanted:
            if uid not in machine.pods:
                machine.pods[uid] = self.pod(machine, uid, inf if machine.leaked else self._now + POD_START)

    def pod(self, machine: Machine, uid: str, started_at: float) -> Pod:
        """A new sandbox: never with an address that an earlier one had."""
        self._made += 1
        self.bound.setdefault(uid, self._now)
        return Pod(uid, uid, started_at, f"10.244.{machine.number}.{self._made}:80")

    def _report(self, store: Store, hearing: Sequence[Machine]) -> Store | None:
        """kubelets that hear tell the API which pods of theirs are ready. Returns what it then holds."""
        self._cut = {
            n: self._cut.get(n, self._now)
            for n, m in self._machines.items()
            if m.loose or ((m.gone or m.down) and not m.passes(BRIDGE))
        }
        changed: dict[str, str | None] = {}
        now, reported = self._now, store.ready.get
        for machine in hearing:
            fails = now - self._cut.get(machine.name, now) >= UNREADY
            for uid, pod in machine.pods.items():
                address = pod.address if pod.started_at <= now and not fails else None
                if reported(uid) != address:
                    changed[uid] = address
        if not changed and self._as_reported[0] is store.pods and self._as_reported[1] is store.ready:
            return store
        said = {uid: address for uid, address in (dict(store.ready) | changed).items() if address is not None}
        self.reported = {uid: address for uid, address in (self.reported | said).items() if uid in store.pods}
        ready = {uid: address for uid, address in said.items() if uid in store.pods}
        if ready == store.ready:
            self._as_reported = store.pods, store.ready
            return store
        self._api.write(lambda s: replace(s, ready=ready))
        return self._api.store

    def _endpoints(self, store: Store) -> Store | None:
        """kube-controller-manager makes the service's endpoints those that are ready.
        Returns what the API then holds.
        """
        endpoints = frozenset(store.ready.values())
        if endpoints == store.endpoints:
            return store
        self._api.write(lambda s: replace(s, endpoints=endpoints))
        return self._api.store

    def _note_differences(self, store: Store) -> None:
        odd: dict[tuple[str, str], float] = {}
        placed = self.placed(store)
        for name, machine in self._machines.items():
            wanted = placed.get(name, {})
            if not machine.pods.keys() <= wanted.keys():
                odd |= {(name, uid): self.odd.get((name, uid), self._now) for uid in machine.pods if uid not in wanted}
        self.odd = odd
        if self.since.keys() != store.endpoints:
            self.steady_since = self._now
            self.gone |= {address: self._now for address in self.since if address not in store.endpoints}
            self.since = {address: self.since.get(address, self._now) for address in store.endpoints}

    def for_seconds(self, at: float) -> float:
        """How long something has been so since `at`, as one counts it who follows the API
        (`recoverd.observe.rulewatch`).
        """
        return self._now - max(at, self._now if self.followed is None else self.followed)

    # --- what is done to it ---

    def booted(self, name: str) -> None:
        """Everything on the machine starts anew; its rules are gone."""
        machine = self._machines[name]
        machine.fresh_network()
        machine.empty_run()
        for agent in tuple(machine.agents.values()):
            machine.agents[agent.name] = AgentProcess(agent.name, self._now, waits_since=agent.waits_since)
            machine.start_agent(agent.name, self._now + AGENT_START)

    def restart_agent(self, name: str, agent: str) -> bool:
        """Its pod is deleted. False while a deaf kubelet or controller does nothing about that."""
        heard = self.hears(name, "kubelet") and all(self.controls(c) for c in CONTROLLERS)
        if not heard or self._api.webhooks.blocking("pod"):
            return False
        self._machines[name].start_agent(agent, self._now + AGENT_START)
        return True

    def evict(self, name: str) -> list[str]:
        """Evict the node's pods as far as the budget lets them go; their Deployment makes
        others on nodes that take some.

        Returns what is still on the machine.
        """
        store = self._api.store
        if store is None:
            return list(self._machines[name].pods)
        others = [n for n in store.nodes if n != name and n not in store.cordons]
        leaving = [uid for uid, node in store.pods.items() if node == name]
        if store.budget:
            leaving = leaving[: max(0, store.healthy - store.budget)]
        if leaving and others:
            self._replace({uid: others[i % len(others)] for i, uid in enumerate(leaving)})
        return list(self._machines[name].pods)

    def free_addresses(self, name: str) -> None:
        """What waits there for an address gets one."""
        machine = self._machines[name]
        machine.leaked = 0
        for pod in machine.pods.values():
            pod.started_at = min(pod.started_at, self._now + POD_START)

    def waiting(self, name: str) -> list[str]:
        """Uids of the pods on the machine that have no address."""
        return [uid for uid, pod in self._machines[name].pods.items() if pod.started_at == inf]

    def roll(self) -> None:
        """Every pod is replaced by a new one on the same node, as a Deployment's rollout does."""
        if store := self._api.store:
            self._replace(store.pods)

    def _replace(self, places: Mapping[str, str]) -> None:
        new = {}
        for uid, node in places.items():
            self._made += 1
            base, _, count = uid.partition("+")
            new[f"{base}+{int(count or 0) + 1}"] = node
        self.bound |= dict.fromkeys(new, self._now)
        if self._api.webhooks.blocking("pod"):
            self.owed |= new
            new = {}
        self._api.write(lambda s: replace(s, pods={u: n for u, n in s.pods.items() if u not in places} | new))

    # --- who reaches whom ---

    def paths(self) -> PodPaths:
        return PodPaths(self._machines, self._now)

    def answers(self, source: str) -> list[bool]:
        """What requests to the service come to, sent from a machine to each endpoint that its rules know."""
        paths = self.paths()
        return [paths.reaches(source, e) is True for e in paths.programmed(source)]
