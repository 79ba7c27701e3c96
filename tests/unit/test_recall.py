"""A member that was restarted without quorum answers nothing; what it said before still holds,
until anything shows a leader.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from recoverd.memory.recall import last_words, recall
from recoverd.model.bastion_operations import FetchSnapshot
from recoverd.model.call import Call
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView
from recoverd.model.events import Refused
from recoverd.model.finding import Phase, State
from recoverd.model.observation import EtcdDataView, UnseenKind
from recoverd.model.operations import CopyPath, MovePath
from recoverd.model.text import utc
from tests.shells import sent
from tests.unit.builders import NOW, Cluster, unseen
from tests.unit.test_machine import Script


def stuck(cluster: Cluster) -> Cluster:
    return cluster.join_stuck()


def slow(cluster: Cluster) -> Cluster:
    """The same process as before does not answer in time."""
    cluster.join_stuck()
    cluster.etcd["cp1"] = unseen(UnseenKind.TIMEOUT)
    return cluster


def mute(cluster: Cluster) -> Cluster:
    """kubelet has restarted etcd."""
    return slow(cluster).container("cp1", "etcd", started_at=cluster.now, restarts=1)


def test_quorum_stays_lost_when_the_survivor_is_restarted_and_the_plan_goes_on_from_a_copy_of_its_data() -> None:
    """The approval comes when it comes: in the lab 3 s after the probe had ended the etcd that served."""
    s = Script()
    s.sweep(stuck, times=2)
    first = s.plan
    s.sweep(mute, times=3)
    assert s.where == (State.ETCD_STUCK, Phase.AWAITING_APPROVAL) and s.plan == first
    finding = s.machine.diagnosis.find(Code.ETCD_QUORUM_LOST) if s.machine.diagnosis else None
    assert finding and any("as it said before it was restarted" in line for line in finding.evidence)
    kinds = [type(step.operation) for step in s.plan.steps]
    assert FetchSnapshot not in kinds and kinds.index(CopyPath) < next(
        i for i, step in enumerate(s.plan.steps) if step.commits
    )
    assert kinds[0] is MovePath and s.plan.steps[0].undo is not None
    s.sweep(mute, times=20)
    assert s.plan == first


def test_a_plan_keeps_to_the_copy_when_the_restarted_member_serves_for_moments() -> None:
    """A joining member's etcd gives it a leader now and then; seen on a busy lab: another plan to
    approve at every turn of that.
    """

    def serving(cluster: Cluster) -> Cluster:
        return stuck(cluster).container("cp1", "etcd", started_at=restarted, restarts=1)

    s = Script()
    s.sweep(stuck, times=3)
    restarted = s.now
    s.sweep(mute, times=3)
    first = s.plan
    for _ in range(4):
        s.sweep(serving, times=5)
        assert s.where == (State.ETCD_STUCK, Phase.AWAITING_APPROVAL) and s.plan == first
        s.sweep(mute, times=5)
        assert s.plan == first
    assert CopyPath in [type(step.operation) for step in first.steps]


def test_a_member_that_is_only_slow_is_judged_by_what_it_said() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    first = s.plan
    s.sweep(slow, times=10)
    assert s.where == (State.ETCD_STUCK, Phase.AWAITING_APPROVAL) and s.plan == first


def test_numbers_that_did_not_come_in_time_are_those_it_gave_before() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    first = s.plan
    s.sweep(lambda c: stuck(c).etcd_changed("cp1", nodes=None, pods=None), times=5)
    assert s.plan == first


def test_of_which_cluster_it_holds_the_data_is_remembered_when_a_sweep_could_not_read_it() -> None:
    heard = last_words(stuck(Cluster(1, spares=1)).etcd_changed("cp1", uid="the-uid").observation(), {})
    for revision, uid in ((1234, "the-uid"), (1235, None)):
        seen = stuck(Cluster(1, spares=1)).etcd_changed("cp1", uid=None, revision=revision).observation()
        for view in (recall(seen, heard).etcd["cp1"], last_words(seen, heard)["cp1"]):
            assert isinstance(view, EtcdView) and view.uid == uid


def test_without_having_heard_it_say_so_nothing_is_concluded_from_silence() -> None:
    s = Script()
    s.sweep(mute, times=5)
    assert s.machine.record.plan is None and s.machine.diagnosis and not s.machine.diagnosis.find(Code.ETCD_QUORUM_LOST)


def test_a_leader_or_a_ready_api_server_ends_it() -> None:
    heard = last_words(stuck(Cluster(spares=1)).observation(), {})
    assert set(heard) == {"cp1"}
    silent = Cluster(spares=1)
    silent.etcd["cp1"] = unseen(UnseenKind.TIMEOUT)
    assert recall(silent.observation(), heard) == silent.observation()
    assert last_words(silent.observation(), heard) == {}
    led = Cluster(3)
    led.api_down()
    led.etcd["cp1"] = unseen(UnseenKind.TIMEOUT)
    assert recall(led.observation(), heard) == led.observation()


def test_nothing_is_recalled_of_a_member_whose_machine_or_data_are_not_seen() -> None:
    heard = last_words(stuck(Cluster(spares=1)).observation(), {})
    assert isinstance(recall(mute(Cluster(spares=1)).observation(), heard).etcd["cp1"], EtcdView)
    for change in (
        lambda c: c.host("cp1", etcd_data=EtcdDataView("/var/lib/etcd", True, True)),
        lambda c: c.host("cp1", etcd_data=None),
        lambda c: c.ssh_fails("cp1"),
    ):
        cluster = mute(Cluster(spares=1))
        change(cluster)
        assert not isinstance(recall(cluster.observation(), heard).etcd["cp1"], EtcdView)


def test_a_copy_is_whole_or_not_there(tmp_path: Path) -> None:
    source, target = tmp_path / "a b", tmp_path / "a b.copy"
    (source / "snap").mkdir(parents=True)
    (source / "snap" / "db").write_bytes(b"\0data")
    copy = CopyPath(str(source), str(target))

    def sh(call: Call | None) -> int:
        return subprocess.run(["sh", "-c", sent(call)], capture_output=True, check=False).returncode

    left = tmp_path / "a b.copy.part"  # by one that was interrupted
    left.mkdir()
    assert sh(copy.check()) != 0
    assert sh(copy.call()) == 0 and sh(copy.check()) == 0
    assert (target / "snap" / "db").read_bytes() == b"\0data" and not left.exists()
    (source / "snap" / "db").write_bytes(b"newer")
    assert sh(copy.call()) == 0 and (target / "snap" / "db").read_bytes() == b"\0data"
    assert sh(replace(copy, source=str(tmp_path / "none"), target=str(tmp_path / "other")).call()) == 3


def test_what_it_said_is_not_said_of_data_that_somebody_has_put_there_since() -> None:
    def with_data(cluster: Cluster, identity: str) -> Cluster:
        return cluster.host("cp1", etcd_data=EtcdDataView("/var/lib/etcd", True, False, identity))

    words = last_words(with_data(stuck(Cluster(1, spares=1)), "8:77").observation(), {})
    assert words["cp1"].of_data == "8:77"
    for identity, holds in (("8:77", True), ("8:78", False)):
        view = recall(with_data(mute(Cluster(1, spares=1)), identity).observation(), words).etcd["cp1"]
        assert isinstance(view, EtcdView) is holds


def test_words_from_before_nobody_looked_for_a_while_are_said_with_their_time() -> None:
    """Nobody else could tell what is wrong: whoever approves is told how old they are."""
    s = Script()
    s.sweep(stuck, times=2)
    said = s.now
    s.now = s.now.replace(hour=s.now.hour + 1)
    s.sweep(mute, times=2)
    assert s.machine.diagnosis is not None
    lost = s.machine.diagnosis.find(Code.ETCD_QUORUM_LOST)
    assert lost and f"as it said at {utc(said)}, before it was restarted" in str(lost)


DAMAGED, FULL_DISK = (
    "panic: invalid page type: 23: 0",
    "panic: write /var/lib/etcd/member/wal/1.tmp: no space left on device",
)
PROBED = "received signal; shutting down"


@pytest.mark.parametrize(
    ("container", "kept", "recalled"),
    [
        ({"running": False, "log_tail": ()}, True, True),
        ({"running": False, "log_tail": (PROBED,)}, True, True),
        ({"running": True, "log_tail": ()}, True, True),
        ({"running": False, "log_tail": (DAMAGED, "goroutine 1 [running]:")}, False, False),
        ({"running": False, "log_tail": ("walpb: crc mismatch",)}, False, False),
        ({"running": True, "log_tail": (DAMAGED,)}, False, False),
        ({"running": True, "started_at": NOW - timedelta(hours=1), "log_tail": (DAMAGED,)}, True, True),
        ({"running": False, "log_tail": (FULL_DISK,)}, True, False),
        ({"running": False, "log_tail": ('{"level":"fatal","msg":"listen failed"}',)}, True, False),
        ({"running": False, "log_tail": ("2026-03-05 19:10:00.1 C | etcdmain: listen failed",)}, True, False),
        ({"running": False, "log_tail": ("error verifying flags, flag provided but not defined: -x",)}, True, False),
        ({"running": False, "log_tail": ("panic: tocommit(9) is out of range [lastIndex(7)]",)}, True, False),
        ({"running": False, "log_tail": ("cp1 found data inconsistency with peers",)}, True, False),
    ],
    ids=[
        "down without a word",
        "ended by kubelet's probe",
        "started again",
        "damaged database",
        "damaged log",
        "damaged, and started again",
        "the process that spoke, and lines of before",
        "its disk is full",
        "fatal",
        "critical, as before 3.5",
        "an unknown flag",
        "entries lost",
        "differs from its peers",
    ],
)
def test_a_member_whose_own_last_words_say_why_it_does_not_come_up_is_not_recalled(
    container: dict[str, Any], kept: bool, recalled: bool
) -> None:
    heard = last_words(stuck(Cluster(1, spares=1)).observation(), {})
    later = slow(Cluster(1, spares=1, now=NOW + timedelta(seconds=10)))
    later.container("cp1", "etcd", **{"started_at": NOW + timedelta(seconds=5), "restarts": 1, **container})
    words = last_words(later.observation(), heard)
    assert ("cp1" in words) is kept
    assert isinstance(recall(later.observation(), words).etcd["cp1"], EtcdView) is recalled


def test_one_that_ended_itself_is_recalled_when_it_stays_up() -> None:
    """Between two ends it listens for a moment like one that kubelet's probe has restarted."""
    words = last_words(stuck(Cluster(1, spares=1)).observation(), {})
    for seconds, began, recalled in (
        (10, None, False),
        (20, 19, False),
        (30, None, False),
        (100, 35, True),
        (105, 35, True),
    ):
        cluster = slow(Cluster(1, spares=1, now=NOW + timedelta(seconds=seconds)))
        started = None if began is None else NOW + timedelta(seconds=began)
        tail = (FULL_DISK,) if began is None else ()
        cluster.container("cp1", "etcd", running=began is not None, started_at=started, restarts=1, log_tail=tail)
        words = last_words(cluster.observation(), words)
        assert isinstance(recall(cluster.observation(), words).etcd["cp1"], EtcdView) is recalled, seconds
    again = mute(Cluster(1, spares=1, now=NOW + timedelta(seconds=120))).container("cp1", "etcd", log_tail=(PROBED,))
    assert isinstance(recall(again.observation(), last_words(again.observation(), words)).etcd["cp1"], EtcdView)


def test_the_last_of_three_corrupt_members_is_found_and_not_forced() -> None:
    """It was the survivor of a loss of quorum, by what it had said before its own files were damaged."""

    def corrupt(*names: str) -> Callable[[Cluster], Cluster]:
        def change(cluster: Cluster) -> Cluster:
            cluster.no_leader().api_down()
            for name in names:
                cluster.host(name, etcd_data=EtcdDataView("/var/lib/etcd", True, False))
                cluster.etcd_stopped(name, restarts=3, log_tail=(DAMAGED,))
            return cluster

        return change

    s = Script(control_planes=3, spares=0)
    s.sweep(times=2)
    s.sweep(corrupt("cp1", "cp2"), times=4)
    assert s.plan.playbook == "force-new-cluster"
    s.sweep(corrupt("cp1", "cp2", "cp3"), times=4)
    assert s.machine.diagnosis
    found = {f.subject for f in s.machine.diagnosis.faults if f.code == Code.ETCD_MEMBER_CORRUPT}
    assert found == {"cp1", "cp2", "cp3"} and s.machine.diagnosis.find(Code.ETCD_DATA_LOST)
    with pytest.raises(Refused, match="does not see etcd-quorum-lost"):
        s.approve()
