"""`recoverctl watch` and what else is asked of one cluster by name, against the daemon as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner

from recoverd.cli.ctl import main as recoverctl
from tests.listening import listening

from .clusters import Daemon
from .daemons import REQUIRED, Make, make, run

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)
DEADLINE = 60.0


@asynccontextmanager
async def watching(daemon: Daemon, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`recoverctl watch`, and interrupted at the end, as at a terminal."""
    command = [sys.executable, "-m", "recoverd.cli.ctl", "--socket", str(daemon.socket), "watch", *arguments]
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec("env", "--default-signal=INT", *command, **pipes)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()


async def line_with(stream: asyncio.StreamReader | None, what: str) -> list[str]:
    """The lines up to one with these words in it."""
    assert stream
    seen: list[str] = []
    try:
        async with asyncio.timeout(DEADLINE):
            while not seen or what not in seen[-1]:
                seen.append((await stream.readline()).decode())
                assert seen[-1], f"it ended without {what}: {seen}"
    except TimeoutError:
        raise AssertionError(f"no {what} in {seen}") from None
    return seen


async def test_one_cluster_is_watched_alone_and_across_a_restart(make: Make, run: Callable[..., Daemon]) -> None:
    prod, other = await make(approval=REQUIRED), await make("other", approval=REQUIRED)
    daemon = run(prod, other)
    daemon.start()
    await daemon.ready()
    assert (await daemon.ctl("watch", "nothing"))[0] == 4
    async with watching(daemon, "prod") as process:
        (now,) = await line_with(process.stdout, "now")
        assert "prod" in now
        other.node.unit("kubelet", "inactive")
        await daemon.in_phase("apiserver-down", "awaiting-approval", "other")
        daemon.kill(signal.SIGTERM)
        await line_with(process.stderr, "this goes on when it runs again")
        daemon.start()
        (again,) = await line_with(process.stdout, "now")
        assert "prod" in again
        prod.node.unit("kubelet", "inactive")
        told = await line_with(process.stdout, "plan-made")
        assert "other" not in "".join(told)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130


async def test_a_name_that_no_cluster_has_is_no_empty_list(make: Make, run: Callable[..., Daemon]) -> None:
    daemon = run(await make())
    daemon.start()
    await daemon.ready()
    for words in (("incidents", "pord"), ("incidents", "--cluster", "pord"), ("shadow", "pord"), ("plans", "pord")):
        code, said = await daemon.ctl(*words)
        assert code == 4 and "pord" in said, words
    assert await daemon.ctl("incidents", "prod") == (0, "no incident is known\n")
    assert (await daemon.ctl("incidents", "prod", "--cluster", "other"))[0] == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("shadow",), 1, "it does not know what was asked: the recoverd that runs is 0.0.1, this recoverctl is "),
        (("status",), 1, "the answer has no 'state': the recoverd that runs is 0.0.1, this recoverctl is "),
        (("status", "-o", "json"), 0, '"name": "prod"'),
        (("check",), 3, "UNKNOWN: the answer has no 'last_sweep': the recoverd that runs is 0.0.1, this recoverctl "),
        (("watch",), 1, "the answer has no 'state': the recoverd that runs is 0.0.1, this recoverctl is "),
        (("approve", "prod-1.1"), 1, "the answer has no 'status': the recoverd that runs is 0.0.1, this recoverctl "),
        (("show", "prod-1", "--format", "md"), 1, "the answer has no 'plans': the recoverd that runs is 0.0.1, "),
    ],
)
async def test_a_daemon_of_another_version_is_called_that(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    async def status(_: web.Request) -> web.Response:
        return web.json_response({"clusters": [{"name": "prod"}]})

    async def plans(_: web.Request) -> web.Response:
        return web.json_response({"plans": [{"id": "prod-1.1"}]})

    async def incident(_: web.Request) -> web.Response:
        return web.json_response({"id": "prod-1"})

    @web.middleware
    async def errors(request: web.Request, handler: Callable[..., object]) -> web.StreamResponse:
        """As the daemon's own."""
        try:
            response: web.StreamResponse = await handler(request)  # type: ignore[misc]
        except web.HTTPException as error:
            response = web.json_response({"error": error.text}, status=error.status)
        response.headers["Recoverd-Version"] = "0.0.1"
        return response

    application = web.Application(middlewares=[errors])  # type: ignore[list-item]
    application.router.add_get("/v1/status", status)
    application.router.add_get("/v1/plans", plans)
    application.router.add_get("/v1/incidents/prod-1", incident)
    socket = tmp_path / "old.sock"
    async with listening(application, socket):
        result = await asyncio.to_thread(CliRunner().invoke, recoverctl, ["--socket", str(socket), *words])
    assert result.exit_code == code and said in result.output, result.output
    assert code or json.loads(result.stdout)
