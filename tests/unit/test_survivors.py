"""Before a new etcd cluster is forced: members that could be back, machines that may be
booting, and what going on would lose.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.model.bastion_operations import FetchSnapshot
from recoverd.model.etcd import AlarmEntry, EtcdView, MemberEntry
from recoverd.model.memory import Memory
from recoverd.model.observation import DiskView, EtcdDataView, HostView
from recoverd.model.operations import CopyPath, WriteFile
from recoverd.model.points import RestorePoint
from recoverd.model.settings import ClusterSettings
from recoverd.model.text import utc
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from tests.unit.builders import CLUSTER_ID, NOW, Cluster, manifest, manifest_of, member_id
from tests.unit.test_machine import Script
from tests.unit.test_playbooks import situation

EMPTY = EtcdDataView("/var/lib/etcd", True, True)


def forced(now: Situation) -> Answer:
    finding = now.diagnosis.find("etcd-quorum-lost")
    assert finding, [f.code for f in now.diagnosis.findings]
    return next(p for p in registry() if p.name == "force-new-cluster").propose(finding, now)


def plan_of(answer: Answer) -> str:
    assert isinstance(answer, Proposal), answer
    return "\n".join((answer.summary, *answer.evidence, *answer.destroys))


def off(cluster: Cluster, *names: str) -> Cluster:
    """These are powered off, and the others have no leader."""
    return cluster.powered_off(*names).no_leader().api_down(*(n for n in cluster.joined if n not in names))


def stopped(cluster: Cluster, name: str, **host: object) -> Cluster:
    """The machine answers and no etcd runs there."""
    cluster.etcd_stopped(name).api_down(name)
    view = cluster.hosts[name]
    assert isinstance(view, HostView)
    cluster.hosts[name] = replace(view, **host)  # type: ignore[arg-type]
    return cluster


def point(revision: int, *, verified: bool = True) -> RestorePoint:
    at = NOW.timestamp() - 60
    verified_at = at if verified else None
    return RestorePoint(
        "prod-p9",
        at,
        "schedule",
        "cp1",
        "/p/snapshot.db",
        "0" * 64,
        1 << 20,
        CLUSTER_ID,
        revision,
        9,
        verified_at,
        "",
        "/p",
    )


def test_a_member_that_is_only_stopped_is_to_be_started_and_nothing_is_forced() -> None:
    """cp3 is dead; kubelet of cp2 does not come up (swap is on), and cp2 holds more than cp1: with etcd on cp2
    quorum is back, with nothing lost.
    """
    cluster = stopped(off(Cluster(3), "cp3"), "cp2").unit("cp2", "kubelet", active="inactive", sub="dead")
    answer = forced(situation(cluster))
    assert isinstance(answer, Refusal)
    assert (
        "nothing is lost, as soon as etcd runs again on cp2" in answer.reason
        and "kubelet on cp2 is not running" in answer.reason
    )
    asked = plan_of(forced(replace(situation(cluster), by_hand=True)))
    assert "WHAT cp2 HOLDS" in asked and "kubelet on cp2 is not running" in asked


@pytest.mark.parametrize(
    ("host", "alarm"),
    [({"etcd_data": EMPTY}, False), ({}, True)],
    ids=["its data directory is empty", "it has the CORRUPT alarm"],
)
def test_a_machine_that_answers_and_whose_member_cannot_come_back_is_not_waited_for(
    host: dict[str, object], alarm: bool
) -> None:
    cluster = stopped(off(Cluster(3), "cp3"), "cp2", **host)
    if alarm:
        cluster.etcd_changed("cp1", alarms=(AlarmEntry(member_id("cp2"), "CORRUPT"),))
    assert "make cp1" in plan_of(forced(situation(cluster)))
    young = situation(cluster, minutes=1)
    assert isinstance(forced(young), Wait), "cp3 may be booting, and with it quorum is back"


def test_what_cannot_bring_quorum_back_is_not_waited_for() -> None:
    """Three of five are lost for good by what is seen of them, so it makes no difference
    whether the fourth comes back.
    """
    cluster = off(Cluster(5), "cp5")
    for name in ("cp2", "cp3", "cp4"):
        stopped(cluster, name, etcd_data=EMPTY)
    assert "make cp1" in plan_of(forced(situation(cluster, minutes=1.1)))


def test_data_that_are_gone_may_be_in_the_hands_of_somebody_who_restores_them() -> None:
    """Seen in a random story: of two members, one had its data moved away by a person, and forcing
    the other was offered 20 s later.
    """
    cluster = stopped(Cluster(2).no_leader().api_down("cp1"), "cp2", etcd_data=EMPTY)
    early = forced(situation(cluster, minutes=0.5))
    assert (
        isinstance(early, Wait)
        and "somebody restores it" in early.reason
        and "`member_down_after`: 60 s" in early.reason
    )
    assert "console" not in early.reason and "force_after" not in early.reason
    assert "make cp1" in plan_of(forced(situation(cluster, minutes=1.1)))


def test_an_empty_directory_right_after_a_boot_may_be_a_disk_that_is_not_mounted_yet() -> None:
    cluster = off(Cluster(3), "cp3")
    assert isinstance(forced(situation(stopped(cluster, "cp2", etcd_data=EMPTY, uptime=20.0))), Wait)


def test_a_member_whose_disk_is_not_mounted_is_not_given_up() -> None:
    cluster = stopped(off(Cluster(3), "cp3"), "cp2", etcd_data=EMPTY, uptime=9000.0, unmounted=("/var/lib/etcd",))
    answer = forced(situation(cluster, minutes=30))
    assert isinstance(answer, Refusal) and "`mount /var/lib/etcd`" in answer.reason


def test_silent_machines_are_given_the_time_of_a_boot_and_are_never_called_dead() -> None:
    cluster = off(Cluster(3), "cp2", "cp3")
    early = forced(situation(cluster, minutes=4.9))
    assert isinstance(early, Wait) and "silent, NOT proven dead" in early.reason and "force_after" in early.reason
    late = plan_of(forced(situation(cluster, minutes=5.1)))
    assert "silent, NOT proven dead" in late and "look at its console first" in late
    # quorum is lost for ten minutes; the operator mends cp2 and reboots it: its silence is young
    rebooted = situation(cluster, minutes=10)
    rebooted = replace(rebooted, unseen={**rebooted.unseen, "cp2": rebooted.now - timedelta(seconds=30)})
    assert isinstance(forced(rebooted), Wait)


def reset(cluster: Cluster, *names: str) -> Cluster:
    """`kubeadm reset` on these, and the others have no leader."""
    cluster.no_leader().api_down()
    for name in names:
        stopped(cluster, name, etcd_data=EMPTY, joined=False, manifests={}, containers={})
    return cluster


def test_one_that_was_reset_is_waited_for_from_when_that_was_seen_and_not_from_now() -> None:
    """A control plane that was reset is no part of the cluster, and that its data are gone is not found of it: the end
    of the wait moved on with every sweep, and there was no way out.
    """
    cluster = reset(Cluster(3), "cp2", "cp3")
    early, late = situation(cluster, minutes=0.5), situation(cluster, minutes=1.1)
    assert {f.subject for f in early.diagnosis.faults if f.code == "control-plane-reset"} == {"cp2", "cp3"}
    assert not early.diagnosis.find("etcd-data-empty")
    answer = forced(early)
    assert isinstance(answer, Wait) and f"at {utc(early.now + timedelta(seconds=30))}" in answer.reason
    assert "make cp1" in plan_of(forced(late))


def test_the_other_control_planes_are_joined_again_when_quorum_is_back() -> None:
    now = situation(reset(Cluster(3), "cp2", "cp3"))
    finding = now.diagnosis.find("control-plane-reset", "cp2")
    assert finding
    answer = next(p for p in registry() if p.name == "rebuild-control-plane").propose(finding, now)
    assert isinstance(answer, Refusal) and answer.reason.startswith("quorum comes first")
    assert "Then joining cp2 again is" in answer.reason


def test_since_when_something_is_seen_is_now_only_until_that_is_confirmed() -> None:
    now = situation(reset(Cluster(3), "cp2", "cp3"), minutes=5)
    lost, gone, unfound = ("etcd-quorum-lost", ""), ("control-plane-reset", "cp2"), ("etcd-data-empty", "cp2")
    assert now.seen_since(unfound, gone, lost) == now.now - timedelta(minutes=5)
    young = replace(now, since={lost: now.since[lost]}, fault_since=now.now - timedelta(minutes=9))
    assert young.seen_since(unfound, gone, lost) == now.now, "found for the first time, whatever else has lasted"
    assert young.seen_since(unfound, lost) == now.since[lost]
    assert young.seen_since(unfound) == now.now - timedelta(minutes=9)


def test_what_was_seen_and_the_survivor_lacks_is_told() -> None:
    cluster = off(Cluster(3), "cp2", "cp3")
    memory = cluster.memory()
    assert memory.watermark
    memory = replace(memory, watermark=replace(memory.watermark, revision=8302))
    lines = plan_of(forced(situation(cluster, memory=memory)))
    assert f"{8302 - 1234} behind the 8302 that was seen" in lines and "there is no restore point" in lines


@pytest.mark.parametrize("verified", [True, False])
def test_a_verified_restore_point_that_holds_more_than_the_survivor_is_the_better_way(verified: bool) -> None:
    cluster = off(Cluster(3), "cp2", "cp3")
    memory = replace(cluster.memory(), points=(point(8251, verified=verified),))
    answer = forced(situation(cluster, memory=memory))
    if not verified:
        assert "prod-p9, revision 8251, not verified" in plan_of(answer)
        return
    assert isinstance(answer, Refusal)
    assert "restore-etcd-snapshot prod --point prod-p9 --node cp1" in answer.reason and "cp2, cp3" in answer.reason
    assert "prod-p9, revision 8251" in plan_of(forced(replace(situation(cluster, memory=memory), by_hand=True)))


def test_a_point_of_before_does_not_keep_from_going_on() -> None:
    memory: Memory = replace(Cluster(3).memory(), points=(point(1000),))
    assert "prod-p9, revision 1000, verified" in plan_of(
        forced(situation(off(Cluster(3), "cp2", "cp3"), memory=memory))
    )


def test_a_join_that_may_still_finish_is_named_with_its_end() -> None:
    """kubeadm itself gives it 40 s: the plan is there at once, and says what an approval before that would end."""
    stuck = Cluster(1, spares=1).join_stuck()
    early, late = situation(stuck, minutes=0.1), situation(stuck, minutes=1)
    until = early.now - timedelta(seconds=6) + timedelta(seconds=40)
    assert f"kubeadm waits 40 s for it, until {utc(until)}" in plan_of(forced(early))
    assert "kubeadm waits" not in plan_of(forced(late))


def behind(cluster: Cluster, **of_cp1: object) -> tuple[Cluster, Memory]:
    """cp1 is behind what was seen of the cluster, and what it holds is not read in this sweep."""
    cluster.etcd_changed("cp1", revision=900, uid=None, **of_cp1)
    memory = cluster.memory()
    assert memory.watermark
    return cluster, replace(memory, watermark=replace(memory.watermark, uid="the-uid"))


def test_a_member_of_which_is_not_known_what_it_holds_is_gone_on_from_only_when_its_snapshot_tells() -> None:
    cluster, memory = behind(off(Cluster(3), "cp2", "cp3"))
    early = forced(replace(situation(cluster, minutes=0.5, memory=memory), settings=eager(cluster)))
    assert isinstance(early, Wait) and "was not seen yet" in early.reason
    late = forced(situation(cluster, memory=memory))
    assert "its snapshot is looked through" in plan_of(late)
    assert isinstance(late, Proposal) and late.steps[0].operation == FetchSnapshot(
        "before-force-new-cluster", "the-uid"
    )
    assert all(not s.looks for s in late.steps[1:2]), "before anything is changed"


def test_where_nothing_can_tell_only_a_person_says_that_it_is_this_cluster() -> None:
    cluster, memory = behind(off(Cluster(3), "cp2", "cp3"), nodes=None)
    assert memory.watermark
    memory = replace(memory, watermark=replace(memory.watermark, uid=""))
    answer = forced(situation(cluster, memory=memory))
    assert (
        isinstance(answer, Refusal)
        and "etcdctl get" in answer.reason
        and "recoverctl run force-new-cluster prod" in answer.reason
    )
    asked = forced(replace(situation(cluster, memory=memory), by_hand=True))
    assert "WHAT cp1 HOLDS WAS NOT READ" in plan_of(asked)


def test_a_survivor_whose_data_are_seen_need_not_be_looked_through() -> None:
    cluster = off(Cluster(3), "cp2", "cp3").etcd_changed("cp1", uid="the-uid")
    memory = behind(off(Cluster(3), "cp2", "cp3"))[1]
    assert kept_by(forced(situation(cluster, memory=memory))) is CopyPath


def kept_by(answer: Answer) -> type | None:
    """By which operation the data are kept before the survivor is forced; None where nothing is proposed."""
    if not isinstance(answer, Proposal):
        return None
    assert "NOT READ" not in plan_of(answer) and "looked through" not in plan_of(answer)
    (kept,) = (s for s in answer.steps if isinstance(s.operation, FetchSnapshot | CopyPath))
    flag = next(i for i, s in enumerate(answer.steps) if s.commits)
    assert answer.steps.index(kept) < flag, "before anything that cannot be taken back"
    copied = isinstance(kept.operation, CopyPath)
    assert ("member.before-prod-1-at-1234 on cp1 itself" in answer.undo[1]) is copied
    assert ("snapshot, on the bastion" in answer.undo[1]) is not copied
    written = answer.steps[flag].operation
    assert isinstance(written, WriteFile) and bool(written.before) is not copied, "the manifest is aside after a copy"
    return type(kept.operation)


FULL = (200 << 20) - 1
"""Bytes free that do not even suffice for a copy of the database, of which 136 MiB are in the file."""


@pytest.mark.parametrize(
    ("free", "serves", "kept"),
    [
        (50 << 30, True, CopyPath),
        (50 << 30, False, CopyPath),
        (584 << 20, True, CopyPath),
        ((584 << 20) - 1, True, FetchSnapshot),
        ((584 << 20) - 1, False, CopyPath),
        (FULL, True, FetchSnapshot),
        (FULL, False, None),
        (None, True, CopyPath),
        (None, False, CopyPath),
    ],
)
def test_a_snapshot_is_fetched_only_where_a_copy_has_no_room_and_it_can_be_had(
    free: int | None, serves: bool, kept: type | None
) -> None:
    """It may not be served any more by the time somebody approves."""
    cluster = off(Cluster(3), "cp2", "cp3").etcd_changed("cp1", db_size=136 << 20)
    cluster.host("cp1", disks=() if free is None else (DiskView("/", 1, 1), DiskView("/var", 100 << 30, free)))
    now = situation(cluster)
    if not serves:
        cluster.container("cp1", "etcd", started_at=cluster.now - timedelta(seconds=9), restarts=1)
        now = replace(situation(cluster), fault_since=cluster.now - timedelta(minutes=9))
    answer = forced(now)
    assert kept_by(answer) is kept
    if kept is None:
        assert isinstance(answer, Refusal) and "/var there has 200 MiB free" in answer.reason
        assert "takes at least 200 MiB" in answer.reason and "Make room there" in answer.reason
        assert isinstance(forced(replace(now, by_hand=True)), Refusal), "without a way back nobody forces it"


def test_a_log_that_is_kept_apart_is_copied_with_the_data() -> None:
    """Without its log a member's directory is no way back: etcd would begin a cluster of its own over it."""
    cluster = off(Cluster(3), "cp2", "cp3")
    apart = manifest_of("etcd", manifest("etcd", "--data-dir=/var/lib/etcd", "--wal-dir=/wal/of-etcd/").content)
    answer = forced(situation(cluster.manifest("cp1", "etcd", apart)))
    assert isinstance(answer, Proposal)
    copies = [s.operation for s in answer.steps if isinstance(s.operation, CopyPath)]
    kept = "/var/lib/etcd/member.before-prod-1-at-1234"
    assert copies == [CopyPath("/var/lib/etcd/member", kept), CopyPath("/wal/of-etcd", f"{kept}.wal")]
    first = next(i for i, s in enumerate(answer.steps) if s.commits)
    assert all(s.operation not in copies for s in answer.steps[first:]), "before anything that cannot be taken back"
    assert f"{kept} and {kept}.wal on cp1 itself" in answer.undo[1]


def test_a_disk_without_inodes_takes_no_copy() -> None:
    cluster = off(Cluster(3), "cp2", "cp3")
    cluster.host("cp1", disks=(DiskView("/var/lib/etcd", 100 << 30, 50 << 30, inodes=0),))
    assert kept_by(forced(situation(cluster))) is FetchSnapshot


def eager(cluster: Cluster) -> ClusterSettings:
    """Without patience for silent machines."""
    return replace(cluster.settings, bounds=replace(cluster.settings.bounds, force_after=1.0))


def test_a_cluster_that_has_begun_anew_is_nothing_to_go_on_from() -> None:
    cluster = Cluster(1, spares=1).join_stuck()
    view = cluster.etcd["cp1"]
    assert isinstance(view, EtcdView)
    cluster.etcd["cp1"] = replace(
        view,
        revision=52,
        nodes=0,
        pods=0,
        members=(*cluster.members, MemberEntry("9", "", ("https://10.99.1.12:2380",))),
    )
    answer = forced(situation(cluster))
    assert isinstance(answer, Refusal) and "begun a new, empty cluster" in answer.reason


@pytest.mark.parametrize("copies", [True, False], ids=["a plan that copies", "a plan that fetches"])
def test_of_two_that_hold_the_same_the_one_of_the_open_plan_goes_on_though_terms_grow(copies: bool) -> None:
    cluster = off(Cluster(5), "cp3", "cp4", "cp5").etcd_changed("cp2", raft_term=9)
    now = situation(cluster)
    first = forced(now)
    assert isinstance(first, Proposal) and first.steps[0].host == "cp2"
    kept = next(s for s in first.steps if isinstance(s.operation, CopyPath))
    operation = kept.operation if copies else FetchSnapshot("before-force-new-cluster")
    steps = (replace(kept, host="cp1", operation=operation),)
    script = Script()
    script.sweep(lambda c: c.join_stuck(), times=2)
    again = forced(replace(now, plan=replace(script.plan, steps=steps)))
    assert isinstance(again, Proposal) and again.steps[0].host == "cp1"
