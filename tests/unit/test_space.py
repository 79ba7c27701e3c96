"""etcd that has reached its quota: what is proposed, what is refused, and what is said of members that
kubelet's probe restarts meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.memory.recall import BACK_OFF, last_words, recall
from recoverd.model.catalogue import Code
from recoverd.model.etcd import AlarmEntry, EtcdView, PrefixUse
from recoverd.model.etcd_operations import DisarmAlarm
from recoverd.model.observation import DiskView, EtcdDataView, UnseenKind
from recoverd.model.space_operations import AwaitWrites, Compact, Defragment
from recoverd.playbooks import registry
from recoverd.playbooks.base import Proposal, Refusal, Situation, Wait
from recoverd.playbooks.free_etcd_space import READING
from tests.unit.builders import NOW, Cluster, manifest, member_id, unseen
from tests.unit.test_playbooks import asked, situation

MIB = 1 << 20
EVENTS = PrefixUse("/registry/events/", 90000, 900 * MIB)


def full(
    cluster: Cluster,
    *,
    uses: tuple[PrefixUse, ...] = (EVENTS,),
    size: int = 2 << 30,
    alarms: tuple[str, ...] = ("NOSPACE",),
) -> Cluster:
    """cp1 has raised the alarm, which every member tells."""
    raised = tuple(AlarmEntry(member_id("cp1"), alarm) for alarm in alarms)
    for name in cluster.joined:
        cluster.etcd_changed(
            name,
            alarms=raised,
            healthy=False,
            health_reason="/health says false",
            db_size=size,
            db_in_use=size,
            prefixes=uses,
        )
    return cluster


def proposal(cluster: Cluster) -> Proposal:
    answer = asked("free-etcd-space", Code.ETCD_NOSPACE, cluster)
    assert isinstance(answer, Proposal), answer
    return answer


def refusal(cluster: Cluster) -> str:
    answer = asked("free-etcd-space", Code.ETCD_NOSPACE, cluster)
    assert isinstance(answer, Refusal), answer
    return answer.reason


def test_history_is_dropped_each_member_is_defragmented_and_the_alarm_is_taken_back() -> None:
    plan = proposal(full(Cluster(3)))
    operations = [type(s.operation) for s in plan.steps]
    assert [s.host for s in plan.steps if isinstance(s.operation, Defragment)] == ["cp1", "cp2", "cp3"]
    order = [operations.index(kind) for kind in (Compact, Defragment, DisarmAlarm, AwaitWrites)]
    assert order == sorted(order) and plan.steps[-1].operation == AwaitWrites()
    assert "snapshot" in plan.steps[3].description and "no object" in plan.destroys[0]
    assert any("/registry/events/: 90000 keys, about 900 MiB" in line for line in plan.evidence)


def test_the_plan_is_the_same_whoever_leads_and_whoever_was_just_restarted() -> None:
    """It waits for an approval while kubelet's probe restarts the members one after the other."""
    first = proposal(full(Cluster(3))).steps
    other = full(Cluster(3))
    for name in other.joined:
        other.etcd_changed(name, leader=member_id("cp3"), quota=0)
    other.etcd_changed("cp2", leader="", remembered="as it said before it was restarted")
    assert [(s.host, s.operation) for s in proposal(other).steps] == [(s.host, s.operation) for s in first]


def test_objects_that_fill_it_by_themselves_are_named_and_nothing_is_done() -> None:
    uses = (replace(EVENTS, size=1900 * MIB), PrefixUse("/registry/pods/", 20, MIB))
    reason = refusal(full(Cluster(1), uses=uses))
    assert (
        "about 1901 MiB of its quota of 2048 MiB" in reason
        and "/registry/events/: 90000 keys" in reason
        and "--quota-backend-bytes" in reason
    )
    now = replace(situation(full(Cluster(1), uses=uses)), by_hand=True)
    assert isinstance(answer(now), Proposal)


def test_no_plan_is_made_before_it_is_known_what_takes_the_space() -> None:
    """Where objects do, there is nothing to free; but a member that never tells must not keep the plan away."""
    now = situation(full(Cluster(1), uses=()))
    (key,) = [f.key for f in now.confirmed if f.code == Code.ETCD_NOSPACE]
    assert isinstance(answer(replace(now, since={key: now.now})), Wait)
    assert isinstance(answer(replace(now, since={key: now.now - timedelta(seconds=READING)})), Proposal)
    assert isinstance(answer(replace(now, since={key: now.now}, by_hand=True)), Proposal)


def answer(now: Situation) -> object:
    finding = now.diagnosis.find(Code.ETCD_NOSPACE)
    assert finding
    return next(p for p in registry() if p.name == "free-etcd-space").propose(finding, now)


@pytest.mark.parametrize(
    ("flag", "most"),
    [("--quota-backend-bytes=41943040", 39845888), ("--quota-backend-bytes=-1", 0), ("--x=1", 2040109465)],
)
def test_the_quota_is_that_of_the_manifest(flag: str, most: int) -> None:
    cluster = full(Cluster(1), uses=())
    cluster.manifest("cp1", "etcd", manifest("etcd", flag))
    assert next(s.operation for s in proposal(cluster).steps if isinstance(s.operation, Defragment)).most == most


def test_it_is_refused_without_quorum_room_or_a_cluster_that_agrees() -> None:
    assert any(line.startswith("cp3 is not seen") for line in proposal(full(Cluster(3)).powered_off("cp3")).evidence)
    lone = full(Cluster(3)).powered_off("cp2", "cp3")
    assert "1 of 3 members are seen, 2 are needed" in refusal(lone)
    assert "CORRUPT" in refusal(full(Cluster(3), alarms=("NOSPACE", "CORRUPT")))
    small = full(Cluster(1)).host(
        "cp1", disks=(DiskView("/", 100 << 30, 800 * MIB), DiskView("/var/lib/kubelet", 1, 1))
    )
    assert "/ on cp1 has 800 MiB free" in refusal(small)


def restarted(cluster: Cluster) -> Cluster:
    """kubelet's probe has ended etcd on cp1, and its container waits to be started again."""
    full(cluster)
    cluster.etcd["cp1"] = unseen(UnseenKind.REFUSED)
    return cluster.container("cp1", "etcd", running=False, restarts=1)


@pytest.mark.parametrize("planes", [1, 3])
def test_a_member_that_is_restarted_for_the_alarm_is_not_called_down(planes: int) -> None:
    heard = last_words(full(Cluster(planes)).observation(), {})
    away = restarted(Cluster(planes))
    seen = recall(away.observation(), last_words(away.observation(), heard))
    view = seen.etcd["cp1"]
    assert (
        isinstance(view, EtcdView) and view.full and not view.has_leader and "while the alarm is up" in view.remembered
    )
    codes = {f.code for f in diagnose(seen, away.memory(), away.settings).faults}
    assert Code.ETCD_NOSPACE in codes and not codes & {
        Code.ETCD_MEMBER_DOWN,
        Code.ETCD_QUORUM_LOST,
        Code.ETCD_NO_LEADER,
    }, codes


def test_what_it_said_holds_no_longer_than_a_back_off_nor_when_the_alarm_is_gone() -> None:
    heard = last_words(full(Cluster(1)).observation(), {})
    away = restarted(Cluster(1, now=NOW + timedelta(seconds=BACK_OFF)))
    assert not isinstance(recall(away.observation(), heard).etcd["cp1"], EtcdView)
    assert last_words(Cluster(1).observation(), heard) == {}
    moved = restarted(Cluster(1)).host("cp1", etcd_data=EtcdDataView("/var/lib/etcd", True, True))
    assert not isinstance(recall(moved.observation(), heard).etcd["cp1"], EtcdView)
