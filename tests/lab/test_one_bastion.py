"""The bastion itself in trouble: no room while a restore point is written, and a clock that goes back."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.lab.bastion import Bastion, Shape
from tests.lab.kubelab.cluster import Cluster
from tests.lab.witness import ready

MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
HOURS = 2


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


@contextmanager
def small_state(daemon: Bastion) -> Iterator[Path]:
    """Its state directory on a disk of its own, of 64 MiB."""
    state = daemon.home / "state"
    state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", state], check=True)
    try:
        yield state
    finally:
        daemon.kill()
        subprocess.run(["umount", state], check=True)
        daemon.remove()


def points(daemon: Bastion) -> list[Shape]:
    found: list[Shape] = daemon.json("restore-points")["restore_points"]
    return found


def fill(state: Path, left: int) -> None:
    with (state / "filler").open("wb", buffering=0) as file:
        while (size := shutil.disk_usage(state).free - left) > 0:
            file.write(bytes(min(size, 1 << 20)))


def failures(daemon: Bastion) -> list[str]:
    return [line["event"] for line in daemon.lines() if line.get("event_name") == "restore-point-failed"]


def unjournalled(daemon: Bastion) -> int:
    """How often the journal could not be written."""
    return sum("cannot be written" in line.get("error", "") for line in daemon.lines())


def filled_up(daemon: Bastion, state: Path) -> list[Shape]:
    """The points that there were before one could not be taken, since the disk was full in the middle of it."""
    for count in range(1, 10):  # the snapshot is small, so it may be whole before the disk is full
        before = points(daemon)
        assert len(before) == count and daemon.ctl("restore-points", "take", daemon.name).returncode == 0
        daemon.wait("it is begun", lambda: [*(state / "restore-points" / daemon.name).glob(".*")], 60, every=0.001)
        full = unjournalled(daemon)
        fill(state, 1 << 19)

        def ended(known: int = count) -> bool:
            return bool(failures(daemon)) or len(points(daemon)) > known

        # what is whole in the last moment may leave no room to journal that it is
        daemon.wait(
            "it has ended, as far as can be journalled", lambda known=full: ended() or unjournalled(daemon) > known, 120
        )
        (state / "filler").unlink()
        daemon.wait("it has ended", ended, 120)
        if failures(daemon):
            return before
    raise AssertionError("each was whole before the disk was full")


def test_the_disk_fills_up_while_a_restore_point_is_written(cluster: Cluster) -> None:
    daemon = Bastion(cluster, points={"min_free": "1MiB"})
    with small_state(daemon) as state:
        daemon.start()
        daemon.wait_healthy()
        daemon.wait("the first one is taken", lambda: points(daemon), 90)
        before = filled_up(daemon, state)
        [failure] = failures(daemon)
        print(failure)
        assert "No space left on device" in failure and "Make room there" in failure
        assert points(daemon) == before
        kept = {p["id"] for p in before}
        assert {path.name for path in (state / "restore-points" / daemon.name).iterdir()} == kept, (
            "nothing half is left"
        )
        assert set(cluster.node("cp1").sh("ls /var/lib/recoverd/pki", capture_output=True).stdout.split()) >= kept
        assert daemon.ctl("restore-points", "take", daemon.name).returncode == 0
        daemon.wait("with room again it is taken", lambda: len(points(daemon)) == len(before) + 1, 120)
        assert daemon.status()["state"] == "healthy" and not daemon.incidents()


def test_the_bastions_clock_goes_back(cluster: Cluster, bastion: Callable[..., Bastion], tmp_path: Path) -> None:
    """By two hours, while a plan waits: it can be approved and runs once, and restore points keep their order."""
    [library] = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")] or pytest.skip(
        "libfaketime (Debian package faketime) is not installed"
    )
    shift = tmp_path / "shift"
    shift.write_text(f"+{HOURS}h\n")
    fake = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    daemon = bastion(cluster, environment=fake)
    cp1 = cluster.node("cp1")
    first = daemon.wait("a restore point is taken", lambda: points(daemon), 90)
    assert at(first[0]["taken_at"]) > time.time() + 3600 * HOURS - 600
    cp1.sh(f"rm {MANIFEST}")
    daemon.wait("it is found", daemon.incidents, 60)
    shift.write_text("+0h\n")
    daemon.wait("the clock has gone back", lambda: at(daemon.status()["last_sweep"]) < time.time() + 60, 30)
    daemon.wait("it is over", lambda: [i for i in daemon.incidents() if i["closed_at"]], 240)
    [incident] = daemon.incidents()
    print(daemon.ctl("show", incident["id"]).stdout)
    assert incident["outcome"] == "recovered" and ready(cp1)
    assert [(p["playbook"], p["status"]) for p in daemon.plans(everything=True)] == [("restore-manifest", "succeeded")]
    daemon.wait_state("healthy", seconds=120)
    assert daemon.ctl("restore-points", "take", daemon.name).returncode == 0
    listed = daemon.wait("another one is taken", lambda: len(points(daemon)) == len(first) + 1 and points(daemon), 120)
    assert listed[:-1] == first and at(listed[-1]["taken_at"]) < at(first[-1]["taken_at"]), (
        "in the order in which they were taken"
    )
    assert not [line for line in daemon.lines() if line.get("level") == "error"]


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
