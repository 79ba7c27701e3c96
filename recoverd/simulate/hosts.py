"""Machines of the model: power, files, units, and what runs in containers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from recoverd.model.node_look import CNI_DIR, HOSTS
from recoverd.model.operations import MANIFESTS
from recoverd.simulate.pki import CA, KUBECONFIG, Papers, client_over
from recoverd.simulate.store import Store

UP_SINCE = -3 * 86400.0
"""Before the story: machines and units have been up for three days."""
BOOT = 25.0
"""Seconds from power to sshd and kubelet."""
LOG_LINES = 10
AGAIN, ALIVE = 11.0, 1.0
"""A unit that ends itself is started so often (kubeadm's RestartSec is 10 s), and is up for so long each time."""
NONE = 1e9
"""When an agent starts whose container was removed: never, until kubelet makes another."""
BRIDGE, TUNNEL = "cni0", "flannel.1"
HOSTS_LINE = "10.99.1.10 k8s-api"
CNI_FILE = f"{CNI_DIR}/10-model.conflist"
KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
RUNTIME_CONFIG, PAUSE = "/etc/containerd/config.toml", "k8s.gcr.io/pause:3.2"
RESOLV = "/run/systemd/resolve/resolv.conf"
NODE_FILES = {
    HOSTS: f"127.0.0.1 localhost\n{HOSTS_LINE}\n",
    CNI_FILE: '{"cniVersion": "0.3.1", "name": "model"}\n',
    KUBELET_CONFIG: "kind: KubeletConfiguration\n",
    RUNTIME_CONFIG: f'sandbox_image = "{PAUSE}"\n',
    RESOLV: "nameserver 10.99.0.1\n",
}
"""What every node has beside what kubeadm writes."""
CLIENT_OVER = "part of the existing bootstrap client certificate is expired: 2026-01-01 00:00:00 +0000 UTC"
"""What a kubelet says that starts without a client certificate that is valid."""
NO_KUBECONFIG = (
    "failed to run Kubelet: unable to load bootstrap kubeconfig: stat /etc/kubernetes/bootstrap-kubelet.conf: no such "
    "file or directory"
)
"""The same of one that starts without kubelet.conf."""


@dataclass(slots=True)
class SystemdUnit:
    name: str
    active: bool = True
    since: float = UP_SINCE
    refuses: str = ""
    """Why it does not start, when it does not: its own words."""
    falls_since: float | None = None
    """Since when it ends itself at once, and systemd starts it again and again; None while it does not."""

    def start(self, now: float) -> None:
        """Started by whoever: it comes up, or ends itself at once."""
        if self.refuses:
            self.active = False
            self.falls_since = now if self.falls_since is None else self.falls_since
        else:
            self.active, self.since, self.falls_since = True, now, None

    def stop(self, now: float) -> None:
        self.active, self.since, self.falls_since = False, now, None


@dataclass(slots=True)
class Container:
    """The newest container of one static pod. `uid` is the pod's, which kubelet makes of the manifest's content."""

    component: str
    uid: str
    content: str
    started_at: float
    restarts: int = 0
    boots: int = 0
    """Of its machine when it was made: a boot takes its sandbox away."""
    running: bool = True
    stops_at: float | None = None
    """When it has been told to stop and will be gone."""
    ended_at: float | None = None
    deaf: str = ""
    """Why it does no work though it runs, with what it has read at its start: its own words."""
    idle: bool = False
    """A scheduler has lost what it hears of pods: it leads and looks at none, and says nothing of it."""


@dataclass(slots=True)
class Pod:
    """A pod that really runs on a machine."""

    name: str
    uid: str
    started_at: float
    address: str = ""
    """IP:PORT."""


@dataclass(slots=True)
class AgentProcess:
    """kube-proxy or the CNI's agent on a node: a process that a DaemonSet's pod holds."""

    name: str
    started_at: float
    """In the future while it is on its way up."""
    programmed: frozenset[str] = frozenset()
    """kube-proxy's rules: the endpoints of the one service. They outlive its process, and not a boot."""
    synced: bool = False
    """Its chains are there, with endpoints or without."""
    stopped_at: float | None = None
    """Since when the process stands still, until it is started anew."""
    flushed: bool = False
    """Its rules were deleted, and it makes them again only when it is started anew."""

    misled: bool = False
    """It follows an API server that is not there, as its ConfigMap said when it was started."""
    read_at: float = NONE
    """The start at which it has read that."""
    waits_since: float | None = None
    """Since when its pod waits for its image, or ends each time; None where it does neither."""

    @property
    def image(self) -> str:
        return f"k8s.gcr.io/{self.name}:v1.20.2"

    def runs(self, now: float) -> bool:
        return self.started_at <= now and self.stopped_at is None

    def follows(self, now: float, *, misled: bool) -> bool:
        """It runs, and hears of changes. `misled`: what the ConfigMap says to one that starts now."""
        if self.read_at != self.started_at and self.runs(now):
            self.read_at, self.misled = self.started_at, misled and self.name == "kube-proxy"
        return self.runs(now) and not self.misled

    def start(self, at: float) -> None:
        """Another process in its place."""
        self.started_at, self.stopped_at, self.flushed = at, None, False


@dataclass(slots=True)
class Machine:
    """One machine. `files` are text files by path, `data` is what etcd has under a directory."""

    name: str
    address: str
    control_plane: bool
    on: bool = True
    up_at: float = UP_SINCE
    """When its boot has ended or will end."""
    boots: int = 1
    booting: bool = False
    hung: bool = False
    """It accepts SSH and then hangs on everything."""
    files: dict[str, str] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    """The files as they were, and had been for long, when the story began."""
    manifest_written: dict[str, float] = field(default_factory=dict)
    """When the manifest of a component was changed since."""
    data: dict[str, Store] = field(default_factory=dict)
    units: dict[str, SystemdUnit] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    logs: dict[str, deque[str]] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    """Workload, by uid."""
    agents: dict[str, AgentProcess] = field(default_factory=dict)
    """By process name; none on a machine that is no node."""
    unkept: frozenset[str] = frozenset()
    """The endpoints in the rules that a kube-proxy has left which was deleted."""
    number: int = 0
    """Of its pods: 10.244.NUMBER.0/24."""
    made: int = 1
    """So many machines had this name, this one with them."""
    known_at: float = UP_SINCE
    """When the agents of the other nodes know the way to its part of the pod network."""
    forwarding: bool = True
    """net.ipv4.ip_forward; a boot switches it on."""
    bridge_netfilter: bool = True
    """net.bridge.bridge-nf-call-iptables; a boot switches it on."""
    filtered: bool = False
    """FORWARD has the policy DROP; a boot takes it away."""
    uplink: int = 1500
    """The MTU of host0; the tunnel keeps what it was made with."""
    conntrack_full: bool = False
    """Its table of connections is full: a new one finds no room. A boot empties it, and whoever filled it goes on."""
    tunnel_filtered: bool = False
    """A rule of its chain INPUT drops what comes by VXLAN, in a file from which it comes back with every boot."""
    astray_packets: bool = False
    """Packets from other machines' pods come in over another device than its route back, and rp_filter is strict."""
    bumps: bool = False
    """Its etcdctl knows --bump-revision and --mark-compacted."""
    disk: str = ""
    """What an etcd says that cannot write there, because the disk is full or read-only."""
    crowded: bool = False
    """What is free on its disk lets etcd go on, and has no room for a copy of its data."""
    slow: bool = False
    """Its disk takes half a second to write through."""
    images: set[str] = field(default_factory=lambda: {PAUSE})
    """Of sandboxes, which a runtime that has none cannot pull."""
    clock: float = 0.0
    """Seconds by which its own clock is ahead of the bastion's, or behind."""
    ends: dict[str, str] = field(default_factory=dict)
    """Agents that end each time they are started, and what they say."""
    unpulled: set[str] = field(default_factory=set)
    """Images of static pods and agents that are not there and cannot be pulled."""
    dns_ended_at: float | None = None
    """Since when the pods of the cluster's DNS, which are on it, end as soon as they start."""
    leaked: int = 0
    """Addresses of pods that are held for containers that are gone; where any are, none is left for a new pod."""
    hangs: set[str] = field(default_factory=set)
    """Units that systemd calls active and that answer nothing, until they are started anew."""
    astray: dict[str, str] = field(default_factory=dict)
    """By component: what it says whose kubeconfig on this machine names an address that is gone."""
    mute: bool = False
    """Its kubelet's connection to the API server is dead, and it keeps it until it is started anew."""
    called: str = ""
    """Its host name, where that is another one than its node's."""
    wedged: bool = False
    """Its tunnel device is there, up, and passes nothing in either direction; only a boot mends it."""
    gone: set[str] = field(default_factory=set)
    """Devices of the pod network that were deleted."""
    down: set[str] = field(default_factory=set)
    """Those that were switched off."""
    loose: bool = False
    """Its pods' cables hang on no bridge."""
    lost_routes: set[int] = field(default_factory=set)
    """Numbers of the machines to whose pods its routes were deleted."""

    terminals: dict[str, float] = field(default_factory=dict)
    """Who has one open, and since when."""
    typed: dict[str, float] = field(default_factory=dict)
    """Who has left it, and when."""
    programs: dict[str, float] = field(default_factory=dict)
    """Command lines of what people and timers have started, and when."""
    hands_off: str = ""
    """What /run/recoverd/hands-off there says, and who wrote it."""
    aside: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By component: where its manifest was moved, and when."""
    papers: Papers = field(default_factory=dict)
    """Certificates by path."""
    kept: dict[str, Papers] = field(default_factory=dict)
    """Copies of them by directory."""

    lease: tuple[str, int, float, str, str] | None = None
    """Id, fencing number, until when by the machine's clock, name and process of who may act on
    the cluster; a boot empties /run.
    """
    bastions: dict[str, str] = field(default_factory=dict)
    """Who has looked at the machine since its boot: name by id."""
    unwritable: str = ""
    """Why nothing can be written to /run, when nothing can."""
    written: dict[str, float] = field(default_factory=dict)
    """When the files that its static pods name were written."""
    _files: dict[str, str] = field(default_factory=dict)
    _manifests: Mapping[str, str] = field(default_factory=dict)
    """Those among `_files`."""

    def __post_init__(self) -> None:
        for name in ("kubelet", "containerd"):
            self.units.setdefault(name, SystemdUnit(name))

    def up(self, now: float) -> bool:
        return self.on and now >= self.up_at

    def passes(self, device: str) -> bool:
        return device not in self.gone and device not in self.down and not (device == BRIDGE and self.loose)

    @property
    def programmed(self) -> frozenset[str]:
        """The endpoints of the service that its rules know."""
        known = self.agents.get("kube-proxy")
        return self.unkept if known is None else frozenset() if known.flushed else known.programmed

    def empty_run(self) -> None:
        """As a boot leaves it."""
        self.lease = None
        self.bastions.clear()

    def fresh_network(self) -> None:
        """As a boot leaves it."""
        self.unkept, self.forwarding, self.wedged, self.loose = frozenset(), True, False, False
        self.bridge_netfilter, self.filtered, self.tunnel_filtered = True, False, False
        for lost in (self.gone, self.down, self.lost_routes):
            lost.clear()

    def start(self, unit: str, now: float) -> None:
        """Another process of a unit is put in the place of the old one, if any."""
        it = self.units[unit]
        if unit == "kubelet" and self.joined and KUBECONFIG not in self.files:
            it.refuses = NO_KUBECONFIG
        elif unit == "kubelet" and self.rejected(now):
            it.refuses = CLIENT_OVER
        elif it.refuses in (CLIENT_OVER, NO_KUBECONFIG):
            it.refuses = ""
        it.start(now)
        self.hangs.discard(unit)
        if unit == "kubelet":
            self.mute = False

    def start_agent(self, name: str, at: float) -> None:
        """Another pod of an agent takes the place of the old one; without its image it waits for that."""
        agent = self.agents[name]
        lacks = agent.image in self.unpulled or name in self.ends
        agent.start(NONE if lacks else at)
        agent.waits_since = (agent.waits_since or at) if lacks else None

    def rejected(self, now: float) -> bool:
        """The API server does not know its kubelet any more. Of a control plane it is left to its other certificates,
        which are over at the same time.
        """
        return not self.control_plane and client_over(self.papers, now)

    @property
    def no_sandbox(self) -> str:
        """What kubelet says of why it cannot make a sandbox for a pod; those that there are stay."""
        if not self.joined:
            return ""
        if RESOLV not in self.files:
            return f"Failed to generate sandbox config for pod etcd: open {RESOLV}: no such file or directory"
        image = self.sandbox_image
        if image in self.images:
            return ""
        why = f"failed to pull image: lookup {image.partition('/')[0]}: no such host"
        return f'CreatePodSandbox for pod "etcd" failed: failed to get sandbox image "{image}": {why}'

    def unpulled_of(self, component: str) -> str:
        """The image that a static pod's manifest names, where it is not there and no registry has it; else ""."""
        text = self.manifests().get(component, "") if self.unpulled else ""
        return next((image for image in self.unpulled if f"image: {image}\n" in text), "")

    @property
    def lacking(self) -> dict[str, str]:
        """Those images by component."""
        return {c: image for c in self.manifests() if (image := self.unpulled_of(c))} if self.unpulled else {}

    def makes_sandboxes(self) -> None:
        """A person sees to it, whatever kept its kubelet from that."""
        self.files.setdefault(RESOLV, NODE_FILES[RESOLV])
        self.images.add(self.sandbox_image)

    @property
    def sandbox_image(self) -> str:
        """As its runtime's configuration names it."""
        return self.files.get(RUNTIME_CONFIG, "").partition('"')[2].partition('"')[0]

    @property
    def resolves(self) -> bool:
        """Its /etc/hosts names the API server's address."""
        return _names_api(self.files.get(HOSTS, ""))

    @property
    def networked(self) -> bool:
        """Its runtime has a configuration of the pod network."""
        return CNI_FILE in self.files or any(path.startswith(f"{CNI_DIR}/") for path in self.files)

    @property
    def machine_id(self) -> str:
        return f"machine-{self.name}-{self.made}"

    @property
    def boot_id(self) -> str:
        return f"boot-{self.name}-{self.boots}"

    @property
    def joined(self) -> bool:
        return KUBECONFIG in self.files or (CA in self.papers and KUBELET_CONFIG in self.files)

    @property
    def copies(self) -> list[str]:
        """Files in the directory of static pods that are none of kubeadm's, and manifests all the same."""
        return [p for p in self.files if p.startswith(f"{MANIFESTS}/") and not p.endswith(".yaml")]

    def manifests(self) -> Mapping[str, str]:
        """The manifests of static pods by component. Files are written, deleted and moved in many places; they are
        taken in again
        when any of them is not as it was.
        """
        if self._files != self.files:
            self._files = dict(self.files)
            prefix, suffix = f"{MANIFESTS}/", ".yaml"
            self._manifests = {
                p.removeprefix(prefix).removesuffix(suffix): text
                for p, text in self.files.items()
                if p.startswith(prefix) and p.endswith(suffix)
            }
        return self._manifests

    def say(self, component: str, line: str) -> None:
        self.logs.setdefault(component, deque(maxlen=LOG_LINES)).append(line)

    def container(self, component: str) -> Container | None:
        """The running container of a component."""
        found = self.containers.get(component)
        return found if found is not None and found.running else None


@lru_cache(maxsize=256)  # every tick asks it of every machine, and nearly always of the same text
def _names_api(hosts: str) -> bool:
    return HOSTS_LINE in hosts.splitlines()
