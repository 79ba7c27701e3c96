"""When a restore point is taken: on the schedule while the cluster is healthy, when a person asks, and before every destructive plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from recoverd.machine.base import MachineBase
from recoverd.machine.guards import too_old
from recoverd.model.events import Keep, PointRequested, PointsKept, Refused
from recoverd.model.finding import State
from recoverd.model.observation import EndpointHealth
from recoverd.model.pki_operations import KeepPki
from recoverd.model.plan import Step, StepResult
from recoverd.model.point_operations import LookAtRestorePoints, PointOperation, TakeRestorePoint
from recoverd.model.points import RETRY, due
from recoverd.playbooks.sources import sources

LOOK_SECONDS = 60.0
URGENT_SECONDS = 180.0
"""What a plan waits for its restore point."""


class KeepingPoints(MachineBase):
    """One thing at a time about the restore points of the cluster; what is in flight is in the record before it begins."""

    def _consider_point(self) -> None:
        """Called for a healthy sweep without an incident."""
        clock = self.record.points
        if self.record.pause or self._point_refusal() or not due(self.settings.points, self.now, clock.attempted, clock.failures):
            return
        if source := self._source(clock.failures):
            self._begin_point(source, "schedule")

    def _request_point(self, event: PointRequested) -> None:
        if refusal := self._point_refusal():
            raise Refused(f"no restore point is taken of {self.settings.name}: {refusal}")
        source = self._source(0)
        if source is None:
            raise Refused(f"no restore point is taken of {self.settings.name}: no etcd member is seen that is healthy and has a leader")
        self._note("restore-point-asked", f"asked for by {event.by}")
        self._begin_point(source, "asked")

    def _point_refusal(self) -> str:
        """Why none is taken now outside of a plan; "" when one may be."""
        diagnosis, observation = self.diagnosis, self.observation
        if diagnosis is None or observation is None:
            return "it has not been looked at since recoverd started; ask again in a few seconds"
        if (evidence := self._evidence()) and (why := too_old(evidence)):
            return f"it has not been looked at for a while, and whether it is healthy is not known without {why}; the log of recoverd tells why"
        if self.record.points.running:
            return "something is being done about its restore points already, and there is one at a time: recoverctl watch"
        if self.record.incident or self.record.run:
            incident = self.record.incident.id if self.record.incident else "a plan is running"
            return f"while something is wrong with it ({incident}), only a destructive plan begins with one"
        if diagnosis.state is not State.HEALTHY or diagnosis.faults or self.memory.setback:
            return f"it is not healthy ({diagnosis.summary})"
        if observation.api.vip.health is not EndpointHealth.READY:
            return "its API server is not ready"
        if self.record.calm_sweeps < self.settings.bounds.recover_sweeps:
            return "it has been seen healthy in too few sweeps; ask again in a few seconds"
        return ""

    def _begin_point(self, host: str, why: str) -> None:
        self._set(points=replace(self.record.points, attempted=self.now, running=why))
        self._note("restore-point-started", f"a restore point is taken from {host} ({why})")
        self._keep(host, f"take a restore point from {host}", TakeRestorePoint(why), self.settings.points.timeout)

    def _look_at_points(self) -> None:
        """After a start: what is on the disk, and what a crash left there."""
        clock, settings = self.record.points, self.settings.points
        if clock.running and clock.running != "look":
            self._note("restore-point-failed", "recoverd was ended while a restore point was being taken; what there was of it does not count")
            clock = replace(clock, failures=clock.failures + 1)
        known = settings.interval or settings.before_plans or self.memory.points
        self._set(points=replace(clock, running="look" if known else ""))
        if known:
            self._keep(self.settings.control_planes[0].name, "look at the restore points on the bastion", LookAtRestorePoints(), LOOK_SECONDS)

    def _keep(self, host: str, description: str, operation: PointOperation | KeepPki, seconds: float) -> None:
        """Have it carried out beside plans."""
        self._emit(Keep(self.settings.name, Step(host, description, operation, seconds)))

    def _points_kept(self, event: PointsKept) -> None:
        clock, result = self.record.points, event.result
        self._set(points=replace(clock, running=""))
        self._learn_points(result)
        if clock.running == "look":
            if result.detail:
                self._note("restore-points", result.detail)
        elif result.ok:
            self._set(points=replace(self.record.points, failures=0))
            self._note("restore-point-taken", result.detail)
        else:
            failures = clock.failures + 1
            self._set(points=replace(self.record.points, failures=failures))
            again = ""
            if interval := self.settings.points.interval:
                moment = self.now + timedelta(seconds=min(interval, RETRY * 2 ** min(failures - 1, 16)))
                again = f" It is tried again at {moment:%H:%M} UTC"
            self._note("restore-point-failed", f"{result.detail}.{again}")

    def _learn_points(self, result: StepResult) -> None:
        """Take in which points there are; one that a plan took counts for the schedule too."""
        if result.points is None or result.points == self.memory.points:
            return
        if result.points and (not self.memory.points or result.points[-1].sequence > self.memory.points[-1].sequence):
            self._set(points=replace(self.record.points, attempted=self.now))
        self.memory = replace(self.memory, points=result.points)

    def _point_first(self, plan: str) -> tuple[Step, ...]:
        """The step with which a destructive plan begins; none where no healthy member is left to take a snapshot from."""
        source = self._source(0) if self.settings.points.before_plans else None
        if source is None:
            return ()
        operation = TakeRestorePoint(f"before {plan}", urgent=True)
        return (Step(source, f"take a restore point from {source} before anything is changed", operation, URGENT_SECONDS),)

    def _source(self, failures: int) -> str | None:
        """Whose member the snapshot is taken from: a follower where there is one, and after a failure the next."""
        names = sources(self.observation, self.diagnosis) if self.observation and self.diagnosis else ()
        return names[failures % len(names)] if names else None
