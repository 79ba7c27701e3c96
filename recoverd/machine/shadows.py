"""What recoverd would do to a cluster that it only observes: the plan that would wait or run now, kept as a shadow.

It is made by the same playbooks and bounds as one that acts, has an id of its own and is journalled; no step of it is
begun, and nobody can approve it.
"""

from __future__ import annotations

from recoverd.machine import replanning
from recoverd.machine.decide import Choice
from recoverd.machine.turn import Turn
from recoverd.model.events import SavePlan
from recoverd.model.finding import Phase
from recoverd.model.history import History
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.text import utc


def anew(turn: Turn, choice: Choice) -> Choice | None:
    """The choice, where something is to be said by it; None while the plan that was shown is what would be planned.

    One that is not any more, in enough sweeps, is let go, and the next sweep shows what takes its place: the steps of
    a plan hold its own number.
    """
    shown = turn.record.shadow
    if shown is None:
        return choice
    if replanning.as_planned(turn, shown, choice):
        turn.set(stale_sweeps=0, stale_since=None)
    elif replanning.is_stale(turn, shown):
        turn.set(shadow=None, stale_sweeps=0, stale_since=None, explanation="")
    return None


def show(turn: Turn, plan: Plan, *, unasked: bool) -> None:
    """Keep the plan, and say what would have been done with it now."""
    what = "run unasked" if unasked else "asked for approval"
    would = f"would have {what} at {utc(turn.now)}"
    plan = plan.with_status(PlanStatus.SHADOW, would)
    turn.set(shadow=plan, stale_sweeps=0, stale_since=None)
    turn.emit(SavePlan(plan))
    turn.note(History.PLAN_SHADOW, f"plan {plan.id} ({plan.playbook}) {would}: {plan.summary}")
    if turn.lifecycle.phase is Phase.ESCALATED:
        turn.move("reconsider")
    turn.set(
        explanation=f"plan {plan.id} ({plan.playbook}) {would}: {plan.summary}. `recoverctl plans {plan.id}` shows its "
        f"steps; {turn.settings.hands_off}"
    )
