"""Steps carried out on a real host: files really written and moved, processes really
awaited, connections really lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tenacity import Retrying, stop_after_delay, wait_fixed

from recoverd.act import Actor
from recoverd.act import etcd as act_etcd
from recoverd.clients.etcd import EtcdClient
from recoverd.clients.hosts import HostPool
from recoverd.config import ClusterConfig
from recoverd.model.bastion_operations import AwaitEtcd, FetchSnapshot, RemoveMember
from recoverd.model.call import Call
from recoverd.model.finding import FindingKey
from recoverd.model.node_operations import Drain, Reboot
from recoverd.model.operations import MovePath, Operation, Shell, WriteFile
from recoverd.model.plan import Step, StepResult
from recoverd.model.settings import ClusterSettings
from recoverd.model.unit_operations import AwaitContainerGone, AwaitFlag, RestartUnit, Unit
from tests.shells import sent

from .conftest import EtcdNode, Sshd, free_port
from .test_ssh import until

StartSshd = Callable[..., Sshd]


class Hands:
    """An actor for one host, `cp1`."""

    def __init__(self, sshd: Sshd, state: Path, node: EtcdNode | None = None) -> None:
        cluster = ClusterConfig(ClusterSettings("test", sshd.hosts("cp1")), 5.0, state / "no-kubeconfig", sshd.settings)
        # not what an operator's machine has to keep to, but this one may be busy
        self.pool: HostPool = sshd.pool("cp1", connect_timeout=20.0)
        etcd = (
            (
                lambda host: EtcdClient(
                    self.pool, host, port=node.port, metrics_port=node.metrics_port, pki=str(node.pki)
                )
            )
            if node
            else None
        )
        self.actor = Actor(cluster, self.pool, state, etcd=etcd)

    async def do(
        self,
        operation: Operation,
        *,
        resume: bool = False,
        timeout: float = 10.0,  # noqa: ASYNC109
        requires: tuple[FindingKey, ...] = (),
    ) -> StepResult:
        return await self.actor.perform(Step("cp1", "a step", operation, timeout, requires), undo=False, resume=resume)


@pytest.fixture
async def hands(sshd: Sshd, tmp_path: Path) -> AsyncIterator[Hands]:
    made = Hands(sshd, tmp_path / "state")
    yield made
    await made.pool.close()


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, text: str, before: str = "", keep: str = "") -> WriteFile:
    return WriteFile(str(path), text, sha(text), before, keep, beside=str(path.parent / "beside"))


# --- files ---


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
@pytest.mark.parametrize(
    "text",
    [
        "a: 'b'\n",
        "no newline at the end",
        "",
        "\n",
        "two\n\n",
        '"$HOME" `id` $(id) \\n \\\\ %s \'\n',
        "RECOVERD_END\nEOF\n",
        "ö\t€\r\n",
        "x" * 200_000 + "\n",
    ],
    ids=["plain", "no-newline", "empty", "newline", "blank-line", "shell", "delimiter", "unicode", "long"],
)
def test_a_file_is_written_byte_for_byte_by_every_shell(tmp_path: Path, shell: str, text: str) -> None:
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"{shell} is not installed")
    target = tmp_path / "it's a dir" / "manifest.yaml"
    target.parent.mkdir()
    operation = write(target, text)
    script = f"{{\n{sent(operation.call())}\n}} </dev/null\n"
    done = subprocess.run([*shell.split(), "-s"], input=script.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert target.read_bytes() == text.encode()
    assert target.stat().st_mode & 0o777 == 0o600
    assert list((target.parent / "beside").iterdir()) == []
    assert subprocess.run([*shell.split(), "-c", sent(operation.check())], check=False).returncode == 0


async def test_a_file_is_replaced_and_what_was_there_is_kept(hands: Hands, tmp_path: Path) -> None:
    path, kept = tmp_path / "etcd.yaml", tmp_path / "kept" / "etcd.yaml"
    path.write_text("old\n")
    result = await hands.do(write(path, "new\n", before=sha("old\n"), keep=str(kept)))
    assert (result.ok, path.read_text(), kept.read_text()) == (True, "new\n", "old\n")


@pytest.mark.parametrize(("there", "before"), [("newer\n", sha("old\n")), ("newer\n", ""), (None, sha("old\n"))])
async def test_a_file_that_is_not_what_the_plan_saw_is_left_alone(
    hands: Hands, tmp_path: Path, there: str | None, before: str
) -> None:
    path = tmp_path / "etcd.yaml"
    if there:
        path.write_text(there)
    result = await hands.do(write(path, "new\n", before=before))
    assert not result.ok
    assert (
        "cp1" in result.detail
        and "when the plan was made" in result.detail
        and "before changing anything" in result.detail
    )
    assert (path.read_text() if path.exists() else None) == there


async def test_half_a_file_is_never_seen(hands: Hands, tmp_path: Path) -> None:
    path = tmp_path / "etcd.yaml"
    texts = ["a" * 100_000 + "\n", "b" * 100_000 + "\n"]
    path.write_text(texts[0])
    seen: set[int] = set()

    async def watch() -> None:
        while True:
            seen.add(path.stat().st_size)
            await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())
    for i in range(1, 5):
        assert (await hands.do(write(path, texts[i % 2], before=sha(texts[(i - 1) % 2])))).ok
    watcher.cancel()
    assert seen == {100_001}


async def test_a_path_is_moved_and_moved_back_by_its_undo(hands: Hands, tmp_path: Path) -> None:
    source, target = tmp_path / "etcd.yaml", tmp_path / "held" / "i-1" / "etcd.yaml"
    source.write_text("x")
    move = MovePath(str(source), str(target))
    step = Step("cp1", "move", move, 10.0, undo=move.inverse())
    assert (await hands.actor.perform(step, undo=False, resume=False)).ok
    assert (source.exists(), target.read_text()) == (False, "x")
    assert (await hands.actor.perform(step, undo=True, resume=False)).ok
    assert (source.read_text(), target.exists()) == ("x", False)


async def test_nothing_is_moved_over_something(hands: Hands, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    result = await hands.do(MovePath(str(tmp_path / "a"), str(tmp_path / "b")))
    assert not result.ok and "exists already" in result.detail
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("a", "b")


# --- processes ---


NAME = f"r{os.getpid()}-test-component"
"""Of this process of the tests alone: others run beside it, and what they start is theirs."""


@pytest.fixture
def component(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Runs a process that is named as a component that no machine has; the name is longer than the 15
    characters that the kernel keeps.
    """
    program = tmp_path / NAME
    program.symlink_to(Path("/bin/sh").resolve())
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        # a shell that waits in a builtin keeps its own name and command line
        started.append(subprocess.Popen([str(program), "-c", "read x", "sh", *arguments], stdin=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


async def test_a_component_is_awaited_until_it_is_gone(
    hands: Hands, component: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = component()
    waiting = asyncio.create_task(hands.do(AwaitContainerGone(NAME, 10)))
    assert (await asyncio.wait([waiting], timeout=1.0))[0] == set()
    process.kill()
    process.wait()
    assert (await waiting).ok


async def test_a_component_that_stays_is_a_failure_with_the_reason(
    hands: Hands, component: Callable[..., subprocess.Popen[bytes]]
) -> None:
    component()
    result = await hands.do(AwaitContainerGone(NAME, 1))
    assert not result.ok
    assert f"{NAME} still runs after 1 s" in result.detail


@pytest.mark.parametrize("flag", ["--force", "--force=true"])
async def test_a_flag_is_seen_on_the_running_process(
    hands: Hands, component: Callable[..., subprocess.Popen[bytes]], flag: str
) -> None:
    process = component(flag, "--other=1")
    assert (await hands.do(AwaitFlag(NAME, "--force", present=True, seconds=20), timeout=30)).ok
    assert not (await hands.do(AwaitFlag(NAME, "--force", present=False, seconds=1))).ok
    second = component("--force=false")  # kubelet starts the new one before the old has quite ended
    assert not (await hands.do(AwaitFlag(NAME, "--force", present=False, seconds=1))).ok
    process.kill()
    process.wait()
    assert (await hands.do(AwaitFlag(NAME, "--force", present=False, seconds=20), timeout=30)).ok
    second.kill()
    second.wait()
    assert not (await hands.do(AwaitFlag(NAME, "--force", present=False, seconds=1))).ok


async def test_a_unit_that_does_not_exist_fails_in_systemds_own_words(hands: Hands) -> None:
    result = await hands.do(Unit("start", "recoverd-no-such-unit"))
    assert not result.ok
    assert "systemctl start recoverd-no-such-unit on cp1" in result.detail


# --- failures, crashes and lost connections ---


async def test_a_failure_names_host_status_and_last_words(hands: Hands) -> None:
    result = await hands.do(Shell("echo first >&2; echo 'disk is full' >&2; exit 9"))
    assert not result.ok
    for part in ("cp1", "status 9", "disk is full", "look at cp1"):
        assert part in result.detail


async def test_a_reboot_is_not_asked_for_where_another_bastion_holds_the_lease(hands: Hands) -> None:
    once = Reboot("not the boot id of this machine")
    assert (await hands.do(once)).already_done
    hands.pool.guard = lambda host: Call.of("refuse", f"another holds the lease of {host}")
    refused = await hands.do(once)
    assert (
        not refused.ok
        and refused.untouched
        and "cp1 was not asked to reboot: another holds the lease of cp1" in refused.detail
    )


async def test_what_was_done_before_a_crash_is_not_done_again(hands: Hands, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    operation = Shell(f"echo x >> {ran}", done=f"test -e {ran}")
    assert (await hands.do(operation, resume=True)).uncertain, "not repeatable and not done: a person has to look"
    assert not ran.exists()
    assert (await hands.do(operation)).ok
    again = await hands.do(operation, resume=True)
    assert (again.ok, again.already_done, ran.read_text()) == (True, True, "x\n")


async def test_after_a_crash_a_step_is_only_asked_about(hands: Hands, tmp_path: Path) -> None:
    """The daemon may have been down for hours, and people at work: whatever is to be done has to be looked at
    first, forwards and backwards.
    """
    ran, data, aside = tmp_path / "ran", tmp_path / "member", tmp_path / "member.aside"
    data.mkdir()
    for operation in (
        Shell(f"echo x >> {ran}", done=f"test -e {ran}", repeatable=True),
        MovePath(str(data), str(aside)),
        RestartUnit("kubelet"),
    ):
        asked = await hands.do(operation, resume=True)
        assert (asked.ok, asked.undone, asked.uncertain) == (False, True, False)
    assert not ran.exists() and data.exists() and not aside.exists()
    data.rename(aside)
    assert (await hands.do(MovePath(str(data), str(aside)), resume=True)).already_done
    back = await hands.actor.perform(
        Step("cp1", "move it aside", MovePath(str(data), str(aside)), 10.0, undo=MovePath(str(aside), str(data))),
        undo=True,
        resume=True,
    )
    assert back.undone and aside.exists(), "nor is it moved back at once"


async def test_after_a_crash_a_drain_is_not_gone_on_with_at_once(hands: Hands) -> None:
    """There is no API server here at all: nothing is asked of one before the node was looked at."""
    asked = await hands.do(Drain("w1"), resume=True, requires=(("pods-not-on-node", "w1"),))
    assert (asked.ok, asked.undone) == (False, True) and "nothing more is evicted" in asked.detail
    assert not (await hands.do(Drain("w1"))).undone


async def test_what_ends_well_without_its_effect_is_a_failure(hands: Hands, tmp_path: Path) -> None:
    result = await hands.do(Shell("true", done=f"test -e {tmp_path}/never"))
    assert not result.ok and "effect is not there" in result.detail


async def test_a_connection_lost_in_the_middle_is_judged_by_the_check(start_sshd: StartSshd, tmp_path: Path) -> None:
    sshd = start_sshd()
    hands, begun, done = Hands(sshd, tmp_path / "state"), tmp_path / "begun", tmp_path / "done"
    # as a systemctl call: what it asked for goes on without it
    script = f"echo x >> {begun}; (while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo x > {done}) & wait"
    task = asyncio.create_task(hands.do(Shell(script, done=f"test -e {done}", repeatable=True), timeout=15))
    await until(begun.exists)
    sshd.stop()
    (tmp_path / "go").touch()
    start_sshd(port=sshd.port)
    result = await task
    assert result.ok, result.detail
    assert begun.read_text() == "x\n", "it was begun once"
    await hands.pool.close()


async def test_a_command_that_hangs_ends_at_its_deadline_and_is_judged_by_the_check(
    hands: Hands, tmp_path: Path
) -> None:
    result = await hands.do(Shell("sleep 60", done=f"test -e {tmp_path}/never"), timeout=1)
    assert (result.ok, result.uncertain) == (False, False)
    assert "did not end" in result.detail
    assert (await hands.do(Shell("sleep 60"), timeout=1)).uncertain, "without a check nobody can tell"


async def test_a_host_that_is_off_has_nothing_begun(start_sshd: StartSshd, tmp_path: Path) -> None:
    sshd = start_sshd()
    sshd.stop()
    hands = Hands(sshd, tmp_path / "state")
    result = await hands.do(Shell("true"))
    assert (result.ok, result.uncertain) == (False, False)
    assert "not begun" in result.detail and "refused" in result.detail
    assert (await hands.do(Shell("true", done="true"), resume=True, timeout=1)).uncertain, (
        "after a crash it cannot be told"
    )
    await hands.pool.close()


async def test_what_did_not_begin_is_begun_anew_for_a_moment_and_once(start_sshd: StartSshd, tmp_path: Path) -> None:
    """Under load a login took longer than it may: a person was called for a repair that had only just begun."""
    sshd, ran = start_sshd(), tmp_path / "ran"
    sshd.stop()
    hands = Hands(sshd, tmp_path / "state")
    doing = asyncio.create_task(hands.do(Shell(f"echo once >> {ran}"), timeout=60))
    refused = asyncio.create_task(hands.do(Shell(f"echo never >> {ran}"), timeout=1))
    assert not (await refused).ok and not doing.done(), "it has as long as its step, and no longer"
    start_sshd(port=sshd.port)
    assert (await doing).ok and ran.read_text() == "once\n"
    await hands.pool.close()


async def test_a_file_is_moved_back_only_where_what_it_needs_is_there(hands: Hands, tmp_path: Path) -> None:
    held, place, data = tmp_path / "held" / "etcd.yaml", tmp_path / "etcd.yaml", tmp_path / "member" / "db"
    held.parent.mkdir()
    held.write_text("x")
    back = MovePath(str(held), str(place), needs=str(data))
    refused = await hands.do(back)
    assert not refused.ok and "must not be put in without it" in refused.detail and held.exists()
    data.parent.mkdir()
    data.touch()
    assert (await hands.do(back)).ok and place.exists()
    assert (await hands.do(MovePath(str(held), str(place / "x"), optional=True))).ok, "there is nothing to move"


# --- etcd ---


@pytest.fixture
def with_etcd(sshd: Sshd, tmp_path: Path) -> Callable[[EtcdNode], Hands]:
    return lambda node: Hands(sshd, tmp_path / "state", node)


async def test_a_snapshot_is_fetched_into_the_state_directory(
    etcd: EtcdNode, with_etcd: Callable[[EtcdNode], Hands], tmp_path: Path
) -> None:
    hands = with_etcd(etcd)
    result = await hands.do(FetchSnapshot("before/it"), timeout=60)
    (file,) = (tmp_path / "state" / "snapshots" / "test").iterdir()
    assert result.ok, result.detail
    assert file.name.endswith("Z-before-it.db")
    for part in (str(file), str(file.stat().st_size), hashlib.sha256(file.read_bytes()).hexdigest()):
        assert part in result.detail
    etcd.kill()
    failed = await hands.do(FetchSnapshot("again"), timeout=2)
    assert not failed.ok and "nothing listens" in failed.detail
    # kubelet starts it anew when its probe has ended it
    back, _ = await asyncio.gather(
        hands.do(FetchSnapshot("once it is back"), timeout=60), asyncio.to_thread(etcd.start)
    )
    assert back.ok, back.detail
    await hands.pool.close()


async def test_a_member_that_was_mute_for_a_while_is_asked_again(
    etcd: EtcdNode, with_etcd: Callable[[EtcdNode], Hands], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is taken and never answered had used up the minute in which a busy
    lab's etcd was back three times.
    """
    monkeypatch.setattr(act_etcd, "ANSWERS_SECONDS", 2.0)
    hands = with_etcd(etcd)
    assert etcd.process
    etcd.process.send_signal(signal.SIGSTOP)
    # longer than the third of the step's time that the only attempt had
    asyncio.get_running_loop().call_later(7, etcd.process.send_signal, signal.SIGCONT)
    result = await hands.do(FetchSnapshot("mute"), timeout=18)
    assert result.ok, result.detail
    assert result.detail.count(".db") == 1
    await hands.pool.close()


async def test_a_snapshot_without_the_cluster_that_was_seen_is_no_ground_to_go_on(
    etcd: EtcdNode, with_etcd: Callable[[EtcdNode], Hands]
) -> None:
    """What a member without quorum holds may not be readable; its snapshot tells whether it is this
    cluster, before anything is changed.
    """
    hands, uid = with_etcd(etcd), "0b7a34de-52c7-4a35-b2b5-1a3bb0bf2c11"
    empty = await hands.do(FetchSnapshot("a", uid), timeout=60)
    assert not empty.ok and uid in empty.detail and "nothing was changed" in empty.detail
    etcd.put({"/registry/namespaces/kube-system": f"k8s ...{uid}...{'x' * 5000}"})
    held = await hands.do(FetchSnapshot("b", uid), timeout=60)
    assert held.ok, held.detail
    await hands.pool.close()


async def test_a_member_that_never_started_is_removed_once(
    start_etcd: Callable[..., list[EtcdNode]], with_etcd: Callable[[EtcdNode], Hands]
) -> None:
    first, *_ = start_etcd(("cp1", "cp2", "cp3"))
    hands = with_etcd(first)
    # etcd adds no member before every connection has been up for 5 s (strict reconfiguration check)
    add = Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True)
    await asyncio.to_thread(add, first.ctl, "member", "add", "ghost", f"--peer-urls=https://127.0.0.1:{free_port()}")
    ghost = next(line.split(", ")[0] for line in first.ctl("member", "list").splitlines() if "unstarted" in line)
    assert not (await hands.do(AwaitEtcd(members=3), timeout=1)).ok
    removed = await hands.do(RemoveMember(ghost), timeout=60)
    assert (removed.ok, removed.already_done) == (True, False), removed.detail
    again = await hands.do(RemoveMember(ghost), resume=True, timeout=60)
    assert (again.ok, again.already_done) == (True, True)
    assert (await hands.do(AwaitEtcd(members=3), timeout=60)).ok
    await hands.pool.close()


async def test_a_removal_that_etcd_refuses_has_changed_nothing(
    etcd: EtcdNode, with_etcd: Callable[[EtcdNode], Hands]
) -> None:
    """So what was stopped for it is started again: the member is one still, and quorum may need it."""
    own = etcd.ctl("member", "list").split(", ")[0]
    hands = with_etcd(etcd)
    refused = await hands.do(RemoveMember(own), timeout=10)
    assert (refused.ok, refused.untouched) == (False, True) and "not enough started members" in refused.detail
    assert own in etcd.ctl("member", "list")
    await hands.pool.close()


async def told(hands: Hands, operation: AwaitEtcd, what: str) -> StepResult:
    """The failure of waiting in vain, once etcd was seen whole in it: on a busy machine it may be too late for that."""
    async with asyncio.timeout(60):
        while what not in (result := await hands.do(operation, timeout=1)).detail:
            assert not result.ok
    assert not result.ok
    return result


async def test_waiting_for_etcd_tells_what_was_last_seen(
    etcd: EtcdNode, with_etcd: Callable[[EtcdNode], Hands]
) -> None:
    hands = with_etcd(etcd)
    assert (await hands.do(AwaitEtcd(members=1, min_revision=2, min_nodes=1), timeout=60)).ok
    late = await told(hands, AwaitEtcd(members=2, min_revision=10**6, min_pods=5), "pods 0, and 5 or more")
    for part in ("1 voters where 2", "revision 2, and 1000000 or more", "pods 0, and 5 or more"):
        assert part in late.detail
    revision = 2 + etcd.ctl("put", "/registry/pods/default/a", "x").count("OK")
    etcd.ctl("del", "/registry/pods/default/a")
    held = await hands.do(AwaitEtcd(members=1, min_revision=revision, min_pods=1), timeout=10)
    assert held.ok, "what an API server has deleted since was there"
    etcd.ctl("compact", str(revision + 1))
    # compacted: what there is now counts
    await told(hands, AwaitEtcd(members=1, min_revision=revision, min_pods=1), "pods 0, and 1 or more")
    etcd.kill()
    waiting = asyncio.create_task(hands.do(AwaitEtcd(members=1, min_revision=2), timeout=60))
    await asyncio.wait([waiting], timeout=0.5)
    etcd.start()
    assert (await waiting).ok
    await hands.pool.close()
