"""A static pod's process that no kubelet knows any more is ended all the same: real processes, the real script."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from recoverd.model.call import Call
from tests.shells import BRIEFLY, SHELLS, command, sent

NAME = f"orphan-{os.getpid()}"
"""Nothing else on this machine is called so, and no other process that runs these tests looks for it."""
SECONDS = 40
"""More than the 35 after which it is told once more; each third of one is a look through all of /proc."""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[tuple[Path, ExitStack]]:
    """A PATH for a systemctl, and whatever has to be ended."""
    tools = tmp_path / "bin"
    tools.mkdir()
    with ExitStack() as stack:
        yield tools, stack


def start(path: Path, stack: ExitStack) -> subprocess.Popen[bytes]:
    shutil.copy("/bin/sleep", path)
    process = stack.enter_context(subprocess.Popen([path, "300"]))
    stack.callback(process.kill)
    Thread(target=process.wait, daemon=True).start()  # as containerd does: one that nobody waits for stays in /proc
    return process


def gone(shell: str, tools: Path, kubelet: int) -> subprocess.CompletedProcess[str]:
    (tools / "systemctl").write_text(f"#!/bin/sh\necho {kubelet}\n")
    (tools / "systemctl").chmod(0o755)
    return subprocess.run(
        [*command(shell), "-c", sent(Call.of("gone", NAME, SECONDS), BRIEFLY)],
        env={"PATH": f"{tools}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_what_the_kubelet_that_runs_has_never_known_is_ended(
    shell: str, processes: tuple[Path, ExitStack], tmp_path: Path
) -> None:
    tools, stack = processes
    pod = start(tmp_path / NAME, stack)
    subprocess.run(["/bin/sleep", "0.05"], check=True)  # the kernel counts starts in hundredths of a second
    kubelet = start(tmp_path / "kubelet", stack)
    assert (done := gone(shell, tools, kubelet.pid)).returncode == 0, done.stderr
    assert pod.wait(10) == -15


@pytest.mark.parametrize("shell", SHELLS)
def test_what_kubelet_knows_is_left_to_it(shell: str, processes: tuple[Path, ExitStack], tmp_path: Path) -> None:
    """It would start another at once, over data that are about to be moved."""
    tools, stack = processes
    kubelet = start(tmp_path / "kubelet", stack)
    subprocess.run(["/bin/sleep", "0.05"], check=True)
    pod = start(tmp_path / NAME, stack)
    done = gone(shell, tools, kubelet.pid)
    assert done.returncode == 4 and f"still runs after {SECONDS} s" in done.stderr
    assert pod.poll() is None
