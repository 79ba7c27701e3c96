"""The journal on a real file: what is written is there after a crash, and what is half-written is not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recoverd.codec import dump, load
from recoverd.events import Note, Remember, SaveDecision, SaveIncident, SavePlan, SaveRecord, StepIntent, StepOutcome
from recoverd.journal import Journal, JournalError
from recoverd.model import bastion_operations, operations
from recoverd.model.finding import State
from recoverd.model.plan import Incident, Plan, PlanStatus, Step, StepResult, TimelineEntry
from recoverd.model.record import Record, Run
from tests.unit.builders import NOW, Cluster

OPERATIONS: list[operations.Operation] = [
    operations.WriteFile("/etc/kubernetes/manifests/etcd.yaml", "a: b\n", "aa", "bb"),
    operations.MovePath("/a", "/b"),
    operations.Unit("start", "kubelet"),
    operations.AwaitContainerGone("etcd", 30),
    operations.AwaitFlag("etcd", "--force-new-cluster", False, 30),
    operations.Unstick("kube-apiserver"),
    operations.Shell("true"),
    bastion_operations.FetchSnapshot("before"),
    bastion_operations.RemoveMember("8e9e05c52164694d"),
    bastion_operations.AwaitEtcd(1, 5, 2, 10),
    bastion_operations.AwaitApi(),
]


def a_plan(status: PlanStatus = PlanStatus.AWAITING_APPROVAL, id: str = "prod-1.1") -> Plan:
    basis = (("etcd-quorum-lost", ""),)
    steps = tuple(Step("cp1", f"step {i}", op, 10.0, basis) for i, op in enumerate(OPERATIONS))
    return Plan(
        id, "prod-1", "prod", "force-new-cluster", "sum", True, False, status, NOW, NOW, ("e",), ("d",), ("u",), basis, basis, steps, 60.0, 900.0
    )


def an_incident() -> Incident:
    return Incident("prod-1", "prod", State.ETCD_STUCK, "1 of 2 voters", NOW, NOW)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


def test_everything_comes_back_as_it_was_written(file: Path) -> None:
    plan, memory = a_plan(), Cluster(3).memory()
    record = Record("etcd-stuck/remediating", NOW, incident=an_incident(), plan=plan, run=Run(NOW, 3, committed=True))
    entry = TimelineEntry(datetime(2026, 3, 5, 19, 11, 0, 123456, tzinfo=UTC), "opened", "etcd-stuck: 1 of 2 voters")
    decision = SaveDecision(plan.id, True, "alice", "go", NOW)
    result = StepResult(True, "done")
    journal = Journal(file)
    journal.write([SaveIncident(an_incident()), Note("prod", "prod-1", entry), SavePlan(plan), decision, Remember("prod", memory)])
    journal.write([StepIntent(plan.id, 0, False, NOW), SaveRecord("prod", record)])
    journal.write([StepOutcome(plan.id, 0, False, NOW, result), StepIntent(plan.id, 1, False, NOW)])
    journal.close()
    journal = Journal(file)
    assert journal.plan(plan.id) == plan
    assert journal.memory("prod") == memory
    assert journal.records() == {"prod": record}
    incident = journal.incident("prod-1")
    assert incident is not None and incident.timeline == (entry,)
    assert journal.decisions(plan.id) == [decision]
    assert [(s.index, s.result) for s in journal.steps(plan.id)] == [(0, result), (1, None)]
    journal.close()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_plan_with_every_operation_keeps_the_exact_commands() -> None:
    plan = a_plan()
    again = load(Plan, dump(plan))
    assert [s.command for s in again.steps] == [s.command for s in plan.steps]


def test_open_plans_are_those_that_wait_or_run(file: Path) -> None:
    journal = Journal(file)
    journal.write([SavePlan(a_plan()), SavePlan(a_plan(PlanStatus.RUNNING, "prod-1.2")), SavePlan(a_plan(PlanStatus.EXPIRED, "prod-1.3"))])
    journal.write([SavePlan(a_plan(PlanStatus.REJECTED))])
    assert [p.id for p in journal.plans(open_only=True)] == ["prod-1.2"]
    assert len(journal.plans()) == 3
    journal.close()


def test_one_transaction_is_all_or_nothing(file: Path) -> None:
    journal = Journal(file)
    broken = StepOutcome("prod-1.1", 0, False, NOW, result=object())  # type: ignore[arg-type]
    with pytest.raises(Exception):  # noqa: B017
        journal.write([SaveIncident(an_incident()), broken])
    assert journal.incidents() == []
    journal.close()


def test_a_second_daemon_is_kept_out(file: Path) -> None:
    journal = Journal(file)
    with pytest.raises(JournalError, match="another recoverd"):
        Journal(file)
    journal.close()
    Journal(file).close()


def test_a_damaged_file_is_named_and_not_touched(file: Path) -> None:
    file.write_bytes(b"this is no database, " * 500)
    before = file.read_bytes()
    with pytest.raises(JournalError, match="move it aside"):
        Journal(file)
    assert file.read_bytes() == before


def test_a_journal_of_a_newer_recoverd_is_refused(file: Path) -> None:
    Journal(file).close()
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(JournalError, match="newer recoverd"):
        Journal(file)


def test_a_writer_that_is_killed_leaves_only_whole_transactions(file: Path) -> None:
    script = f"""
        from pathlib import Path
        from recoverd.journal import Journal
        from recoverd.events import Note, StepIntent
        from recoverd.model.plan import TimelineEntry
        from tests.unit.builders import NOW
        journal = Journal(Path({str(file)!r}))
        for i in range(10**6):
            journal.write([StepIntent("p", i, False, NOW), Note("prod", "prod-1", TimelineEntry(NOW, "step", str(i)))])
            print(i, flush=True)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    last = -1
    for line in child.stdout:
        last = int(line)
        if last == 50:
            os.kill(child.pid, signal.SIGKILL)
    child.wait()
    journal = Journal(file)
    steps, notes = journal.steps("p"), journal.notes(limit=10**6)
    assert len(steps) == len(notes) >= last + 1
    journal.close()
