"""Events into the state machine, and the instructions that come out of it. Data only.

The live daemon, the drill, the property tests and the crash tests all drive `recoverd.machine.ClusterMachine` with
these, as dask's `handle_stimulus` and etcd's raft `Ready` are driven.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from recoverd.model.audit import AuditEntry
from recoverd.model.finding import Diagnosis
from recoverd.model.joining import JoinFacts, JoinRequest
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.plan import Incident, Plan, Step, StepResult, TimelineEntry
from recoverd.model.record import Record

# --- events ---


@dataclass(frozen=True, slots=True)
class Observed:
    """A sweep ended. Its `at` is the clock."""

    observation: Observation


@dataclass(frozen=True, slots=True)
class Approved:
    plan: str
    by: str
    reason: str
    at: datetime
    digest: str = ""
    """Of the plan that was read; "" where that is not said."""
    person: int | None = None
    """Uid of the person who approves, by which two persons are told apart; None where it is not known who it is."""
    emergency: bool = False
    """One person goes alone where two are needed."""


@dataclass(frozen=True, slots=True)
class Rejected:
    plan: str
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StepEnded:
    plan: str
    index: int
    undo: bool
    result: StepResult
    at: datetime


@dataclass(frozen=True, slots=True)
class Paused:
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Resumed:
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Acknowledged:
    incident: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class PlanRequested:
    """`recoverctl run`: a plan made by hand; it waits for approval like any other."""

    playbook: str
    nodes: tuple[str, ...]
    by: str
    reason: str
    at: datetime
    point: str = ""
    """Id of the restore point to go back to; "" leaves it to the playbook."""


@dataclass(frozen=True, slots=True)
class PointRequested:
    """`recoverctl restore-points take`."""

    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ChoreEnded:
    """What came of a `PerformChore`."""

    step: Step
    result: StepResult
    at: datetime


@dataclass(frozen=True, slots=True)
class JoinRequested:
    """`recoverctl join-control-plane`, after the machines have been asked: a plan that begins at
    once, approved by who typed it.
    """

    request: JoinRequest
    facts: JoinFacts
    by: str
    reason: str
    at: datetime
    emergency: bool = False
    """One person goes alone where two are needed."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """Only the clock moved: expiries and deadlines."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Restarted:
    """The daemon came up again with this machine's saved record; an unfinished step is resumed or asked about."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Stopping:
    """The daemon is about to end in good order; what is only in its memory is to be written."""

    at: datetime
    let_go: bool = False
    """It goes on, and watches this cluster no more: it is not in the configuration any more."""


Request = Approved | Rejected | Paused | Resumed | Acknowledged | PlanRequested | PointRequested | JoinRequested
"""Of a person."""
Event = Request | Observed | StepEnded | ChoreEnded | Ticked | Restarted | Stopping


class Refused(Exception):  # noqa: N818
    """A request of a person that cannot be done; the text says why and what to do. `missing` is True when there is no
    such thing, `passing` when it rests on what one sweep did not see, which the next one may.
    """

    def __init__(self, text: str, *, missing: bool = False, passing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing
        self.passing = passing


# --- instructions ---


@dataclass(frozen=True, slots=True)
class SaveIncident:
    """Insert or update; its timeline is not part of it (see `Note`)."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Note:
    """One timeline line. `incident` is "" for what belongs to the cluster and no incident (pause, memory)."""

    cluster: str
    incident: str
    entry: TimelineEntry
    plan: str = ""
    """The plan that was open when the machine told it; "" without one. It is for those who listen: the journal does not
    keep it.
    """


@dataclass(frozen=True, slots=True)
class SavePlan:
    plan: Plan


@dataclass(frozen=True, slots=True)
class SaveDecision:
    """Who approved or rejected which plan; `by` is the Unix user that the kernel reported."""

    plan: str
    approved: bool
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Remember:
    cluster: str
    memory: Memory


@dataclass(frozen=True, slots=True)
class RememberPart:
    """One part of what is remembered, as another journal holds it; the machine makes none. All parts but those that an
    index names are gone with it.
    """

    cluster: str
    part: str
    """As `recoverd.model.memory_parts` calls it."""
    text: str


@dataclass(frozen=True, slots=True)
class SaveRecord:
    """The machine's own state; `ClusterMachine(settings, record=...)` continues from it."""

    cluster: str
    record: Record


@dataclass(frozen=True, slots=True)
class StepIntent:
    """Journalled, with everything else of the same `handle`, before the `Perform` that follows it is carried out."""

    plan: str
    index: int
    undo: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class StepOutcome:
    plan: str
    index: int
    undo: bool
    at: datetime
    result: StepResult


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry one step out, now. `resume`: it may have run before a crash, so ask its check first."""

    plan: Plan
    index: int
    undo: bool
    resume: bool


@dataclass(frozen=True, slots=True)
class PerformChore:
    """Carry out one operation that belongs to no plan and changes nothing that is in use, as taking a restore
    point. Its result comes back too.
    """

    cluster: str
    step: Step


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running plan waits for, for those who watch; not journalled, since it may come with every sweep."""

    cluster: str
    incident: str
    entry: TimelineEntry


@dataclass(frozen=True, slots=True)
class SweepNow:
    """Do not wait for the interval: a step ended and the next decision wants fresh eyes."""

    cluster: str


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """For the metrics and the status: the newest diagnosis."""

    cluster: str
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class SaveAudit:
    """A request of a person, which the control socket has taken; the machine makes none."""

    entry: AuditEntry


Journalled = (
    SaveIncident
    | Note
    | SavePlan
    | SaveDecision
    | Remember
    | RememberPart
    | SaveRecord
    | StepIntent
    | StepOutcome
    | SaveAudit
)
Instruction = Journalled | Perform | PerformChore | Progress | SweepNow | Diagnosed
