"""Whether a plan has helped: what it was made for has to be seen gone, within the time that the plan gives itself."""

from __future__ import annotations

from datetime import timedelta

from recoverd.diagnose.absence import doubt
from recoverd.diagnose.scene import SETTLING, just_booted
from recoverd.machine import outlook
from recoverd.machine.turn import Turn
from recoverd.model.history import History
from recoverd.model.observation import HostView
from recoverd.model.plan import PlanStatus


def judge(turn: Turn) -> None:
    """Called for a sweep that began after the last step: has the plan helped?"""
    plan, since = turn.record.plan, turn.record.verify_since
    if plan is None or since is None or turn.sweep is None or turn.sweep.observation.started_at < since:
        return
    diagnosis = turn.sweep.diagnosis
    # a plan that was made for no finding has succeeded when there is no fault
    wanted = plan.resolves or tuple(f.key for f in diagnosis.faults)
    left = [k for k in wanted if k in diagnosis.keys]
    blind = doubt(plan.resolves, diagnosis, turn.sweep.observation)
    if not left and not blind:
        turn.end_action(True)
        gone = f"what it was made for is gone: {', '.join(dict.fromkeys(k[0] for k in plan.resolves))}"
        turn.close_plan(PlanStatus.SUCCEEDED, gone if plan.resolves else f"{plan.summary}: done, and no fault is found")
        turn.set(explanation="")
    elif turn.now - since > timedelta(
        seconds=plan.verify_within if left else outlook.allowed(turn, plan.verify_within + _settles(turn))
    ):
        names = ", ".join(f"{code} {subject}".strip() for code, subject in left)
        still = f"{names} is still there" if left else f"whether it helped cannot be seen ({blind})"
        lasted = plan.verify_within if left else (turn.now - since).total_seconds()
        reason = f"every step was done, and {still} after {lasted:.0f} s"
        told = (
            f"{plan.playbook} (plan {plan.id}) did not help: {reason}. `recoverctl ack "
            f"{plan.incident}` lets recoverd try again"
        )
        turn.end_action(False)
        turn.close_plan(PlanStatus.FAILED, reason)
        turn.decline(plan, told)
        turn.move("escalate")
        turn.explain(told, History.ESCALATED)


def _settles(turn: Turn) -> float:
    """Seconds for which what cannot be seen is that of a machine which has just booted."""
    hosts = turn.newest.observation.hosts.values()
    return SETTLING if any(isinstance(h, HostView) and just_booted(h) for h in hosts) else 0.0
