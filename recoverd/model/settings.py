"""What the pure core needs of the configuration: `recoverd.config` validates the file and makes these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Approval(StrEnum):
    AUTOMATIC = "automatic"
    REQUIRED = "required"
    NEVER = "never"
    """The playbook is not even proposed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much recoverd may do to one cluster. Durations are seconds."""

    attempts: int = 3
    """Plans of one playbook that may run unasked within `window`."""
    window: float = 3600.0
    cooldown: float = 3600.0
    """For this long after a plan ran, the same playbook does not run unasked for the same cause again, unless acknowledged."""
    nodes_at_once: int = 1
    plan_expiry: float = 1800.0
    plan_deadline: float = 900.0
    step_deadline: float = 300.0
    """Upper limit of every step's own timeout."""
    confirm_sweeps: int = 2
    """Consecutive sweeps that must see a fault before it is confirmed."""
    recover_sweeps: int = 2
    """Consecutive healthy sweeps before an incident is closed: a flap opens no second one."""
    member_down_after: float = 60.0
    """An etcd member must have been seen dead for this long before its removal is offered: a reboot takes minutes at most."""
    max_clock_skew: float = 5.0


@dataclass(frozen=True, slots=True)
class HostSettings:
    name: str
    address: str


DEFAULT_APPROVALS: Mapping[str, Approval] = {
    "restore-manifest": Approval.AUTOMATIC,
    "start-node-services": Approval.AUTOMATIC,
    "restart-node-agents": Approval.AUTOMATIC,
}
"""Automatic only for what is reversible and local; every other playbook asks."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One cluster as the pure core sees it."""

    name: str
    control_planes: tuple[HostSettings, ...]
    workers: tuple[HostSettings, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    approval: Mapping[str, Approval] = field(default_factory=dict)

    def approval_of(self, playbook: str) -> Approval:
        return self.approval.get(playbook) or DEFAULT_APPROVALS.get(playbook, Approval.REQUIRED)

    def host_at(self, address: str) -> HostSettings | None:
        return next((h for h in (*self.control_planes, *self.workers) if h.address == address), None)
