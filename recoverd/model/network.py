"""What one sweep saw of the pod network: per node, between nodes, and between the API's lists and
what nodes really do. Facts only.

Hosts are called as configured, nodes as their Node object; `NodeView.address` joins the two where the names differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from recoverd.model.kernel import KernelView
from recoverd.model.places import of_ipv6
from recoverd.model.unseen import Unseen


class ProbeAnswer(StrEnum):
    """What an attempt to open a TCP connection (or a DNS query) came to."""

    OK = "ok"
    REFUSED = "refused"
    """Somebody at that address answered that nothing listens: proof of the path to a pod, not of a service."""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """The sender itself or a machine on the way knows no way there."""

    @property
    def arrived(self) -> bool:
        return self is ProbeAnswer.OK or self is ProbeAnswer.REFUSED


OWN_SERVICE = "default/kubernetes:443"
"""That by which pods call the API server, as `ServiceProbe.service` has it."""
NOT_ASKED = "?"
"""In the place of a tool, where a machine had no use for one."""


@dataclass(frozen=True, slots=True)
class PodProbe:
    """One attempt to reach a pod of a service from a node."""

    source: str
    """Host that tried."""
    target: str
    """Host that the pod runs on."""
    address: str
    """IP:PORT of the pod, as `[IP]:PORT` with IPv6."""
    pod: str
    """NAMESPACE/NAME."""
    service: str
    """NAMESPACE/NAME:PORT of the service that it is an endpoint of."""
    answer: ProbeAnswer
    ready: bool = True
    """The endpoint is; one that is not is tried all the same where the pod has a network, since it may be
    the network that made it unready.
    """

    @property
    def over_ipv6(self) -> bool:
        return of_ipv6(self.address)


@dataclass(frozen=True, slots=True)
class ServiceProbe:
    """A few attempts to reach a service's address from a node, and its endpoints directly from
    the same node at the same time.
    """

    source: str
    service: str
    address: str
    answers: tuple[ProbeAnswer, ...]
    endpoints: Mapping[str, ProbeAnswer]
    """By IP:PORT of some ready endpoints."""
    hosts: tuple[str, ...] = ()
    """Hosts that its ready endpoints are on."""
    steady: float = 0.0
    """Seconds for which its ready endpoints have been the same, as far as recoverd has seen it:
    kube-proxy follows with a delay.
    """
    dns: bool = False
    """It is the cluster's DNS; the attempts are queries over UDP where the node can make them."""
    queried: Mapping[str, ProbeAnswer] = field(default_factory=dict)
    """By IP:PORT of the same endpoints, what came of a query over UDP; empty where the attempts were no queries."""
    device: str = ""
    """That of the node itself which has the service's address, so that who asks there is answered on the node, or not,
    and no rule for services counts; "" where none has.
    """

    @property
    def answered(self) -> bool:
        """Whether any of the attempts was."""
        return ProbeAnswer.OK in self.answers

    @property
    def over_ipv6(self) -> bool:
        return of_ipv6(self.address)


@dataclass(frozen=True, slots=True)
class PodMismatch:
    """A pod of which the API's list and the node's own disagree."""

    uid: str
    pod: str
    """NAMESPACE/NAME."""
    age: float
    """Seconds since it was bound to the node (listed and not run), or since it was
    first noticed (run and not listed).
    """
    since: datetime
    """When recoverd first saw the disagreement, by the bastion's clock."""
    phase: str = ""


@dataclass(frozen=True, slots=True)
class NodePods:
    """The pods that the API binds to a node, against those that its kubelet has: by uid, mirror pods
    by the hash of their static pod.

    What is `missing` was listed by the API before and after the kubelet was asked.
    """

    at: datetime
    source: str
    """`kubelet` (its own list through the API's node proxy) or `ssh` (its directory of pods)."""
    listed: int
    run: int
    missing: tuple[PodMismatch, ...] = ()
    extra: tuple[PodMismatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A network device that carries pods: a bridge, a tunnel."""

    name: str
    kind: str
    """As `ip -d link` has it (`bridge`, `vxlan`, ...), or "" where it tells none."""
    up: bool
    """Administratively up; a bridge without ports is up and has no carrier."""
    addresses: tuple[str, ...] = ()
    """As `10.244.1.1/24`, those of IPv6 that are not the link's alone behind those of IPv4."""
    mtu: int = 0
    """Bytes of the largest packet that it takes; 0 where that was not told, as in the following."""
    adds: int = 0
    """Bytes that it puts around each packet, where it sends them to other nodes in packets of their own."""
    over: str = ""
    """The device by which these leave; "" where that was not told."""
    below: int = 0
    """The MTU of that."""
    port: int = 0
    """The port of UDP by which its packets come, where it tells one."""

    @property
    def room(self) -> int:
        """What the device below leaves of a packet."""
        return self.below - self.adds


@dataclass(frozen=True, slots=True)
class ProcessView:
    """The oldest process of a name on a host."""

    name: str
    state: str
    """The kernel's letter: R, S, D, T (stopped) ..."""
    started_at: datetime
    """By the bastion's clock."""


@dataclass(frozen=True, slots=True)
class RuleGap:
    """Endpoints of one service port that are programmed on a node and should not be, or the reverse."""

    service: str
    """NAMESPACE/NAME:PORT."""
    address: str
    """The service's IP:PORT."""
    missing: Mapping[str, float] = field(default_factory=dict)
    """Ready endpoints that are not programmed: for how many seconds recoverd has known them to be ready."""
    stale: Mapping[str, float] = field(default_factory=dict)
    """Programmed endpoints that are none: for how many seconds that has been so, as far as recoverd has seen it."""


@dataclass(frozen=True, slots=True)
class RulesView:
    """Service rules of one node, for a sample of services."""

    mode: str
    """`iptables`, `nftables`, `ipvs`; "" when no tool that could be used showed any rules of kube-proxy."""
    checked: int
    """Service ports compared."""
    gaps: tuple[RuleGap, ...] = ()
    told: str = ""
    """The mode that kube-proxy itself said; "" where it was not asked or did not answer."""
    unread: tuple[str, ...] = ()
    """Modes whose rules could not be looked for there: their tool is missing, fails, or is too old."""


@dataclass(frozen=True, slots=True)
class IPv6View:
    """What a host has once more for IPv6, in tables and kernel parameters of its own."""

    forwarding: bool | None = None
    """net.ipv6.conf.all.forwarding; None where it could not be read, or there is no IPv6."""
    bridge_netfilter: bool | None = None
    """net.bridge.bridge-nf-call-ip6tables."""
    rules: RulesView | Unseen | None = None
    """None where they were not looked for."""


FORWARD = "ip filter FORWARD"
"""The chain of iptables, as `nft list chains` names it."""
REJECTING = " reject"
"""Behind the name of a chain that rejects all that comes to it, by a rule and not by its policy."""


@dataclass(frozen=True, slots=True)
class NodeNetworkView:
    """One host's part of the pod network, seen over SSH."""

    forwarding: bool | None
    """net.ipv4.ip_forward; None where it could not be read."""
    links: tuple[Link, ...] | None
    """Those that carry pods; None where they could not be listed."""
    routes: tuple[str, ...] | None
    """`ip -4 route` and `ip -6 route` without those of single pods, the default of IPv6 as `::/0`; None: too many."""
    processes: Mapping[str, ProcessView]
    """Agents by process name: `kube-proxy`, `flanneld`, `calico-node` ..."""
    pod_directories: tuple[str, ...] | None
    """Uids under /var/lib/kubelet/pods."""
    rules: RulesView | Unseen
    tool: str = ""
    """What the probes were made with: `bash`, `curl`, `nc`; "" when the host has none, so that its probes are unseen;
    `NOT_ASKED` where it had none to make, or did not come to them.
    """
    veths: tuple[int, int] | None = None
    """Pods' ends of virtual cables called veth*: how many there are, and how many of them hang on a bridge."""
    pods: int = 0
    """Pods with an address of the pod network that the API lists on it: by the address,
    the network was made for them.
    """
    pod_addresses: tuple[str, ...] = ()
    """Some of their addresses."""
    bridge_netfilter: bool | None = None
    """net.bridge.bridge-nf-call-iptables; False too where its module is not loaded, None where it was not read."""
    dropping: tuple[str, ...] | None = None
    """Chains that packets on their way through pass and that drop what no rule lets through: by their policy, as `ip
    filter FORWARD`, or with `REJECTING` behind it by a rule without a condition, as `inet firewalld filter_FORWARD
    reject`; None where they could not be read.
    """
    refusing: tuple[str, ...] | None = None
    """Rules that drop what comes to the machine itself by UDP or as IP in IP, each behind its chain, as `ip filter
    INPUT: udp dport 8472 drop`, and those of the same chains, and of those that lead there, that let something pass, in
    the order of each chain; none where no device of a tunnel is, None where they could not be read.
    """
    cluster_cidr: str = ""
    """What kube-proxy there takes for the range of pods, by its configuration; "" where it tells none."""
    problems: tuple[str, ...] = ()
    kernel: KernelView | None = None
    ipv6: IPv6View = IPv6View()


@dataclass(frozen=True, slots=True)
class AgentView:
    """One pod of kube-proxy's or the CNI's DaemonSet that is wanted on a node."""

    node: str
    kind: str
    """`kube-proxy` or `cni`."""
    daemonset: str
    """NAMESPACE/NAME."""
    pod: str
    """NAME of the pod, "" when the DaemonSet wants one there and there is none."""
    ready: bool
    """As the API has it, which a deaf kubelet may not keep up to date."""
    status: str
    """As kubectl prints it."""
    running: bool | None
    """Its process is on the host and not stopped; None where the host was not seen, or for an agent
    whose process has no known name.
    """
    bad_for: float = 0.0
    """Seconds for which it has not been both ready and running, a few good ones in between
    not counted; 0 when all is well.
    """
    may_start_for: float = 0.0
    """Seconds that its own startup probe gives it before kubelet ends it; more while its DaemonSet is rolled out."""

    @property
    def pod_key(self) -> str:
        """NAMESPACE/NAME of the pod, which is in its DaemonSet's namespace."""
        return f"{self.daemonset.partition('/')[0]}/{self.pod}"


BEGINNING = ("Pending", "ContainerCreating", "PodInitializing", "Init:")
"""Beginnings of what kubectl prints of a pod whose containers are not made."""
ENDED = frozenset({"CrashLoopBackOff", "Error", "Completed", "OOMKilled", "ContainerCannotRun"})
"""What kubectl prints of a pod whose container has ended, and which kubelet starts anew."""
BEGINS = 20.0
"""Seconds from the making of a pod that it may wait for its sandbox."""


@dataclass(frozen=True, slots=True)
class WaitingPods:
    """Pods that are bound to a node and whose containers are not made, by the API's list."""

    count: int
    longest: float
    """Seconds since the first of them was made."""
    names: tuple[str, ...]
    """NAMESPACE/NAME of some of them."""


NOT_PULLED = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""Reasons for which a container waits whose image does not come (kubelet's pkg/kubelet/images/types.go)."""


def lacks_image(status: str) -> bool:
    """By what kubectl prints of a pod: an image of it, or of one of its init containers, does not come."""
    return status.removeprefix("Init:") in NOT_PULLED


@dataclass(frozen=True, slots=True)
class UnpulledImage:
    """An image that a pod waits for in vain, as the API server has it of its kubelet."""

    node: str
    image: str
    """"" where the pod itself could not be read."""
    reason: str
    """One of `NOT_PULLED`."""
    said: str = ""
    """What the pull says; while kubelet waits before the next try, its versions before 1.32 do not say it."""


@dataclass(frozen=True, slots=True)
class SilentDns:
    """The cluster's DNS, none of whose pods is ready, by the API's endpoints."""

    since: datetime
    """When recoverd first saw it so, and in every sweep after that."""
    pods: tuple[str, ...]
    """NAMESPACE/NAME; none where it has had some and has none any more."""
    nodes: tuple[str, ...]
    """Those of them that are on one."""
    unserved: bool = False
    """They are ready, and no service leads to them."""


@dataclass(frozen=True, slots=True)
class NetworkView:
    """Everything of one sweep that bears on `worker-network-broken`."""

    round: int
    hosts: Mapping[str, NodeNetworkView | Unseen]
    pods: Mapping[str, NodePods | Unseen]
    """By node name. An older result than this sweep's (`NodePods.at`) is one without mismatch."""
    probes: tuple[PodProbe, ...] = ()
    """Of this round; those of pods that ceased to be endpoints meanwhile are left out."""
    services: tuple[ServiceProbe, ...] = ()
    agents: tuple[AgentView, ...] = ()
    failing_since: Mapping[str, datetime] = field(default_factory=dict)
    """By `FROM>TO`: since when every probe of every round between them has failed."""
    back_since: datetime | None = None
    """When the API server came back after it had listed nothing for some sweeps; None where
    recoverd has not seen it away.
    """
    unseen: Mapping[str, Unseen] = field(default_factory=dict)
    """Lists that the API did not give: `services`, `endpoints`, `daemonsets`, `networkpolicies`."""
    waiting: Mapping[str, WaitingPods] = field(default_factory=dict)
    """By node that is Ready: pods that wait there for longer than it takes to make one. An image that is pulled and a
    volume that is attached look the same; kubelet's journal says which it is.
    """
    unready: Mapping[str, int] = field(default_factory=dict)
    """By node, how many of its pods are endpoints of a service and not ready; nodes without one are left out.
    Of a node that is lost the node controller calls every pod unready, and kubelet calls them ready one by one
    when it is back, up to a minute later on a busy machine (observed on 1.20.2).
    """
    silent_dns: Mapping[str, SilentDns] = field(default_factory=dict)
    """By service, NAMESPACE/NAME."""
    unpulled: Mapping[str, UnpulledImage] = field(default_factory=dict)
    """By pod, NAMESPACE/NAME: of `agents` and of `silent_dns`."""
    failing_over_ipv6: Mapping[str, datetime] = field(default_factory=dict)
    """The same of the probes over IPv6, which `failing_since` leaves out."""
    api_service: str = ""
    """The address of the service `kubernetes`, where that is one of IPv4; "" where it was not listed."""
