"""What is remembered of a large cluster, in a real etcd with its own limits: 128 operations and 1.5 MiB at once."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recoverd.config.types import EtcdStore
from recoverd.engine.journal import Journal
from recoverd.engine.writer import JournalWriter
from recoverd.model.events import Remember, SaveRecord
from recoverd.model.memory import Memory
from recoverd.model.operations import sha256
from recoverd.model.record import Record
from recoverd.store import gateway
from recoverd.store.gateway import Gateway, Kv, below, delete, put
from recoverd.store.keys import Keys
from recoverd.store.mirror import Mirror
from recoverd.store.tenure import Session, Term
from recoverd.store.writer import OwnedWriter
from tests.unit.builders import NOW
from tests.unit.memories import full, network

from .conftest import EtcdNode

pytestmark = pytest.mark.timeout(300)
KEYS = Keys("/recoverd")
NODES = 400


@pytest.fixture
async def kv(start_etcd: Callable[..., list[EtcdNode]], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kv]:
    # how fast this machine is, is not the question here
    monkeypatch.setattr(gateway, "ATTEMPT", 30.0)
    monkeypatch.setattr(gateway, "ROUND", 30.0)
    (etcd,) = start_etcd()
    pki = etcd.pki
    papers = pki / "ca.crt", pki / "healthcheck-client.crt", pki / "healthcheck-client.key"
    made = Gateway(EtcdStore((f"https://127.0.0.1:{etcd.port}",), *papers, KEYS.prefix, "a", 8.0))
    yield made
    await made.close()


def large() -> Memory:
    """More than etcd takes at once, in rows and in bytes: its texts are no smaller when they are compressed."""
    noise = [random.Random(n).randbytes(250_000).hex() for n in range(8)]
    memory = full(NODES)
    return replace(memory, texts={**memory.texts, **{sha256(text): text for text in noise}})


async def owner(kv: Kv, mirror: Mirror) -> OwnedWriter:
    await kv.txn((), [delete(KEYS.owners + "prod")])
    took = await kv.txn((), [put(KEYS.owners + "prod", "me")])
    writer = OwnedWriter(kv, KEYS, Term("prod", took.revision, "id", Session(1, 0.0, 8.0, lambda: 0.0)), mirror.take)
    await writer.begin()
    await mirror.catch_up("prod", whole=True)
    return writer


async def test_a_large_memory_is_written_part_by_part_and_is_the_same_in_every_file(kv: Kv, tmp_path: Path) -> None:
    journals = [Journal(tmp_path / name) for name in "ab"]
    a, b = (Mirror(kv, KEYS, "id", JournalWriter(journal), lambda note: None) for journal in journals)
    memory = large()
    writer = await owner(kv, a)
    await writer.write([Remember("prod", memory), SaveRecord("prod", Record("healthy", NOW))])
    # the next one goes on from there, with what has changed
    writer = await owner(kv, b)
    assert [j.saved("prod").memory == memory for j in journals] == [True, True]
    revision = (await kv.txn((), [below(KEYS.heads)])).revision
    more = network(9, NODES, "10.9.0.0/16 via 10.0.0.3 dev eth0")
    changed = replace(memory, networks={**memory.networks, "w7": more}, texts=full(3).texts)
    await writer.write([Remember("prod", changed)])
    answer = await kv.txn((), [below(KEYS.journal("prod"), since=revision + 1), below(KEYS.journal("prod"))])
    assert 2 <= len(answer.found[0]) <= 5 and sum(len(row.value) for row in answer.found[0]) < 10_000
    assert sum(len(row.value) for row in answer.found[1]) < 1_000_000, "what is not remembered any more is gone"
    await a.catch_up("prod")
    for journal in journals:
        saved = journal.saved("prod")
        assert saved.memory == changed and not saved.trouble
        journal.close()
