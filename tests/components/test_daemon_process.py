"""The daemon among others on its machine: what it says to systemd, a second daemon, a full disk,
a journal that cannot be used.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from recoverd.engine.journal import Journal

from .clusters import Daemon, Notified
from .conftest import Process
from .daemons import Make, ended, make, run

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def executed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start itself is tested here."""
    monkeypatch.setattr(Daemon, "exec", True)


async def test_systemd_is_told_of_readiness_and_life_and_a_stuck_loop_is_silent(
    make: Make, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    prod = await make()
    daemon, told = run(prod), Notified(tmp_path / "notify")
    daemon.start(NOTIFY_SOCKET=str(told.path), WATCHDOG_USEC="2000000")
    assert "STATUS=watching prod" in await told.awaited("READY=1")
    for _ in range(3):
        assert await told.next(10) == "WATCHDOG=1"
    # a file whose open never ends, as one on a file server that is gone: the whole event loop hangs
    content = prod.api.kubeconfig.read_text()
    prod.api.kubeconfig.unlink()
    os.mkfifo(prod.api.kubeconfig)
    while await told.next(4):
        pass
    assert daemon.process and daemon.process.poll() is None
    prod.api.kubeconfig.write_text(content)  # whoever waits for it gets it
    prod.api.kubeconfig.unlink()
    prod.api.write_kubeconfig()
    assert await told.next(30) == "WATCHDOG=1"
    assert daemon.kill(signal.SIGTERM) == 0
    await told.awaited("STOPPING=1")
    told.close()


async def test_a_sweep_that_never_ends_stops_the_watchdog_and_health(
    monkeypatch: pytest.MonkeyPatch, make: Make, tmp_path: Path
) -> None:
    """The event loop lives, one cluster's sweep does not: what `_stuck` says, systemd and /-/healthy are told."""
    from recoverd.config import load
    from recoverd.daemon import wiring as daemon
    from recoverd.daemon.watches import Watches
    from recoverd.engine.writer import JournalWriter
    from recoverd.metrics.server import Metrics

    prod = await make(deadlines={"api": "2s", "etcd": "2s", "hosts": "3s"})
    config = load(Daemon(tmp_path, prod).file)

    class Loop:
        swept_at = time.monotonic() - 30
        first_sweep = asyncio.Event()

    loop: Any = Loop()
    journal = Journal(tmp_path / "journal.sqlite3")
    watches = Watches(
        config, tmp_path, JournalWriter(journal), Metrics(), lambda _: None, lambda _machine, _instructions: None
    )
    watches.loops["prod"], watches._watched["prod"] = loop, config.clusters[0]
    assert watches.stuck(*daemon.STUCK_AFTER) is None
    told = Notified(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(told.path))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    task = asyncio.create_task(daemon._tell_systemd(watches))
    assert await told.next(5) == "WATCHDOG=1"
    loop.swept_at -= 2
    while (word := await told.next(0.6)) is not None:
        assert word == "WATCHDOG=1"
    assert "no sweep of prod has ended for 3" in str(watches.stuck(*daemon.STUCK_AFTER))
    loop.swept_at = time.monotonic()
    loop.first_sweep.set()
    await told.awaited("READY=1", 5)
    task.cancel()
    told.close()
    journal.close()


async def test_an_end_in_good_order_journals_what_the_last_sweeps_saw(make: Make, run: Callable[..., Daemon]) -> None:
    daemon = run(await make())
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    first = (await daemon.status())["last_sweep"]
    last = (await daemon.until(daemon.status, lambda s: s["last_sweep"] > first))["last_sweep"]
    assert daemon.kill(signal.SIGTERM) == 0
    journal = Journal(daemon.state / "journal.sqlite3")
    seen = journal.saved("prod").memory.healthy_at
    journal.close()
    assert seen is not None and seen >= datetime.fromisoformat(last)


async def test_a_second_daemon_is_refused_and_a_dead_ones_socket_is_cleared(
    make: Make, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    prod = await make()
    first = run(prod)
    first.start()
    await first.ready()
    (tmp_path / "second").mkdir()
    same_state = Daemon(tmp_path / "second", prod, state=first.state)
    assert await ended(same_state) == 1
    assert first.process and f"in use by another recoverd (process {first.process.pid})" in same_state.log.read_text()
    (tmp_path / "third").mkdir()
    same_socket = Daemon(tmp_path / "third", prod)
    text = yaml.safe_load(same_socket.file.read_text()) | {"socket": str(first.socket)}
    same_socket.file.write_text(yaml.safe_dump(text))
    assert await ended(same_socket) == 1
    assert "another recoverd answers on" in same_socket.log.read_text()
    same_port = Daemon(tmp_path / "third", prod)
    same_port.file.write_text(
        yaml.safe_dump(yaml.safe_load(same_port.file.read_text()) | {"listen": f"127.0.0.1:{first.port}"})
    )
    assert await ended(same_port) == 1
    for log in (same_state.log, same_port.log):
        assert "Traceback" not in log.read_text()
    assert f"listen: 127.0.0.1:{first.port}` of the configuration: another program listens" in same_port.log.read_text()
    same_port.file.write_text(
        yaml.safe_dump(yaml.safe_load(same_port.file.read_text()) | {"listen": f"192.0.2.1:{first.port}"})
    )
    assert await ended(same_port) == 1
    assert "no address of this machine" in same_port.log.read_text()
    assert (await first.ctl("status"))[0] == 0, "the first one was not disturbed"
    first.kill()
    assert first.socket.exists()
    assert (await first.ctl("status"))[0] == 3
    first.start()
    await first.ready()
    assert (await first.ctl("status"))[0] == 0
    first.kill(signal.SIGTERM)
    first.socket.write_text("a file")
    assert await ended(first) == 2, "as for any other mistake of the configuration"
    assert "is there and no socket" in first.log.read_text() and first.socket.read_text() == "a file"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
async def test_with_a_full_disk_nothing_is_done_and_health_says_why(
    make: Make, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small)
    if await mount.wait():
        pytest.skip("no tmpfs can be mounted")
    try:
        prod = await make()  # start-node-services would run unasked
        daemon = run(prod, state=small)
        daemon.start()
        await daemon.ready()
        await daemon.in_phase("healthy")
        filler = small / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        prod.node.unit("kubelet", "inactive")
        _, why = await daemon.until(lambda: daemon.get("/-/healthy"), lambda answer: answer[0] == 503)
        assert "journal.sqlite3 cannot be written" in why and "disk is not full" in why
        assert prod.node.asked == []
        code, said = await daemon.ctl("pause", "prod", "--reason", "disk")
        assert code == 1 and "cannot be written" in said
        assert not (await daemon.status())["paused"], "what is not journalled has not happened"
        sweeps = await daemon.metric('recoverd_sweep_duration_seconds_count{cluster="prod",source="hosts"}')
        await daemon.until(
            lambda: daemon.metric('recoverd_sweep_duration_seconds_count{cluster="prod",source="hosts"}'),
            lambda n: bool(n >= sweeps + 3),
        )
        assert prod.node.asked == [], "it goes on watching and does nothing"
        filler.unlink()
        await daemon.until(lambda: daemon.get("/-/healthy"), lambda answer: answer[0] == 200)
        await daemon.closed()
        assert prod.node.asked == ["start kubelet"]
        assert "Traceback" not in daemon.log.read_text()
        # started on a full disk it waits, and says why
        daemon.kill()
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        process = daemon.start()
        if await asyncio.to_thread(waited, process, 4) is None:
            filler.unlink()
            await daemon.ready()
        assert "Traceback" not in daemon.log.read_text()
    finally:
        if daemon.process and daemon.process.poll() is None:
            daemon.kill(signal.SIGTERM)
        assert await (await asyncio.create_subprocess_exec("umount", small)).wait() == 0


def waited(process: Process, seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


async def test_a_journal_that_is_locked_or_damaged_is_told(make: Make, run: Callable[..., Daemon]) -> None:
    prod = await make()
    daemon = run(prod)
    daemon.state.mkdir()
    (daemon.state / "journal.sqlite3").write_bytes(b"no database at all" * 1000)
    assert await ended(daemon) == 1
    assert "move it aside" in daemon.log.read_text() and "Traceback" not in daemon.log.read_text()
    (daemon.state / "journal.sqlite3").unlink()
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    other = sqlite3.connect(daemon.state / "journal.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    prod.node.unit("kubelet", "inactive")
    _, why = await daemon.until(lambda: daemon.get("/-/healthy"), lambda answer: answer[0] == 503)
    assert "locked" in why
    other.execute("ROLLBACK")
    other.close()
    await daemon.closed()
    assert prod.node.asked == ["start kubelet"]
