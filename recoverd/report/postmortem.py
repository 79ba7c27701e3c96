"""An incident after the fact, or in the middle of it: who waited for what, what was decided, done and lost. One view
for the terminal, Markdown and HTML. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recoverd.model.history import History
from recoverd.model.text import exactly
from recoverd.report.course import Course, course
from recoverd.report.words import Shape, clock, offset, took, verdict, when

IN_STEPS = frozenset({History.STEP_STARTED, History.STEP_DONE, History.STEP_FAILED, History.UNDO_STARTED})
"""Lines of history that the table of steps tells, too, with more."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the timeline; `since` is whole seconds since the fault was first seen."""

    clock: str
    since: int
    event: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decision:
    at: str
    who: str
    what: str
    plan: str
    playbook: str
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """One carrying out of a step, or of its undo."""

    number: int
    undo: bool
    host: str
    description: str
    began: str
    took: str
    verdict: str
    detail: str
    goes_on: bool
    """It is carried out now."""


@dataclass(frozen=True, slots=True)
class Told:
    """A plan with what came of it."""

    plan: Shape
    done: tuple[Done, ...]
    left: int
    """Steps that were never begun."""


@dataclass(frozen=True, slots=True)
class PostMortem:
    incident: Shape
    now: str
    course: Course
    evidence: tuple[str, ...]
    timeline: tuple[Line, ...]
    decisions: tuple[Decision, ...]
    plans: tuple[Told, ...]
    lost: tuple[str, ...]
    """By plans that were begun."""
    at_stake: tuple[str, ...]
    """What a plan that waits would destroy."""

    @property
    def ended(self) -> str:
        """How it ended, or that it has not."""
        if not self.incident["closed_at"]:
            return f"still open, for {exactly(self.course.whole)} by now"
        outcome = self.incident["outcome"] or "outcome not known"
        return f"{when(self.incident['closed_at'])}, after {exactly(self.course.whole)}: {outcome}"


def post_mortem(report: Shape, now: str) -> PostMortem:
    """`report` is what `recoverctl show -o json` prints, `now` (ISO 8601) where one that is open ends."""
    plans = tuple(_told(p) for p in report["plans"])
    in_steps = IN_STEPS if any(t.done for t in plans) else frozenset()
    entries = report["timeline"]
    return PostMortem(
        incident=report,
        now=now,
        course=course(report, now),
        evidence=tuple(e["detail"] for e in entries if e["event"] == History.FINDING),
        timeline=tuple(
            Line(clock(e["at"]), offset(report, e["at"]), e["event"], e["detail"])
            for e in entries
            if e["event"] not in in_steps and e["event"] != History.FINDING
        ),
        decisions=tuple(d for p in report["plans"] for d in _decisions(p)),
        plans=plans,
        lost=tuple(dict.fromkeys(text for t in plans if t.done for text in t.plan["destroys"])),
        at_stake=tuple(text for t in plans if t.plan["status"] == "awaiting-approval" for text in t.plan["destroys"]),
    )


def _decisions(plan: Shape) -> Iterator[Decision]:
    """Who let the plan run, or did not; recoverd itself where the configuration lets it."""
    for d in plan["decisions"]:
        what = "approved" if d["approved"] else "rejected"
        yield Decision(when(d["at"]), d["by"], what, plan["id"], plan["playbook"], d["reason"])
    if plan["automatic"] and plan["results"] and not plan["decisions"]:
        at = when(plan["results"][0]["intent_at"])
        yield Decision(at, "recoverd", "ran unasked", plan["id"], plan["playbook"], "the configuration lets it")
    if plan["status"] == "expired":
        yield Decision(when(plan["expires_at"]), "nobody", "expired", plan["id"], plan["playbook"], plan["reason"])


def _now(plan: Shape) -> list[bool]:
    """Of each carrying out, whether it goes on: of a plan that runs, the last one of a step that has not ended. An
    earlier one had no end when the daemon stopped, and the step was asked or begun again after that.
    """
    last = {(r["index"], r["undo"]): n for n, r in enumerate(plan["results"])}
    return [
        plan["status"] == "running" and not r["ended_at"] and last[r["index"], r["undo"]] == n
        for n, r in enumerate(plan["results"])
    ]


def _told(plan: Shape) -> Told:
    done = tuple(
        Done(
            number=r["index"] + 1,
            undo=r["undo"],
            host=plan["steps"][r["index"]]["host"],
            description=plan["steps"][r["index"]]["description"],
            began=clock(r["intent_at"]),
            took=took(r["intent_at"], r["ended_at"], goes_on=now),
            verdict=verdict(r, goes_on=now),
            detail=r["detail"] or "",
            goes_on=now,
        )
        for r, now in zip(plan["results"], _now(plan), strict=True)
    )
    begun = {r["index"] for r in plan["results"] if not r["undo"]}
    return Told(plan, done, len(plan["steps"]) - len(begun))
