"""What the daemon needs of the outside: one implementation over real machines (`recoverd.live`), one over the model cluster (`recoverd.simulate`)."""

from __future__ import annotations

from typing import Protocol

from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.plan import Step, StepResult


class World(Protocol):
    """One cluster, looked at and acted upon."""

    async def observe(self, sequence: int, memory: Memory) -> Observation:
        """Sweep once. Never raises for what the cluster does: what could not be seen is `Unseen`. Ends within its own deadlines."""
        ...

    async def perform(self, step: Step, *, undo: bool, resume: bool) -> StepResult:
        """Carry out `step.operation` (or `step.undo`), within `step.timeout`. Never raises for what the cluster does."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
