"""`rebuild-control-plane`: when a control plane counts as reset, what it is rebuilt from, and where it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, State
from recoverd.model.memory import KnownFile, KnownPki, Memory
from recoverd.model.observation import EtcdDataView, EtcdToolView, PkiView
from recoverd.model.operations import WriteFile, sha256
from recoverd.model.pki_operations import PutBackPki, RepairKubeletClient
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.rebuild_control_plane import CONFIG
from tests.unit.builders import NOW, Cluster
from tests.unit.test_points import point

NAME, KEPT, TEXT = "rebuild-control-plane", "/var/lib/recoverd/pki/0123456789abcdef", "kind: KubeletConfiguration\n"


def reset(cluster: Cluster, *names: str) -> Cluster:
    """As `kubeadm reset -f` leaves these."""
    for name in names:
        cluster.etcd_stopped(name).stopped(name, "kubelet").host(
            name,
            joined=False,
            manifests={},
            containers={},
            certificates=(),
            pki=PkiView(),
            etcd_data=EtcdDataView("/var/lib/etcd", False, True),
            etcd_tool=EtcdToolView("/usr/bin/etcdctl", "3.4.13", False),
        )
    return cluster.api_down(*names)


def memory(cluster: Cluster, *, kept: str = KEPT, config: bool = True) -> Memory:
    digest = sha256(TEXT)
    return replace(
        cluster.memory(),
        pki={n: KnownPki({}, {}, "", NOW, kept) for n in cluster.joined},
        files={n: {CONFIG: KnownFile(digest, NOW)} for n in cluster.joined} if config else {},
        texts={digest: TEXT},
        points=(point(1),),
    )


def judged(cluster: Cluster, known: Memory | None = None) -> Diagnosis:
    return diagnose(cluster.observation(), known or memory(cluster), cluster.settings)


def situation(cluster: Cluster, known: Memory | None = None) -> Situation:
    known = known or memory(cluster)
    diagnosis = judged(cluster, known)
    return Situation(
        cluster.now,
        "prod-1",
        cluster.settings,
        cluster.observation(),
        diagnosis,
        known,
        diagnosis.faults,
        since={f.key: NOW for f in diagnosis.faults},
    )


def ask(now: Situation, name: str = NAME) -> Answer:
    playbook = next(p for p in registry() if p.name == name)
    return playbook.propose(next(f for f in now.confirmed if f.code in playbook.repairs), now)


def test_what_made_it_a_control_plane_is_gone_and_nobody_leads() -> None:
    found = judged(reset(Cluster(1), "cp1"))
    assert found.state is State.ETCD_STUCK
    assert [f.code for f in found.faults] == [Code.CONTROL_PLANE_RESET, Code.ETCD_DATA_LOST]
    assert KEPT in found.faults[0].evidence[2]


@pytest.mark.parametrize("left", ["kubelet.conf", "manifests", "data", "never worked", "unseen"])
def test_what_is_left_or_was_never_there_or_is_not_seen_is_no_reset(left: str) -> None:
    cluster, known = reset(Cluster(1), "cp1"), memory(Cluster(1))
    match left:
        case "kubelet.conf":
            cluster.host("cp1", joined=True)
        case "manifests":
            cluster.host("cp1", manifests=Cluster(1)._seen("cp1").manifests)
        case "data":
            cluster.host("cp1", etcd_data=EtcdDataView("/var/lib/etcd", True, False))
        case "unseen":
            cluster.ssh_fails("cp1")
        case _:
            known = replace(known, manifests={}, worked=())
    assert judged(cluster, known).find(Code.CONTROL_PLANE_RESET) is None


def test_one_of_three_is_no_case_for_a_restore() -> None:
    """It joins again (tests/unit/test_rejoin.py)."""
    assert judged(reset(Cluster(3), "cp2")).find(Code.ETCD_DATA_LOST) is None


def test_certificates_kubelets_files_then_data_and_manifests_in_one_plan() -> None:
    made = ask(situation(reset(Cluster(1), "cp1")))
    assert isinstance(made, Proposal), made
    operations = [s.operation for s in made.steps]
    put, config = operations[0], operations[1]
    assert isinstance(put, PutBackPki) and put.source == KEPT and f"{KEPT}/kubelet-client-repaired" in put.marks
    assert isinstance(config, WriteFile) and (config.path, config.content, config.before) == (CONFIG, TEXT, "")
    kinds = [o.kind for o in operations]
    assert kinds.index("repair-kubelet-client") < kinds.index("unit") < kinds.index("restore-snapshot")
    written = [o.path.rpartition("/")[2] for o in operations if isinstance(o, WriteFile)]
    assert written == [
        "config.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml", "etcd.yaml", "kube-apiserver.yaml",
    ]  # fmt: skip
    assert made.destroys and "everything written" in made.destroys[0]
    repair = next(o for o in operations if isinstance(o, RepairKubeletClient))
    assert repair.kept == KEPT


def test_the_plan_waits_until_the_loss_is_seen_twice_since_it_goes_by_when_that_began() -> None:
    now = situation(reset(Cluster(1), "cp1"))
    once = {key: since for key, since in now.since.items() if key[0] != Code.ETCD_DATA_LOST}
    answer = ask(replace(now, since=once))
    assert isinstance(answer, Wait) and "next sweep" in answer.reason


def test_nothing_is_restored_without_what_is_kept_there() -> None:
    cluster = reset(Cluster(1), "cp1")
    for known, why in (
        (memory(cluster, kept=""), "keys_on_bastion"),
        (memory(cluster, config=False), "cp1/files"),
        (replace(memory(cluster), points=()), "no restore point"),
    ):
        answer = ask(situation(cluster, known))
        assert isinstance(answer, Refusal) and why in answer.reason
        alone = ask(situation(cluster, known), "restore-etcd-snapshot")
        assert isinstance(alone, Refusal) and "has been reset" in alone.reason, "data alone would serve nobody"


def test_beside_a_member_that_may_hold_the_data_nothing_is_rebuilt() -> None:
    cluster = reset(Cluster(3), "cp1", "cp2").powered_off("cp3")
    now = situation(cluster)
    assert {f.subject for f in now.confirmed if f.code == Code.CONTROL_PLANE_RESET} == {"cp1", "cp2"}
    answer = ask(now)
    assert isinstance(answer, Refusal) and "may hold newer data" in answer.reason


def test_neither_agents_are_restarted_nor_units_started_beside_it() -> None:
    now = situation(reset(Cluster(1), "cp1"))
    others = {"restart-node-agents", "start-node-services", "restore-manifest", "restore-pki"}
    offered = {
        p.name
        for p in registry()
        for f in now.confirmed
        if f.code in p.repairs and isinstance(p.propose(f, now), Proposal)
    }
    assert offered == {NAME} and not offered & others
