"""Which hand carries which operation out on the model cluster: one for each kind, beside the function that does
it, as in `recoverd.act.carry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from recoverd.model.plan import StepResult
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.hosts import Machine

O = TypeVar("O")  # noqa: E741


@dataclass(frozen=True, slots=True)
class Write:
    """One of several writes of one operation, which is journalled before it is made."""

    what: str
    make: Callable[[], StepResult]
    always: bool = False
    """Also where it cannot be journalled."""


@dataclass(slots=True)
class Carry:
    """One carrying out on one machine: attempted again and again until it is ok, or over, or the step's time is."""

    cluster: ModelCluster
    name: str
    """Of the machine."""
    resume: bool
    """It may have run before."""
    ask: bool
    """Only look whether it has been done."""
    over: bool = False
    """A failure is one for good, of what else would be waited for."""
    began: float | None = None
    """When it first looked, for what takes more than one look."""
    since: float = 0.0
    """Since when what it looks at has been as it is."""
    was: bool = False
    """How that was at the last look."""
    first: int | None = None
    """A number that it saw at the first look."""
    kept: Any = None
    """What a hand that looks several times keeps from one look to the next."""
    due: Write | None = None
    """What is to be journalled and made before it is attempted again."""

    @property
    def machine(self) -> Machine:
        return self.cluster.machines[self.name]

    @property
    def now(self) -> float:
        return self.cluster.now

    def refused(self, why: str) -> StepResult:
        return StepResult(False, f"on {self.name}: {why}; it refused before changing anything", untouched=True)


Attempt = Callable[[Any, Carry], StepResult]


@dataclass(frozen=True, slots=True)
class Hand:
    """How one kind of operation is carried out."""

    attempt: Attempt
    lacking: Callable[[Any, Carry], bool]
    """Its check says that it has not been done; also where that cannot be told, or doing it again does no harm."""
    waits: Callable[[Any], bool]
    """Its failure is only "not yet"."""
    on_machine: bool
    """It is done over SSH or through the tunnel there, so that the machine has to be reached."""
    guarded: bool
    """Its script looks on the machine whether it would do harm (`recoverd.simulate.guarded`)."""


HANDS: dict[type, Hand] = {}


def hand(
    *kinds: type[O],
    lacking: Callable[[O, Carry], bool] = lambda _, __: True,
    waits: bool | Callable[[O], bool] = False,
    on_machine: bool = True,
    guarded: bool = True,
) -> Callable[[Callable[[O, Carry], StepResult]], Callable[[O, Carry], StepResult]]:
    """Name the hand of these kinds of operation."""

    def named(attempt: Callable[[O, Carry], StepResult]) -> Callable[[O, Carry], StepResult]:
        patient = waits if callable(waits) else (lambda _: bool(waits))
        for kind in kinds:
            assert kind not in HANDS, f"{kind.__name__} has a hand already"
            HANDS[kind] = Hand(attempt, lacking, patient, on_machine, guarded)
        return attempt

    return named


def waited(well: bool, done: str, lacks: str) -> StepResult:
    return StepResult(well, done if well else lacks)
