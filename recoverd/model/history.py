"""The words of the history: what a line of the timeline tells of. Metrics, drills, the log and whoever waits for a plan
go by them.
"""

from __future__ import annotations

from enum import StrEnum

from recoverd.model.plan import PlanStatus


class History(StrEnum):
    """Names what happened in one line of the timeline. A word is never changed: the journal has it, and scripts of
    operators look for it.
    """

    # of an incident
    OPENED = "opened"
    CAUSE = "cause"
    """The same fault is understood otherwise now."""
    FINDING = "finding"
    LOOKED_AGAIN = "looked-again"
    """After a time without a sweep."""
    ACKNOWLEDGED = "acknowledged"
    LET_GO = "let-go"
    """What is not waited for, or not watched, any more."""
    CLOSED = "closed"

    RENAMED = "renamed"
    """The control planes were watched under another name before."""
    ANOTHER_MACHINE = "another-machine"
    """What was known of a machine is not of the one in its place."""
    COMMON_CAUSE = "common-cause"
    """The same fault began in many clusters together."""

    # why something is done, or nothing
    EXPLAINED = "explained"
    OBSERVING = "observing"
    WAITING = "waiting"
    WAITS_FOR_PODS = "waits-for-pods"
    WAITS_TO_SEE = "waits-to-see"
    UNOBSERVABLE = "unobservable"
    DECLINED = "declined"
    ESCALATED = "escalated"
    PAUSED = "paused"
    RESUMED = "resumed"

    # of a plan
    PLAN_MADE = "plan-made"
    APPROVED = "approved"
    APPROVED_FIRST = "approved-first"
    """By the first of two persons; the plan waits for the second."""
    EMERGENCY = "emergency"
    """One person has approved alone what needs two."""
    PLAN_STARTED = "plan-started"
    ITS_TURN = "its-turn"
    """A plan that waited for others begins."""
    STEP_STARTED = "step-started"
    STEP_DONE = "step-done"
    STEP_NOT_BEGUN = "step-not-begun"
    STEP_FAILED = "step-failed"
    WRITE_BEGUN = "write-begun"
    WRITE_DONE = "write-done"
    WRITE_FAILED = "write-failed"
    STEPS_LEFT_OUT = "steps-left-out"
    NODE_SKIPPED = "node-skipped"
    NODE_FAILED = "node-failed"
    VERIFYING = "verifying"
    UNDO_STARTED = "undo-started"
    UNDO_REFUSED = "undo-refused"
    PLAN_SUCCEEDED = "plan-succeeded"
    PLAN_FAILED = "plan-failed"
    PLAN_REJECTED = "plan-rejected"
    PLAN_EXPIRED = "plan-expired"
    PLAN_SUPERSEDED = "plan-superseded"
    PLAN_SHADOW = "plan-shadow"
    """Made for a cluster that is only observed; nothing is done."""

    # beside plans
    RESTORE_POINT_ASKED = "restore-point-asked"
    RESTORE_POINT_STARTED = "restore-point-started"
    RESTORE_POINT_TAKEN = "restore-point-taken"
    RESTORE_POINT_FAILED = "restore-point-failed"
    RESTORE_POINTS = "restore-points"
    """What is found on the disk."""
    PKI_KEPT = "pki-kept"
    PKI_NOT_KEPT = "pki-not-kept"
    POD_FILES_KEPT = "pod-files-kept"
    POD_FILES_NOT_KEPT = "pod-files-not-kept"

    # of recoverd itself
    CLOCK_WENT_FORWARD = "clock-went-forward"
    CLOCK_WENT_BACK = "clock-went-back"
    TAKEN_OVER = "taken-over"
    """Another bastion watches the cluster than before."""
    RECONFIGURED = "reconfigured"
    NOTIFIED = "notified"
    NOT_NOTIFIED = "not-notified"

    @staticmethod
    def of_end(status: PlanStatus) -> History:
        """The word with which a plan of this last status ends."""
        return History(f"plan-{status}")


ENDS = frozenset(History.of_end(s) for s in PlanStatus if not s.open)
"""Lines with which a plan ends."""
