"""Plans, their steps, and incidents: what is decided, what was done, and what an operator reads afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from recoverd.model.call import HostCall
from recoverd.model.codec import dump
from recoverd.model.effects import looks
from recoverd.model.finding import FindingKey, State
from recoverd.model.node_operations import Cordon, Uncordon
from recoverd.model.operations import Operation
from recoverd.model.points import RestorePoint


class PlanStatus(StrEnum):
    AWAITING_APPROVAL = "awaiting-approval"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    """Every step done and the cluster seen without the findings it was made for."""
    FAILED = "failed"
    """A step failed, or the findings did not go away in time; `reason` says which and what state it left."""
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """The findings it was made on changed before or while it ran."""
    SHADOW = "shadow"
    """It was made for a cluster that is only observed, and nothing was done; `reason` says what would have been."""

    @property
    def open(self) -> bool:
        return self in (PlanStatus.AWAITING_APPROVAL, PlanStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan, on one host. `requires` are findings that must still hold when it starts."""

    host: str
    """Configured name of the host; for operations of the bastion, the host whose tunnel is used."""
    description: str
    operation: Operation
    timeout: float
    """Seconds; the step fails when they are over."""
    requires: tuple[FindingKey, ...] = ()
    undo: Operation | None = None
    commits: bool = False
    """Point of no return: once started, the undo of earlier steps would do harm and is
    not run (except `undo_always`).
    """
    undo_always: bool = False
    """Its undo is run after a later failure even past the point of no return (taking a dangerous flag out)."""
    part: str = ""
    """What belongs together, as the steps for one node of many: skipped, taken back and committed
    on its own. "": the whole plan.
    """
    skip_unless: tuple[FindingKey, ...] = ()
    """Begun only while one of these is still found; else it and the rest of its part are skipped, so
    that nothing healthy is touched.
    """
    takes_down: tuple[str, ...] = ()
    """Nodes out of service from here on; begun only while the bound `min_ready` holds without them."""
    contained: bool = False
    """Its failure ends its own part and not the plan."""
    vital: bool = False
    """That holds only where it could not be begun: what was begun and failed ends the plan, since what keeps
    it down may be on every machine.
    """
    stops_member: bool = False
    """etcd's member on its host is out of service while it runs; begun only while the others have quorum without it."""
    size: int = 0
    """Bytes that it moves, where its timeout was reckoned from them: then the bound
    `step_deadline` does not cut it short.
    """

    @property
    def command(self) -> str:
        return self.operation.command()

    @property
    def gist(self) -> str:
        """The one command of it that matters, on a line; what it waits for where it only looks."""
        gist = self.operation.gist() if isinstance(self.operation, HostCall) else self.command.partition("\n")[0]
        return " ".join(gist.split())

    @property
    def looks(self) -> bool:
        """It only looks or waits, and changes nothing."""
        return looks(self.operation)

    def asks(self, *, undo: bool) -> bool:
        """Whether after a crash, which may be hours ago, it is first asked if it has been done: what only
        looks is simply carried out again.
        """
        operation = self.undo if undo else self.operation
        return operation is not None and not looks(operation)

    def of_plan(self, id: str) -> Step:
        """The same step with the plan's id in what it marks as its own."""
        return replace(self, operation=_marked(self.operation, id), undo=_marked(self.undo, id) if self.undo else None)


def _marked(operation: Operation, id: str) -> Operation:
    return replace(operation, mark=id) if isinstance(operation, Cordon | Uncordon) else operation


@dataclass(frozen=True, slots=True)
class FirstApproval:
    """The first of the two approvals that a destructive plan needs where the configuration says so."""

    by: str
    """As shown to people."""
    person: int
    """Uid of the person, whatever account the approval came from: the second one has another."""
    digest: str
    """Of the plan as it was approved; where the plan has another, the approval counts no more."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """A playbook bound to one incident: exact steps on exact hosts. An approval is of one plan and no other."""

    id: str
    incident: str
    cluster: str
    playbook: str
    summary: str
    destructive: bool
    automatic: bool
    """True when the configuration lets it run unasked."""
    status: PlanStatus
    created_at: datetime
    expires_at: datetime
    evidence: tuple[str, ...]
    destroys: tuple[str, ...]
    undo: tuple[str, ...]
    basis: tuple[FindingKey, ...]
    """The findings it was made on; when one is gone before it starts, the plan is superseded."""
    resolves: tuple[FindingKey, ...]
    """The findings that must be gone for the plan to have succeeded."""
    steps: tuple[Step, ...]
    verify_within: float
    """Seconds after the last step within which `resolves` must be seen gone."""
    deadline: float
    """Seconds for the whole plan from its first step to its last."""
    reason: str = ""
    requested_by: str = ""
    """The Unix user of `recoverctl run`; "" when recoverd made it."""
    point: str = ""
    """Id of the restore point that a person named with `recoverctl run --point`."""
    asks: str = ""
    """Why it waits for a person, though the configuration lets it run unasked; "" where that is not so."""
    first: FirstApproval | None = None
    """Of two persons that have to approve it, the one who has; the digest does not cover it."""
    waits_for: str = ""
    """It may run, and what it waits for: others are acting. "" once it has begun."""

    @property
    def digest(self) -> str:
        """Twelve hex digits of what it would do and destroy, for who approves by a script what somebody has read."""
        whole = (self.id, self.cluster, self.playbook, self.summary, *self.destroys, *map(dump, self.steps))
        return hashlib.sha256("\n".join(whole).encode()).hexdigest()[:12]

    def with_status(self, status: PlanStatus, reason: str = "") -> Plan:
        return replace(self, status=status, reason=reason or self.reason)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    at: datetime
    event: str
    """A word of `History`; from a journal that another version wrote, perhaps one that this one does not know."""
    detail: str


class Outcome(StrEnum):
    RECOVERED = "recovered"
    """A plan of recoverd succeeded."""
    RECOVERED_BY_ITSELF = "recovered-by-itself"
    """The findings went away without a plan having run."""
    RECOVERED_BY_HAND = "recovered-by-hand"
    """The findings went away after recoverd had escalated or its plan was rejected."""
    NOT_DONE = "not-done"
    """Maintenance whose plan failed or was stopped; the cluster is healthy."""
    UNKNOWN = "unknown"
    """What recoverd had saved of the cluster could not be read any more; what came of it is not known."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One departure from `healthy` until the return to it."""

    id: str
    cluster: str
    state: State
    summary: str
    opened_at: datetime
    fault_since: datetime
    """When the first suspecting sweep saw it; `opened_at` is when it was confirmed."""
    closed_at: datetime | None = None
    outcome: Outcome | None = None
    acknowledged_by: str = ""
    maintenance: bool = False
    """Opened by the approval of a plan while the cluster was healthy, not by a fault."""
    timeline: tuple[TimelineEntry, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of one step."""

    ok: bool
    detail: str
    """For the operator: the last output, or what failed and what state it left."""
    already_done: bool = False
    """The check said so and nothing was run."""
    uncertain: bool = False
    """After a crash: it may or may not have run and must not be repeated; a person has to look."""
    undone: bool = False
    """After a crash: it was asked about, has not been done, and nothing was run; what it
    requires has to be seen first.
    """
    untouched: bool = False
    """It failed, and that proves that nothing was changed: it could not be begun, or its own guard refused."""
    points: tuple[RestorePoint, ...] | None = None
    """Of an operation on restore points: those that are on the disk now, newest last; None
    where they were not looked at.
    """


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One plan that acted, for the bounds."""

    playbook: str
    basis: tuple[FindingKey, ...]
    started_at: datetime
    ended_at: datetime | None
    ok: bool | None
    acknowledged: bool = False
    incident: str = ""
