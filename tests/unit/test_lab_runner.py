"""How lab tests are chosen, ordered, counted and told, and that a failure's archive keeps no
key; none of it needs a cluster.
"""

from __future__ import annotations

import ast
import base64
import json
from pathlib import Path

import pytest

from recoverd.playbooks import registry
from tests.lab.runner import choice, evidence, results
from tests.lab.runner.results import Row, Seen

LAB = Path(__file__).parents[1] / "lab"
ONE, OTHER = "tests/lab/test_join.py::test_good", "tests/lab/test_join.py::test_bad[a-b]"


def line(nodeid: str, outcome: str, when: str = "call", **properties: object) -> str:
    return json.dumps({"nodeid": nodeid, "when": when, "outcome": outcome, "seconds": 7.4, "properties": properties})


def test_every_playbook_is_shown_by_a_test_of_the_core() -> None:
    shown = set()
    for file in LAB.glob("test_*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "core":
                shown |= {word.value for word in call.args if isinstance(word, ast.Constant)}
    assert shown == {playbook.name for playbook in registry()}


@pytest.mark.parametrize(
    "name", ["test_join", "test_join.py", "test_bad", "test_bad[a-b]", "test_join::test_bad[a-b]", OTHER]
)
def test_a_test_may_be_called_by_any_of_its_names(name: str) -> None:
    assert OTHER in choice.named([ONE, OTHER], [name])


def test_a_name_that_no_test_has_is_refused_with_what_is_near() -> None:
    with pytest.raises(choice.NoSuchTest, match=r"no lab test is called test_godo; do you mean .*test_good"):
        choice.named([ONE, OTHER], [ONE, "test_godo"])


def test_a_module_goes_to_one_worker_and_turns_to_both() -> None:
    assert choice.group(ONE) == choice.group(OTHER) != choice.group("tests/lab/test_x.py::test_good")
    assert choice.group(f"{ONE}[turn1]") == choice.group(f"{ONE}[turn3]") != choice.group(f"{ONE}[turn2]")


def test_the_longest_group_comes_first_and_keeps_its_order() -> None:
    known = {"test_a::x": 10.0, "test_b::x": 200.0, "test_b::y": 5.0}
    items = ["test_a.py::x", "test_b.py::x", "test_b.py::y"]
    assert choice.longest_first(items, lambda i: i[:6], lambda i: i, known) == [
        "test_b.py::x",
        "test_b.py::y",
        "test_a.py::x",
    ]


def test_what_fails_and_passes_then_is_flaky_and_nothing_else_is() -> None:
    first = results.read(
        [line(ONE, "failed", evidence="/a"), line(OTHER, "failed"), line("tests/lab/test_x.py::y", "passed")]
    )
    again = results.read([line(ONE, "passed"), line(OTHER, "passed"), line(OTHER, "failed", "teardown")])
    outcomes = {name: row.outcome for name, row in results.rows(first, again, "abc", "today").items()}
    assert outcomes == {"test_join::test_good": "flaky", "test_join::test_bad[a-b]": "FAILED", "test_x::y": "passed"}
    assert first["test_join::test_good"].evidence == "/a"


def test_what_was_begun_and_cut_off_has_not_passed() -> None:
    first = results.read([line(ONE, "passed", "setup"), line(OTHER, "passed", "setup"), line(OTHER, "passed")])
    outcomes = {name: row.outcome for name, row in results.rows(first, {}, "abc", "today").items()}
    assert outcomes == {"test_join::test_good": "FAILED", "test_join::test_bad[a-b]": "passed"}


def test_turns_are_counted() -> None:
    turns = {
        name: Seen(name, name, failed=name.endswith("2]"))
        for name in ("t::x[turn1]", "t::x[turn2]", "t::y[a-turn1]", "t::y[a-turn2-b]")
    }
    outcomes = {name: row.outcome for name, row in results.rows(turns, {}, "abc", "today").items()}
    assert outcomes == {"t::x": "passed 1 of 2", "t::y[a]": "passed", "t::y[a-b]": "passed"}
    assert not results.every_turn("passed 1 of 2") and results.every_turn("passed 20 of 20")


def test_the_table_keeps_what_was_not_run_and_comes_back_as_it_was_written(tmp_path: Path) -> None:
    table, file = (
        {
            "test_b::y[a|b]": Row("passed", "3", "1.20.2", "3.4.13", "containerd 1.6", "abc", "2026-01-01"),
            "test_a::x": Row("FAILED", "9"),
        },
        tmp_path / "t",
    )
    results.save(file, table)
    assert results.load(file) == table
    assert file.read_text().index("test_a::x") < file.read_text().index("test_b::y")
    new = {"test_a::x": Row("passed", "8")}
    assert results.merge(table, new, whole=False) == table | new
    assert results.merge(table, new, whole=True) == new
    beside = {"test_a::x (sudo)": Row("passed", "9"), "test_b::y (one or two)[a]": Row("passed", "9")}
    merged = results.merge(table | beside, new, whole=True)
    assert merged == new | {"test_a::x (sudo)": beside["test_a::x (sudo)"]}, "of a profile that was not run"


KEY = "-----BEGIN {}PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\n-----END {}PRIVATE KEY-----\n"


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH "])
def test_no_private_key_gets_into_an_archive(kind: str) -> None:
    key = KEY.format(kind, kind)
    encoded = base64.b64encode(key.encode()).decode()
    for text in (f"a{key}b", f"a {encoded} b", f"client-key-data: {encoded}\nb"):
        kept = evidence.without_secrets(text.encode())
        assert len(kept) == len(text) and b"MIIE" not in kept and encoded[20:60].encode() not in kept
        assert kept[:1] == text[:1].encode() and kept.rstrip().endswith(b"b")


def test_certificates_are_kept() -> None:
    certificate = b"-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n"
    text = certificate + b"certificate-authority-data: " + base64.b64encode(certificate * 3)
    assert evidence.without_secrets(text) == text


def test_what_does_not_end_is_told_in_its_place_and_holds_nothing_up(tmp_path: Path) -> None:
    hung = evidence.said(["bash", "-c", "echo begun; sleep 100 & wait"], 0.5)
    assert hung == b"begun\n\nnot within 0.5 s\n"
    assert evidence.said(["false"]) == b"\nexit code 1\n"
