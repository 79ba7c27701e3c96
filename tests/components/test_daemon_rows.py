"""The daemon over a journal with rows that it cannot read: one cluster's acting waits for a person,
and everybody's watch goes on.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

import pytest

from recoverd.engine.journal import Journal

from .clusters import Daemon
from .daemons import Make, make, run

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)

DAMAGE = {
    "record cut short": "UPDATE cluster SET record = substr(record, 1, length(record) / 2) WHERE name='prod'",
    "record of a state that is not known": "UPDATE cluster SET record = replace(record, '\"healthy\"', "
    "'\"etcd-quorum\"') WHERE name='prod'",
    "memory cut short": "UPDATE cluster SET memory = substr(memory, 1, length(memory) / 2) WHERE name='prod'",
    "one machine's part of the memory cut short": "UPDATE memory_part SET text = substr(text, 1, length(text) / 2) "
    "WHERE cluster='prod' AND part = (SELECT min(part) FROM memory_part WHERE part LIKE 'host/%')",
}


@pytest.mark.parametrize("sql", DAMAGE.values(), ids=DAMAGE)
async def test_a_cluster_whose_row_cannot_be_read_waits_for_a_person_and_the_others_do_not(
    make: Make, run: Callable[..., Daemon], sql: str
) -> None:
    prod, standby = await make("prod"), await make("standby")
    daemon = run(prod, standby)
    daemon.start()
    await daemon.ready()
    for name in ("prod", "standby"):
        await daemon.in_phase("healthy", cluster=name)
    daemon.kill(15)
    with sqlite3.connect(daemon.state / "journal.sqlite3") as db:
        db.execute(sql)
    daemon.start()
    await daemon.ready()
    assert "Traceback" not in daemon.log.read_text()
    assert await daemon.metric('recoverd_cluster_paused{cluster="prod"}') == 1
    code, text = await daemon.ctl("status")
    said = r"paused by recoverd since .* UTC: (its|of its) .*recoverctl resume prod"
    assert code == 0 and re.search(said, text), text
    for cluster in (prod, standby):
        cluster.node.unit("kubelet", "inactive")  # start-node-services would run unasked
    await daemon.until(lambda: daemon.json("status", "standby"), lambda _: standby.node.asked == ["start kubelet"])
    await daemon.until(lambda: daemon.status("prod"), lambda s: s["phase"] == "paused")
    assert prod.node.asked == []
    # a pause outlives another start, as one by a person does
    daemon.kill(15)
    daemon.start()
    await daemon.ready()
    assert (await daemon.status("prod"))["paused"] and not (await daemon.status("standby"))["paused"]
    assert prod.node.asked == []
    assert (await daemon.ctl("resume", "prod"))[0] == 0
    await daemon.until(lambda: daemon.json("status", "prod"), lambda _: prod.node.asked == ["start kubelet"])


async def test_history_that_cannot_be_read_is_left_out_and_told(make: Make, run: Callable[..., Daemon]) -> None:
    prod = await make()
    daemon = run(prod)
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    prod.node.unit("kubelet", "inactive")
    await daemon.closed()
    daemon.kill(15)
    with sqlite3.connect(daemon.state / "journal.sqlite3") as db:
        db.execute("UPDATE incident SET json = substr(json, 1, 50)")
        db.execute('UPDATE plan SET json = replace(json, \'"kind":"unit"\', \'"kind":"unit-2"\')')
    daemon.start()
    await daemon.ready()
    assert "Traceback" not in daemon.log.read_text()
    status = await daemon.in_phase("healthy")
    assert not status["paused"]
    assert (await daemon.json("incidents"))["incidents"] == []
    assert [
        await daemon.metric(f'recoverd_journal_unreadable_rows{{place="{p}"}}') for p in ("incident", "plan", "record")
    ] == [1, 1, 0]
    (notice,) = await daemon.notices()
    assert "1 incident, 1 plan" in notice
    assert "recoverd: " in (await daemon.ctl("status"))[1]
    assert daemon.kill(15) == 0
    journal = Journal(daemon.state / "journal.sqlite3")
    assert journal.saved("prod").trouble == ()
    journal.close()
