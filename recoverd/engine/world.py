"""What the loop needs of the outside: one implementation over real machines (`recoverd.daemon.live`), one over
the model (`recoverd.simulate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from recoverd.model.joining import JoinFacts, JoinRequest
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.plan import Step, StepResult


class World(Protocol):
    """One cluster, looked at and acted upon."""

    async def observe(self, sequence: int, memory: Memory) -> Observation:
        """Sweep once. Never raises for what the cluster does: what could not be seen is `Unseen`.
        Ends within its own deadlines.
        """
        ...

    def rest(self, *, calm: bool, quiet: bool) -> None:
        """Whether the next sweep may leave out machines of which nothing is expected: no incident is open, no plan
        waits or runs, and nothing that was found has still to be confirmed or seen gone (`calm`); and whether it may
        ask over connections of the sweep before, since nothing but notices was found (`quiet`).
        """
        return  # a world that always looks at all has nothing to know

    def hasten(self) -> None:
        """A plan waits for a sweep that begins from now on: this one and the sweep in hand wait no longer than a
        moment for what was silent in the one before.
        """
        ...

    async def perform(self, step: Step, *, undo: bool, resume: bool) -> StepResult:
        """Carry out `step.operation` (or `step.undo`), within `step.timeout`. Never raises for what the cluster does.

        `resume`: it may have run before a crash. Unless it only looks it is then only asked about:
        `undone` when it has not been done.
        """
        ...

    async def survey(self, request: JoinRequest, source: str, planes: Sequence[str]) -> JoinFacts:
        """Ask every machine about a join: the control planes `planes`, of which `source` is one, and the new one.

        The new one is asked with the host key of the request; one that is configured, with what known_hosts says.
        Changes nothing, a listener of some seconds on the new machine excepted. Never raises for what the machines do.
        """
        ...

    def learn(self, memory: Memory) -> None:
        """What is remembered from now on, before anything is done on the strength of it: a machine that was
        let join is reached by `perform`.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
