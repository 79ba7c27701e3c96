"""How many persons have to let a destructive plan run, and whether they have: of two, the second is another than the
first, and both have approved the same plan.

A person is a uid that stands for one whatever account a request comes from: who is behind sudo is who logged in
(`recoverd.control.peers`). The first approval is kept with its plan. So it outlives a restart, and ends with the plan:
one that takes its place is approved by two persons anew.
"""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine.turn import Turn
from recoverd.model.events import Approved, JoinRequested, Refused, SavePlan
from recoverd.model.history import History
from recoverd.model.plan import FirstApproval, Plan
from recoverd.model.text import utc


def needed(turn: Turn, plan: Plan) -> int:
    """How many persons have to approve the plan."""
    return turn.settings.persons.destructive if plan.destructive else 1


def enough(turn: Turn, plan: Plan, event: Approved) -> bool:
    """Whether the plan may begin with this approval; False where it is the first of two.

    Raises `Refused` where it does not count: the second comes from the first person or from nobody knows whom, or one
    who goes alone may not.
    """
    if needed(turn, plan) < 2:
        if event.emergency:
            raise Refused(
                f"plan {plan.id} needs one person's approval, so none goes alone: approve it without --emergency"
            )
        return True
    if event.emergency:
        _alone(turn, plan, event)
        return True
    if event.person is None:
        raise Refused(
            f"plan {plan.id} needs two persons, and {event.by} may be anybody: it is not known who logged in (no login "
            "uid, as from cron, a service or a container, or the unit hides it by ProtectProc). Approve it from the "
            f"login of a person{_or_alone(turn)}"
        )
    if plan.first is None or plan.first.digest != plan.digest:
        return False
    if plan.first.person == event.person:
        raise Refused(
            f"{event.by} is the person who approved plan {plan.id} first (as {plan.first.by}, "
            f"{utc(plan.first.at)}); another person must approve it before "
            f"{utc(plan.expires_at)}{_or_alone(turn)}"
        )
    return True


def refuse_one(turn: Turn, plan: Plan, event: JoinRequested) -> None:
    """Raise `Refused` where a join, which begins at once, needs the second person for whom it does not wait."""
    if needed(turn, plan) < 2:
        if event.emergency:
            raise Refused("this join needs one person, so none goes alone: ask for it without --emergency")
        return
    if not event.emergency:
        raise Refused(
            "with --take-back-single-member this join may lose data, which needs two persons, and it does not wait for "
            f"a second one: leave that option out{_or_alone(turn)}"
        )
    _alone(turn, plan, event)


def keep_first(turn: Turn, plan: Plan, event: Approved) -> None:
    """Keep the first of two approvals; the plan waits on, no longer than before."""
    assert event.person is not None
    plan = replace(plan, first=FirstApproval(event.by, event.person, plan.digest, event.at))
    turn.set(plan=plan)
    turn.emit(SavePlan(plan))
    reason = f" ({event.reason})" if event.reason else ""
    turn.note(
        History.APPROVED_FIRST,
        f"plan {plan.id}: 1 of 2, by {event.by}{reason}; another person must approve before {utc(plan.expires_at)}",
    )
    assert plan.first is not None
    turn.set(explanation=waits_for_second(plan, plan.first))


def waits_for_second(plan: Plan, first: FirstApproval) -> str:
    """What is waited for between two approvals."""
    return (
        f"plan {plan.id} ({plan.playbook}) is approved by 1 of 2 persons, {first.by}; another person must approve it "
        f"before {utc(plan.expires_at)}: `recoverctl plans {plan.id}`, `recoverctl approve {plan.id}`"
    )


def _alone(turn: Turn, plan: Plan, event: Approved | JoinRequested) -> None:
    """Let one person go alone where the configuration has foreseen it; said aloud."""
    if not turn.settings.persons.emergency:
        raise Refused(
            f"plan {plan.id} needs two persons, and the configuration lets nobody go alone (access.emergency: false)"
        )
    if not event.reason.strip():
        raise Refused(f"plan {plan.id} needs two persons; who goes alone says why: --emergency --reason TEXT")
    turn.note(
        History.EMERGENCY,
        f"plan {plan.id} ({plan.playbook}), which needs two persons, is approved by {event.by} ALONE, as an emergency: "
        f"{event.reason}",
    )


def _or_alone(turn: Turn) -> str:
    return (
        ", or go alone in an emergency: --emergency --reason TEXT, which is told to everybody"
        if turn.settings.persons.emergency
        else ""
    )
