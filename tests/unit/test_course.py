"""How long an incident took to be detected, waited for a person, and was repaired: reckoned from its timeline."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from recoverd.control import shapes
from recoverd.model.history import History
from recoverd.report.course import BEGINS, Kind, Span, course
from recoverd.report.words import offset
from tests.unit.builders import NOW


def at(seconds: float) -> str:
    return str(shapes.moment(NOW + timedelta(seconds=seconds)))


def incident(*lines: tuple[float, str], closed: float | None = None) -> dict[str, Any]:
    timeline = [{"at": at(seconds), "event": event, "detail": ""} for seconds, event in lines]
    return {"fault_since": at(0), "timeline": timeline, "closed_at": None if closed is None else at(closed)}


def lengths(shape: dict[str, Any], now: float = 1000.0) -> dict[str, int]:
    found = course(shape, at(now))
    assert sum(s.seconds for s in found.spans) == found.whole
    assert all(a.end == b.begin for a, b in zip(found.spans, found.spans[1:], strict=False)), "end to end"
    return {str(kind): seconds for kind, seconds in found.lengths()}


def test_a_plan_that_a_person_approved() -> None:
    shape = incident(
        (5.5, "opened"), (5.5, "plan-made"), (55.9, "approved"), (56, "plan-started"), (69, "verifying"), closed=71.6
    )
    assert lengths(shape) == {"detect": 6, "wait for a person": 50, "repair": 16}
    assert course(shape, at(1000)).whole == 72 == offset(shape, at(71.6)), "as beside the timeline's lines"
    assert f"{71.6:.0f}" == "72", "and in its last one, which the machine wrote"


def test_what_is_told_of_it_once_it_is_over_is_no_part_of_it() -> None:
    shape = incident((5, "opened"), (8, "escalated"), (25, "closed"), (900, "acknowledged"), closed=25)
    assert lengths(shape) == {"detect": 5, "no plan yet": 3, "wait for a person": 17, "repair": 0}


def test_a_plan_that_runs_unasked_waits_for_nobody() -> None:
    shape = incident((5, "opened"), (8, "plan-made"), (8, "plan-started"), (20, "plan-succeeded"), closed=25)
    assert lengths(shape) == {"detect": 5, "no plan yet": 3, "wait for a person": 0, "repair": 17}


def test_two_waits_are_one_length_and_what_was_between_is_told() -> None:
    shape = incident(
        (5, "opened"), (5, "plan-made"), (20, "plan-rejected"), (21, "escalated"), (60, "acknowledged"),
        (61, "plan-made"), (70, "approved"), (70, "plan-started"), (80, "plan-failed"), (80, "escalated"), closed=100,
    )  # fmt: skip
    assert lengths(shape) == {"detect": 5, "no plan yet": 2, "wait for a person": 83, "repair": 10}
    assert course(shape, at(0)).spans[1] == Span(Kind.PERSON, 5, 20)


@pytest.mark.parametrize(("event", "kind"), [("paused", "wait for a person"), ("observing", "wait for a person")])
def test_what_only_a_person_can_end_is_a_wait_for_one(event: str, kind: str) -> None:
    assert lengths(incident((5, "opened"), (6, event), (7, "looked-again")), now=50.0)[kind] == 44


def test_one_that_is_open_lasts_until_now() -> None:
    shape = incident((5, "opened"), (6, "plan-made"))
    assert lengths(shape, now=36.0) == {"detect": 5, "no plan yet": 1, "wait for a person": 30, "repair": 0}
    assert not course(shape, at(36)).closed


def test_one_without_a_timeline_was_detected_and_no_more() -> None:
    assert lengths(incident(closed=9)) == {"detect": 9, "wait for a person": 0, "repair": 0}


def test_a_clock_that_was_set_back_makes_no_length_negative() -> None:
    shape = incident((5, "opened"), (9, "plan-made"), (-30, "approved"), (-20, "verifying"), closed=-10)
    assert min(lengths(shape).values()) == 0


def test_every_line_that_ends_or_begins_a_plan_says_whose_turn_it_is() -> None:
    assert {h for h in History if h.startswith("plan-")} <= BEGINS.keys()
