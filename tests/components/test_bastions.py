"""Several bastions on one etcd of their own: which of them watches a cluster, what it knows when it takes it over, and
that the one before does nothing any more. The daemons, etcd and sshd are real.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from recoverd.cli.daemon import main as recoverd
from recoverd.config import load
from recoverd.control.client import ControlClient
from recoverd.doctor.bastion import shared

from .clusters import Cluster, Daemon
from .conftest import EtcdNode
from .daemons import REQUIRED, Make, make
from .receivers import Webhook
from .test_daemon_reload import hup, rewrite

__all__ = ["make"]
pytestmark = pytest.mark.timeout(300)
TTL = 8
"""Seconds, the default: with less, a machine that runs other tests loses leases that are none of a test's business."""
Bastions = Callable[..., list[Daemon]]


@pytest.fixture
def bastions(tmp_path: Path, start_etcd: Callable[..., list[EtcdNode]]) -> Iterator[Bastions]:
    """`bastions(2, cluster, ...)`: so many daemons on one etcd, not started. `endpoints` are others than its own."""
    made: list[Daemon] = []

    def some(
        count: int,
        *clusters: Cluster,
        etcd: list[EtcdNode],
        endpoints: dict[str, str] | None = None,
        ttl: float = TTL,
    ) -> Any:
        pki = etcd[0].pki
        for name in "abcdefgh"[len(made) : len(made) + count]:
            home = tmp_path / f"bastion-{name}"
            home.mkdir()
            daemon = Daemon(home, *clusters)
            config = yaml.safe_load(daemon.file.read_text())
            config["store"] = {
                "etcd": {
                    "endpoints": [(endpoints or {}).get(name) or f"https://127.0.0.1:{node.port}" for node in etcd],
                    "ca": str(pki / "ca.crt"),
                    "cert": str(pki / "healthcheck-client.crt"),
                    "key": str(pki / "healthcheck-client.key"),
                    "bastion": name,
                    "ttl": ttl,
                }
            }
            daemon.file.write_text(yaml.safe_dump(config))
            made.append(daemon)
        return made[-count:]

    yield some
    for daemon in made:
        daemon.close()


async def owners(daemon: Daemon) -> dict[str, str]:
    """By cluster: who watches it, as the daemon says; "" where it does itself. Empty while it cannot be asked."""
    code, said = await daemon.ctl("status", "-o", "json")
    return {c["name"]: c["watched_by"] or "" for c in json.loads(said)["clusters"]} if code == 0 else {}


def promised() -> float:
    """The seconds within which a takeover is promised, on a machine that has a core for who waits for one."""
    return 15.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


async def watching(daemon: Daemon, *clusters: str, seconds: float = 120.0) -> float:
    """Seconds until the daemon itself watches these clusters, and no others."""
    began = time.monotonic()
    await daemon.until(
        lambda: owners(daemon), lambda seen: {c for c, by in seen.items() if not by} == set(clusters), seconds
    )
    return time.monotonic() - began


async def one_after_the_other(a: Daemon, b: Daemon) -> None:
    """The first one watches the cluster, and the second one sees that."""
    a.start()
    await watching(a, "prod")
    await a.in_phase("healthy")
    b.start()
    await b.until(lambda: owners(b), lambda seen: seen == {"prod": "a"})


async def two(make: Make, bastions: Bastions, etcd: list[EtcdNode]) -> tuple[Cluster, Daemon, Daemon]:
    """A cluster whose repairs wait for a person, the bastion that watches it and one that would take over."""
    prod = await make(approval=REQUIRED)
    a, b = bastions(2, prod, etcd=etcd)
    await one_after_the_other(a, b)
    await b.until(b.status, lambda s: s["state"] == "healthy", 20)  # as its owner has seen it
    return prod, a, b


async def test_when_its_owner_is_killed_another_bastion_takes_the_cluster_with_the_plan_that_waits(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    prod, a, b = await two(make, bastions, start_etcd())
    prod.node.unit("kubelet", "inactive")
    before = await a.in_phase("apiserver-down", "awaiting-approval")
    await b.until(b.status, lambda s: s["plan"] == before["plan"])
    a.kill()
    assert await watching(b, "prod") < promised()
    await b.until(b.status, lambda s: s["last_sweep"] is not None)
    after = await b.in_phase("apiserver-down", "awaiting-approval")
    assert (after["plan"], after["incident"]) == (before["plan"], before["incident"])
    assert prod.node.asked == [], "it waits as before"
    code, said = await b.ctl("approve", before["plan"], "--reason", "go")
    assert code == 0, said
    await b.in_phase("healthy")
    assert prod.node.asked == ["start kubelet"]
    incident = await b.closed()
    events = [e["event"] for e in incident["timeline"]]
    assert events.count("opened") == events.count("approved") == 1
    a.start()  # it comes back, and knows what became of its incident
    await a.until(lambda: owners(a), lambda seen: seen == {"prod": "b"})
    assert [e["event"] for e in (await a.closed())["timeline"]] == events


async def test_when_its_owner_is_killed_in_the_middle_of_a_step_the_next_one_ends_it_once(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    prod = await make()
    systemctl = prod.node.root / "bin/systemctl"
    systemctl.write_text(systemctl.read_text().replace(">> ../asked;", ">> ../asked; sleep 2;"))
    a, b = bastions(2, prod, etcd=start_etcd())
    await one_after_the_other(a, b)
    prod.node.unit("kubelet", "inactive")
    await a.until(a.status, lambda _: prod.node.asked != [])
    a.kill()
    assert await watching(b, "prod") < promised()
    incident = await b.closed()
    assert prod.node.asked == ["start kubelet"], "what was begun by one is not begun again by the other"
    (plan,) = (await b.json("show", incident["id"]))["plans"]
    assert plan["status"] == "succeeded"
    told = [e["event"] for e in incident["timeline"]]
    assert told.count("opened") == 1 and "taken-over" in told, told


async def test_an_approval_at_any_bastion_reaches_the_owner(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    prod = await make(approval=REQUIRED)
    a, b = bastions(2, prod, etcd=start_etcd())
    a.start()
    await watching(a, "prod")
    b.start()
    await a.in_phase("healthy")
    await b.until(lambda: b.ctl("status"), lambda said: said[0] == 0)
    for words in ("plans", "shadow", "incidents"):
        code, said = await b.ctl(words, "prod")
        assert code == 0, f"whoever watches it, it is there: {said}"
    prod.node.unit("kubelet", "inactive")
    plan = (await a.in_phase("apiserver-down", "awaiting-approval"))["plan"]
    await b.until(b.status, lambda s: s["plan"] == plan)
    code, said = await b.ctl("pause", "prod", "--reason", "lunch")
    assert code == 0 and said.startswith("a: prod paused"), said
    code, said = await b.ctl("approve", plan)
    assert code == 1 and "lunch" in said, said
    assert (await b.ctl("resume", "--all"))[0] == 0
    code, said = await b.ctl("join-control-plane", "prod", "cp9", "127.0.0.9")
    assert code == 1 and "a: " in said and "the recoverd on a watches prod" not in said, said
    await a.in_phase("apiserver-down", "awaiting-approval")
    code, said = await b.ctl("approve", plan, "--reason", "from b")
    assert code == 0, said
    await a.in_phase("healthy")
    assert prod.node.asked == ["start kubelet"]
    asked = (await a.json("audit"))["requests"]
    assert [(r["request"], r["answer"], r["reason"]) for r in asked][-1] == ("approve", "done", "from b")


async def test_a_cluster_is_dumped_and_a_join_is_checked_at_any_bastion(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    _, a, b = await two(make, bastions, start_etcd())
    seen = []
    for daemon in (a, b):
        code, said = await daemon.ctl("dump", "prod")
        assert code == 0, said
        seen.append(json.loads(said))
    assert seen[0].keys() == seen[1].keys() and seen[0]["settings"] == seen[1]["settings"]
    assert seen[0]["observation"].keys() == seen[1]["observation"].keys()
    answers = [await daemon.ctl("join-control-plane", "prod", "cp9", "127.0.0.9") for daemon in (a, b)]
    assert answers[0][0] == answers[1][0] == 1, answers
    assert answers[1][1].replace("a: ", "") == answers[0][1], answers

    async def told() -> list[str]:
        requests = (await b.json("audit"))["requests"]
        return [r["answer"] for r in requests if r["request"] == "join-control-plane"]

    # what was asked at the other bastion is told here as soon as it has been looked at
    await b.until(told, lambda answered: answered == ["refused", "refused"])


async def test_what_happens_on_a_cluster_elsewhere_is_watched_once_each(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    prod, a, b = await two(make, bastions, start_etcd())
    seen: list[tuple[str, str]] = []

    async def follow() -> None:
        async for event in ControlClient(b.socket).watch():
            seen.append((event["at"], event["event"]))

    watching_it = asyncio.create_task(follow())
    await asyncio.sleep(0.5)
    prod.node.unit("kubelet", "inactive")
    plan = (await a.in_phase("apiserver-down", "awaiting-approval"))["plan"]
    await b.until(b.status, lambda s: s["plan"] == plan)
    code, said = await b.ctl("approve", plan, "--reason", "go", "--wait")
    assert code == 0, said
    told = [(e["at"], e["event"]) for e in (await a.closed())["timeline"]]
    await b.until(lambda: asyncio.sleep(0, seen), lambda events: told[-1] in events)
    watching_it.cancel()
    assert [event for event in seen if event in told] == told, (seen, told)


async def test_clusters_spread_evenly_and_a_bastion_that_ends_in_good_order_leaves_its_own_at_once(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    clusters = [await make(name) for name in ("one", "two", "three", "four", "five")]
    three = bastions(3, *clusters, etcd=start_etcd(), ttl=60)
    for daemon in three:
        daemon.start()

    async def shares() -> list[int]:
        return [list((await owners(d)).values()).count("") for d in three if d.process and d.process.poll() is None]

    await three[0].until(lambda: owners(three[0]), lambda seen: "nobody" not in seen.values())
    await three[0].until(shares, lambda n: sorted(n) == [1, 2, 2])
    assert three[1].kill(signal.SIGTERM) == 0
    # nobody waits for the end of its lease
    await three[0].until(shares, lambda n: sorted(n) == [2, 3], 30)
    three[1].start()
    await three[0].until(shares, lambda n: sorted(n) == [1, 2, 2])


async def test_a_bastion_that_stood_still_finds_that_it_may_not_act_any_more(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    prod, a, b = await two(make, bastions, start_etcd())
    prod.node.unit("kubelet", "inactive")
    plan = (await a.in_phase("apiserver-down", "awaiting-approval"))["plan"]
    term = prod.node.root / "run/recoverd-lease/term"
    before = term.read_text().split()
    assert a.process
    a.process.send_signal(signal.SIGSTOP)
    assert await watching(b, "prod") < promised()
    await b.until(b.status, lambda s: s["last_sweep"] is not None)
    after = term.read_text().split()
    assert after[0] == before[0] and int(after[1]) > int(before[1]), "the machine knows whose turn it is"
    a.process.send_signal(signal.SIGCONT)
    await a.until(lambda: owners(a), lambda seen: seen == {"prod": "b"})
    assert "nothing is done to any cluster here" in a.log.read_text()
    assert await a.metric('recoverd_cluster_watched{cluster="prod"}') == 0
    assert await b.metric('recoverd_cluster_watched{cluster="prod"}') == 1
    _, said = await a.until(lambda: a.ctl("approve", plan), lambda said: said[0] == 0)
    assert said.startswith("b: "), said
    await b.in_phase("healthy")
    assert prod.node.asked == ["start kubelet"]
    assert term.read_text().split() == after


class Gate:
    """A way to one port that can be shut: what goes through it hangs, as behind a firewall that drops."""

    def __init__(self, to: int) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self._to = to
        self._ways: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._through, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._ways |= {writer, back}
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer), return_exceptions=True)
        for each in (writer, back):
            each.close()
            self._ways.discard(each)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.open.wait()
            writer.write(data)
            await writer.drain()
        writer.close()

    async def stop(self) -> None:
        self._server.close()
        for each in list(self._ways):
            each.transport.abort()


async def test_a_bastion_that_is_cut_off_stops_by_its_own_clock_and_only_looks(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    prod = await make()
    (etcd,) = start_etcd()
    gate = Gate(etcd.port)
    way = f"https://127.0.0.1:{await gate.start()}"
    a, b = bastions(2, prod, etcd=[etcd], endpoints={"a": way})
    await one_after_the_other(a, b)
    gate.open.clear()
    assert await watching(b, "prod") < promised()
    await b.in_phase("healthy")
    alone = await a.until(a.status, lambda s: s["withheld"] and s["last_sweep"])
    assert alone["watched_by"] is None and "nothing is done to it" in alone["withheld"]
    assert await a.metric("recoverd_store_available") == 0
    assert await a.metric('recoverd_cluster_watched{cluster="prod"}') == 0
    assert (await a.get("/-/healthy"))[0] == 503
    for asked in (("pause", "prod", "--reason", "x"), ("run", "restart-node-agents", "prod")):
        code, said = await a.ctl(*asked)
        assert code != 0 and "etcd" in said, said
    # what would be put right unasked is seen by both, and done by one
    prod.node.unit("kubelet", "inactive")
    await b.closed()
    assert prod.node.asked == ["start kubelet"]
    gate.open.set()
    await a.until(lambda: owners(a), lambda seen: seen == {"prod": "b"})
    assert await a.metric("recoverd_store_available") == 1
    await gate.stop()


async def test_without_quorum_everybody_looks_nobody_acts_and_then_it_goes_on(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]], tmp_path: Path
) -> None:
    prod = await make()
    members = start_etcd(("m1", "m2", "m3"))
    oncall = await Webhook(tmp_path, "oncall").start()
    two = bastions(2, prod, etcd=members)
    for daemon in two:
        told = [{"name": "oncall", "url_file": str(oncall.url_file), "clusters": ["prod"]}]
        daemon.file.write_text(yaml.safe_dump(yaml.safe_load(daemon.file.read_text()) | {"notifications": told}))
        daemon.start()
    await two[0].until(lambda: owners(two[0]), lambda seen: seen.get("prod") in ("", "b"))
    owner = two[0] if (await owners(two[0]))["prod"] == "" else two[1]
    await owner.in_phase("healthy")
    # the loss of one member is nobody's loss
    members[0].kill()
    await asyncio.sleep(3)
    assert (await owners(owner))["prod"] == ""
    members[1].kill()
    for daemon in two:
        await daemon.until(daemon.status, lambda s: s["withheld"] and s["last_sweep"] and s["state"] == "healthy")
        assert await daemon.metric("recoverd_store_available") == 0
        code, said = await daemon.ctl("status")
        assert code == 0 and "nothing is done to any cluster from here" in said, said
    prod.node.unit("kubelet", "inactive")
    for daemon in two:
        await daemon.in_phase("apiserver-down", "confirmed")
        # each tells what it sees, and says why the others will not know that
        log = await daemon.until(
            lambda d=daemon: asyncio.to_thread(d.log.read_text), lambda text: "who was told could not be" in text
        )
        (said, *_) = [line for line in log.splitlines() if "who was told could not be" in line]
        assert "the bastions' etcd did not answer" in said or "could not renew its lease" in said, said
    assert prod.node.asked == []
    members[1].start()
    await two[0].until(lambda: owners(two[0]), lambda seen: seen.get("prod") in ("", "b"))
    owner = two[0] if (await owners(two[0]))["prod"] == "" else two[1]
    await owner.closed()
    assert prod.node.asked == ["start kubelet"]
    await oncall.stop()


async def test_the_death_of_the_owner_and_of_the_leader_of_etcd_together_is_over_in_fifteen_seconds(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    """They are on one machine, and a new leader of etcd begins every lease anew. The time is that of the default."""
    prod = await make()
    members = start_etcd(("m1", "m2", "m3"))
    a, b = bastions(2, prod, etcd=members, ttl=8)
    await one_after_the_other(a, b)
    leads = next(m for m in members if _leads(m))
    await asyncio.sleep(2)
    a.kill()
    leads.kill()
    assert await watching(b, "prod") < promised()
    await b.in_phase("healthy")


def _leads(member: EtcdNode) -> bool:
    (said,) = json.loads(member.ctl("endpoint", "status", "-w", "json"))
    return bool(said["Status"]["leader"] == said["Status"]["header"]["member_id"])


async def test_a_cluster_that_is_renamed_is_watched_under_one_name_and_stays_paused(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    """The bastions reload at different times. The new name was taken at once, by a bastion that knew of no pause."""
    prod, a, b = await two(make, bastions, start_etcd())
    assert (await a.ctl("pause", "prod", "--reason", "we move it"))[0] == 0
    renamed = prod.config | {"name": "production"}
    rewrite(b, [renamed])
    hup(b)
    await b.until(b.notices, lambda said: any("watched as prod by a" in line for line in said))
    await asyncio.sleep(4)  # longer than a cluster that is free is left to whose turn it is
    assert await owners(b) == {"production": "nobody"} and await owners(a) == {"prod": ""}
    rewrite(a, [renamed])
    hup(a)
    await b.until(lambda: owners(b), lambda seen: seen.get("production") in ("", "a"))
    for daemon in (a, b):
        await daemon.until(lambda d=daemon: d.status("production"), lambda s: s["paused"] is True)  # type: ignore[misc]
        assert not any("watched as prod" in line for line in await daemon.notices())


async def test_two_bastions_of_one_name_are_told_and_only_one_watches(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    prod = await make()
    a, b = bastions(2, prod, etcd=start_etcd())
    config = yaml.safe_load(b.file.read_text())
    config["store"]["etcd"]["bastion"] = "a"
    b.file.write_text(yaml.safe_dump(config))
    a.start()
    await watching(a, "prod")
    b.start()
    said = await b.until(lambda: b.ctl("status"), lambda said: "another bastion is called a" in said[1])
    assert "store.etcd.bastion" in said[1]
    await a.in_phase("healthy")
    assert (await owners(b))["prod"] == "a"


async def test_the_journal_of_a_single_bastion_is_carried_into_a_new_etcd(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    prod = await make(approval=REQUIRED)
    a, b = bastions(2, prod, etcd=start_etcd(), ttl=60)
    shared = a.file.read_text()
    alone = yaml.safe_load(shared)
    del alone["store"]
    a.file.write_text(yaml.safe_dump(alone))
    a.start()
    await a.ready()
    await a.in_phase("healthy")
    prod.node.unit("kubelet", "inactive")
    before = await a.in_phase("apiserver-down", "awaiting-approval")
    a.kill()
    a.file.write_text(shared)
    (prod.node.root / "run/recoverd-lease/lease").unlink()  # as if the minute was over for which it had the lease
    a.start()
    await watching(a, "prod")
    after = await a.in_phase("apiserver-down", "awaiting-approval")
    assert (after["plan"], after["incident"]) == (before["plan"], before["incident"])
    b.start()
    await b.ready()
    await b.until(b.status, lambda s: s["plan"] == before["plan"])
    a.kill()
    a.start()
    # its lease of a minute was its own, and need not run out before one of the two goes on
    await b.until(lambda: owners(b), lambda seen: seen.get("prod") in ("", "a"), 50)
    await b.until(lambda: b.ctl("approve", before["plan"]), lambda said: said[0] == 0)
    seen = await b.until(lambda: b.json("incidents"), lambda i: bool(i["incidents"] and i["incidents"][0]["closed_at"]))
    assert [i["id"] for i in seen["incidents"]] == [before["incident"]]
    assert prod.node.asked == ["start kubelet"]


async def test_a_store_that_has_gone_back_is_told_and_nothing_is_done_by_it(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    """As after a restore of a snapshot of it: revisions compare with nothing that is remembered of them."""
    prod = await make()
    (etcd,) = start_etcd()
    (a,) = bastions(1, prod, etcd=[etcd])
    a.start()
    await watching(a, "prod")
    await a.in_phase("healthy")
    assert a.kill(signal.SIGTERM) == 0
    with sqlite3.connect(a.state / "journal.sqlite3") as db:
        db.execute("UPDATE mirror SET revision = revision + 1000000")
    a.start()
    code, said = await a.until(lambda: a.ctl("status"), lambda said: "before, as after a restore" in said[1])
    assert code == 0 and "etcdctl del /recoverd/id" in said
    assert (await owners(a))["prod"] == "nobody"
    etcd.ctl("del", "/recoverd/id")
    a.kill(signal.SIGTERM)
    a.start()
    await watching(a, "prod")
    await a.in_phase("healthy")


async def test_a_store_that_goes_back_under_a_bastion_that_runs_is_told_as_well(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]], tmp_path: Path
) -> None:
    prod = await make()
    (etcd,) = start_etcd()
    (a,) = bastions(1, prod, etcd=[etcd], ttl=60)
    a.start()
    await watching(a, "prod")
    await a.in_phase("healthy")
    etcd.ctl("snapshot", "save", f"{tmp_path}/before.db")
    for words in (("pause", "prod", "--reason", "no hands"), ("resume", "prod")):
        assert (await a.ctl(*words))[0] == 0
    etcd.kill()
    shutil.rmtree(etcd.data)
    wanted = ("--name", "--data-dir", "--initial-cluster=", "--initial-advertise-peer-urls")
    etcd.ctl("snapshot", "restore", f"{tmp_path}/before.db", *(x for x in etcd.arguments if x.startswith(wanted)))
    etcd.start()
    prod.node.unit("kubelet", "inactive")
    await a.until(lambda: a.ctl("status"), lambda said: "before, as after a restore" in said[1])
    assert prod.node.asked == [], "what it owns by a row of before counts for nothing"


async def test_a_cluster_whose_rows_nobody_can_read_is_watched_and_waits_for_a_person(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    """It is left to bastions that may be able to, and taken when none comes. The others' watch goes on."""
    prod, standby = await make("prod"), await make("standby")
    (etcd,) = start_etcd()
    a, b = bastions(2, prod, standby, etcd=[etcd])
    a.start()
    await watching(a, "prod", "standby")
    for name in ("prod", "standby"):
        await a.in_phase("healthy", cluster=name)
    assert a.kill(signal.SIGTERM) == 0
    etcd.ctl("put", "/recoverd/journal/prod/record", "of a recoverd to come")
    b.start()
    await watching(b, "standby")
    code, said = await b.until(lambda: b.ctl("status"), lambda said: "cannot be read here, of prod" in said[1])
    assert code == 0 and (await owners(b))["prod"] == "nobody", said
    assert await b.metric('recoverd_journal_unreadable_rows{place="record"}') == 1
    for cluster in (prod, standby):
        cluster.node.unit("kubelet", "inactive")  # start-node-services would run unasked
    await b.until(lambda: b.json("status", "standby"), lambda _: standby.node.asked == ["start kubelet"])
    await watching(b, "prod", "standby", seconds=180)
    await b.until(lambda: b.status("prod"), lambda s: s["paused"] and s["phase"] == "paused")
    assert prod.node.asked == []
    assert "of a recoverd to come" in etcd.ctl("get", "--prefix", "/recoverd/unreadable/prod/record@")
    assert (await b.ctl("resume", "prod"))[0] == 0
    await b.until(lambda: b.json("status", "prod"), lambda _: prod.node.asked == ["start kubelet"])
    assert await b.metric('recoverd_journal_unreadable_rows{place="record"}') == 0
    # whoever comes next finds nothing that cannot be read
    a.start()
    await a.until(lambda: owners(a), lambda seen: "b" in seen.values())
    assert "cannot be read here" not in (await a.ctl("status"))[1]


async def test_a_full_etcd_of_the_bastions_is_said_and_the_clusters_are_looked_at(
    make: Make, bastions: Bastions, make_etcd: Callable[..., list[EtcdNode]]
) -> None:
    prod = await make()
    (etcd,) = make_etcd()
    etcd.start("--quota-backend-bytes=2000000")
    (a,) = bastions(1, prod, etcd=[etcd])
    a.start()
    await watching(a, "prod")
    await a.in_phase("healthy")
    etcd.fill()
    prod.node.unit("kubelet", "inactive")
    await a.until(lambda: a.ctl("status"), lambda said: "etcdctl alarm disarm" in said[1] and "of prod was" in said[1])
    name = 'recoverd_last_sweep_timestamp_seconds{cluster="prod"}'
    seen = await a.metric(name)
    await a.until(lambda: a.metric(name), lambda swept: swept > seen)
    assert await a.metric("recoverd_store_available") == 0 and prod.node.asked == []
    etcd.ctl("del", "big")
    revision = json.loads(etcd.ctl("endpoint", "status", "-w", "json"))[0]["Status"]["header"]["revision"]
    for words in (("compact", str(revision)), ("defrag",), ("alarm", "disarm")):
        etcd.ctl(*words)
    await a.until(lambda: a.json("status"), lambda _: prod.node.asked == ["start kubelet"])
    await a.closed()
    assert await a.metric("recoverd_store_available") == 1


async def test_the_doctor_asks_each_member_and_a_check_of_the_configuration_names_the_bastion(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    prod = await make()
    members = start_etcd(("m1", "m2", "m3"))
    (a,) = bastions(1, prod, etcd=members)
    said = CliRunner().invoke(recoverd, ["check-config", str(a.file)]).output
    assert "a is one of several bastions, by their etcd at https://127.0.0.1:" in said
    members[2].kill()
    config = load(a.file)
    assert config.store
    checks = await shared(config.store)
    assert [c.line.split()[0] for c in checks] == ["ok", "ok", "FAIL"], [c.line for c in checks]
    assert "bastions that live: none yet" in checks[0].line and "systemctl status etcd" in checks[2].line


async def test_nobody_is_told_twice_by_the_next_bastion_and_that_nobody_acts_is_told(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]], tmp_path: Path
) -> None:
    prod = await make(approval=REQUIRED)
    (etcd,) = start_etcd()
    oncall = await Webhook(tmp_path, "oncall").start()
    a, b = bastions(2, prod, etcd=[etcd])
    for daemon in (a, b):
        told = [{"name": "oncall", "url_file": str(oncall.url_file), "clusters": ["prod"]}]
        config = yaml.safe_load(daemon.file.read_text()) | {"notifications": told}
        daemon.file.write_text(yaml.safe_dump(config))
    await one_after_the_other(a, b)
    prod.node.unit("kubelet", "inactive")
    plan = (await a.in_phase("apiserver-down", "awaiting-approval"))["plan"]
    assert await oncall.until(told=1) == ["prod: WAITS FOR YOU (start-node-services)"]
    # that it was told is in the journal, which b has
    await b.until(lambda: b.json("incidents"), lambda i: "notified" in str(i))
    a.kill()
    await watching(b, "prod")
    await b.until(lambda: b.ctl("approve", plan), lambda said: said[0] == 0)
    assert (await oncall.until(told=2))[1].startswith("prod: healthy again after ")
    await b.in_phase("healthy")
    etcd.kill()
    title = (await oncall.until(told=3))[2]
    assert title.startswith("recoverd on ") and title.endswith(": NOTHING IS DONE to any cluster")
    etcd.start()
    assert ": acts again, after " in (await oncall.until(told=4))[3]
    await watching(b, "prod")
    assert len(oncall.told) == 4
    await oncall.stop()
