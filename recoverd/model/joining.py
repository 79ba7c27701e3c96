"""A control plane that is to join: what is asked for, what the machines themselves say, and what
that comes to, check by check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from recoverd.model.places import API_PORT
from recoverd.model.unseen import Unseen

ETCD_PORTS = (2379, 2380)
"""etcd's clients and its peers."""


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """`recoverctl join-control-plane`."""

    name: str
    address: str
    host_key: str = ""
    """Public host key of the machine in OpenSSH's format (`ssh-ed25519 AAAA...`); "": it
    is in the cluster's known_hosts.
    """
    take_back_single: bool = False
    """Given in advance: where one member has lost its quorum by the join, it may be made a
    one-member cluster again by force.
    """
    skip_preflight: bool = False
    """kubeadm's own preflight checks are left out: they need crictl, and the images are on the machine already."""
    member_seconds: int = 0
    """For the new etcd member to start, from the moment it is in the member list; 0: by the number of members."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What one machine says of itself."""

    hostname: str
    addresses: tuple[str, ...]
    clock_offset: float
    """Seconds by which it is ahead of the bastion."""
    clock_error: float
    """Seconds by which that may be wrong: half of the time the question took."""
    kubeadm: str = ""
    """`v1.23.4`, or "" where it does not run."""
    kubelet: str = ""
    runtime: str = ""
    """Active unit of a container runtime: `containerd`, `crio`, `docker`, or ""."""
    crictl: bool = False
    kubelet_unit: bool = True
    leftovers: tuple[str, ...] = ()
    """Of another cluster or an earlier join: files, data, a running kubelet's configuration."""
    free: Mapping[str, int] = field(default_factory=dict)
    """Bytes that are free where a path is or would be."""
    resolves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """IP addresses of the names that were asked for."""
    missing_keys: tuple[str, ...] = ()
    """Files below /etc/kubernetes/pki that a join has to be given and that are not there."""
    authorities: Mapping[str, datetime] = field(default_factory=dict)
    """CA certificates, by path: when they expire."""


class Reached(StrEnum):
    """What a TCP connection came to."""

    OPEN = "open"
    REFUSED = "refused"
    """The machine answers and nothing listens, or a firewall rejects."""
    FILTERED = "filtered"
    """No answer at all: a firewall drops, or there is no way."""
    UNREACHABLE = "unreachable"
    """The network says that there is no way."""
    UNTOLD = "untold"
    """It could not be tried."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One TCP connection from one machine to another."""

    source: str
    target: str
    port: int
    reached: Reached
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JoinFacts:
    """All that was seen for one join."""

    source: str
    """The control plane that makes the token and whose member list is watched."""
    machines: Mapping[str, MachineFacts | Unseen]
    """By name: every control plane, and the new machine."""
    probes: tuple[Probe, ...] = ()
    listening: str = ""
    """Why nothing could listen on the new machine for the probes; "" when it did."""
    version: str = ""
    """`kubernetesVersion` of the cluster's kubeadm configuration."""
    endpoint: str = ""
    """Its `controlPlaneEndpoint`, HOST:PORT."""
    endpoint_probe: Probe | None = None
    """From the new machine to the endpoint, where kubeadm looks for the cluster; None where there is
    none or the machine was not asked.
    """
    trouble: str = ""
    """Why the cluster's kubeadm configuration could not be read."""
    flags: frozenset[str] | None = None
    """Names of the flags that it gives the API server; None where it was not read."""
    api_port: int = API_PORT
    """The source's API server's own, which the new one gets as well: a balancer may be on the endpoint's."""

    @property
    def ports(self) -> tuple[int, ...]:
        """Those that every two machines have to reach each other on."""
        return (*ETCD_PORTS, self.api_port)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the list that the operator sees."""

    name: str
    ok: bool
    detail: str
    """What was seen; for a failure also what to do."""
