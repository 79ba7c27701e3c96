"""Members of etcd that do not reach each other on the port of their peers, one or all: what is said of them, and that
none is offered for removal, by what the kernels of their machines know of their connections.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, Finding
from recoverd.model.observation import UnseenKind
from recoverd.playbooks import registry
from recoverd.playbooks.base import Proposal
from tests.unit.builders import NOW, Cluster, unseen
from tests.unit.test_playbooks import situation

PROBED = ("received signal; shutting down", "skipped leadership transfer for single voting member cluster")
PANIC = "panic: recovering backend from snapshot error: failed to find database snapshot file"


def blocked(*names: str, planes: int = 3) -> Cluster:
    """The port of their peers is dropped on these machines: who calls them, or is called by them, gets no answer."""
    cluster = Cluster(planes, workers=1)
    for name in cluster.joined:
        others = {n: n not in names and name not in names for n in cluster.joined if n != name}
        cluster.host(name, peers={Cluster.address(n): yes for n, yes in others.items()})
    return cluster


def waiting(said: tuple[str, ...] = PROBED, *, called: bool = True) -> Cluster:
    """cp3 is cut off, and its etcd waits in kubelet's back-off; `called`: the others call it in vain."""
    cluster = blocked("cp3").etcd_stopped("cp3", restarts=3, log_tail=said).api_down("cp3").host("cp3", peers={})
    for name in () if called else ("cp1", "cp2"):
        cluster.host(name, peers={Cluster.address(n): True for n in ("cp1", "cp2") if n != name})
    return cluster


def started(cluster: Cluster, *, seconds: float) -> Cluster:
    for name in cluster.joined:
        cluster.container(name, "etcd", started_at=NOW - timedelta(seconds=seconds))
    return cluster


def seen(cluster: Cluster) -> Diagnosis:
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings)


def found(cluster: Cluster, code: str) -> Finding:
    finding = seen(cluster).find(code)
    assert finding is not None, [f.key for f in seen(cluster).findings]
    return finding


def proposals(cluster: Cluster) -> list[str]:
    now = situation(cluster)
    answers = [(p.name, p.propose(f, now)) for f in now.confirmed for p in registry() if f.code in p.repairs]
    return [name for name, answer in answers if isinstance(answer, Proposal)]


@pytest.mark.parametrize("names", [("cp1", "cp2", "cp3"), ("cp1", "cp2")])
def test_where_no_member_reaches_enough_others_that_is_said_and_nothing_is_offered(names: tuple[str, ...]) -> None:
    cluster = blocked(*names).no_leader().api_down()
    finding = found(cluster, Code.ETCD_NO_LEADER)
    assert "do not reach each other" in finding.message
    assert "cp1 has no connection to 10.99.1.12:2380 nor to 10.99.1.13:2380" in finding.message
    assert "cp3 > 10.99.1.11:2380: no connection" in finding.evidence
    assert not proposals(cluster)


@pytest.mark.parametrize(
    "cluster",
    [
        blocked("cp3").no_leader().api_down(),
        blocked("cp1", "cp2", "cp3").host("cp1", peers=None).no_leader().api_down(),
        blocked("cp1", "cp2", "cp3")
        .no_leader()
        .container("cp1", "etcd", running=False)
        .container("cp2", "etcd", running=False),
        started(blocked("cp1", "cp2", "cp3").no_leader().api_down(), seconds=9),
    ],
    ids=[
        "two of them are connected",
        "it is not known of one",
        "two of them do not run just now",
        "all have just booted",
    ],
)
def test_where_that_is_not_proven_it_is_not_said(cluster: Cluster) -> None:
    assert "reach each other" not in found(cluster, Code.ETCD_NO_LEADER).message


def test_one_that_is_cut_off_stays_so_while_it_waits_for_its_next_start() -> None:
    """kubelet's probe ends an etcd without a leader, and lets it wait for up to five minutes."""
    runs = blocked("cp3").no_leader("cp3").api_down("cp3")
    first, later = found(runs, Code.ETCD_MEMBER_ISOLATED), found(waiting(), Code.ETCD_MEMBER_ISOLATED)
    assert first.message == later.message, "each change is told to people"
    assert "cp1 > 10.99.1.13:2380: called, and no answer" in later.evidence
    assert not seen(waiting()).find(Code.ETCD_MEMBER_DOWN)
    assert not proposals(waiting())


def test_one_that_is_stopped_refuses_connections_and_is_down() -> None:
    reached = waiting().host("cp2", peers={Cluster.address(n): True for n in ("cp1", "cp3")})
    for cluster in (waiting(called=False), waiting((PANIC,)), reached):
        assert seen(cluster).find(Code.ETCD_MEMBER_DOWN) and not seen(cluster).find(Code.ETCD_MEMBER_ISOLATED)


def test_one_whose_first_container_ended_is_not_called_cut_off() -> None:
    """As when a person has stopped it behind a firewall that was always there."""
    cluster = waiting().container("cp3", "etcd", restarts=0)
    assert seen(cluster).find(Code.ETCD_MEMBER_DOWN)


def test_files_that_are_damaged_are_seen_though_the_cluster_was_never_seen_well() -> None:
    """recoverd may be started only then: the member was offered for removal, and not to be rebuilt from its peers."""
    cluster = Cluster(3).etcd_stopped("cp2", restarts=4, log_tail=(PANIC,)).api_down("cp2")
    new = replace(cluster.memory(), watermark=None, manifests={}, worked=())
    diagnosis = diagnose(cluster.observation(), new, cluster.settings)
    assert diagnosis.faults[0].key == (Code.ETCD_MEMBER_CORRUPT, "cp2")
    assert not diagnosis.find(Code.ETCD_DATA_LOST)


def test_one_that_answers_nothing_and_reaches_the_others_hangs() -> None:
    cluster = Cluster(3).api_down("cp3")
    cluster.etcd["cp3"] = unseen(UnseenKind.TIMEOUT)
    cluster.host("cp3", peers={Cluster.address(n): True for n in ("cp1", "cp2")})
    cluster.container("cp3", "etcd", started_at=NOW - timedelta(minutes=5))
    assert found(cluster, Code.ETCD_MEMBER_HANGS)
    cluster.host("cp3", peers={Cluster.address("cp1"): True, Cluster.address("cp2"): False}).etcd["cp3"] = (
        blocked().etcd_changed("cp3", leader="").etcd["cp3"]
    )
    assert "connected to 10.99.1.11:2380 and not to the others" in found(cluster, Code.ETCD_MEMBER_ISOLATED).message
