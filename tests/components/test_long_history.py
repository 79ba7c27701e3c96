"""A history that is longer than what is told at once: how much more there is, and how one gets at it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from recoverd.cli.ctl import main as recoverctl
from recoverd.control.server import ControlServer
from recoverd.daemon import strangers
from recoverd.daemon.service import Service
from recoverd.engine.journal import Journal
from recoverd.engine.writer import JournalWriter
from recoverd.model.audit import Answer, AuditEntry
from recoverd.model.events import Journalled, SaveAudit, SaveIncident, SavePlan
from recoverd.model.finding import State
from recoverd.model.plan import Incident, PlanStatus
from tests.listening import listening

from .test_approval import PLAN

AT = datetime(2026, 3, 5, 19, 10, tzinfo=UTC)
MANY = 230


def history() -> list[Journalled]:
    """So many incidents; the first has as many plans, of which the last one helped, and as many shadows."""
    made: list[Journalled] = []
    for n in range(1, MANY + 1):
        at = AT + timedelta(hours=n)
        made.append(SaveIncident(Incident(f"prod-{n}", "prod", State.ETCD_STUCK, "etcd has lost quorum", at, at)))
        status = PlanStatus.SUCCEEDED if n == MANY else PlanStatus.EXPIRED
        made.append(SavePlan(replace(PLAN, id=f"prod-1.{n}", incident="prod-1", status=status)))
        made.append(SavePlan(replace(PLAN, id=f"prod-2.{n}", incident="prod-2", status=PlanStatus.SHADOW)))
        by = AuditEntry(f"{n}", datetime.now(UTC), "alice", 1, 1, "ack", "prod", f"prod-{n}", "", Answer.DONE, "")
        made.append(SaveAudit(by))
    return made


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.write(history())
    service = Service(JournalWriter(journal))
    service.loops = {"prod": None}  # type: ignore[dict-item]
    server = ControlServer(service, tmp_path / "sock")
    await server.start()
    yield journal
    await server.stop()
    journal.close()


async def ctl(tmp_path: Path, *words: str) -> tuple[Any, str]:
    """What was printed, as JSON where it is, and what was said beside it."""
    result = await asyncio.to_thread(CliRunner().invoke, recoverctl, ["--socket", str(tmp_path / "sock"), *words])
    assert result.exit_code == 0, result.output
    return (json.loads(result.stdout) if "json" in words else result.stdout), result.stderr


@pytest.mark.parametrize(
    ("words", "key", "there"),
    [
        (("incidents",), "incidents", MANY),
        (("plans", "--all"), "plans", 2 * MANY),
        (("plans", "prod-1", "--all"), "plans", MANY),
        (("shadow",), "shadows", MANY),
    ],
)
async def test_what_is_left_out_is_said_and_can_be_had(
    words: tuple[str, ...], key: str, there: int, journal: Journal, tmp_path: Path
) -> None:
    said = f"recoverctl: {there - 200} older ones are not shown; --limit {there} shows all\n"
    answer, beside = await ctl(tmp_path, *words, "-o", "json")
    assert (len(answer[key]), answer["older"], beside) == (200, there - 200, said)
    text, beside = await ctl(tmp_path, *words)
    assert text and beside == said
    answer, beside = await ctl(tmp_path, *words, "--limit", str(there), "-o", "json")
    assert (len(answer[key]), answer["older"], beside) == (there, 0, "")
    answer, beside = await ctl(tmp_path, *words, "--limit", "1", "-o", "json")
    assert (len(answer[key]), answer["older"]) == (1, there - 1) and "not shown" in beside


async def test_the_newest_requests_are_told_and_how_many_came_before(journal: Journal, tmp_path: Path) -> None:
    answer, beside = await ctl(tmp_path, "audit", "--limit", "3", "-o", "json")
    assert [r["subject"] for r in answer["requests"]] == ["prod-228", "prod-229", "prod-230"]
    assert f"{MANY - 3} older ones are not shown; --limit {MANY} " in beside


async def test_a_post_mortem_has_every_plan_of_its_incident(journal: Journal, tmp_path: Path) -> None:
    """A plan that nobody approves expires and is made anew: of four days the newest were left out, with the one that
    helped.
    """
    answer, _ = await ctl(tmp_path, "show", "prod-1", "-o", "json")
    assert len(answer["plans"]) == MANY and answer["plans"][-1]["status"] == "succeeded"


def test_the_name_that_was_meant_is_looked_for_among_all(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.write(history())
    wanted = Incident("standby-1", "standby", State.ETCD_STUCK, "etcd has lost quorum", AT, AT)
    journal.write([SaveIncident(wanted)])
    assert "did you mean standby-1?" in str(strangers.refused(journal, strangers.INCIDENT, "stanby-1", ("prod",)))
    journal.close()


def test_what_was_closed_lately_is_found_however_long_ago_it_was_opened(tmp_path: Path) -> None:
    """The next process tells of its end: of the fifty that were opened last alone it did."""
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.write(history())
    old = journal.incident("prod-1")
    assert old
    closed = AT + timedelta(days=30)
    journal.write([SaveIncident(replace(old, closed_at=closed, timeline=()))])
    assert [i.id for i in journal.incidents(closed_since=closed - timedelta(minutes=10))] == ["prod-1"]
    assert journal.incidents(closed_since=closed + timedelta(minutes=10)) == []
    journal.close()


async def test_of_a_daemon_that_says_nothing_of_more_it_is_said_that_there_may_be(tmp_path: Path) -> None:
    async def incidents(request: web.Request) -> web.Response:
        opened = {"id": "prod-1", "state": "healthy", "opened_at": AT.isoformat(), "closed_at": None, "outcome": None}
        return web.json_response({"incidents": [opened | {"fault_since": AT.isoformat()}] * 200})

    daemon = web.Application()
    daemon.router.add_get("/v1/incidents", incidents)
    async with listening(daemon, tmp_path / "sock"):
        _, beside = await ctl(tmp_path, "incidents")
    assert "there may be older ones, which are not shown: the recoverd that runs is an older one" in beside
