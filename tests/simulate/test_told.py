"""A story that the model cluster has lived through, told as a post-mortem in all its forms."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from recoverd.cli.render import Printer
from recoverd.control import shapes
from recoverd.control.protocol import IncidentReport
from recoverd.engine.journal import Journal
from recoverd.report import pages
from recoverd.report.course import Kind
from recoverd.report.postmortem import post_mortem
from recoverd.simulate.clock import run
from recoverd.simulate.script import Player, parse
from recoverd.simulate.stage import Ledger, Stage

NOW = "2026-03-05T20:00:00.000Z"


def lived(name: str, path: Path) -> dict[str, Any]:
    """The only incident of a scenario, as `recoverctl show -o json` has it."""
    journal = Journal(path / "journal.sqlite3")

    async def play() -> None:
        script = parse((files("recoverd.simulate") / "scenarios" / f"{name}.txt").read_text())
        settings, _ = script.settings()
        stage = Stage(script.model(), settings, ledger=Ledger(journal))
        player = Player(stage)
        for block in script.blocks:
            await player.play(block)
        await stage.kill()

    try:
        run(play())
        (incident,) = journal.incidents()
        plans = journal.plans(incident=incident.id)
        steps, decisions = {p.id: journal.steps(p.id) for p in plans}, {p.id: journal.decisions(p.id) for p in plans}
        return shapes.report(IncidentReport(incident, plans, steps, decisions))
    finally:
        journal.close()


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return lived("join-stuck", tmp_path_factory.mktemp("stuck"))


def test_detection_the_wait_and_the_repair_are_told_apart_and_alike_in_every_form(
    stuck: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    seen = post_mortem(stuck, NOW)
    detect, person, repair = (seen.course.seconds(k) for k in (Kind.DETECT, Kind.PERSON, Kind.REPAIR))
    assert detect + person + repair == seen.course.whole and min(detect, person, repair) > 0
    Printer().report(stuck)
    text, markdown, html = capsys.readouterr().out, pages.in_markdown(seen), pages.in_html(seen)
    assert f"this took   detect {detect} s, wait for a person {person} s, repair {repair} s" in text
    assert f"| wait for a person | **{person} s** |" in markdown
    assert f"wait for a person <b>{person} s</b>" in html
    for told in (text, markdown, html):
        assert f"after {seen.course.whole} s: recovered" in told
        assert told.count(f"healthy again, {seen.course.whole} s after") == 1, "one number for one length"
    assert re.search(rf"\+{detect}  opened", text) and re.search(rf"\+{seen.course.whole}  closed", text)


def test_a_step_is_told_once_and_its_shell_is_in_the_appendix(stuck: dict[str, Any]) -> None:
    told = pages.in_markdown(post_mortem(stuck, NOW))
    body, appendix = told.split("## Appendix")
    (plan,) = stuck["plans"]
    assert body.count("take --force-new-cluster out again") == 1
    assert "step-started" not in body and "step-done" not in body
    assert appendix.count("```sh") == len(plan["steps"]) and "```" not in body
    assert "| operator | approved | prod-1.1 (force-new-cluster) |" in body
    lost = body.split("## What was lost")[1].split("##")[0]
    assert all(pages.markdown(text) in lost for text in plan["destroys"])


def test_a_finding_of_the_whole_cluster_has_no_stray_blank(stuck: dict[str, Any]) -> None:
    told = pages.in_markdown(post_mortem(stuck, NOW))
    assert "- etcd-quorum-lost: etcd has lost quorum" in told and " : " not in told.split("## Appendix")[0]


def test_in_the_middle_of_it_what_waits_is_told_and_what_it_would_cost(stuck: dict[str, Any]) -> None:
    until = next(n for n, e in enumerate(stuck["timeline"]) if e["event"] == "approved")
    (plan,) = stuck["plans"]
    waiting = plan | {"status": "awaiting-approval", "reason": "", "results": [], "decisions": []}
    early = stuck | {
        "closed_at": None, "outcome": None, "timeline": stuck["timeline"][:until], "plans": [waiting],
    }  # fmt: skip
    seen = post_mortem(early, NOW)
    for told in (pages.in_markdown(seen), pages.in_html(seen)):
        assert "still open, for 49 min 45 s by now" in told
        assert "Nothing by what recoverd did." in told and "Would be lost, were the plan that waits approved:" in told
        assert f"{len(plan['steps'])} of {len(plan['steps'])} steps were not begun" in told


def test_a_plan_that_ran_unasked_was_decided_by_the_configuration(tmp_path: Path) -> None:
    seen = post_mortem(lived("kubelet-stopped", tmp_path), NOW)
    assert [(d.who, d.what) for d in seen.decisions] == [("recoverd", "ran unasked")]
    assert seen.course.seconds(Kind.PERSON) == 0 < seen.course.seconds(Kind.REPAIR)
