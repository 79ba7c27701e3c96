"""What a shell is offered at tab: click's own scripts in a real bash, against a daemon that has something to name."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from recoverd.cli import completing, ctl, daemon
from recoverd.playbooks import registry

from .clusters import Daemon
from .daemons import REQUIRED, Make, make, run

__all__ = ["make", "run"]
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash"),
]
PROGRAM = """#!{python}
from recoverd.cli import completing
from recoverd.cli.{module} import main
completing.DEADLINE = {deadline}
main(prog_name="{name}")
"""
PRESS = """
. {script}
COMP_WORDS=({words}) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
{function} {program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


async def offered(tmp_path: Path, *words: str, deadline: float = 10.0) -> set[str]:
    """What stands there when tab is pressed at the end of the last word; how quick a busy machine is, is not asked."""
    name, module = words[0], {"recoverctl": "ctl", "recoverd": "daemon"}[words[0]]
    main = {"ctl": ctl, "daemon": daemon}[module].main
    script, program = tmp_path / "completion.bash", tmp_path / name
    script.write_text(CliRunner().invoke(main, ["completion", "bash"], prog_name=name).output)
    program.write_text(PROGRAM.format(python=sys.executable, module=module, deadline=deadline, name=name))
    program.chmod(0o755)
    text = PRESS.format(script=script, words=shlex.join(words), program=program, function=f"_{name}_completion")
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return {line for line in out.decode().split("\n") if line}


async def test_the_names_that_the_daemon_knows_are_offered(
    make: Make, run: Callable[..., Daemon], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOVERD_SOCKET", str(tmp_path / "control.sock"))
    prod = await make(approval=REQUIRED)
    watching = run(prod, socket=tmp_path / "control.sock")
    watching.start()
    await watching.ready()
    await watching.in_phase("healthy")
    prod.node.unit("kubelet", "inactive")
    status = await watching.in_phase("apiserver-down", "awaiting-approval")
    plan, incident = status["plan"], status["incident"]
    for command in ("status", "pause", "dump", "audit", "check", "shadow"):
        assert await offered(tmp_path, "recoverctl", command, "") == {"prod"}, command
    assert await offered(tmp_path, "recoverctl", "approve", "") == {plan}
    assert await offered(tmp_path, "recoverctl", "approve", "standby") == set()
    assert await offered(tmp_path, "recoverctl", "show", "pr") == {incident}
    assert await offered(tmp_path, "recoverctl", "plans", "") == {plan, "prod"}
    assert await offered(tmp_path, "recoverctl", "restore-points", "") == {"take", "prod"}
    assert await offered(tmp_path, "recoverctl", "restore-points", "take", "") == {"prod"}


async def test_what_the_program_knows_by_itself_needs_no_daemon(tmp_path: Path) -> None:
    names = {p.name for p in registry()}
    assert await offered(tmp_path, "recoverctl", "run", "") == names
    assert await offered(tmp_path, "recoverctl", "run", "restore-") == {n for n in names if n.startswith("restore-")}
    assert "join-stuck" in await offered(tmp_path, "recoverd", "drill", "join")
    assert await offered(tmp_path, "recoverd", "example-config", "sudo") == {"sudoers"}


async def test_without_a_daemon_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    assert await offered(tmp_path, "recoverctl", "--socket", str(tmp_path / "none"), "status", "") == set()
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute"))
        mute.listen()
        words = ("recoverctl", "--socket", str(tmp_path / "mute"), "status", "")
        assert await offered(tmp_path, *words, deadline=completing.DEADLINE) == set()


def test_a_daemon_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute"))
        mute.listen()
        context = ctl.main.make_context(
            "recoverctl", ["--socket", str(tmp_path / "mute"), "status"], resilient_parsing=True
        )
        began = time.monotonic()
        assert completing.clusters(context, ctl.main.params[0], "") == []
    assert time.monotonic() - began < 5, "the client's own deadline is 20 s"
