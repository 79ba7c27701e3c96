"""What is really so on the model cluster, and since when; recoverd is asked nothing here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from recoverd.model.etcd import FORCE
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.etcd import Process
from recoverd.simulate.hosts import Machine
from recoverd.simulate.look import unreachable
from recoverd.simulate.network import HOLDER
from recoverd.simulate.pki import KUBECONFIG, client_over, etcd_trouble, trouble
from recoverd.simulate.pod_files import complaint
from recoverd.simulate.store import Store
from recoverd.simulate.texts import COMPONENTS, ETCD_DIR, command_of

UID = "the UID of kube-system"
"""Of the cluster that the story began with, whatever was restored since."""


class Truth:
    """Sampled at every tick: each fact that holds, and since when without a gap."""

    def __init__(self, cluster: ModelCluster) -> None:
        self.cluster = cluster
        self.since: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        """When a fact was last seen to hold, of those that hold no more."""
        self.people: dict[str, float] = {}
        """Machines at which a person is at work, and since when."""
        self.acted: dict[str, float] = {}
        """By bastion: when its recoverd changed something last."""
        self._at = -1e9

    @property
    def now(self) -> float:
        return self.cluster.now

    def sample(self) -> None:
        if self.now < self._at + 0.9:  # every other tick
            return
        self._at = self.now
        astray = (f"ill clock {name}" for name, machine in self.cluster.machines.items() if machine.clock)
        holds = {*self._seen(), *self._etcd(), *self.ills(), *astray}
        for fact in self.since.keys() - holds:
            self.ended[fact] = self.now
            del self.since[fact]
        for fact in holds - self.since.keys():
            self.since[fact] = self.now

    def lasts(self, fact: str) -> float:
        """For how many seconds a fact has held; 0 when it does not."""
        return self.now - self.since[fact] if fact in self.since else 0.0

    def quiet_for(self) -> float:
        """For how long nothing at all has been wrong."""
        if any(f.startswith("ill ") for f in self.since):
            return 0.0
        return self.now - max((at for f, at in self.ended.items() if f.startswith("ill ")), default=-1e9)

    # --- facts ---

    def _seen(self) -> Iterator[str]:
        for name, machine in self.cluster.machines.items():
            if unreachable(self.cluster, machine) is None:
                yield f"seen {name}"
            for agent in machine.agents.values():
                if agent.waits_since is not None:
                    yield f"imageless {name} {agent.name}"

    def _etcd(self) -> Iterator[str]:
        leaders = self.cluster.etcd.leaders()
        if leaders:
            yield "led"
        for leader in leaders:
            yield f"led {lineage(leader.store)}"
        if len({lineage(p.store) for p in leaders}) > 1:
            yield "split"
        for name, process in self.cluster.etcd.processes.items():
            if process.leader:
                yield f"follows {name}"
        for name, machine in {**self.cluster.machines, **self.cluster.apart}.items():
            if good_data(machine):
                yield f"data {name}"

    def ills(self) -> Iterator[str]:
        """Everything that is not as it should be, each as `ill WHAT`; the first word
        tells what a person would call it.
        """
        cluster, now = self.cluster, self.now
        net, store = cluster.network, cluster.api.store
        if net.blind or net.hidden or net.blocked or net.groups or net.vip_broken or not cluster.api.held:
            yield "ill network"
        if store is None:
            yield "ill api none"
        leaders = cluster.etcd.leaders()
        yield from self._members(leaders)
        for name, machine in cluster.apart.items():
            yield from self._server(name, machine, led=bool(leaders))
        for name, machine in cluster.machines.items():
            if not machine.joined and name not in (store.nodes if store else ()):
                if machine.files or machine.data:
                    yield f"ill left {name}"
                continue
            yield from self._machine(name, machine, now)
            if client_over(machine.papers, now):
                yield f"ill papers {name}"
        if store is not None:
            yield from self._objects(store)

    def _members(self, leaders: Sequence[Process]) -> Iterator[str]:
        if len(leaders) != 1:
            yield "ill etcd leaders"
        if any(p.store.alarms for p in leaders):
            yield "ill etcd full"
        if any(p.store.differs or any(m.learner for m in p.store.members) for p in leaders):
            yield "ill etcd members"
        voters = {m.id for p in leaders for m in p.store.members}
        if leaders and voters != {p.id for p in self.cluster.etcd.processes.values() if p.leader}:
            yield "ill etcd members"

    def _machine(self, name: str, machine: Machine, now: float) -> Iterator[str]:
        if not machine.up(now):
            yield f"ill down {name}"
        elif machine.hung:
            yield f"ill hung {name}"  # only for who logs in there: its kubelet goes on, and its node is Ready
        lacks = machine.joined and not (machine.resolves and machine.networked)
        if machine.hangs or machine.mute or machine.called or lacks:
            yield f"ill mute {name}"
        for unit in machine.units.values():
            if not unit.active:
                yield f"ill {unit.name} {name}"
            elif unit.refuses:
                yield f"ill spoilt {name}"  # which shows at its next start
        if _spoilt(machine):
            yield f"ill spoilt {name}"
        if now - machine.units["kubelet"].since < 60 or machine.booting or now - machine.up_at < 60:
            yield f"ill fresh {name}"
        if machine.control_plane:
            yield from self._plane(name, machine, now)
        if lost_paths(machine):
            yield f"ill paths {name}"
        ended = any(not a.runs(now) or a.flushed or a.misled for a in machine.agents.values())
        if "kube-proxy" not in machine.agents or ended:
            yield f"ill agents {name}"

    def _server(self, name: str, machine: Machine, *, led: bool) -> Iterator[str]:
        """Of an etcd on a machine of its own: whether it serves the API servers beside others that do, and all else."""
        process = self.cluster.etcd.processes.get(name)
        over = etcd_trouble(machine.papers, self.now)
        if led and (process is None or not process.leader or over):
            yield f"ill server {name}"
        if process is None or not machine.up(self.now) or machine.disk or not good_data(machine) or over:
            yield f"ill apart {name}"
        if self.now - machine.units["etcd"].since < 60:
            yield f"ill fresh {name}"

    def _plane(self, name: str, machine: Machine, now: float) -> Iterator[str]:
        if machine.astray or any(c.deaf for c in machine.containers.values()):
            yield f"ill controller {name}"
        if not self.cluster.api.ready(name):
            yield f"ill api {name}"
        if trouble(machine.papers, now + 14 * 86400) or etcd_trouble(machine.papers, now + 14 * 86400):
            yield f"ill papers {name}"
        manifests, where = machine.manifests(), data_dir(machine)
        if complaint(machine, manifests.get("kube-apiserver", "")):
            yield f"ill spoilt {name}"
        for component in COMPONENTS[1:] if self.cluster.apart else COMPONENTS:
            text = manifests.get(component)
            if text is None or not runnable(component, text):
                yield f"ill manifest {name} {component}"
            if machine.container(component) is None:
                yield f"ill container {name} {component}"
        if name in self.cluster.network.held and command_of(manifests.get(HOLDER, "")).problem:
            yield f"ill manifest {name} {HOLDER}"
        if not self.cluster.apart and not good_data(machine, (f"{where}/member",)):
            yield f"ill data {name}"
        if where != ETCD_DIR:
            yield f"ill data-dir {name}"

    def _objects(self, store: Store) -> Iterator[str]:
        machines, placed = self.cluster.machines, self.cluster.nodes.placed(store)
        if store.uid != UID or "restored" in store.history or "forced" in store.history or "begun" in store.history:
            yield "ill history"
        if store.misled:
            yield "ill proxy"
        if store.cordons:
            yield "ill cordon"
        if any(hook.blocks for hook in self.cluster.api.webhooks.all.values()):
            yield "ill webhook"
        if any(n not in store.nodes for n, m in machines.items() if m.joined or not m.control_plane):
            yield "ill node-object"
        for name in store.nodes:
            machine = machines[name]
            if machine.pods.keys() != placed.get(name, {}).keys():
                yield f"ill pods {name}"
            if not self.cluster.nodes.all_hear(name, store):
                yield f"ill deaf {name}"
        if store.endpoints != frozenset(store.ready.values()) or store.ready.keys() != store.pods.keys():
            yield "ill endpoints"


@lru_cache(maxsize=1024)
def runnable(component: str, manifest: str) -> bool:
    command = command_of(manifest)
    return not (command.problem or command.unknown(component) or FORCE in manifest)


def lineage(store: Store) -> str:
    return f"{store.cluster_id} {store.history}"


def lost_paths(machine: Machine) -> bool:
    return bool(
        machine.gone
        or machine.down
        or machine.loose
        or machine.lost_routes
        or machine.wedged
        or not machine.forwarding
        or not machine.bridge_netfilter
        or machine.filtered
        or machine.conntrack_full
        or machine.tunnel_filtered
        or machine.uplink < 1500
        or machine.astray_packets
    )


def data_dir(machine: Machine) -> str:
    text = machine.manifests().get("etcd", "")
    return command_of(text).flags.get("--data-dir", ETCD_DIR) if text else ETCD_DIR


def _used(machine: Machine) -> Iterator[str]:
    yield f"{ETCD_DIR}/member"
    yield f"{data_dir(machine)}/member"


def good_data(machine: Machine, paths: tuple[str, ...] = ()) -> Store | None:
    """The cluster's own data on a machine, whole, where an etcd would use them; what was kept aside does not count."""
    for path in paths or _used(machine):
        store = machine.data.get(path)
        if store is not None and store.uid == UID and not store.corrupt and "begun anew" not in store.history:
            return store
    return None


def _spoilt(machine: Machine) -> bool:
    """What keeps it from starting pods or kubelet, or pods from resolving names; and a manifest that is there twice."""
    ends = machine.disk or machine.no_sandbox or machine.lacking or machine.dns_ended_at is not None
    return bool(ends or machine.copies or (machine.joined and KUBECONFIG not in machine.files))
