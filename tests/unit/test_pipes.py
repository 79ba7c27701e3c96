"""How the programs end where nobody reads on, and what they are without a command."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

CTL, DAEMON = "recoverd.cli.ctl", "recoverd"


def cut_off(module: str, *arguments: str) -> tuple[int, str]:
    """Exit status and stderr of a program whose reader is gone before it says anything."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    process.stdout.close()
    told = process.stderr.read()
    return process.wait(60), told


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (CTL, ("--help",)),
        (CTL, ("--version",)),
        (CTL, ("help", "status")),
        (CTL, ("completion", "bash")),
        (DAEMON, ("drill",)),
        (DAEMON, ("drill", "kubelet-stopped")),
        (DAEMON, ("schema",)),
        (DAEMON, ("example-config",)),
    ],
)
def test_a_reader_that_is_gone_ends_it_quietly_as_it_ends_every_program(
    module: str, arguments: tuple[str, ...]
) -> None:
    assert cut_off(module, *arguments) == (-signal.SIGPIPE, "")


@pytest.mark.parametrize("module", [CTL, DAEMON])
def test_without_a_command_nothing_is_done_and_a_script_notices(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and done.stdout == "" and "Commands:" in done.stderr
    assert "..." not in done.stderr.split("Commands:")[1], "each is told in a whole sentence"


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        # an operator waits for each command, on a bastion that is busy as a rule: 0.75 s were 0.36 without these
        (CTL, {"pydantic", "kubernetes", "asyncssh", "ruamel"}),
        # 3 MiB for as long as it runs, for pages that perhaps nobody opens, and receivers that are not configured
        ("recoverd.cli.daemon, recoverd.daemon.wiring", {"jinja2", "markdown", "apprise"}),
    ],
)
def test_a_program_starts_without_what_it_may_never_need(modules: str, without: set[str]) -> None:
    asked = f"import sys, {modules}; print(*sorted(set(sys.modules) & {without}))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
