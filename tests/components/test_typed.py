"""What people type at the control socket: names that nothing has, bytes that are no text, and terminals that show less
than there is to say.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from recoverd.cli.ctl import main as recoverctl
from recoverd.control.protocol import IncidentReport
from recoverd.control.server import ControlServer
from recoverd.daemon import strangers
from recoverd.engine.journal import Journal
from recoverd.model.audit import AuditEntry
from recoverd.model.events import Refused, SaveIncident, SavePlan
from recoverd.model.finding import State
from recoverd.model.plan import Incident
from recoverd.model.status import ClusterStatus

from .test_approval import PLAN

AT = datetime(2026, 3, 5, 19, 10, tzinfo=UTC)
GREETING = "Grüße – Wartung ✓"


@dataclass
class Listener:
    """A daemon that keeps what it is asked for."""

    names: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    pause_reason: str = ""

    async def report(self, incident: str) -> IncidentReport:
        self.names.append(incident)
        raise Refused(f"there is no incident {incident}", missing=True)

    async def acknowledge(self, incident: str, by: str) -> str:
        self.names.append(incident)
        return "acknowledged"

    async def reject(self, plan: str, by: str, reason: str) -> str:
        self.names.append(plan)
        self.reasons.append(reason)
        return "rejected"

    async def dumped(self, cluster: str) -> dict[str, Any]:
        self.names.append(cluster)
        raise Refused(f"there is no cluster {cluster}", missing=True)

    async def pause(self, cluster: str | None, by: str, reason: str) -> str:
        self.reasons.append(reason)
        return "paused"

    def status(self) -> list[ClusterStatus]:
        paused = bool(self.pause_reason), self.pause_reason
        return [ClusterStatus("prod", State.HEALTHY, None, AT, *paused, "all is well", (), None, None, None, AT, "")]

    def notices(self) -> list[str]:
        return []

    async def record(self, entry: AuditEntry) -> None:
        entry.reason.encode()  # as the journal's file has it


@pytest.fixture
async def listener(tmp_path: Path) -> AsyncIterator[Listener]:
    asked = Listener()
    server = ControlServer(asked, tmp_path / "sock")  # type: ignore[arg-type]
    await server.start()
    yield asked
    await server.stop()


async def ctl(tmp_path: Path, *words: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, recoverctl, ["--socket", str(tmp_path / "sock"), *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


async def process(tmp_path: Path, *words: str | bytes, **environment: str) -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr of a recoverctl of its own."""
    given = os.environ | environment
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "recoverd.cli.ctl", "--socket", str(tmp_path / "sock"), *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=given,
    )  # fmt: skip
    out, err = await started.communicate()
    return started.returncode or 0, out, err


@pytest.mark.parametrize("name", ["../status", "..", "x?y", "x#y", "a/b", "prod-1/../../pause", "%2e", "ä", "x y"])
async def test_a_name_is_a_name_whatever_is_in_it(name: str, listener: Listener, tmp_path: Path) -> None:
    assert await ctl(tmp_path, "show", name) == (4, f"recoverctl: there is no incident {name}\n")
    assert await ctl(tmp_path, "dump", name) == (4, f"recoverctl: there is no cluster {name}\n")
    assert (await ctl(tmp_path, "ack", name))[0] == 0
    assert (await ctl(tmp_path, "reject", name, "--reason", "no"))[0] == 0
    assert listener.names == [name] * 4


async def test_a_variable_that_is_not_set_is_no_name(listener: Listener, tmp_path: Path) -> None:
    for words in (("show", ""), ("dump", ""), ("ack", ""), ("reject", "", "--reason", "no")):
        code, said = await ctl(tmp_path, *words)
        assert code == 4 and "the name that was given is empty" in said
    assert not listener.names


@pytest.mark.parametrize(
    ("environment", "typed", "kept"),
    [
        ({"LC_ALL": "C"}, GREETING.encode(), GREETING),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, GREETING.encode(), GREETING),
        ({"LC_ALL": "C.UTF-8"}, "Grüße".encode("latin-1"), r"Gr\xfc\xdfe"),
    ],
    ids=["C", "ASCII", "a terminal of Latin-1"],
)
async def test_what_a_person_types_is_kept_as_text(
    environment: dict[str, str], typed: bytes, kept: str, listener: Listener, tmp_path: Path
) -> None:
    code, _, err = await process(tmp_path, "pause", "prod", "--reason", typed, **environment)
    assert (code, listener.reasons) == (0, [kept]), err


async def test_half_a_character_in_a_request_stops_no_journal(listener: Listener, tmp_path: Path) -> None:
    body = {"cluster": "prod", "reason": "half \ud83d"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "sock"))) as session,
        session.post("http://recoverd/v1/pause", data=json.dumps(body)) as response,
    ):
        assert response.status == 200, await response.text()
    assert listener.reasons == [r"half \ud83d"]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
async def test_a_terminal_that_lacks_a_character_is_shown_the_rest(
    encoding: str, listener: Listener, tmp_path: Path
) -> None:
    listener.pause_reason = GREETING
    code, out, err = await process(tmp_path, "status", PYTHONIOENCODING=encoding)
    assert (code, err) == (0, b"") and b"Wartung" in out and b"recoverctl resume prod" in out
    code, out, err = await process(tmp_path, "status", "-o", "json", PYTHONIOENCODING=encoding)
    assert (code, err) == (0, b"") and json.loads(out)["clusters"][0]["pause_reason"] == GREETING


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [("status",), ("status", "-o", "json"), ("--help",)])
async def test_a_full_disk_behind_the_output_is_said(
    words: tuple[str, ...], listener: Listener, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb") as full:  # noqa: ASYNC230  # nothing waits there
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "recoverd.cli.ctl", "--socket", str(tmp_path / "sock"), *words,
            stdout=full, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, err = await started.communicate()
    assert (started.returncode, err.decode()) == (
        1,
        "what is to be said here cannot be written: No space left on device\n",
    )


def refused(tmp_path: Path, kind: str, name: str, clusters: Collection[str] = ("prod", "standby")) -> str:
    journal = Journal(tmp_path / "journal.sqlite3")
    try:
        incident = Incident("prod-1", "prod", State.ETCD_STUCK, "etcd has lost quorum", AT, AT)
        journal.write([SaveIncident(incident), SavePlan(PLAN)])
        error = strangers.refused(journal, kind, name, clusters)
        assert error.missing
        return str(error)
    finally:
        journal.close()


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (strangers.INCIDENT, "prod-1.1", "there is no incident prod-1.1; prod-1.1 is a plan, of incident prod-1"),
        (strangers.INCIDENT, "prod", "there is no incident prod; prod is a cluster: recoverctl incidents prod"),
        (strangers.INCIDENT, "pord-1", "there is no incident pord-1; did you mean prod-1?"),
        (strangers.INCIDENT, "web", "there is no incident web; `recoverctl incidents` lists them"),
        (strangers.PLAN, "prod-1", "there is no plan prod-1; prod-1 is an incident: recoverctl plans prod-1 --all"),
        (strangers.PLAN, "PROD-1.1", "there is no plan PROD-1.1; did you mean prod-1.1?"),
        (strangers.ANY, "standbye", "there is no plan, incident or cluster standbye; did you mean standby?"),
        (strangers.ANY, "web", "there is no plan, incident or cluster web; `recoverctl plans --all` lists them"),
    ],
)
def test_who_types_a_name_of_nothing_is_told_what_was_probably_meant(
    kind: str, name: str, said: str, tmp_path: Path
) -> None:
    assert refused(tmp_path, kind, name) == said
