"""What the daemon tells systemd: ready after the first sweep, signs of life, none when its
event loop hangs, and a clean end.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest
import yaml

from tests.components.conftest import end, free_port
from tests.unit.test_config import KUBECONFIG

WATCHDOG_SECONDS = 2.0
PATIENCE = 30.0
HANGING = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))
sys.argv[0] = "recoverd"
from recoverd.cli.daemon import main
main()
"""
"""The daemon, with one addition: SIGUSR1 makes its event loop hang."""


class Manager:
    """systemd's side of sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))

    def receive(self, seconds: float = PATIENCE) -> list[str]:
        """The lines of the next message, or nothing when none comes in time."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(4096).decode().splitlines()
        except TimeoutError:
            return []

    def await_line(self, wanted: str) -> None:
        while lines := self.receive():
            if wanted in lines:
                return
        raise AssertionError(f"{wanted} did not come within {PATIENCE:g} s")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.socket.close()


@pytest.fixture
def start_daemon(tmp_path: Path, manager: Manager) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """The daemon with a cluster of which nothing answers, under a watchdog of 2 s."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(tmp_path / "key"))
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "known_hosts").write_text("")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            KUBECONFIG | {"clusters": [{"name": "k", "cluster": {"server": f"https://127.0.0.1:{free_port()}"}}]}
        )
    )
    kubeconfig.chmod(0o600)
    config = {
        "state_dir": "state",
        "socket": "control.sock",
        "listen": f"127.0.0.1:{free_port()}",
        "clusters": [
            {
                "name": "nobody",
                "interval": "1s",
                "kubeconfig": "kubeconfig",
                "ssh": {"key": "key", "known_hosts": "known_hosts", "port": free_port()},
                "control_planes": [{"name": "cp1", "address": "127.0.0.1"}],
            }
        ],
    }
    file = tmp_path / "recoverd.yaml"
    file.write_text(yaml.safe_dump(config))
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "NOTIFY_SOCKET": str(manager.path),
            "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6)),
        }
        command = [sys.executable, "-c", HANGING, "run", "--config", str(file)]
        started.append(
            subprocess.Popen(command, env=environment, stderr=(tmp_path / "log").open("wb"), stdin=subprocess.DEVNULL)
        )
        return started[-1]

    yield start
    for process in started:
        end(process, kill=True)


def test_ready_then_alive_then_stopping(manager: Manager, start_daemon: Callable[[], subprocess.Popen[bytes]]) -> None:
    process = start_daemon()
    manager.await_line("READY=1")
    for _ in range(3):
        manager.await_line("WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    manager.await_line("STOPPING=1")
    assert process.wait(20) == 0


def test_a_hanging_event_loop_gives_no_sign_of_life(
    manager: Manager, start_daemon: Callable[[], subprocess.Popen[bytes]]
) -> None:
    process = start_daemon()
    manager.await_line("READY=1")
    manager.await_line("WATCHDOG=1")
    process.send_signal(signal.SIGUSR1)
    while manager.receive(
        WATCHDOG_SECONDS
    ):  # what was sent before it hung; a loop that goes on sends for ever, and the test's time ends
        pass
    assert process.poll() is None, "it hangs, and systemd would have to end it"
