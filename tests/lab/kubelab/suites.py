"""Root file systems of another Debian than the lab's, for profiles that name its suite (`profiles`). What the lab adds
to Debian is taken from the one that all other machines have: units, programs, keys.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path

from . import rootfs
from .host import CACHE, SUITE, locked, mirror, remove_tree, run, say

PLACES = CACHE / "suites"
INIT_WORDS = "etc/lab-init"
"""Where a root file system names words for its init, one a line (`Node.power_on`)."""
WORDS = {"trixie": ("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",)}
"""Of a suite: systemd from 256 on refuses control groups of the first version without it, as a word of the kernel's
command line, for which in a container it takes its own.
"""
TAKEN = [
    *(f"etc/systemd/system/{unit}.service" for unit in ("kubelet", "lab-boot")),
    "etc/systemd/system.conf.d",
    *(f"usr/bin/{program}" for program in ("kubelet", "kubeadm", "kubectl")),
    "root/.ssh",
]


def digest(suite: str) -> str:
    """What the root file system of a suite is made of; "" for that of the lab's own, which is a stage of its build."""
    if suite == SUITE:
        return ""
    recorded = (CACHE / "stages/base").read_text() if (CACHE / "stages/base").exists() else ""
    made_of = [suite, recorded, inspect.getsource(_make), WORDS.get(suite), TAKEN]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


def root_of(suite: str) -> Path:
    """The root file system of a suite, made when it is not there or made of something else. Never written to then."""
    if suite == SUITE:
        return CACHE / "base"
    place, marker = PLACES / suite, PLACES / f"{suite}.made-of"
    with locked(f"suite-{suite}"):
        if not marker.exists() or marker.read_text() != digest(suite):
            say(f"making the root file system of Debian {suite}")
            marker.unlink(missing_ok=True)
            remove_tree(place)
            _make(place, suite)
            marker.write_text(digest(suite))
    return place


def _make(root: Path, suite: str) -> None:
    root.mkdir(parents=True)
    log = PLACES / f"{suite}.log"
    packages = ",".join(rootfs.PACKAGES)
    run(
        f"debootstrap --variant=minbase --include={packages} {suite} {root} {mirror()} >{log} 2>&1 || {{ "
        f"tail -5 {log} >&2; exit 1; }}"
    )
    run(["cp", "-a", "--parents", *TAKEN, root], cwd=CACHE / "base")
    (root / "etc/containerd").mkdir(exist_ok=True)
    (root / "etc/containerd/config.toml").write_text(rootfs.containerd_config(root))
    run(["chroot", root, "systemctl", "enable", "-q", "lab-boot", "kubelet"])
    (root / INIT_WORDS).write_text("".join(f"{word}\n" for word in WORDS.get(suite, ())))
