"""What people do on a machine and leave there, as the look tells it, with real programs and terminals. Run by every sh
there is here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recoverd.diagnose.packages import package_manager
from recoverd.model.observation import HostView
from recoverd.model.people import PeopleView
from recoverd.observe import hosts as looks
from recoverd.observe.look import parse

SHELLS = [s for s in ("dash", "bash", "busybox") if shutil.which(s)]
PLACES = "/root /home /tmp /var/tmp /var/backups /opt /srv /mnt"
WAITS = f"#!{sys.executable}\nimport time\nprint('runs', flush=True)\ntime.sleep(600)\n"
ELSEWHERE = """
import os, sys, time
os.chdir(sys.argv[1])
open("/proc/self/comm", "w").write("apt")
os.chroot(".")
print("runs", flush=True)
time.sleep(600)
"""
"""Under the name of a package manager, as in a container: with a root of its own."""
DEBUGGER = """
import fcntl, os, subprocess, sys, termios
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts", sys.argv[1]], check=True)
master = os.open(sys.argv[1] + "/ptmx", os.O_RDWR | os.O_NOCTTY)
fcntl.ioctl(master, 0x40045431, b"\\0" * 4)  # TIOCSPTLCK
slave = os.open(sys.argv[1] + "/0", os.O_RDWR | os.O_NOCTTY)
if os.fork() == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    os.dup2(slave, 0)
    os.execvp("bash", ["bash", "--norc", "-c", "echo runs; read -r line"])
sys.stdin.read()
os.close(master)
"""
"""A shell in the machine's own root whose terminal is of a /dev/pts of its own, as after `kubectl debug node`."""


def manifest(name: str) -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - name: {name}\n"


class Machine:
    """The directories of a control plane, and the look at it with every path moved there."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root = root
        self._shell = [shell, *(["sh"] if shell == "busybox" else [])]
        self.manifests = self.path("/etc/kubernetes/manifests")
        for folder in ("/etc/kubernetes/manifests", "/etc/kubernetes/pki/etcd", *PLACES.split()):
            self.path(folder).mkdir(parents=True, exist_ok=True)
        for certificate in ("apiserver.crt", "etcd/server.crt"):
            self.path(f"/etc/kubernetes/pki/{certificate}").touch()
        for component in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            (self.manifests / f"{component}.yaml").write_text(manifest(component))

    def path(self, text: str) -> Path:
        return self.root / text.lstrip("/")

    def program(self, name: str) -> Path:
        file = self.path(name)
        file.write_text(WAITS)
        file.chmod(0o755)
        return file

    def seen(self) -> PeopleView:
        assert PLACES in looks.SCRIPT
        script = looks.SCRIPT.replace(PLACES, " ".join(f"{self.root}{place}" for place in PLACES.split()))
        script = script.replace("/etc/kubernetes", f"{self.root}/etc/kubernetes")
        given = f"M=@@ D= V= I=\nR=\n{looks.PIDS}\n{looks.TOOL}\n{script}"
        said = subprocess.run(self._shell, input=given, capture_output=True, text=True, check=False, timeout=60)
        view = parse(said.stdout, "@@", middle=datetime.now(UTC)).view
        assert isinstance(view, HostView) and view.people is not None, said
        return view.people


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(tmp_path, request.param)


@contextmanager
def running(*command: str) -> Iterator[int]:
    """Until it has said that it runs, and for as long as the context lasts; gives its process id."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline().strip() == "runs", command
            yield process.pid
        finally:
            if process.stdin:
                process.stdin.close()
            process.kill()


def test_a_package_manager_is_seen_since_when_and_what_waits_or_is_in_a_container_is_not(machine: Machine) -> None:
    waits = machine.program("unattended-upgrade-shutdown")
    with ExitStack() as there:
        there.enter_context(running(str(machine.program("dpkg")), "--configure", "-a"))
        there.enter_context(running(str(machine.program("unattended-upgrade")), "-v"))
        there.enter_context(running(str(waits), "--wait-for-signal"))
        if os.getuid() == 0:
            there.enter_context(running(sys.executable, "-c", ELSEWHERE, str(machine.root), "install", "containerd"))
        tools = [t for t in machine.seen().tools if str(machine.root) in t.command]
    assert sorted(package_manager(t.command) for t in tools) == ["", "dpkg", "unattended-upgrade"], tools
    assert [str(waits) in t.command for t in tools if not package_manager(t.command)] == [True]
    for tool in tools:
        assert tool.since and abs(datetime.now(UTC) - tool.since) < timedelta(seconds=60) and tool.runs < 60


def test_somebody_who_came_out_of_a_container_to_the_machine_has_a_terminal(machine: Machine) -> None:
    if os.getuid() != 0:
        pytest.skip("a terminal of another /dev/pts takes root")
    folder = machine.path("/pts")
    folder.mkdir()
    with subprocess.Popen(
        ["unshare", "-m", sys.executable, "-c", DEBUGGER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        if process.stdout.readline().strip() != "runs":
            pytest.skip(f"no other /dev/pts can be mounted here: {process.stderr.read()[-200:]}")
        during = machine.seen().logins
        process.stdin.close()
    (login,) = [each for each in during if each.tty.startswith("a terminal of a container, process ")]
    assert login.user == "root" and login.idle < 60
    assert not [each for each in machine.seen().logins if each.tty == login.tty]


MOVES = {
    "to root's home": "mv {m}/etcd.yaml {r}/root/etcd.yaml.off",
    "a directory beside": "mkdir {k}/manifests.bak && mv {m}/etcd.yaml {k}/manifests.bak/",
    "a directory below": "mkdir {m}/off && mv {m}/etcd.yaml {m}/off/",
    "hidden in its place": "mv {m}/etcd.yaml {m}/.etcd.yaml",
    "copied and removed": "cp -p {m}/etcd.yaml {r}/tmp/ && rm {m}/etcd.yaml",
    "in a home": "mkdir -p {r}/home/alice/x && mv {m}/etcd.yaml {r}/home/alice/x/my-etcd",
}


@pytest.mark.parametrize("how", MOVES)
def test_a_manifest_that_was_moved_is_found_where_it_lies(machine: Machine, how: str) -> None:
    assert machine.seen().aside == ()
    before = datetime.now(UTC)
    names = {"m": machine.manifests, "r": machine.root, "k": machine.manifests.parent}
    subprocess.run(["sh", "-ec", MOVES[how].format(**names)], check=True)
    (found,) = machine.seen().aside
    assert found.component == "etcd" and "etcd" in Path(found.path).name and Path(found.path).exists()
    assert timedelta(seconds=-2) < found.changed_at - before < timedelta(seconds=60)


def test_what_recoverd_keeps_and_what_defines_no_such_pod_and_what_kubelet_reads_is_none(machine: Machine) -> None:
    etcd = machine.manifests / "etcd.yaml"
    held = machine.path("/etc/kubernetes/recoverd/prod-1")
    held.mkdir(parents=True)
    shutil.copy(etcd, held / "etcd.yaml")
    machine.path("/root/etcd-notes").write_text("  name: etcd-notes\n")
    shutil.copy(machine.manifests / "kube-scheduler.yaml", machine.path("/root/kube-scheduler.yaml"))
    etcd.rename(machine.manifests / "etcd.yaml.bak")
    assert machine.seen().aside == ()
    machine.path("/etc/kubernetes/pki/etcd/server.crt").unlink()  # its etcd is elsewhere
    (machine.manifests / "etcd.yaml.bak").rename(machine.path("/root/etcd.yaml"))
    assert machine.seen().aside == ()
