"""What a row of the matrix says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from recoverd.model.observation import Observation


@dataclass(frozen=True)
class Network:
    """A CNI as a machine shows it. `{mine}` and `{other}` are the numbers of the two machines' pod networks, `{peer}`
    is the other machine's address.
    """

    agent: str = ""
    """Its DaemonSet."""
    process: str = ""
    """Its agent's process, where it is one that recoverd knows."""
    links: str = ""
    addresses: str = ""
    routes: str = ""
    proxy: str = "iptables"
    """kube-proxy's mode; "" where something else does its work."""


def link(name: str, kind: str, mtu: int = 1450) -> str:
    """A line of `ip -o -d link show`."""
    flags = f"<BROADCAST,MULTICAST,UP,LOWER_UP> mtu {mtu} qdisc noqueue state UP"
    return f"5: {name}: {flags} \\    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff \\    {kind}\n"


BRIDGE = Network(
    links=link("cni0", "bridge forward_delay 1500"),
    addresses="5: cni0    inet 10.244.{mine}.1/24 brd 10.244.{mine}.255 scope global cni0\\   valid_lft forever\n",
    routes="10.244.{mine}.0/24 dev cni0 proto kernel scope link src 10.244.{mine}.1\n"
    "10.244.{other}.0/24 via {peer} dev eth0\n",
)


@dataclass(frozen=True)
class Environment:
    """One row: what is different there from a kubeadm cluster of today, where that is read, and what is to come of one
    fault there. Every default is kubeadm's own.
    """

    source: str
    fault: str
    """A method of `Field`."""
    found: tuple[str, str]
    """Code and subject of the finding; P and W are the control plane and the worker, N the worker's node."""
    says: str = ""
    """A part of what the finding says."""
    plan: str = ""
    """The playbook of the plan; "" where there is none."""
    refusal: str = ""
    """What is said in the place of a plan."""
    lasts: float = 0.0
    """Seconds for which the fault has to last before there is a plan."""
    declined: tuple[str, ...] = ()
    """Playbooks whose plan a person rejects before."""
    planes: int = 1
    """Control planes."""
    version: str = "v1.28.5"
    etcd: str = "3.5.9"
    """"" where it is external."""
    external: str = ""
    """The version of an external etcd whose servers may be asked from the control planes; "" where sshd forbids it."""
    prefix: str = ""
    """The API server's `--etcd-prefix`."""
    data: str = "/var/lib/etcd"
    wal: str = ""
    """etcd's `--wal-dir`, where it has one of its own."""
    runtime: str = "containerd"
    endpoint: str = ""
    """The runtime's socket as kubelet is told in /etc/default/kubelet; "" where kubeadm-flags.env tells it."""
    stopped: tuple[str, ...] = ()
    """Units that are there and stopped, as somebody wants it."""
    systemd: int = 252
    pods_in: str = "/var/lib/kubelet"
    """kubelet's `--root-dir`; where it is another one, what kubelet had before is left in its own."""
    lacking: tuple[str, ...] = ()
    """Programs that are not there."""
    userland: str = ""
    """The program that all small tools are, as busybox; "" where they are coreutils."""
    ip: str = "iproute2"
    """Whose `ip` it is: busybox's has no -d, and says nothing of what kind a device is."""
    foreign: bool = False
    """There is a node that runs Windows as well."""
    cgroups: str = ""
    """As in `CGROUPS`; the runtime's name where nothing is said."""
    network: Network = BRIDGE
    slices: str = "v1"
    """EndpointSlices' version; "none" where they are served and nobody makes any."""
    v6: bool = False
    dual: bool = False
    port: int = 6443
    """The API server's; where it is another than 6443, a balancer is on that one."""
    others: tuple[str, ...] = ()
    """Static pods that are not kubeadm's."""
    maker: str = "kubeadm"
    """What has made the control plane: "openshift", whose static pods are in namespaces and files of their own; "hand",
    where units of systemd run its components.
    """
    written: str = "kubeadm"
    """How manifests are written: as kubeadm writes them; "edited", with a comment behind a flag and a container of
    somebody's own before the component's; "args", flags and values as words of one line.
    """
    scheduler: str = ""
    """kube-scheduler's `--config`, which lets it lead without the lease of before."""
    greeting: str = ""
    """What a login shell there prints on its own before anything else."""
    apart: bool = False
    """SSH leads into a container beside the worker's node: no systemd, and nothing of kubelet's."""
    static: str = "/etc/kubernetes/manifests"
    sudo: str = ""
    """The PATH that sudo sets; "" where root logs in."""
    programs: str = "/usr/bin"
    """Where the programs are that come with kubeadm."""
    node: str = "{host}"
    member: str = "{host}"
    server: str = ""
    """The name by which kubelets call the API server, in their /etc/hosts; "" where it is an address."""
    files: Mapping[str, str] = field(default_factory=dict)
    """More files of every machine, by path."""
    inner: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By host, the InternalIPs of its node where they are others than the one by which recoverd reaches it; `{p1}`
    and `{w1}` stand for those.
    """
    outer: Mapping[str, str] = field(default_factory=dict)
    """By host, the ExternalIP of its node, where it has one."""
    notes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By host, annotations of its node, with the same words."""
    gives_out: str = ""
    """The address that the API server is told to give out, which is behind the service `kubernetes`, with the same
    words; "" where that is its node's, and the service is not listed.
    """
    dns: bool = False
    """The only service is the cluster's DNS."""
    encryption: str = ""
    """The API server's `--encryption-provider-config`; "" where nothing is encrypted at rest."""
    point: bool = False
    """A restore point is kept on the bastion."""
    pki: bool = False
    """Certificates are on the machines."""
    notices: tuple[str, ...] = ()
    """Subjects of what recoverd says that it does not see there."""
    holds: Callable[[Observation], bool] = lambda seen: True
    """What the healthy sweep has to show beside that."""
