"""The machine of one cluster as the loop, the service and the tests hold it: its settings, its
playbooks, and the state that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from recoverd.machine import deciding, joining
from recoverd.machine.clock import Reading
from recoverd.machine.decide import Choice
from recoverd.machine.machine import Taken, handle
from recoverd.machine.sight import confirmed, name_of
from recoverd.machine.state import OfState, begun
from recoverd.machine.turn import Turn
from recoverd.model.events import Event, Instruction
from recoverd.model.finding import Diagnosis, Phase, State
from recoverd.model.fleet import Around
from recoverd.model.joining import Check, JoinFacts, JoinRequest
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.record import Record
from recoverd.model.settings import ClusterSettings
from recoverd.model.status import ClusterStatus
from recoverd.model.text import utc
from recoverd.playbooks.base import Playbook


class ClusterMachine(OfState):
    """The state machine of one cluster.

    `settings` and `playbooks` say what it may do, `record` and `memory` are what an earlier process saved, `now` is the
    clock at the start. Whoever drives it takes an event, journals every instruction that comes of it in one
    transaction, adopts the state, carries the `Perform`s out and feeds their results back.
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
        self.state = begun(now, record, memory)

    # --- events ---

    def take(self, event: Event, reading: Reading | None = None, around: Around | None = None) -> Taken:
        """What comes of an event, which has not happened before `adopt`. Raises `Refused` for a request of a
        person that cannot be carried out.

        `reading` is what the clocks of the bastion showed together when the event came, `around` what went on in other
        clusters then.
        """
        return handle(self.state, event, self.settings, self.playbooks, reading, around)

    def adopt(self, taken: Taken) -> None:
        """The journal has it: it has happened."""
        self.state = taken.state

    def drop(self) -> None:
        """What was taken last could not be journalled, so it has not happened; nobody knows what the journal
        has, so all of it is written next.
        """
        self.state = replace(self.state, written=None)

    def handle(self, event: Event, reading: Reading | None = None, around: Around | None = None) -> list[Instruction]:
        """Take an event and adopt what comes of it at once, for whoever has no journal."""
        taken = self.take(event, reading, around)
        self.adopt(taken)
        return taken.instructions

    # --- questions, which change nothing ---

    def turn(self) -> Turn:
        """A turn in which to ask what is so now; what it changes is thrown away with it."""
        return Turn(self.state, self.settings, self.playbooks)

    def remedy(self) -> Choice:
        """What would be planned for what is confirmed as things are seen now, whatever waits or runs."""
        return deciding.remedy(self.turn())

    def counts(self, incident: str) -> bool:
        """Whether something of that incident counts still, for a bound or as what is not offered again."""
        record = self.record
        return any(a.incident == incident for a in record.history) or any(
            d.maintenance == incident for d in record.declined
        )

    def joinable(self) -> None:
        """Raise `Refused` where no join may begin now, whatever the machines say."""
        joining.joinable(self.turn())

    def join_through(self) -> tuple[str, tuple[str, ...]]:
        """The control plane whose etcd leads, or else the first, and all that are members."""
        return joining.join_through(self.turn())

    def judged(self, request: JoinRequest, facts: JoinFacts) -> tuple[Check, ...]:
        """What the facts about a join come to by the newest sweep."""
        return joining.judged(self.turn(), request, facts)

    @property
    def observation(self) -> Observation | None:
        """The newest sweep; None when nothing has been seen since recoverd was started."""
        return self.state.sweep.observation if self.state.sweep else None

    @property
    def diagnosis(self) -> Diagnosis | None:
        """What the newest sweep adds up to."""
        return self.state.sweep.diagnosis if self.state.sweep else None

    @property
    def calm(self) -> bool:
        """Nothing is planned, and what was found and not seen gone are notices, and what is confirmed and found still:
        warnings, and faults of an incident for which a person was called, as nothing could be done. What they are about
        is known.
        """
        record, diagnosis = self.record, self.diagnosis
        if diagnosis is None or record.plan or record.run or record.verify_since:
            return False
        if record.incident and self.lifecycle.phase is not Phase.ESCALATED:
            return False
        found = (*diagnosis.faults, *diagnosis.warnings)
        settled = confirmed(found, record.sightings, self.settings.bounds.confirm_sweeps)
        return record.sightings.keys() <= {name_of(f.key) for f in settled} and not record.witnessed

    @property
    def quiet(self) -> bool:
        """It is calm, nothing but notices was found, and no incident is open."""
        return self.calm and not self.record.sightings and not self.record.incident

    @property
    def watching(self) -> bool:
        """Something waits for what the next sweep shows."""
        plan, run = self.record.plan, self.record.run
        return self.lifecycle.phase is Phase.VERIFYING or (
            plan is not None and run is not None and run.held_since is not None and not plan.waits_for
        )

    @property
    def pressing(self) -> bool:
        """The next sweep is not to be late, whatever else there is to look at: something waits for it, or a fault is
        not confirmed yet.
        """
        return self.watching or self.lifecycle.phase is Phase.SUSPECTED

    def status(self) -> ClusterStatus:
        """What `recoverctl status` shows."""
        record, diagnosis, unseen = self.record, self.diagnosis, self._never_seen()
        return ClusterStatus(
            name=self.settings.name,
            state=State.UNOBSERVABLE if unseen else self.lifecycle.state,
            phase=self.lifecycle.phase,
            since=self.state.began if unseen else record.since,
            paused=record.pause is not None,
            pause_reason=record.pause.reason if record.pause else "",
            paused_by=record.pause.by if record.pause else "",
            paused_at=record.pause.at if record.pause else None,
            summary=diagnosis.summary if diagnosis else "no sweep has ended since recoverd was started",
            findings=diagnosis.findings if diagnosis else (),
            incident=record.incident.id if record.incident else None,
            fault_since=record.incident.fault_since if record.incident and not record.incident.maintenance else None,
            plan=record.plan.id if record.plan else None,
            last_sweep=self.observation.at if self.observation else None,
            explanation=self._doing(),
            observed=self.settings.observes,
            withheld=self.settings.withheld,
            never_healthy=self.state.memory.healthy_at is None,
            above=record.above.code if record.above else "",
            stretched=self.observation.stretched if self.observation else 0.0,
        )

    def _never_seen(self) -> bool:
        """Whether the cluster stands as healthy though no sweep of this process has found it so: because a new one
        begins there, or an earlier process left it there. Nothing may be told of it but that.
        """
        return self.lifecycle.state is State.HEALTHY and not self.state.seen_healthy

    def _doing(self) -> str:
        plan, run = self.record.plan, self.record.run
        if plan is None or run is None or plan.waits_for:
            return self.record.explanation or deciding.waited_for(self.turn())
        step = plan.steps[run.index]
        since = f" since {utc(run.step_at)}" if run.step_at else ""
        return (
            f"{self.record.explanation}; {'taking back' if run.undoing else 'at'} step {run.index + 1} of "
            f"{len(plan.steps)}{since}, "
            f"on {step.host}: {step.description}"
        )
