"""Findings: facts that were proven, with their evidence; and what they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from recoverd.model.facts import Facts


class State(StrEnum):
    """State of one cluster. `unobservable` means that the bastion cannot tell; nothing is ever done in it."""

    HEALTHY = "healthy"
    APISERVER_DOWN = "apiserver-down"
    ETCD_STUCK = "etcd-stuck"
    WORKER_NETWORK_BROKEN = "worker-network-broken"
    UNOBSERVABLE = "unobservable"
    MAINTENANCE = "maintenance"
    """A plan that was offered while the cluster was healthy, and that a person approved, is at work on it."""


FAULT_STATES = (State.APISERVER_DOWN, State.ETCD_STUCK, State.WORKER_NETWORK_BROKEN)
PHASED_STATES = (*FAULT_STATES, State.MAINTENANCE)
"""Those that nest phases."""


class Phase(StrEnum):
    """Where recoverd stands within a fault state, or with its maintenance."""

    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    AWAITING_APPROVAL = "awaiting-approval"
    REMEDIATING = "remediating"
    VERIFYING = "verifying"
    ESCALATED = "escalated"
    PAUSED = "paused"


class Severity(StrEnum):
    FAULT = "fault"
    """Argues for a fault state."""
    WARNING = "warning"
    """The cluster is healthy and will not stay so: a plan may be offered for it, and never runs unasked."""
    NOTICE = "notice"
    """Shown, never acted upon."""


FindingKey = tuple[str, str]
"""(code, subject): what makes two findings of two sweeps the same one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One proven fact. `message` is a sentence for the operator, `evidence` the lines that prove it."""

    code: str
    subject: str
    """The host, member or certificate it is about; "" for the cluster as a whole."""
    message: str
    evidence: tuple[str, ...]
    severity: Severity = Severity.FAULT
    state: State | None = None
    """The state that a FAULT argues for."""
    facts: Facts = field(default_factory=Facts)
    """What a playbook needs of it."""

    @property
    def key(self) -> FindingKey:
        return (self.code, self.subject)


@dataclass(frozen=True, slots=True)
class Roll:
    """Who belongs to the cluster, by what one sweep saw of it."""

    parts: frozenset[str]
    """Control planes that are working parts of it."""
    listed: frozenset[str] | None
    """Members by their label, as one under a leader lists them; None where no such member was seen."""
    serving: frozenset[str]
    """Those of them that were seen to serve."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Names in the configuration, by the name of the Node that the API server lists for the machine."""
    holding: frozenset[str] = frozenset()
    """Control planes whose etcd follows a leader and was seen to hold this cluster's data."""
    learners: frozenset[str] = frozenset()
    """Those of `listed` that have no vote yet."""
    elsewhere: bool = False
    """Its etcd is none of its static pods."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What one observation adds up to. Findings come most fundamental first: the first FAULT is the cause."""

    state: State
    findings: tuple[Finding, ...]
    summary: str
    """One line for the operator: the cause, or why the cluster cannot be judged."""
    partial: bool = False
    """`unobservable` only because something was not seen that `healthy` rests on: what was seen is well."""
    roll: Roll | None = None
    """None: nothing is known of who belongs to the cluster."""

    @property
    def faults(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.FAULT)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.WARNING)

    @property
    def keys(self) -> frozenset[FindingKey]:
        """What a plan can be made on: faults, and warnings."""
        return frozenset(f.key for f in (*self.faults, *self.warnings))

    def find(self, code: str, subject: str | None = None) -> Finding | None:
        return next((f for f in self.findings if f.code == code and subject in (None, f.subject)), None)
