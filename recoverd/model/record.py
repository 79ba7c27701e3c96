"""The state machine's own state: what is saved after every event, and what a restarted daemon continues from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from recoverd.model.etcd import EtcdView
from recoverd.model.finding import FindingKey
from recoverd.model.fleet import CommonCause
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
    """A step that commits has been started, in the part of the step in flight."""
    reached: int = -1
    """The furthest step that was begun."""
    done: int = -1
    """The furthest step that ended well."""
    step_at: datetime | None = None
    """When the step in flight was begun."""
    held_since: datetime | None = None
    """The step waits for what sweeps show, and nothing is being carried out: since when."""
    calm: int = 0
    """Consecutive sweeps, while held, that showed what is waited for."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Parts that need nothing any more, and why."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Parts that failed on their own while the plan goes on, and why."""
    back: tuple[int, ...] = ()
    """Steps that were taken back."""
    stuck: tuple[str, ...] = ()
    """Hosts on which taking back a step failed: there nothing more is taken back, since a manifest may
    come back only after its data.
    """
    leaving: str = ""
    """The part that is being taken back, after which the plan goes on with the next."""
    changed_at: datetime | None = None
    """When the newest step that changes something ended, or the plan was approved: what a step
    requires has to be seen after that.
    """
    seen_at: datetime | None = None
    """When the newest sweep ended; after a restart it tells how long nobody has looked."""
    unsure: bool = False
    """recoverd was ended while the step was in flight: whether it has been done is asked before anything else."""
    tries: int = 0
    """How often the step in flight was begun; recoverd may have been ended each time before it knew what came of it."""
    away: float = 0.0
    """Seconds, the longest, that recoverd was away or paused while the plan ran: people may
    have repaired things meanwhile.
    """
    until_resumed: bool = False
    """recoverd was restarted while it was paused: nothing goes on, forwards or backwards, before a person says so."""


@dataclass(frozen=True, slots=True)
class PointClock:
    """Where the schedule of the restore points stands."""

    attempted: datetime | None = None
    """When the last one was begun."""
    failures: int = 0
    """In a row."""
    running: str = ""
    """Why one is being taken outside of a plan, or `look`; journalled before it begins. "":
    nothing is being done about them.
    """


@dataclass(frozen=True, slots=True)
class Declined:
    """A remedy that is not to be offered again for the same findings until acknowledged, and why."""

    playbook: str
    basis: tuple[FindingKey, ...]
    reason: str
    maintenance: str = ""
    """The maintenance it was part of; then it outlives that, until what it was made for is gone."""
    by: str = ""
    """Who has rejected it; "" for one that has failed."""


@dataclass(frozen=True, slots=True)
class SharedFault:
    """The same fault on all machines of a kind, begun together: what causes it is above them
    (`recoverd.diagnose.together`).
    """

    code: str
    of: str
    """What the subject says beside the machine, `/COMPONENT` or `:PATH`; "" where that is all."""
    kind: str
    """`workers` or `control planes`."""
    machines: tuple[str, ...]
    of_all: int
    """So many machines of the kind could be looked at."""
    since: datetime
    """When it began on the first of them."""
    until: datetime
    """When it began on the last of them."""
    seen: tuple[str, ...] = ()
    """What changed on all of them shortly before, in words."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """How a fault or a warning has been seen."""

    since: datetime
    """It was seen, and never seen to be gone, since then: what patience before a destructive remedy counts from."""
    seen: int
    """Consecutive sweeps that saw it."""
    missed: int = 0
    """Consecutive sweeps that showed that it is gone."""
    recent: int = 0
    """The newest sweeps as bits, the lowest one the newest: 1 where it was seen."""
    last: datetime | None = None
    """When it was seen last."""
    stands: bool = False
    """It was confirmed in the open incident, and has not been shown to be gone since: the
    incident does not close before that.
    """
    unseen_for: float = 0.0
    """Seconds, the longest, for which nobody could see whether it was there, and after which it counted anew
    though it was never seen to be gone; 0 where that is not why it counts from `since`.
    """
    first: datetime | None = None
    """When it was first seen, if it was never seen to be gone since, however long nobody looked in between; None: as
    `since`.
    """


@dataclass(frozen=True, slots=True)
class Spell:
    """An incident that was over by itself."""

    at: datetime
    """When it was closed."""
    names: tuple[str, ...]
    """`code subject` of what had been found."""
    times: int = 0
    """How often on end the same had come back before, each time soon after it was over."""


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
    calm_since: datetime | None = None
    """When the first of them was."""
    dark_sweeps: int = 0
    swept_at: datetime | None = None
    """When the newest sweep ended, while anything depends on how long ago that is."""
    stale_sweeps: int = 0
    """Consecutive sweeps in which the waiting plan was not what would be planned now."""
    stale_since: datetime | None = None
    """Since when it is not, or may not be: one of its hosts is not seen."""
    alone_since: datetime | None = None
    """Since when the waiting plan would not ask any more, since nobody is seen at work there."""
    told_at: datetime | None = None
    """When what the waiting plan destroys was last written down: it grows while the plan waits."""
    incident: Incident | None = None
    plan: Plan | None = None
    run: Run | None = None
    shadow: Plan | None = None
    """Where the cluster is only observed: the plan that would wait or run now."""
    verify_since: datetime | None = None
    pause: Pause | None = None
    history: tuple[ActionRecord, ...] = ()
    declined: tuple[Declined, ...] = ()
    witnessed: Mapping[str, EtcdView] = field(default_factory=dict)
    """The last words of etcd members without a leader, by host (`recoverd.memory.recall`)."""
    cause: str = ""
    """`code subject` of the fault that came first in the newest sweep of the open incident."""
    explanation: str = ""
    above: CommonCause | None = None
    """The fault of the open incident began in many clusters together: nothing is done about it unasked until the
    incident is closed or acknowledged.
    """
    shared: tuple[SharedFault, ...] = ()
    """Faults of the open incident that began on all machines of a kind together: as `above`, for what is done about
    these.
    """
    incidents: int = 0
    """Incidents opened so far, for their ids."""
    plans: int = 0
    """Plans made in the open incident, for their ids."""
    ran: int = 0
    """Those of them that were begun: each keeps aside what it finds, under a name of its own."""
    points: PointClock = field(default_factory=PointClock)
    maintenances: int = 0
    """Plans offered while the cluster was healthy, for their ids."""
    unseen: Mapping[str, datetime] = field(default_factory=dict)
    """Hosts that cannot be looked at, and since when without a gap that nobody looked in; one good look ends it."""
    born: datetime | None = None
    """When the first record of this journal was made. Incidents are numbered from one in every journal, so
    numbers alone name nothing on a host.
    """
    spell: Spell | None = None
    """The newest incident that was over by itself; while one is open, that which has come back in it."""
    returns: int = 0
    """How often on end what the open incident is about has come back so."""
    planes: tuple[str, ...] = ()
    """Addresses of its control planes by the configuration: by these a cluster is known that was renamed there."""
    watched_from: datetime | None = None
    """When a process began to watch it under this name, the newest time; None in old records."""

    @property
    def mark(self) -> str:
        """What tells the names that plans give to what they keep on hosts from those of another journal, or of
        another bastion; "" in old records.
        """
        return hashlib.sha256(self.born.isoformat().encode()).hexdigest()[:6] if self.born else ""
