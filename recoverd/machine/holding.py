"""What a running plan waits for, and for how long: sweeps that show more, a person who resumes, the end of a step that was in flight at a restart."""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine.gate import BLIND_PATIENCE, PATIENCE, committed
from recoverd.machine.guards import Evidence
from recoverd.machine.points import KeepingPoints
from recoverd.model.events import Perform, Progress, StepIntent, SweepNow
from recoverd.model.plan import Plan, TimelineEntry
from recoverd.model.record import Run

INSTANT = 0.001
"""Seconds that recoverd was away at least, when it was restarted: that it was tells by being more than none."""
TRIES = 3
"""Carryings-out of one step of which recoverd was ended each time before it knew what came of it; then a person has to look."""


class Holding(KeepingPoints):
    """The part of the machine that lets a plan wait."""

    def _running(self) -> tuple[Plan, Run]:
        plan, run = self.record.plan, self.record.run
        assert plan is not None and run is not None
        return plan, run

    def _held(self) -> float:
        """Seconds that the step has waited."""
        _, run = self._running()
        return (self.now - run.held_since).total_seconds() if run.held_since else 0.0

    def _patience(self, evidence: Evidence) -> float:
        """Seconds: longer where the plan has changed something and nothing is seen, since what cannot be seen cannot be taken back either."""
        plan, run = self._running()
        owed = any(s.undo and i not in run.back and not committed(plan, run, s.part) for i, s in enumerate(plan.steps[: run.reached + 1]))
        return BLIND_PATIENCE if evidence.blind and (owed or committed(plan, run, plan.steps[run.index].part)) else PATIENCE

    def _await(self, text: str, held: float) -> None:
        incident = self.record.incident.id if self.record.incident else ""
        self._emit(Progress(self.settings.name, incident, TimelineEntry(self.now, "waiting", f"{text}, {held:.0f} s")))
        if not held:
            self._emit(SweepNow(self.settings.name))

    # --- after a restart ---

    def _continue_after_restart(self) -> None:
        """Nothing is carried out before a sweep that began after the start has shown what there is now; it may be hours later."""
        plan, run = self.record.plan, self.record.run
        if plan is None or run is None:
            if self.record.verify_since:
                self._set(verify_since=self.now)
            return
        seen = run.seen_at or run.step_at or run.started_at
        away = max(run.away, (self.now - seen).total_seconds(), INSTANT)
        unsure = run.unsure or run.held_since is None
        waits = replace(run, held_since=self.now, calm=0, unsure=unsure, away=away, until_resumed=self.record.pause is not None)
        self._set(run=waits)
        what = f"{'the undo of step' if run.undoing else 'step'} {run.index + 1} of plan {plan.id}"
        if unsure:
            self._note("resumed", f"recoverd was restarted during {what}; first it looks at the cluster, then it asks whether that has been done")
        else:
            self._note("resumed", f"recoverd was restarted while {what} waited for a sweep; it goes on watching")

    def _waits_for_resume(self, run: Run) -> bool:
        """A restart while recoverd was paused: people are at work, and what they do is not to be run into, neither forwards nor backwards."""
        if not run.until_resumed:
            return False
        if pause := self.record.pause:
            self._set(run=replace(run, held_since=self.now))
            name, plan = self.settings.name, self.record.plan
            waits = f"{self._what(run)} of plan {plan.id if plan else ''}: for `recoverctl resume {name}`, since recoverd was restarted while paused"
            self._explain(f"{waits} by {pause.by} ({pause.reason}); nothing is done and nothing is taken back until then", "waiting")
            return True
        # the pause may have lasted for long, and whoever paused has worked on it
        away = max(run.away, (self.now - (run.step_at or run.started_at)).total_seconds())
        self._set(run=replace(run, until_resumed=False, held_since=self.now, away=away))
        self._await(f"{self._what(run)}: for the next sweep", 0.0)
        return True

    @staticmethod
    def _what(run: Run) -> str:
        return f"the undo of step {run.index + 1}" if run.undoing else f"step {run.index + 1}"

    def _emit_step(self, *, resume: bool) -> None:
        """Journal that the step in flight, or its undo, is begun or asked about, and have it carried out."""
        plan, run = self._running()
        asked = resume and plan.steps[run.index].asks(undo=run.undoing)
        self._set(run=replace(run, held_since=None, unsure=False, tries=run.tries if asked else run.tries + 1))
        self._emit(StepIntent(plan.id, run.index, run.undoing, self.now), Perform(plan, run.index, run.undoing, resume))
