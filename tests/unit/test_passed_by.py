"""Rows of the bastions' etcd that cannot be read: they are not counted as followed, stop one cluster's acting, and are
gone once they are read, written over or deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.engine.journal import Journal
from recoverd.engine.writer import JournalWriter
from recoverd.model.events import Journalled, Note, RememberPart, SaveRecord
from recoverd.model.plan import TimelineEntry
from recoverd.model.record import Pause, Record
from recoverd.store import mirror as following
from recoverd.store.gateway import delete, put
from recoverd.store.keys import Keys
from recoverd.store.mirror import Mirror
from recoverd.store.rows import packed, unpacked
from tests.unit.builders import NOW
from tests.unit.store_model import Etcd

KEYS = Keys("/r")
AT = KEYS.journal("prod")
OLD, NEW = Record("healthy", NOW), Record("healthy", NOW, incidents=7, pause=Pause("me", "no hands", NOW))


class Follower:
    """A bastion's own file, and what it follows."""

    def __init__(self, etcd: Etcd, path: Path) -> None:
        self.etcd = etcd
        self.said: list[str] = []
        self.path = path
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.path)
        told = self.said.append
        local = JournalWriter(self.journal)
        self.mirror = Mirror(self.etcd, KEYS, "id", local, lambda note: told(note.entry.detail))

    def trouble(self) -> str:
        return "; ".join(self.journal.saved("prod").trouble)

    async def store(self, name: str, *instructions: Journalled, value: bytes = b"") -> None:
        await self.etcd.txn((), [put(AT + name, value or packed(instructions))])


@pytest.fixture
def b(tmp_path: Path) -> Iterator[Follower]:
    made = Follower(Etcd(), tmp_path / "journal.sqlite3")
    yield made
    made.journal.close()


def note(text: str) -> Note:
    return Note("prod", "", TimelineEntry(NOW, "note", text))


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This recoverd does not know what a newer one has written, until it is upgraded: `monkeypatch.undo`."""

    def not_yet(value: bytes) -> list[Journalled]:
        found = unpacked(value)
        if any(isinstance(i, SaveRecord) and i.record.incidents == 7 for i in found):
            raise ValueError("of another version")
        return found

    monkeypatch.setattr(following, "unpacked", not_yet)
    yield


async def test_what_an_older_recoverd_passed_by_is_read_by_the_one_that_takes_its_place(
    b: Follower, older: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await b.store("record", SaveRecord("prod", OLD))
    await b.mirror.catch_up("prod")
    await b.store("record", SaveRecord("prod", NEW))
    await b.store("log/1", note("it goes on"))
    await b.mirror.catch_up("prod")
    assert b.said == ["it goes on"], "one row ends nobody's watch"
    assert "record" in b.trouble() and "of another version" in b.trouble() and b.journal.places() == ["record"]
    assert b.journal.saved("prod").record is None, "what it has is older than the pause by a person"
    b.journal.close()
    b.open()
    assert "record" in b.trouble(), "a restart forgets nothing"
    monkeypatch.undo()
    await b.mirror.catch_up("prod")
    assert b.journal.saved("prod").record == NEW and not b.trouble() and not b.journal.places()
    assert b.said == ["it goes on"]


@pytest.mark.parametrize("name", ["record", "memory", "memory/host/cp1"])
async def test_what_is_written_over_or_deleted_is_gone(b: Follower, name: str) -> None:
    written: dict[str, Journalled] = {
        "record": SaveRecord("prod", NEW),
        "memory": RememberPart("prod", "", "{}"),
        "memory/host/cp1": RememberPart("prod", "host/cp1", "{}"),
    }
    for end in ("written", "deleted"):
        await b.store(name, value=b"z?")
        await b.mirror.catch_up("prod")
        assert name in b.trouble()
        if end == "written":
            await b.store(name, written[name])
        else:
            await b.etcd.txn((), [delete(AT + name)])
        await b.mirror.catch_up("prod")
        assert not b.trouble() and not b.journal.places()


async def test_history_that_cannot_be_read_is_told_and_stops_nobody(b: Follower) -> None:
    await b.store("record", SaveRecord("prod", OLD))
    for name in ("log/1", "plan/prod-1.1"):
        await b.store(name, value=b"{}")
    await b.store("log/2", note("later"))
    await b.mirror.catch_up("prod", whole=True)
    assert sorted(b.journal.places()) == ["note", "plan"] and not b.trouble()
    assert b.journal.saved("prod").record == OLD and b.said == ["later"]


async def test_who_takes_over_goes_on_from_what_the_store_has_and_not_from_a_file_that_is_damaged(b: Follower) -> None:
    await b.store("record", SaveRecord("prod", NEW))
    await b.store("memory", RememberPart("prod", "", '{"pod_count": 3}'))
    await b.store("log/1", note("once"))
    await b.mirror.catch_up("prod")
    b.journal._file.db.execute("UPDATE cluster SET record='{', memory='{'")
    assert len(b.journal.saved("prod").trouble) == 2
    await b.mirror.catch_up("prod", whole=True)
    saved = b.journal.saved("prod")
    assert (saved.record, saved.memory.pod_count, saved.trouble) == (NEW, 3, ())
    assert [n.entry.detail for n in b.journal.notes()] == ["once"] == b.said
