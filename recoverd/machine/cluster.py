"""`ClusterMachine.handle`: the one function through which everything that happens to a cluster goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from recoverd.diagnose import diagnose
from recoverd.machine import invariants
from recoverd.machine.clock import SET_BACK, SET_FORWARD, Reading, jumped, moved, within
from recoverd.machine.joining import Joining
from recoverd.machine.sight import UNSTEADY, flaps, gap, interrupted, name_of, sighted, silent, standing, unended
from recoverd.memory.recall import recall, witness
from recoverd.memory.remember import Sights, notice, remember, worth_writing
from recoverd.model.events import (
    Acknowledged,
    Approved,
    Diagnosed,
    Event,
    Instruction,
    JoinRequested,
    Keep,
    Kept,
    Observed,
    Paused,
    Perform,
    PlanRequested,
    PointRequested,
    PointsKept,
    Rejected,
    Remember,
    Restarted,
    Resumed,
    SaveIncident,
    SaveRecord,
    StepEnded,
    Stopping,
    Ticked,
)
from recoverd.model.finding import FAULT_STATES, Diagnosis, FindingKey, Phase, State
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.plan import Incident, Outcome, PlanStatus
from recoverd.model.record import Record
from recoverd.model.settings import ClusterSettings
from recoverd.model.status import ClusterStatus
from recoverd.playbooks.base import Playbook

PARTLY = 3
"""So many times `confirm_sweeps` sweeps may lack something that `healthy` rests on before the cluster is called unobservable."""


class ClusterMachine(Joining):
    """The state machine of one cluster.

    `settings` and `playbooks` say what it may do, `record` and `memory` are what an earlier process saved, `now` is the clock at the start.
    The caller journals every instruction of one `handle` in one transaction, then carries the `Perform`s out and feeds their results back.
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
        super().__init__(settings, playbooks, now=now, record=record, memory=memory)
        self._sights: Sights = {}
        self._reading: Reading | None = None
        self._copying = {}

    def handle(self, event: Event, reading: Reading | None = None) -> list[Instruction]:
        """Take one event, return what is to be done, in order. Raises `Refused` for a request of a person that cannot be carried out.

        `reading` is what the clocks of the bastion showed together when the event came.
        """
        self._out = []
        before, position = self.record, self.lifecycle.position
        broken_before = invariants.broken(before, self.lifecycle.state, self.lifecycle.phase)
        self._tell_jump(reading)
        self._tell_time(event.observation.at if isinstance(event, Observed) else event.at, restarted=isinstance(event, Restarted))
        TAKES[type(event)](self, event)
        self._settle_pause()
        if self.lifecycle.position != position:
            self._set(state=self.lifecycle.position, since=self.now)
        if worth_writing(self._written, self.memory):
            self._written = self.memory
            self._emit(Remember(self.settings.name, self.memory))
        if self.record != before:
            self._emit(SaveRecord(self.settings.name, self.record))
        invariants.check(broken_before, invariants.broken(self.record, self.lifecycle.state, self.lifecycle.phase), event)
        # everything that is journalled comes before anything that is carried out
        return sorted(self._out, key=lambda i: isinstance(i, Perform | Keep))

    def _tell_jump(self, reading: Reading | None) -> None:
        """Where the clock was set forward, nothing has lasted longer for that, and no bound is over sooner."""
        before, self._reading = self._reading, reading or self._reading
        if before is None or reading is None or (by := jumped(before, reading)) <= SET_FORWARD:
            return
        self.now += by
        self._sights = {key: at + by for key, at in self._sights.items()}
        self.record = moved(self.record, by)
        self._note(
            "clock-went-forward", f"the bastion's clock was set forward by {by.total_seconds():.0f} s; what counts time goes on as if it was not"
        )

    def _tell_time(self, now: datetime, *, restarted: bool) -> None:
        """Where the clock was set back, by an earlier process's time too, nothing waits until it has come as far again."""
        back, self.now = self.now - now, now
        if restarted or back > SET_BACK:
            self._sights = {key: min(at, now) for key, at in self._sights.items()}
            self.record = within(self.record, now)
        if back > SET_BACK:
            self._note("clock-went-back", f"the bastion's clock went back by {back.total_seconds():.0f} s; times ahead of it count from now on")

    def _restarted(self) -> None:
        self._set(unseen={})
        self._continue_after_restart()
        self._look_at_points()

    def _ticked(self) -> None:
        if self.record.run:
            self._look_again()
            return
        plan = self._waiting_plan
        if plan is None or self.now < plan.expires_at or self.observation is None or self.record.pause:
            return
        if self.record.incident:
            self._decide()
        elif self.lifecycle.state is State.HEALTHY:
            self._maintain()

    # --- sweeps ---

    def _observed(self, observation: Observation) -> None:
        self._since_last_sweep(observation)
        self._set(witnessed=witness(observation, self.record.witnessed))
        observation = recall(observation, self.record.witnessed)
        diagnosis = diagnose(observation, self.memory, self.settings, self._busy)
        if diagnosis.state is not State.HEALTHY and self.diagnosis and self.diagnosis.state is State.HEALTHY:
            self._write_down()  # whoever is started after a crash must know as much of the time before
        self.observation, self.diagnosis = observation, diagnosis
        self._emit(Diagnosed(self.settings.name, diagnosis))
        dark = diagnosis.state is State.UNOBSERVABLE
        self._set(unseen={} if dark and not diagnosis.partial else silent(self.record.unseen, observation))
        if not dark:
            self._set(sightings=sighted(self.record.sightings, diagnosis, observation, self.settings), dark_sweeps=0)
            self.memory = notice(observation, self.memory, self.settings)
        depends = self.record.sightings or self.record.witnessed or self.record.unseen or self.record.incident
        self._set(swept_at=observation.at if depends else None)
        if run := self.record.run:
            self._set(run=replace(run, seen_at=self.now))
            self._look_again()  # other steps are taken or stopped in `_next_step`, on the findings just noted
            return
        self._judge_verification()
        if dark:
            self._dark(diagnosis)
        elif diagnosis.state is State.HEALTHY:
            self._calm(observation, diagnosis)
        else:
            self._fault(diagnosis)

    @property
    def _busy(self) -> str:
        """The id of the plan that has begun and has not ended."""
        return self.record.plan.id if self.record.plan and self.record.run else ""

    def _since_last_sweep(self, observation: Observation) -> None:
        """After a time without a sweep, by a restart of any length or otherwise, nothing counts on from before it."""
        if not (seconds := gap(self.record.swept_at, observation, self.settings)):
            return
        self._sights = {}
        self._set(sightings=interrupted(self.record.sightings), witnessed={}, unseen={}, fault_sweeps=0, calm_sweeps=0)
        if self.record.incident:
            self._note("looked-again", f"after {seconds:.0f} s without a sweep everything is confirmed anew")

    def _dark(self, diagnosis: Diagnosis) -> None:
        """Nothing is concluded from one blind sweep; after `confirm_sweeps` the cluster is unobservable and its waiting plan void.

        Where only something was not seen that `healthy` rests on, that takes longer: under load one source or another is late.
        """
        bounds = self.settings.bounds
        enough = bounds.confirm_sweeps * (PARTLY if diagnosis.partial else 1)
        self._set(dark_sweeps=min(self.record.dark_sweeps + 1, PARTLY * bounds.confirm_sweeps), fault_sweeps=0, calm_sweeps=0)
        if self.record.dark_sweeps < enough or self.lifecycle.state is State.UNOBSERVABLE:
            return
        if self.record.verify_since:
            return  # its own deadline ends it
        if self._waiting_plan:
            self._close_plan(PlanStatus.SUPERSEDED, "the cluster cannot be seen any more")
        self.lifecycle.move("go_dark")
        self._set(sightings=interrupted(self.record.sightings))
        self._explain(f"nothing is done while the cluster cannot be seen: {diagnosis.summary}", "unobservable")

    def _calm(self, observation: Observation, diagnosis: Diagnosis) -> None:
        bounds = self.settings.bounds
        if self.record.incident and (left := unended(self.record.sightings, diagnosis, observation)):
            self._wait_for(left)
            return
        self._set(calm_sweeps=min(self.record.calm_sweeps + 1, bounds.recover_sweeps), fault_sweeps=0)
        if self.record.incident is None:
            if self.lifecycle.state is not State.HEALTHY:
                self.lifecycle.move("recover")
                if not self._waiting_plan:
                    self._set(explanation="")
            self._set(fault_since=None)
            self.memory, self._sights = remember(observation, diagnosis, self.memory, self.settings, self._sights)
            self._consider_point()
            self._maintain()
            self._keep_copies()
        elif self.record.calm_sweeps >= bounds.recover_sweeps and self.record.verify_since is None:
            self._close_incident(self.record.incident)

    def _wait_for(self, left: Mapping[FindingKey, str]) -> None:
        """Nothing is found any more, and what was found is not seen to be gone: the incident stays open, and says what it waits for."""
        incident = self.record.incident
        assert incident is not None
        self._set(calm_sweeps=0, fault_sweeps=0)
        if self.lifecycle.state is State.UNOBSERVABLE and incident.state in FAULT_STATES:
            self.lifecycle.move(f"reopen_{incident.state}")
        if self.record.verify_since:
            return
        if self.lifecycle.phase is Phase.VERIFYING:
            self.lifecycle.move("reconsider")
        if plan := self._waiting_plan:
            if self.now >= plan.expires_at and not self.record.pause:
                self._decide()
            return
        names = "; ".join(f"{name_of(key).strip()} ({why})" for key, why in left.items())
        self._explain(
            f"nothing is found any more, but it was not seen that this is gone: {names}. The incident closes when a sweep shows it, or when what "
            f"it is about is no part of the cluster any more (a member removed, a node deleted, a machine taken out of the configuration); "
            f"`recoverctl ack {incident.id}` closes it without that",
            "waits-to-see",
        )

    def _close_incident(self, incident: Incident) -> None:
        if self._waiting_plan:
            self._close_plan(PlanStatus.SUPERSEDED, "the cluster is healthy again without it")
        helped = any(a.incident == incident.id and a.ok for a in self.record.history)
        tried = self.record.declined or any(a.incident == incident.id for a in self.record.history)
        outcome = Outcome.RECOVERED if helped else Outcome.RECOVERED_BY_HAND if tried else Outcome.RECOVERED_BY_ITSELF
        if incident.maintenance and not helped and incident.state is State.MAINTENANCE:
            outcome = Outcome.NOT_DONE
        seconds = (self.now - incident.fault_since).total_seconds()
        since = "maintenance began" if incident.maintenance else "the fault was first seen"
        self._note("closed", f"healthy again, {seconds:.0f} s after {since} ({outcome})")
        self._save_incident(closed_at=self.now, outcome=outcome)
        self.lifecycle.move("recover")
        lasting = tuple(d for d in self.record.declined if d.maintenance)
        self._set(incident=None, declined=lasting, sightings={}, fault_since=None, plans=0, ran=0, explanation="")

    def _fault(self, diagnosis: Diagnosis) -> None:
        self._set(
            calm_sweeps=0,
            fault_sweeps=self.record.fault_sweeps + 1,
            fault_since=self.record.fault_since or (self.observation.started_at if self.observation else self.now),
        )
        if self.lifecycle.state in (State.HEALTHY, State.UNOBSERVABLE):
            self.lifecycle.move(f"{'reopen' if self.record.incident else 'suspect'}_{diagnosis.state}")
        elif self.lifecycle.state is not diagnosis.state:
            self._shift(diagnosis)
        if self.lifecycle.phase is Phase.SUSPECTED and self._lasts():
            self._open_incident(diagnosis)
        if self.record.incident is None:
            return
        self._set(sightings=standing(self.record.sightings, self._confirmed()))
        if self.record.incident.summary != diagnosis.summary or self.record.incident.state is not diagnosis.state:
            self._save_incident(summary=diagnosis.summary, state=diagnosis.state)
        if (cause := name_of(diagnosis.faults[0].key)) != self.record.cause:
            # another fault comes first now; the summary alone changes with every second that it counts
            self._set(cause=cause)
            self._note("cause", diagnosis.summary)
        if self.record.verify_since:
            return
        if self.lifecycle.phase is Phase.VERIFYING:
            self.lifecycle.move("reconsider")
        if self.lifecycle.phase is not Phase.PAUSED and not self.record.pause:
            self._decide()

    def _lasts(self) -> bool:
        """A fault was seen often enough on end, or comes and goes; or there is one in every sweep, be it another each time."""
        sweeps, confirmed = self.settings.bounds.confirm_sweeps, self._confirmed()
        if confirmed and self.record.fault_sweeps >= sweeps:
            return True
        flapping = any(flaps(self.record.sightings[name_of(f.key)], sweeps) for f in confirmed)
        return flapping or self.record.fault_sweeps >= UNSTEADY * sweeps

    def _shift(self, diagnosis: Diagnosis) -> None:
        """Another state of the same incident: the cause came to light, or one fault was repaired and another is left."""
        self.lifecycle.move(f"shift_{diagnosis.state}")
        if self.lifecycle.phase is Phase.CONFIRMED and self._waiting_plan:
            self.lifecycle.move("offer")  # the plan stands until it is seen to be stale

    def _open_incident(self, diagnosis: Diagnosis) -> None:
        if self._waiting_plan:
            self._close_plan(PlanStatus.SUPERSEDED, f"it was offered while the cluster was healthy, and it is not any more: {diagnosis.summary}")
        number = self.record.incidents + 1
        incident = Incident(
            id=f"{self.settings.name}-{number}",
            cluster=self.settings.name,
            state=diagnosis.state,
            summary=diagnosis.summary,
            opened_at=self.now,
            fault_since=self.record.fault_since or self.now,
        )
        self._set(incident=incident, incidents=number, plans=0, cause=name_of(diagnosis.faults[0].key))
        self._emit(SaveIncident(incident))
        self.lifecycle.move("confirm")
        self._note("opened", f"{diagnosis.state}: {diagnosis.summary}")
        for finding in diagnosis.findings:
            evidence = "; ".join(finding.evidence)
            self._note("finding", f"{finding.code} {finding.subject}: {finding.message}" + (f" [{evidence}]" if evidence else ""))

    # --- status ---

    def status(self) -> ClusterStatus:
        """What `recoverctl status` shows."""
        record, diagnosis = self.record, self.diagnosis
        return ClusterStatus(
            name=self.settings.name,
            state=self.lifecycle.state,
            phase=self.lifecycle.phase,
            since=record.since,
            paused=record.pause is not None,
            pause_reason=record.pause.reason if record.pause else "",
            summary=diagnosis.summary if diagnosis else "no sweep has ended yet",
            findings=diagnosis.findings if diagnosis else (),
            incident=record.incident.id if record.incident else None,
            plan=record.plan.id if record.plan else None,
            last_sweep=self.observation.at if self.observation else None,
            explanation=self._doing(),
        )

    @property
    def watching(self) -> bool:
        """Something waits for what the next sweep shows."""
        return self.lifecycle.phase is Phase.VERIFYING or (self.record.run is not None and self.record.run.held_since is not None)

    def _doing(self) -> str:
        plan, run = self.record.plan, self.record.run
        if plan is None or run is None:
            return self.record.explanation
        step = plan.steps[run.index]
        since = f" since {run.step_at:%H:%M:%S} UTC" if run.step_at else ""
        return (
            f"{self.record.explanation}; {'taking back' if run.undoing else 'at'} step {run.index + 1} of {len(plan.steps)}{since}, "
            f"on {step.host}: {step.description}"
        )


TAKES: Mapping[type, Callable[[ClusterMachine, Any], None]] = {
    Observed: lambda m, e: m._observed(e.observation),
    StepEnded: ClusterMachine._step_ended,
    Approved: ClusterMachine._approve,
    Rejected: ClusterMachine._reject,
    Paused: ClusterMachine._pause,
    Resumed: ClusterMachine._resume,
    Acknowledged: ClusterMachine._acknowledge,
    Kept: ClusterMachine._kept,
    PlanRequested: ClusterMachine._request,
    PointRequested: ClusterMachine._request_point,
    PointsKept: ClusterMachine._points_kept,
    JoinRequested: ClusterMachine._join,
    Restarted: lambda m, _: m._restarted(),
    Stopping: lambda m, _: m._write_down(),
    Ticked: lambda m, _: m._ticked(),
}
"""What each kind of event is taken by."""
