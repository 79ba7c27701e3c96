"""The states and phases of one cluster and the only moves between them (`transitions`, hierarchical).

`healthy` and `unobservable` stand alone; each fault state nests the phases of its repair, and `maintenance` those
of a plan that a person approved while the cluster was healthy. A move that is not in the table is a defect and
raises `transitions.MachineError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transitions.extensions.nesting import HierarchicalMachine, NestedState

from recoverd.model.finding import FAULT_STATES, PHASED_STATES, Phase, State


class SlashState(NestedState):
    """A position is written STATE/PHASE."""

    separator = "/"


class _Machine(HierarchicalMachine):
    state_cls = SlashState


def _at(fault: State, *phases: Phase) -> list[str]:
    return [f"{fault}/{p}" for p in phases]


def table() -> list[dict[str, Any]]:
    """Every move there is, as transitions takes them."""
    rows: list[dict[str, Any]] = []

    def row(trigger: str, source: str | Sequence[str], dest: str) -> None:
        sources = [str(source)] if isinstance(source, str) else [str(s) for s in source]
        rows.append({"trigger": trigger, "source": sources, "dest": str(dest)})

    for phased in PHASED_STATES:
        suspected, confirmed, awaiting, remediating, verifying, escalated, paused = (f"{phased}/{p}" for p in Phase)
        row("verify", remediating, verifying)
        row("escalate", [remediating, verifying], escalated)
        row("reconsider", [remediating, verifying, escalated, paused], confirmed)
        row("pause", [confirmed, escalated], paused)
        row("recover", [confirmed, verifying, escalated, paused], State.HEALTHY)
        row("go_dark", [confirmed, verifying, escalated, paused], State.UNOBSERVABLE)
        for fault in FAULT_STATES:
            if fault is not phased:
                row(f"shift_{fault}", f"{phased}/{Phase.VERIFYING}", f"{fault}/{Phase.VERIFYING}")
                row(f"shift_{fault}", f"{phased}/{Phase.PAUSED}", f"{fault}/{Phase.PAUSED}")
                row(f"shift_{fault}", _at(phased, Phase.CONFIRMED, Phase.ESCALATED), f"{fault}/{Phase.CONFIRMED}")
    for fault in FAULT_STATES:
        suspected, confirmed, awaiting, remediating, verifying, escalated, paused = (f"{fault}/{p}" for p in Phase)
        row(f"suspect_{fault}", [State.HEALTHY, State.UNOBSERVABLE], suspected)
        row(f"reopen_{fault}", State.UNOBSERVABLE, confirmed)
        row("confirm", suspected, confirmed)
        row("offer", [confirmed, escalated, paused], awaiting)
        row("act", [confirmed, awaiting, escalated], remediating)
        row("escalate", [confirmed, awaiting], escalated)
        row("reconsider", awaiting, confirmed)
        row("pause", awaiting, paused)
        row("recover", [suspected, awaiting], State.HEALTHY)
        row("go_dark", [suspected, awaiting], State.UNOBSERVABLE)
        for other in FAULT_STATES:
            if other is not fault:
                row(f"shift_{fault}", f"{other}/{Phase.SUSPECTED}", suspected)
                row(f"shift_{fault}", f"{other}/{Phase.AWAITING_APPROVAL}", confirmed)
    row("maintain", State.HEALTHY, f"{State.MAINTENANCE}/{Phase.REMEDIATING}")
    row("recover", State.UNOBSERVABLE, State.HEALTHY)
    row("go_dark", State.HEALTHY, State.UNOBSERVABLE)
    return rows


def moves(phased: State) -> frozenset[tuple[str, str]]:
    """From where to where there is a move between `healthy`, `unobservable` and the phases of one state, which are
    named without it.
    """
    others = {p for p in PHASED_STATES if p is not phased}
    ways = {(source, row["dest"]) for row in table() for source in row["source"]}
    return frozenset(
        (source.removeprefix(f"{phased}/"), dest.removeprefix(f"{phased}/"))
        for source, dest in ways
        if not {source.split("/")[0], dest.split("/")[0]} & others
    )


def states(phased: Sequence[State] = PHASED_STATES) -> list[Any]:
    """The two states that stand alone, and each of the others with its phases."""
    nested = [{"name": str(f), "initial": str(Phase.SUSPECTED), "children": [str(p) for p in Phase]} for f in phased]
    return [str(State.HEALTHY), str(State.UNOBSERVABLE), *nested]


_MACHINE = _Machine(
    model=None,
    states=states(),
    transitions=table(),
    initial=str(State.HEALTHY),
    auto_transitions=False,
    model_attribute="position",
)


class _Walker:
    """What transitions moves: one that stands somewhere, for as long as one move takes."""

    def __init__(self, position: str) -> None:
        self.position = position


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Where one cluster stands, as a value; `after` gives where it stands after a move of the table."""

    position: str

    @classmethod
    def at(cls, position: str) -> Lifecycle:
        """Raises `ValueError` for a position that there is not, as a journal of another version may hold."""
        _MACHINE.get_state(position)
        return cls(position)

    def after(self, trigger: str) -> Lifecycle:
        """Take one of the table's moves; `MachineError` where there is none from here."""
        walker = _Walker(self.position)
        _MACHINE.trigger_event(walker, trigger)
        return Lifecycle(walker.position)

    @property
    def state(self) -> State:
        return State(self.position.split("/")[0])

    @property
    def phase(self) -> Phase | None:
        _, _, phase = self.position.partition("/")
        return Phase(phase) if phase else None
