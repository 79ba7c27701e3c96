"""Wiring of the daemon, and nothing else."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from aiohttp import web

from recoverd.config import Config
from recoverd.control.server import ControlServer
from recoverd.journal import Journal, JournalError
from recoverd.live import LiveWorld
from recoverd.loop import Clockwork, ClusterLoop, JournalWriter, now
from recoverd.machine import ClusterMachine
from recoverd.metrics import Metrics, app
from recoverd.notify import notify, watchdog_seconds
from recoverd.playbooks import registry
from recoverd.service import Service

log = structlog.get_logger()

STUCK_AFTER = 10, 3
"""A cluster whose last sweep is so many intervals and so many times all its deadlines old is stuck, and so is the daemon."""


def run(config: Config, path: Path) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 after a signal, 1 when the daemon cannot be started; the log says why."""
    try:
        return asyncio.run(_run(config, path))
    except JournalError as error:
        log.error("the journal cannot be used, so recoverd does not start", error=str(error))
    except OSError as error:
        log.error("recoverd cannot start", error=str(error))
    except ExceptionGroup:
        log.exception("recoverd itself failed; a plan that was running goes on when it is started again")
    return 1


async def _run(config: Config, path: Path) -> int:
    async with AsyncExitStack() as stack:
        config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        journal = Journal(config.state_dir / "journal.sqlite3")
        stack.callback(journal.close)
        writer, metrics = JournalWriter(journal), Metrics()
        metrics.expect((c.settings.name for c in config.clusters), [p.name for p in registry()])
        metrics.seed(journal.incidents(limit=100_000), journal.plans(limit=100_000))
        service = Service(writer)
        records = journal.records()
        loops: dict[str, ClusterLoop] = {}
        for cluster in config.clusters:
            name = cluster.settings.name
            memory = journal.memory(name)
            metrics.points.expect(name, cluster.settings.points.interval, memory.points)
            machine = ClusterMachine(cluster.settings, registry(), now=now(), record=records.get(name), memory=memory)
            world = LiveWorld(cluster, config.state_dir, memory)
            loops[name] = ClusterLoop(machine, world, writer, metrics, Clockwork(cluster.interval), service.publish)
            stack.push_async_callback(loops[name].close)
        service.loops = loops
        server = ControlServer(service, config.socket)
        await server.start()
        stack.push_async_callback(server.stop)
        await _serve_metrics(stack, metrics, loops, writer, config)
        log.info("started", config=str(path), clusters=sorted(loops), socket=str(config.socket), listen="{}:{}".format(*config.listen))
        await _until_signalled(loops, config)
        notify("STOPPING=1")
    log.info("stopped; a plan that was running goes on when recoverd is started again")
    return 0


async def _serve_metrics(stack: AsyncExitStack, metrics: Metrics, loops: dict[str, ClusterLoop], writer: JournalWriter, config: Config) -> None:
    def ready() -> str | None:
        waiting = [n for n, loop in loops.items() if not loop.first_sweep.is_set()]
        return f"the first sweep has not ended of: {', '.join(waiting)}" if waiting else None

    def healthy() -> str | None:
        return writer.trouble or _stuck(loops, config)

    runner = web.AppRunner(app(metrics, ready, healthy), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, *config.listen).start()


def _stuck(loops: dict[str, ClusterLoop], config: Config) -> str | None:
    intervals, deadlines = STUCK_AFTER
    for cluster in config.clusters:
        loop, limits = loops[cluster.settings.name], cluster.deadlines
        age = time.monotonic() - loop.swept_at
        if age > intervals * cluster.interval + deadlines * (limits.api + limits.etcd + limits.hosts):
            return f"no sweep of {cluster.settings.name} has ended for {age:.0f} s"
    return None


async def _until_signalled(loops: dict[str, ClusterLoop], config: Config) -> None:
    """Run every loop until a signal; a loop that ends by itself is a defect and ends the daemon, for systemd to start it again."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop.run(), name=f"cluster {name}") for name, loop in loops.items()]
        tasks.append(group.create_task(_tell_systemd(loops, config)))
        await stop.wait()
        await asyncio.gather(*(loop.leave() for loop in loops.values()))
        for task in tasks:
            task.cancel()


async def _tell_systemd(loops: dict[str, ClusterLoop], config: Config) -> None:
    """READY after the first sweep of every cluster, then a sign of life for as long as the sweeps go on."""
    seconds = watchdog_seconds() or 10.0
    first = asyncio.gather(*(loop.first_sweep.wait() for loop in loops.values()))
    ready = False
    while True:
        try:
            async with asyncio.timeout(seconds / 2):
                await (asyncio.sleep(seconds) if ready else asyncio.shield(first))
            if not ready:
                notify(f"READY=1\nSTATUS=watching {', '.join(loops)}")
                ready = True
        except TimeoutError:
            pass
        if trouble := _stuck(loops, config):
            log.error("not telling systemd that all is well, so that it restarts recoverd", reason=trouble)
        else:
            notify("WATCHDOG=1")
