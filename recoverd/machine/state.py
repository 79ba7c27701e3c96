"""All that a machine is between two events, as one frozen value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from recoverd.machine.clock import Reading
from recoverd.machine.lifecycle import Lifecycle
from recoverd.memory.remember import Sights
from recoverd.model.finding import Diagnosis
from recoverd.model.fleet import Around
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.record import Record


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep saw, and what it adds up to."""

    observation: Observation
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a host's certificates that was asked for."""

    target: str
    asked_at: datetime
    made_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MachineState:
    """Everything that one machine is. The journal holds `record` and `memory`; the rest is
    learnt anew by the next process.
    """

    record: Record
    """Where the cluster stands in its lifecycle is in it as well (`lifecycle`)."""
    memory: Memory
    written: Memory | None
    """The memory that the journal has; None where that is not certain."""
    now: datetime
    """When the newest event came."""
    began: datetime
    """When this process began to watch the cluster."""
    around: Around = field(default_factory=Around)
    """What goes on in other clusters, as of the newest event."""
    reading: Reading | None = None
    """What the bastion's clocks showed then."""
    sweep: Sweep | None = None
    """The newest; None when nothing has been seen since recoverd was started."""
    seen_healthy: bool = False
    """A sweep since then found it healthy. What an earlier process saw is no health now."""
    sights: Sights = field(default_factory=dict)
    """What is being watched before it is remembered as good."""
    copies: Mapping[str, Copy] = field(default_factory=dict)
    """By host; forgotten with the process, as making a copy twice does nothing."""
    pod_file_copies: Mapping[str, datetime] = field(default_factory=dict)
    """By host: when copies of its static pods' files were asked for last."""

    @property
    def lifecycle(self) -> Lifecycle:
        return Lifecycle(self.record.state)


class OfState:
    """What holds a machine's state, and answers for it: the machine itself, and a turn."""

    __slots__ = ()
    state: MachineState

    @property
    def record(self) -> Record:
        return self.state.record

    @property
    def memory(self) -> Memory:
        return self.state.memory

    @property
    def now(self) -> datetime:
        return self.state.now

    @property
    def lifecycle(self) -> Lifecycle:
        return self.state.lifecycle


def begun(now: datetime, record: Record | None = None, memory: Memory | None = None) -> MachineState:
    """The state of a machine that starts at `now` with what an earlier process saved; `ValueError` where that is
    of a version with other states.
    """
    memory = memory or Memory()
    record = record or Record(state="healthy", since=now)
    if record.born is None:
        record = replace(record, born=now)
    return MachineState(replace(record, state=Lifecycle.at(record.state).position), memory, memory, now, now)
