"""What is remembered, in parts: all of it comes back, what has not changed is not written, and what a journal of before
holds is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recoverd.daemon.revival import paused
from recoverd.engine.journal import Journal
from recoverd.engine.journal_file import VERSION
from recoverd.model.codec import dump, load
from recoverd.model.events import Remember, RememberPart, SaveRecord, StepOutcome
from recoverd.model.memory import KnownFile, Memory, NodeNetwork
from recoverd.model.memory_parts import BY_HOST, INDEX, REST, Written, joined
from recoverd.model.record import Record
from tests.unit.builders import NOW, Cluster
from tests.unit.memories import full, network

BEFORE = (Path(__file__).parent / "fixtures/journal-1.sql").read_text()
"""A journal of format 1, of two clusters, as the recoverd of then has written it."""
BROKEN = StepOutcome("p", 0, False, NOW, result=object())  # type: ignore[arg-type]
"""What no journal can write."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def open_journal(file: Path) -> Iterator[Callable[[], Journal]]:
    """Opens the journal as a new process does."""
    opened: list[Journal] = []

    def again() -> Journal:
        for journal in opened:
            journal.close()
        opened[:] = [Journal(file)]
        return opened[0]

    yield again
    for journal in opened:
        journal.close()


Open = Callable[[], Journal]


def asked(file: Path, sql: str, *values: object) -> list[tuple[str, ...]]:
    with sqlite3.connect(file) as db:
        return db.execute(sql, values).fetchall()


def parts_of(memory: Memory) -> dict[str, str]:
    return dict(Written().changes(memory).puts)


def with_route(memory: Memory, nodes: int) -> Memory:
    """One machine has one route more."""
    return replace(memory, networks={**memory.networks, "w7": network(9, nodes, "10.9.0.0/16 via 10.0.0.3 dev eth0")})


ODD = Memory(
    manifests={"cp1": {}},
    networks={"w1": NodeNetwork(False, routes=("line\nbreak", "", *("the same",) * 200))},
    files={"w2": {}, "w3": {"/etc/x": KnownFile("nowhere", NOW)}},
    texts={"aa": "", "bb": "\u2028 ö {}"},
    reached=tuple(f"ns/{n}" for n in range(500)),
)


@pytest.mark.parametrize("memory", [Memory(), Cluster(3).memory(), full(5), full(200), ODD])
def test_all_of_it_comes_back(memory: Memory) -> None:
    parts = parts_of(memory)
    assert joined(load(Memory, parts.pop(REST)), parts) == (memory, {})


@pytest.mark.parametrize("nodes", [50, 500])
def test_what_is_written_grows_with_what_has_changed_and_not_with_the_cluster(nodes: int) -> None:
    memory, written = full(nodes), Written()
    written.adopt(written.changes(memory))
    assert not written.changes(full(nodes)).puts, "what is equal is no change, whatever object it is"
    assert set(written.changes(replace(memory, pod_count=1)).puts) == {REST}
    changes = written.changes(with_route(memory, nodes))
    assert len(changes.puts) <= 3 and sum(map(len, changes.puts.values())) < 5000
    left = written.changes(replace(memory, **{name: {} for name in BY_HOST}))
    assert not left.puts and len(left.gone) >= nodes


def test_what_machines_have_in_common_is_there_once() -> None:
    memory = full(400)
    parts = parts_of(memory)
    assert sum(map(len, parts.values())) < len(dump(memory)) / 5


def test_a_cluster_that_has_grown_by_a_node_is_not_written_whole() -> None:
    written, after = Written(), full(401)
    written.adopt(written.changes(full(400)))
    assert sum(map(len, written.changes(after).puts.values())) < len(dump(after)) / 10


def test_who_found_the_parts_in_a_journal_writes_what_differs() -> None:
    memory = full(80)
    written = Written()
    for part, text in parts_of(memory).items():
        written.heard(part, text)
    assert not written.changes(memory).puts and not written.changes(memory).gone
    written.heard("host/gone", "{}")
    written.heard("lines/gone", "[]")
    written.heard("host/w1", "{}")
    changes = written.changes(memory)
    assert (set(changes.puts), set(changes.gone)) == ({"host/w1"}, {"host/gone", "lines/gone"})


def test_a_journal_holds_each_machines_part_in_a_row_of_its_own(open_journal: Open, file: Path) -> None:
    journal, memory = open_journal(), full(80)
    journal.write([Remember("prod", memory), Remember("other", full(3))])
    assert journal.saved("prod").memory == memory
    changed = with_route(memory, 80)
    journal.write([Remember("prod", changed)])
    assert open_journal().saved("prod").memory == changed
    rows = asked(file, "SELECT part FROM memory_part WHERE cluster='prod' AND part LIKE 'host/%'")
    assert {part for (part,) in rows} == {f"host/{name}" for name in changed.networks}
    smaller = replace(full(3), networks={})
    journal = open_journal()
    journal.write([Remember("prod", smaller)])
    assert journal.saved("prod").memory == smaller == open_journal().saved("prod").memory
    assert asked(file, "SELECT count(*) FROM memory_part WHERE cluster='prod' AND part LIKE 'lines/%'") == [(0,)]
    assert open_journal().saved("other").memory == full(3)


def test_what_was_rolled_back_is_written_the_next_time(open_journal: Open) -> None:
    journal, memory = open_journal(), full(5)
    journal.write([Remember("prod", memory)])
    changed = with_route(memory, 5)
    with pytest.raises(Exception):  # noqa: B017
        journal.write([SaveRecord("prod", Record("healthy", NOW)), Remember("prod", changed), BROKEN])
    assert journal.saved("prod").memory == memory and journal.saved("prod").record is None
    journal.write([Remember("prod", changed)])
    assert open_journal().saved("prod").memory == changed


def test_a_journal_of_before_is_read_and_is_of_the_new_format_with_the_first_write(
    open_journal: Open, file: Path
) -> None:
    with sqlite3.connect(file) as db:
        db.executescript(BEFORE)
    ((whole,),) = asked(file, "SELECT memory FROM cluster WHERE name='prod'")
    memory = load(Memory, whole)
    assert memory.networks and memory.texts and memory.points, "it holds something"
    journal = open_journal()
    assert journal.saved("prod").memory == memory and not journal.saved("prod").trouble
    assert journal.saved("prod").record and journal.saved("standby").record
    journal.write([SaveRecord("prod", Record("healthy", NOW))])
    with pytest.raises(Exception):  # noqa: B017
        journal.write([Remember("prod", memory), BROKEN])
    assert asked(file, "PRAGMA user_version") == [(1,)], "until then the recoverd of before can go on with it"
    assert asked(file, "SELECT memory FROM cluster WHERE name='prod'") == [(whole,)]
    journal.write([Remember("prod", memory)])
    assert asked(file, "PRAGMA user_version") == [(VERSION,)], "and from now on it refuses, and loses nothing"
    assert "w1" not in load(Memory, asked(file, "SELECT memory FROM cluster WHERE name='prod'")[0][0]).networks
    assert open_journal().saved("prod").memory == memory


def test_a_part_that_cannot_be_read_is_left_out_and_kept_and_stops_its_cluster_alone(
    open_journal: Open, file: Path
) -> None:
    journal, memory = open_journal(), full(80)
    journal.write([SaveRecord(c, Record("healthy", NOW)) for c in ("prod", "other")])
    journal.write([Remember("prod", memory), Remember("other", memory)])
    with sqlite3.connect(file) as db:
        db.execute("UPDATE memory_part SET text = substr(text, 1, 30) WHERE cluster='prod' AND part='host/w1'")
        ((left,),) = db.execute("SELECT text FROM memory_part WHERE cluster='prod' AND part='host/w1'").fetchall()
    journal = open_journal()
    saved = journal.saved("prod")
    assert saved.trouble == ("of its memory in the journal host/w1 cannot be read",)
    assert saved.record and "w1" not in saved.memory.networks and "w1" not in saved.memory.files
    assert saved.memory == replace(
        memory,
        networks={n: k for n, k in memory.networks.items() if n != "w1"},
        files={n: k for n, k in memory.files.items() if n != "w1"},
        nodes={n: k for n, k in memory.nodes.items() if n != "w1"},
    )
    assert not journal.saved("other").trouble and journal.saved("other").memory == memory
    begun, why = paused(saved, "prod", (), NOW)
    assert begun.record and begun.record.pause and "that is to be learnt anew" in why
    journal.begin_anew("prod", begun.record, saved.memory, why, NOW)
    journal.write([Remember("prod", memory)])
    assert asked(file, "SELECT source, key, text FROM unreadable") == [("memory", "prod/host/w1", left)]
    assert open_journal().saved("prod").memory == memory


def test_a_piece_that_is_lost_costs_what_names_it_and_no_more(open_journal: Open, file: Path) -> None:
    memory = full(80)
    open_journal().write([Remember("prod", memory)])
    with sqlite3.connect(file) as db:
        db.execute("DELETE FROM memory_part WHERE part LIKE 'lines/%'")
    saved = open_journal().saved("prod")
    assert saved.trouble[0].endswith("and 76 more cannot be read"), saved.trouble
    assert not saved.memory.networks and saved.memory.files == memory.files and saved.memory.watermark


def test_with_the_rest_all_parts_are_given_up_and_kept(open_journal: Open, file: Path) -> None:
    open_journal().write([Remember("prod", full(5))])
    with sqlite3.connect(file) as db:
        db.execute("UPDATE cluster SET memory='{'")
        db.execute("INSERT INTO memory_part VALUES ('prod', 'of-tomorrow', 'x')")
    journal = open_journal()
    assert journal.saved("prod").memory == Memory()
    for pods in (1, 2):
        journal.write([Remember("prod", Memory(pod_count=pods))])
    kept = {key for (key,) in asked(file, "SELECT key FROM unreadable")}
    assert {"prod", "prod/host/cp1", "prod/reached", "prod/of-tomorrow"} <= kept
    assert open_journal().saved("prod").memory == Memory(pod_count=2)


def test_a_part_of_a_version_to_come_cannot_be_read(open_journal: Open, file: Path) -> None:
    memory = full(5)
    open_journal().write([Remember("prod", memory)])
    with sqlite3.connect(file) as db:
        db.execute("INSERT INTO memory_part VALUES ('prod', 'of-tomorrow', 'x')")
    saved = open_journal().saved("prod")
    assert saved.memory == memory and saved.trouble == ("of its memory in the journal of-tomorrow cannot be read",)


def test_what_another_journal_holds_is_taken_part_by_part(open_journal: Open) -> None:
    """As of a store that several bastions share, at whichever revision each part was written."""
    journal, memory, written = open_journal(), full(80), Written(indexed=True)
    journal.write([Remember("prod", full(9))])
    changes = written.changes(memory)
    written.adopt(changes)
    for revision, (part, text) in enumerate(changes.puts.items(), 10):
        journal.follow("store", "prod", revision, [RememberPart("prod", part, text)])
    assert journal.saved("prod").memory == memory
    smaller = replace(memory, networks={}, texts={}, files={}, reached=())
    changes = written.changes(smaller)
    assert INDEX in changes.puts
    journal.follow("store", "prod", 1000, [RememberPart("prod", p, t) for p, t in changes.puts.items()])
    assert journal.saved("prod").memory == smaller
    # this bastion goes on with it
    journal.write([Remember("prod", memory)])
    assert open_journal().saved("prod").memory == memory
