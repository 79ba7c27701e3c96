"""What the parts of the machine share: the record, the lifecycle, and the list of instructions being made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from recoverd.diagnose.scene import Scene
from recoverd.machine.guards import Evidence
from recoverd.machine.lifecycle import Lifecycle
from recoverd.machine.sight import confirmed, name_of, unended
from recoverd.model.events import Instruction, Note, SaveIncident, SavePlan
from recoverd.model.finding import Diagnosis, Finding, FindingKey, State
from recoverd.model.lease import forbids
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.plan import Incident, Plan, PlanStatus, TimelineEntry
from recoverd.model.record import Declined, Record
from recoverd.model.settings import ClusterSettings
from recoverd.playbooks.base import Playbook, Situation


@dataclass(frozen=True, slots=True)
class Turn:
    """Everything that a machine was at one moment. It knows no field by name, so that it cannot forget one."""

    values: Mapping[str, Any]
    position: str


def _copied(value: Any) -> Any:
    """Values are immutable, containers of them are not."""
    return copy(value) if isinstance(value, dict | list | set) else value


class MachineBase:
    """State of one `ClusterMachine`; every change of the record goes through `_set`, every line of history through `_note`.

    What is learnt is assigned to `memory`; `ClusterMachine.handle` decides whether that is worth a write.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        playbooks: Sequence[Playbook],
        *,
        now: datetime,
        record: Record | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.settings = settings
        self.playbooks = tuple(playbooks)
        self.memory = memory or Memory()
        self._written: Memory | None = self.memory
        """The memory that the journal has; None where that is not certain."""
        self.record = record or Record(state="healthy", since=now)
        if self.record.born is None:
            self._set(born=now)
        self.lifecycle = Lifecycle(self.record.state)
        self.observation: Observation | None = None
        self.diagnosis: Diagnosis | None = None
        self.now = now
        self._out: list[Instruction] = []

    def turn(self) -> Turn:
        """All that this machine is, before it takes an event."""
        values = {name: _copied(value) for name, value in vars(self).items() if name != "lifecycle"}
        return Turn(values, self.lifecycle.position)

    def take_back(self, turn: Turn) -> None:
        """Be again as before a `handle` whose instructions could not be journalled: what is not journalled has not happened."""
        lifecycle = self.lifecycle
        lifecycle.position = turn.position
        vars(self).clear()
        vars(self).update({name: _copied(value) for name, value in turn.values.items()}, lifecycle=lifecycle, _written=None)

    def _set(self, **changes: Any) -> None:
        # most of what a sweep sets is so already, and a record that is the same object is compared and journalled at no cost
        if any(getattr(self.record, name) != value for name, value in changes.items()):
            self.record = replace(self.record, **changes)

    def _emit(self, *instructions: Instruction) -> None:
        self._out.extend(instructions)

    def _write_down(self) -> None:
        """Have all that is known journalled with this event, the newest too."""
        if self.memory != self._written:
            self._written = None

    def _note(self, event: str, detail: str) -> None:
        incident = self.record.incident.id if self.record.incident else ""
        self._emit(Note(self.settings.name, incident, TimelineEntry(self.now, event, detail)))

    def _explain(self, text: str, event: str = "explained") -> None:
        """Say what is done or why nothing is, once for as long as it stays the same."""
        if text != self.record.explanation:
            self._set(explanation=text)
            if text:
                self._note(event, text)

    def _save_incident(self, **changes: Any) -> Incident:
        assert self.record.incident is not None
        incident = replace(self.record.incident, **changes)
        self._set(incident=incident)
        self._emit(SaveIncident(incident))
        return incident

    def _close_plan(self, status: PlanStatus, reason: str) -> None:
        """Give the open plan its last status."""
        plan = self.record.plan
        assert plan is not None
        self._emit(SavePlan(plan.with_status(status, reason)))
        self._note(f"plan-{status}", f"plan {plan.id} ({plan.playbook}): {reason}")
        self._set(plan=None, run=None, verify_since=None, stale_sweeps=0, stale_since=None, alone_since=None)

    def _confirmed(self) -> tuple[Finding, ...]:
        """The faults seen often enough or, while the cluster is healthy, the warnings."""
        if self.diagnosis is None:
            return ()
        return self._lasting(self.diagnosis.warnings if self.lifecycle.state is State.HEALTHY else self.diagnosis.faults)

    def _lasting(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Those of them that were seen often enough."""
        return confirmed(findings, self.record.sightings, self.settings.bounds.confirm_sweeps)

    def _unended(self) -> dict[FindingKey, str]:
        """What the incident was opened for and the newest sweep neither finds nor shows to be gone, and why."""
        assert self.observation is not None and self.diagnosis is not None
        return unended(self.record.sightings, self.diagnosis, self.observation)

    def _since(self, findings: Sequence[Finding]) -> dict[FindingKey, datetime]:
        return {f.key: self.record.sightings[name_of(f.key)].since for f in findings}

    def _scene(self) -> Scene:
        """What the rules look at: the newest sweep, beside what is remembered."""
        assert self.observation is not None
        return Scene(self.observation, self.memory, self.settings)

    def _evidence(self) -> Evidence | None:
        """What is known now; None when nothing has been seen since recoverd was started."""
        if self.observation is None or self.diagnosis is None:
            return None
        return Evidence(self._scene(), self.diagnosis, self.now, self._unended())

    def _situation(self, nodes: tuple[str, ...] = (), by_hand: bool = False, point: str = "") -> Situation:
        assert self.observation is not None and self.diagnosis is not None
        faults = self._confirmed()
        return Situation(
            now=self.now,
            incident=self._incident_id,
            settings=self.settings,
            observation=self.observation,
            diagnosis=self.diagnosis,
            memory=self.memory,
            confirmed=faults,
            since=self._since(faults),
            nodes=nodes,
            by_hand=by_hand,
            declined=self.record.declined,
            ran=self.record.ran - (self.record.run is not None),  # while a plan runs: as when it was made
            point=point,
            mark=self.record.mark,
            fault_since=self.record.incident.fault_since if self.record.incident else None,
            unseen=self.record.unseen,
            unended=self._unended(),
        )

    def _forbidden(self, *, unasked: bool) -> str:
        """Why this bastion may not act on the cluster now, by the lease that the newest sweep saw; "" when it may."""
        return forbids(self.observation.lease if self.observation else None, unasked=unasked)

    @property
    def _incident_id(self) -> str:
        """Of the open incident, else of the maintenance that a plan was offered for or will be."""
        if self.record.incident:
            return self.record.incident.id
        waiting = self._waiting_plan
        return waiting.incident if waiting else f"{self.settings.name}-m{self.record.maintenances + 1}"

    def _decline(self, plan: Plan, reason: str) -> None:
        """Do not offer this remedy again for the same findings until a person says so."""
        of_maintenance = self.record.incident is None or self.record.incident.maintenance
        self._set(declined=(*self.record.declined, Declined(plan.playbook, plan.basis, reason, plan.incident if of_maintenance else "")))

    @property
    def _waiting_plan(self) -> Plan | None:
        plan = self.record.plan
        return plan if plan and plan.status is PlanStatus.AWAITING_APPROVAL else None
