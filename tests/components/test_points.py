"""Restore points of a real etcd over a real sshd: fetched, kept, restored to see that they are good; and
every way in which that fails.
"""

from __future__ import annotations

import asyncio
import filecmp
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recoverd.act import scratch
from recoverd.act.point_node import take_node
from recoverd.act.point_store import PointStore
from recoverd.act.points import PointKeeper
from recoverd.clients.etcd import EtcdClient
from recoverd.model.plan import StepResult
from recoverd.model.pod_files import COPIES
from recoverd.model.point_operations import TakeRestorePoint
from recoverd.model.points import PKI_ASIDE, PointSettings, RestorePoint
from recoverd.model.settings import ClusterSettings
from tests.authority import Authority

from .clusters import Node
from .conftest import EtcdNode, Sshd
from .test_ssh import until

pytestmark = pytest.mark.timeout(240)
SETTINGS = PointSettings(min_free=0)
SECONDS = 100.0


class Site:
    """One control plane, cp1: its files below a root of their own, its etcd, and a keeper on the bastion."""

    def __init__(self, directory: Path, start_sshd: Callable[..., Sshd], etcd: EtcdNode) -> None:
        self.directory, self.etcd = directory, etcd
        self.node = Node(directory / "cp1-root", "cp1")
        self.kubernetes = self.node.root / "etc/kubernetes"
        Authority(self.kubernetes / "pki", "kubernetes").issue("apiserver", days=90)
        (self.kubernetes / "admin.conf").write_text("users:\n- user:\n    client-key-data: c2VjcmV0\n")
        (self.node.root / "var/lib/kubelet").mkdir(parents=True, exist_ok=True)
        (self.node.root / "var/lib/kubelet/config.yaml").write_text("kind: KubeletConfiguration\n")
        self.sshd = start_sshd(ForceCommand=self.node.forced())
        self.pool = self.sshd.pool("cp1")
        self.root = directory / "state" / "points"
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def keeper(self, **changes: Any) -> PointKeeper:
        settings = ClusterSettings("prod", self.sshd.hosts("cp1"), points=replace(SETTINGS, **changes))
        return PointKeeper(settings, self.pool, self.root, self.client, lambda: self.now)

    def client(self, host: str) -> EtcdClient:
        return EtcdClient(
            self.pool, host, port=self.etcd.port, metrics_port=self.etcd.metrics_port, pki=str(self.etcd.pki)
        )

    async def take(
        self,
        keeper: PointKeeper | None = None,
        why: str = "schedule",
        seconds: float = SECONDS,
        urgent: bool = False,
        resume: bool = False,
    ) -> StepResult:
        until = asyncio.get_running_loop().time() + seconds
        return await (keeper or self.keeper()).take(TakeRestorePoint(why, urgent), "cp1", until, resume=resume)

    async def taken(self, keeper: PointKeeper | None = None, **how: Any) -> RestorePoint:
        """The newest point, once one more was taken."""
        result = await self.take(keeper, **how)
        assert result.ok and result.points, result.detail
        return result.points[-1]

    def aside(self) -> list[str]:
        """The points whose keys are kept on the node."""
        directory = Path(f"{self.node.root}{PKI_ASIDE}")
        return sorted(p.name for p in directory.iterdir()) if directory.exists() else []

    def keeps(self, text: str, path: str) -> str:
        """The node keeps a copy of a file that its static pods name, and has lost another: the digest."""
        copies, digest = Path(f"{self.node.root}{COPIES}"), hashlib.sha256(text.encode()).hexdigest()
        copies.mkdir(parents=True)
        (copies / digest).write_text(text)
        (copies / "index").write_text(f"{digest} {path}\n{'0' * 64} /etc/kubernetes/gone\n")
        return digest

    def on_disk(self) -> list[str]:
        return sorted(p.name for p in self.root.iterdir()) if self.root.exists() else []


@pytest.fixture
async def site(tmp_path: Path, start_sshd: Callable[..., Sshd], etcd: EtcdNode) -> AsyncIterator[Site]:
    etcd.put({f"/registry/pods/p{number}": "x" * 100 for number in range(20)})
    etcd.ctl("del", "/registry/pods/p3")
    made = Site(tmp_path, start_sshd, etcd)
    yield made
    await made.pool.close()


def every_file(root: Path) -> Iterator[Path]:
    return (p for p in root.rglob("*") if p.is_file())


async def test_a_point_is_whole_private_and_was_really_restored(site: Site) -> None:
    point = await site.taken()
    assert (point.id, point.why, point.host, point.sequence) == ("prod-20260101T000000Z", "schedule", "cp1", 1)
    assert point.taken_at == site.now.timestamp() == point.verified_at
    assert point.how_verified.startswith("restored with etcdctl into a scratch etcd 3."), point.how_verified
    assert "as many as the member had at that revision" in point.how_verified
    assert (point.revision, point.keys) == (await revision(site), 20), "19 pods and a node, of 22 writes"
    check_files(site, point)
    check_modes(site, point)
    assert point.lacks == ("the ConfigMaps kubeadm-config and kubelet-config: no control plane's kubectl gave them",)
    assert site.on_disk() == [point.id], "and nothing else is left"
    assert (await site.keeper().look()).points == (point,), "as another process sees it"


def check_files(site: Site, point: RestorePoint) -> None:
    """Everything that is to be there, and nothing else."""
    assert (
        point.sha256
        == subprocess.run(["sha256sum", point.path], capture_output=True, text=True, check=True).stdout.split()[0]
    )
    assert point.size == Path(point.path).stat().st_size
    content = {str(p.relative_to(point.directory)): p for p in every_file(Path(point.directory))}
    manifests = {
        f"cp1/files/etc/kubernetes/manifests/{c}.yaml"
        for c in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    }
    below = {name.replace(str(site.node.root).lstrip("/") + "/", "") for name in content}
    assert below == {
        "snapshot.db",
        "point.json",
        "cp1/certificates.json",
        "cp1/files/var/lib/kubelet/config.yaml",
        *manifests,
    }
    (manifest,) = [p for name, p in content.items() if name.endswith("manifests/etcd.yaml")]
    assert manifest.read_text() == (site.node.manifests / "etcd.yaml").read_text()
    rows = {Path(r["path"]).name: r for r in json.loads(content["cp1/certificates.json"].read_text())}
    days = datetime.fromisoformat(rows["apiserver.crt"]["not_after"]) - datetime.now(UTC)
    assert timedelta(days=89) < days < timedelta(days=91) and len(rows["apiserver.crt"]["sha256"]) == 64
    assert set(rows) == {"ca.crt", "apiserver.crt", "admin.conf", "kubelet.conf"}


def check_modes(site: Site, point: RestorePoint) -> None:
    """For root only, and the private keys on their own node only."""
    for path in site.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or (
            b"PRIVATE KEY" not in path.read_bytes() and b"client-key-data" not in path.read_bytes()
        ), path
    assert stat.S_IMODE(site.root.stat().st_mode) == 0o700
    kept = Path(f"{site.node.root}{PKI_ASIDE}/{point.id}")
    assert (kept / "pki/ca.key").read_bytes() == (site.kubernetes / "pki/ca.key").read_bytes()
    assert (kept / "admin.conf").read_text() == (site.kubernetes / "admin.conf").read_text()
    for path in (kept, *kept.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


async def revision(site: Site) -> int:
    return (await site.client("cp1").view(timeout=10)).revision


async def test_the_configmaps_come_from_kubectl_on_the_node(site: Site) -> None:
    kubectl = site.node.root / "bin/kubectl"
    both = "".join(f"- metadata:\n    name: {n}\n" for n in ("kubeadm-config", "kubelet-config"))
    kubectl.write_text(f"#!/bin/sh\ncat <<'EOF'\nitems:\n{both}kind: List\nEOF\n")
    kubectl.chmod(0o755)
    point = await site.taken()
    assert point.lacks == ()
    assert text_of(point, "configmaps.yaml") == f"items:\n{both}kind: List\n"
    kubectl.write_text("#!/bin/sh\necho 'kind: List'\n")
    assert (await site.taken()).lacks == tuple(
        f"the ConfigMap {n}: kubectl gave none" for n in ("kubeadm-config", "kubelet-config")
    )


def text_of(point: RestorePoint, name: str) -> str:
    return Path(point.directory, name).read_text()


HOOK = """#!/bin/sh
set -e
[ "$1" = prod ]
[ -e "$2/$3/point.json" ]
mkdir -p {there}
cp -a "$2/." {there}/
"""


def hook(directory: Path, script: str) -> str:
    program = directory / "hook"
    program.write_text(script)
    program.chmod(0o755)
    return str(program)


async def test_the_operators_program_copies_a_point_to_where_another_bastion_finds_and_uses_it(
    site: Site, tmp_path: Path
) -> None:
    there = tmp_path / "another" / "points"
    program = hook(tmp_path, HOOK.format(there=there))
    result = await site.take(site.keeper(hook=program))
    assert result.ok and result.points and result.detail.endswith(f"{program} has run"), result.detail
    (point,) = result.points
    other = PointKeeper(site.keeper()._cluster, site.pool, there, site.client, lambda: site.now)
    (copied,) = (await other.look()).points or ()
    assert copied == replace(point, directory=str(there / point.id), path=str(there / point.id / "snapshot.db"))
    assert filecmp.cmp(copied.path, point.path, shallow=False)
    site.now += timedelta(hours=2)
    newer = (await site.take(other)).points or ()
    assert [p.sequence for p in newer] == [1, 2], "it goes on counting where the other one was"
    urgent = await site.take(site.keeper(hook=program), why="before p1", urgent=True)
    assert urgent.ok and program not in urgent.detail, "a plan does not wait for it"


async def test_a_program_of_the_operator_that_fails_or_hangs_is_told_and_the_point_counts(
    site: Site, tmp_path: Path
) -> None:
    result = await site.take(site.keeper(hook=hook(tmp_path, "#!/bin/sh\necho no route to b2 >&2; exit 7\n")))
    assert result.ok and result.points and "ON THIS BASTION ALONE" in result.detail, result.detail
    assert result.detail.endswith("ended with status 7: no route to b2")
    result = await site.take(site.keeper(hook=str(tmp_path / "missing")))
    assert result.ok and "missing could not be started" in result.detail
    keeper = site.keeper(hook=hook(tmp_path, f"#!/bin/sh\necho $$ > {tmp_path}/pid; exec sleep 1000\n"))
    slow = asyncio.create_task(site.take(keeper))
    while not (tmp_path / "pid").exists():  # noqa: ASYNC110  # a file wakes nobody
        await asyncio.sleep(0.1)
    assert (await site.take(keeper, why="before p1", urgent=True)).ok and not slow.done()
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_keys_come_to_the_bastion_only_when_configured(site: Site) -> None:
    digest = site.keeps("an encryption key", "/etc/kubernetes/enc.yaml")
    assert (await site.taken()).pod_files == ()
    site.now += timedelta(hours=1)
    point = await site.taken(site.keeper(keys_on_bastion=True))
    with tarfile.open(Path(point.directory, "cp1/pki.tar")) as archive:
        assert {"./pki/ca.key", "./pki/apiserver.key", "./admin.conf", f"./pod-files/{digest}"} <= set(
            archive.getnames()
        )
    assert point.pod_files == (f"cp1:/etc/kubernetes/enc.yaml {digest}",)


async def test_a_hostile_node_writes_nothing_outside_the_point(
    site: Site, tmp_path: Path, start_sshd: Callable[..., Sshd]
) -> None:
    script = tmp_path / "hostile"
    script.write_text(
        "#!/bin/sh\nm=$(sed -n 's/^take_point \\([^ ]*\\) .*/\\1/p' | head -n 1)\n"
        'printf "\\n%s pki\\ndone\\n\\n%s file /../../evil\\nZXZpbA==\\n\\n%s file '
        'evil\\nZXZpbA==\\n\\n%s end\\n" $m $m $m $m\n'
    )
    script.chmod(0o755)
    pool = start_sshd(ForceCommand=str(script)).pool("cp1")
    taken = await take_node(pool, "cp1", "prod-x", 10.0, keys=False)
    await pool.close()
    assert list(taken.content) == ["cp1/certificates.json"]
    assert [line for line in taken.lacks if "no plain path" in line] == taken.lacks and len(taken.lacks) == 2, (
        taken.lacks
    )


async def test_without_the_programs_it_says_plainly_that_it_was_not_verified(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = site.keeper()
    monkeypatch.setenv("PATH", "/nowhere")
    point = await site.taken(keeper)
    assert point.verified_at is None and not point.verified
    assert "not verified, but for its hash: etcd and etcdutl or etcdctl is not on the bastion" in point.how_verified
    assert (point.revision, point.keys) == (await revision(site), 0)


async def test_an_older_etcd_on_the_bastion_is_not_asked(site: Site, tmp_path: Path) -> None:
    programs = tmp_path / "old"
    programs.mkdir()
    (programs / "etcd").write_text("#!/bin/sh\necho 'etcd Version: 3.3.25'\n")
    (programs / "etcd").chmod(0o755)
    point = await site.taken(site.keeper(programs=str(programs)))
    assert not point.verified and "etcd 3.3.25, older than the member's 3." in point.how_verified


async def test_a_failure_of_a_newer_etcd_says_nothing_about_the_snapshot(site: Site, tmp_path: Path) -> None:
    programs = tmp_path / "newer"
    programs.mkdir()
    for name, said in (("etcd", "etcd Version: 3.9.0"), ("etcdutl", "etcdutl version: 3.9.0")):
        (programs / name).write_text(
            f"#!/bin/sh\ncase $1 in *version) echo '{said}' ;; *) echo 'unknown schema'; exit 1 ;; esac\n"
        )
        (programs / name).chmod(0o755)
    point = await site.taken(site.keeper(programs=str(programs)))
    assert (
        not point.verified and "unknown schema. The bastion's etcd is 3.9.0 and the member's 3." in point.how_verified
    )


async def test_a_member_whose_data_is_corrupt_gives_no_point(site: Site) -> None:
    good = await site.taken()
    site.now += timedelta(hours=1)
    database = site.etcd.data / "member/snap/db"
    with database.open("r+b") as file:  # etcd maps the file, so it sends what is in it, with a hash that fits
        pages = os.fstat(file.fileno()).st_size // 4096
        for page in range(2, pages):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    result = await site.take()
    assert not result.ok
    assert "from cp1 has a good hash and cannot be restored, so it was not kept" in result.detail, result.detail
    assert result.points == (good,) and site.on_disk() == [good.id]


async def test_no_room_is_a_refusal_with_numbers(site: Site) -> None:
    result = await site.take(site.keeper(min_free=1 << 60))
    assert not result.ok and site.on_disk() == [] and site.aside() == []
    assert (
        "1099511627776 MiB stay free (restore_points.min_free)" in result.detail
        and "MiB free. Make room there" in result.detail
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("left", [0, 8192, 40960], ids=["nothing", "part-of-the-snapshot", "the-snapshot-and-no-more"])
async def test_a_disk_that_fills_up_while_it_is_written_keeps_nothing_of_it(
    site: Site, small_disk: Path, left: int
) -> None:
    site.root = small_disk / "points"
    good = await site.taken()
    assert not good.verified and "to restore it takes" in good.how_verified, "192 MiB of logs do not fit"
    keeper = site.keeper()
    start = site.now + timedelta(hours=1)

    def fill() -> datetime:  # asked for after the room was found sufficient
        with (small_disk / "filler").open("wb", buffering=0) as file:
            size = shutil.disk_usage(small_disk).free - left
            while size > 0 and (wrote := file.write(b"\0" * min(size, 1 << 20))):
                size -= wrote
        return start

    keeper._clock = fill
    result = await site.take(keeper)
    assert not result.ok and "No space left on device" in result.detail and "Make room there" in result.detail, (
        result.detail
    )
    assert result.points == (good,) and site.on_disk() == [good.id]
    (small_disk / "filler").unlink()
    site.now = start + timedelta(hours=1)
    assert (await site.taken()).sequence == 2
    assert f"prod-{start:%Y%m%dT%H%M%SZ}" not in site.aside()


KILLED = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from recoverd.act import point_store, points, scratch
from recoverd.config import SshSettings
from recoverd.clients.etcd import EtcdClient
from recoverd.clients.hosts import HostPool
from recoverd.model.point_operations import TakeRestorePoint
from recoverd.model.points import PointSettings
from recoverd.model.settings import ClusterSettings, HostSettings

def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
match {at!r}:
    case "fetched": points.take_node = die
    case "written": point_store.PointStore.commit = die
    case "committed": points.scratch.find = die
    case "restored": scratch._counted = die
    case "removed": point_store.shutil.rmtree = lambda path, **_: die() if ".gone-" in str(path) else None
async def main():
    hosts = (HostSettings("cp1", "127.0.0.1"),)
    pool = HostPool(SshSettings({user!r}, Path({key!r}), Path({known!r}), {port}), hosts)
    client = lambda host: EtcdClient(pool, host, port={etcd}, metrics_port={metrics}, pki={pki!r})
    settings = ClusterSettings("prod", hosts, points=PointSettings(min_free=0, keep=1))
    keeper = points.PointKeeper(settings, pool, Path({root!r}), client, lambda: datetime(2026, 1, 1, 1, tzinfo=UTC))
    print(await keeper.take(TakeRestorePoint("schedule"), "cp1", asyncio.get_running_loop().time() + 60))
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("at", "whole"),
    [("fetched", False), ("written", False), ("committed", True), ("restored", True), ("removed", True)],
)
async def test_a_kill_in_the_middle_leaves_no_half_point_that_counts(site: Site, at: str, whole: bool) -> None:
    good = await site.taken()
    ssh = site.sshd.settings
    ways = {
        "user": ssh.user,
        "key": str(ssh.key),
        "known": str(ssh.known_hosts),
        "port": ssh.port,
        "root": str(site.root),
    }
    script = KILLED.format(at=at, etcd=site.etcd.port, metrics=site.etcd.metrics_port, pki=str(site.etcd.pki), **ways)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(script), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    assert child.returncode == -9, output.decode()

    keeper = site.keeper()
    looked = await keeper.look()
    assert looked.ok and looked.points is not None
    new = [p for p in looked.points if p.id == "prod-20260101T010000Z"]
    assert bool(new) is whole and site.on_disk() == [p.id for p in looked.points], "what does not count is gone"
    assert new == [] or at == "removed" or "recoverd was ended before that" in new[0].how_verified
    assert ("was interrupted" in looked.detail) is not whole
    assert at == "removed" or good in looked.points
    assert not scratch_etcds(site), "it ends with what started it"
    site.now += timedelta(hours=2)
    point = await site.taken(keeper)
    assert point.verified and point.sequence > good.sequence
    assert set(site.aside()) == {p.id for p in (await keeper.look()).points or ()} or at == "removed", (
        "a copy of keys without its point is removed"
    )


def scratch_etcds(site: Site) -> list[str]:
    lines = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [
        line
        for line in lines
        if str(site.root) in line and "etcd" in line and "--data-dir" in line and "defunct" not in line
    ]


async def test_what_a_plan_needs_at_once_ends_what_the_schedule_is_doing(site: Site, tmp_path: Path) -> None:
    programs = tmp_path / "slow"
    programs.mkdir()
    # an etcd that never answers holds up the verification
    (programs / "etcd").write_text(
        "#!/bin/sh\n[ $1 = --version ] && { echo 'etcd Version: 3.9.0'; exit; }\nexec sleep 100\n"
    )
    (programs / "etcd").chmod(0o755)
    keeper = site.keeper(programs=str(programs))
    patient = asyncio.create_task(site.take(keeper))
    await until(lambda: any(n.startswith(".scratch-") for n in site.on_disk()), 30.0)
    site.now += timedelta(minutes=1)
    urgent = await site.take(keeper, why="before prod-1.1", urgent=True, seconds=15.0)
    gave_way = await patient
    assert not gave_way.ok and "a plan that waits for one of its own came first" in gave_way.detail
    assert urgent.ok and urgent.points and urgent.points[-1].why == "before prod-1.1", urgent.detail
    assert re.search("did not (answer in time|end within)", urgent.points[-1].how_verified)
    assert [p.why for p in urgent.points] == ["schedule", "before prod-1.1"], (
        "the other one was whole, and not verified"
    )
    again = await site.take(keeper, why="before prod-1.1", urgent=True, resume=True)
    assert again.ok and again.already_done and again.points == urgent.points, "a plan that is resumed has its point"
    namesake = await site.take(keeper, why="before prod-1.1", urgent=True, seconds=15.0)
    assert namesake.ok and not namesake.already_done and len(namesake.points or ()) == 3, (
        "a plan of the same name, of a journal begun anew, has not"
    )
    assert not [n for n in site.on_disk() if n.startswith(".")]


async def test_a_lease_that_ends_while_a_point_is_verified_does_not_refute_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = site.etcd.ctl("lease", "grant", "3").split()[1]
    site.etcd.ctl("put", f"--lease={lease}", "/registry/masterleases/10.0.0.1", "x")
    # else it ends before it is in a snapshot, where the machine has other things to do
    kept = await asyncio.create_subprocess_exec(
        *site.etcd.ctl_command("lease", "keep-alive", lease), stdout=subprocess.DEVNULL
    )
    counted = scratch._counted

    async def late(directory: Path, at: int) -> tuple[int, int]:
        """Once the lease has ended."""
        revision, keys = await counted(directory, at)
        if revision <= at:
            raise TimeoutError("the lease lives still")
        return revision, keys

    monkeypatch.setattr(scratch, "_counted", late)
    try:
        point = await site.taken()
    finally:
        kept.kill()
        await kept.wait()
    assert point.verified, point.how_verified


async def test_a_surplus_point_that_cannot_be_removed_is_told_and_the_new_one_counts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = site.keeper(keep=1)
    first = await site.taken(keeper)

    def refuse(store: PointStore, id: str) -> None:
        raise PermissionError(1, "Operation not permitted", id)

    with monkeypatch.context() as patch:
        patch.setattr(PointStore, "remove", refuse)
        result = await site.take(keeper)
    assert (
        result.ok and len(result.points or ()) == 2 and f"the surplus {first.id} could not be removed" in result.detail
    ), result.detail
    assert len((await site.take(keeper)).points or ()) == 1, "it goes with the next"


async def test_the_clock_going_back_neither_stops_nor_removes_anything(site: Site) -> None:
    keeper = site.keeper(keep=3, keep_age=3600.0)
    first = await site.taken(keeper)
    site.now -= timedelta(days=400)
    second = await site.taken(keeper)
    third = await site.taken(keeper)
    assert third.id == f"{second.id}-1", "in the same second"
    points = (await keeper.look()).points
    assert points == (first, second, third), "in the order in which they were taken"
    result = await site.take(keeper)
    assert result.points is not None and [p.sequence for p in result.points] == [2, 3, 4], (
        "the oldest by order goes, not by its date"
    )
    assert f"removed as surplus: {first.id}" in result.detail
    assert sorted(p.id for p in result.points) == site.aside() == site.on_disk()


async def test_a_directory_that_is_no_whole_point_does_not_count_and_is_named(site: Site) -> None:
    keeper = site.keeper()
    point = await site.taken(keeper)
    os.truncate(point.path, point.size - 512)
    looked = await keeper.look()
    assert looked.points == () and f"its snapshot has {point.size - 512} bytes and not {point.size}" in looked.detail
    assert (await site.taken(keeper)).id != point.id, "and nothing is written over it"


async def test_a_member_that_is_not_there_is_a_clear_failure(site: Site) -> None:
    site.etcd.kill()
    result = await site.take(seconds=5.0)
    assert (
        not result.ok and result.detail.startswith("no restore point was taken from cp1:") and site.on_disk() == []
    ), result.detail
