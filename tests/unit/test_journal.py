"""The journal on a real file: what is written is there after a crash, and what is half-written is not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recoverd.daemon.revival import paused
from recoverd.engine.journal import Journal, Saved
from recoverd.engine.journal_file import JournalError, JournalFile
from recoverd.model import bastion_operations, operations, unit_operations
from recoverd.model.audit import Answer, AuditEntry
from recoverd.model.codec import dump, load
from recoverd.model.events import (
    Note,
    Remember,
    SaveAudit,
    SaveDecision,
    SaveIncident,
    SavePlan,
    SaveRecord,
    StepIntent,
    StepOutcome,
)
from recoverd.model.finding import State
from recoverd.model.memory import Memory
from recoverd.model.plan import Incident, Plan, PlanStatus, Step, StepResult, TimelineEntry
from recoverd.model.record import Record, Run
from tests.unit.builders import NOW, Cluster

OPERATIONS: list[operations.Operation] = [
    operations.WriteFile("/etc/kubernetes/manifests/etcd.yaml", "a: b\n", "aa", "bb"),
    operations.MovePath("/a", "/b"),
    unit_operations.Unit("start", "kubelet"),
    unit_operations.AwaitContainerGone("etcd", 30),
    unit_operations.AwaitFlag("etcd", "--force-new-cluster", False, 30),
    unit_operations.Unstick("kube-apiserver"),
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
        id,
        "prod-1",
        "prod",
        "force-new-cluster",
        "sum",
        True,
        False,
        status,
        NOW,
        NOW,
        ("e",),
        ("d",),
        ("u",),
        basis,
        basis,
        steps,
        60.0,
        900.0,
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
    journal.write(
        [SaveIncident(an_incident()), Note("prod", "prod-1", entry), SavePlan(plan), decision, Remember("prod", memory)]
    )
    journal.write([StepIntent(plan.id, 0, False, NOW), SaveRecord("prod", record)])
    journal.write([StepOutcome(plan.id, 0, False, NOW, result), StepIntent(plan.id, 1, False, NOW)])
    journal.close()
    journal = Journal(file)
    assert journal.plan(plan.id) == plan
    assert journal.saved("prod") == Saved(record, memory)
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
    journal.write(
        [
            SavePlan(a_plan()),
            SavePlan(a_plan(PlanStatus.RUNNING, "prod-1.2")),
            SavePlan(a_plan(PlanStatus.EXPIRED, "prod-1.3")),
        ]
    )
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


def test_a_thread_whose_task_was_cancelled_may_still_write_while_another_begins(file: Path) -> None:
    journal, there = JournalFile(file), "INSERT INTO cluster (name) VALUES (?)"

    def write(name: str) -> None:
        with journal.transaction() as db:
            db.execute(there, (name,))

    with ThreadPoolExecutor() as threads:
        with journal.transaction() as db:
            db.execute(there, ("left alone",))
            later = [threads.submit(write, "next"), threads.submit(journal.rows, "SELECT name FROM cluster")]
            assert not wait_for(later, timeout=0.1).done, "nothing is written into another's transaction, or read of it"
        later[0].result(), later[1].result()
    assert journal.rows("SELECT name FROM cluster ORDER BY name") == [("left alone",), ("next",)]
    journal.close()


def test_a_second_daemon_is_kept_out(file: Path) -> None:
    journal = Journal(file)
    with pytest.raises(JournalError, match=rf"another recoverd \(process {os.getpid()}\)"):
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
        from recoverd.engine.journal import Journal
        from recoverd.model.events import Note, StepIntent
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


DAMAGE = {
    "an old plan cut short": ("UPDATE plan SET json = substr(json, 1, 50) WHERE id='prod-1.1'", ("plan", "prod-1.1")),
    "an old incident of another version": (
        "UPDATE incident SET json = replace(json, 'etcd-stuck', 'etcd-quorum')",
        ("incident", "prod-1"),
    ),
    "a plan with an operation of a newer version": (
        "UPDATE plan SET json = replace(json, 'write-file', 'write-file-2') WHERE id='prod-1.1'",
        ("plan", "prod-1.1"),
    ),
    "bytes that are no text": (
        "UPDATE plan SET json = CAST(x'7bff' AS TEXT) WHERE id='prod-1.1'",
        ("plan", "prod-1.1"),
    ),
    "a time that is none": ("UPDATE note SET at='yesterday'", ("note", "1")),
    "a step's result cut short": ("UPDATE step SET result = substr(result, 1, 5)", ("step", "1")),
    "a decision's time that is none": ("UPDATE decision SET at=''", ("decision", "1")),
}


@pytest.mark.parametrize(("sql", "place"), DAMAGE.values(), ids=DAMAGE)
def test_a_row_of_history_that_cannot_be_read_is_left_out_and_told(
    file: Path, sql: str, place: tuple[str, str]
) -> None:
    journal = Journal(file)
    plans = a_plan(PlanStatus.SUCCEEDED), a_plan(PlanStatus.SUCCEEDED, "prod-1.2")
    other = replace(an_incident(), id="prod-2", state=State.APISERVER_DOWN)
    journal.write([SaveIncident(an_incident()), SaveIncident(other), SavePlan(plans[0]), SavePlan(plans[1])])
    journal.write(
        [Note("prod", "prod-1", TimelineEntry(NOW, "opened", "x")), SaveDecision("prod-1.1", True, "alice", "", NOW)]
    )
    journal.write(
        [StepIntent("prod-1.1", 0, False, NOW), StepOutcome("prod-1.1", 0, False, NOW, StepResult(True, "done"))]
    )
    journal.close()
    with sqlite3.connect(file) as db:
        db.execute(sql)
    journal = Journal(file)
    assert "prod-2" in [i.id for i in journal.incidents()] and "prod-1.2" in [p.id for p in journal.plans()]
    for read in (lambda: journal.incident("prod-1"), lambda: journal.plan("prod-1.1"), journal.notes):
        read()
    journal.steps("prod-1.1")
    journal.decisions("prod-1.1")
    assert list(journal.unreadable) == [place]
    journal.close()


@pytest.mark.parametrize("repair", ["written over", "put right", "put right and not read since", "deleted"])
def test_what_could_not_be_read_is_told_no_longer_once_it_can_be(file: Path, repair: str) -> None:
    journal = Journal(file)
    plan = a_plan(PlanStatus.SUCCEEDED)
    journal.write([SavePlan(plan)])
    with sqlite3.connect(file) as db:
        db.execute("UPDATE plan SET json = substr(json, 1, 50)")
    assert journal.plan(plan.id) is None and journal.places() == ["plan"]
    if repair == "written over":
        journal.write([SavePlan(plan)])
    else:
        with sqlite3.connect(file) as db:
            if repair == "deleted":
                db.execute("DELETE FROM plan")
            else:
                db.execute("UPDATE plan SET json=?", (dump(plan),))
    if repair == "put right":
        assert journal.plan(plan.id) == plan
    elif repair != "written over":
        journal.unreadable.look_anew()
    assert journal.places() == []
    journal.close()


def test_a_cluster_that_was_paused_for_what_cannot_be_read_is_told_until_it_is_resumed(file: Path) -> None:
    journal = Journal(file)
    journal.write([SaveRecord("prod", Record("healthy", NOW)), Remember("prod", Memory())])
    with sqlite3.connect(file) as db:
        db.execute("UPDATE cluster SET record='{', memory='{'")
    saved, why = paused(journal.saved("prod"), "prod", (), NOW)
    assert saved.record
    journal.begin_anew("prod", saved.record, saved.memory, why, NOW)
    assert journal.saved("prod").trouble == () and journal.places() == ["record", "memory"]
    journal.unreadable.look_anew()
    assert len(journal.places()) == 2, "nobody has looked at the machines"
    journal.write([SaveRecord("prod", replace(saved.record, pause=None))])
    assert journal.places() == []
    journal.close()


def test_the_names_under_which_a_control_plane_was_watched_are_found_beside_damaged_rows(
    file: Path,
) -> None:
    journal = Journal(file)
    for name, planes in (("prod", ("10.0.0.1", "10.0.0.2")), ("other", ("10.0.0.3",)), ("old", ()), ("bad", ())):
        journal.write([SaveRecord(name, Record("healthy", NOW, planes=planes))])
    with sqlite3.connect(file) as db:
        db.execute("UPDATE cluster SET record='{' WHERE name='bad'")
    assert journal.names_of(("10.0.0.2", "10.0.0.9")) == ["prod"]
    assert journal.names_of(("10.0.0.1", "10.0.0.2", "10.0.0.3")) == ["other", "prod"]
    assert journal.names_of(()) == []
    journal.close()


@pytest.mark.parametrize("column", ["record", "memory"])
def test_what_cannot_be_read_of_a_cluster_is_kept_when_it_is_written_over(file: Path, column: str) -> None:
    journal = Journal(file)
    journal.write(
        [
            SaveRecord("prod", Record("healthy", NOW)),
            Remember("prod", Cluster(1).memory()),
            SaveRecord("standby", Record("healthy", NOW)),
        ]
    )
    journal.close()
    with sqlite3.connect(file) as db:
        db.execute(f"UPDATE cluster SET {column} = substr({column}, 1, 20) WHERE name='prod'")
        (left,) = db.execute(f"SELECT {column} FROM cluster WHERE name='prod'").fetchone()
    journal = Journal(file)
    assert journal.saved("standby") == Saved(Record("healthy", NOW), Memory())
    saved = journal.saved("prod")
    assert saved.trouble == (f"its {column} in the journal cannot be read",)
    assert (saved.record is None) == (column == "record") and (saved.memory == Memory()) == (column == "memory")
    for _ in range(2):
        journal.write([SaveRecord("prod", Record("healthy", NOW)), Remember("prod", Memory())])
    journal.close()
    with sqlite3.connect(file) as db:
        kept = db.execute("SELECT source, key, text FROM unreadable WHERE key='prod'").fetchall()
        assert kept == [(column, "prod", left)]
    assert Journal(file).saved("prod").trouble == ()


def test_a_plan_whose_cluster_has_no_record_any_more_is_told(file: Path) -> None:
    journal = Journal(file)
    journal.write([SavePlan(a_plan(PlanStatus.RUNNING))])
    assert journal.saved("prod").trouble == ("its record is gone from the journal, though plan prod-1.1 is open there",)
    journal.begin_anew("prod", Record("healthy", NOW), Memory(), "nobody knows", NOW)
    (plan,) = journal.plans()
    assert (plan.status, plan.reason) == (PlanStatus.FAILED, "nobody knows")
    assert journal.saved("prod").trouble == ()
    journal.close()


def test_numbers_go_on_after_a_record_that_is_lost() -> None:
    saved, why = paused(
        Saved(None, Memory(), ("its record in the journal cannot be read",)),
        "prod",
        ["prod-9", "prod-12", "prod-m3"],
        NOW,
    )
    assert saved.record is not None and saved.record.pause is not None
    assert (saved.record.incidents, saved.record.maintenances) == (12, 3)
    assert saved.record.pause.by == "recoverd" and "recoverctl resume prod" in why


def test_a_journal_of_before_the_record_of_requests_opens_and_takes_them(file: Path) -> None:
    journal = Journal(file)
    journal.write([SavePlan(a_plan())])
    journal.close()
    with sqlite3.connect(file) as db:
        db.execute("DROP TABLE audit")
    entry = AuditEntry("a", NOW, "alice", None, 0, "approve", "prod", "prod-1.1", "go")
    journal = Journal(file)
    journal.write([SaveAudit(entry)])
    journal.write([SaveAudit(replace(entry, answer=Answer.DONE, detail="it runs"))])
    assert journal.audit(NOW) == [replace(entry, answer=Answer.DONE, detail="it runs")]
    assert journal.plan("prod-1.1") == a_plan()
    journal.close()


def test_a_request_of_a_version_to_come_is_left_out_and_told(file: Path) -> None:
    journal = Journal(file)
    journal.write([SaveAudit(AuditEntry("a", NOW, "alice", 1, 1, "approve", "prod", "", ""))])
    journal.close()
    with sqlite3.connect(file) as db:
        db.execute("UPDATE audit SET answer='postponed'")
    journal = Journal(file)
    assert journal.audit(NOW) == [] and list(journal.unreadable) == [("audit", "1")]
    journal.close()
