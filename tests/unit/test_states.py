"""The pages that are made of the code are those of the code that runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from transitions import MachineError

from recoverd.machine.diagram import mermaid
from recoverd.machine.lifecycle import Lifecycle, table
from recoverd.model.finding import FAULT_STATES, PHASED_STATES, Phase, State

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["states", "findings", "playbooks", "metrics", "stories"])
def test_the_page_is_up_to_date(name: str) -> None:
    page = runpy.run_path(str(ROOT / f"scripts/draw-{name}"))["page"]()
    assert (ROOT / f"docs/{name}.md").read_text() == page, "run `make docs`"


def test_the_picture_has_every_state_phase_and_move() -> None:
    picture = mermaid(State.ETCD_STUCK)
    assert set(re.findall(r'state "([^"]+)"', picture)) == {"healthy", "unobservable", "etcd-stuck", *Phase}
    others = tuple(f for f in PHASED_STATES if f is not State.ETCD_STUCK)
    moves = sum(
        1
        for row in table()
        for source in row["source"]
        if not source.startswith(others) and not row["dest"].startswith(others)
    )
    labels = re.findall(r"--> \w+: (.*)$", picture, re.MULTILINE)
    assert sum(len(label.split(" | ")) for label in labels) == moves


def test_the_fault_states_are_alike() -> None:
    pictures = {mermaid(f).replace(f, "F").replace(f.replace("-", "_"), "F") for f in FAULT_STATES}
    assert len(pictures) == 1


def test_mermaid_can_read_the_names() -> None:
    """Its lexer ends a name at a hyphen, a colon, a brace or a blank."""
    first, *lines = mermaid().splitlines()
    assert first == "stateDiagram-v2"
    for line in lines:
        outside = re.sub(r'"[^"]*"|: .*$|-->|\[\*\]|[{}]', "", line)
        assert re.fullmatch(r"[\w\s]*", outside), line


def test_every_move_of_the_table_leads_where_it_says_and_leaves_where_it_was() -> None:
    for row in table():
        for source in row["source"]:
            stood = Lifecycle.at(source)
            assert stood.after(row["trigger"]) == Lifecycle.at(row["dest"]), f"{row['trigger']} from {source}"
            assert stood.position == source


def test_there_is_no_other_move_and_no_other_position() -> None:
    with pytest.raises(MachineError):
        Lifecycle.at("healthy").after("offer")
    for position in ("etcd-stuck/asleep", "on-fire", "healthy/confirmed"):
        with pytest.raises(ValueError, match="is not a registered state"):
            Lifecycle.at(position)
