"""Who wanted what is told with it, wherever it is told: who finds it at 3 a.m. has to ask."""

from __future__ import annotations

import re

import pytest

from recoverd.cli import check
from recoverd.cli.render import Printer
from recoverd.control import shapes
from recoverd.control.door import Caller
from recoverd.control.peers import Peer
from recoverd.model.events import Acknowledged, Note, Paused
from recoverd.model.news import Topic
from recoverd.report.words import when
from tests.unit.test_machine import Script, stuck
from tests.unit.test_news import so
from tests.unit.test_pages import page


def paused() -> tuple[Script, str]:
    """A machine that alice has paused, and what is to be read of that."""
    s = Script()
    s.sweep()
    at = s.now
    out = s.give(Paused("alice (as root)", "moving racks", at))
    assert [n.entry.detail for n in out if isinstance(n, Note)] == ["by alice (as root): moving racks"]
    return s, f"paused by alice (as root) since {at:%Y-%m-%d %H:%M:%S} UTC: moving racks"


def test_status_check_and_the_status_page_say_who_paused_it_and_since_when(capsys: pytest.CaptureFixture[str]) -> None:
    s, said = paused()
    shape = shapes.status(s.machine.status())
    assert (shape["paused_by"], when(shape["paused_at"])) == ("alice (as root)", re.findall("since (.*):", said)[0])
    Printer().status([shape])
    assert f"  {said}; recoverctl resume prod\n" in capsys.readouterr().out
    assert check.verdict([shape], [])[1].startswith(f"WARNING: prod is healthy and {said} | ")
    shown = shape | {"lasts": 1.0, "old": 0.0, "calm": False, "course": None, "lines": []}
    assert f"{said}; <code>recoverctl resume prod</code>" in page(shown)


def test_who_is_called_to_a_fault_that_is_not_repaired_is_told_who_paused_it() -> None:
    s, said = paused()
    s.sweep(stuck, times=2)
    assert f"recoverd does nothing, it is {said}" in so(s)[Topic.CONFIRMED].lines


def test_a_daemon_of_before_that_does_not_say_who_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    shape = shapes.status(paused()[0].machine.status())
    del shape["paused_by"], shape["paused_at"]
    Printer().status([shape])
    assert "  paused: moving racks; recoverctl resume prod\n" in capsys.readouterr().out


def test_that_an_incident_is_acknowledged_when_it_is_over_stands_in_its_history() -> None:
    """It was in no log, and in no post-mortem with its time."""
    s = Script()
    s.sweep(stuck, times=2)
    s.sweep(times=3)
    assert s.machine.record.incident is None
    (note,) = (i for i in s.give(Acknowledged("prod-1", "alice", s.now)) if isinstance(i, Note))
    assert (note.incident, note.entry.event, note.entry.at) == ("prod-1", "acknowledged", s.now)
    assert note.entry.detail.startswith("by alice; ")


def test_of_several_bastions_the_one_is_told_that_knows_a_person_by_that_name() -> None:
    assert Caller(Peer(0, 1001), "alice", "root").by == "alice (as root)"
    assert Caller(Peer(0, 1001), "alice", "root", "bastion2").by == "alice (as root) on bastion2"
    assert Caller(Peer(1001, 1001), "alice", "alice", "bastion2").by == "alice on bastion2"
