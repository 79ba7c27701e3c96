"""What recoverctl prints: what is one cause is told once, and nothing that has to be typed is cut."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoverd.cli.render import Printer
from recoverd.control import shapes
from recoverd.control.changes import changes
from recoverd.model.operations import WriteFile, sha256
from recoverd.model.plan import Step
from tests.unit.test_post_mortem import plan

LONG = "a-cluster-with-a-very-long-name-of-sixty-three-characters-000000"


def finding(subject: str, code: str = "certificate-expired") -> dict[str, Any]:
    return {
        "code": code,
        "subject": subject,
        "severity": "fault",
        "message": f"{subject} expired.",
        "evidence": [f"seen in {subject}"],
    }


def cluster(*findings: dict[str, Any], **other: Any) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(minutes=3)
    moments = {
        "since": shapes.moment(at),
        "fault_since": shapes.moment(at - timedelta(hours=2)),
        "last_sweep": shapes.moment(at),
    }
    named = {
        "name": LONG,
        "state": "apiserver-down",
        "phase": "awaiting-approval",
        "incident": f"{LONG}-12",
        "plan": f"{LONG}-12.34",
    }
    words = {"paused": False, "pause_reason": "", "summary": "down", "explanation": "", "findings": list(findings)}
    return named | moments | words | other


def printed(capsys: pytest.CaptureFixture[str], *clusters: dict[str, Any], full: bool = False) -> str:
    Printer().status(list(clusters), full=full)
    return capsys.readouterr().out


def test_ids_are_never_cut_and_the_fault_is_as_old_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    header, row = printed(capsys, cluster()).splitlines()[:2]
    assert header.split() == ["CLUSTER", "STATE", "SINCE", "INCIDENT", "PLAN"]
    assert row.split() == [
        LONG,
        "apiserver-down/awaiting-approval",
        "2",
        "h",
        "3",
        "min",
        f"{LONG}-12",
        f"{LONG}-12.34",
    ]


def test_many_findings_of_one_kind_are_told_together_and_all_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    many = [finding(f"cp1:/etc/kubernetes/{n}.crt") for n in range(9)]
    told = printed(capsys, cluster(*many, finding("cp1", "kubelet-down")))
    assert told.count("certificate-expired cp1:") == 1 and told.count("| seen in") == 2
    assert "8 more of this kind (--full): cp1:/etc/kubernetes/1.crt, " in told and "cp1:/etc/kubernetes/8.crt" in told
    assert "kubelet-down cp1" in told
    whole = printed(capsys, cluster(*many), full=True)
    assert whole.count("certificate-expired cp1:") == 9 and "more of this kind" not in whole


def test_few_findings_of_one_kind_are_told_one_by_one_unless_they_say_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = [finding(f"cp{n}") | {"message": f"cp{n} fails in its way no {n}x"} for n in (1, 2, 3)]
    assert printed(capsys, cluster(*few)).count("certificate-expired cp") == 3
    same = [
        finding(f"cp{n}") | {"message": f"The API server at 10.0.0.{n}:6443 on cp{n} is down since 10:00:0{n} UTC."}
        for n in (1, 2, 3)
    ]
    told = printed(capsys, cluster(*same))
    assert told.count("certificate-expired cp") == 1 and "2 more of this kind (--full): cp2, cp3" in told
    assert printed(capsys, cluster(*same), full=True).count("certificate-expired cp") == 3


def write(text: str, undo: str | None = None, host: str = "cp1") -> Step:
    back = WriteFile("/m/etcd.yaml", undo, sha256(undo), before="") if undo is not None else None
    return Step(host, "write", WriteFile("/m/etcd.yaml", text, sha256(text), before=""), 20.0, undo=back)


def test_a_step_shows_the_lines_that_it_changes_against_what_stands_there_then() -> None:
    first, flagged = "a: 1\nb: 2\n", "a: 1\nb: 2\n- --force-new-cluster=true\n"
    there = {("cp1", "/m/etcd.yaml"): first}
    made = plan(write(flagged), write(first), write(flagged, host="cp2"), write("a: 3\nb: 2\n", undo=first, host="cp3"))
    assert changes(made, lambda host, path: there.get((host, path), "")) == [
        ["+ - --force-new-cluster=true"],
        ["- - --force-new-cluster=true"],
        [],
        ["- a: 1", "+ a: 3"],
    ]


def test_the_mark_that_makes_kubelet_forget_its_back_off_is_no_change() -> None:
    marked = "a: 1\nrecoverd/incident: prod-1\n"
    assert changes(plan(write(marked)), lambda host, path: "a: 1\n") == [[]]


@pytest.mark.parametrize("columns", [80, 40])
def test_sentences_are_wrapped_at_words_on_a_terminal_and_nowhere_else(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    said = " ".join(["the API server on cp1 does not answer"] * 6)
    for terminal in (True, False):
        monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
        printer = Printer()
        monkeypatch.setattr(type(printer._console), "is_terminal", terminal)
        printer.status([cluster(name="prod", summary=said, incident="prod-1", plan="prod-1.1")], [said])
        prose = [line for line in capsys.readouterr().out.splitlines() if "API" in line]
        if terminal:
            plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in prose]
            assert len(plain) > 4 and max(map(len, plain)) <= columns, plain
        else:
            assert len(prose) == 2, prose
