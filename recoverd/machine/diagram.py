"""The state machine as a picture, drawn by transitions from the very table that the machine runs on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from transitions.extensions.diagrams import HierarchicalGraphMachine

from recoverd.machine.lifecycle import SlashState, states, table
from recoverd.model.finding import PHASED_STATES, State


class _Drawn(HierarchicalGraphMachine):
    state_cls = SlashState


class _Model:
    """What a GraphMachine hangs its graph on."""


def mermaid(fault: State = State.APISERVER_DOWN) -> str:
    """`healthy`, `unobservable` and one fault state with its phases, as a Mermaid state
    diagram; all fault states are alike.
    """
    others = {f for f in PHASED_STATES if f is not fault}
    rows = [
        {**row, "source": source}
        for row in table()
        for source in row["source"]
        if not {source.split("/")[0], row["dest"].split("/")[0]} & others
    ]
    model = _Model()
    machine = _Drawn(
        model=None,
        states=states([fault]),
        transitions=rows,
        initial=str(State.HEALTHY),
        auto_transitions=False,
        graph_engine="mermaid",
    )
    machine.add_model(model)
    return "\n".join(_cleaned(model.get_graph().source.splitlines())) + "\n"  # type: ignore[attr-defined]  # added by transitions


def shifts() -> dict[str, str]:
    """When another fault state turns out to be the cause: from which phase there to which phase here."""
    found = {}
    for row in table():
        if row["trigger"].startswith("shift_"):
            for source in row["source"]:
                found[source.split("/")[1]] = row["dest"].split("/")[1]
    return found


def _cleaned(lines: list[str]) -> Iterator[str]:
    """Without title and colours, and with names that Mermaid can read: a hyphen or a slash ends a name there."""
    kind = lines.index("stateDiagram-v2")
    yield lines[kind]
    for line in lines[kind + 1 :]:
        if re.match(r"\s*(classDef|Class) ", line) or not line.strip():
            continue
        head, colon, label = line.partition(": ")
        names = re.split(r'("[^"]*"|-->|\[\*\])', head)
        yield (
            "".join(part if i % 2 else re.sub(r"[-/]", "_", part) for i, part in enumerate(names)).rstrip()
            + colon
            + label
        )
