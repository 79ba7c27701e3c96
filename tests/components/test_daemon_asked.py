"""Who may ask the daemon for what, and requests that make no sense."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from recoverd.cli.daemon import main as recoverd
from recoverd.control.client import ControlClient

from .clusters import Daemon
from .daemons import REQUIRED, Make, make, run
from .people import shown_as

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)

AS_USER = """
import os, sys
from recoverd.cli.ctl import main
uid, groups = int(sys.argv[1]), [int(g) for g in sys.argv[2].split(",") if g]
os.setgroups(groups); os.setresgid(65534, 65534, 65534); os.setresuid(uid, uid, uid)
os.environ.update(USER="root", LOGNAME="root", SUDO_USER="root", HOME="/")
main(sys.argv[3:])
"""


async def as_user(daemon: Daemon, uid: int, groups: str, *arguments: str) -> tuple[int, str]:
    """recoverctl run by another user, who claims to be root in every way that a program could be told."""
    command = [sys.executable, "-c", AS_USER, str(uid), groups, "--socket", str(daemon.socket), *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
async def test_who_approved_is_whom_the_kernel_names(make: Make, run: Callable[..., Daemon], everybodys: Path) -> None:
    prod = await make(approval=REQUIRED)
    daemon = run(prod, socket=everybodys / "control.sock")
    daemon.start()
    await daemon.ready()
    group, nobody = str(daemon.socket.stat().st_gid), pwd.getpwnam("nobody").pw_uid
    code, said = await as_user(daemon, nobody, "", "status")
    assert code == 3 and "for members of the group" in said
    await daemon.in_phase("healthy")
    prod.node.unit("kubelet", "inactive")
    status = await daemon.in_phase("apiserver-down", "awaiting-approval")
    assert (await as_user(daemon, nobody, group, "reject", status["plan"], "--reason", "not now"))[0] == 0
    assert (await daemon.in_phase("apiserver-down", "escalated"))["plan"] is None
    assert (await as_user(daemon, 54321, group, "ack", status["incident"]))[0] == 0
    second = (await daemon.in_phase("apiserver-down", "awaiting-approval"))["plan"]
    # a body, an address and headers that claim to be somebody
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(daemon.socket))) as session:
        for claimed, status_of_it in (({"by": "alice", "user": "alice", "uid": 4242}, 400), ({}, 200)):
            async with session.post(
                f"http://alice@recoverd/v1/plans/{second}/approve?by=alice",
                json={**claimed, "reason": "forged"},
                headers={"X-Remote-User": "alice", "X-Forwarded-User": "alice", "From": "alice"},
            ) as response:
                assert response.status == status_of_it, await response.text()
    await daemon.in_phase("healthy")
    shown = await daemon.json("show", status["incident"])
    decisions = [d for p in shown["plans"] for d in p["decisions"]]
    assert [(d["by"], d["approved"], d["reason"]) for d in decisions] == [
        (shown_as("nobody"), False, "not now"),
        (shown_as("root"), True, "forged"),
    ]
    assert shown["acknowledged_by"].endswith("uid 54321)" if shown_as("nobody") != "nobody" else "uid 54321")
    assert "alice" not in json.dumps(shown)


async def test_what_the_daemon_has_is_written_and_judged_by_whoever_gets_it(
    make: Make, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = run(prod := await make(approval=REQUIRED))
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    prod.node.unit("kubelet", "inactive")
    status = await daemon.in_phase("apiserver-down", "awaiting-approval")
    code, text = await daemon.ctl("dump", "prod")
    assert code == 0, text
    (tmp_path / "prod.json").write_text(text)
    told = CliRunner().invoke(recoverd, ["judge", str(tmp_path / "prod.json")])
    assert told.exit_code == 0, told.output
    assert status["summary"] in told.output and "remedy: start-node-services" in told.output
    assert (await daemon.ctl("dump", "nowhere"))[0] == 4
    for bad in ("[1", '{"format": 1}'):
        (tmp_path / "bad.json").write_text(bad)
        refused = CliRunner().invoke(recoverd, ["judge", str(tmp_path / "bad.json")])
        assert refused.exit_code == 2 and "is no dump" in refused.output


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A directory that every user may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/pause", b"{", 400),
        ("/v1/pause", b"[]", 400),
        ("/v1/pause", b'{"cluster": 5, "reason": "x"}', 400),
        ("/v1/pause", b'{"cluster": "prod", "reason": "  "}', 400),
        ("/v1/run", b'{"playbook": "x", "cluster": "prod", "nodes": "cp1"}', 400),
        ("/v1/pause", b'{"cluster": "prod", "reason": "x", "until": "4am"}', 400),
        ("/v1/plans/prod-1.1/approve", b'{"reason": "x", "but_not": "cp1"}', 400),
        ("/v1/incidents/prod-1/ack", b'{"for": "1h"}', 400),
        ("/v1/notify-test", b'{"topic": "waiting"}', 400),
        ("/v1/join", b'{"dry_run": true}', 400),
        ("/v1/nothing", b"{}", 404),
        ("/v1/plans/..%2F..%2Fetc/approve", b"{}", 404),
    ],
)
async def test_requests_that_make_no_sense(served: Path, path: str, body: bytes, status: int) -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(served))) as session,
        session.post(f"http://recoverd{path}", data=body) as response,
    ):
        answer = await response.json(content_type=None)
    assert response.status == status and answer["error"]
    asked = json.loads(body) if body.startswith(b"{") and body.endswith(b"}") else {}
    if new := {"until", "but_not", "for", "topic", "dry_run"} & set(asked):
        assert f"knows no {new.pop()} of " in answer["error"] and "so nothing was done" in answer["error"]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Path]:
    """A control socket over no cluster, without a daemon."""
    from recoverd.control.server import ControlServer
    from recoverd.daemon.service import Service
    from recoverd.engine.journal import Journal
    from recoverd.engine.writer import JournalWriter

    journal = Journal(tmp_path / "j.sqlite3")
    server = ControlServer(Service(JournalWriter(journal)), tmp_path / "s")
    await server.start()
    yield tmp_path / "s"
    await server.stop()
    journal.close()


async def test_a_client_of_something_else(tmp_path: Path) -> None:
    """What answers on the socket need not be recoverd."""
    from recoverd.control.client import NoDaemon

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_unix_server(babble, tmp_path / "s"):
        with pytest.raises(NoDaemon, match=r"cannot be asked|is not recoverd"):
            await ControlClient(tmp_path / "s").get("/v1/status")
