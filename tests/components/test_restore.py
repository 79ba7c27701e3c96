"""Restoring etcd from a snapshot and rebuilding a member, on real etcds behind a real sshd: the scripts, the
requests and what comes of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tenacity import AsyncRetrying, Retrying, stop_after_delay, wait_fixed

from recoverd.clients.etcd import EtcdClient
from recoverd.clients.hosts import HostPool
from recoverd.diagnose.loss import CORRUPTION
from recoverd.model.bastion_operations import AwaitEtcd, RemoveMember
from recoverd.model.call import Call
from recoverd.model.etcd_operations import (
    AddMember,
    AwaitRestored,
    DisarmAlarm,
    PromoteMember,
    RestoreSnapshot,
    SendSnapshot,
)
from recoverd.model.plan import StepResult
from recoverd.shell import functions
from tests.shells import sent

from .conftest import EtcdNode, Sshd
from .test_act import Hands

StartEtcd = Callable[..., list[EtcdNode]]


@pytest.fixture
async def pool(sshd: Sshd) -> AsyncIterator[HostPool]:
    made = sshd.pool("cp1")
    yield made
    await made.close()


def send(source: Path, target: Path) -> SendSnapshot:
    return SendSnapshot(
        str(source), hashlib.sha256(source.read_bytes()).hexdigest(), source.stat().st_size, str(target)
    )


def restore(sent: SendSnapshot, node: EtcdNode, nodes: list[EtcdNode], bump: int = 0) -> RestoreSnapshot:
    url = {n.name: f"https://127.0.0.1:{n.peer_port}" for n in nodes}
    cluster = ",".join(f"{n}={u}" for n, u in url.items())
    # the tests' own etcds run on this very machine, so the guard against a running one is for the lab
    return RestoreSnapshot(
        sent.target, sent.sha256, str(node.data), node.name, url[node.name], cluster, "recoverd-test-1", bump, "3.4."
    )


def unguarded(operation: RestoreSnapshot) -> str:
    """Its script with the guard that looks for etcd processes taken out: other tests' etcds run on this machine."""
    assert functions("restore_snapshot").count("place_free") == 2, "before it restores, and before it moves"
    return sent(operation.call(), "running() { return 1; }")


async def run(pool: HostPool, script: str) -> tuple[int | None, str]:
    result = await pool.run("cp1", script, timeout=30)
    return result.exit_status, result.stdout + result.stderr


# --- the program that restores ---


def found(minor: str, path: str, image: str = "") -> str:
    """What is found with these directories in PATH, by a script that cleans up behind itself."""
    # other etcds run on this machine
    script = sent(Call.of("etcd_tool", minor, image), functions("etcd_tool_done"), "pids() { :; }") + "\netcd_tool_done"
    return subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": path}, capture_output=True, text=True, check=False
    ).stdout.strip()


def program(directory: Path, name: str, version: str, text: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(
        f'#!/bin/sh\ncase "$1" in version) echo "{name} version: {version}" ;; *) echo "{text}" ;; esac\n'
    )
    (directory / name).chmod(0o755)


def test_the_program_of_the_right_version_is_found_and_asked_for_the_bump(etcd: EtcdNode, tmp_path: Path) -> None:
    version = etcd.ctl("version").split()[2]
    assert found(version[:4], os.environ["PATH"]) == f"{version} no /usr/bin/etcdctl", "Debian 12's knows no bump"
    newer = tmp_path / "newer"
    program(newer, "etcdutl", "3.5.16", "--initial-cluster --bump-revision=0 --mark-compacted[=false]")
    assert found("3.5.", f"{newer}:{os.environ['PATH']}") == f"3.5.16 yes {newer}/etcdutl"
    assert found("3.4.", f"{newer}:{os.environ['PATH']}") == f"{version} no /usr/bin/etcdctl", (
        "one of another version may not be taken"
    )
    assert not found("3.7.", f"{newer}:{os.environ['PATH']}")


def test_an_etcdctl_that_restores_nothing_any_more_is_no_program_for_it(tmp_path: Path) -> None:
    """From 3.6 on that is etcdutl's, and etcdctl prints what it knows of snapshots."""
    program(tmp_path / "new", "etcdctl", "3.6.4", "etcdctl snapshot <subcommand>: save")
    path = f"{tmp_path / 'new'}:/usr/sbin:/bin-of-nothing:/bin"
    assert not found("3.6.", path)
    program(tmp_path / "new", "etcdutl", "3.6.4", "--initial-cluster --bump-revision=0 --mark-compacted[=false]")
    assert found("3.6.", path) == f"3.6.4 yes {tmp_path / 'new'}/etcdutl"


def test_where_the_machine_has_none_it_is_taken_from_etcds_own_image_and_from_no_other_place(tmp_path: Path) -> None:
    """`ctr` is a stand-in here that "mounts" by linking; the lab has the real one."""
    image, tools = tmp_path / "image", tmp_path / "bin"
    program(image, "etcdctl", "3.4.23", "usage: --initial-cluster")
    tools.mkdir()
    (tools / "ctr").write_text(
        f"""#!/bin/sh
printf '%s\\n' "$*" >> {tmp_path}/asked
case "$4 $5" in
  "mount k8s.gcr.io/etcd:3.4.13-0") mkdir -p $6/usr/local && ln -s {image} $6/usr/local/bin ;;
  "unmount --rm") rm -r $6/usr ;;
  *) exit 1 ;;
esac
"""
    )
    (tools / "ctr").chmod(0o755)
    path = f"{tools}:/usr/sbin:/bin-of-nothing"
    for name in ("sed", "grep", "mkdir", "rmdir", "ln", "rm", "cat", "printf"):
        (tools / name).symlink_to(f"/bin/{name}")
    said = found("3.4.", path, "k8s.gcr.io/etcd:3.4.13-0")
    assert re.fullmatch(r"3\.4\.23 no /run/recoverd/etcd-image\.\d+/usr/local/bin/etcdctl", said), said
    directory = said.split(" ", 2)[2].removesuffix("/usr/local/bin/etcdctl")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        f"-n k8s.io images mount k8s.gcr.io/etcd:3.4.13-0 {directory}",
        f"-n k8s.io images unmount --rm {directory}",
    ]
    assert not Path(directory).exists()
    assert not found("3.4.", path, "evil/image:1") and not found("3.4.", path)


def test_where_docker_has_etcds_image_it_is_copied_from_there_and_nothing_is_fetched_or_left(tmp_path: Path) -> None:
    """As with dockershim, where containerd knows no image; `docker` is a stand-in here, the lab has the real one."""
    image, tools = tmp_path / "image", tmp_path / "bin"
    program(image, "etcdctl", "3.4.23", "usage: --initial-cluster")
    tools.mkdir()
    (tools / "docker").write_text(
        f"""#!/bin/sh
printf '%s\\n' "$*" >> {tmp_path}/asked
case "$*" in
  "image inspect k8s.gcr.io/etcd:3.4.13-0") ;;
  "create k8s.gcr.io/etcd:3.4.13-0 etcd") echo made ;;
  "cp made:/usr/local/bin/"*) cp {image}/"${{2##*/}}" "$3" ;;
  "rm made") ;;
  *) exit 1 ;;
esac
"""
    )
    (tools / "docker").chmod(0o755)
    (tools / "ctr").write_text("#!/bin/sh\nexit 1\n")
    (tools / "ctr").chmod(0o755)
    path = f"{tools}:/usr/sbin:/bin-of-nothing"
    for name in ("sed", "grep", "mkdir", "rmdir", "cp", "rm", "cat", "printf"):
        (tools / name).symlink_to(f"/bin/{name}")
    (tools / "timeout").symlink_to("/usr/bin/timeout")
    said = found("3.4.", path, "k8s.gcr.io/etcd:3.4.13-0")
    assert re.fullmatch(r"3\.4\.23 no /run/recoverd/etcd-copy\.\d+/etcdctl", said), said
    assert (tmp_path / "asked").read_text().splitlines()[-1] == "rm made"
    assert not Path(said.split(" ", 2)[2]).parent.exists()
    (tmp_path / "asked").unlink()
    assert not found("3.4.", path, "evil/image:1")
    assert (tmp_path / "asked").read_text() == "image inspect evil/image:1\n", "what is not there is not asked for"
    assert not found("3.4.", path)


def test_what_is_copied_is_copied_to_where_it_can_be_executed(tmp_path: Path) -> None:
    """Debian and Ubuntu mount /run noexec, and access(2) says so of every file on it: here the copy there is not
    executable.
    """
    image, tools = tmp_path / "image", tmp_path / "bin"
    program(image, "etcdctl", "3.4.23", "usage: --initial-cluster")
    tools.mkdir()
    (tools / "docker").write_text(
        f"""#!/bin/sh
case "$1" in
  image) ;;
  create) echo made ;;
  cp) cp {image}/"${{2##*/}}" "$3" && case $3 in {tmp_path}/run/*) chmod a-x "$3" ;; esac ;;
esac
"""
    )
    (tools / "docker").chmod(0o755)
    (tools / "ctr").write_text("#!/bin/sh\nexit 1\n")
    (tools / "ctr").chmod(0o755)
    script = sent(Call.of("etcd_tool", "3.4.", "etcd:1"), functions("etcd_tool_done"), "pids() { :; }") + "\n"
    script += f"ls {tmp_path}/run/recoverd {tmp_path}/var/lib/recoverd; etcd_tool_done\n"
    script += f"ls {tmp_path}/run/recoverd {tmp_path}/var/lib/recoverd"
    for place in ("/run/recoverd", "/var/lib/recoverd"):
        script = script.replace(f" {place}", f" {tmp_path}{place}")
    path = f"{tools}:{image.parent}/none:/bin-of-nothing"
    for name in ("sed", "grep", "mkdir", "rmdir", "cp", "rm", "cat", "printf", "chmod", "ls"):
        (tools / name).symlink_to(f"/bin/{name}")
    (tools / "timeout").symlink_to("/usr/bin/timeout")
    done = subprocess.run(["/bin/sh", "-c", script], env={"PATH": path}, capture_output=True, text=True, check=False)
    said, *left = done.stdout.split("\n\n" if False else "\n")
    assert re.fullmatch(rf"3\.4\.23 no {tmp_path}/var/lib/recoverd/etcd-copy\.\d+/etcdctl", said), done
    assert sum("etcd-copy" in line for line in left) == 1, "no second copy was left, and nothing after that"


# --- sending ---


async def test_a_snapshot_arrives_whole_or_not_at_all(sshd: Sshd, tmp_path: Path) -> None:
    hands = Hands(sshd, tmp_path / "state")
    source, target = tmp_path / "s.db", tmp_path / "node" / "s.db"
    source.write_bytes(os.urandom(3 << 20))
    good = send(source, target)
    assert (await hands.do(good, resume=True)).undone and not target.exists(), "only asked"
    assert (await hands.do(good)).ok and target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o600
    assert (await hands.do(good, resume=True)).already_done
    target.unlink()
    asked = await hands.do(good, resume=True, requires=(("x", ""),))
    assert asked.undone and not target.exists()
    damaged = await hands.do(replace(good, sha256="0" * 64))
    assert not damaged.ok and "not the snapshot any more" in damaged.detail
    vast = await hands.do(replace(good, size=1 << 50))
    assert not vast.ok and "no room" in vast.detail
    source.unlink()
    assert not (await hands.do(good)).ok
    assert not list(target.parent.iterdir()), "nothing is left behind"
    await hands.pool.close()


async def test_what_is_cut_off_on_its_way_leaves_nothing(pool: HostPool, tmp_path: Path) -> None:
    source = tmp_path / "s.db"
    source.write_bytes(os.urandom(1 << 20))
    wrong = replace(send(source, tmp_path / "node" / "s.db"), sha256="0" * 64)
    result = await pool.send("cp1", wrong.call(), source, timeout=20)
    assert (result.exit_status, list((tmp_path / "node").iterdir())) == (3, [])


# --- restoring ---


async def test_three_members_are_restored_as_one_new_cluster(
    start_etcd: StartEtcd, sshd: Sshd, pool: HostPool, tmp_path: Path
) -> None:
    nodes = start_etcd(("cp1", "cp2", "cp3"))
    nodes[0].put({f"/registry/pods/default/p{i}": "x" for i in range(40)})
    lease = nodes[0].ctl("lease", "grant", "3").split()[1]
    # else it ends before it is in the snapshot, where the machine has other things to do
    kept = await asyncio.create_subprocess_exec(
        *nodes[0].ctl_command("lease", "keep-alive", lease), stdout=subprocess.DEVNULL
    )
    nodes[0].ctl("put", f"--lease={lease}", "/registry/masterleases/10.0.0.1", "x")
    client = EtcdClient(pool, "cp1", port=nodes[0].port, metrics_port=nodes[0].metrics_port, pki=str(nodes[0].pki))
    info = await client.snapshot(tmp_path / "point.db", timeout=20)
    before = await client.view(timeout=20)
    kept.terminate()
    await kept.wait()
    nodes[0].ctl("put", "/registry/pods/default/later", "x")
    hands = Hands(sshd, tmp_path / "state", nodes[0])
    for node in nodes:
        node.kill()
        # MovePath refuses while any etcd runs on the machine, and here the other members do
        (node.data / "member").rename(node.data / "member.prod-1")
        point = send(info.path, node.data / "point.db")
        assert (await hands.do(point, timeout=30)).ok
        operation = restore(point, node, nodes)
        status, said = await run(pool, unguarded(operation))
        assert status == 0, said
        assert "3.4." in said
        assert (await run(pool, sent(operation.check())))[0] == 0
        assert "point.db" not in [p.name for p in node.data.iterdir()], "the snapshot is not kept twice"
        assert (await run(pool, unguarded(operation)))[0] == 0, "a second time does nothing"
    for node in nodes:
        node.start()
    wanted = AwaitRestored(("cp1", "cp2", "cp3"), before.revision, 42, before.cluster_id)
    result = await hands.do(wanted, timeout=60)
    assert result.ok, result.detail

    async def ended() -> None:
        assert (await client.view(timeout=5)).revision > before.revision

    await AsyncRetrying(wait=wait_fixed(0.2), stop=stop_after_delay(30), reraise=True)(ended)
    assert (await hands.do(wanted, timeout=5)).ok, (
        "a lease of the snapshot has ended, and its key was there all the same"
    )
    view = await client.view(timeout=5)
    assert (view.revision, view.pods, view.cluster_id == before.cluster_id) == (before.revision + 1, 40, False)
    late = await hands.do(replace(wanted, keys=43, names=("cp1",)), timeout=1)
    assert not late.ok and "keys 42, and 43" in late.detail and "members cp1, cp2, cp3 where cp1" in late.detail
    await hands.pool.close()


async def test_nothing_is_restored_over_data_nor_from_another_snapshot_nor_without_the_bump_that_was_planned(
    start_etcd: StartEtcd, pool: HostPool, tmp_path: Path
) -> None:
    (node,) = start_etcd()
    client = EtcdClient(pool, "cp1", port=node.port, metrics_port=node.metrics_port, pki=str(node.pki))
    info = await client.snapshot(node.data / "point.db", timeout=20)
    operation = restore(send(info.path, info.path), node, [node])
    status, said = await run(pool, unguarded(operation))
    assert (status, "exists, and restored data must not be mixed" in said) == (3, True)
    running = await run(pool, sent(operation.call()).replace('refuse "$1/member exists', ': "$1/member exists'))
    assert running[0] == 3 and "etcd runs here" in running[1]
    node.kill()
    (node.data / "member").rename(node.data / "member.old")
    for change, why in (
        ({"sha256": "0" * 64}, "not the snapshot"),
        ({"bump": 5}, "does not know --bump-revision"),
        ({"minor": "9.9."}, "9.9.x was found"),
    ):
        status, said = await run(pool, unguarded(replace(operation, **change)))  # type: ignore[arg-type]
        assert (status, why in said) == (3, True), said
    assert sorted(p.name for p in node.data.iterdir()) == ["member.old", "point.db"], "a refusal leaves nothing"


async def test_an_interrupted_restore_is_done_again_from_the_start(
    etcd: EtcdNode, pool: HostPool, tmp_path: Path
) -> None:
    client = EtcdClient(pool, "cp1", port=etcd.port, metrics_port=etcd.metrics_port, pki=str(etcd.pki))
    info = await client.snapshot(etcd.data / "point.db", timeout=20)
    etcd.kill()
    (etcd.data / "member").rename(etcd.data / "member.old")
    operation = restore(send(info.path, info.path), etcd, [etcd])
    beside = etcd.data / "restored-recoverd-test-1"
    (beside / "member" / "snap").mkdir(parents=True)
    assert operation.beside == str(beside)
    left = etcd.data / f"{beside.name}.4711"
    (left / "member").mkdir(parents=True)
    assert (await run(pool, sent(operation.check())))[0] != 0
    assert (done := await run(pool, unguarded(operation)))[0] == 0, done
    assert not left.exists(), "what the killed one had begun"
    # killed between the two renames: what is whole is taken as it is
    (etcd.data / "member").rename(beside / "member")
    assert (done := await run(pool, unguarded(operation)))[0] == 0, done
    etcd.start()
    assert (await client.view(timeout=5)).nodes == 1


# --- rebuilding one of three ---


async def test_one_of_three_is_made_anew_from_its_peers_and_quorum_holds(
    start_etcd: StartEtcd, sshd: Sshd, tmp_path: Path
) -> None:
    first, second, third = start_etcd(("cp1", "cp2", "cp3"))
    first.put({f"/registry/pods/default/p{i}": "x" * 2000 for i in range(20)})
    hands, other = Hands(sshd, tmp_path / "state", first), Hands(sshd, tmp_path / "state", third)
    old = next(line.split(", ")[0] for line in first.ctl("member", "list").splitlines() if ", cp3, " in line)
    third.kill()
    assert (await hands.do(RemoveMember(old), timeout=60)).ok
    url = f"https://127.0.0.1:{third.peer_port}"
    (third.data / "member").rename(third.data / "member.prod-1")
    add = AddMember(url, learner=True, without=old)
    assert (await hands.do(add, resume=True, timeout=5, requires=(("x", ""),))).undone, "only asked"
    # for longer than one look is waited for, as seen on a busy lab
    first.process.send_signal(signal.SIGSTOP)
    asyncio.get_running_loop().call_later(4.5, first.process.send_signal, signal.SIGCONT)
    added = await hands.do(add, timeout=60)
    assert added.ok and not added.already_done, added.detail
    assert (await hands.do(add, resume=True)).already_done
    first.ctl("put", "/registry/pods/default/meanwhile", "quorum holds", "--command-timeout=15s")
    early = await hands.do(PromoteMember(url), timeout=2)
    assert not early.ok and "a learner has no vote" in early.detail
    assert "has not started yet" in early.detail  # etcd before 3.4.24 and 3.5.7 might promote it nevertheless
    third.start("--initial-cluster-state=existing")
    promoted = await hands.do(PromoteMember(url), timeout=60)
    assert promoted.ok, promoted.detail
    assert (await hands.do(PromoteMember(url), resume=True, requires=(("x", ""),))).ok
    served = await other.do(AwaitEtcd(members=3, min_pods=21), timeout=60)
    assert served.ok, served.detail
    second.kill()
    # it may have been the leader: a write is lost in an election
    put = Retrying(stop=stop_after_delay(30), wait=wait_fixed(0.5), reraise=True)
    await asyncio.to_thread(put, first.ctl, "put", "/registry/pods/default/later", "two of three")
    await asyncio.gather(hands.pool.close(), other.pool.close())


async def test_an_alarm_that_is_not_raised_needs_no_disarming(etcd: EtcdNode, sshd: Sshd, tmp_path: Path) -> None:
    hands = Hands(sshd, tmp_path / "state", etcd)
    assert (await hands.do(DisarmAlarm("abc", "CORRUPT"))).ok
    await hands.pool.close()


async def test_an_alarm_is_taken_back(make_etcd: StartEtcd, sshd: Sshd, tmp_path: Path) -> None:
    (node,) = make_etcd()
    node.start("--quota-backend-bytes=100000")
    node.fill()
    hands = Hands(sshd, tmp_path / "state", node)
    (row,) = node.ctl("member", "list").splitlines()
    operation = DisarmAlarm(row.split(", ")[0], "NOSPACE")
    assert (await hands.do(operation, resume=True, requires=(("x", ""),))).undone
    result: StepResult = await hands.do(operation)
    assert result.ok and not node.ctl("alarm", "list").strip()
    await hands.pool.close()


# --- what etcd itself says of damage ---


def test_etcd_names_overwritten_pages_in_words_that_are_recognised(etcd: EtcdNode) -> None:
    for part in range(6):
        puts = "".join(f"put /registry/k{part}-{i} {'x' * 3000}\n" for i in range(100))
        subprocess.run(
            etcd.ctl_command("txn"), input=f"\n{puts}\n\n", text=True, check=True, capture_output=True, timeout=20
        )
    etcd.kill()
    file = etcd.data / "member" / "snap" / "db"
    with file.open("r+b") as db:
        size = file.stat().st_size
        db.seek(size // 4 // 4096 * 4096)
        db.write(os.urandom(size // 2))
    log = etcd.log.with_name("second.log")
    process = subprocess.run(
        ["etcd", *etcd.arguments], stdout=log.open("wb"), stderr=subprocess.STDOUT, timeout=30, check=False
    )
    said = [line for line in log.read_text(errors="replace").splitlines() if CORRUPTION.search(line)]
    assert process.returncode != 0 and said, log.read_text(errors="replace")[-3000:]
    assert all(re.search("panic|fatal|corrupt|crc mismatch|inconsistency", line, re.IGNORECASE) for line in said), (
        "look.sh keeps only such lines"
    )
