"""The clusters that are watched: begun with what the journal holds of each, and changed, one by one, to
what the configuration says now.

A change of one cluster ends nobody else's watch. It is taken over when no plan runs there and nothing is being carried
out: a plan ends under the settings under which it was begun.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from recoverd.clients.lease import Bastion, Tenure, this_bastion
from recoverd.config import ClusterConfig, Config, ConfigError, have_in_common, load
from recoverd.daemon.live import LiveWorld
from recoverd.daemon.revival import inherited, paused
from recoverd.engine.journal import Saved
from recoverd.engine.journal_file import JournalError
from recoverd.engine.loop import Clockwork, ClusterLoop, Heed, now, running
from recoverd.engine.neighbours import Neighbours
from recoverd.engine.pace import Turnstile
from recoverd.engine.writer import JournalWriter, Writes
from recoverd.machine import ClusterMachine
from recoverd.metrics.server import Metrics
from recoverd.model.events import Instruction, Note
from recoverd.model.fleet import CommonCause
from recoverd.model.history import History
from recoverd.model.lease import forbids
from recoverd.model.memory import Memory
from recoverd.model.plan import TimelineEntry
from recoverd.model.record import Record
from recoverd.model.text import some, utc
from recoverd.playbooks import registry

log = structlog.get_logger()

NAMED = 5
"""Clusters of many that a notice names."""
FIXED = "state_dir", "socket", "listen", "status_page", "store"
"""Parts of the configuration that are as they were at the start until recoverd is started again."""

FIRST_SWEEPS = 12
"""So many a cluster is given to be seen healthy once, before it is said that it never was: a minute."""


class Watches:
    """One `ClusterLoop` for each cluster of the configuration at `path`; `loops` is what
    others look at, and changes with it.
    """

    def __init__(
        self,
        config: Config,
        path: Path,
        writer: JournalWriter,
        metrics: Metrics,
        publish: Callable[[Note], None],
        heed: Heed,
    ) -> None:
        self.loops: dict[str, ClusterLoop] = {}
        self.refused = ""
        """Why the newest configuration was not taken; "" when it was."""
        self.newest = config
        """What was taken last, of which a cluster's part may have to wait for the end of a plan."""
        self._config = config
        self._path = path
        self._writer = writer
        self._metrics = metrics
        self._publish = publish
        self._heed = heed
        self.common: Callable[[Sequence[CommonCause], bool], None] = lambda causes, here: None
        """Is told what many clusters have in common that somebody is called for, and whether that is told from here: of
        several bastions by the one that watches the first cluster.
        """
        self._turnstile = Turnstile()
        self.neighbours = Neighbours(config.fleet)
        self._metrics.fleet(lambda: self.neighbours)
        self._bastion: Bastion | None = None
        self._wanted: dict[str, ClusterConfig] = {}
        self._watched: dict[str, ClusterConfig] = {}
        self._changing: dict[str, asyncio.Task[None]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._reloading = asyncio.Lock()
        self._restart: tuple[str, ...] = ()
        """Parts of the newest configuration that need a new start."""

    async def open(self) -> None:
        """Make the loop of every cluster, with what the journal holds of it; none runs yet. Raises
        `JournalError`, and `OSError`.
        """
        self._bastion = this_bastion(self._config.state_dir)
        self._wanted = {c.settings.name: c for c in self._config.clusters}
        for cluster in self._config.clusters:
            self._take_up(cluster, await self._revived(cluster))
        self._metrics.configured(True)

    def run_in(self, group: asyncio.TaskGroup) -> None:
        """Sweep every cluster in the group; a loop that ends by itself is a defect and ends it."""
        self._group = group
        for name in self.loops:
            self._start(name)

    async def leave(self) -> None:
        """Journal, before an end in good order, what only the machines know yet."""
        await asyncio.gather(*(loop.leave() for loop in self.loops.values()))

    def stop(self) -> None:
        """End every loop, and every change that waits."""
        for task in (*self._tasks.values(), *self._changing.values()):
            task.cancel()

    async def close(self) -> None:
        for loop in self.loops.values():
            await loop.close()

    @property
    def trouble(self) -> str:
        """Why nothing can be done to any cluster; "" where that is not so."""
        return ""

    def stuck(self, intervals: int, deadlines: int) -> str | None:
        """Which cluster's newest sweep is older than so many intervals and so many times all
        its deadlines; None when none is.
        """
        for name, cluster in self._watched.items():
            limits = cluster.deadlines
            age = time.monotonic() - self.loops[name].swept_at
            if age > intervals * cluster.interval + deadlines * (limits.api + limits.etcd + limits.hosts):
                return f"no sweep of {name} has ended for {age:.0f} s"
        return None

    def notices(self) -> list[str]:
        """What an operator should know of recoverd itself, a sentence each."""
        lines = [self.refused] if self.refused else []
        lines += [self._waits_for(name) for name in self._changing if name in self.loops or self._had_by(name)]
        lines += self._needs_start()
        lines += self._overloaded()
        lines += self.neighbours.notices()
        for name, loop in self.loops.items():
            seen = loop.machine.observation
            if seen and (why := forbids(seen.lease, unasked=True)):
                lines.append(f"{name}: {why}")
            if seen and seen.own:
                more = f" (and {len(seen.own) - 1} more such)" if len(seen.own) > 1 else ""
                lines.append(f"{name}: {seen.own[0]}{more}")
            if seen and seen.sequence >= FIRST_SWEEPS and loop.machine.memory.healthy_at is None:
                lines.append(
                    f"{name}: recoverd has never seen it healthy; where it is, the installation is not finished: "
                    f"recoverd doctor {name} names what is missing"
                )
        journal = self._writer.journal
        if rows := Counter(place for place, _ in list(journal.unreadable)):
            named = ", ".join(f"{n} {place}" for place, n in sorted(rows.items()))
            lines.append(
                f"{journal.path} has rows that cannot be read and are left out ({named}); the log names "
                "them, and they are kept there. Once they are put right: systemctl reload recoverd"
            )
        if passed := Counter(cluster for cluster, _ in list(journal.passed.why)):
            lines.append(
                f"rows in the bastions' etcd cannot be read here, of {some(sorted(passed), NAMED)}: what is shown of "
                "them is older, and they are left to bastions that can. Another version of recoverd wrote them, or "
                "they are damaged; the log names them"
            )
        return lines

    def _overloaded(self) -> list[str]:
        """That sweeps come later than the configuration says, since this bastion does not manage them."""
        seen = ((n, loop.machine.observation) for n, loop in self.loops.items())
        late = {n: o.stretched for n, o in seen if o and o.stretched}
        if not late:
            return []
        named = some(list(late), NAMED)
        worst = max(late, key=lambda n: late[n])
        wanted = self._watched[worst].interval
        return [
            f"this bastion is overloaded: {len(late)} of {len(self.loops)} clusters ({named}) are looked at later than "
            f"they should be, {worst} after {late[worst]:.0f} s instead of {wanted:g} s. What it came too late for is "
            "called unseen and never broken, and a fault is found that much later; give recoverd more CPU, fewer "
            "clusters, or a longer interval"
        ]

    async def reload(self) -> list[str]:
        """Read the file again and take over what it says. Returns what comes of it, a sentence each; a file with
        an error changes nothing at all.
        """
        async with self._reloading:
            self._writer.journal.unreadable.look_anew()
            try:
                config = await asyncio.to_thread(load, self._path, [p.name for p in registry()])
            except ConfigError as error:
                at = utc(datetime.now(UTC))
                self.refused = (
                    f"the configuration was refused at {at}, and the one before stays in force: "
                    f"{'; '.join(str(error).splitlines())}"
                )
                self._metrics.configured(False)
                return [self.refused]
            self.refused = ""
            let = ["who may ask for what is changed (access)"] if config.access != self.newest.access else []
            let += ["what may be done to all clusters together is changed (fleet)"] * (
                config.fleet != self.newest.fleet
            )
            self.newest = config
            self._metrics.configured(True)
            self._restart = tuple(part for part in FIXED if getattr(config, part) != getattr(self._config, part))
            self._wanted = {c.settings.name: c for c in config.clusters}
            self.neighbours.set(config.fleet)
            names = sorted(self._wanted.keys() | self._watched.keys())
            lines = [self._changed(name) for name in names if self._differs(name)]
            return [*let, *lines, *self._needs_start()] or ["nothing changed"]

    def _needs_start(self) -> list[str]:
        what = ", ".join(self._restart)
        return (
            [f"{self._path}: {what} changed, which needs a new start of recoverd (systemctl restart recoverd)"]
            if what
            else []
        )

    # --- one cluster ---

    def _differs(self, name: str) -> bool:
        return self._wanted.get(name) != self._watched.get(name)

    def _changed(self, name: str) -> str:
        if name not in self._changing:
            assert self._group is not None
            self._changing[name] = self._group.create_task(self._change(name), name=f"change of {name}")
        return self._waits_for(name)

    def _waits_for(self, name: str) -> str:
        if name not in self.loops:
            others = ", ".join(self._had_by(name))
            when = f"once {others}, which has machines of it, has been let go" if others else "from now on"
            return f"{name} is watched {when}"
        what = (
            "is watched by its new configuration"
            if name in self._wanted
            else "is not in the configuration any more and is let go"
        )
        plan = self.loops[name].machine.record.plan
        when = (
            f"when plan {plan.id} has ended"
            if plan and self.loops[name].machine.record.run
            else "as soon as nothing is being carried out there"
        )
        return f"{name} {what} {when}"

    async def _change(self, name: str) -> None:
        """Make true of the cluster what the configuration says by the time when it is at rest."""
        try:
            while self._wanted.get(name) != self._watched.get(name):
                while others := self._had_by(name):
                    other = self.loops[others[0]]
                    await other.retire()
                    if self.loops.get(others[0]) is other:  # which the configuration may leave as it is by then
                        other.retired = self._differs(others[0])
                loop = self.loops.get(name)
                if loop:
                    await loop.retire()
                wanted = self._wanted.get(name)
                if loop is None and wanted:
                    self._take_up(wanted, await self._revived(wanted))
                    self._start(name)
                elif loop and wanted == self._watched[name]:
                    loop.retired = False
                elif loop:
                    await self._hand_over(name, loop, wanted)
        finally:
            del self._changing[name]

    def _had_by(self, name: str) -> list[str]:
        """Other clusters that are watched still and have machines that this one is to have, as one that is being
        renamed: two that act on the same machines would undo each other's work, whose lease is one bastion's.
        """
        wanted = self._wanted.get(name)
        others = [n for n in self._watched if n != name and not self.loops[n].retired] if wanted else []
        return [n for n in others if wanted and have_in_common(wanted, self._watched[n])]

    async def _hand_over(self, name: str, loop: ClusterLoop, wanted: ClusterConfig | None) -> None:
        """End the cluster's watch, and begin it anew where it is still wanted, from where it stood."""
        was, task = self._watched[name], self._tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])
        await loop.leave(let_go=wanted is None)
        await loop.close()
        del self.loops[name], self._watched[name]
        if wanted is None:
            self._metrics.forget(name)
            self.neighbours.forget(name)
            await self._tell(
                name, History.LET_GO, f"{name} is not in {self._path} any more and is not watched from now on"
            )
            return
        record, memory = loop.machine.record, loop.machine.memory
        self._take_up(wanted, ClusterMachine(wanted.settings, registry(), now=now(), record=record, memory=memory))
        if loop.first_sweep.is_set():
            self.loops[name].first_sweep.set()
        self._start(name)
        await self._tell(
            name, History.RECONFIGURED, f"{name} is watched by what {self._path} says now: {_differences(was, wanted)}"
        )

    async def _tell(self, name: str, event: History, text: str) -> None:
        note = Note(name, "", TimelineEntry(now(), event, text))
        log.info(text, event_name=event, cluster=name)
        try:
            await self._writer.write([note])
        except JournalError as error:
            log.error("a change of the configuration could not be journalled", cluster=name, error=str(error))
        self._publish(note)

    def _take_up(self, cluster: ClusterConfig, machine: ClusterMachine) -> None:
        name, memory = cluster.settings.name, machine.memory
        self._metrics.expect([name], [p.name for p in registry()])
        self._metrics.points.expect(name, cluster.settings.points.interval, memory.points)
        writer, tenure = self._journalled_by(name)
        world = LiveWorld(cluster, self._config.state_dir, memory, self._bastion, tenure)
        clockwork = Clockwork(cluster.interval, turnstile=self._turnstile)
        told = self._publish, now, running, self._heeded, self.neighbours
        self.loops[name] = ClusterLoop(machine, world, writer, self._metrics, clockwork, *told)
        self._watched[name] = cluster
        self._metrics.watches(name, True)

    def _heeded(self, machine: ClusterMachine, instructions: Sequence[Instruction]) -> None:
        self.common(self.neighbours.called, min(self.neighbours.clusters, default="") in self.loops)
        self._heed(machine, instructions)

    def _journalled_by(self, name: str) -> tuple[Writes, Tenure | None]:
        """Where the cluster's machine is journalled, and how long this bastion may act on it."""
        return self._writer, None

    def _start(self, name: str) -> None:
        assert self._group is not None
        self._tasks[name] = self._group.create_task(self.loops[name].run(), name=f"cluster {name}")

    async def _revived(self, cluster: ClusterConfig) -> ClusterMachine:
        """The machine as an earlier process left it; where that cannot be read, one that is
        paused until a person has looked.
        """
        name, at, planes, wanted = cluster.settings.name, now(), cluster.settings.planes, frozenset(self._wanted)
        saved, numbers, others = await self._writer.read(
            lambda j: (
                j.saved(name),
                j.incident_ids(name),
                {n: j.saved(n) for n in j.names_of(planes) if n not in wanted},
            )
        )

        def machine() -> ClusterMachine:
            return ClusterMachine(cluster.settings, registry(), now=at, record=saved.record, memory=saved.memory)

        if not saved.trouble:
            saved, taken = inherited(saved, others, planes, at)
            if taken:
                await self._tell(name, History.RENAMED, "; ".join(taken))
            try:
                return machine()
            except (ValueError, KeyError) as error:  # a state of another version, say
                saved = Saved(None, saved.memory, (f"its record in the journal is of another version: {error}",))
        saved, why = paused(saved, name, numbers, at)
        record = saved.record
        assert record is not None
        log.error(
            f"{name} is watched, and nothing is done about it until a person resumes it", cluster=name, reason=why
        )

        try:
            await self._begin_anew(name, record, saved.memory, why)
        except JournalError as error:
            log.error(
                "that a cluster is paused could not be journalled; it is all the same", cluster=name, error=str(error)
            )
        return machine()

    async def _begin_anew(self, name: str, record: Record, memory: Memory, why: str) -> None:
        """Journal with what the cluster is begun anew. Raises `JournalError`."""
        await self._writer.read(lambda j: j.begin_anew(name, record, memory, why, now()))


def _differences(was: ClusterConfig, now: ClusterConfig) -> str:
    """The names of what differs."""
    parts = [
        part for part in ("interval", "kubeconfig", "ssh", "deadlines") if getattr(was, part) != getattr(now, part)
    ]
    parts += [part for part in was.settings.__slots__ if getattr(was.settings, part) != getattr(now.settings, part)]
    return ", ".join(parts)
