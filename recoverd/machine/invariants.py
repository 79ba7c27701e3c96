"""What holds of a machine after every event, in production as in tests. Pure.

An event that would leave it otherwise is thrown away whole, as one that could not be journalled, and is a defect of
recoverd: nothing is journalled or carried out of it. What a journal of another version holds may break a rule
already; then that rule is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from recoverd.model.effects import only_asks
from recoverd.model.events import Instruction, Perform, PerformChore
from recoverd.model.finding import FAULT_STATES, PHASED_STATES, Phase, State
from recoverd.model.plan import PlanStatus
from recoverd.model.record import Record

RUNS = (Phase.REMEDIATING,)
WAITS = (Phase.AWAITING_APPROVAL, Phase.PAUSED)


class Inconsistent(Exception):  # noqa: N818
    """The event would have broken what must hold."""


def broken(record: Record, state: State, phase: Phase | None) -> frozenset[str]:
    """Every rule that does not hold, in words."""
    return frozenset((*_of_incident(record, state, phase), *_of_plan(record, state, phase)))


def check(before: frozenset[str], after: frozenset[str], event: object) -> None:
    """Raise `Inconsistent` where the event has broken a rule that held."""
    if new := after - before:
        raise Inconsistent(
            f"a {type(event).__name__} would leave the machine so that it does not hold that {'; '.join(sorted(new))}"
        )


def only_observes(instructions: Iterable[Instruction], event: object) -> None:
    """Raise `Inconsistent` where something would be written for a cluster that is only observed."""
    for instruction in instructions:
        match instruction:
            case Perform(plan=plan, index=index, undo=undo, resume=resume):
                step = plan.steps[index]
                asked = resume and step.asks(undo=undo)
                operation = step.undo if undo else step.operation
            case PerformChore(step=step):
                asked, operation = False, step.operation
            case _:
                continue
        if not only_asks(operation, asked=asked):
            raise Inconsistent(
                f"a {type(event).__name__} would have something done ({step.description} on {step.host}) to a cluster "
                "that is only observed"
            )


def _of_incident(record: Record, state: State, phase: Phase | None) -> Iterator[str]:
    if state not in PHASED_STATES and phase is not None:
        yield "only a fault and maintenance have phases"
    if record.incident is None and state in PHASED_STATES and phase is not Phase.SUSPECTED:
        yield "a confirmed fault, and maintenance, have an open incident"
    if record.incident is not None and state is State.HEALTHY:
        yield "a healthy cluster has no open incident"
    if record.incident is not None and phase is Phase.SUSPECTED:
        yield "with an open incident nothing is only suspected"
    if record.incident is not None and record.incident.closed_at is not None:
        yield "the open incident is not closed"


def _of_plan(record: Record, state: State, phase: Phase | None) -> Iterator[str]:
    plan, waits = record.plan, record.plan is not None and record.plan.status is PlanStatus.AWAITING_APPROVAL
    if plan is not None and not plan.status.open:
        yield "the plan at hand is open"
    if (record.run is not None or record.verify_since is not None) and (plan is None or waits):
        yield "what runs or is verified is a plan that was begun"
    if record.run is not None and record.verify_since is not None:
        yield "a plan that is verified does not run"
    if record.run is not None and phase not in RUNS:
        yield "a plan runs in `remediating`"
    if record.run is None and phase in RUNS:
        yield "in `remediating` a plan runs"
    if record.verify_since is not None and phase is not Phase.VERIFYING:
        yield "a plan is verified in `verifying`"
    if waits and record.incident is not None and state in FAULT_STATES and phase not in WAITS:
        yield "an incident's plan waits in `awaiting-approval` or `paused`"
    if record.run is not None and plan is not None and not 0 <= record.run.index < len(plan.steps):
        yield "the step whose turn it is is one of the plan's"
