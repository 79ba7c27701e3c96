"""Scripts that make sure on the machine, at that moment, that etcd comes to no harm: real
files, real processes, three shells.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.model.etcd_guards import MANIFEST
from recoverd.model.operations import CopyPath, HostOperation, MovePath, WriteFile
from recoverd.model.pki_operations import PutBackPki
from recoverd.model.unit_operations import RestartStaticPod, RestartUnit, Unit, Unstick
from tests.shells import command, sent

REFUSED = 3
POD = """spec:
  containers:
  - command:
    - etcd
    - --data-dir={data}
    - --initial-cluster=cp1=https://10.0.0.1:2380
{more}    name: etcd
"""


class Machine:
    """Manifests and etcd's data in a directory, a systemctl that only notes what it was asked, and an etcd
    that runs when the test says so.
    """

    def __init__(self, home: Path, shell: str) -> None:
        self.home, self.shell, self.etcd_runs = home, shell, False
        self.manifests, self.data = home / "etc/kubernetes/manifests", home / "var/lib/etcd"
        self.manifest, self.db = self.manifests / "etcd.yaml", self.data / "member/snap/db"
        self.manifests.mkdir(parents=True)
        self.db.parent.mkdir(parents=True)
        self.db.write_bytes(os.urandom(1 << 17))
        (self.data / "member/wal").mkdir()
        (self.data / "member/wal/0000000000000000-0000000000000000.wal").touch()
        self.manifest.write_text(self.text())
        tools = home / "tools"
        tools.mkdir()
        if shell == "busybox":
            applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
            for applet in applets:
                (tools / applet).symlink_to(str(shutil.which("busybox")))
        (tools / "systemctl").unlink(missing_ok=True)
        (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {home}/asked\n')
        (tools / "systemctl").chmod(0o755)
        self.path = str(tools) if shell == "busybox" else f"{tools}:{os.environ['PATH']}"

    def text(self, *more: str) -> str:
        return POD.format(data=self.data, more="".join(f"    - {line}\n" for line in more))

    def run(self, operation: HostOperation) -> subprocess.CompletedProcess[str]:
        script = sent(operation.call(), f"pids() {{ {'echo /proc/1' if self.etcd_runs else ':'}; }}")
        script = re.sub(f"(?<!{re.escape(str(self.home))}){re.escape(MANIFEST)}", str(self.manifest), script)
        return subprocess.run(
            [*command(self.shell), "-c", script], env={"PATH": self.path}, capture_output=True, text=True, timeout=120
        )

    def refuses(self, operation: HostOperation, *words: str) -> None:
        before = self.everything()
        done = self.run(operation)
        assert done.returncode == REFUSED, (done.returncode, done.stderr)
        assert all(word in done.stderr for word in words), done.stderr
        assert self.everything() == before and not self.asked, "it refused, and yet it has changed something"

    def everything(self) -> dict[str, bytes]:
        roots = (self.home / "etc", self.home / "var", self.home / "kept")
        return {str(p): p.read_bytes() for root in roots for p in root.rglob("*") if p.is_file()}

    @property
    def asked(self) -> list[str]:
        file = self.home / "asked"
        return [line for line in file.read_text().splitlines() if "reset-failed" not in line] if file.exists() else []

    def lose_data(self) -> None:
        shutil.rmtree(self.data / "member")


@pytest.fixture(params=["dash", "bash", "busybox"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return Machine(tmp_path, request.param)


@pytest.fixture
def reader(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has etcd's database open, as an etcd in a container or a backup has."""
    process = subprocess.Popen(["sleep", "600"], stdin=machine.db.open("rb"))
    yield process
    process.kill()
    process.wait()


def aside(machine: Machine) -> MovePath:
    return MovePath(f"{machine.data}/member", f"{machine.data}/member.prod-1")


# --- etcd's data ---


def test_data_of_an_etcd_that_runs_are_neither_moved_nor_copied(machine: Machine) -> None:
    machine.etcd_runs = True
    for operation in (
        aside(machine),
        MovePath(f"{machine.data}/member", f"{machine.data}/restored/member", optional=True),
    ):
        machine.refuses(operation, "etcd runs here", "must not be moved")
    machine.refuses(CopyPath(f"{machine.data}/member", f"{machine.data}/member.before"), "etcd runs here", "copied")


@pytest.fixture
def small(machine: Machine) -> Iterator[Machine]:
    """etcd's data are on a disk of their own, of 100 MiB and 24 files."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m,nr_inodes=24", "tmpfs", str(machine.data)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    machine.db.parent.mkdir(parents=True)
    machine.db.write_bytes(os.urandom(1 << 17))
    yield machine
    subprocess.run(["umount", str(machine.data)], check=True)


def test_of_data_that_have_no_room_for_a_copy_nothing_is_left_but_they(small: Machine) -> None:
    """Room is seen before it begins; what fills the disk meanwhile takes the half of a copy with it, which would be in
    the way of the etcd that goes on.
    """
    copy, log = CopyPath(f"{small.data}/member", f"{small.data}/member.before"), small.data / "member/wal"
    (small.data / "filler").write_bytes(bytes(40 << 20))
    small.refuses(copy, "no room for a copy")
    (small.data / "filler").unlink()
    log.mkdir()
    for number in range(14):
        (log / f"{number}").touch()
    small.refuses(copy, "No space left on device", "what there was of the copy is deleted")
    assert [path.name for path in small.data.iterdir()] == ["member"]
    for number in range(8):
        (log / f"{number}").unlink()
    assert small.run(copy).returncode == 0 and len(list((small.data / "member.before/wal").iterdir())) == 6


def test_what_counts_is_the_room_where_the_copy_goes(small: Machine, tmp_path: Path) -> None:
    """As of a log that etcd keeps on a disk of its own."""
    log = tmp_path / "wal"
    log.mkdir()
    (log / "0.wal").write_bytes(os.urandom(1 << 20))
    copy = CopyPath(str(log), f"{small.data}/member.before.wal")
    (small.data / "filler").write_bytes(bytes(40 << 20))
    small.refuses(copy, f"no room for a copy of {log} in {small.data}")
    (small.data / "filler").unlink()
    assert small.run(copy).returncode == 0
    assert (small.data / "member.before.wal/0.wal").read_bytes() == (log / "0.wal").read_bytes()


def test_what_copies_left_that_were_cut_off_makes_room_for_the_next_one_and_whole_ones_stay(machine: Machine) -> None:
    """Each has a name of its own, by revision, so that none of them would ever be written over."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = [machine.data / f"member.before-prod-{n}.part" for n in (f"1-at-9.{ended.pid}", "2-at-8")]
    whole = machine.data / "member.before-prod-1-at-7"
    for path in (*left, whole):
        shutil.copytree(machine.data / "member", path)
    copy = CopyPath(f"{machine.data}/member", f"{machine.data}/member.before-prod-3-at-10")
    working = subprocess.Popen([*command(machine.shell), "-c", "read line; :"], stdin=subprocess.PIPE)
    being_made = machine.data / f"member.before-prod-3-at-9.{working.pid}.part"
    being_made.mkdir()
    (machine.data / "member.before-prod-1-at-9.1.part").mkdir()  # a process that is no shell has its number now
    done = machine.run(copy)
    assert done.returncode == REFUSED and f"at this moment, by process {working.pid}" in done.stderr
    working.communicate(b"\n")
    assert machine.run(copy).returncode == 0
    found = {path.name for path in machine.data.iterdir()}
    assert found == {"member", whole.name, "member.before-prod-3-at-10"}


def test_data_that_anybody_has_open_are_not_moved(machine: Machine, reader: subprocess.Popen[bytes]) -> None:
    machine.refuses(aside(machine), "is open in sleep", str(reader.pid))
    reader.kill()
    reader.wait()
    assert machine.run(aside(machine)).returncode == 0 and (machine.data / "member.prod-1/snap/db").exists()


def test_what_was_moved_aside_is_not_put_back_under_an_etcd_that_runs(machine: Machine) -> None:
    assert machine.run(aside(machine)).returncode == 0
    machine.etcd_runs = True
    machine.refuses(aside(machine).inverse(), "etcd runs here")
    machine.etcd_runs = False
    assert machine.run(aside(machine).inverse()).returncode == 0 and machine.db.exists()


# --- manifests ---


def test_etcds_manifest_does_not_come_back_over_an_empty_directory(machine: Machine) -> None:
    """A plan is taken back: its move of the data back was refused or never came, and
    kubelet would start a new cluster.
    """
    away = MovePath(str(machine.manifest), str(machine.home / "kept/etcd.yaml"))
    assert machine.run(away).returncode == 0
    shutil.move(machine.data / "member", machine.home / "kept/member")
    machine.refuses(away.inverse(), "new, empty cluster")
    shutil.move(machine.home / "kept/member", machine.data / "member")
    assert machine.run(away.inverse()).returncode == 0 and machine.manifest.exists()


@pytest.mark.parametrize("state", ["new", "existing"])
def test_a_manifest_over_an_empty_directory_is_written_only_for_one_that_joins(machine: Machine, state: str) -> None:
    machine.lose_data()
    text, before = machine.text(f"--initial-cluster-state={state}"), machine.manifest.read_text()
    write = WriteFile(str(machine.manifest), text, sha(text), sha(before), beside=str(machine.home / "kept"))
    if state == "new":
        machine.refuses(write, "new, empty cluster")
        return
    assert machine.run(write).returncode == 0 and machine.manifest.read_text() == text


def test_a_manifest_that_somebody_has_changed_since_is_not_moved_away(machine: Machine) -> None:
    away = MovePath(
        str(machine.manifest), str(machine.home / "kept/etcd.yaml"), sha256=sha(machine.manifest.read_text())
    )
    machine.manifest.write_text(machine.text("--snapshot-count=5000"))
    machine.refuses(away, "is not what it was when the plan was made")


def test_no_copy_is_written_over_an_older_one(machine: Machine) -> None:
    keep = machine.home / "kept/etcd.yaml"
    keep.parent.mkdir()
    keep.write_text("what an older plan has kept\n")
    text, before = machine.text("--snapshot-count=1"), machine.manifest.read_text()
    write = WriteFile(
        str(machine.manifest), text, sha(text), sha(before), str(keep), beside=str(machine.home / "beside")
    )
    machine.refuses(write, "no older copy is written over")
    keep.write_text(before)
    assert machine.run(write).returncode == 0 and keep.read_text() == before


# --- what starts etcd ---

STARTS: list[HostOperation] = [
    Unit("start", "kubelet"),
    Unit("start", "containerd"),
    RestartUnit("kubelet"),
    Unstick("kube-apiserver"),
    RestartStaticPod("etcd", 1, start=True),
    RestartStaticPod("kube-apiserver", 1, start=True),
    PutBackPki("/nowhere", restart=True, kubernetes="/nowhere"),
]


@pytest.mark.parametrize(
    "operation", STARTS, ids=lambda o: f"{o.kind}-{getattr(o, 'unit', getattr(o, 'component', ''))}"
)
@pytest.mark.parametrize("data", ["gone", "only what a refused first start leaves"])
def test_nothing_starts_etcd_over_an_empty_directory(machine: Machine, operation: HostOperation, data: str) -> None:
    if isinstance(operation, PutBackPki):
        (machine.home / "kept/pki").mkdir(parents=True)
        operation = PutBackPki(
            str(machine.home / "kept"), restart=True, kubernetes=str(machine.home / "etc/kubernetes")
        )
    machine.lose_data()
    if data != "gone":
        machine.db.parent.mkdir(parents=True)
        machine.db.write_bytes(bytes(16384))
    machine.refuses(operation, "over nothing", "manifest")


@pytest.mark.parametrize(
    "why", ["its data are there", "no manifest is in place", "it joins a cluster", "its log is elsewhere", "etcd runs"]
)
def test_kubelet_is_started_where_no_empty_cluster_can_come_of_it(machine: Machine, why: str) -> None:
    if why != "its data are there":
        machine.lose_data()
    match why:
        case "no manifest is in place":
            machine.manifest.unlink()
        case "it joins a cluster":
            machine.manifest.write_text(machine.text("--initial-cluster-state=existing"))
        case "its log is elsewhere":
            (machine.home / "log").mkdir()
            (machine.home / "log/0.wal").touch()
            machine.manifest.write_text(machine.text(f"--wal-dir={machine.home}/log"))
        case "etcd runs":
            machine.etcd_runs = True
    done = machine.run(Unit("start", "kubelet"))
    assert (done.returncode, machine.asked) == (0, ["start kubelet", "is-active kubelet"]), done.stderr


def test_a_runtime_that_would_end_the_etcd_whose_data_are_gone_is_not_restarted(machine: Machine) -> None:
    machine.lose_data()
    machine.etcd_runs = True
    machine.refuses(RestartUnit("docker"), "over nothing")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
