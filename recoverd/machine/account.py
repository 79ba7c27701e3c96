"""What a plan has done on each of its nodes and what it leaves there, in words: where a person goes on from. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.machine import guards
from recoverd.model.plan import Plan
from recoverd.model.record import Run


def committed(plan: Plan, run: Run, part: str) -> bool:
    """A step of the part, or of the whole plan, that is a point of no return has been begun."""
    return any(s.commits and s.part in (part, "") for s in plan.steps[: run.reached + 1])


def parts(plan: Plan) -> tuple[str, ...]:
    """The nodes, or groups of steps, that can fail or be left out alone."""
    return tuple(dict.fromkeys(s.part for s in plan.steps if s.part))


def not_taken_back(plan: Plan, run: Run, begun: Iterable[int]) -> str:
    """Steps that could have been taken back and were not, in words; "" when there is none."""
    steps = ((i, plan.steps[i]) for i in begun if i not in run.back)
    return "; ".join(
        f"step {i + 1} on {s.host} ({s.description}), by: {' '.join(s.undo.command().split())[:300]}"
        for i, s in steps
        if s.undo
    )


def by_part(plan: Plan, run: Run) -> str:
    """What the plan left on each of its nodes when it stopped; "" for a plan that is all of one part."""
    lines = []
    for part in parts(plan):
        mine = [i for i, s in enumerate(plan.steps) if s.part == part]
        begun = [i for i in mine if i <= run.reached]
        if part in run.skipped:
            state = f"left alone, {run.skipped[part]}"
        elif part in run.failed:
            state = f"failed: {run.failed[part]}"
        elif not begun:
            state = "not begun"
        elif mine[-1] <= run.done:
            state = "done"
        elif committed(plan, run, part):
            state = f"left as it is (last step begun: {plan.steps[begun[-1]].description})"
        elif guards.rereads(plan, run, part):
            left = "; ".join(plan.steps[i].description for i in mine if i > run.done and not plan.steps[i].looks)
            state = f"the files are in place; NOT done, and what runs may have others in memory until it is: {left}"
        elif kept := not_taken_back(plan, run, begun):
            state = f"NOT taken back, see to it by hand: {kept}"
        elif any(plan.steps[i].undo for i in begun):
            state = "taken back"
        else:
            state = f"begun (last step: {plan.steps[begun[-1]].description})"
        lines.append(f"{part}: {state}")
    return "; ".join(lines)


def left_by(plan: Plan, run: Run) -> str:
    """In which state the plan leaves the cluster when it ends before its last step, as the end of a sentence."""
    said = by_part(plan, run)
    if said and (run.reached < 0 or any(s.part for s in plan.steps[: run.reached + 1])):
        return f". What it leaves: {said}"
    if committed(plan, run, ""):
        return "; it was past its point of no return, so what it did stays"
    begun = [i for i, s in enumerate(plan.steps[: run.reached + 1]) if s.undo]
    if kept := not_taken_back(plan, run, begun):
        return f"; NOT taken back, see to it by hand: {kept}"
    return "; what it had moved was moved back" if begun else ""
