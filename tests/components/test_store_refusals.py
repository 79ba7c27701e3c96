"""What a real etcd of the bastions refuses for good: it is said, not journalled, and not sent again."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from recoverd.config.types import EtcdStore
from recoverd.model.events import Journalled, Note, SaveRecord
from recoverd.model.plan import TimelineEntry
from recoverd.model.record import Record
from recoverd.store import gateway
from recoverd.store.gateway import Answer, Gateway, Json, StoreRefused, below, put
from recoverd.store.keys import Keys
from recoverd.store.rows import unpacked
from recoverd.store.tenure import Session, Term
from recoverd.store.writer import OwnedWriter
from tests.unit.builders import NOW

from .conftest import EtcdNode

pytestmark = pytest.mark.timeout(300)
KEYS = Keys("/recoverd")
MakeEtcd = Callable[..., list[EtcdNode]]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast this machine is, is not the question here."""
    monkeypatch.setattr(gateway, "ATTEMPT", 30.0)
    monkeypatch.setattr(gateway, "ROUND", 60.0)


class Counted(Gateway):
    """A gateway that counts what it is asked to write."""

    def __init__(self, store: EtcdStore) -> None:
        super().__init__(store)
        self.asked = 0

    async def txn(self, when: Sequence[Json], then: Sequence[Json], otherwise: Sequence[Json] = ()) -> Answer:
        self.asked += 1
        return await super().txn(when, then, otherwise)


@asynccontextmanager
async def owner(etcd: EtcdNode) -> AsyncIterator[tuple[Counted, OwnedWriter]]:
    pki = etcd.pki
    papers = pki / "ca.crt", pki / "healthcheck-client.crt", pki / "healthcheck-client.key"
    kv = Counted(EtcdStore((f"https://127.0.0.1:{etcd.port}",), *papers, KEYS.prefix, "a", 8.0))

    async def nowhere(cluster: str, revision: int, instructions: Sequence[Journalled]) -> None:
        return

    took = await kv.txn((), [put(KEYS.owners + "prod", "a")])
    writer = OwnedWriter(kv, KEYS, Term("prod", took.revision, "id", Session(1, 0.0, 8.0, lambda: 0.0)), nowhere)
    await writer.begin()
    try:
        yield kv, writer
    finally:
        await kv.close()


def line(text: str) -> Note:
    return Note("prod", "", TimelineEntry(NOW, "note", text))


async def journalled(kv: Gateway) -> list[str]:
    rows = sorted((await kv.txn((), [below(KEYS.log("prod"))])).found[0], key=lambda row: row.changed)
    return [i.entry.detail for row in rows for i in unpacked(row.value) if isinstance(i, Note)]


async def refused(kv: Counted, write: Callable[[], Awaitable[None]]) -> str:
    """What is said of it. It was asked for once."""
    before = kv.asked
    with pytest.raises(StoreRefused) as said:
        await write()
    assert kv.asked == before + 1
    return str(said.value)


@pytest.mark.parametrize(
    ("limit", "cure"), [("--max-request-bytes=20000", "--max-request-bytes"), ("--max-txn-ops=2", "--max-txn-ops")]
)
async def test_what_a_limit_of_etcd_refuses_fails_at_once_and_what_comes_next_is_written(
    make_etcd: MakeEtcd, limit: str, cure: str
) -> None:
    (etcd,) = make_etcd()
    etcd.start(limit)
    async with owner(etcd) as (kv, writer):
        await writer.write([line("before")])
        noise = random.Random(1).randbytes(30_000).hex()
        said = await refused(kv, lambda: writer.write([line(noise), SaveRecord("prod", Record("healthy", NOW))]))
        assert cure in said and f"127.0.0.1:{etcd.port}" in said and "of prod was refused" in said
        assert writer.trouble == said and not writer.broken
        await writer.write([line("after")])
        assert await journalled(kv) == ["before", "after"] and not writer.trouble


async def test_a_full_database_is_named_with_what_makes_room_and_then_it_goes_on(make_etcd: MakeEtcd) -> None:
    (etcd,) = make_etcd()
    etcd.start("--quota-backend-bytes=400000")
    async with owner(etcd) as (kv, writer):
        await writer.write([line("before")])
        etcd.fill()
        said = await refused(kv, lambda: writer.write([line("full")]))
        assert "database space exceeded" in said and "etcdctl alarm disarm" in said
        revision = (await kv.txn((), [below(KEYS.heads)])).revision
        for words in (("del", "big"), ("compact", str(revision)), ("defrag",), ("alarm", "disarm")):
            etcd.ctl(*words)
        await writer.write([line("after")])
        assert await journalled(kv) == ["before", "after"]


async def test_users_of_etcds_own_are_named(make_etcd: MakeEtcd) -> None:
    (etcd,) = make_etcd()
    etcd.start()
    async with owner(etcd) as (kv, writer):
        etcd.ctl("user", "add", "root:secret")
        etcd.ctl("user", "grant-role", "root", "root")
        etcd.ctl("auth", "enable")
        said = await refused(kv, lambda: writer.write([line("who")]))
        assert "etcdctl auth disable" in said, said
