"""Nodes and pods as the API server lists them in one sweep: facts only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class NodeView:
    """One Node object, the few fields that decisions need."""

    name: str
    ready: bool
    unschedulable: bool = False
    control_plane: bool = False
    address: str = ""
    boot_id: str = ""
    kubelet_version: str = ""
    cordoned_by: str = ""
    """The plan of recoverd that has cordoned it; "" for a cordon of somebody else's, and where it has none."""
    reason: str = ""
    """Of its condition Ready, as `KubeletNotReady` (kubelet says so itself) or
    `NodeStatusUnknown` (nothing was heard of it).
    """
    message: str = ""
    since: datetime | None = None
    """When that condition became what it is, by the clock of whoever set it; None where it is not said."""
    cordoned_at: datetime | None = None
    """By the clock of the controller that taints a node which is cordoned; None where it is not, or not said."""
    pressures: tuple[str, ...] = ()
    """Conditions with which kubelet keeps pods away and ends some: DiskPressure, MemoryPressure, PIDPressure."""
    pod_cidrs: tuple[str, ...] = ()
    """Its parts of the pod network, one of each family; none where it was given none."""
    machine_id: str = ""
    system_uuid: str = ""
    more_addresses: tuple[str, ...] = ()
    """Its further ones, as where it has several devices, and those by which it is reached from outside."""
    announced: str = ""
    """The address at which its CNI tells other nodes to reach it, by Flannel's or Calico's annotation; "" without."""

    taints: tuple[str, ...] = ()
    """Those that keep new pods away which do not tolerate them, as KEY:EFFECT; without those of control planes, of a
    cordon and of kubelet's pressures.
    """
    without_network: datetime | None = None
    """Since when its condition NetworkUnavailable is True; None where it is not."""

    @property
    def spared(self) -> bool:
        """It takes no new pods, as a person wants it: nobody misses it. What recoverd cordons it wants back."""
        return self.unschedulable and not self.cordoned_by


@dataclass(frozen=True, slots=True)
class CreatedView:
    """An object of the API and when it was created."""

    kind: str
    """`node`, `pod` or `service`."""
    name: str
    """NAMESPACE/NAME, or NAME of a node."""
    at: datetime
    """By the API server's clock."""


@dataclass(frozen=True, slots=True)
class ObjectsView:
    """What the API server lists; read only when an endpoint is ready."""

    nodes: tuple[NodeView, ...]
    pods: Mapping[str, int]
    """Number of pods bound to each node; "" holds the unscheduled ones."""
    version: str = ""
    newest: tuple[CreatedView, ...] = ()
    """Those that were created last, newest first, and no more than a hundred: what a restore
    point of before does not hold.
    """

    @property
    def pod_count(self) -> int:
        return sum(self.pods.values())
