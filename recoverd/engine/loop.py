"""One cluster at work: sweep, let the machine decide, journal, carry out, feed back. Everything that
decides is in `recoverd.machine`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from recoverd.engine.journal_file import JournalError
from recoverd.engine.neighbours import Neighbours, neighbour
from recoverd.engine.pace import Pace, Turnstile
from recoverd.engine.progress import Telling, reporting
from recoverd.engine.world import World
from recoverd.engine.writer import CommittedFirst, Writes
from recoverd.engine.writes import writing
from recoverd.machine import ClusterMachine
from recoverd.machine.clock import Reading
from recoverd.machine.state import MachineState
from recoverd.metrics.server import Metrics
from recoverd.model.events import (
    ChoreEnded,
    Event,
    Instruction,
    Journalled,
    Note,
    Observed,
    Perform,
    PerformChore,
    Progress,
    Refused,
    Remember,
    Restarted,
    StepEnded,
    Stopping,
    SweepNow,
    Ticked,
)
from recoverd.model.history import History
from recoverd.model.joining import JoinFacts, JoinRequest
from recoverd.model.observation import Observation
from recoverd.model.plan import Step, StepResult, TimelineEntry

log = structlog.get_logger()
T = TypeVar("T")
Heed = Callable[[ClusterMachine, Sequence[Instruction]], None]

GRACE = 15.0
"""Seconds that a step may take beyond its own deadline before its carrying out is given up."""
LEVELS: Mapping[str, int] = {
    History.OPENED: logging.WARNING,
    History.CAUSE: logging.WARNING,
    History.PLAN_MADE: logging.WARNING,
    History.EMERGENCY: logging.WARNING,
    History.UNOBSERVABLE: logging.WARNING,
    History.STEP_FAILED: logging.WARNING,
    History.NODE_FAILED: logging.WARNING,
    History.RESTORE_POINT_FAILED: logging.WARNING,
    History.ESCALATED: logging.ERROR,
    History.PLAN_FAILED: logging.ERROR,
    History.UNDO_REFUSED: logging.ERROR,
}
"""How loud a line of history is in the log, where it is more than information: `journalctl -u
recoverd -p warning` tells an outage.
"""


def now() -> datetime:
    return datetime.now(UTC)


def running() -> float:
    """Seconds of the clock that nobody sets, suspension included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Retired(Refused):
    """The cluster's watch is being handed to another loop."""


@dataclass(slots=True)
class Clockwork:
    """Intervals of one cluster's loop, in seconds."""

    interval: float
    verifying: float = 2.0
    """While a repair is being verified, or a step of it waits for what a sweep shows, every second counts."""
    turnstile: Turnstile = field(default_factory=Turnstile)
    """Which all clusters of the process have in common."""


class ClusterLoop:
    """Drives one `ClusterMachine` over one `World`. `handle` is the only way an event gets in, one at a time."""

    def __init__(
        self,
        machine: ClusterMachine,
        world: World,
        writer: Writes,
        metrics: Metrics,
        clockwork: Clockwork,
        publish: Callable[[Note], None],
        clock: Callable[[], datetime] = now,
        running: Callable[[], float] = running,
        heed: Heed = lambda machine, instructions: None,
        neighbours: Neighbours | None = None,
    ) -> None:
        """`heed` is given what each event came to, once that has happened; it neither waits nor raises."""
        self.machine = machine
        self.name = machine.settings.name
        self.first_sweep = asyncio.Event()
        self.swept_at = time.monotonic()
        """When the newest sweep ended, or this was made, by a clock that nobody sets."""
        self.retired = False
        """It takes no event any more: another loop is about to take its place."""
        self._world = world
        self._writer = writer
        self._metrics = metrics
        self._clockwork = clockwork
        self._pace = Pace(clockwork.turnstile, clockwork.interval)
        self._asked = False
        """Somebody waits for the sweep that begins now."""
        self._publish = publish
        self._clock = clock
        self._running = running
        self._heed = heed
        self._neighbours = neighbours or Neighbours()
        self._tell(machine.state)
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        """The end of the next sweep."""
        self._rest = asyncio.Event()
        self._acting: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None
        self._log = log.bind(cluster=self.name)

    async def run(self) -> None:
        """Sweep until cancelled. Raises what a defect raised where a step's result was taken in; a restart
        asks the host about that step.
        """
        sequence, restarted = 0, False
        while self._broken is None:
            began = asyncio.get_running_loop().time()
            try:
                if not restarted:
                    await self.handle(Restarted(self._clock()))
                    restarted = True
                sequence += 1
                await self._sweep(sequence)
            except JournalError as error:
                self._log.error("the journal cannot be written, so nothing is done", error=str(error))
            except Retired:
                return
            except Exception:
                # a defect that one cluster brings to light must not stop the watch over the others; its
                # sweep grows old, and that is told
                self._log.exception(
                    "a sweep broke recoverd itself; nothing is done about this cluster until one succeeds"
                )
                await self._tick()
            interval = (
                min(self._clockwork.verifying, self._clockwork.interval)
                if self.machine.watching
                else self._clockwork.interval
            )
            await self._pause_until(began + interval)
        raise self._broken

    async def _tick(self) -> None:
        """Without sweeps a plan must not wait for ever for what one would show."""
        try:
            await self.handle(Ticked(self._clock()))
        except Exception:
            self._log.exception("nor could what waits for sweeps be ended")
        self._wake.clear()  # the sweep that was asked for has just been tried

    async def _sweep(self, sequence: int) -> None:
        async with self._pace.turn(self._wake, pressing=self._asked or self.machine.pressing) as sweeping:
            self._world.rest(calm=self.machine.calm, quiet=self.machine.quiet)
            observation = sweeping.seen(await self._world.observe(sequence, self.machine.memory))
        try:
            await self.handle(Observed(observation))
        except JournalError:
            self._swept(observation)  # it was seen, and the full disk is told elsewhere
            raise
        self._swept(observation)

    def _swept(self, observation: Observation) -> None:
        self.swept_at = time.monotonic()
        self._metrics.swept(observation, self.machine.status())
        self.first_sweep.set()
        self._ended.set()
        self._ended = asyncio.Event()

    async def sweep_anew(self, seconds: float) -> None:
        """Have a sweep begin at once, and wait until one that began after now has
        ended, for so many seconds at most.
        """
        moment = self._clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (seen := self.machine.observation) is None or seen.started_at < moment:
                    ended = self._ended
                    self._wake.set()
                    await ended.wait()

    async def handle(self, event: Event) -> None:
        """Let the machine take the event, journal what comes of it, then carry it out.

        Raises `Refused` for an impossible request and `JournalError` when it could not be journalled; in
        both cases nothing has changed.
        """
        async with self._turn:
            if self.retired and not isinstance(event, Stopping):
                raise Retired(
                    f"the configuration of {self.name} is being taken over at this moment; ask again in a few seconds"
                )
            around = self._neighbours.around(self.name)
            taken = self.machine.take(event, Reading(self._clock(), self._running()), around)
            self._tell(taken.state)  # before anybody else can begin, which writing gives time for
            try:
                cancelled = await self._journal([i for i in taken.instructions if isinstance(i, Journalled)])
            except BaseException:
                # what is not journalled has not happened
                self.machine.drop()
                self._tell(self.machine.state)
                raise
            self.machine.adopt(taken)
            self._metrics.applied(taken.instructions)
            self._rest.set()
            for instruction in taken.instructions:
                self._carry_out(instruction)
            self._heed(self.machine, taken.instructions)
            if cancelled:
                raise asyncio.CancelledError

    def _tell(self, state: MachineState) -> None:
        """The other clusters, what is so of this one."""
        sweep = state.sweep
        self._neighbours.tell(self.name, neighbour(state.record, state.memory, sweep.diagnosis if sweep else None))

    async def _journal(self, instructions: Sequence[Journalled]) -> bool:
        """Write them. True when whoever waits was cancelled meanwhile: what was committed has
        happened, and is carried out first.
        """
        try:
            await self._writer.write(instructions)
        except CommittedFirst:
            return True
        return False

    async def survey(self, request: JoinRequest, source: str, planes: Sequence[str]) -> JoinFacts:
        """Ask the machines about a join; nothing is decided by it."""
        return await self._world.survey(request, source, planes)

    async def retire(self) -> None:
        """Wait until no plan runs and nothing is being carried out, and take no event from then on.
        `retired` set to False ends that.
        """
        while True:
            async with self._turn:
                if self.machine.record.run is None and not self._acting:
                    self.retired = True
                    return
                self._rest.clear()
            await self._rest.wait()

    async def leave(self, *, let_go: bool = False) -> None:
        """Before an end in good order: journal what only the machine knows yet. Without it, after a kill -9,
        that is a few seconds' knowledge.
        """
        try:
            await self.handle(Stopping(self._clock(), let_go))
        except JournalError as error:
            self._log.error("what was seen in the last seconds could not be journalled", error=str(error))

    async def close(self) -> None:
        """Stop what is being carried out; the journal knows the step in flight, and a
        restart asks the host about it.
        """
        for task in self._acting:
            task.cancel()
        await asyncio.gather(*self._acting, return_exceptions=True)
        await self._world.close()

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Note(entry=entry, incident=incident):
                self._log.log(
                    LEVELS.get(entry.event, logging.INFO), entry.detail, event_name=entry.event, incident=incident
                )
                self._publish(instruction)
            case Progress(cluster=cluster, incident=incident, entry=entry):
                self._publish(Note(cluster, incident, entry))
            case Remember(memory=memory):
                self._world.learn(memory)
            case SweepNow():
                self._world.hasten()
                self._wake.set()
            case Perform():
                task = asyncio.create_task(self._perform(instruction), name=f"{self.name} step {instruction.index + 1}")
                self._act(task)
            case PerformChore():
                self._act(
                    asyncio.create_task(
                        self._do_chore(instruction.step), name=f"{self.name} {instruction.step.description}"
                    )
                )

    def _act(self, task: asyncio.Task[None]) -> None:
        self._acting.add(task)
        task.add_done_callback(self._acted)

    def _acted(self, task: asyncio.Task[None]) -> None:
        """A result that could not be given to the machine is a defect that would leave the plan
        running for ever: `run` ends with it.
        """
        self._acting.discard(task)
        self._rest.set()
        if not task.cancelled() and (error := task.exception()):
            self._broken = error
            self._wake.set()

    async def _perform(self, what: Perform) -> None:
        result = await self._carried(
            what.plan.steps[what.index], what.plan.incident, undo=what.undo, resume=what.resume
        )
        await self._take_in(StepEnded(what.plan.id, what.index, what.undo, result, self._clock()))

    async def _do_chore(self, step: Step) -> None:
        result = await self._carried(step, "", undo=False, resume=False)
        await self._take_in(ChoreEnded(step, result, self._clock()))

    async def _carried(self, step: Step, incident: str, *, undo: bool, resume: bool) -> StepResult:
        try:
            async with asyncio.timeout(step.timeout + GRACE):
                tell = Telling(
                    lambda text: self._publish(Note(self.name, incident, TimelineEntry(now(), History.WAITING, text)))
                )
                with reporting(tell), writing(partial(self._wrote, incident)):
                    return await self._world.perform(step, undo=undo, resume=resume)
        except TimeoutError:
            return StepResult(
                False,
                f"no end after {step.timeout + GRACE:.0f} s on {step.host}; it may still be at work there: "
                "look before anything else",
                uncertain=True,
            )
        except Exception as error:
            self._log.exception("a step broke recoverd itself", step=step.description)
            return StepResult(
                False,
                f"recoverd itself failed while carrying it out on {step.host} ({error!r}); look at "
                f"{step.host} and report this",
                uncertain=True,
            )

    async def _wrote(self, incident: str, what: str, result: StepResult | None) -> None:
        """One write of a step that makes several: the journal has it before it is made. What came of one
        that is made is told in any case.
        """
        event = History.WRITE_BEGUN if result is None else History.WRITE_DONE if result.ok else History.WRITE_FAILED
        note = Note(
            self.name, incident, TimelineEntry(self._clock(), event, f"{what}: {result.detail}" if result else what)
        )
        try:
            await self._writer.write([note])
        except JournalError as error:
            if result is None:
                raise
            self._log.error(
                "what came of a write could not be journalled; after a restart it is looked at", error=str(error)
            )
        self._carry_out(note)

    async def _take_in(self, event: Event) -> None:
        """A result must not be lost: the journal may be full for a while."""
        async for attempt in AsyncRetrying(retry=retry_if_exception_type(JournalError), wait=wait_exponential(max=10)):
            with attempt:
                await self.handle(event)

    async def _pause_until(self, moment: float) -> None:
        try:
            async with asyncio.timeout_at(moment):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._asked = self._wake.is_set()
        self._wake.clear()
