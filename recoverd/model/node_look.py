"""What a machine says of why its node is not Ready, and of the files that its kubelet, its
runtime and its CNI go by. Pure.

It is asked where something is wrong with a node, and else only now and then: from that what was in place
while all was well is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

CNI_DIR = "/etc/cni/net.d"
"""Where the runtime looks for the CNI's configuration, unless it is told otherwise
(containerd's and CRI-O's default).
"""
HOSTS = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"
"""What kubelet gives to pods, unless its configuration names another file (its default)."""


OF_RUNTIMES = tuple(
    place.format(runtime)
    for runtime in ("containerd", "crio", "docker")
    for place in ("/etc/{}/", "/etc/systemd/system/{}.service.d/")
)


class Heard(StrEnum):
    """What came of asking a daemon of the machine something."""

    ANSWERS = "answers"
    SILENT = "silent"
    """It took the connection and said nothing within its time: it hangs, whatever systemd calls it."""
    REFUSED = "refused"
    """Nothing listens there."""
    UNKNOWN = "unknown"
    """It could not be asked: the machine has no tool for it."""


@dataclass(frozen=True, slots=True)
class FileView:
    """A configuration file as it stands on a machine."""

    sha256: str
    content: str
    modified_at: datetime | None = None
    """By the machine's own clock."""


@dataclass(frozen=True, slots=True)
class AddressPool:
    """What the IPAM plugin host-local has given out of one network: a file for each address, named after it."""

    directory: str
    held: int
    leaked: int
    """Those among them that were given to a container that no process on the machine is of, ten minutes ago and more:
    only the CNI's DEL takes such a file away, and a crash or a reboot spares it (containernetworking/plugins #252).
    """


@dataclass(frozen=True, slots=True)
class PodLog:
    """What a pod of kube-proxy, of the CNI's agent or of the cluster's DNS says on this machine, newest last, without
    what is said while all is well.
    """

    container: str
    lines: tuple[str, ...]
    """Of the last minutes, each trouble once."""
    now: tuple[str, ...] = ()
    """Those among them that are so new that whoever still runs would say them again."""


@dataclass(frozen=True, slots=True)
class NodeLook:
    """One closer look at a node's machine."""

    server: str = ""
    """HOST:PORT of the API server in /etc/kubernetes/kubelet.conf; "" where there is none."""
    addresses: tuple[str, ...] | None = None
    """What the host in `server` resolves to there, itself when it is an address; None where it could not be asked."""
    reaches: bool | None = None
    """A TCP connection to `server` could be opened from there; None where it could not be tried."""
    said: str = ""
    """What was said where it could not."""
    hosts: tuple[str, ...] = ()
    """The lines of /etc/hosts that name the host in `server`."""
    kubelet: Heard = Heard.UNKNOWN
    """By its /healthz on 127.0.0.1."""
    kubelet_said: str = ""
    runtime: Heard = Heard.UNKNOWN
    """By its socket, asked for its version."""
    runtime_said: str = ""
    cni: tuple[str, ...] | None = None
    """Names of the CNI's configuration files (.conf, .conflist, .json); None where the
    directory could not be listed.
    """
    pools: tuple[AddressPool, ...] = ()
    """Of host-local; none too where which containers run could not be told."""
    files: Mapping[str, FileView] = field(default_factory=dict)
    """By path: configuration of kubelet, of the runtime and of the CNI, without those in which a secret may stand."""
    resolv: str = ""
    """The file with name servers that kubelet gives to pods, by its configuration; "" where that could not be told."""
    parts: str = ""
    """The directory with drop-ins of kubelet's configuration (`--config-dir`); "" where it is told of none."""
    proxy: str = ""
    """HOST:PORT of the API server that kube-proxy follows, by the file that its newest pod has mounted from kubeadm's
    ConfigMap kube-proxy; "" where there is none.
    """
    proxy_reaches: bool | None = None
    """As `reaches`, of that one."""
    proxy_said: str = ""
    logs: Mapping[str, PodLog] = field(default_factory=dict)
    """By pod, NAMESPACE/NAME."""
    held: tuple[str, ...] | None = None
    """Those among `addresses` that are the machine's own, on an interface that tells the network so (a virtual IP; not
    what anycast or a balancer's server has on a loopback or a dummy); None where that could not be told.
    """
    bgp: Mapping[str, bool] | None = None
    """By IP address of whoever is called, or has called, by BGP (TCP port 179) whether there is a connection; None
    where nothing listens for it.
    """

    @property
    def misled(self) -> bool:
        """kube-proxy follows an API server that is not reached from there, while kubelet reaches its own."""
        return self.proxy_reaches is False and self.reaches is True


def read_always(path: str) -> bool:
    """It is read anew whenever it is needed, and not by a unit when that is started: the CNI's configuration by the
    runtime, resolv.conf by kubelet for each pod.
    """
    return path.startswith(CNI_DIR) or path.endswith("resolv.conf")


def reader_of(path: str, runtime: str) -> str:
    """The unit that reads a file at its start, or is started as that says: kubelet, or the runtime."""
    return runtime if path.startswith(OF_RUNTIMES) else "kubelet"
