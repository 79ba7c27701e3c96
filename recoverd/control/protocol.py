"""What the control socket can ask of the daemon, and the shapes it answers in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from recoverd.engine.journal_rows import Newest, StepRow
from recoverd.model.audit import AuditEntry
from recoverd.model.dump import Dump
from recoverd.model.events import SaveDecision
from recoverd.model.joining import Check, JoinRequest
from recoverd.model.plan import Incident, Plan
from recoverd.model.points import RestorePoint
from recoverd.model.status import ClusterStatus


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """One incident with everything that was planned, decided and done about it."""

    incident: Incident
    plans: list[Plan]
    steps: dict[str, list[StepRow]]
    """By plan id."""
    decisions: dict[str, list[SaveDecision]]
    """By plan id."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of history as it is written."""

    at: datetime
    cluster: str
    event: str
    detail: str
    plan: str = ""
    """The plan that was open then; "" without one."""


@dataclass(frozen=True, slots=True)
class JoinEnded:
    """What came of a join, at the end of what was told of it."""

    ok: bool
    message: str
    plan: str | None = None
    """The plan's id; None where it was refused and nothing was changed."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of one message of a test."""

    receiver: str
    ok: bool
    detail: str


Told = Check | WatchEvent | JoinEnded


class Controller(Protocol):
    """Requests return the sentence to print; they raise `recoverd.model.events.Refused` when they cannot be
    carried out. `by` is who asks, as shown to people.
    """

    def status(self) -> list[ClusterStatus]: ...
    def notices(self) -> list[str]:
        """What an operator should know of recoverd itself, a sentence each."""
        ...

    def dump(self, cluster: str) -> Dump:
        """What was seen of the cluster here in the newest sweep, and is remembered of it."""
        ...

    async def dumped(self, cluster: str) -> dict[str, Any]:
        """The same as plain data, without secrets, wherever the cluster is watched."""
        ...

    def revision(self) -> int:
        """Another number after each line of history than before it."""
        ...

    async def incidents(self, cluster: str | None, limit: int | None = None) -> Newest[Incident]:
        """The newest first, so many at most."""
        ...

    async def report(self, incident: str) -> IncidentReport: ...
    async def plans(self, *, all: bool, of: str = "", limit: int | None = None) -> Newest[Plan]:
        """Those that are open, or `all`; only those `of` a plan's, an incident's or a cluster's name, where one is
        given (of a plan: open or not). The newest first, so many at most.
        """
        ...

    async def shadows(self, cluster: str | None, limit: int | None = None) -> Newest[Plan]:
        """The plans that were made for clusters that were only observed then, newest first, so many at most."""
        ...

    async def approve(
        self, plan: str, by: str, reason: str, digest: str, *, person: int | None = None, emergency: bool = False
    ) -> str:
        """`digest`: of the plan that was read, "" where that is not said. `person`: the uid of who approves; None where
        it is not known who that is.
        """
        ...

    async def reject(self, plan: str, by: str, reason: str) -> str: ...
    async def acknowledge(self, incident: str, by: str) -> str: ...
    async def pause(self, cluster: str | None, by: str, reason: str) -> str: ...
    async def resume(self, cluster: str | None, by: str) -> str: ...
    async def request_plan(
        self, playbook: str, cluster: str, nodes: tuple[str, ...], by: str, reason: str, point: str
    ) -> str: ...
    def restore_points(self, cluster: str | None) -> list[tuple[str, RestorePoint]]:
        """Cluster and point, oldest first within a cluster."""
        ...

    async def notify_test(self, receiver: str | None, by: str) -> list[Delivery]:
        """What came of a message to each receiver, or to one."""
        ...

    async def take_point(self, cluster: str, by: str) -> str: ...
    def join(
        self, cluster: str, request: JoinRequest, by: str, reason: str, *, emergency: bool = False
    ) -> AsyncGenerator[Told]:
        """Every check, then what happens, then the end. Ends early only with the daemon; whoever stops
        listening stops nothing that has begun.
        """
        ...

    def watch(self) -> AsyncIterator[WatchEvent]: ...
    async def record(self, entry: AuditEntry) -> None:
        """Journal a request, or its answer; where no cluster is named, that of the plan or incident that is. Raises
        `JournalError`.
        """
        ...

    async def audit(self, since: datetime, cluster: str, limit: int | None = None) -> Newest[AuditEntry]:
        """Requests since then, the oldest first, of the newest so many; of all clusters where `cluster` is ""."""
        ...
