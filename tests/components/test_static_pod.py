"""The script that restarts a static pod, with a kubelet that holds its container back: real
processes, and a systemctl of our own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.model.unit_operations import RestartStaticPod
from tests.shells import sent


class Machine:
    """The component is a `sleep`, and what is called systemctl starts it anew."""

    def __init__(self, home: Path) -> None:
        self.pid, self.home = home / "pid", home
        self.start = f"sleep 600 >/dev/null 2>&1 & echo $! > {self.pid}"
        (home / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {home}/asked\n{self.start}\n')
        (home / "systemctl").chmod(0o755)
        subprocess.run(["sh", "-c", self.start], check=True)

    def run(self, operation: RestartStaticPod) -> subprocess.CompletedProcess[str]:
        script = sent(operation.call(), f"pids() {{ ls -d /proc/$(cat {self.pid}) 2>/dev/null || true; }}")
        path = {"PATH": f"{self.home}:{os.environ['PATH']}"}
        return subprocess.run(["sh", "-c", script], env=os.environ | path, capture_output=True, text=True, timeout=60)

    @property
    def asked(self) -> str:
        return (self.home / "asked").read_text().strip() if (self.home / "asked").exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    subprocess.run(["kill", made.pid.read_text().strip()], stderr=subprocess.DEVNULL, check=False)


def test_one_that_kubelet_holds_back_is_started_by_restarting_kubelet_once(machine: Machine) -> None:
    before = machine.pid.read_text()
    done = machine.run(RestartStaticPod("kube-apiserver", 40, start=True))
    assert (done.returncode, machine.asked) == (0, "restart kubelet"), done.stderr
    assert machine.pid.read_text() != before


def test_where_kubelet_must_not_be_restarted_it_is_told(machine: Machine) -> None:
    done = machine.run(RestartStaticPod("kube-scheduler", 2))
    assert (done.returncode, machine.asked) == (4, "") and "has started no new kube-scheduler within 2 s" in done.stderr
