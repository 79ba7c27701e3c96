"""`recoverctl show`: what was done is told node by node, with times, and what was chosen."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from recoverd.cli.render import Printer
from recoverd.control import shapes
from recoverd.control.protocol import IncidentReport
from recoverd.engine.journal_rows import StepRow
from recoverd.model.events import SaveDecision
from recoverd.model.finding import State
from recoverd.model.node_operations import AwaitReboot, Cordon, Drain, PodChoice, Reboot
from recoverd.model.plan import Incident, Outcome, Plan, PlanStatus, Step, StepResult, TimelineEntry
from tests.unit.builders import NOW


def plan(*steps: Step) -> Plan:
    return Plan(
        id="prod-1.2",
        incident="prod-1",
        cluster="prod",
        playbook="rolling-worker-reboot",
        summary="drain and reboot w1 then w2; w1 is the canary",
        destructive=False,
        automatic=False,
        status=PlanStatus.FAILED,
        created_at=NOW,
        expires_at=NOW + timedelta(minutes=30),
        evidence=(
            "chosen for the drain: pods with local storage (emptyDir) are left on the node, and rebooted with it",
        ),
        destroys=(),
        undo=(),
        basis=(("pods-not-on-node", "w1"),),
        resolves=(("pods-not-on-node", "w1"),),
        steps=steps,
        verify_within=60.0,
        deadline=900.0,
        reason="w2 did not come back",
    )


def nodes(name: str) -> tuple[Step, ...]:
    return (
        Step(name, f"cordon {name}", Cordon(name), 30.0, part=name),
        Step(name, f"drain {name}", Drain(name, PodChoice.LEAVE), 60.0, part=name),
        Step(name, f"reboot {name}", Reboot("b"), 30.0, part=name, commits=True),
        Step(name, f"wait until {name} is in a new boot", AwaitReboot("b"), 60.0, part=name),
    )


def row(index: int, start: float, seconds: float, result: StepResult) -> StepRow:
    at = NOW + timedelta(seconds=start)
    return StepRow(index, False, at, at + timedelta(seconds=seconds), result)


def test_node_by_node_with_times(capsys: pytest.CaptureFixture[str]) -> None:
    ok = StepResult(True, "ok")
    made = plan(*nodes("w1"), *nodes("w2"), *nodes("w3"))
    rows = [row(0, 1, 0.2, ok), row(1, 2, 33, ok), row(2, 36, 1, ok), row(3, 38, 40, ok)]
    rows += [
        row(4, 80, 0.1, ok),
        row(5, 81, 5, ok),
        row(6, 87, 1, ok),
        row(7, 90, 60, StepResult(False, "w2 did not come back")),
    ]
    incident = Incident(
        "prod-1",
        "prod",
        State.WORKER_NETWORK_BROKEN,
        "stale",
        NOW + timedelta(seconds=5),
        NOW,
        NOW + timedelta(seconds=300),
        Outcome.RECOVERED_BY_HAND,
    )
    timeline = (TimelineEntry(NOW + timedelta(seconds=5), "opened", "worker-network-broken: stale"),)
    decisions = [SaveDecision(made.id, True, "alice", "go", NOW + timedelta(seconds=1))]
    report = IncidentReport(
        Incident(**{f: getattr(incident, f) for f in incident.__slots__} | {"timeline": timeline}),
        [made],
        {made.id: rows},
        {made.id: decisions},
    )
    Printer().report(shapes.report(report))
    told = capsys.readouterr().out
    assert re.search(r"19:10:05 UTC +\+5 +opened", told)
    assert "approved by alice" in told and "left on the node" in told
    assert re.search(r"node by node, \d+ (s|min) in all", told)
    one, two, three = (told.index(f"\n    {n}: ") for n in ("w1", "w2", "w3"))
    assert one < told.index("33.0 s  step 2, drain w1: done") < two < told.index("FAILED: w2 did not come back") < three
    assert "w3: nothing" in told[three:]
