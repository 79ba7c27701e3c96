"""The matrix of environments: each is healthy for two sweeps of the real collectors, and one fault there has the right
finding and the right plan, or the right refusal.
"""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recoverd.machine.decide import nothing_to_do
from recoverd.model.events import Rejected
from recoverd.model.finding import State
from recoverd.model.observation import HostView
from tests.field.clusters import Field
from tests.field.environment import Environment
from tests.field.ladder import LADDER
from tests.field.of_addresses import OF_ADDRESSES
from tests.field.of_nodes import OF_NODES
from tests.field.of_planes import OF_PLANES
from tests.field.remedies import REMEDIES
from tests.field.rows import ROWS

ENOUGH = 6
"""Sweeps in which a fault that is there in every one of them is confirmed, and what is done about it is said."""

APART = 10.0
"""Seconds from one sweep to the next where the fault has to last; they are not waited for."""

MATRIX = ROWS | REMEDIES | OF_PLANES | OF_NODES | OF_ADDRESSES | LADDER


@pytest.mark.parametrize("row", MATRIX.values(), ids=MATRIX.keys())
async def test_an_environment_is_healthy_and_its_fault_is_found_and_planned_for(
    row: Environment, tmp_path: Path
) -> None:
    field = Field(row, tmp_path)
    await field.begin()
    try:
        await healthy(field)
        broken = getattr(field, row.fault)()
        if inspect.isawaitable(broken):
            await broken
        await found(field)
    finally:
        await field.end()


async def healthy(field: Field) -> None:
    for _ in range(4 if field.at.point else 2):
        seen = await field.sweep()
        state = field.machine.state
        assert state.sweep
        diagnosis = state.sweep.diagnosis
        assert diagnosis.state is State.HEALTHY and not diagnosis.faults, (diagnosis, seen)
        assert not state.record.plan, state.record.plan
    assert sorted(f.subject for f in diagnosis.findings) == sorted(field.at.notices), diagnosis.findings
    assert field.at.holds(seen), seen
    for view in seen.hosts.values():
        assert isinstance(view, HostView) and (field.at.notices or not view.problems), view
    if field.at.etcd:
        assert all(getattr(view, "healthy", False) for view in seen.etcd.values()), seen.etcd


async def found(field: Field) -> None:
    names = {"P": "p1", "W": "w1", "N": field.at.node.format(host="w1")}
    code, subject = field.at.found
    for _ in range(ENOUGH + round(field.at.lasts / APART)):
        await field.sweep()
        field.ahead += timedelta(seconds=APART if field.at.lasts else 0.0)
        plan, choice = field.machine.state.record.plan, field.machine.remedy()
        if plan and plan.playbook in field.at.declined:
            field.machine.handle(Rejected(plan.id, "somebody", "not this", datetime.now(UTC)))
            continue
        if plan or (not field.at.plan and choice.reasons and not choice.waiting and choice.playbook is None):
            break
    assert field.machine.state.sweep
    findings = field.machine.state.sweep.diagnosis.findings
    for short, name in names.items():
        subject = subject.replace(short, name) if subject.startswith(short) else subject
    assert (code, subject) in [(f.code, f.subject) for f in findings], findings
    assert any(field.at.says in f.message for f in findings if (f.code, f.subject) == (code, subject)), findings
    assert (plan.playbook if plan else "") == field.at.plan, (
        plan,
        choice,
        field.machine.status().explanation,
        findings,
    )
    assert plan or field.at.refusal in nothing_to_do(findings, choice.reasons)
