"""What is remembered of a cluster, in the bastions' etcd: part by part, within what etcd takes at once, and the same in
every bastion's own file.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from recoverd.engine.journal import Journal
from recoverd.engine.journal_file import JournalError
from recoverd.engine.writer import JournalWriter
from recoverd.model.events import Journalled, Note, Remember, SaveRecord
from recoverd.model.memory import Memory
from recoverd.model.plan import TimelineEntry
from recoverd.model.record import Record
from recoverd.store import writer as writing
from recoverd.store.gateway import Row, delete, put
from recoverd.store.keys import Keys
from recoverd.store.mirror import Mirror
from recoverd.store.rows import packed
from recoverd.store.tenure import Session, Term
from recoverd.store.writer import OwnedWriter
from tests.unit.builders import NOW
from tests.unit.memories import full, network
from tests.unit.store_model import Etcd

KEYS = Keys("/r")
OWNER = KEYS.owners + "prod"
MEMORY = KEYS.journal("prod") + "memory"


@pytest.fixture(autouse=True, scope="module")
def at_once() -> object:
    """Nothing is gained by waiting between two tries in a model."""
    before, writing.AGAIN = writing.AGAIN, 0.0
    yield
    writing.AGAIN = before


@dataclass
class Bastion:
    """One process with its own file; `take` makes it the cluster's owner."""

    etcd: Etcd
    journal: Journal
    mirror: Mirror
    writer: OwnedWriter | None = None

    async def take(self) -> None:
        await self.etcd.txn((), [delete(OWNER)])
        took = await self.etcd.txn((), [put(OWNER, "me")])
        session = Session(1, self.etcd.now, 60.0, lambda: self.etcd.now)
        self.writer = OwnedWriter(self.etcd, KEYS, Term("prod", took.revision, "fleet", session), self.mirror.take)
        await self.writer.begin()
        await self.mirror.catch_up("prod", whole=True)

    async def write(self, *instructions: Journalled) -> None:
        assert self.writer
        await self.writer.write(instructions)

    async def remember(self, memory: Memory) -> int:
        """How many transactions that took."""
        before = self.etcd.written
        await self.write(Remember("prod", memory), SaveRecord("prod", Record("healthy", NOW)))
        return self.etcd.written - before

    def memory(self) -> Memory:
        saved = self.journal.saved("prod")
        assert not saved.trouble
        return saved.memory

    async def followed(self) -> Memory:
        """What its own file has, once it has what the others wrote."""
        await self.mirror.catch_up("prod")
        return self.memory()


@asynccontextmanager
async def bastions(etcd: Etcd, home: Path, count: int = 2, first: int = 0) -> AsyncIterator[list[Bastion]]:
    made = []
    for number in range(first, first + count):
        journal = Journal(home / f"journal-{number}")
        made.append(Bastion(etcd, journal, Mirror(etcd, KEYS, "id", JournalWriter(journal), lambda note: None)))
    yield made
    for bastion in made:
        bastion.journal.close()


def stored(etcd: Etcd, since: int = 0) -> dict[str, Row]:
    """Rows with what is remembered, by part, which were written after the revision."""
    rows = {k.removeprefix(MEMORY).removeprefix("/"): r for k, r in etcd.rows.items() if k.startswith(MEMORY)}
    return {part: row for part, row in rows.items() if row.changed > since}


def with_route(memory: Memory, nodes: int, node: int = 9, number: int = 9) -> Memory:
    more = f"10.{number}.0.0/16 via 10.0.0.3 dev eth0"
    return replace(memory, networks={**memory.networks, f"w{node - 2}": network(node, nodes, more)})


async def test_more_than_etcd_takes_at_once_is_written_and_then_what_changes(tmp_path: Path) -> None:
    etcd, memory = Etcd(), full(300)
    async with bastions(etcd, tmp_path) as (a, b):
        await a.take()
        assert await a.remember(memory) > 3
        assert a.memory() == memory == await b.followed()
        revision, changed = etcd.revision, with_route(memory, 300)
        assert await a.remember(changed) <= 2
        new = stored(etcd, revision)
        assert {p for p in new if not p.startswith("lines/")} == {"host/w7"} and len(new) <= 3
        assert sum(len(row.value) for row in new.values()) < 5000
        revision = etcd.revision
        assert await a.remember(replace(changed, pod_count=7)) == 1 and set(stored(etcd, revision)) == {""}
        assert a.memory() == replace(changed, pod_count=7) == await b.followed()


async def test_the_next_owner_writes_what_differs_and_deletes_what_is_gone(tmp_path: Path) -> None:
    etcd, memory = Etcd(), full(100)
    async with bastions(etcd, tmp_path, 3) as (a, b, c):
        await a.take()
        await a.remember(memory)
        await b.take()
        revision = etcd.revision
        await b.remember(replace(b.memory(), pod_count=8))
        assert set(stored(etcd, revision)) == {""}
        for pods in range(3):  # so many are not deleted at once
            smaller = replace(full(3), pod_count=pods)
            assert await b.remember(smaller) == 1
            assert smaller == b.memory() == await a.followed() == await c.followed()
        assert not [part for part in stored(etcd) if part.startswith("lines/") or part == "host/w9"]


async def test_in_one_piece_as_before_there_were_parts_it_is_read_and_written_anew(tmp_path: Path) -> None:
    etcd, memory = Etcd(), full(80)
    await etcd.txn((), [put(MEMORY, packed([Remember("prod", memory)]))])
    async with bastions(etcd, tmp_path) as (a, b):
        assert await b.followed() == memory
        await a.take()
        assert a.memory() == memory
        await a.remember(memory)
        assert len(stored(etcd)[""].value) < 2000 and "host/w1" in stored(etcd)
        assert a.memory() == memory == await b.followed()


@pytest.mark.parametrize("next_owner", [False, True])
async def test_what_is_not_deleted_yet_is_put_again_before_anything_names_it(tmp_path: Path, next_owner: bool) -> None:
    """Who follows has given it up, and would never hear of it again."""
    etcd, memory = Etcd(), full(300)
    async with bastions(etcd, tmp_path) as (a, b):
        await a.take()
        await a.remember(memory)
        await b.take()
        few = replace(full(3), texts={}, files={})
        await b.remember(few)
        assert few == await a.followed() and "host/w9" in stored(etcd)
        owner, other = (a, b) if next_owner else (b, a)
        if next_owner:
            await a.take()
        await owner.remember(memory)
        assert owner.memory() == memory == await other.followed()


async def test_what_does_not_fit_at_once_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    etcd = Etcd()
    async with bastions(etcd, tmp_path, 1) as (a,):
        await a.take()
        noise = random.Random(1).randbytes(3_000_000).hex()
        before = etcd.revision
        with pytest.raises(JournalError, match="takes 3"):
            await a.write(Remember("prod", full(300)), Note("prod", "", TimelineEntry(NOW, "x", noise)))
        assert etcd.revision == before
        await a.remember(full(300))
        assert a.memory() == full(300)


async def test_parts_that_were_written_ahead_of_what_was_refused_are_written_anew(tmp_path: Path) -> None:
    etcd, memory = Etcd(), full(300)
    async with bastions(etcd, tmp_path) as (a, b):
        await a.take()
        await a.remember(memory)
        # the first transaction is written, the last one refused
        etcd.fates = ["ok", "ok", "refused"]
        with pytest.raises(JournalError, match="refused"):
            await a.remember(full(400))
        await a.remember(memory)
        assert a.memory() == memory == await b.followed()


async def _play(etcd: Etcd, made: Sequence[Bastion], luck: random.Random) -> Memory:
    """Owners come and go, in the midst of a write too, while what is remembered changes. What that is in the end."""
    owner, memory = made[0], full(70)
    await owner.take()
    for _ in range(12):
        match luck.choice(["change", "grow", "shrink", "take", "follow", "cut"]):
            case "change":
                memory = with_route(memory, 70, luck.randrange(4, 60), luck.randrange(4))
            case "grow":
                memory = full(luck.randrange(60, 160))
            case "shrink":
                memory = full(luck.randrange(3, 80))
            case "take":
                owner = luck.choice(made)
                await owner.take()
                memory = owner.memory()
            case "follow":
                with suppress(JournalError):
                    await luck.choice(made).mirror.catch_up("prod")
            case "cut":
                etcd.fates = ["ok"] * luck.randrange(4) + ["lost"] * 50
        try:
            await owner.remember(memory)
        except JournalError:
            etcd.fates = []
            owner = luck.choice(made)
            await owner.take()
            memory = owner.memory()
            await owner.remember(memory)
        etcd.fates = []
        assert owner.memory() == memory
    return memory


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_every_file_comes_to_what_the_owner_remembers(seed: int, tmp_path: Path) -> None:
    async def play() -> None:
        etcd = Etcd()
        async with bastions(etcd, tmp_path, 3) as made:
            memory = await _play(etcd, made, random.Random(seed))
            async with bastions(etcd, tmp_path, 1, first=3) as (late,):
                assert all([await b.followed() == memory for b in (*made, late)])

    asyncio.run(play())
