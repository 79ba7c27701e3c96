"""Restore points: when one is due and which goes, and what the state machine decides about them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.machine import ClusterMachine, deciding, outlook
from recoverd.machine.restore_points import source_host
from recoverd.model.bastion_operations import FetchSnapshot
from recoverd.model.codec import dump, load
from recoverd.model.etcd import AlarmEntry, EtcdView
from recoverd.model.events import (
    Approved,
    ChoreEnded,
    Note,
    Observed,
    Paused,
    Perform,
    PerformChore,
    PointRequested,
    Refused,
    Remember,
    Restarted,
    SaveRecord,
)
from recoverd.model.finding import State
from recoverd.model.memory import Memory
from recoverd.model.observation import UnseenKind
from recoverd.model.plan import Step, StepResult
from recoverd.model.point_operations import LookAtRestorePoints, TakeRestorePoint
from recoverd.model.points import KEEP_LEAST, PointSettings, RestorePoint, best, due, point_id, surplus
from recoverd.model.record import Record
from recoverd.model.text import utc
from recoverd.playbooks import registry
from tests.unit.builders import NOW, Cluster, member_id, unseen
from tests.unit.test_machine import Change, Script

HOUR = 3600.0
SETTINGS = PointSettings(interval=2 * HOUR, before_plans=True)
FAILED = StepResult(False, "no room")


def point(number: int, age: float = 0.0, verified: bool = True) -> RestorePoint:
    at = NOW.timestamp() - age
    told = ("schedule", "cp1", f"/points/prod-{number}/snapshot.db", "0" * 64, 1 << 20, "c1", 1000 + number, 10)
    return RestorePoint(f"prod-{number}", at, *told, at if verified else None, "", f"/points/prod-{number}", number)


# --- pure rules ---


def test_the_best_is_the_newest_verified_one_else_the_newest() -> None:
    assert best(()) is None
    assert best((point(1), point(2), point(3, verified=False))) == point(2)
    assert best((point(1, verified=False), point(2, verified=False))) == point(2, verified=False)


def test_surplus_goes_by_count_and_by_age() -> None:
    points = [point(n, age=(6 - n) * HOUR) for n in range(6)]
    assert surplus(points, replace(SETTINGS, keep=4), NOW.timestamp()) == points[:2]
    assert surplus(points, replace(SETTINGS, keep_age=4.5 * HOUR), NOW.timestamp()) == points[:2]
    assert surplus(points, SETTINGS, NOW.timestamp()) == []


def test_the_only_verified_one_stays_whatever_its_age() -> None:
    points = [point(0, age=1000 * HOUR), *(point(n, verified=False) for n in range(1, 9))]
    assert points[0] not in surplus(points, replace(SETTINGS, keep=2), NOW.timestamp())
    assert len(surplus(points, replace(SETTINGS, keep=2), NOW.timestamp())) == 6


@given(
    ages=st.lists(st.tuples(st.floats(-1e9, 1e9), st.booleans()), max_size=20),
    keep=st.integers(1, 12),
    keep_age=st.floats(1, 1e7),
    later=st.floats(-1e9, 1e9),
)
def test_whatever_the_clock_says_the_newest_and_the_best_are_kept(
    ages: list[tuple[float, bool]], keep: int, keep_age: float, later: float
) -> None:
    points = [point(n, age, verified) for n, (age, verified) in enumerate(ages)]
    gone = surplus(points, PointSettings(keep=keep, keep_age=keep_age), NOW.timestamp() + later)
    left = [p for p in points if p not in gone]
    assert best(points) == best(left)
    assert set(points[max(0, len(points) - min(keep, KEEP_LEAST)) :]) <= {*left}
    assert len(left) <= keep + 1, "one more at most: the verified one"


@given(back=st.floats(0, 1e8), interval=st.floats(60, 1e6))
def test_a_clock_that_goes_back_never_puts_the_next_one_off_by_more_than_the_interval(
    back: float, interval: float
) -> None:
    settings, last = PointSettings(interval=interval), NOW
    now = NOW - timedelta(seconds=back)
    waited = 0.0
    while not due(settings, now + timedelta(seconds=waited), last, 0):
        waited += interval / 4
        assert waited <= 2.5 * interval


def test_a_failure_is_tried_again_soon_and_then_later() -> None:
    after = [
        next(s for s in range(0, 10000, 60) if due(SETTINGS, NOW + timedelta(seconds=s), NOW, failures))
        for failures in range(8)
    ]
    assert after == [7200, 300, 600, 1200, 2400, 4800, 7200, 7200]


def test_ids_of_one_second_differ() -> None:
    first = point_id("prod", NOW, ())
    assert first == "prod-20260305T191000Z"
    assert point_id("prod", NOW, {first}) == f"{first}-1"
    assert point_id("prod", NOW, {first, f"{first}-1"}) == f"{first}-2"


def test_the_memory_keeps_them_in_the_journal() -> None:
    memory = Memory(points=(point(1), point(2, verified=False)))
    assert load(Memory, dump(memory)) == memory


# --- the machine ---


def ended(result: StepResult, at: datetime) -> ChoreEnded:
    """What came of what was begun about the points."""
    return ChoreEnded(Step("cp1", "a chore", TakeRestorePoint("schedule"), 60.0), result, at)


class Points(Script):
    def __init__(self, control_planes: int = 3, settings: PointSettings = SETTINGS) -> None:
        super().__init__(control_planes)
        self.settings = replace(self.settings, points=settings, bounds=replace(self.settings.bounds, force_after=60.0))
        self.machine = ClusterMachine(self.settings, registry(), now=NOW, memory=self.memory)
        self.points: tuple[RestorePoint, ...] = ()

    def asked(self) -> PerformChore | None:
        """What the machine has begun about the points and was not answered."""
        begun = [i for i in self.seen if isinstance(i, PerformChore)]
        return begun[-1] if begun and self.machine.record.points.running else None

    def ended(self, ok: bool = True) -> None:
        """It comes to an end."""
        if ok:
            self.points = (*self.points, point(len(self.points) + 1))
        self.give(ended(StepResult(ok, "ok" if ok else "no room", points=self.points), self.now))

    def until_taken(self, hours: float, change: Change = lambda c: c) -> float:
        """Sweeps until one is begun; after how many minutes."""
        began = self.now
        while not self.asked():
            self.now += timedelta(minutes=1)
            self.sweep(change)
            assert (self.now - began).total_seconds() < hours * HOUR, "none is begun"
        return (self.now - began).total_seconds() / 60

    def never(self, hours: float, change: Change = lambda c: c) -> None:
        """None is begun in so many hours of sweeps."""
        end = self.now + timedelta(hours=hours)
        while self.now < end:
            self.now += timedelta(minutes=5)
            self.sweep(change)
            assert self.asked() is None

    def events(self) -> list[str]:
        return [i.entry.event for i in self.seen if isinstance(i, Note)]


def test_the_first_is_taken_once_the_cluster_is_seen_healthy_and_the_next_after_the_interval() -> None:
    s = Points()
    s.sweep()
    assert s.asked() is None, "one healthy sweep says little"
    out = s.sweep()
    asked = s.asked()
    assert asked and asked.step.operation == TakeRestorePoint("schedule") and asked.step.timeout == 600.0
    assert out[-1] is asked, "what is journalled comes before what is carried out"
    assert any(isinstance(i, SaveRecord) and i.record.points.running == "schedule" for i in out), (
        "the intent is journalled"
    )
    s.sweep(times=10)
    assert len([i for i in s.seen if isinstance(i, PerformChore)]) == 1, "one at a time"
    s.ended()
    assert s.machine.memory.points == s.points and s.events()[-1] == "restore-point-taken"
    assert 118 <= s.until_taken(3) <= 121


def test_a_follower_is_asked_and_after_a_failure_another() -> None:
    s = Points()
    hosts = []
    for _ in range(4):
        s.until_taken(3)
        asked = s.asked()
        assert asked
        hosts.append(asked.step.host)
        s.ended(ok=False)
        assert s.events()[-1] == "restore-point-failed"
    assert hosts == ["cp2", "cp3", "cp1", "cp2"], "cp1 is the leader"
    assert "no room. It is tried again at" in [i.entry.detail for i in s.seen if isinstance(i, Note)][-1]
    assert s.machine.memory.points == ()


def no_leader(c: Cluster) -> None:
    c.etcd = {n: replace(v, leader="") if isinstance(v, EtcdView) else v for n, v in c.etcd.items()}


def corrupt(c: Cluster) -> None:
    bad = AlarmEntry(member_id("cp2"), "CORRUPT")
    c.etcd = {n: replace(v, alarms=(bad,)) if isinstance(v, EtcdView) else v for n, v in c.etcd.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.stopped("cp3", "kubelet"),
        lambda c: c.etcd.update({"cp3": unseen(UnseenKind.REFUSED)}),
        no_leader,
        corrupt,
        lambda c: c.address_answers(c.vip.health.REFUSED),
    ],
    ids=["a fault", "a member down", "no leader", "corrupt", "API server"],
)
def test_none_is_taken_while_anything_is_wrong(change: Change) -> None:
    Points().never(5, change)


def off(c: Cluster) -> None:
    """A worker that was switched off an hour ago."""
    c.ssh_fails("w1").node("w1", ready=False, since=NOW - timedelta(hours=1), reason="NodeStatusUnknown")


def test_they_are_taken_on_beside_a_worker_that_is_off_for_days() -> None:
    s = Points()
    s.sweep()
    s.sweep()
    s.ended()
    s.sweep(off, times=3)
    assert 118 <= s.until_taken(3, off) <= 121
    assert s.machine.record.incident and s.machine.lifecycle.state is State.WORKER_NETWORK_BROKEN
    s.ended()
    s.never(5, lambda c: (off(c), c.stopped("cp3", "kubelet")))


def test_none_is_taken_while_paused_or_when_switched_off() -> None:
    s = Points()
    s.give(Paused("alice", "maintenance", s.now))
    s.never(5)
    off = Points(settings=PointSettings())
    off.never(5)


def test_the_clock_going_back_puts_it_off_by_the_interval_at_most() -> None:
    s = Points()
    s.until_taken(3)
    s.ended()
    s.now -= timedelta(days=400)
    assert s.until_taken(3) <= 122, "at once, or after the interval, counted from now"
    s.ended()
    s.now -= timedelta(minutes=90)
    assert s.until_taken(5) <= 212
    assert len(s.machine.memory.points) == 2, "and nothing was forgotten"


def test_one_is_taken_when_a_person_asks_and_refused_with_the_reason() -> None:
    s = Points(settings=PointSettings())
    with pytest.raises(Refused, match="it has not been looked at since recoverd started"):
        s.give(PointRequested("alice", s.now))
    s.sweep(times=2)
    s.give(PointRequested("alice", s.now))
    asked = s.asked()
    assert asked and asked.step.operation == TakeRestorePoint("asked")
    with pytest.raises(Refused, match="there is one at a time"):
        s.give(PointRequested("bob", s.now))
    s.ended()
    s.sweep(lambda c: c.stopped("cp3", "kubelet"), times=3)
    with pytest.raises(Refused, match=r"while something is wrong with it \(prod-1\)"):
        s.give(PointRequested("alice", s.now))


def test_none_is_taken_on_a_sweep_of_two_minutes_ago() -> None:
    """Sweeps break, as when a bug is in how something new is read: what was healthy then may be
    anything now, an empty etcd too.
    """
    s = Points(settings=PointSettings())
    s.sweep(times=3)
    s.now += timedelta(seconds=120)
    with pytest.raises(Refused, match=r"not been looked at for a while.*the newest began 121 s ago"):
        s.give(PointRequested("alice", s.now))
    assert s.asked() is None and "restore-point-asked" not in s.events()
    s.sweep()
    s.give(PointRequested("alice", s.now))
    assert s.asked()


def test_a_restart_looks_at_the_disk_and_counts_what_was_interrupted_as_a_failure() -> None:
    s = Points()
    s.until_taken(3)
    record, memory = load(Record, dump(s.machine.record)), s.machine.memory
    s.machine = ClusterMachine(s.settings, registry(), now=s.now, record=record, memory=memory)
    s.give(Restarted(s.now))
    asked = s.asked()
    assert asked and asked.step.operation == LookAtRestorePoints()
    assert s.events()[-1] == "restore-point-failed" and s.machine.record.points.failures == 1
    s.sweep(times=5)
    assert len([i for i in s.seen if isinstance(i, PerformChore)]) == 2, "not while the disk is looked at"
    s.points = (point(1), point(2))
    s.give(ended(StepResult(True, "removed what there was of prod-3", points=s.points), s.now))
    assert s.machine.memory.points == s.points and s.events()[-1] == "restore-points"
    assert s.until_taken(1) <= 7, "soon after, and not at once in a loop of crashes"


def test_a_disk_that_cannot_be_looked_at_forgets_nothing() -> None:
    s = Points()
    s.until_taken(3)
    s.ended()
    s.give(Restarted(s.now))
    s.give(ended(StepResult(False, "the restore points cannot be looked at"), s.now))
    assert s.machine.memory.points == s.points


def dead(name: str) -> Change:
    return lambda c: c.powered_off(name).node(name, ready=False)


def test_a_destructive_plan_begins_with_one_from_a_healthy_member() -> None:
    s = Points()
    s.until_taken(3)
    s.ended()
    for _ in range(30):
        s.sweep(dead("cp3"))
    plan = s.plan
    assert plan.playbook == "remove-member" and plan.destructive
    first = plan.steps[0]
    assert (first.host, first.operation) == ("cp2", TakeRestorePoint(f"before {plan.id}", urgent=True))
    s.sweep(dead("cp3"), times=10)
    assert s.plan.id == plan.id, "and the plan stands"
    before = s.machine.record.points.attempted
    out = s.give(Approved(plan.id, "alice", "", s.now))
    (work,) = [i for i in out if isinstance(i, Perform)]
    assert work.index == 0
    s.points = (*s.points, replace(point(2), why=f"before {plan.id}"))
    taken = s.now + timedelta(seconds=1)
    out = s.answer(work, StepResult(True, "taken", points=s.points))
    assert any(isinstance(i, Remember) and i.memory.points == s.points for i in out), (
        "the memory has it before the next step"
    )
    assert [i.index for i in out if isinstance(i, Perform)] == [1]
    assert before and s.machine.record.points.attempted == taken, "it counts for the schedule"


def test_a_destructive_plan_without_its_point_changes_nothing() -> None:
    s = Points()
    s.sweep(times=2)
    s.ended(ok=False)
    for _ in range(30):
        s.sweep(dead("cp3"))
    (work,) = [i for i in s.approve() if isinstance(i, Perform)]
    out = s.answer(work, FAILED)
    assert not [i for i in out if isinstance(i, Perform)]
    assert (
        s.machine.record.plan is None and "step 1 on cp2 (take a restore point from cp2" in s.machine.record.explanation
    )


def test_no_healthy_member_and_no_wish_for_it_is_no_step() -> None:
    for settings in (SETTINGS, replace(SETTINGS, before_plans=False)):
        s = Points(settings=settings)
        for _ in range(30):
            s.sweep(dead("cp3"))
        operations = [step.operation for step in s.plan.steps]
        assert any(isinstance(o, TakeRestorePoint) for o in operations) is settings.before_plans
    alone = Points(control_planes=1)

    def joined(c: Cluster) -> None:
        never = replace(c.entry("cp1"), id="b" * 16, name="", client_urls=(), peer_urls=("https://10.99.1.12:2380",))
        view = c.etcd["cp1"]
        assert isinstance(view, EtcdView)
        c.etcd["cp1"] = replace(
            view, members=(*view.members, never), leader="", healthy=False, health_reason="no leader"
        )
        c.endpoint("cp1", c.vip.health.REFUSED).address_answers(c.vip.health.REFUSED)

    for _ in range(40):
        alone.sweep(joined)
    assert alone.plan.playbook == "force-new-cluster"
    assert not [s for s in alone.plan.steps if isinstance(s.operation, TakeRestorePoint)]


def test_none_is_taken_from_a_member_that_has_begun_a_new_cluster() -> None:
    s = Points()
    s.until_taken(3)
    s.ended()
    memory = s.machine.memory
    assert memory.watermark
    s.machine.state = replace(
        s.machine.state, memory=replace(memory, watermark=replace(memory.watermark, uid="the one"))
    )

    def two_emptied(c: Cluster) -> None:
        c.etcd_changed("cp1", "cp2", uid="another").etcd_changed("cp3", uid="the one")

    s.sweep(two_emptied)
    assert [source_host(s.machine.turn(), n) for n in range(2)] == ["cp3", "cp3"]


def began_anew(c: Cluster) -> None:
    """etcd on cp1 was started on an empty directory, as a cluster of its own: healthy, and its
    own leader. cp3 leads the others.
    """
    for name in ("cp2", "cp3"):
        c.etcd_changed(name, leader=member_id("cp3"))
    alone = replace(c.etcd_view("cp1"), members=(c.entry("cp1"),), leader=member_id("cp1"), revision=7, nodes=0, pods=0)
    c.etcd["cp1"] = replace(alone, cluster_id="feed")


@pytest.mark.parametrize(
    ("unseen_host", "source"), [(None, "cp2"), ("cp2", "cp3")], ids=["a follower is left", "only the leader is left"]
)
def test_a_plan_takes_none_from_a_member_that_began_anew(unseen_host: str | None, source: str) -> None:
    """It would be the newest, of an empty cluster."""

    def change(c: Cluster) -> None:
        began_anew(c)
        if unseen_host:
            c.hosts[unseen_host] = unseen(UnseenKind.TIMEOUT)

    s = Points()
    s.sweep(change, times=30)
    assert (s.plan.playbook, s.plan.steps[0].host) == ("rebuild-member", source)
    assert isinstance(s.plan.steps[0].operation, TakeRestorePoint)
    assert not any(isinstance(step.operation, FetchSnapshot) for step in s.plan.steps), "one snapshot is enough"
    plan = s.plan
    s.sweep(change, times=10)
    assert s.plan == plan


def test_where_the_data_is_lost_everywhere_there_is_nobody_to_take_one_from() -> None:
    def empty(c: Cluster) -> None:
        c.etcd_changed(cluster_id="feed", revision=7, nodes=0, pods=0)

    s = Points(control_planes=1)
    s.sweep(empty, times=3)
    assert s.machine.diagnosis and s.machine.diagnosis.find("etcd-data-lost")
    assert source_host(s.machine.turn(), 0) is None
    assert source_host(Points(control_planes=1).machine.turn(), 0) is None, "nothing was seen yet"


def test_what_goes_back_to_a_point_takes_none_before() -> None:
    """The data that is there now must not become the newest point."""
    s = Points()
    for _ in range(30):
        s.sweep(dead("cp3"))
    playbook = next(p for p in registry() if p.name == "remove-member")
    turn = s.machine.turn()
    situation = outlook.situation(turn)
    proposal = next(
        a for f in situation.confirmed if f.code in playbook.repairs and (a := playbook.propose(f, situation))
    )
    made = deciding.make(turn, playbook, replace(proposal, own_point=True))  # type: ignore[arg-type]
    assert not [step for step in made.steps if isinstance(step.operation, TakeRestorePoint)]


def test_the_time_of_day_of_a_retry_is_told() -> None:
    s = Points()
    s.sweep(times=2)
    s.ended(ok=False)
    at: datetime = s.now + timedelta(minutes=5)
    assert f"It is tried again at {utc(at)}" in [i.entry.detail for i in s.seen if isinstance(i, Note)][-1]
    s.give(Observed(Cluster(3, spares=1, now=s.now + timedelta(minutes=5)).observation()))
    assert s.asked()
