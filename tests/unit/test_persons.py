"""How many persons let a plan run, and whether two of them are two: by the machine alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.model.codec import dump, load
from recoverd.model.events import Approved, Instruction, Note, Perform, Refused, Rejected, SaveDecision, SavePlan
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.settings import PersonsNeeded
from tests.unit.test_machine import Script, manifest_gone, stuck

ALICE, BOB = 1001, 1002


def waiting(needed: int = 2, *, emergency: bool = False, **bounds: float) -> Script:
    """A destructive plan waits."""
    s = Script(**bounds)
    s.settings = s.machine.settings = replace(s.settings, persons=PersonsNeeded(needed, emergency))
    s.sweep(stuck, times=2)
    assert s.plan.destructive
    return s


def approve(s: Script, person: int | None, by: str = "", **more: object) -> list[Instruction]:
    return s.give(Approved(s.plan.id, by or f"uid {person}", str(more.pop("reason", "")), s.now, person=person, **more))  # type: ignore[arg-type]


def notes(out: list[Instruction]) -> list[str]:
    return [n.entry.event for n in out if isinstance(n, Note)]


def begun(s: Script) -> bool:
    return s.machine.record.run is not None


def test_one_person_is_enough_where_nothing_else_is_said() -> None:
    s = waiting(1)
    approve(s, None, "root")
    assert begun(s)


def test_what_loses_nothing_needs_one_person() -> None:
    s = Script()
    s.machine.settings = replace(
        s.settings, persons=PersonsNeeded(2), approval={"restore-manifest": "required"}  # type: ignore[dict-item]
    )  # fmt: skip
    s.sweep()
    s.sweep(manifest_gone, times=2)
    assert s.plan.status is PlanStatus.AWAITING_APPROVAL and not s.plan.destructive
    approve(s, None, "root")
    assert begun(s)


def test_the_second_is_another_person() -> None:
    s = waiting()
    out = approve(s, ALICE, "alice")
    assert not begun(s) and notes(out) == ["approved-first"]
    assert [(d.by, d.approved) for d in out if isinstance(d, SaveDecision)] == [("alice", True)]
    assert not [i for i in out if isinstance(i, Perform)]
    assert "approved by 1 of 2 persons, alice" in s.machine.status().explanation
    for who in ("alice", "alice (as root)", "the same by any name"):
        with pytest.raises(Refused, match="is the person who approved"):
            approve(s, ALICE, who)
    with pytest.raises(Refused, match="root may be anybody"):
        approve(s, None, "root")
    assert not begun(s)
    out = approve(s, BOB, "bob")
    assert begun(s) and "approved by alice and bob" in next(
        n.entry.detail for n in out if isinstance(n, Note) and n.entry.event == "approved"
    )


def test_nobody_knows_whom_is_not_the_first_either() -> None:
    s = waiting()
    with pytest.raises(Refused, match="it is not known who logged in"):
        approve(s, None, "root")
    assert s.plan.first is None


def test_the_first_is_kept_over_a_restart_and_in_the_journals_json() -> None:
    s = waiting()
    out = approve(s, ALICE, "alice")
    [saved] = [i.plan for i in out if isinstance(i, SavePlan)]
    assert load(Plan, dump(saved)) == saved and saved.first and saved.first.person == ALICE
    assert saved.digest == replace(saved, first=None).digest
    s.restart()
    s.sweep(stuck, times=2)
    with pytest.raises(Refused, match="is the person who approved"):
        approve(s, ALICE)
    approve(s, BOB)
    assert begun(s)


def test_a_plan_of_before_this_version_has_no_first() -> None:
    s = waiting()
    text = dump(s.plan)
    assert '"first":null' in text
    assert load(Plan, text.replace(',"first":null', "")) == s.plan


def test_another_plan_than_the_one_that_was_read_is_not_approved() -> None:
    s = waiting()
    with pytest.raises(Refused, match="has the digest"):
        approve(s, ALICE, digest="000000000000")
    approve(s, ALICE, digest=s.plan.digest)
    # as if what is lost had been told anew meanwhile: the first has read something else
    plan = replace(s.plan, destroys=(*s.plan.destroys, "and more"))
    s.machine.state = replace(s.machine.state, record=replace(s.machine.record, plan=plan))
    assert plan.first and plan.first.digest != plan.digest
    approve(s, BOB)
    assert not begun(s), "which counts as the first of this one"
    approve(s, ALICE)
    assert begun(s)


def test_a_plan_that_takes_the_place_of_another_has_no_first() -> None:
    s = waiting(plan_expiry=60)
    first = s.plan.id
    approve(s, ALICE, "alice")
    s.sweep(stuck, times=14)
    assert s.plan.id != first and s.plan.first is None
    [reason] = [i.plan.reason for i in s.seen if isinstance(i, SavePlan) and i.plan.status is PlanStatus.EXPIRED]
    assert reason.startswith("only alice, of two persons, approved it before ")
    approve(s, BOB)
    assert not begun(s)


def test_a_rejection_ends_it_and_the_expiry_stays() -> None:
    s = waiting()
    expires = s.plan.expires_at
    approve(s, ALICE)
    assert s.plan.expires_at == expires
    s.give(Rejected(s.plan.id, "carol", "no", s.now))
    assert s.machine.record.plan is None


def test_the_second_comes_too_late() -> None:
    s = waiting()
    approve(s, ALICE)
    s.now = s.plan.expires_at + timedelta(seconds=1)
    with pytest.raises(Refused, match="expired at"):
        approve(s, BOB)


def test_one_goes_alone_only_where_the_configuration_lets_them_and_with_a_reason() -> None:
    s = waiting()
    with pytest.raises(Refused, match="lets nobody go alone"):
        approve(s, ALICE, emergency=True, reason="x")
    s = waiting(emergency=True)
    with pytest.raises(Refused, match="says why"):
        approve(s, ALICE, emergency=True, reason="  ")
    out = approve(s, None, "root", emergency=True, reason="nobody is there")
    assert begun(s) and notes(out)[:2] == ["emergency", "approved"]


def test_an_emergency_that_is_none_is_refused() -> None:
    s = waiting(1, emergency=True)
    with pytest.raises(Refused, match="without --emergency"):
        approve(s, ALICE, emergency=True, reason="x")


def test_a_configuration_that_wants_one_person_again_waits_for_no_second() -> None:
    s = waiting()
    approve(s, ALICE)
    s.machine.settings = replace(s.settings, persons=PersonsNeeded(1))
    approve(s, ALICE)
    assert begun(s)
