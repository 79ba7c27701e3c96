"""What the pure core needs of the configuration: `recoverd.config` validates the file and makes these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from recoverd.model.node_operations import PodChoice
from recoverd.model.places import spelt
from recoverd.model.points import PointSettings

STALE_INTERVALS = 3
"""So many intervals, and all deadlines of a sweep, may lie between the beginning of a sweep and what is done on its
word. An interval is stretched no further than that (`recoverd.engine.pace`).
"""

BEGIN_SECONDS = 10.0
"""For which a call that changes something is begun anew where it did not begin, since its machine was not reached. For
longer, what was seen before the step would be too old to go by. Observed: under load a login took more than the 3 s
that it has, once, and a person was called for a repair that had only just begun.
"""

FORGOTTEN = 8 * 3600.0
"""Seconds without a key from which on a terminal counts as left open by somebody who has gone home."""


class Approval(StrEnum):
    AUTOMATIC = "automatic"
    REQUIRED = "required"
    NEVER = "never"
    """The playbook is not even proposed."""


class Mode(StrEnum):
    ACT = "act"
    OBSERVE = "observe"
    """Everything is diagnosed and planned, and nothing is written on any machine or into the cluster."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much recoverd may do to one cluster. Durations are seconds."""

    attempts: int = 3
    """Plans of one playbook that may run unasked within `window`."""
    window: float = 3600.0
    cooldown: float = 3600.0
    """For this long after a plan ran, the same playbook does not run unasked for the same
    cause again, unless acknowledged.
    """
    nodes_at_once: int = 1
    min_ready: int | str = "50%"
    """Workers that stay Ready and schedulable while others are rebooted: a number, or a
    share of all workers, rounded down.
    """
    plan_expiry: float = 1800.0
    plan_deadline: float = 900.0
    """For a whole plan; for each node of a rolling one."""
    step_deadline: float = 300.0
    """Upper limit of every step's own timeout."""
    confirm_sweeps: int = 2
    """Consecutive sweeps that must see a fault before it is confirmed."""
    recover_sweeps: int = 2
    """Consecutive healthy sweeps before an incident is closed: a flap opens no second one."""
    member_down_after: float = 60.0
    """An etcd member must have been seen dead for this long before its removal is offered:
    a reboot takes minutes at most.
    """
    force_after: float = 300.0
    """So long a machine must have been silent before `force-new-cluster` or `remove-member` gives it up:
    real ones take minutes to boot.
    """
    max_clock_skew: float = 5.0
    person_at_work: str | float = "ask"
    """`ask`: what would run unasked on a machine where a person is at work is asked about. Seconds: so too, and a
    terminal that was idle for so long counts for nobody. `ignore`: no terminal and no tool counts.
    """

    @property
    def idle_at_work(self) -> float:
        """Seconds without a key from which on a terminal counts as left open by somebody who has gone."""
        return FORGOTTEN if isinstance(self.person_at_work, str) else self.person_at_work

    def ready_needed(self, workers: int) -> int:
        """How many of so many workers have to stay ready."""
        if isinstance(self.min_ready, int):
            return self.min_ready
        return workers * int(self.min_ready.rstrip("%")) // 100


@dataclass(frozen=True, slots=True)
class FleetBounds:
    """How much may be done to all clusters together, and when a fault of many has its cause above them."""

    acting_at_once: int = 3
    """Clusters on which plans are under way at the same time."""
    same_fault_clusters: int = 3
    """The same fault in so many clusters at least, and in `same_fault_share` of all, is one cause above them."""
    same_fault_share: str = "33%"
    same_fault_within: float = 300.0
    """Seconds within which it has to have begun in all of these."""

    def same_fault_needed(self, watched: int) -> int:
        """In how many of so many clusters, which are never fewer than a share of them, rounded up."""
        share = -(-watched * int(self.same_fault_share.rstrip("%")) // 100)
        return max(self.same_fault_clusters, share)


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """What is chosen for pods that `kubectl drain` refuses to evict unless told to, and how
    long a drain may take in seconds.
    """

    local_storage: PodChoice = PodChoice.REFUSE
    unmanaged: PodChoice = PodChoice.REFUSE
    timeout: float = 180.0


@dataclass(frozen=True, slots=True)
class HostSettings:
    name: str
    address: str
    host_key: str = ""
    """Public SSH host key in OpenSSH's format, for a machine that is not in the cluster's known_hosts yet."""


@dataclass(frozen=True, slots=True)
class Window:
    """A weekly maintenance window, in UTC: `minutes` long from `start` (minutes after midnight) of
    each of the `days` (0 is Monday).
    """

    days: tuple[int, ...]
    start: int
    minutes: int


@dataclass(frozen=True, slots=True)
class MaintenanceSettings:
    """When plans for a healthy cluster are offered."""

    windows: tuple[Window, ...] = ()
    """Empty: at any time."""
    certificates_before: float = 14 * 86400.0
    """Seconds before its expiry from which on a certificate's renewal is offered."""


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """Where and how often a write is tried by dry run, in seconds; 0: never."""

    namespace: str = "kube-system"
    every: float = 30.0


@dataclass(frozen=True, slots=True)
class PersonsNeeded:
    """How many persons have to approve a plan that may lose data (`access` in the configuration)."""

    destructive: int = 1
    """1 or 2; of two, the second is another person than the first."""
    emergency: bool = False
    """One person may go alone where two are needed, saying that it is an emergency and why."""


DEFAULT_APPROVALS: Mapping[str, Approval] = {
    "restore-manifest": Approval.AUTOMATIC,
    "end-back-off": Approval.AUTOMATIC,
    "start-node-services": Approval.AUTOMATIC,
    "restore-node-files": Approval.AUTOMATIC,
    "restore-pod-files": Approval.AUTOMATIC,
    "restore-node-network": Approval.AUTOMATIC,
    "restart-node-agents": Approval.AUTOMATIC,
    "restart-controller": Approval.AUTOMATIC,
}
"""Automatic only for what is reversible and local; every other playbook asks."""
MAY_RUN_UNASKED = frozenset(DEFAULT_APPROVALS)
"""No configuration lets another one run unasked: it reboots, replaces certificates, or can lose data."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One cluster as the pure core sees it."""

    name: str
    control_planes: tuple[HostSettings, ...]
    workers: tuple[HostSettings, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    approval: Mapping[str, Approval] = field(default_factory=dict)
    drain: DrainSettings = field(default_factory=DrainSettings)
    points: PointSettings = field(default_factory=PointSettings)
    maintenance: MaintenanceSettings = field(default_factory=MaintenanceSettings)
    canary: CanarySettings = field(default_factory=CanarySettings)
    stale_after: float = 30.0
    """Seconds after its beginning from which on a sweep is no ground for an act: a few intervals
    and every deadline of a sweep.
    """
    mode: Mode = Mode.ACT
    persons: PersonsNeeded = field(default_factory=PersonsNeeded)
    withheld: str = ""
    """Why nothing may be done for now, whatever the configuration says; "" where it may be."""

    @property
    def planes(self) -> tuple[str, ...]:
        """The addresses of its control planes, by which a cluster is known whatever it is called."""
        return tuple(sorted(spelt(h.address) for h in self.control_planes))

    @property
    def observes(self) -> bool:
        return self.mode is Mode.OBSERVE or bool(self.withheld)

    @property
    def hands_off(self) -> str:
        """Why nothing may be done to the cluster, and how that is changed, where it is only observed; else ""."""
        if not self.observes or self.withheld:
            return self.withheld
        return (
            f"recoverd only observes {self.name} (mode: observe in its configuration), so nothing is done to it; with "
            "mode: act there it acts, once that is taken over (systemctl reload recoverd)"
        )

    def approval_of(self, playbook: str) -> Approval:
        """What the configuration says, as far as it may: `automatic` is `required` for what
        is not among `MAY_RUN_UNASKED`.
        """
        chosen = self.approval.get(playbook) or DEFAULT_APPROVALS.get(playbook, Approval.REQUIRED)
        return Approval.REQUIRED if chosen is Approval.AUTOMATIC and playbook not in MAY_RUN_UNASKED else chosen

    def forbids(self, playbook: str, *, unasked: bool) -> str:
        """Why a plan of the playbook may not go on, by what the configuration says now; "" when it may. It may say
        otherwise than when the plan was made or approved.
        """
        match self.approval_of(playbook):
            case Approval.NEVER:
                return f"{playbook} is switched off in the configuration (approval: never)"
            case Approval.REQUIRED if unasked:
                return f"the configuration has it ask now (approval of {playbook}: required)"
        return ""

    def host_at(self, address: str) -> HostSettings | None:
        return next((h for h in (*self.control_planes, *self.workers) if h.address == address), None)
