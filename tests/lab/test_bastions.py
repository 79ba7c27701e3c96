"""Three bastions with an etcd of their own: whoever acts is lost in the middle of a repair, and another one ends it,
once. The bastions are namespaces on the clusters' network, with the real daemon and Debian's etcd in each.
"""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import etcd
from tests.lab.bastion import Shape
from tests.lab.bastions import PROMISED, Line, OneOfThree, Three, boots_of, busy
from tests.lab.kubelab.cluster import Cluster
from tests.lab.witness import boots, pods, ready

FORCE = "--force-new-cluster"
MANIFESTS = "/etc/kubernetes/manifests"
WATCHED = "see that nothing is found of"
"""How a step begins that the sweeps carry out, and nobody's hand: none can be held, and it may be over early."""
STILL = 60.0
"""Seconds for which a bastion stands still."""
WITHOUT = 30.0
"""Seconds for which nobody may act, and a fault is there that would be put right unasked."""
Repair = Callable[[], None]


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, workers=2)


@pytest.fixture
def bastions(tmp_path: Path) -> Iterator[Callable[..., Three]]:
    """`bastions(cluster, ...)`: all three, started, and the clusters watched and healthy."""
    made: list[Three] = []

    def start(*clusters: Cluster, **options: Any) -> Three:
        made.append(Three(tmp_path, *clusters, **options))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.remove()


class Flag:
    """Whether etcd's manifest on a machine has the flag, each time that this changes."""

    def __init__(self, cluster: Cluster) -> None:
        self._file = cluster.node("cp1").dir / f"root{MANIFESTS}/etcd.yaml"
        self.seen: list[bool] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Flag:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            if self._file.exists() and [there := FORCE in self._file.read_text()] != self.seen[-1:]:
                self.seen.append(there)


def step_in_hand(three: Three, cluster: Cluster) -> tuple[str, int] | None:
    """Who has begun the newest step, and its number; None while none is under way."""
    lines = [line for line in three.told() if line.cluster == cluster.name]
    newest = next((line for line in reversed(lines) if line.event in ("step-started", "step-done")), None)
    if newest is None or newest.event == "step-done":
        return None
    return newest.by, int(newest.text.split()[1])


def over(three: Three, plan: Shape) -> bool:
    found = three.another(None).plans(everything=True)
    return any(p["id"] == plan["id"] and p["status"] not in ("running", "awaiting-approval") for p in found)


def lost(three: Three, cluster: Cluster, plan: Shape, number: int, when: str, *, whole: bool) -> None:
    """Whoever carries the step out is killed, alone or with its machine, until another one watches."""
    for each in three:
        three.wait(f"{each.label} is there", lambda b=each: b.lives and b.metric("recoverd_store_available") == 1, 120)
    label, reached = three.wait("it is in hand", lambda: in_hand(three, cluster, number), 120, every=0.05)
    watched = plan["steps"][number - 1]["description"].startswith(WATCHED)
    if watched and reached > number:
        print(f"step {number} was over before another bastion was there")
        return
    who = next(b for b in three if b.label == label)
    assert who.process
    load = busy()
    three.pace(number, killed=number, when=when)
    if watched:
        who.kill()
    who.process.wait(400)
    at = time.time()
    if whole:
        who.power_off()
    taken = three.taken(cluster.name, at)
    gone = "lost" if whole else "killed"
    print(f"{label} {gone} {when} {plan['steps'][number - 1]['description']}: {taken.by} after {taken.at - at:.1f} s")
    assert taken.by != label
    assert taken.at - at <= PROMISED * max(load, busy())
    who.power_on() if whole else who.launch()


def in_hand(three: Three, cluster: Cluster, number: int) -> tuple[str, int] | None:
    found = step_in_hand(three, cluster)
    return found if found and found[1] >= number else None


def at_each_step(three: Three, cluster: Cluster, playbook: str, fault: Repair, when: str) -> Shape:
    """One plan of the playbook, in each step of which whoever acts is killed: the plan, once all is well again."""
    began = time.time()
    three.begin_anew()
    fault()
    plan = three.approve(playbook, cluster.name, 180)
    for number in range(1, len(plan["steps"]) + 1):
        lost(three, cluster, plan, number, when, whole=number % 2 == 0)
    three.pace()
    three.wait("it is healthy", lambda: over(three, plan) and state(three, cluster) == "healthy", 240)
    judged(three, cluster, plan)
    takeovers = [line for line in three.told(began) if line.event == "taken" and line.cluster == cluster.name]
    paced = [step for step in plan["steps"] if not step["description"].startswith(WATCHED)]
    assert len(takeovers) >= len(paced)
    return plan


def state(three: Three, cluster: Cluster) -> str:
    owner = three.owner(cluster.name)
    return str(owner.status(cluster.name)["state"]) if owner else ""


def judged(three: Three, cluster: Cluster, plan: Shape) -> None:
    """The incident is over, each step was done once, all bastions know the same, and never did two act."""
    incident = three.shown(plan["incident"])
    told = [(p["id"], p["status"], p["reason"]) for p in incident["plans"]]
    assert incident["outcome"] == "recovered", told
    assert [p["status"] for p in incident["plans"] if p["status"] != "superseded"] == ["succeeded"], told
    results = next(p["results"] for p in incident["plans"] if p["id"] == plan["id"])
    done = [r["index"] for r in results if r["ok"] and not r["undo"]]
    assert done == list(range(len(plan["steps"]))) and not [r for r in results if r["undo"]], results
    assert [e["event"] for e in incident["timeline"]].count("opened") == 1
    journals = [three.wait("it has followed", lambda b=b: journal_of(b, plan), 120) for b in three]
    assert journals[0] == journals[1] == journals[2], journals
    never_two(three.told(), cluster)


def journal_of(bastion: OneOfThree, plan: Shape) -> list[Any] | None:
    """What this bastion's own file has of the steps, once it has the plan's end."""
    if not bastion.journal("SELECT 1 FROM plan WHERE id = ? AND status = 'succeeded'", plan["id"]):
        return None
    return bastion.journal("SELECT step, undo, intent_at, ended_at, ok FROM step WHERE plan = ? ORDER BY n", plan["id"])


def never_two(lines: list[Line], cluster: Cluster) -> None:
    """Whatever was begun or ended was so by the bastion that has taken the cluster last."""
    owner = ""
    for line in lines:
        if line.cluster == cluster.name and line.event == "taken":
            owner = line.by
        if line.cluster == cluster.name and line.event in ("step-started", "step-done", "step-failed", "undo-started"):
            assert line.by == owner, f"{line} while {owner} watches"


@pytest.mark.parametrize("when", ["before", "after"])
def test_whoever_acts_is_lost_at_each_step_of_force_new_cluster(
    cluster: Cluster, bastions: Callable[..., Three], when: str
) -> None:
    """Each step is begun and journalled, and then carried out by the one that is killed, or not."""
    three, cp1, running = bastions(cluster), cluster.node("cp1"), pods(cluster)

    def fault() -> None:
        etcd.add_phantom(cp1, f"10.99.{cluster.number}.99")

    with Flag(cluster) as flag:
        at_each_step(three, cluster, "force-new-cluster", fault, when)
    assert flag.seen == [False, True, False], "it was put in once"
    assert etcd.members(cp1) == ["cp1"] and ready(cp1)
    assert pods(cluster) == running


@pytest.mark.parametrize("when", ["before", "after"])
def test_whoever_acts_is_lost_at_each_step_of_a_rolling_reboot(
    cluster: Cluster, bastions: Callable[..., Three], when: str
) -> None:
    three, worker, before = bastions(cluster), cluster.node("w1"), boots(cluster)
    counted = boots_of(worker)

    def fault() -> None:
        for each in three:
            each.sick.write_text(json.dumps({worker.name: {"boot_id": before[worker.name]}}))

    at_each_step(three, cluster, "rolling-worker-reboot", fault, when)
    assert boots_of(worker) == counted + 1, "it was rebooted once"
    assert {name for name, boot in boots(cluster).items() if boot != before[name]} == {worker.name}
    unschedulable = "kubectl get nodes -o jsonpath='{.items[*].spec.unschedulable}'"
    assert not cluster.node("cp1").sh(unschedulable, capture_output=True).stdout.strip()


@pytest.mark.parametrize("what", ["cut off", "stopped"])
def test_whoever_acts_and_comes_back_finds_that_it_may_not(
    cluster: Cluster, bastions: Callable[..., Three], what: str
) -> None:
    """From their etcd alone, or for a minute altogether, in the moment in which it puts the flag in."""
    three, cp1 = bastions(cluster), cluster.node("cp1")
    etcd.add_phantom(cp1, f"10.99.{cluster.number}.99")
    load = busy()
    with Flag(cluster) as flag:
        plan = three.approve("force-new-cluster", cluster.name, 180)
        three.wait("the flag is in", lambda: flag.seen[-1:] == [True], 240, every=0.02)
        who = three.owner(cluster.name)
        assert who
        at = time.time()
        who.cut_off() if what == "cut off" else who.stand_still()
        taken = three.taken(cluster.name, at)
        print(f"{who.label} is {what}: {taken.by} watches after {taken.at - at:.1f} s")
        assert taken.by != who.label and taken.at - at <= PROMISED * max(load, busy())
        if what == "cut off":
            let_go = next(line for line in who.told() if line.at > at and line.event == "lease-lost")
            assert let_go.at < taken.at, "by its own clock it has stopped before another one begins"
            three.wait("it only looks", lambda: who.status()["withheld"] and who.status()["last_sweep"], 60)
            assert who.metric("recoverd_store_available") == 0
        three.wait("it is healthy", lambda: state(three, cluster) == "healthy", 240)
        time.sleep(max(0.0, at + STILL - time.time()))  # it is the time that is to pass
        back = time.time()
        who.reconnect() if what == "cut off" else who.go_on()
        three.wait("it sees who watches", lambda: who.status()["watched_by"] == taken.by, 120)
    assert any(line.event == "lease-lost" and line.at > at for line in who.told())
    assert not [line for line in who.told() if line.at > back and line.event.startswith(("step-", "undo-"))]
    assert flag.seen == [False, True, False]
    judged(three, cluster, plan)
    assert etcd.members(cp1) == ["cp1"] and ready(cp1)


@contextmanager
def receiver(cluster: Cluster) -> Iterator[tuple[str, list[str]]]:
    """Somebody who is told, at the host's address on the cluster's bridge: the URL, and the titles so far."""
    titles: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            titles.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["title"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer((f"10.99.{cluster.number}.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"json://10.99.{cluster.number}.1:{server.server_port}/", titles
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_without_quorum_of_their_etcd_everybody_looks_nobody_acts_and_it_pages(
    cluster: Cluster, bastions: Callable[..., Three], tmp_path: Path
) -> None:
    cp1, manifest = cluster.node("cp1"), f"{MANIFESTS}/kube-apiserver.yaml"
    with receiver(cluster) as (url, titles):
        (tmp_path / "oncall").write_text(url + "\n")
        (tmp_path / "oncall").chmod(0o600)
        three = bastions(cluster, told={"name": "oncall", "url_file": str(tmp_path / "oncall")})
        at = time.time()
        for each in three.all[:2]:
            each.kill_etcd()
        for each in three:
            three.wait("it only looks", lambda b=each: b.status()["withheld"] and b.status()["last_sweep"], 60)
            assert each.metric("recoverd_store_available") == 0
        nobody = [f"recoverd on {b.label}: NOTHING IS DONE to any cluster" for b in three]
        three.wait("all have told that nobody acts", lambda: set(nobody) <= set(titles), 60)
        cp1.sh(f"rm {manifest}")
        for each in three:
            three.wait("each sees the fault", lambda b=each: b.status()["state"] == "apiserver-down", 60)
        time.sleep(WITHOUT)  # it would be put right in this time
        assert not cp1.answers(f"test -e {manifest}"), "nobody may act"
        assert not [line for line in three.told(at) if line.event.startswith("step-")]
        for each in three.all[:2]:
            each.start_etcd()
        three.wait("it is put right", lambda: cp1.answers(f"test -e {manifest}"), 120)
        three.wait("it is healthy", lambda: state(three, cluster) == "healthy", 120)
        acted = [line for line in three.told(at) if line.event == "step-started"]
        assert len({line.by for line in acted}) == 1, acted
        never_two(three.told(), cluster)
        three.wait("all have told that it is over", lambda: sum(": acts again" in t for t in titles) == len(nobody), 90)
        for each in three:
            assert each.metric("recoverd_store_available") == 1


def test_at_any_bastion_a_join_is_checked_line_by_line_and_a_cluster_is_dumped(
    cluster: Cluster, bastions: Callable[..., Three]
) -> None:
    """The machine that asks to join is a node already, so each check is told, and nothing is begun."""
    three, cp1 = bastions(cluster), cluster.node("cp1")
    owner = three.owner(cluster.name)
    assert owner
    for each in (three.another(owner), owner):
        words = ("join-control-plane", cluster.name, "cp1", cp1.address, "--skip-preflight")
        told = each.ctl(*words)
        print(f"at {each.label}: {told.stdout}{told.stderr}")
        assert told.returncode == 1 and "there is a node cp1 already" in told.stdout, told
        assert told.stdout.count("\n") > 5 and "nothing was changed" in told.stderr
        assert (f"{owner.label}: refused" in told.stderr) == (each is not owner)
        dumped = json.loads(each.ctl("dump", cluster.name).stdout)
        assert set(dumped["observation"]["hosts"]) == {n.name for n in cluster.nodes}
    assert [p for p in three.another(None).plans(everything=True) if p["status"] != "superseded"] == []


def test_of_two_clusters_the_loss_of_a_bastion_moves_its_own_alone(
    cluster: Cluster, beside: Callable[..., Cluster], bastions: Callable[..., Three]
) -> None:
    """Both break at the moment in which one owner's machine is lost; each is put right by one bastion."""
    other = beside(control_planes=1, workers=0)
    three, load = bastions(cluster, other), busy()

    def owners() -> tuple[OneOfThree, OneOfThree] | None:
        first, second = three.owner(cluster.name), three.owner(other.name)
        return (first, second) if first and second and first is not second else None

    # whoever comes up first takes both, and lets go of one for the next
    first, second = three.wait("each has an owner of its own", owners, 60)
    at = time.time()
    for each in (cluster, other):
        each.node("cp1").sh(f"rm {MANIFESTS}/kube-apiserver.yaml")
    first.power_off()
    lost_at = time.time()
    taken = three.taken(cluster.name, lost_at)
    print(f"{first.label} lost: {taken.by} watches {cluster.name} after {taken.at - lost_at:.1f} s")
    assert taken.at - lost_at <= PROMISED * max(load, busy())
    for each in (cluster, other):
        manifest = f"test -e {MANIFESTS}/kube-apiserver.yaml"
        three.wait("it is put back", lambda c=each, m=manifest: c.node("cp1").answers(m), 120)
        three.wait(f"{each.name} is healthy", lambda c=each: state(three, c) == "healthy", 240)
        never_two(three.told(), each)
    assert not [line for line in three.told(at) if line.event == "taken" and line.cluster == other.name]
    assert three.owner(other.name) is second
