"""Addresses that are held for containers that are gone, by each shell: which they are, and that no other is freed."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from recoverd.model.address_operations import FreeAddresses
from recoverd.model.call import Call
from tests.shells import SHELLS, command, sent

RUNS, GONE, YOUNG = "a1" * 32, "b2" * 32, "c3" * 32


class Machine:
    """A network of host-local's, and the control groups of what runs."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root, self.shell, self.network, self.kept = root, shell, root / "networks/cbr0", root / "kept"
        (root / "proc/7").mkdir(parents=True)
        (root / "proc/7/cgroup").write_text(f"0::/kubepods.slice/cri-containerd-{RUNS}.scope\n")
        self.network.mkdir(parents=True)
        self.hold("10.42.2.2", f"{RUNS}\r\neth0")
        self.hold("10.42.2.3", f"{GONE}\r\neth0")
        self.hold("10.42.2.4", GONE)
        self.hold("fd00::5", f"{GONE}\neth0\n")
        self.hold("10.42.2.6", f"{YOUNG}\r\neth0", age=60)
        self.hold("10.42.2.7", "")
        self.hold("last_reserved_ip.0", "10.42.2.7")
        self.hold("lock", "")

    def hold(self, name: str, text: str, age: float = 600) -> None:
        file = self.network / name
        file.write_text(text)
        os.utime(file, (time.time() - age,) * 2)

    def run(self, call: Call) -> subprocess.CompletedProcess[str]:
        text = sent(call).replace("/proc/[", f"{self.root}/proc/[")
        return subprocess.run(command(self.shell), input=text, capture_output=True, text=True, timeout=60)

    @property
    def held(self) -> set[str]:
        return {f.name for f in self.network.iterdir()}


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(tmp_path, request.param)


def test_what_is_held_for_a_container_that_is_gone_is_moved_aside_and_nothing_else(machine: Machine) -> None:
    before, free = machine.held, FreeAddresses(str(machine.network), str(machine.kept))
    assert machine.run(free.check()).returncode == 1
    done = machine.run(free.call())
    assert done.returncode == 0, done.stderr
    assert machine.held == before - {"10.42.2.3", "10.42.2.4", "fd00::5"}
    assert {f.name for f in machine.kept.iterdir()} == before - machine.held
    assert machine.kept.stat().st_mode & 0o077 == 0
    assert machine.run(free.check()).returncode == 0


def test_where_none_is_left_or_no_container_is_seen_to_run_it_is_refused(machine: Machine) -> None:
    free = FreeAddresses(str(machine.network), str(machine.kept))
    (machine.root / "proc/7/cgroup").write_text("0::/init.scope\n")
    before = machine.held
    refused = machine.run(free.call())
    assert (refused.returncode, machine.held, machine.kept.exists()) == (3, before, False), refused.stderr
    assert "given out a moment ago" in refused.stderr
