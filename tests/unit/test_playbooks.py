"""The playbooks: what each proposes, on what it waits, and what it must refuse."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.bastion_operations import FetchSnapshot, RemoveMember
from recoverd.model.catalogue import Code
from recoverd.model.etcd import AlarmEntry, EtcdView
from recoverd.model.memory import Memory
from recoverd.model.observation import EtcdDataView, UnitView, Unseen
from recoverd.model.operations import MovePath, WriteFile
from recoverd.model.points import PointSettings
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.etcd_manifest import annotated, with_flag, without_flag
from tests.shells import sent
from tests.unit.builders import Cluster, manifest, member_id


def situation(cluster: Cluster, *, minutes: float = 10, memory: Memory | None = None) -> Situation:
    """The cluster as it is, with every finding `minutes` old."""
    observation = cluster.observation()
    memory = memory or cluster.memory()
    diagnosis = diagnose(observation, memory, cluster.settings)
    since = {f.key: observation.at - timedelta(minutes=minutes) for f in diagnosis.faults}
    unseen = {
        n: observation.at - timedelta(minutes=minutes) for n, v in observation.hosts.items() if isinstance(v, Unseen)
    }
    return Situation(
        observation.at,
        "prod-1",
        cluster.settings,
        observation,
        diagnosis,
        memory,
        diagnosis.faults,
        since,
        unseen=unseen,
    )


def asked(name: str, code: str, cluster: Cluster, *, minutes: float = 10, memory: Memory | None = None) -> Answer:
    now = situation(cluster, minutes=minutes, memory=memory)
    finding = now.diagnosis.find(code)
    assert finding, f"{code} is not found, but {[f.code for f in now.diagnosis.findings]}"
    return next(p for p in registry() if p.name == name).propose(finding, now)


def proposed(name: str, code: str, cluster: Cluster, *, minutes: float = 10) -> Proposal:
    answer = asked(name, code, cluster, minutes=minutes)
    assert isinstance(answer, Proposal), answer
    return answer


def test_a_missing_manifest_is_written_only_where_there_is_none() -> None:
    cluster = Cluster(1)
    known = cluster.memory().manifests["cp1"]["kube-apiserver"]
    cluster.manifest("cp1", "kube-apiserver", None).container("cp1", "kube-apiserver", running=False).api_down()
    write = proposed("restore-manifest", "apiserver-manifest-missing", cluster).steps[0].operation
    assert isinstance(write, WriteFile)
    assert (write.path, write.content, write.before) == (known.path, known.content, "")


def test_the_etcd_manifest_is_never_put_over_an_empty_data_directory() -> None:
    cluster = Cluster(3).manifest("cp2", "etcd", None).etcd_stopped("cp2")
    assert isinstance(asked("restore-manifest", "etcd-manifest-missing", cluster), Proposal)
    for data in (EtcdDataView("/var/lib/etcd", True, True), EtcdDataView("/var/lib/etcd", False, True), None):
        cluster.host("cp2", etcd_data=data)
        answer = asked("restore-manifest", "etcd-manifest-missing", cluster)
        assert isinstance(answer, Refusal)
        assert "split brain" in answer.reason or data is None


def test_the_etcd_manifest_is_not_put_in_when_the_data_is_emptied_after_the_plan_was_made(tmp_path: Path) -> None:
    step = (
        proposed(
            "restore-manifest", "etcd-manifest-missing", Cluster(3).manifest("cp2", "etcd", None).etcd_stopped("cp2")
        )
        .steps[0]
        .operation
    )
    assert isinstance(step, WriteFile) and step.needs == "/var/lib/etcd/member/snap/db"
    data, target = tmp_path / "the data" / "member", tmp_path / "etcd.yaml"
    data.mkdir(parents=True)
    write = replace(step, path=str(target), needs=f"{data}/db", keep="", beside=str(tmp_path / "beside"))
    refused = subprocess.run(["sh", "-c", sent(write.call())], capture_output=True, text=True, check=False)
    assert (refused.returncode, target.exists()) == (3, False) and "does not exist" in refused.stderr
    (data / "db").touch()
    assert (
        subprocess.run(["sh", "-c", sent(write.call())], check=False).returncode == 0
        and target.read_text() == step.content
    )


def test_a_manifest_that_was_never_recorded_is_not_invented() -> None:
    cluster = Cluster(1)
    memory = replace(cluster.memory(), manifests={"cp1": {"etcd": cluster.memory().manifests["cp1"]["etcd"]}})
    cluster.manifest("cp1", "kube-apiserver", manifest("kube-apiserver", "--broken")).container(
        "cp1", "kube-apiserver", running=False
    ).api_down()
    now = situation(cluster, memory=memory)
    assert not any(
        isinstance(p.propose(f, now), Proposal) for f in now.confirmed for p in registry() if f.code in p.repairs
    )


@pytest.mark.parametrize(
    ("unit", "word"),
    [
        (UnitView("kubelet", "masked", "inactive", "dead"), "masked"),
        (UnitView("kubelet", "loaded", "activating", "auto-restart", "exit-code"), "journalctl -u kubelet"),
    ],
)
def test_a_masked_or_failing_kubelet_is_not_started(unit: UnitView, word: str) -> None:
    cluster = Cluster(1)
    units = cluster.host_view().units
    cluster.host("cp1", units={**units, "kubelet": unit})
    answer = asked("start-node-services", "kubelet-down", cluster)
    assert isinstance(answer, Refusal) and word in answer.reason


def test_the_runtime_is_started_before_kubelet() -> None:
    cluster = Cluster(1).stopped("cp1", "kubelet", "containerd")
    proposal = proposed("start-node-services", "container-runtime-down", cluster)
    assert [s.description for s in proposal.steps] == ["start containerd on cp1", "start kubelet on cp1"]


def test_a_dead_member_is_offered_for_removal_only_after_a_while_and_with_quorum_afterwards() -> None:
    cluster = Cluster(3).powered_off("cp3")
    assert isinstance(asked("remove-member", "etcd-member-down", cluster, minutes=0.5), Wait)
    proposal = proposed("remove-member", "etcd-member-down", cluster)
    assert [s.operation for s in proposal.steps if isinstance(s.operation, RemoveMember)] == [
        RemoveMember(member_id("cp3"))
    ]
    assert all(s.host != "cp3" for s in proposal.steps)
    assert any("afterwards 2, 2 needed, 2 healthy" in line for line in proposal.evidence)


@pytest.mark.parametrize(
    ("points", "fetched", "told"),
    [(True, [], "A restore point from before is kept"), (False, ["cp1"], "A snapshot from before is kept")],
    ids=["a restore point comes first", "no restore points"],
)
def test_what_is_kept_before_a_member_is_removed_is_kept_once_and_told(
    points: bool, fetched: list[str], told: str
) -> None:
    cluster = Cluster(3).powered_off("cp3")
    cluster.settings = replace(cluster.settings, points=PointSettings(before_plans=points))
    proposal = proposed("remove-member", "etcd-member-down", cluster)
    assert [s.host for s in proposal.steps if isinstance(s.operation, FetchSnapshot)] == fetched
    assert told in proposal.undo[0]
    assert proposal.steps[0].requires == (("etcd-member-down", "cp3"),), (
        "it may be back by the time the restore point was taken"
    )


def test_members_whose_data_are_in_doubt_are_not_asked_to_remove_another() -> None:
    cluster = (
        Cluster(3)
        .powered_off("cp3")
        .etcd_changed(alarms=tuple(AlarmEntry(member_id(n), "CORRUPT") for n in ("cp1", "cp2")))
    )
    assert isinstance(asked("remove-member", "etcd-member-down", cluster), Refusal)


def test_the_survivor_with_the_highest_revision_goes_on_and_the_others_are_stopped_for_good_first() -> None:
    cluster = Cluster(5, workers=1).powered_off("cp3", "cp4", "cp5").no_leader().api_down("cp1", "cp2")
    cluster.etcd_changed("cp2", revision=1300)
    proposal = proposed("force-new-cluster", "etcd-quorum-lost", cluster)
    assert "cp2 (revision 1300" in proposal.summary
    stopped = [s for s in proposal.steps if isinstance(s.operation, MovePath)]
    assert {s.host for s in stopped if "for good" in s.description} == {"cp1"}, "the other survivor is stopped first"
    flag = next(i for i, s in enumerate(proposal.steps) if s.commits)
    assert all(proposal.steps.index(s) < flag for s in stopped)
    assert sum("keep it OFF" in line for line in proposal.destroys) == 3


@pytest.mark.parametrize(("version", "told"), [("3.4.3", True), ("3.4.13", True), ("3.4.14", False), ("3.5.16", False)])
def test_what_is_known_against_the_force_flag_of_a_version_is_told(version: str, told: bool) -> None:
    cluster = Cluster(3).powered_off("cp2", "cp3").no_leader().api_down("cp1").etcd_changed(version=version)
    plan = proposed("force-new-cluster", "etcd-quorum-lost", cluster)
    assert any("#12285" in line for line in plan.evidence) is told


def test_where_the_force_flag_of_a_version_fails_nobody_is_moved_aside_for_it() -> None:
    cluster = Cluster(3).powered_off("cp2", "cp3").no_leader().api_down("cp1").etcd_changed(version="3.6.0")
    answer = asked("force-new-cluster", "etcd-quorum-lost", cluster)
    assert isinstance(answer, Refusal) and "etcd 3.6.0" in answer.reason and "restore-etcd-snapshot" in answer.reason


def test_a_corrupt_member_is_not_what_a_new_cluster_is_made_of() -> None:
    cluster = Cluster(5, workers=1).powered_off("cp3", "cp4", "cp5").no_leader().api_down("cp1", "cp2")
    cluster.etcd_changed("cp2", revision=1300).etcd_changed(alarms=(AlarmEntry(member_id("cp2"), "CORRUPT"),))
    assert "make cp1" in proposed("force-new-cluster", "etcd-quorum-lost", cluster).summary
    cluster.etcd_changed(alarms=tuple(AlarmEntry(member_id(n), "CORRUPT") for n in ("cp1", "cp2")))
    answer = asked("force-new-cluster", "etcd-quorum-lost", cluster)
    assert isinstance(answer, Refusal) and "CORRUPT" in answer.reason


def test_a_member_that_is_only_stopped_is_not_removed() -> None:
    """Its machine answers, and its data are whole: a full disk, swap that is on. A good member was
    offered for removal after a minute.
    """
    cluster = Cluster(3).etcd_stopped("cp2", restarts=4, log_tail=("write wal/1.tmp: no space left on device",))
    answer = asked("remove-member", "etcd-member-down", cluster)
    assert (
        isinstance(answer, Refusal)
        and "is stopped and not lost" in answer.reason
        and "no space left on device" in answer.reason
    )
    now = replace(situation(cluster), by_hand=True)
    finding = now.diagnosis.find("etcd-member-down")
    assert finding and isinstance(
        next(p for p in registry() if p.name == "remove-member").propose(finding, now), Proposal
    )


def test_members_that_were_alive_are_waited_for_and_one_that_never_started_is_not() -> None:
    off = Cluster(3).powered_off("cp2", "cp3").no_leader().api_down("cp1")
    assert isinstance(asked("force-new-cluster", "etcd-quorum-lost", off, minutes=0.5), Wait)
    stuck = Cluster(1, spares=1).join_stuck()
    assert asked("remove-member", "etcd-member-never-started", stuck) is None, "it needs quorum"
    assert isinstance(asked("force-new-cluster", "etcd-quorum-lost", stuck, minutes=0.1), Proposal)


def test_members_of_different_clusters_are_for_a_person() -> None:
    cluster = Cluster(3).powered_off("cp3").no_leader().api_down("cp1", "cp2")
    view = cluster.etcd["cp2"]
    assert isinstance(view, EtcdView)
    now = situation(Cluster(3).powered_off("cp2", "cp3").no_leader().api_down("cp1"))
    now = replace(
        now, observation=replace(now.observation, etcd={**cluster.etcd, "cp2": replace(view, cluster_id="deadbeef")})
    )
    finding = now.diagnosis.find("etcd-quorum-lost")
    assert finding
    answer = next(p for p in registry() if p.name == "force-new-cluster").propose(finding, now)
    assert isinstance(answer, Refusal) and "different clusters" in answer.reason


KUBEADM = (
    "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    a: b\n  name: etcd\nspec:\n  containers:\n  - "
    "command:\n    - etcd\n    - --name=cp1\n"
)


def test_the_flag_goes_in_and_out_and_nothing_else_changes() -> None:
    flagged = with_flag(KUBEADM)
    assert flagged is not None and "    - etcd\n    - --force-new-cluster=true\n    - --name=cp1\n" in flagged
    assert without_flag(flagged) == KUBEADM
    assert with_flag(flagged) == flagged
    assert with_flag("spec:\n  containers:\n  - command: [etcd, --name=cp1]\n") is None


def test_the_annotation_is_the_only_difference_and_replaces_an_older_one() -> None:
    once = annotated(KUBEADM, "prod-1")
    assert once == KUBEADM.replace("  annotations:\n", "  annotations:\n    recoverd/incident: prod-1\n")
    assert annotated(once, "prod-2") == once.replace("prod-1", "prod-2")
    assert annotated("not: [yaml", "prod-1") == "not: [yaml"


def test_no_member_that_was_forced_is_started_beside_others_without_the_flag() -> None:
    """Found by a random story: recoverd put the known-good manifest in, and with it a second
    cluster in front of an API server.
    """
    forced = manifest("etcd", "--force-new-cluster=true")
    three = (
        Cluster(3)
        .manifest("cp1", "etcd", forced)
        .etcd_stopped("cp1", restarts=3, log_tail=("panic: recovering backend from snapshot error",))
    )
    answer = asked("restore-manifest", Code.ETCD_MANIFEST_CHANGED, three)
    assert isinstance(answer, Refusal) and "a second one beside cp2, cp3" in answer.reason
    alone = Cluster(1).manifest("cp1", "etcd", forced).etcd_stopped("cp1", restarts=3).api_down()
    assert isinstance(asked("restore-manifest", Code.ETCD_MANIFEST_CHANGED, alone), Proposal)
