"""What one event may change: the state in the making, and the instructions that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from recoverd.machine.state import MachineState, OfState, Sweep
from recoverd.model.events import Instruction, Note, PerformChore, SaveIncident, SavePlan
from recoverd.model.history import History
from recoverd.model.memory import Memory
from recoverd.model.operations import Operation
from recoverd.model.plan import Incident, Plan, PlanStatus, Step, TimelineEntry
from recoverd.model.record import Declined, Run
from recoverd.model.settings import ClusterSettings
from recoverd.playbooks.base import Playbook


@dataclass(frozen=True, slots=True)
class GaveWay:
    """A plan that was ended before it changed anything, since another one would be made now; and in which way."""

    plan: Plan
    why: str


class Turn(OfState):
    """One event being taken. Every part of the machine is functions that are given it first, and
    change the machine through it alone.

    Nothing of it counts before whoever drives the machine adopts the state that it ends in: a turn that could
    not be journalled is thrown away.
    """

    __slots__ = ("gave_way", "instructions", "playbooks", "settings", "state")

    def __init__(self, state: MachineState, settings: ClusterSettings, playbooks: Sequence[Playbook]) -> None:
        self.state = state
        self.settings = settings
        self.playbooks = playbooks
        self.instructions: list[Instruction] = []
        self.gave_way: GaveWay | None = None
        """What the end of the event is left to: a plan is to take this one's place."""

    # --- what is so ---

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def sweep(self) -> Sweep | None:
        """The newest, where there was one since the start."""
        return self.state.sweep

    @property
    def newest(self) -> Sweep:
        """The newest sweep, for what is done only after one."""
        assert self.state.sweep is not None
        return self.state.sweep

    @property
    def running(self) -> tuple[Plan, Run]:
        """The plan that has begun and not ended, and how far it has come, for what is done only while there is one."""
        plan, run = self.record.plan, self.record.run
        assert plan is not None and run is not None
        return plan, run

    @property
    def waiting_plan(self) -> Plan | None:
        plan = self.record.plan
        return plan if plan and plan.status is PlanStatus.AWAITING_APPROVAL else None

    @property
    def incident_id(self) -> str:
        """The id of the open incident, else of the maintenance that a plan was offered for or will be."""
        if self.record.incident:
            return self.record.incident.id
        waiting = self.waiting_plan or self.record.shadow
        return waiting.incident if waiting else f"{self.name}-m{self.record.maintenances + 1}"

    def playbook(self, name: str) -> Playbook | None:
        return next((p for p in self.playbooks if p.name == name), None)

    # --- what changes ---

    def become(self, **changes: Any) -> None:
        """Change fields of the state."""
        self.state = replace(self.state, **changes)

    def set(self, **changes: Any) -> None:
        """Change fields of the record."""
        # most of what a sweep sets is so already, and a record that is the same object is
        # compared and journalled at no cost
        if any(getattr(self.record, name) != value for name, value in changes.items()):
            self.become(record=replace(self.record, **changes))

    def learn(self, memory: Memory) -> None:
        """Have this remembered; the end of the event decides whether that is worth a write."""
        self.become(memory=memory)

    def write_down(self) -> None:
        """Have all that is known journalled with this event, the newest too."""
        if self.memory != self.state.written:
            self.become(written=None)

    def move(self, trigger: str) -> None:
        """Take one of the lifecycle's moves; `MachineError` where there is none."""
        self.set(state=self.lifecycle.after(trigger).position)

    def emit(self, *instructions: Instruction) -> None:
        self.instructions.extend(instructions)

    def note(self, event: History, detail: str) -> None:
        """Add a line to the history of the open incident, or of the cluster."""
        incident = self.record.incident.id if self.record.incident else ""
        plan = self.record.plan.id if self.record.plan else ""
        self.emit(Note(self.name, incident, TimelineEntry(self.now, event, detail), plan))

    def explain(self, text: str, event: History = History.EXPLAINED) -> None:
        """Say what is done or why nothing is, once for as long as it stays the same."""
        if text != self.record.explanation:
            self.set(explanation=text)
            if text:
                self.note(event, text)

    def save_incident(self, **changes: Any) -> None:
        """Change fields of the open incident."""
        assert self.record.incident is not None
        self.open_incident(replace(self.record.incident, **changes))

    def open_incident(self, incident: Incident, **changes: Any) -> None:
        """Make it the incident that everything belongs to, with these changes of the record beside it."""
        self.set(incident=incident, **changes)
        self.emit(SaveIncident(incident))

    def close_plan(self, status: PlanStatus, reason: str) -> None:
        """Give the open plan its last status."""
        plan = self.record.plan
        assert plan is not None
        self.emit(SavePlan(plan.with_status(status, reason)))
        self.note(History.of_end(status), f"plan {plan.id} ({plan.playbook}): {reason}")
        self.set(plan=None, run=None, verify_since=None, stale_sweeps=0, stale_since=None, alone_since=None)

    def end_action(self, ok: bool) -> None:
        """What was begun last has ended, and helped or not: the bounds count it."""
        history = self.record.history
        if history:
            self.set(history=(*history[:-1], replace(history[-1], ended_at=self.now, ok=ok)))

    def decline(self, plan: Plan, reason: str, by: str = "") -> None:
        """Do not offer this remedy again for the same findings until a person says so; `by`: who has rejected it."""
        of_maintenance = self.record.incident is None or self.record.incident.maintenance
        self.set(
            declined=(
                *self.record.declined,
                Declined(plan.playbook, plan.basis, reason, plan.incident if of_maintenance else "", by),
            )
        )

    def perform_chore(self, host: str, description: str, operation: Operation, seconds: float) -> None:
        """Have it carried out beside plans."""
        self.emit(PerformChore(self.name, Step(host, description, operation, seconds)))
