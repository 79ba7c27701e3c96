"""The clusters that this bastion watches of those that several share. What it owns is watched as ever, with a journal
that holds only while it does; what others own is shown as the journal has it; and without the bastions' etcd everything
is looked at, and nothing done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from recoverd.clients.lease import Tenure, this_bastion
from recoverd.config import Config
from recoverd.daemon.watches import Watches
from recoverd.engine.journal import Journal
from recoverd.engine.loop import Heed, now
from recoverd.engine.neighbours import neighbour
from recoverd.engine.writer import JournalWriter, Writes
from recoverd.machine import ClusterMachine
from recoverd.metrics.server import Metrics
from recoverd.model.audit import EVERY
from recoverd.model.events import Journalled, Note, Remember, SaveIncident, SavePlan, SaveRecord
from recoverd.model.history import History
from recoverd.model.memory import Memory
from recoverd.model.plan import Incident, Plan, TimelineEntry
from recoverd.model.points import RestorePoint
from recoverd.model.record import Record
from recoverd.model.status import ClusterStatus
from recoverd.playbooks import registry
from recoverd.store.fleet import Fleet
from recoverd.store.gateway import Gateway
from recoverd.store.writer import OwnedWriter

log = structlog.get_logger()


class Unwritten(Writes):
    """The journal of who only looks for a while: nobody goes on from there."""

    async def write(self, instructions: Sequence[Journalled]) -> None:
        return


class SharedWatches(Watches):
    """Implements `recoverd.store.hands.Hands`. `local` is the journal in this bastion's own file."""

    def __init__(
        self,
        config: Config,
        path: Path,
        writer: JournalWriter,
        local: JournalWriter,
        metrics: Metrics,
        publish: Callable[[Note], None],
        heed: Heed,
        learn: Callable[[str], Awaitable[None]],
        forget: Callable[[str], None],
        page: Callable[[str], None],
    ) -> None:
        """`learn` is told of each cluster that is taken over, before anything is said of it, `forget` of each that is
        watched here no more, and `page` of why nobody acts from here, "" once that is over.
        """
        super().__init__(config, path, writer, metrics, publish, heed)
        assert config.store is not None
        self._local = local
        self._learn, self._forget, self._page = learn, forget, page
        self._gateway = Gateway(config.store)
        self.fleet = Fleet(self._gateway, config.store, this_bastion(config.state_dir), local, self)
        self._looking: set[str] = set()
        """Clusters that are only looked at, since the bastions' etcd is not there."""
        self._elsewhere: dict[str, ClusterMachine] = {}
        self._unread: dict[str, str] = {}
        """Why the record of a cluster elsewhere cannot be read here."""

    async def open(self) -> None:
        """Show what this bastion's own file has of every cluster until the store is heard."""
        self._bastion = self.fleet.bastion
        for cluster in self._config.clusters:
            self._wanted[cluster.settings.name] = cluster
            await self.elsewhere(cluster.settings.name, "")
            self._metrics.watches(cluster.settings.name, False)
        self._metrics.configured(True)
        self._metrics.shared(lambda: self.trouble)

    def run_in(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._ours = group.create_task(self.fleet.run(), name="the fleet of bastions")

    async def leave(self) -> None:
        """Journal what only the machines know yet, then let others take over at once."""
        await asyncio.gather(*(self.loops[name].leave() for name in self._held()))
        await self.fleet.leave()

    def stop(self) -> None:
        super().stop()
        self._ours.cancel()

    async def close(self) -> None:
        await super().close()
        await self._gateway.close()

    @property
    def trouble(self) -> str:
        return self.fleet.trouble or next(iter(self._refused()), "")

    def _refused(self) -> list[str]:
        """Why nothing can be journalled of clusters that are watched here, though the bastions' etcd is there."""
        return [f"{name}: {why}" for name, writer in self.fleet.writers.items() if (why := writer.trouble)]

    def statuses(self) -> list[ClusterStatus]:
        """Of every cluster of the configuration, whoever watches it."""
        return [self._status(name) for name in list(self._wanted)]

    def points_of(self, cluster: str) -> list[RestorePoint]:
        """Restore points of the cluster, on whichever bastion they are."""
        return self.fleet.places.known(cluster, self.points().get(cluster, ()))

    def notices(self) -> list[str]:
        if self.fleet.trouble:
            return [f"nothing is done to any cluster from here: {self.fleet.trouble}", *super().notices()]
        behind = f"what other bastions journal is not all had here: {self.fleet.behind}" if self.fleet.behind else ""
        held = (f"{n}: {why}" for n in self._wanted if n not in self.loops and (why := self._held_up(n)))
        return [*filter(None, [behind]), *held, *self._refused(), *super().notices()]

    # --- what the fleet asks for ---

    def wanted(self) -> Sequence[str]:
        return list(self._wanted)

    def planes(self, cluster: str) -> Sequence[str]:
        return self._wanted[cluster].settings.planes if cluster in self._wanted else ()

    def resting(self) -> Sequence[str]:
        held = ((n, self.loops[n]) for n in self._held())
        return [
            name
            for name, loop in held
            if loop.first_sweep.is_set() and not (loop.machine.record.incident or loop.machine.record.plan)
        ]

    def points(self) -> Mapping[str, tuple[RestorePoint, ...]]:
        return {n: self.loops[n].machine.memory.points for n in self._held()}

    def say(self, note: Note) -> None:
        if note.cluster in self._wanted:
            self._publish(note)

    async def take(self, cluster: str, writer: OwnedWriter) -> None:
        await self._let_go(cluster)
        wanted = self._wanted[cluster]
        machine = await self._revived(wanted)

        def told(journal: Journal) -> tuple[list[Incident], list[Plan]]:
            return journal.incidents(cluster=cluster), journal.plans(of=cluster)

        self._metrics.seed(*await self._local.read(told))
        await self._learn(cluster)
        incident = machine.record.incident.id if machine.record.incident else ""
        text = f"{cluster} is watched by {self.fleet.me} from now on"
        note = Note(cluster, incident, TimelineEntry(now(), History.TAKEN_OVER, text))
        await writer.write([note])
        self._publish(note)
        self._take_up(wanted, machine)
        self._start(cluster)
        self._elsewhere.pop(cluster, None)
        log.info(f"{cluster} is watched by this bastion", event_name="taken", cluster=cluster)

    async def rest(self, cluster: str) -> bool:
        loop = self.loops[cluster]
        await loop.retire()
        if cluster in self._wanted and cluster not in self.resting():
            loop.retired = False
            return False
        await loop.leave(let_go=cluster not in self._wanted)
        await self._let_go(cluster)
        await self.elsewhere(cluster, "")
        log.info(f"{cluster} is left to another bastion", event_name="given-up", cluster=cluster)
        return True

    async def drop(self, cluster: str, why: str) -> None:
        if cluster in self.loops and cluster not in self._looking:
            await self._let_go(cluster)
            await self.elsewhere(cluster, "")
            log.warning(f"{cluster} is not watched here any more: {why}", event_name="lost", cluster=cluster)

    async def elsewhere(self, cluster: str, owner: str) -> None:
        if cluster == EVERY or cluster not in self._wanted or cluster in self.loops:
            return
        saved = await self._local.read(lambda j: j.saved(cluster))
        settings = self._wanted[cluster].settings
        self._unread[cluster] = "; ".join(saved.trouble)
        try:
            machine = ClusterMachine(settings, registry(), now=now(), record=saved.record, memory=saved.memory)
        except (ValueError, KeyError) as error:  # of a recoverd with other states
            self._unread[cluster] = f"its record is of another version: {error}"
            machine = ClusterMachine(settings, registry(), now=now())
        self._elsewhere[cluster] = machine
        if not self._unread[cluster]:  # else what was known of it holds
            self.neighbours.tell(cluster, neighbour(machine.record, machine.memory))
        self.neighbours.keep(self._wanted)

    async def adrift(self, why: str) -> None:
        self._page(why)
        for name, cluster in self._wanted.items():
            if name in self.loops:
                continue
            withheld = f"the bastions' etcd is not there, so {name} is looked at from here and nothing is done to it"
            settings = replace(cluster.settings, withheld=withheld)
            known, at = self._elsewhere.get(name), now()
            was = known.record if known else Record("healthy", at)
            # what was planned or under way is the next owner's; numbers that were given are not given again
            record = Record("healthy", at, incidents=was.incidents, maintenances=was.maintenances)
            machine = ClusterMachine(
                settings, registry(), now=at, record=record, memory=known.memory if known else None
            )
            self._looking.add(name)
            self._take_up(replace(cluster, settings=settings), machine)
            self._watched[name] = cluster
            self._metrics.watches(name, False)
            self._start(name)

    async def ashore(self) -> None:
        self._page("")
        for name in list(self._looking):
            await self._let_go(name)
            await self.elsewhere(name, "")

    # --- one cluster ---

    def _held(self) -> list[str]:
        """Clusters that are watched here, and not only looked at."""
        return [n for n in self.loops if n in self.fleet.writers and n not in self._looking]

    def _journalled_by(self, name: str) -> tuple[Writes, Tenure | None]:
        if name in self._looking:
            return Unwritten(), None
        writer = self.fleet.writers[name]
        return writer, writer.term

    async def _begin_anew(self, name: str, record: Record, memory: Memory, why: str) -> None:
        """Here, and then for everybody: what was open on the cluster is ended there, too."""

        def begun(journal: Journal) -> list[Journalled]:
            plans, incidents = journal.open_plans(name), journal.open_incidents(name)
            journal.begin_anew(name, record, memory, why, now())
            ended: list[Journalled] = [SavePlan(p) for id in plans if (p := journal.plan(id))]
            ended += [SaveIncident(replace(i, timeline=())) for id in incidents if (i := journal.incident(id))]
            return [SaveRecord(name, record), Remember(name, memory), *ended]

        writer = self.fleet.writers[name]
        await self.fleet.keep_aside(name)
        await writer.write(await self._local.read(begun))

    def _differs(self, name: str) -> bool:
        return name in self.loops and super()._differs(name)

    def _changed(self, name: str) -> str:
        if name in self._looking:
            return f"{name} is watched by its new configuration once the bastions' etcd is there"
        if name not in self._wanted:
            return f"{name} is not in the configuration any more and is let go as soon as nothing is carried out there"
        return super()._changed(name)

    async def _let_go(self, name: str) -> None:
        """End the cluster's loop here, whatever it does."""
        loop, task = self.loops.pop(name, None), self._tasks.pop(name, None)
        self._watched.pop(name, None)
        self._looking.discard(name)
        self._metrics.watches(name, False)
        if change := self._changing.get(name):
            change.cancel()
        if task:
            task.cancel()
            await asyncio.wait([task])
        if loop:
            await loop.close()
            self._metrics.forget(name)
            self._metrics.watches(name, False)
            self._forget(name)

    def _held_up(self, name: str) -> str:
        """What a cluster waits for that nobody watches under this name."""
        if not (other := self.fleet.held_as(name)):
            return ""
        owner = self.fleet.owner_of(other) or "another bastion"
        return (
            f"its control planes are watched as {other} by {owner}, and it is taken up once they are let go of; where "
            "it was renamed, give every bastion the new configuration and reload it (systemctl reload recoverd)"
        )

    def _status(self, name: str) -> ClusterStatus:
        if loop := self.loops.get(name):
            return loop.machine.status()
        machine = self._elsewhere.get(name) or ClusterMachine(self._wanted[name].settings, registry(), now=now())
        status, owner = machine.status(), self.fleet.owner_of(name)
        summary = (
            f"watched by {owner}; what it sees: recoverctl status {name} there"
            if owner
            else self._held_up(name) or "no bastion watches it at this moment"
        )
        if unread := self._unread.get(name):
            summary = f"{summary}; {unread}"
        if owner and not unread:  # what its record says is what that bastion has seen, though this one has not looked
            status = replace(status, state=machine.lifecycle.state, since=machine.record.since)
        return replace(status, watched_by=owner or "nobody", summary=summary)
