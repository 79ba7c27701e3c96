"""The machine that the lab runs on: where things are kept, how commands are run, what it must offer."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("LAB_CACHE", "/var/cache/recoverd-lab"))
CLUSTERS = CACHE / "clusters"
KEY = CACHE / "keys/id"
"""The private key of root on every node."""
SUITE = "bookworm"
CGROUPS = Path("/sys/fs/cgroup")
PATIENCE = 3
"""How many times as long as on a quiet machine a condition is waited for: a deadline is for what
never comes, and machines are busy.
"""


class LabError(Exception):
    """What the lab cannot do, in words for its user."""


def run(command: str | Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command, a string with `bash -eu`; raises CalledProcessError unless `check=False`."""
    options.setdefault("check", True)
    words = ["bash", "-euc", command] if isinstance(command, str) else [str(word) for word in command]
    return subprocess.run(words, text=True, **options)


def attempt(command: str) -> None:
    """Run a command whose failure means that there was nothing to do."""
    run(command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def mirror() -> str:
    """The address of this machine's own Debian mirror, as apt is configured."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {SUITE}"]
    found = run(command, capture_output=True).stdout.split()
    if not found:
        raise LabError(f"apt has no source for Debian {SUITE}")
    return found[0]


def require() -> None:
    """Raise LabError unless this machine can run nodes: root, and control groups of the first version."""
    if os.geteuid() != 0:
        raise LabError("needs root")
    if (CGROUPS / "cgroup.controllers").exists():
        raise LabError(
            "needs control groups version 1: boot with systemd.unified_cgroup_hierarchy=0 (nodes of "
            "Kubernetes 1.20 are run on it)"
        )


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of the whole machine, so that two runs of the lab do not build or start the same thing. The
    kernel frees it with the process.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run of the lab ({name})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def unmount_below(path: Path) -> None:
    """Unmount `path` and everything below it, deepest first, so that removing the directory
    removes nothing of the machine.
    """
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in sorted((p for p in points if p == str(path) or p.startswith(f"{path}/")), reverse=True):
        run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)


def remove_tree(path: Path) -> None:
    """Remove a directory that may have been mounted into; a file system that stays mounted is left alone."""
    unmount_below(path)
    mounted = Path("/proc/mounts").read_text()
    if f" {path}/" in mounted or f" {path} " in mounted:
        raise LabError(f"{path} is still mounted into and cannot be removed")
    shutil.rmtree(path, ignore_errors=True)
