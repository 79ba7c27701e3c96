"""The state machine's own state: what is saved after every event, and what a restarted daemon continues from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from recoverd.model.finding import FindingKey
from recoverd.model.plan import ActionRecord, Incident, Plan


@dataclass(frozen=True, slots=True)
class Pause:
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """How far a running plan has come."""

    started_at: datetime
    index: int
    """The step in flight, or the step whose undo is in flight."""
    undoing: bool = False
    failure: str = ""
    """Why it is being undone."""
    superseded: bool = False
    """The failure is a change of the findings, not a step."""
    committed: bool = False
    """A step that commits has been started."""


@dataclass(frozen=True, slots=True)
class Declined:
    """A remedy that is not to be offered again for the same findings until acknowledged, and why."""

    playbook: str
    basis: tuple[FindingKey, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """How long a fault has been seen without a gap. `missed` counts the sweeps since, so that one blind sweep does not forget it."""

    since: datetime
    seen: int
    missed: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """Everything one `ClusterMachine` must not forget."""

    state: str
    """`healthy`, `unobservable`, or `STATE/PHASE`."""
    since: datetime
    sightings: Mapping[str, Sighting] = field(default_factory=dict)
    """By `code subject` of a fault."""
    fault_since: datetime | None = None
    fault_sweeps: int = 0
    """Consecutive sweeps that saw any fault."""
    calm_sweeps: int = 0
    dark_sweeps: int = 0
    stale_sweeps: int = 0
    """Consecutive sweeps in which the waiting plan was not what would be planned now."""
    incident: Incident | None = None
    plan: Plan | None = None
    run: Run | None = None
    verify_since: datetime | None = None
    pause: Pause | None = None
    history: tuple[ActionRecord, ...] = ()
    declined: tuple[Declined, ...] = ()
    explanation: str = ""
    incidents: int = 0
    """Incidents opened so far, for their ids."""
    plans: int = 0
    """Plans made in the open incident, for their ids."""
