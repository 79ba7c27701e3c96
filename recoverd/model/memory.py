"""What recoverd remembers of a cluster from the time when it was healthy; kept in the
journal, given to the pure core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from recoverd.model.observation import CreatedView
from recoverd.model.points import RestorePoint, best, strangers


@dataclass(frozen=True, slots=True)
class KnownManifest:
    """A static pod manifest that was in place while its component was healthy."""

    path: str
    sha256: str
    content: str
    """"" of another pod's than kubeadm's in which a secret may stand: that stays on its machine."""
    recorded_at: datetime
    pod: str = ""
    """NAMESPACE/NAME; "" of kubeadm's own."""
    newer: str = ""
    """SHA-256 of another one with which its component worked since, in the newest sweep that saw one work; "" where
    that was this one.
    """


@dataclass(frozen=True, slots=True)
class Watermark:
    """The furthest that etcd was seen: a revision that goes below it means that the data was put back."""

    cluster_id: str
    revision: int
    at: datetime
    members: Mapping[str, str] = field(default_factory=dict)
    """Member id to name."""
    uid: str = ""
    """`EtcdView.uid`; "" where it is not known."""
    index: int = 0
    """The highest `EtcdView.raft_index`; 0 where it is not known."""


@dataclass(frozen=True, slots=True)
class Worker:
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class KnownIPv6:
    """What a host had of IPv6 while the cluster was healthy. Many have addresses of it that lead nowhere and that
    nobody uses: only what was seen to work is missed.
    """

    forwarding: bool = False
    bridge_netfilter: bool = False
    proxy: str = ""
    """As `NodeNetwork.proxy`, of the rules of IPv6."""
    asks: bool = False
    """It has reached a pod on another node."""
    answers: bool = False
    """A pod on it was reached from another node."""
    served: bool = False
    """The address of a service has answered it."""


@dataclass(frozen=True, slots=True)
class KnownNode:
    """By what a node is told from another one of its name: what is known of a machine is of this one."""

    machine_id: str = ""
    """Of the machine (/etc/machine-id), as its kubelet reports it; "" where it is not known."""
    pod_cidrs: tuple[str, ...] = ()
    """Its parts of the pod network (spec.podCIDRs); none where it was given none."""


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """What carried one host's pods while the cluster was healthy, so that its loss is a
    finding and it can be put back.
    """

    forwarding: bool
    """net.ipv4.ip_forward."""
    devices: Mapping[str, str] = field(default_factory=dict)
    """Bridges and tunnels that were up: name to its kind in `ip -d link` (`bridge`, `vxlan`, or "")."""
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of those devices, as `10.244.1.1/24`."""
    routes: tuple[str, ...] = ()
    """Lines of `NodeNetworkView.routes` that no program and no kernel owns; each can follow `ip route add`."""
    bridged: bool = False
    """Every pod's virtual cable (veth*) hung on a bridge."""
    proxy: str = ""
    """How kube-proxy programmed services: `iptables`, `nftables`, `ipvs`, "" where it did not."""
    recorded_at: datetime | None = None
    bridge_netfilter: bool = False
    """net.bridge.bridge-nf-call-iptables was on."""
    dropping: tuple[str, ...] | None = None
    """`NodeNetworkView.dropping`; None where it was never read."""
    ipv6: KnownIPv6 | None = None
    """None where it was never looked for."""
    still: tuple[str, ...] | None = None
    """`KernelView.still`; None where it was never read."""
    announced: str = ""
    """`NodeView.announced` while another node reached its pods, or it reached another's; "" where neither was seen."""


@dataclass(frozen=True, slots=True)
class Setback:
    """etcd's data went back in time. Every program that watched the API before `reference` and
    was not restarted since is deaf.

    Set by the first sweep that sees it, dropped when the next one shows the history to go on, and cleared (with
    the watermark lowered) by the first healthy sweep after kubelet, kube-proxy and the CNI's agents on all
    hosts that can be seen, and controller-manager and scheduler, have been restarted, by whom ever; or after a
    person acknowledged the incident.
    """

    noticed_at: datetime
    reference: datetime
    """When the history that is gone was last seen alive: agents that started before it certainly followed it."""
    was: int
    """Revision that had been seen."""
    now: int
    cluster_id: str
    acknowledged: bool = False
    proven: bool = True
    """A second sweep has shown it by itself. Before that it may be one torn sweep: a new leader that
    had not applied everything yet.
    """
    anew: bool = False
    """It is no older history, but a cluster that has begun anew with nothing of the old one in it."""


KUBERNETES = "/etc/kubernetes"
ACCOUNTS_KEY = f"{KUBERNETES}/pki/sa.key"


@dataclass(frozen=True, slots=True)
class KnownPki:
    """The certificates and kubeconfigs in /etc/kubernetes of a control plane while
    everything worked; digests only, no key.
    """

    certificates: Mapping[str, str]
    """By file: SHA-256 of the certificate's DER."""
    authorities: Mapping[str, tuple[str, ...]]
    """By CA file: SHA-256 of the public keys in it."""
    accounts: str
    """SHA-256 of the public key of the service account key; "" where it could not be asked."""
    recorded_at: datetime
    kept: str = ""
    """Directory on the machine itself with a copy of exactly this; "" until there is one."""

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self.certificates)

    def alike(self, other: KnownPki) -> bool:
        """Whether their digests are the same, without making any."""
        return self.certificates == other.certificates and self.accounts == other.accounts

    @property
    def digest(self) -> str:
        """What it is, in a few characters."""
        text = "\n".join((*(f"{p} {d}" for p, d in sorted(self.certificates.items())), self.accounts))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A configuration file of a node, or a line of one, as what reads it was started with and was well."""

    sha256: str
    """Under which its text is in `Memory.texts`: most nodes have the same."""
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class KnownPodFile:
    """A file that static pods name, as what reads it was started with and was well. What it holds stays on its
    machine, under this digest in `recoverd.model.pod_files.COPIES`.
    """

    sha256: str
    mode: str
    owner: str
    recorded_at: datetime
    kept: bool = False
    """A copy of it was seen to be there."""
    names: tuple[str, ...] = ()
    """`PodFileView.names`."""
    newer: str = ""
    """SHA-256 of another one that was seen in its place since, while all was well; "" where there was none."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A machine that a person let join: reached over SSH though it is not in the configuration yet. For one
    that is, this counts for nothing.
    """

    name: str
    address: str
    host_key: str = ""
    """In OpenSSH's format; "": it is in the cluster's known_hosts."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Somebody was seen at work on a machine."""

    words: str
    at: datetime
    """By the bastion's clock."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Known-good facts of one cluster. Empty until the cluster was once seen healthy."""

    manifests: Mapping[str, Mapping[str, KnownManifest]] = field(default_factory=dict)
    """By control-plane name, then component; of other pods than kubeadm's the name of the file without .yaml."""
    watermark: Watermark | None = None
    workers: tuple[Worker, ...] = ()
    """Learnt from the API where the configuration lists none."""
    node_count: int | None = None
    pod_count: int | None = None
    healthy_at: datetime | None = None
    networks: Mapping[str, NodeNetwork] = field(default_factory=dict)
    """By host name, control planes too."""
    reached: tuple[str, ...] = ()
    """Services (NAMESPACE/NAME:PORT) one of whose pods was once reached from another
    node: no policy forbids the probe.
    """
    setback: Setback | None = None
    points: tuple[RestorePoint, ...] = ()
    """Restore points on the bastion's disk, newest last."""
    pki: Mapping[str, KnownPki] = field(default_factory=dict)
    """By control-plane name."""
    newest: tuple[CreatedView, ...] = ()
    """The objects that were created last, newest first, as the last healthy sweep saw them."""
    guest: Guest | None = None
    """Of the newest join."""
    files: Mapping[str, Mapping[str, KnownFile]] = field(default_factory=dict)
    """By host name, then path; of /etc/hosts only the line that names the API server's address."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """By sha256: what is in `files`."""
    pod_files: Mapping[str, Mapping[str, KnownPodFile]] = field(default_factory=dict)
    """By control-plane name, then path."""
    worked: tuple[str, ...] = ()
    """Control planes whose API server was seen ready while all was well, a minute or more after it was started.

    With those whose API server's manifest is known these are the working parts of the cluster: it may be too new
    to be known, as after an edit.
    """
    outside: Watermark | None = None
    """The watermark of an etcd that is none of the cluster's static pods, where that can be read."""
    silent_at: datetime | None = None
    """When the address in the kubeconfig was last seen to answer nothing, with API servers ready behind it."""
    at_work: Mapping[str, Sight] = field(default_factory=dict)
    """By host: who was seen there last, for some minutes (`recoverd.diagnose.people`). Noted in every sweep."""
    nodes: Mapping[str, KnownNode] = field(default_factory=dict)
    """By host name: whose what is known of the host is (`recoverd.memory.machines`). Noted in every sweep."""
    mounts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By host name: file systems of their own that held what Kubernetes keeps on it (`recoverd.memory.mounts`)."""

    @property
    def strangers(self) -> list[RestorePoint]:
        """Restore points of another cluster than this one, to which nothing is put back unless a person names one."""
        return strangers(self.points, self.watermark.uid if self.watermark else "")

    @property
    def best_point(self) -> RestorePoint | None:
        """The best one of this cluster."""
        others = self.strangers
        return best(p for p in self.points if p not in others)

    def known_file(self, host: str, path: str) -> str:
        """Its text; "" where none is remembered."""
        known = self.files.get(host, {}).get(path)
        return self.texts.get(known.sha256, "") if known else ""
