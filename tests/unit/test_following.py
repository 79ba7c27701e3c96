"""What other bastions journal is taken in cluster by cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from recoverd.config.types import EtcdStore
from recoverd.engine.journal import Journal
from recoverd.engine.writer import JournalWriter
from recoverd.model.events import SaveRecord
from recoverd.model.record import Record
from recoverd.store.fleet import Fleet, Look
from recoverd.store.gateway import put
from recoverd.store.keys import Keys
from recoverd.store.mirror import Mirror
from recoverd.store.rows import packed
from recoverd.store.spread import View
from tests.unit.builders import NOW
from tests.unit.store_model import Etcd

KEYS = Keys("/r")
STORE = EtcdStore(("https://b1:2379",), None, None, None, "/r", "b1", 8.0)


class Told:
    """Whatever watches the clusters here, of which only this is asked."""

    def __init__(self) -> None:
        self.elsewhere_are: dict[str, str] = {}

    async def elsewhere(self, cluster: str, owner: str) -> None:
        self.elsewhere_are[cluster] = owner


async def test_a_cluster_of_which_etcd_refuses_to_tell_holds_up_no_other(tmp_path: Path) -> None:
    etcd, told, journal = Etcd(), Told(), Journal(tmp_path / "journal.sqlite3")
    local = JournalWriter(journal)
    for name in ("a", "b"):
        record = packed([SaveRecord(name, Record("healthy", NOW))])
        await etcd.txn((), [put(f"{KEYS.journal(name)}record", record)])
    fleet = Fleet(etcd, STORE, cast(Any, None), local, cast(Any, told), lambda: etcd.now)
    fleet.mirror = Mirror(etcd, KEYS, "id", local, lambda note: None)
    look = Look(View(etcd.revision, frozenset({"b1", "b2"}), {"a": "b2", "b": "b2"}), {}, {"a": 2, "b": 3})
    etcd.fates = ["refused"]
    await fleet._follow(look)
    assert told.elsewhere_are == {"b": "b2"} and journal.saved("b").record and not journal.saved("a").record
    assert "permission denied" in fleet.behind
    await fleet._follow(look)
    assert told.elsewhere_are == {"a": "b2", "b": "b2"} and journal.saved("a").record
    assert fleet.behind == ""
    journal.close()
