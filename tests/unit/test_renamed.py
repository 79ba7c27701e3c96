"""A cluster that is renamed in the configuration: what people have said of it, and what bounds count, holds on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from recoverd.config import Config
from recoverd.daemon.revival import inherited
from recoverd.daemon.service import Service
from recoverd.daemon.watches import Watches
from recoverd.engine.journal import Journal, Saved
from recoverd.engine.loop import ClusterLoop
from recoverd.engine.writer import JournalWriter
from recoverd.machine import ClusterMachine
from recoverd.metrics.server import Metrics
from recoverd.model.events import Event, Journalled, Note, Paused, Restarted, Resumed, SaveIncident, SaveRecord
from recoverd.model.finding import FindingKey, State
from recoverd.model.memory import Memory, Sight
from recoverd.model.plan import ActionRecord, Incident, Outcome
from recoverd.model.record import Declined, Pause, Record
from recoverd.model.settings import FleetBounds
from tests.unit.builders import NOW
from tests.unit.test_watches import cluster

PLANES = ("10.0.0.1",)
PAUSE = Pause("alice", "we move it", NOW)
BRIDGE: tuple[FindingKey, ...] = (("pod-bridge-missing", "w1"),)
REJECTED = Declined("restore-node-network", BRIDGE, "rejected by alice", by="alice")
DONE = ActionRecord("restart-node-agents", BRIDGE, NOW, NOW, True, incident="prod-1")


def later(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


def saved(at: float = 0.0, planes: tuple[str, ...] = PLANES, memory: Memory | None = None, **changes: Any) -> Saved:
    record = Record("healthy", NOW, planes=planes, watched_from=later(at), **changes)
    return Saved(record, memory or Memory())


def test_a_pause_what_was_rejected_and_what_was_done_go_with_the_machines() -> None:
    memory = Memory(at_work={"w1": Sight("alice is at work", NOW)}, healthy_at=NOW)
    before = saved(memory=memory, pause=PAUSE, declined=(REJECTED,), history=(DONE,))
    found, told = inherited(Saved(None, Memory()), {"prod": before}, PLANES, NOW)
    assert found.record is not None
    assert (found.record.pause, found.record.history) == (PAUSE, (DONE,))
    (declined,) = found.record.declined
    assert declined.by == "alice" and "when this cluster was called prod" in declined.reason
    assert found.memory == Memory(at_work=memory.at_work), "a new name makes it forget what it has learnt"
    assert "watched as prod" in told[0] and "paused still, by alice" in told[1]


@pytest.mark.parametrize(
    ("own", "others"),
    [
        (Saved(None, Memory()), {}),
        (Saved(None, Memory()), {"other": saved(planes=("10.0.0.2",), pause=PAUSE)}),
        (saved(at=60), {"prod": saved(pause=PAUSE)}),
        (Saved(None, Memory()), {"old": Saved(Record("healthy", NOW, pause=PAUSE), Memory())}),
    ],
    ids=["none before", "other machines", "it was resumed under this name since", "who knows whose"],
)
def test_nothing_is_taken_from_another_cluster_nor_twice(own: Saved, others: dict[str, Saved]) -> None:
    assert inherited(own, others, PLANES, NOW) == (own, ())


def test_a_name_that_comes_back_goes_on_where_the_other_one_stood() -> None:
    own = saved(at=0, pause=PAUSE, incidents=7)
    found, _ = inherited(own, {"production": saved(at=60, declined=(REJECTED,))}, PLANES, NOW)
    assert found.record is not None and found.record.pause is None, "it was resumed under its other name"
    assert found.record.declined and found.record.incidents == 7, "numbers that were given are not given again"


def test_a_new_start_with_another_name_finds_the_pause_and_a_second_one_does_not_bring_it_back(tmp_path: Path) -> None:
    async def story() -> None:
        journal, told = Journal(tmp_path / "journal.sqlite"), list[Note]()
        writer = JournalWriter(journal)

        async def revived(name: str) -> ClusterMachine:
            config = cast(Config, type("C", (), {"fleet": FleetBounds(), "state_dir": tmp_path, "clusters": ()})())
            watches = Watches(config, tmp_path / "f", writer, Metrics(), told.append, lambda *_: None)
            wanted = cluster(name, *PLANES)
            watches._wanted = {name: wanted}
            return await watches._revived(wanted)

        async def give(machine: ClusterMachine, *events: Event) -> None:
            for event in events:
                await writer.write([i for i in machine.handle(event) if isinstance(i, Journalled)])

        await give(await revived("prod"), Restarted(later(0)), Paused("alice", "we move it", later(1)))
        renamed = await revived("production")
        assert renamed.record.pause and renamed.record.pause.by == "alice"
        assert ["watched as prod" in n.entry.detail for n in told] == [True]
        await give(renamed, Restarted(later(60)), Resumed("alice", later(61)))
        again = await revived("production")
        assert again.record.pause is None and len(told) == 1
        journal.close()

    asyncio.run(story())


def test_what_it_is_known_by_is_journalled_with_the_first_event() -> None:
    machine = ClusterMachine(cluster("prod", "fd00:0::1", "10.0.0.1").settings, (), now=NOW)
    (record,) = [i.record for i in machine.handle(Restarted(NOW)) if isinstance(i, SaveRecord)]
    assert (record.planes, record.watched_from) == (("10.0.0.1", "fd00::1"), NOW)
    assert replace(record, planes=(), watched_from=None) == replace(machine.record, planes=(), watched_from=None)


class Loop:
    """A cluster's loop, without a world."""

    def __init__(self, machine: ClusterMachine) -> None:
        self.machine = machine

    async def handle(self, event: Event) -> None:
        self.machine.handle(event)


def test_an_incident_of_its_old_name_is_acknowledged_where_it_counts(tmp_path: Path) -> None:
    async def story() -> None:
        journal = Journal(tmp_path / "journal.sqlite")
        incident = Incident("prod-1", "prod", State.APISERVER_DOWN, "", NOW, NOW, NOW, Outcome.RECOVERED)
        journal.write([SaveIncident(incident)])
        record = Record("healthy", NOW, history=(DONE,))
        renamed = ClusterMachine(cluster("production", *PLANES).settings, (), now=NOW, record=record)
        service = Service(JournalWriter(journal))
        service.loops = {"production": cast(ClusterLoop, Loop(renamed))}
        assert await service.acknowledge("prod-1", "alice") == (
            "incident prod-1 acknowledged by alice; recoverd may act on production again"
        )
        assert renamed.record.history[0].acknowledged
        service.loops = {}
        assert "prod is not watched any more" in await service.acknowledge("prod-1", "alice")
        journal.close()

    asyncio.run(story())
