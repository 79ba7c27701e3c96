"""The chores: what is done beside plans, by itself, while a cluster is healthy. A new one is a
module and its name in `CHORES`.
"""

from __future__ import annotations

from typing import Protocol

from recoverd.machine import pki_copies, pod_file_copies, restore_points
from recoverd.machine.turn import Turn
from recoverd.model.events import ChoreEnded


class Chore(Protocol):
    """One module of the machine. What it has carried out (`Turn.perform_chore`) changes nothing that is in use,
    and is carried out beside plans.
    """

    OPERATIONS: tuple[type, ...]
    """The kinds of operations whose results are its own."""

    def after_restart(self, turn: Turn) -> None:
        """Find out, or tell, what became of what was being carried out when recoverd was ended."""

    def consider(self, turn: Turn) -> None:
        """Is something due? Called for every healthy sweep without an incident."""

    def ended(self, turn: Turn, event: ChoreEnded) -> None:
        """Take in what came of it."""


CHORES: tuple[Chore, ...] = (restore_points, pki_copies, pod_file_copies)


def after_restart(turn: Turn) -> None:
    """The daemon came up again."""
    for chore in CHORES:
        chore.after_restart(turn)


def consider(turn: Turn) -> None:
    """One more healthy sweep without an incident."""
    for chore in CHORES:
        chore.consider(turn)


def ended(turn: Turn, event: ChoreEnded) -> None:
    """Give what came of an operation to the chore that it is of."""
    for chore in CHORES:
        if isinstance(event.step.operation, chore.OPERATIONS):
            chore.ended(turn, event)
