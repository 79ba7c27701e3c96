"""The look at a machine, over a real sshd, on a machine whose directories are made up: what is there, what is
not, and what could not be told.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recoverd.clients.hosts import HostPool
from recoverd.diagnose.causes import reason
from recoverd.diagnose.loss import says_damaged
from recoverd.model.observation import DiskView, EtcdDataView, HostView, Unseen, UnseenKind
from recoverd.model.pod_files import Is
from recoverd.observe import hosts
from recoverd.observe.look import LookError, parse
from recoverd.observe.pod_files import Asked
from tests.authority import Authority

from .conftest import Sshd

StartSshd = Callable[..., Sshd]
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
INIT_STARTED = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]) / 100
PREFIX = "t-"
UID = "0123456789abcdef0123456789abcdef"
STRANGER = "01234567-89ab-cdef-0123-456789abcdef"


def manifest(name: str, *arguments: str) -> str:
    command = "".join(f"    - {a}\n" for a in (name, *arguments))
    head = (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: "
        f"{name}\n    image: r/{name}:1\n"
    )
    return f"{head}    command:\n{command}"


class Machine:
    """The directories of a control plane under `root`, and the look at it with every path moved there."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        script, library = hosts.SCRIPT, hosts.PIDS
        for folder in (
            "/etc/kubernetes",
            "/var/lib/etcd",
            "/var/lib/kubelet",
            "/var/log/pods",
            "/run/recoverd",
            "/run/systemd",
        ):
            script, library = (text.replace(folder, f"{root}{folder}") for text in (script, library))
        monkeypatch.setattr(hosts, "SCRIPT", script)
        # a lab's real components may run on this very machine
        monkeypatch.setattr(hosts, "PIDS", library.replace("name=$1 ", f"name={PREFIX}$1 "))
        named = "etcd|kube-apiserver|kube-controller|kube-scheduler)"
        monkeypatch.setattr(hosts, "SCRIPT", hosts.SCRIPT.replace(named, f"{PREFIX}*)"))
        self.kubernetes = root / "etc/kubernetes"
        self.manifests = self.kubernetes / "manifests"
        self.data = root / "var/lib/etcd"
        self.pods = root / "var/log/pods"
        for folder in (
            self.manifests,
            self.data / "member/snap",
            self.data / "member/wal",
            self.pods,
            root / "var/lib/kubelet/pki",
        ):
            folder.mkdir(parents=True)
        for name in COMPONENTS:
            (self.manifests / f"{name}.yaml").write_text(manifest(name, f"--data-dir={self.data}"))
        (self.data / "member/snap/db").write_bytes(bytes(1 << 16))
        (self.data / "member/wal/0000000000000000-0000000000000000.wal").touch()
        (self.kubernetes / "kubelet.conf").touch()

    def path(self, text: str) -> str:
        return f"{self.root}{text}"

    def log(self, component: str, text: bytes, *, uid: str = UID, number: int = 0, pod: str = "") -> Path:
        file = self.pods / f"kube-system_{pod or f'{component}-cp1'}_{uid}" / component / f"{number}.log"
        file.parent.mkdir(parents=True)
        file.write_bytes(text)
        return file

    def loop(self, path: Path) -> None:
        """Make every use of the path fail with an error other than "there is no such file", as
        on a disk that does not answer.
        """
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(path.name)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path / "root", monkeypatch)


@pytest.fixture
async def pool(sshd: Sshd) -> AsyncIterator[HostPool]:
    pool = sshd.pool("cp1")
    yield pool
    await pool.close()


async def seen(pool: HostPool, seconds: float = 10.0, about: hosts.EtcdAbout = hosts.NO_ETCD) -> HostView:
    view = await hosts.look_at(pool, "cp1", seconds, about)
    assert isinstance(view, HostView), view
    return view


async def unseen(pool: HostPool, seconds: float = 10.0) -> Unseen:
    view = await hosts.look_at(pool, "cp1", seconds)
    await pool.close()
    assert isinstance(view, Unseen), view
    assert "cp1" in view.reason
    return view


def plain(view: EtcdDataView | None) -> EtcdDataView | None:
    """Without which file it is."""
    return view and replace(view, identity="")


def doubts(view: HostView) -> list[str]:
    """What keeps the diagnosis from concluding that a file is not there."""
    return [p for p in view.problems if "manifest" in p]


# --- what is there ---


@pytest.fixture(params=["dash", "bash", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path: Path, start_sshd: StartSshd) -> Sshd:
    """An sshd on a machine whose `sh` is this one; with busybox every other tool is busybox's too."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    tools = tmp_path / "tools"
    tools.mkdir()
    if request.param == "busybox":
        for applet in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
            (tools / applet).symlink_to(program)
        return start_sshd(SetEnv=f"PATH={tools}")
    (tools / "sh").symlink_to(program)
    return start_sshd(SetEnv=f"PATH={tools}:/usr/bin:/bin")


async def test_files_that_static_pods_name_are_seen_and_not_what_they_hold(shell: Sshd, machine: Machine) -> None:
    """With every other section of the look in its place."""
    config, gone = machine.kubernetes / "enc.yaml", f"{machine.kubernetes}/audit.yaml"
    config.write_text("keys: [{name: k1, secret: c2VjcmV0}]\n")
    config.chmod(0o640)
    looked, printed = hosts.Extras(files=Asked((str(config), gone), (str(config),))), []
    pool = shell.pool("cp1")
    read = hosts.parse
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hosts, "parse", lambda text, *a, **k: printed.append(text) or read(text, *a, **k))
        view = await hosts.look_at(pool, "cp1", 10.0, more=looked)
    await pool.close()
    assert isinstance(view, HostView) and view.pod_files is not None and doubts(view) == []
    there = view.pod_files[str(config)]
    assert (there.what, there.sha256, there.mode, there.keyed) == (
        Is.FILE, hashlib.sha256(config.read_bytes()).hexdigest(), "640", True,
    )  # fmt: skip
    assert view.pod_files[gone].what is Is.GONE and set(view.manifests) == set(COMPONENTS)
    assert printed and "c2VjcmV0" not in printed[0]


async def test_why_etcd_ends_is_read_before_the_trace_of_a_panic_within_a_panic(shell: Sshd, machine: Machine) -> None:
    """As etcd 3.4.23 wrote it on the lab, with a database older than its newest snapshot."""
    said = (Path(__file__).parent / "etcd-panic.log").read_bytes()
    newer = (
        b'2026-01-01T00:00:00Z stderr F {"level":"panic","msg":"why","stacktrace":"main.main()\\n\\t/w/main.go:28"}\n'
    )
    machine.log("etcd", said, number=6)
    machine.log("kube-apiserver", newer + said[-2000:], number=1)
    pool = shell.pool("cp1")
    view = await seen(pool)
    await pool.close()
    tail = view.containers["etcd"].log_tail
    assert says_damaged(tail) and any("snapshot file doesn't exist" in line for line in tail), tail
    assert not [
        line for each in view.containers.values() for line in each.log_tail if ".go:345" in line or "0x" in line
    ]
    assert any('"msg":"why"' in line for line in view.containers["kube-apiserver"].log_tail)


async def test_why_an_api_server_ends_is_read_before_where_each_goroutine_was(shell: Sshd, machine: Machine) -> None:
    """As 1.20.2 ended on the lab when etcd elsewhere had lost its quorum: 17000 lines after it, the last cut off."""
    said = (Path(__file__).parent / "apiserver-fatal.log").read_bytes()
    stacks = said[said.index(b"stderr F goroutine") - 31 :]
    cut = b"2026-11-30T19:28:30.388095813Z stderr P k8s.io/kubernetes/vendor/k8s.io/cli\n"
    machine.log("kube-apiserver", said + 10 * stacks + cut, number=3)
    pool = shell.pool("cp1")
    view = await seen(pool)
    await pool.close()
    tail = view.containers["kube-apiserver"].log_tail
    assert tail[-1].endswith("unable to refresh the service IP block: etcdserver: request timed out"), tail
    assert reason(tail, "kube-apiserver").cause.name == "no-etcd"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "asked",
    [
        '{"level":"warn","ts":"2026-11-30T15:01:21.748333Z","caller":"auth/store.go:1143","msg":"ignoring common name '
        'in gRPC-gateway proxy request","common-name":"cp1","user-name":"cp1","revision":1}',
        "2026-11-30 10:58:16.497943 W | auth: ignoring common name in gRPC-gateway proxy request cp1",
    ],
    ids=["3.5.16", "3.4.23"],
)
async def test_what_etcd_says_stays_before_what_it_writes_of_each_question(
    pool: HostPool, machine: Machine, asked: str
) -> None:
    """As the lab's etcd wrote it for two minutes, of what recoverd itself had asked: 133 lines of 192."""
    lines = ["waiting for a quorum", *[asked] * 300]
    machine.log("etcd", b"".join(f"2026-11-30T15:01:21Z stderr F {line}\n".encode() for line in lines), number=1)
    assert (await seen(pool)).containers["etcd"].log_tail == ("waiting for a quorum",)


async def test_a_flag_that_etcd_does_not_know_is_read_before_its_usage(shell: Sshd, machine: Machine) -> None:
    """As etcd 3.5.16 ends on the lab: what is wrong stands before a page of how it is to be called."""
    usage = ["", "Usage:", "", *(f"  etcd {n}\n    What that does." for n in range(12)), ""]
    lines = "\n".join(["flag provided but not defined: -snapshot-cuont", *usage]).split("\n")
    machine.log("etcd", b"".join(f"2026-01-01T00:00:00Z stderr F {line}\n".encode() for line in lines), number=6)
    pool = shell.pool("cp1")
    view = await seen(pool)
    await pool.close()
    assert reason(view.containers["etcd"].log_tail, "etcd").cause.name == "unknown-flag"  # type: ignore[union-attr]


async def test_every_shell_sees_the_whole_machine(shell: Sshd, machine: Machine) -> None:
    authority = Authority(machine.kubernetes / "pki", "kubernetes")
    authority.issue("apiserver", days=30)
    (machine.kubernetes / "admin.conf").write_text(
        "users:\n- user:\n    client-certificate-data: "
        + base64.b64encode((authority.directory / "apiserver.crt").read_bytes()).decode()
    )
    machine.log(
        "kube-apiserver",
        b"2026-01-01T00:00:00Z stderr F it says \\c this\n" * 12 + b"raw \xff\xfe\x1b[31m line",
        number=7,
    )
    machine.log("etcd", b"2026-01-01T00:00:00Z stderr F somebody else's\n", uid=STRANGER, pod="etcd-backup-x7k2p")
    pool = shell.pool("cp1")
    view = await seen(pool)
    await pool.close()
    assert (view.boot_id, view.joined, doubts(view)) == (BOOT_ID, True, [])
    assert abs(view.clock_offset) < 1.1
    assert {n: (m.path, m.content, m.problem) for n, m in view.manifests.items()} == {
        n: (f"{machine.manifests}/{n}.yaml", manifest(n, f"--data-dir={machine.data}"), "") for n in COMPONENTS
    }
    assert view.manifests["etcd"].sha256 == hashlib.sha256((machine.manifests / "etcd.yaml").read_bytes()).hexdigest()
    api = view.containers["kube-apiserver"]
    assert (api.running, api.restarts, len(api.log_tail)) == (False, 7, 10)
    assert (api.log_tail[0], api.log_tail[-1]) == ("it says \\c this", "raw \ufffd\ufffd [31m line")
    assert view.containers["etcd"].log_tail == ()
    assert plain(view.etcd_data) == EtcdDataView(str(machine.data), exists=True, empty=False)
    assert any(isinstance(d, DiskView) and d.total > d.free > 0 for d in view.disks)
    of = {c.path: c for c in view.certificates}
    assert of[f"{authority.directory}/ca.crt"].is_ca
    for path in (f"{authority.directory}/apiserver.crt", f"{machine.kubernetes}/admin.conf"):
        assert (of[path].subject, of[path].issuer) == ("CN=apiserver", "CN=kubernetes")
        assert timedelta(days=29) < of[path].not_after - datetime.now(UTC) < timedelta(days=31)
    assert not any("PRIVATE KEY" in repr(c) for c in view.certificates)


async def test_the_uptime_is_since_the_machines_own_init(pool: HostPool, machine: Machine) -> None:
    """In a container /proc/uptime is the host's, while a node that was restarted is fresh."""
    assert abs((await seen(pool)).uptime - (time.clock_gettime(time.CLOCK_BOOTTIME) - INIT_STARTED)) < 5


@pytest.mark.parametrize(
    ("says", "container", "seen"),
    [
        ("NTPSynchronized=yes", False, True),
        ("NTPSynchronized=no", False, False),
        ("NTPSynchronized=no", True, None),
        ("", False, None),
    ],
)
async def test_whether_the_clock_is_synchronised_is_asked_now_and_then(
    says: str, container: bool, seen: bool | None, start_sshd: StartSshd, machine: Machine, tmp_path: Path
) -> None:
    """Before systemd 239 `timedatectl` knows no `show`, and says so on stderr. A container's clock is its host's."""
    if container:
        (machine.root / "run/systemd").mkdir(parents=True)
        (machine.root / "run/systemd/container").touch()
    tools = tmp_path / "tools"
    tools.mkdir()
    tool = tools / "timedatectl"
    tool.write_text(f"#!/bin/sh\n[ -z '{says}' ] && {{ echo 'Unknown operation show' >&2; exit 1; }}\necho '{says}'\n")
    tool.chmod(0o755)
    pool = start_sshd(SetEnv=f"PATH={tools}:/usr/bin:/bin").pool("cp1")
    asked, not_asked = [
        await hosts.look_at(pool, "cp1", 10.0, more=hosts.Extras(clock=clock)) for clock in (True, False)
    ]
    await pool.close()
    assert isinstance(asked, HostView) and isinstance(not_asked, HostView)
    assert (asked.synchronised, not_asked.synchronised) == (seen, None)


def test_uptime_and_start_times_in_a_container() -> None:
    """The kernel booted 1000 s ago, the container's init started 20 s ago, and a process of etcd 5 s ago."""

    def stat(seconds: float) -> str:
        return f"1 (etcd (x) y) S {'0 ' * 18}{seconds * 100:.0f} 0"

    now = datetime(2026, 1, 1, tzinfo=UTC)
    sections = {
        "boot": "b",
        "clock": f"{now.timestamp():.1f}",
        "uptime": f"{stat(1000)}\n{stat(980)}",
        "container etcd": f"stat {stat(995)}\nscanned",
    }
    view = parse("".join(f"@@ {name}\n{text}\n" for name, text in sections.items()) + "@@ end\n", "@@", middle=now).view
    assert (view.uptime, view.containers["etcd"].started_at) == (20.0, now - timedelta(seconds=5))


@pytest.mark.parametrize(
    ("read", "took", "off"),
    [(-5.2, 11.0, 0.0), (5.2, 11.0, 0.0), (-5.2, 0.2, -5.1), (60.0, 2.0, 59.0), (0.0, 0.0, 0.0)],
    ids=["slow and behind", "slow and ahead", "behind", "ahead", "at once"],
)
def test_a_clock_is_off_by_no_more_than_a_slow_answer_does_not_explain(read: float, took: float, off: float) -> None:
    """Seen on a machine under load: looks took 11 s, and its clock, the bastion's own, was called 5.2 s behind."""
    now = datetime.now(UTC).replace(microsecond=0)
    text = f"@@ boot\nb\n@@ clock\n{(now + timedelta(seconds=read)).timestamp():.1f}\n@@ end\n"
    assert parse(text, "@@", middle=now, took=took).view.clock_offset == pytest.approx(off)


async def test_a_manifest_beside_the_real_one_is_not_taken_for_it(pool: HostPool, machine: Machine) -> None:
    for name in ("etcd.yaml~", "etcd.bak", "etcd.yaml.old", "a name \\c with\ttabs"):
        (machine.manifests / name).write_text("older\n")
    view = await seen(pool)
    assert (view.manifests["etcd"].path, view.manifests["etcd"].problem, doubts(view)) == (
        f"{machine.manifests}/etcd.yaml",
        "",
        [],
    )
    (machine.manifests / "etcd.yaml").unlink()
    assert "etcd" not in (await seen(pool)).manifests


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"kind: Pod\nspec: {containers: [", "not YAML"),
        (b"kind: Pod\nspec:\n  containers:\n  - name: etcd\n", "cut short"),
        (b"a: b", "not a Pod"),
        (manifest("etcd").encode() + b"#" * 70_000, "longer than 65536"),
    ],
)
async def test_a_manifest_that_kubelet_cannot_run_says_why(
    pool: HostPool, machine: Machine, content: bytes, problem: str
) -> None:
    (machine.manifests / "etcd.yaml").write_bytes(content)
    view = await seen(pool)
    assert problem in view.manifests["etcd"].problem
    assert doubts(view) == []


async def test_the_data_directory_is_the_manifests_or_the_remembered_one(pool: HostPool, machine: Machine) -> None:
    other = machine.root / "it's elsewhere"
    (machine.manifests / "etcd.yaml").write_text(manifest("etcd", f"--data-dir={other}"))
    assert plain((await seen(pool)).etcd_data) == EtcdDataView(str(other), exists=False, empty=True)
    both = await seen(pool, about=hosts.EtcdAbout(str(machine.data)))
    assert plain(both.etcd_data) == EtcdDataView(str(other), exists=False, empty=True)
    assert plain(both.etcd_before) == EtcdDataView(str(machine.data), exists=True, empty=False), (
        "an edit of the manifest hides no data"
    )
    (machine.manifests / "etcd.yaml").unlink()
    (other / "member/snap").mkdir(parents=True)
    assert plain((await seen(pool, about=hosts.EtcdAbout(str(other)))).etcd_data) == EtcdDataView(
        str(other), exists=True, empty=True
    )
    same = await seen(pool, about=hosts.EtcdAbout(str(machine.data)))
    assert (plain(same.etcd_data), same.etcd_before) == (
        EtcdDataView(str(machine.data), exists=True, empty=False),
        None,
    )


async def test_whom_etcd_is_connected_to_and_whom_it_calls_in_vain(shell: Sshd, machine: Machine) -> None:
    with socket.create_server(("127.0.0.2", 0)) as answers, socket.socket() as full, ExitStack() as calls:
        port = answers.getsockname()[1]
        full.bind(("127.0.0.3", port))
        full.listen(0)
        text = manifest("etcd", f"--listen-peer-urls=https://127.0.0.1:{port}")
        (machine.manifests / "etcd.yaml").write_text(text)

        def call(address: str) -> socket.socket:
            caller = calls.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex((address, port))
            return caller

        call("127.0.0.2")
        filling = [call("127.0.0.3") for _ in range(4)]
        for caller in select.select([], filling, [], 5)[1]:
            caller.close()  # it stays in the queue, which is full: who calls from now on has no answer
        pool = shell.pool("cp1")
        assert (await seen(pool)).peers == {"127.0.0.2": True, "127.0.0.3": False}
        await pool.close()


async def test_a_database_that_is_put_in_the_place_of_another_is_seen_to_be_another(
    pool: HostPool, machine: Machine
) -> None:
    async def which() -> str:
        view = (await seen(pool)).etcd_data
        assert view is not None and view.identity
        return view.identity

    database = machine.data / "member" / "snap" / "db"
    before = await which()
    database.write_bytes(database.read_bytes() + b"what etcd wrote since")
    assert await which() == before
    beside = database.with_name("restored")
    beside.write_bytes(b"another")
    beside.replace(database)
    assert await which() != before


async def test_what_a_refused_first_start_leaves_is_no_data(pool: HostPool, machine: Machine) -> None:
    """A database of 16 KiB, or 3.5's of 16 MiB of which 20 KiB are written, and no log. A large one without
    a log is somebody's data still.
    """
    member = machine.data / "member"
    shutil.rmtree(member)
    (member / "snap").mkdir(parents=True)
    (member / "snap/db").write_bytes(bytes(16384))
    assert plain((await seen(pool)).etcd_data) == EtcdDataView(str(machine.data), exists=True, empty=True)
    os.truncate(member / "snap/db", 16 << 20)
    (member / "wal").mkdir()
    assert plain((await seen(pool)).etcd_data) == EtcdDataView(str(machine.data), exists=True, empty=True)
    (member / "wal/0000000000000000-0000000000000000.wal").touch()
    taken_in = EtcdDataView(str(machine.data), exists=True, empty=False, blank=True)
    assert plain((await seen(pool)).etcd_data) == taken_in
    shutil.rmtree(member / "wal")
    (member / "snap/db").write_bytes(os.urandom(1 << 20))
    assert plain((await seen(pool)).etcd_data) == EtcdDataView(str(machine.data), exists=True, empty=False)
    # its log may be on another disk
    (member / "snap/db").write_bytes(bytes(16384))
    logs = machine.root / "logs"
    logs.mkdir()
    (logs / "0000000000000000-0000000000000000.wal").touch()
    (machine.manifests / "etcd.yaml").write_text(manifest("etcd", f"--data-dir={machine.data}", f"--wal-dir={logs}"))
    assert plain((await seen(pool)).etcd_data) == taken_in


# --- who is at work there ---


async def test_a_person_with_a_terminal_is_seen_and_recoverds_own_sessions_are_not(
    sshd: Sshd, pool: HostPool, machine: Machine
) -> None:
    async with sshd.login() as person, person.create_process("tty; exec cat", term_type="xterm") as terminal:
        tty = (await terminal.stdout.readline()).strip().removeprefix("/dev/")
        during = (await seen(pool)).people
        assert during is not None
        (login,) = [seen for seen in during.logins if seen.tty == tty]  # this machine may have others
        assert (login.user, login.tty[:4]) == (sshd.settings.user, "pts/") and login.idle < 60
        assert abs((login.since - datetime.now(UTC)).total_seconds()) < 60
        terminal.stdin.write_eof()
    assert not during.hands_off


@pytest.fixture(params=["kubeadm", "dpkg"])
def kubeadm(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Runs, under that name."""
    program = tmp_path / request.param
    shutil.copy(str(shutil.which("sleep")), program)
    process = subprocess.Popen([str(program), "600"])
    yield program
    process.kill()
    process.wait()


async def test_every_shell_sees_kubeadm_at_work_and_who_keeps_hands_off(
    shell: Sshd, machine: Machine, kubeadm: Path
) -> None:
    hands_off = machine.root / "run/recoverd/hands-off"
    hands_off.parent.mkdir(parents=True)
    hands_off.write_text("new disks until noon\nand more\n")
    pool = shell.pool("cp1")
    people = (await seen(pool)).people
    await pool.close()
    assert people is not None
    (tool,) = (t for t in people.tools if t.command == f"{kubeadm} 600")
    assert tool.since and 0 <= tool.runs < 60 and abs((tool.since - datetime.now(UTC)).total_seconds()) < 60
    assert people.hands_off.endswith(": new disks until noon")


# --- what could not be told ---


@pytest.mark.parametrize("what", ["manifests", "manifests/etcd.yaml"])
async def test_a_manifest_on_a_disk_that_errors_is_not_missing(pool: HostPool, machine: Machine, what: str) -> None:
    machine.loop(machine.kubernetes / what)
    view = await seen(pool)
    assert "etcd" not in view.manifests
    assert any(machine.path("/etc/kubernetes/manifests") in d for d in doubts(view)) or any(
        "exists cannot be told" in d for d in doubts(view)
    )


async def test_a_manifest_that_cannot_be_read_is_neither_missing_nor_broken(pool: HostPool, machine: Machine) -> None:
    (machine.manifests / "etcd.yaml").unlink()
    (machine.manifests / "etcd.yaml").symlink_to(
        "/proc/self/mem"
    )  # a file whose every read ends with "Input/output error"
    view = await seen(pool)
    assert "etcd" not in view.manifests and f"{machine.manifests}/etcd.yaml" in doubts(view)[0]


async def test_a_directory_of_manifests_that_is_gone_is_gone(pool: HostPool, machine: Machine) -> None:
    shutil.rmtree(machine.manifests)
    view = await seen(pool)
    assert (view.manifests, doubts(view)) == ({}, [])


async def test_etcds_data_on_a_disk_that_errors_is_unknown(pool: HostPool, machine: Machine) -> None:
    machine.loop(machine.data)
    view = await seen(pool)
    assert view.etcd_data is None and any("etcd-data" in p for p in view.problems)


@pytest.mark.parametrize("tool", ["base64", "head", "wc", "ls", "cat"])
async def test_a_tool_that_is_missing_makes_no_file_missing(
    start_sshd: StartSshd, machine: Machine, tmp_path: Path, tool: str
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in {"sh", "cat", "date", "ls", "head", "base64", "wc", "df", "sed", "grep", "tail", "cut", "timeout"} - {
        tool
    }:
        (tools / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    shutil.rmtree(machine.kubernetes / "manifests" / "kube-scheduler.yaml", ignore_errors=True)
    pool = start_sshd(SetEnv=f"PATH={tools}").pool("cp1")
    view = await hosts.look_at(pool, "cp1", 10)
    await pool.close()
    if isinstance(view, HostView):
        assert (
            set(view.manifests) == set(COMPONENTS) and not any(m.problem for m in view.manifests.values())
        ) or doubts(view)
        assert plain(view.etcd_data) in (None, EtcdDataView(str(machine.data), exists=True, empty=False))


async def test_wherever_the_look_is_cut_nothing_is_called_absent(pool: HostPool, machine: Machine) -> None:
    """Every prefix of a real look: what is missing from it is doubted, never said to be absent,
    and no file changes its content.
    """
    machine.log("etcd", b"line\n" * 3, number=1234567890)
    script = f"M=@@\n{hosts.PIDS}\n{hosts.SCRIPT}"
    output = (await pool.run("cp1", script, timeout=10)).stdout
    now = datetime.now(UTC)
    look = parse(output, "@@", middle=now)
    whole = look.view
    assert not doubts(whole) and look.key_stamp
    for length in [*range(0, output.rindex("@@ end"), 7), output.rindex("@@ end")]:
        try:
            cut = parse(output[:length], "@@", middle=now, truncated=True)
        except LookError:
            continue
        view = cut.view
        assert doubts(view)
        assert cut.key_stamp in ("", look.key_stamp), "a part of it would pass for keys that are all there"
        assert all(whole.manifests[n] == m for n, m in view.manifests.items())
        assert all(
            (whole.containers[n].running, whole.containers[n].restarts) == (c.running, c.restarts)
            for n, c in view.containers.items()
        )
        assert view.etcd_data in (None, whole.etcd_data)


async def test_a_megabyte_of_output_is_cut_and_doubted(pool: HostPool, machine: Machine) -> None:
    for i in range(20):
        (machine.manifests / f"big-{i}.yaml").write_bytes(b"x" * 65_000)
    view = await seen(pool)
    assert any("cut short" in d for d in doubts(view))
    assert "etcd" not in view.manifests and view.etcd_data is None


async def test_logs_and_names_that_are_no_utf8_harm_nothing(pool: HostPool, machine: Machine) -> None:
    machine.log("etcd", b"\xc3\x28" * 4000 + b"\n@@ manifests\nno\n")
    (machine.manifests / "\udcff.yaml").write_text("a: b")
    view = await seen(pool)
    assert set(COMPONENTS) < set(view.manifests) and not doubts(view)
    assert view.containers["etcd"].log_tail[-1] == "no"


# --- hosts that answer otherwise ---


async def test_a_host_that_hangs_on_every_command(start_sshd: StartSshd, machine: Machine) -> None:
    answer = await unseen(start_sshd(ForceCommand="sleep 60").pool("cp1"), 1)
    assert answer.kind is UnseenKind.TIMEOUT


async def test_a_shell_that_prints_a_banner(start_sshd: StartSshd, machine: Machine) -> None:
    pool = start_sshd(ForceCommand='printf "Welcome\\nto \\377\\n"; echo note >&2; eval "$SSH_ORIGINAL_COMMAND"').pool(
        "cp1"
    )
    view = await seen(pool)
    await pool.close()
    assert set(view.manifests) == set(COMPONENTS) and not doubts(view)


async def test_an_account_without_a_shell(start_sshd: StartSshd, machine: Machine) -> None:
    answer = await unseen(start_sshd(ForceCommand="echo This account is currently not available.; exit 1").pool("cp1"))
    assert answer.kind is UnseenKind.GARBAGE
    assert "not available" in answer.reason and "exit 1" in answer.reason


async def test_sudo_that_wants_a_password_behind_a_banner(
    start_sshd: StartSshd, tmp_path: Path, machine: Machine
) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    sshd = start_sshd(
        SetEnv=f"PATH={tmp_path}:/usr/bin:/bin", ForceCommand='echo Welcome; eval "$SSH_ORIGINAL_COMMAND"'
    )
    answer = await unseen(sshd.pool("cp1", sudo=True))
    assert answer.kind is UnseenKind.DENIED
    assert "may not become root" in answer.reason and "NOPASSWD" in answer.reason


async def test_without_systemctl_only_the_units_are_missing(
    start_sshd: StartSshd, machine: Machine, tmp_path: Path
) -> None:
    for text in (
        None,
        "#!/bin/sh\necho 'Failed to connect to bus: No such file or directory' >&2\nexit 1\n",
        "#!/bin/sh\nexec sleep 30\n",
    ):
        tools = tmp_path / f"tools-{len(text or '')}"
        tools.mkdir()
        for name in (
            "sh",
            "cat",
            "date",
            "ls",
            "head",
            "base64",
            "wc",
            "df",
            "sed",
            "grep",
            "tail",
            "cut",
            "timeout",
            "sleep",
        ):
            (tools / name).symlink_to(shutil.which(name) or f"/bin/{name}")
        if text:
            (tools / "systemctl").write_text(text)
            (tools / "systemctl").chmod(0o755)
        pool = start_sshd(SetEnv=f"PATH={tools}").pool("cp1")
        view = await seen(pool, 8)
        await pool.close()
        assert view.units == {} and any("units" in p for p in view.problems)
        assert set(view.manifests) == set(COMPONENTS) and not doubts(view)


async def test_units_as_systemctl_shows_them(start_sshd: StartSshd, machine: Machine, tmp_path: Path) -> None:
    """systemd 252's own words, since the machine that runs the tests may have no systemd; the lab has the real one."""
    blocks = [
        "Id=kubelet.service\nLoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\n"
        "StateChangeTimestampMonotonic=1000000\nNRestarts=12",
        "Id=containerd.service\nLoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nStateChangeTimestampMonotonic=0\nNRestarts=0",
        "Id=docker.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\nResult=success\nStateChangeTimestampMonotonic=0\nNRestarts=0",
        "Id=crio.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success\nStateChangeTimestampMonotonic=0\nNRestarts=0",
    ]
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text("#!/bin/sh\ncat <<'E'\n" + "\n\n".join(blocks) + "\nE\n")
    (tools / "systemctl").chmod(0o755)
    pool = start_sshd(SetEnv=f"PATH={tools}:/usr/bin:/bin").pool("cp1")
    view = await seen(pool)
    assert set(view.units) == {"kubelet", "containerd", "docker"}
    kubelet = view.units["kubelet"]
    assert (kubelet.active, kubelet.sub, kubelet.result, kubelet.restarts, kubelet.running) == (
        "activating",
        "auto-restart",
        "exit-code",
        12,
        False,
    )
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert kubelet.since and abs(kubelet.since.timestamp() - booted - 1) < 5
    assert view.runtime == "docker"  # kubelet before 1.24 is told of no other, and docker brings a containerd with it
    flags = machine.root / "var/lib/kubelet/kubeadm-flags.env"
    flags.write_text(
        'KUBELET_KUBEADM_ARGS="--container-runtime=remote '
        '--container-runtime-endpoint=unix:///run/containerd/containerd.sock"\n'
    )
    assert (await seen(pool)).runtime == "containerd"
    flags.unlink()
    (machine.root / "var/lib/kubelet/config.yaml").write_text(
        "containerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n"
    )
    assert (await seen(pool)).runtime == "containerd"
    await pool.close()


# --- whose process it is ---


@pytest.fixture
def placed(tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[bytes]]]:
    """`placed("etcd", "kubepods/pod1")`: a process of this name in this cgroup of its own."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    root = next((Path(m[4]) for m in mounts if m[m.index("-") + 1] == "cgroup2"), None)
    base = root / f"recoverd-test-{tmp_path.name}" if root else None
    started: list[subprocess.Popen[bytes]] = []
    made: list[Path] = []

    def start(name: str, cgroup: str) -> subprocess.Popen[bytes]:
        program = tmp_path / name
        if not program.exists():
            program.symlink_to(Path("/bin/sh").resolve())
        started.append(subprocess.Popen([str(program), "-c", "read x"], stdin=subprocess.PIPE))
        try:
            if base is None:
                raise OSError("there is no cgroup2")
            folder = base / cgroup
            made.extend(p for p in (folder, *folder.parents) if p.is_relative_to(base) and p not in made)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cgroup.procs").write_text(str(started[-1].pid))
        except OSError as error:
            pytest.skip(f"no cgroup can be made: {error}")
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    for folder in sorted(made, key=lambda p: -len(p.parts)):
        if folder.exists():
            folder.rmdir()


STATIC = (
    f"kubepods/burstable/pod{UID}/c1",
    f"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable-pod{UID}.slice/cri-containerd-{UID}.scope",
)
OTHERS = (
    f"kubepods/burstable/pod{STRANGER}/{UID}{UID}",
    f"kubepods-pod{STRANGER.replace('-', '_')}.slice/x.scope",
    "system.slice/etcd.service",
    "user.slice/s",
    f"docker/{UID}{UID}",
)


@pytest.mark.parametrize("cgroup", STATIC)
async def test_a_static_pods_process_is_told_from_others_of_its_name(
    pool: HostPool, machine: Machine, placed: Callable[[str, str], subprocess.Popen[bytes]], cgroup: str
) -> None:
    name = "kube-scheduler"
    for other in OTHERS:
        placed(PREFIX + name, other)
    assert not (await seen(pool)).containers[name].running
    own = placed(PREFIX + name, cgroup)
    view = (await seen(pool)).containers[name]
    assert view.running and view.started_at
    assert abs((datetime.now(UTC) - view.started_at).total_seconds()) < 5
    own.kill()
    own.wait()
    assert not (await seen(pool)).containers[name].running


async def test_static_pods_of_others_are_seen_to_run_by_what_their_processes_may_be_called(
    pool: HostPool, machine: Machine, placed: Callable[[str, str], subprocess.Popen[bytes]]
) -> None:
    asked = hosts.Extras(pods=(("vip", "manager"), ("vip", "kube-vip"), ("keepalived", "keepalived")))
    placed(f"{PREFIX}keepalived", OTHERS[2])  # somebody's own, of a unit of systemd
    for runs in (False, True):
        if runs:
            placed(f"{PREFIX}kube-vip", STATIC[0])
        view = await hosts.look_at(pool, "cp1", 10.0, more=asked)
        assert isinstance(view, HostView)
        assert (view.runs("vip"), view.runs("keepalived")) == (runs, False)
        assert {"vip", "keepalived", *COMPONENTS} == view.containers.keys(), view
        assert bool(view.running_since("vip")) is runs


async def test_where_cgroups_say_nothing_the_name_has_to_do(
    pool: HostPool, machine: Machine, placed: Callable[[str, str], subprocess.Popen[bytes]]
) -> None:
    placed(f"{PREFIX}kube-scheduler", "some/group")
    assert (await seen(pool)).containers["kube-scheduler"].running


async def test_hosts_are_looked_at_at_once(sshd: Sshd, machine: Machine) -> None:
    names = [f"n{i}" for i in range(6)]
    pool = sshd.pool(*names)
    views = await asyncio.gather(*(hosts.look_at(pool, name, 10) for name in names))
    await pool.close()
    assert all(isinstance(v, HostView) for v in views)


# --- what kubelet is told, and static pods elsewhere ---


async def test_the_last_drop_in_of_kubelets_configuration_counts_and_its_flags_before_it(
    machine: Machine, shell: Sshd
) -> None:
    """As kubelet merges them (mergeKubeletConfigurations, 1.30). The manifests were called missing, all four, and the
    runtime was taken for another one, where only a drop-in names the place.
    """
    kubelet, parts = machine.root / "var/lib/kubelet", machine.root / "etc/kubernetes/kubelet.conf.d"
    config, flags = kubelet / "config.yaml", kubelet / "kubeadm-flags.env"
    parts.mkdir()
    config.write_text("staticPodPath: /srv/first\ncontainerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n")
    (parts / "10-place.conf").write_text("kind: KubeletConfiguration\nstaticPodPath: /srv/second # moved\n")
    (parts / "20-place.conf").write_text(
        'staticPodPath: "/srv/third"\ncontainerRuntimeEndpoint: "unix:///run/crio.sock"\n'
    )
    (parts / "90-no-part").write_text("staticPodPath: /srv/fourth\n")
    pool = shell.pool("cp1")
    try:
        for told, place in (("", "first"), (f"--config-dir={parts}", "third"), (f"--config-dir {parts}/", "third")):
            flags.write_text(f'KUBELET_KUBEADM_ARGS="--v=2 {told} --fail-swap-on"\n')
            assert f"in /srv/{place}," in doubts(await seen(pool))[0]
        flags.write_text(f'KUBELET_KUBEADM_ARGS="--config-dir={parts} --pod-manifest-path=/srv/flag"\n')
        assert "in /srv/flag," in doubts(await seen(pool))[0]
        flags.write_text(f'KUBELET_KUBEADM_ARGS="--config-dir={parts}"\n')
        # the whole tree counts, a directory where its own name is, and no link to one
        for place in ("05-site", "25-site.conf"):
            (parts / place).mkdir()
            (parts / place / "99.conf").write_text(f"staticPodPath: /srv/{place}\n")
        (elsewhere := machine.root / "srv").mkdir()
        (elsewhere / "99.conf").write_text("staticPodPath: /srv/elsewhere\n")
        (parts / "27-linked").symlink_to(elsewhere)
        assert "in /srv/25-site.conf," in doubts(await seen(pool))[0]
        (parts / "30-none.conf").write_text("staticPodPath: ''\n")
        assert not doubts(await seen(pool))
    finally:
        await pool.close()


@pytest.mark.parametrize(
    "said", ["staticPodPath: {}", 'staticPodPath: "{}/"', "x: y\nstaticPodPath: /other\nstaticPodPath: {}\r"]
)
async def test_manifests_that_kubelet_reads_elsewhere_are_unseen_and_not_missing(
    machine: Machine, shell: Sshd, said: str
) -> None:
    """They were missing, all four, in the first sweep, while everything ran."""
    config, elsewhere = machine.root / "var/lib/kubelet/config.yaml", machine.root / "srv/static"
    pool = shell.pool("cp1")
    try:
        for place in (str(machine.manifests), ""):
            config.write_text(said.format(place) + "\n" if place else "kind: KubeletConfiguration\n")
            view = await seen(pool)
            assert set(view.manifests) == set(COMPONENTS) and not doubts(view), view.problems
        config.write_text(said.format(elsewhere) + "\n")
        view = await seen(pool)
        assert view.manifests == {} and f"in {elsewhere}" in doubts(view)[0]
        elsewhere.parent.mkdir()
        elsewhere.symlink_to(machine.manifests)
        assert set((await seen(pool)).manifests) == set(COMPONENTS)
    finally:
        await pool.close()
