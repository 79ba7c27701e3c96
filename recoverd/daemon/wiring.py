"""Wiring of the daemon, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import structlog
from aiohttp import web

from recoverd.config import Config
from recoverd.control.server import ControlServer
from recoverd.daemon import garbage
from recoverd.daemon.fleet_service import FleetService
from recoverd.daemon.notify import notify, watchdog_seconds
from recoverd.daemon.service import Service
from recoverd.daemon.shared import SharedWatches
from recoverd.daemon.watches import Watches
from recoverd.engine.journal import Journal
from recoverd.engine.journal_file import JournalError
from recoverd.engine.writer import JournalWriter
from recoverd.metrics.server import Metrics, app
from recoverd.notifications.notifier import Notifier
from recoverd.page import runbooks
from recoverd.page.server import StatusPage
from recoverd.store.shared_writer import SharedWriter

log = structlog.get_logger()

STUCK_AFTER = 10, 3
"""A cluster whose last sweep is so many intervals and so many times all its deadlines old
is stuck, and so is the daemon.
"""


def run(config: Config, path: Path) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 after a signal, 1 when the daemon
    cannot be started; the log says why.
    """
    with suppress(OSError, ValueError):
        _, most = resource.getrlimit(
            resource.RLIMIT_NOFILE
        )  # a shell's soft limit of 1024 is for programs that use select(2)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
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
    stop, reload = asyncio.Event(), asyncio.Event()
    for number, event in ((signal.SIGTERM, stop), (signal.SIGINT, stop), (signal.SIGHUP, reload)):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    async with AsyncExitStack() as stack:
        config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        journal = Journal(config.state_dir / "journal.sqlite3")
        stack.callback(journal.close)
        metrics = Metrics()
        metrics.journal(journal.places)
        writer, notifier, service, watches = parts(config, path, journal, metrics)
        stack.push_async_callback(watches.close)
        await watches.open()
        stack.push_async_callback(notifier.close)
        await notifier.open(config)
        if not config.store:  # else with each cluster that is taken over
            metrics.seed(journal.incidents(), journal.plans())
        service.loops = watches.loops
        server = ControlServer(service, config.socket, metrics.asked, config.store.bastion if config.store else "")
        server.let(config.access)
        await server.start()
        stack.push_async_callback(server.stop)
        await _listen(stack, app(metrics, _ready(watches), lambda: trouble(writer, watches)), service, config)
        log.info(
            "started",
            config=str(path),
            clusters=",".join(sorted(watches.loops)),
            socket=str(config.socket),
            listen="{}:{}".format(*config.listen),
        )
        garbage.settle()
        await _until_signalled(watches, notifier, server, stop, reload)
        notify("STOPPING=1")
    log.info("stopped; a plan that was running goes on when recoverd is started again")
    return 0


def parts(
    config: Config, path: Path, journal: Journal, metrics: Metrics
) -> tuple[JournalWriter, Notifier, Service, Watches]:
    """What writes, tells, answers and watches: of a bastion alone, or of one among several."""
    local = JournalWriter(journal)
    if config.store is None:
        alone = Notifier(
            local, metrics.notifications, lambda note: service.publish(note), lambda: trouble(local, watches)
        )
        service = Service(local, lambda: watches.notices(), alone.test)
        watches = Watches(config, path, local, metrics, service.publish, alone.heed)
        watches.common = alone.common_causes
        return local, alone, service, watches
    writer = SharedWriter(journal, local, lambda: shared.fleet)
    notifier = Notifier(
        writer, metrics.notifications, lambda note: fleet.publish(note), lambda: trouble(writer, shared)
    )
    fleet = FleetService(writer, lambda: shared, notifier.test)
    tells = fleet.publish, notifier.heed, notifier.learn, notifier.forget, notifier.nobody_acts
    shared = SharedWatches(config, path, writer, local, metrics, *tells)
    shared.common = notifier.common_causes
    shared.fleet.heard = fleet.passing.heard
    return writer, notifier, fleet, shared


def trouble(writer: JournalWriter, watches: Watches) -> str | None:
    """Why recoverd is not well, None when it is: it cannot write its journal, or does not sweep."""
    return writer.trouble or watches.trouble or watches.stuck(*STUCK_AFTER)


def _ready(watches: Watches) -> Callable[[], str | None]:
    def ready() -> str | None:
        waiting = [n for n, loop in watches.loops.items() if not loop.first_sweep.is_set()]
        return f"the first sweep has not ended of: {', '.join(waiting)}" if waiting else None

    return ready


def _not_to_be_had(error: OSError, host: str, port: int) -> str:
    """Why nobody can listen there, in the words of the configuration."""
    why = {
        errno.EADDRINUSE: f"another program listens there already (ss -ltnp 'sport = :{port}' names it)",
        errno.EADDRNOTAVAIL: "that is no address of this machine",
        errno.EACCES: "ports below 1024 are for root",
    }
    return f"`listen: {host}:{port}` of the configuration: {why.get(error.errno or 0, str(error))}"


async def _listen(stack: AsyncExitStack, application: web.Application, service: Service, config: Config) -> None:
    """Serve what Prometheus scrapes, and what people look at, on one port."""
    runbooks.add_to(application)
    if config.status_page:
        StatusPage(service).add_to(application)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, *config.listen).start()
    except OSError as error:
        raise OSError(_not_to_be_had(error, *config.listen)) from error


async def _until_signalled(
    watches: Watches, notifier: Notifier, server: ControlServer, stop: asyncio.Event, reload: asyncio.Event
) -> None:
    """Run every loop until a signal; a loop that ends by itself is a defect and ends the daemon,
    for systemd to start it again.
    """
    async with asyncio.TaskGroup() as group:
        watches.run_in(group)
        tasks = [
            group.create_task(_tell_systemd(watches)),
            group.create_task(_reload(watches, notifier, server, reload)),
        ]
        await stop.wait()
        await watches.leave()
        watches.stop()
        for task in tasks:
            task.cancel()


async def _reload(watches: Watches, notifier: Notifier, server: ControlServer, asked: asyncio.Event) -> None:
    """Take the configuration over at every SIGHUP, one after the other."""
    while True:
        await asked.wait()
        asked.clear()
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        lines = await watches.reload()
        if not watches.refused:
            notifier.take(watches.newest)
            server.let(watches.newest.access)
        tell = log.error if watches.refused else log.info
        for line in lines:
            tell(line, event_name="reload")
        notify(
            f"READY=1\nSTATUS={'configuration refused; ' if watches.refused else ''}watching {', '.join(watches.loops)}"
        )


async def _tell_systemd(watches: Watches) -> None:
    """READY after the first sweep of every cluster, then a sign of life for as long as the sweeps go on."""
    seconds = watchdog_seconds() or 10.0
    first = asyncio.gather(*(loop.first_sweep.wait() for loop in watches.loops.values()))
    ready = False
    while True:
        try:
            async with asyncio.timeout(seconds / 2):
                await (asyncio.sleep(seconds) if ready else asyncio.shield(first))
            if not ready:
                notify(f"READY=1\nSTATUS=watching {', '.join(watches.loops)}")
                ready = True
        except TimeoutError:
            pass
        if trouble := watches.stuck(*STUCK_AFTER):
            log.error("not telling systemd that all is well, so that it restarts recoverd", reason=trouble)
        else:
            notify("WATCHDOG=1")
