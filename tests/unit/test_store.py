"""What several bastions share, without an etcd: which of them takes which cluster, how what is journalled is written
and read, and what a check of the configuration says.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config import ConfigError, load
from recoverd.engine.journal import Journal
from recoverd.model.events import Note, RememberPart, SaveRecord, StepIntent
from recoverd.model.plan import TimelineEntry
from recoverd.model.record import Record
from recoverd.store.rows import packed, parts, rows, unpacked
from recoverd.store.spread import View, counts, to_give_up, to_take

from .test_config import Folder, certified, folder, ssh_key

__all__ = ["folder", "ssh_key"]
AT = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("a", "b", "c", "d")


@given(st.integers(0, 12), st.sets(st.sampled_from(NAMES), min_size=1), st.data())
def test_whatever_was_clusters_end_evenly_spread_and_then_stay(
    number: int, living: set[str], data: st.DataObject
) -> None:
    clusters = [f"c{n:02d}" for n in range(number)]
    owners = {c: o for c in clusters if (o := data.draw(st.sampled_from([*living, ""])))}
    for round_ in range(40):
        view = View(round_, frozenset(living), dict(owners))
        taken = [(c, me) for me in sorted(living) for c in to_take(view, me, clusters)]
        assert len({c for c, _ in taken}) == len(taken), "no two take the same one from the same view"
        given_up = {c for me in sorted(living) for c in to_give_up(view, me, clusters, clusters)}
        if not taken and not given_up:
            break
        owners = {c: o for c, o in owners.items() if c not in given_up} | dict(taken)
    else:
        raise AssertionError("it never comes to rest")
    have = counts(View(0, frozenset(living), owners), clusters).values()
    assert sum(have) == number and max(have) - min(have) <= 1


def test_a_cluster_that_is_busy_stays_and_one_that_nobody_takes_is_taken_by_whoever_can() -> None:
    view = View(1, frozenset("ab"), dict.fromkeys(("one", "two", "three", "four"), "a"))
    clusters = ["four", "one", "three", "two"]
    assert to_give_up(view, "a", clusters, ["two"]) == ["two"]
    assert to_give_up(view, "b", clusters, ["two"]) == []
    free = View(1, frozenset("ab"), {"one": "a"})
    assert (to_take(free, "a", ["one", "two"]), to_take(free, "b", ["one", "two"])) == ([], ["two"])
    assert to_take(free, "a", ["one", "two"], waiting=["two"]) == ["two"]
    assert to_take(free, "c", ["one", "two"], waiting=["two"]) == [], "it does not live, for all that the store says"


def test_what_is_journalled_is_read_back_and_the_newest_stands_in_its_place() -> None:
    rest, host = RememberPart("prod", "", "{}"), RememberPart("prod", "host/cp1", "x: y\n" * 2000)
    note, intent = Note("prod", "prod-1", TimelineEntry(AT, "opened", "bröken")), StepIntent("prod-1.1", 0, False, AT)
    older, newer = SaveRecord("prod", Record("healthy", AT)), SaveRecord("prod", Record("healthy", AT, incidents=1))
    made = rows("/r/journal/prod/", "7-1", [note, older, rest, host, intent, newer])
    assert set(made) == {f"/r/journal/prod/{key}" for key in ("record", "memory", "memory/host/cp1", "log/7-1")}
    assert unpacked(made["/r/journal/prod/record"]) == [newer]
    assert unpacked(made["/r/journal/prod/log/7-1"]) == [note, intent]
    assert unpacked(made["/r/journal/prod/memory/host/cp1"]) == [host]
    assert len(made["/r/journal/prod/memory/host/cp1"]) < 1000
    assert parts("/r/journal/prod/", made | {"/r/journal/prod/memory/host/w1": b"z?"}) == {
        "": "{}",
        "host/cp1": host.text,
        "host/w1": "",
    }


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"z???", b'[["NoSuchThing", "{}"]]', b'[["Note", "{}"]]', b"\xff", b"[1]"]
)
def test_what_cannot_be_read_is_said_to_be(value: bytes) -> None:
    with pytest.raises(ValueError):
        unpacked(value)


def test_the_file_takes_each_revision_once_and_begins_anew_with_another_store(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    for revision, text in ((5, "five"), (5, "five"), (4, "four"), (6, "six")):
        journal.follow("store", "prod", revision, [Note("prod", "", TimelineEntry(AT, "note", text))])
    assert [n.entry.detail for n in journal.notes()] == ["six", "five"]
    assert (journal.followed("store", "prod"), journal.followed("other", "prod")) == (6, 0)
    journal.follow("other", "prod", 2, [Note("prod", "", TimelineEntry(AT, "note", "two"))])
    assert journal.followed("other", "prod") == 2 and journal.notes()[0].entry.detail == "two"
    journal.close()


def test_an_empty_batch_is_a_batch() -> None:
    assert unpacked(packed([])) == []


# --- the configuration ---


def said(folder: Folder, store: object) -> dict[str, str]:
    folder.file["store"] = store
    try:
        load(folder.write())
    except ConfigError as error:
        return dict(error.errors)
    return {}


def test_a_store_is_sqlite_unless_it_is_an_etcd_of_the_bastions(folder: Folder) -> None:
    assert load(folder.write()).store is None
    assert said(folder, "sqlite") == {}
    wrong = {"postgres": "no store", "": "no store"}
    for store, word in wrong.items():
        assert word in said(folder, store)["store"]
    assert "says nothing" in said(folder, {})["store"]
    assert said(folder, {"etcd": {"endpoints": []}})["store.etcd.endpoints"].startswith("has too few")
    assert "no https://HOST:PORT" in said(folder, {"etcd": {"endpoints": ["10.0.0.1:2379"]}})["store.etcd.endpoints[0]"]


def test_the_bastions_etcd_is_asked_by_tls_or_on_loopback(folder: Folder, tmp_path: Path) -> None:
    three = [f"https://10.0.0.{n}:2379" for n in (1, 2, 3)]
    lacking = said(folder, {"etcd": {"endpoints": three}})
    assert set(lacking) == {"store.etcd.ca", "store.etcd.cert", "store.etcd.key"}
    plain = said(folder, {"etcd": {"endpoints": ["http://10.0.0.1:2379"]}})
    assert "can approve plans" in plain["store.etcd.endpoints[0]"]
    folder.file["store"] = {"etcd": {"endpoints": ["http://127.0.0.1:2379"], "bastion": "b1"}}
    config = load(folder.write())
    assert config.store and (config.store.bastion, config.store.prefix, config.store.ttl) == ("b1", "/recoverd", 8.0)
    assert [path for path, _ in config.warnings if path.startswith("store")] == ["store.etcd.endpoints"]
    certificate, key = certified()
    (tmp_path / "bastion.crt").write_bytes(certificate)
    (tmp_path / "bastion.key").write_bytes(key)
    papers = {"ca": "bastion.crt", "cert": "bastion.crt", "key": "bastion.key"}
    assert said(folder, {"etcd": {"endpoints": three, **papers}}) == {}
    wrong = papers | {"key": papers["ca"]}
    assert "cannot be used" in said(folder, {"etcd": {"endpoints": three, **wrong}})["store.etcd.cert"]
