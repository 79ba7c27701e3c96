"""One daemon and several clusters: how many it acts on at once, and a fault that begins in all of them together. The
daemons, sshd, the API servers' TLS and (for several bastions) etcd are real.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .clusters import Cluster, Daemon
from .conftest import EtcdNode
from .daemons import REQUIRED, Make, make, run
from .receivers import Webhook
from .test_bastions import Bastions, bastions, owners

__all__ = ["bastions", "make", "run"]
pytestmark = pytest.mark.timeout(600)
DEADLINES = dict.fromkeys(("api", "etcd", "hosts", "network"), "20s")
"""On a machine that runs other tests several clusters at once are late with less."""


def configure(daemon: Daemon, **changes: Any) -> None:
    daemon.file.write_text(yaml.safe_dump(yaml.safe_load(daemon.file.read_text()) | changes))


async def phases(daemon: Daemon) -> dict[str, str]:
    """By cluster: STATE/PHASE."""
    seen = (await daemon.json("status"))["clusters"]
    return {c["name"]: f"{c['state']}/{c['phase']}" if c["phase"] else c["state"] for c in seen}


async def all_are(daemon: Daemon, place: str, seconds: float = 240.0) -> None:
    await daemon.until(lambda: phases(daemon), lambda seen: bool(seen) and set(seen.values()) == {place}, seconds)


def held(cluster: Cluster) -> Callable[[], None]:
    """Its machine starts no unit before what is returned is called, or for 18 s; the step has 20."""
    systemctl, go = cluster.node.root / "bin/systemctl", cluster.node.root / "go"
    wait = "for i in $(seq 180); do [ -e ../go ] && break; sleep 0.1; done;"
    systemctl.write_text(systemctl.read_text().replace(">> ../asked;", f">> ../asked; {wait}"))
    return go.touch


async def test_a_fault_of_all_clusters_is_asked_about_and_told_once(
    make: Make, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    clusters = [await make(name, deadlines=DEADLINES) for name in ("north", "south", "west")]
    there = await Webhook(tmp_path, "oncall").start()
    daemon = run(*clusters)
    configure(daemon, notifications=[{"name": "oncall", "url_file": str(there.url_file)}])
    daemon.start()
    await daemon.ready()
    await all_are(daemon, "healthy")
    for cluster in clusters:
        cluster.node.unit("kubelet", "inactive")
    await all_are(daemon, "apiserver-down/awaiting-approval")
    assert [c.node.asked for c in clusters] == [[], [], []], "each of them alone would have been repaired"
    said = await daemon.json("status")
    (notice,) = (n for n in said["notices"] if "clusters together" in n)
    assert "kubelet-down began in 3 clusters together" in notice and "north, south and west" in notice
    assert await daemon.metric("recoverd_common_cause_clusters") == 3
    # two of them may be told by themselves before the third one shows what it is
    await there.when(lambda: any("kubelet-down IN 3 CLUSTERS TOGETHER" in t for t in there.titles))
    assert len([t for t in there.titles if "WAITS FOR YOU" in t or "BROKEN" in t]) <= 2, there.titles

    plans = {p["cluster"]: p for p in (await daemon.json("plans"))["plans"]}
    assert all("kubelet-down began in 3 clusters together" in p["evidence"][0] for p in plans.values())
    code, said = await daemon.ctl("approve", plans["south"]["id"])
    assert code == 0 and "it runs now" in said, said
    await daemon.until(lambda: phases(daemon), lambda seen: seen["south"] == "healthy", 240)
    assert [c.node.asked for c in clusters] == [[], ["start kubelet"], []]
    # whoever knows the cause lets recoverd go on by itself
    incident = next(c["incident"] for c in (await daemon.json("status"))["clusters"] if c["name"] == "west")
    assert (await daemon.ctl("ack", incident))[0] == 0
    await daemon.until(lambda: phases(daemon), lambda seen: seen["west"] == "healthy", 240)
    assert [c.node.asked for c in clusters] == [[], ["start kubelet"], ["start kubelet"]]


async def test_an_approved_plan_waits_for_its_turn_and_begins_by_itself(make: Make, run: Callable[..., Daemon]) -> None:
    one, two = [await make(name, approval=REQUIRED, deadlines=DEADLINES) for name in ("one", "two")]
    go = held(one)
    daemon = run(one, two)
    configure(daemon, fleet={"acting_at_once": 1})
    daemon.start()
    await daemon.ready()
    await all_are(daemon, "healthy")
    for cluster in (one, two):
        cluster.node.unit("kubelet", "inactive")
    await all_are(daemon, "apiserver-down/awaiting-approval")
    plans = {p["cluster"]: p["id"] for p in (await daemon.json("plans"))["plans"]}
    code, said = await daemon.ctl("approve", plans["one"])
    assert code == 0 and "it runs now" in said, said
    await daemon.until(lambda: daemon.metric("recoverd_clusters_acting"), lambda n: n == 1, 120)
    code, said = await daemon.ctl("approve", plans["two"])
    assert code == 0 and "it waits for its turn: one is acting" in said, said
    shown = {p["cluster"]: p for p in (await daemon.json("plans"))["plans"]}
    assert "one is acting" in shown["two"]["waits_for"] and shown["two"]["status"] == "running"
    assert "waits for its turn: one is acting" in (await daemon.ctl("plans"))[1]
    assert "waits for its turn: one is acting" in (await daemon.ctl("status", "two"))[1]
    assert two.node.asked == []
    go()
    await all_are(daemon, "healthy")
    assert one.node.asked == two.node.asked == ["start kubelet"]


async def test_what_another_bastion_does_counts(
    make: Make, bastions: Bastions, start_etcd: Callable[..., list[EtcdNode]]
) -> None:
    clusters = {name: await make(name, approval=REQUIRED, deadlines=DEADLINES) for name in ("one", "two")}
    daemons = bastions(2, *clusters.values(), etcd=start_etcd())
    for daemon in daemons:
        configure(daemon, fleet={"acting_at_once": 1})
        daemon.start()
    a, b = daemons
    await a.until(lambda: owners(a), lambda seen: sorted(seen.values()) == ["", "b"], 240)
    mine = next(name for name, by in (await owners(a)).items() if not by)
    other = next(name for name in clusters if name != mine)
    go = held(clusters[mine])
    for daemon in daemons:
        await all_are(daemon, "healthy")
    for cluster in clusters.values():
        cluster.node.unit("kubelet", "inactive")
    await all_are(a, "apiserver-down/awaiting-approval")
    plans = {p["cluster"]: p["id"] for p in (await a.json("plans"))["plans"]}
    assert (await a.ctl("approve", plans[mine]))[0] == 0
    await b.until(lambda: b.metric("recoverd_clusters_acting"), lambda n: n == 1, 120)
    code, said = await a.ctl("approve", plans[other])  # which is passed on to its owner
    assert code == 0 and f"it waits for its turn: {mine} is acting" in said, said
    go()
    await all_are(a, "healthy")
    assert [c.node.asked for c in clusters.values()] == [["start kubelet"], ["start kubelet"]]
