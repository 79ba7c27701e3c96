"""Several bastions and one etcd, as a model in which answers are lost, requests come late and processes stand still: at
no moment may two of them act on a cluster, and what one of them has journalled is there once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recoverd.engine.journal_file import JournalError
from recoverd.model.events import Journalled, Note
from recoverd.model.plan import TimelineEntry
from recoverd.store import machines
from recoverd.store import writer as writing
from recoverd.store.gateway import StoreRefused, made_at, put
from recoverd.store.keys import Keys
from recoverd.store.rows import unpacked
from recoverd.store.tenure import NotOwner, Session, Term
from recoverd.store.writer import OwnedWriter
from tests.unit.store_model import Etcd

TTL = 8.0
KEYS = Keys("/r")
OWNER = KEYS.owners + "prod"


@dataclass
class Bastion:
    """One process: its lease, and what it believes to own."""

    etcd: Etcd
    name: str
    number: int
    session: Session | None = None
    writer: OwnedWriter | None = None
    said: list[str] = field(default_factory=list)
    """What was journalled, as far as it knows."""

    def may_act(self) -> bool:
        return self.writer is not None and not self.writer.term.lapsed() and not self.writer.broken

    async def join(self) -> None:
        """A session, where it has none; taking the cluster, where it is free."""
        if self.session is None or self.session.lapsed():
            self.number += 10
            self.etcd.leases[self.number] = self.etcd.now + TTL
            self.session, self.writer = Session(self.number, self.etcd.now, TTL, lambda: self.etcd.now), None
        if self.writer is None or self.writer.broken:
            took = await self.etcd.txn([made_at(OWNER, 0)], [put(OWNER, self.name, self.session.lease)])
            if took.held:
                term = Term("prod", took.revision, "fleet", self.session)
                made = OwnedWriter(self.etcd, KEYS, term, _nowhere)
                await made.begin()
                self.writer = made

    def renew(self, way: float) -> None:
        """Renew the lease by a request that takes so many seconds there, and as many back."""
        if self.session is None or self.session.lapsed():
            return
        began = self.etcd.now
        self.etcd.pass_time(way)
        there = self.session.lease in self.etcd.leases
        if there:
            self.etcd.leases[self.session.lease] = self.etcd.now + TTL
        self.etcd.pass_time(way)
        self.session.kept(began, TTL if there else 0.0)

    async def write(self, text: str) -> None:
        if self.writer is None:
            return
        try:
            await self.writer.write([_note(text)])
        except JournalError:
            return
        self.said.append(text)


async def _nowhere(cluster: str, revision: int, instructions: Sequence[Journalled]) -> None:
    return


def _note(text: str) -> Note:
    return Note("prod", "", TimelineEntry(datetime(2026, 1, 1, tzinfo=UTC), "note", text))


def journalled(etcd: Etcd) -> list[str]:
    """Every line that the store holds, in the order in which it was written."""
    rows = sorted((r for k, r in etcd.rows.items() if k.startswith(KEYS.log("prod"))), key=lambda r: r.changed)
    return [i.entry.detail for row in rows for i in unpacked(row.value) if isinstance(i, Note)]


WHO = st.integers(0, 2)
FATES = st.lists(st.sampled_from(["ok", "lost", "silent", "late", "refused"]), max_size=4)
STEPS = st.one_of(
    st.tuples(st.just("join"), WHO, FATES),
    st.tuples(st.just("write"), WHO, FATES),
    st.tuples(st.just("renew"), WHO, st.sampled_from([0.0, 0.3, 2.0, 5.0])),
    st.tuples(st.just("wait"), WHO, st.sampled_from([0.5, 3.0, 6.9, 7.5, 9.0, 60.0])),
    st.tuples(st.just("arrive"), WHO, st.none()),
)


@given(st.lists(STEPS, max_size=40))
@example([("join", 1, []), ("write", 1, ["silent", "refused"]), ("write", 1, [])])
@settings(max_examples=400, deadline=None)
def test_never_may_two_act_and_what_is_journalled_is_there_once(steps: list[tuple[str, int, Any]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, int, Any]]) -> None:
    etcd = Etcd()
    bastions = [Bastion(etcd, name, n + 1) for n, name in enumerate("abc")]
    for number, (what, who, how) in enumerate(steps):
        bastion = bastions[who]
        match what:
            case "join" | "write":
                etcd.fates = list(how)
                with suppress(JournalError):
                    await (bastion.join() if what == "join" else bastion.write(f"{bastion.name}{number}"))
                etcd.fates = []
            case "renew":
                bastion.renew(how)
            case "wait":
                etcd.pass_time(how)
            case "arrive":
                etcd.arrive()
        acting = [b for b in bastions if b.may_act()]
        assert len(acting) <= 1, [b.name for b in acting]
        if acting:
            owner = etcd.rows.get(OWNER)
            assert owner and owner.created == acting[0].writer.term.revision, "etcd says so, too"  # type: ignore[union-attr]
    there = journalled(etcd)
    assert len(set(there)) == len(there)
    for bastion in bastions:
        assert [line for line in there if line in bastion.said] == bastion.said


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Any:
    """Nothing is gained by waiting between two tries in a model."""
    before, writing.AGAIN = writing.AGAIN, 0.0
    yield
    writing.AGAIN = before


async def test_a_batch_whose_answer_was_lost_is_not_written_twice() -> None:
    etcd = Etcd()
    a = Bastion(etcd, "a", 1)
    await a.join()
    etcd.fates = ["silent", "lost", "ok"]
    await a.write("once")
    etcd.fates = ["late", "ok"]
    await a.write("and again")
    await a.write("last")
    etcd.arrive()
    assert journalled(etcd) == a.said == ["once", "and again", "last"], "what comes late writes over nothing"


async def test_who_lost_the_cluster_cannot_journal_though_its_own_clock_says_nothing() -> None:
    """As after a restore of the bastions' etcd, or where somebody has deleted a key."""
    etcd = Etcd()
    a, b = Bastion(etcd, "a", 1), Bastion(etcd, "b", 2)
    await a.join()
    await a.write("mine")
    del etcd.rows[OWNER]
    await b.join()
    assert a.writer and b.writer and not a.writer.term.lapsed()
    with pytest.raises(NotOwner, match="by the bastions' etcd it is b"):
        await a.writer.write([_note("late")])
    assert a.writer.broken and not b.writer.broken
    await b.write("hers")
    assert journalled(etcd) == ["mine", "hers"]


async def test_between_two_owners_nobody_journals() -> None:
    etcd = Etcd()
    a, b = Bastion(etcd, "a", 1), Bastion(etcd, "b", 2)
    await a.join()
    del etcd.rows[OWNER]
    assert a.writer
    with pytest.raises(NotOwner, match="it is nobody's"):
        await a.writer.write([_note("late")])
    await b.join()
    await b.write("hers")
    assert journalled(etcd) == ["hers"]


async def test_who_slept_journals_nothing_and_asks_nobody() -> None:
    etcd = Etcd()
    a = Bastion(etcd, "a", 1)
    await a.join()
    etcd.pass_time(60)
    before = etcd.revision
    assert a.writer
    with pytest.raises(NotOwner, match="could not renew its lease"):
        await a.writer.write([_note("late")])
    assert etcd.revision == before


async def test_who_slept_after_the_write_does_nothing_by_it() -> None:
    """Stopped while the copy in its own file was made (seen on the lab): what was journalled is for the next owner."""
    etcd = Etcd()
    a = Bastion(etcd, "a", 1)
    await a.join()
    assert a.session and a.writer

    async def slept(cluster: str, revision: int, instructions: Sequence[Journalled]) -> None:
        etcd.pass_time(60)

    writer = OwnedWriter(etcd, KEYS, a.writer.term, slept)
    await writer.begin()
    with pytest.raises(NotOwner, match="its next owner's"):
        await writer.write([_note("begun")])
    assert journalled(etcd) == ["begun"]


async def test_what_is_refused_after_an_attempt_that_nobody_heard_leaves_the_cluster_to_its_next_owner() -> None:
    """Its next batch would have the name of one that may be there, and be taken for it."""
    etcd = Etcd()
    a = Bastion(etcd, "a", 1)
    await a.join()
    assert a.writer
    etcd.fates = ["refused"]
    with pytest.raises(StoreRefused, match="nothing of it was done"):
        await a.writer.write([_note("no")])
    assert not a.writer.broken
    await a.write("yes")
    etcd.fates = ["silent", "refused"]
    with pytest.raises(StoreRefused, match="is not known"):
        await a.writer.write([_note("who knows")])
    assert a.writer.broken and not a.may_act()
    assert journalled(etcd) == ["yes", "who knows"] and a.said == ["yes"]


def test_of_two_names_of_the_same_machines_one_is_watched() -> None:
    """Two bastions reload at different times: by one the cluster is called prod still, by the other production."""

    async def story() -> None:
        etcd = Etcd()
        etcd.leases |= {1: TTL, 2: TTL}

        async def takes(cluster: str, lease: int, *planes: str) -> bool:
            when, then = machines.having(KEYS, {}, cluster, planes, lease)
            owner = KEYS.owners + cluster
            return (await etcd.txn([made_at(owner, 0), *when], [put(owner, str(lease), lease), *then])).held

        def there() -> dict[str, str]:
            return machines.held(KEYS, [r for k, r in etcd.rows.items() if k.startswith(KEYS.machines)])

        assert await takes("prod", 1, "10.0.0.1", "10.0.0.2")
        assert not await takes("production", 2, "10.0.0.2", "10.0.0.3")
        assert KEYS.owners + "production" not in etcd.rows, "all of it or nothing"
        assert machines.held_as(there(), "production", ["10.0.0.3", "10.0.0.2"]) == "prod"
        assert machines.held_as(there(), "prod", ["10.0.0.1"]) == ""
        # it has another control plane now, and one less
        assert machines.differ(there(), "prod", ["10.0.0.2", "10.0.0.4"])
        await etcd.txn(*machines.having(KEYS, there(), "prod", ["10.0.0.2", "10.0.0.4"], 1))
        assert there() == {"10.0.0.2": "prod", "10.0.0.4": "prod"}
        etcd.pass_time(TTL)
        etcd.leases[2] = etcd.now + TTL
        assert there() == {} and await takes("production", 2, "10.0.0.2"), "with its owner's lease they are free"

    asyncio.run(story())
