"""API servers, each on the etcd of its own machine or on one elsewhere; the address before them; node objects and
heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from recoverd.model.observation import EndpointHealth, EndpointView, NodeView, ObjectsView, Unseen, UnseenKind
from recoverd.model.witness import HEARTBEAT as HEARTBEAT_LEASE
from recoverd.simulate.clock import moment
from recoverd.simulate.etcd import Etcd, Process
from recoverd.simulate.hosts import UP_SINCE, Container, Machine
from recoverd.simulate.network import HOLDER, Network
from recoverd.simulate.pki import SERVING, etcd_trouble, trouble
from recoverd.simulate.pod_files import complaint
from recoverd.simulate.store import Store
from recoverd.simulate.texts import command_of, unknown_of
from recoverd.simulate.webhooks import Webhooks

API = "kube-apiserver"
VIP = "k8s-api:6443"
START = 4.0
"""From the start of its container to /readyz `ok` where etcd serves."""
PATIENCE = 20.0
"""It waits this long for etcd before it gives up starting ("context deadline exceeded")."""
LIVENESS = 40.0
"""kubelet kills it this long after etcd has left it (observed: refused within a minute)."""
HEARTBEAT = 40.0
"""A node is not Ready when its kubelet has not been heard of for this long (node-monitor-grace-period)."""


@dataclass(slots=True)
class Server:
    container: Container
    listens: bool = False
    trouble_since: float | None = None


class Api:
    """All API servers of the model."""

    def __init__(
        self, machines: Mapping[str, Machine], network: Network, etcd: Etcd, leave: Callable[[str, str], None]
    ) -> None:
        self._machines = machines
        self._network = network
        self._etcd = etcd
        self._leave = leave
        self._servers: dict[str, Server] = {}
        self._heard: dict[str, float] = {}
        self._ready: dict[str, tuple[bool, float]] = {}
        """Whether each node is Ready, and since when."""
        self._now = 0.0
        self.webhooks = Webhooks()
        self.away: dict[str, float] = {}
        """By APIService: since when its pods are gone."""

    def ready(self, name: str) -> bool:
        server = self._servers.get(name)
        papers = self._machines[name].papers
        return (
            server is not None
            and server.listens
            and self._etcd.behind(name) is not None
            and not trouble(papers, self._now)
            and not etcd_trouble(papers, self._now)
        )

    def serving(self) -> str | None:
        """A machine whose API server is ready."""
        return next((n for n in self._servers if self.ready(n)), None)

    def tick(self, now: float) -> None:
        self._now = now
        for name, machine in self._machines.items():
            self._follow_container(name, machine.container(API), now)
        self._etcd.busy = self.serving() is not None
        if self._etcd.busy:
            self.webhooks.tick(now)
            since = now if self._ready else UP_SINCE  # the cluster was there before anybody looked
            for name, machine in self._machines.items():
                if self._posts(machine):
                    self._heard[name] = now
                ready = not self._unready(machine)[0]
                if ready is not self._ready.get(name, (not ready, 0.0))[0]:
                    self._ready[name] = (ready, since)

    def _posts(self, machine: Machine) -> bool:
        """Its kubelet tells the API server how it is, and is let."""
        if self.webhooks.blocking(HEARTBEAT_LEASE):
            return False
        well = machine.up(self._now) and machine.units["kubelet"].active and machine.joined
        return (
            well
            and "kubelet" not in machine.hangs
            and not machine.mute
            and not machine.called
            and machine.resolves
            and not machine.rejected(self._now)
        )

    def _unready(self, machine: Machine) -> tuple[str, str]:
        """Reason and message of a node's condition Ready; "" for both where it is. In kubelet's words, and
        the node controller's, of 1.20.
        """
        if self._now - self._heard.get(machine.name, self._now) > HEARTBEAT:
            return "NodeStatusUnknown", "Kubelet stopped posting node status."
        if "containerd" in machine.hangs:
            return (
                "KubeletNotReady",
                "[container runtime is down, PLEG is not healthy: pleg was last seen active "
                "3m5s ago; threshold is 3m0s]",
            )
        if not machine.networked:
            return (
                "KubeletNotReady",
                "runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
                "message:cni config uninitialized",
            )
        return "", ""

    def register(self, name: str) -> None:
        """A kubelet that starts makes its Node where there is none."""
        store, machine = self.store, self._machines[name]
        if store is not None and name not in store.nodes and machine.joined and self._posts(machine):
            self.write(lambda s: replace(s, nodes=(*s.nodes, name)))

    def rejoined(self, name: str) -> None:
        """Its Node is a new one."""
        self._ready.pop(name, None)

    def _follow_container(self, name: str, container: Container | None, now: float) -> None:
        server = self._servers.get(name)
        if container is None or container.stops_at is not None:
            self._servers.pop(name, None)
            return
        if server is None or server.container is not container:
            server = self._servers[name] = Server(container)
        age = now - container.started_at
        if age >= 0.5 and (flag := unknown_of(container.content, API)):
            self._exit(name, f"Error: unknown flag: {flag}")
        elif 0.5 <= age < START and (why := complaint(self._machines[name], container.content)):
            self._exit(name, why)
        elif self._etcd.behind(name):
            server.trouble_since = None
            server.listens = server.listens or age >= START
        elif not server.listens and age > PATIENCE:
            servers = command_of(container.content).flags.get("--etcd-servers", "")
            self._exit(name, f'Error: context deadline exceeded, while connecting to "{servers}"')
        elif server.listens:
            server.trouble_since = now if server.trouble_since is None else server.trouble_since
            if now - server.trouble_since > LIVENESS:
                self._exit(name, "etcdserver: no leader (killed by kubelet: the liveness probe of /livez failed)")

    def _exit(self, name: str, line: str) -> None:
        self._leave(name, line)
        self._servers.pop(name, None)

    # --- what it serves ---

    @property
    def store(self) -> Store | None:
        """What whoever asks an API server is told; None while none is ready."""
        process = self._behind(self.serving())
        return process.store if process else None

    def _behind(self, name: str | None) -> Process | None:
        return self._etcd.behind(name) if name else None

    def write(self, change: Callable[[Store], Store]) -> bool:
        """Change objects; False while no API server is ready, or etcd takes no writes."""
        process = self._behind(self.serving())
        if process is None or process.store.alarms:
            return False  # mvcc: database space exceeded
        return self._etcd.write(process.machine.name, lambda store: replace(change(store), revision=store.revision + 1))

    # --- as the bastion dials it ---

    def endpoint(self, name: str) -> EndpointView:
        machine = self._machines[name]
        address = f"{machine.address}:6443"
        if not self._network.bastion_reaches(name) or not machine.up(self._now):
            return EndpointView(address, EndpointHealth.UNREACHABLE, "no connection within 1.8 s")
        server = self._servers.get(name)
        if server is None or not server.listens:
            return EndpointView(address, EndpointHealth.REFUSED, "connection refused: nothing listens there")
        if why := trouble(machine.papers, self._now):
            expires = moment(machine.papers[SERVING].ends)
            return EndpointView(
                address, EndpointHealth.TLS, f"its certificate does not verify: {why}", certificate_expires=expires
            )
        if not self._etcd.behind(name) or etcd_trouble(machine.papers, self._now):
            return EndpointView(
                address, EndpointHealth.NOT_READY, "/readyz fails: etcd; /livez fails too (HTTP 500)", ("etcd",)
            )
        return EndpointView(address, EndpointHealth.READY, "ok")

    def address(self) -> EndpointView:
        """The address in the kubeconfig: a load balancer before all that are ready, which
        stands where the control planes are.
        """
        reachable = [n for n, m in self._machines.items() if m.control_plane and m.up(self._now)]
        if self._network.blind or self._network.vip_broken or not reachable or not self.held:
            return EndpointView(VIP, EndpointHealth.UNREACHABLE, "no connection within 1.8 s")
        if self.serving() is None:
            if why := next(
                (t for n in reachable if n in self._servers and (t := trouble(self._machines[n].papers, self._now))), ""
            ):
                return EndpointView(VIP, EndpointHealth.TLS, f"its certificate does not verify: {why}")
            return EndpointView(VIP, EndpointHealth.REFUSED, "connection refused: nothing listens there")
        return EndpointView(VIP, EndpointHealth.READY, "ok")

    @property
    def held(self) -> bool:
        """Somebody has that address: a balancer, or a control plane on which what holds it runs."""
        held = (self._machines[n] for n in self._network.held)
        return self._network.balanced or not self._network.held or any(m.container(HOLDER) for m in held)

    def lists(self) -> str | None:
        """The machine of a ready API server that the bastion reaches."""
        via = self.address().health is EndpointHealth.READY
        return next((n for n in self._servers if self.ready(n) and (via or self._network.bastion_reaches(n))), None)

    def objects(self) -> ObjectsView | Unseen:
        """What the API server lists."""
        process = self._behind(self.lists())
        if process is None:
            return Unseen(UnseenKind.NOT_TRIED, "no API server is ready to list objects")
        store = process.store
        nodes = tuple(
            self._node(n, n in store.cordons, store.cordons.get(n, "")) for n in store.nodes if n in self._machines
        )
        pods = dict.fromkeys(store.nodes, 0)
        for node in store.pods.values():
            pods[node] = pods.get(node, 0) + 1
        return ObjectsView(nodes, pods, "v1.20.2")

    def _node(self, name: str, cordoned: bool, by: str) -> NodeView:
        machine = self._machines[name]
        reason, message = self._unready(machine)
        since = moment(self._ready.get(name, (True, UP_SINCE))[1])
        head = (name, not reason, cordoned, machine.control_plane, machine.address, machine.boot_id, "v1.20.2", by)
        about = NodeView(*head, reason, message, since)
        return replace(about, machine_id=machine.machine_id, pod_cidrs=(f"10.244.{machine.number}.0/24",))
