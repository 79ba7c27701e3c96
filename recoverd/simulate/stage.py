"""The daemon at work on a model cluster: the same machine, playbooks and loop as the live one, in
virtual time, with a kill -9 at hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from recoverd.engine.journal import Journal
from recoverd.engine.loop import Clockwork, ClusterLoop
from recoverd.engine.neighbours import Neighbours
from recoverd.engine.world import World
from recoverd.machine import ClusterMachine
from recoverd.metrics.server import Metrics
from recoverd.model.codec import dump, load
from recoverd.model.events import Event, Journalled, Note, Remember, SaveRecord
from recoverd.model.fleet import Neighbour
from recoverd.model.history import History
from recoverd.model.memory import Memory
from recoverd.model.plan import Plan, PlanStatus, TimelineEntry
from recoverd.model.record import Record
from recoverd.model.settings import ClusterSettings
from recoverd.playbooks import registry
from recoverd.simulate.clock import now, seconds
from recoverd.simulate.cluster import TICK, ModelCluster
from recoverd.simulate.points import take
from recoverd.simulate.world import SimulatedWorld

TAKEN_AFTER = 10.0
"""Seconds after which the clusters of a bastion that died are another one's: its lease has to run out first."""


class Ledger:
    """What is journalled: in a real journal where one is given, and the last record and memory in any case, as the
    text that a journal would hold.

    It writes at once and not in a thread: virtual time must not run on meanwhile.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self.entries: list[Journalled] = []
        self._journal = journal
        self._record = self._memory = ""

    @classmethod
    def reopened(cls, journal: Journal, cluster: str) -> Ledger:
        """What a journal of an earlier process holds of a cluster."""
        ledger = cls(journal)
        saved = journal.saved(cluster)
        ledger._record, ledger._memory = dump(saved.record) if saved.record else "", dump(saved.memory)
        return ledger

    async def write(self, instructions: Sequence[Journalled]) -> None:
        if self._journal is not None:
            self._journal.write(instructions)
        for instruction in instructions:
            match instruction:
                case SaveRecord(record=record):
                    self._record = dump(record)
                case Remember(memory=memory):
                    self._memory = dump(memory)
                case _:
                    self.entries.append(instruction)

    def record(self) -> Record | None:
        return load(Record, self._record) if self._record else None

    def memory(self) -> Memory | None:
        return load(Memory, self._memory) if self._memory else None


class Stage:
    """One daemon over one model cluster. To be used within `clock.run`."""

    def __init__(
        self,
        cluster: ModelCluster,
        settings: ClusterSettings,
        *,
        ledger: Ledger | None = None,
        world: World | None = None,
        told: Callable[[Note], None] = lambda _: None,
        interval: float = 5.0,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.cluster = cluster
        self.settings = settings
        self.ledger = ledger or Ledger()
        self.world = world or SimulatedWorld(cluster, settings.name, hands_off=settings.hands_off)
        self._told = told
        self._interval = interval
        self.neighbours = neighbours or Neighbours()
        """The other clusters, played as well or told of by `elsewhere`."""
        self._running: asyncio.Task[None] | None = None
        self.loop: ClusterLoop
        self.start()

    @property
    def machine(self) -> ClusterMachine:
        return self.loop.machine

    @property
    def position(self) -> str:
        """`healthy`, `unobservable`, or `STATE/PHASE`."""
        return self.machine.lifecycle.position

    @property
    def waiting_plan(self) -> Plan | None:
        plan = self.machine.record.plan
        return plan if plan and plan.status is PlanStatus.AWAITING_APPROVAL else None

    def start(self) -> None:
        """Start the daemon, with what an earlier one has journalled."""
        machine = ClusterMachine(
            self.settings, registry(), now=now(), record=self.ledger.record(), memory=self.ledger.memory()
        )
        self.loop = ClusterLoop(
            machine,
            self.world,
            self.ledger,
            Metrics(),
            Clockwork(self._interval),
            self._told,
            clock=now,
            running=seconds,
            neighbours=self.neighbours,
        )
        self._running = asyncio.create_task(self.loop.run())

    async def kill(self) -> None:
        """kill -9: whatever it was doing, it does no more."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
        await self.loop.close()

    async def crash(self) -> None:
        """kill -9 and a start."""
        await self.kill()
        self.start()

    async def succeed(self) -> None:
        """The bastion dies, whatever it was doing, and another one takes the cluster over by what was journalled."""
        await self.kill()
        await self.wait(TAKEN_AFTER)
        assert isinstance(self.world, SimulatedWorld)
        text = f"{self.settings.name} is watched by {self.world.succeed()} from now on"
        record = self.ledger.record()
        incident = record.incident.id if record and record.incident else ""
        note = Note(self.settings.name, incident, TimelineEntry(now(), History.TAKEN_OVER, text))
        await self.ledger.write([note])
        self._told(note)
        self.start()

    def elsewhere(self, cluster: str, so: Sequence[str]) -> None:
        """Another cluster of the fleet `acts`, `rests`, or `has` faults of these codes from now on."""
        match so:
            case ["acts"]:
                self.neighbours.tell(cluster, Neighbour(acting=True))
            case ["rests"]:
                self.neighbours.tell(cluster, Neighbour())
            case ["has", *codes]:
                self.neighbours.tell(cluster, Neighbour(faults=dict.fromkeys(codes, now())))
            case _:
                raise ValueError(f"{cluster} acts, rests, or has CODE, and not {' '.join(so)}")

    async def keep_point(self) -> None:
        """A restore point is taken, and recoverd knows it."""
        machine, point = self.machine, take(self.cluster, self.settings.name)
        memory = replace(machine.memory, points=(*machine.memory.points, point))
        machine.state = replace(machine.state, memory=memory)
        await self.ledger.write([Remember(self.settings.name, memory)])

    async def give(self, event: Event) -> None:
        """A person asks for something; raises `Refused`."""
        await self.loop.handle(event)

    async def wait(self, duration: float) -> None:
        await self.until(lambda: False, duration)

    async def until(self, condition: Callable[[], bool], within: float) -> bool:
        """Let virtual time pass until the condition holds; False when it does not within so many seconds."""
        end = seconds() + within
        while not condition():
            if self._running is not None and self._running.done():
                self._running.result()  # a defect of the loop comes out here
                raise RuntimeError("the daemon's loop has ended by itself")
            if seconds() >= end:
                return False
            await asyncio.sleep(min(TICK, max(end - seconds(), 0.001)))
            self.cluster.advance(seconds())
        return True
