"""One snapshot restored on each of several control planes by itself: every machine is the same member of the same
cluster, and there are as many histories as machines (kubernetes/kubeadm #2641). What etcd says of itself is that of
3.4.23 on the lab.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView, MemberEntry
from recoverd.model.events import Perform
from recoverd.model.finding import State
from recoverd.model.observation import Unseen, UnseenKind
from tests.unit.builders import Cluster
from tests.unit.test_machine import Script

SAME, NEW = "8e9e05c52164694d", "feedface00000000"
PLANES = ("cp1", "cp2", "cp3")


def restored(cluster: Cluster, *names: str, cluster_id: str = NEW) -> Cluster:
    for n, name in enumerate(names):
        alone = (
            MemberEntry(SAME, name, ("http://localhost:2380",), (f"https://{cluster.address(name)}:2379",), False),
        )
        cluster.etcd_changed(
            name, member_id=SAME, leader=SAME, members=alone, cluster_id=cluster_id, revision=900 + 90 * n, raft_term=2
        )
    return cluster


def test_each_is_found_and_nobody_is_believed() -> None:
    cluster = restored(Cluster(control_planes=3), *PLANES)
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    assert found.state is State.ETCD_STUCK
    assert [f.subject for f in found.faults if f.code == Code.ETCD_FOREIGN_CLUSTER] == list(PLANES)
    assert "and so is etcd on cp2 and cp3" in found.summary


@pytest.mark.parametrize("known", [True, False])
def test_whoever_was_that_member_stays_it(known: bool) -> None:
    """A machine that was made from the disk of another."""
    cluster = Cluster(control_planes=3)
    first = cluster.etcd["cp1"]
    assert isinstance(first, EtcdView)
    cluster.etcd_changed("cp2", member_id=first.member_id)
    memory = cluster.memory() if known else replace(cluster.memory(), watermark=None)
    found = diagnose(cluster.observation(), memory, cluster.settings)
    foreign = [f.subject for f in found.faults if f.code == Code.ETCD_FOREIGN_CLUSTER]
    assert foreign == (["cp2"] if known else ["cp1", "cp2"])


def test_one_that_is_only_remembered_is_no_second_one() -> None:
    cluster = restored(Cluster(control_planes=3), *PLANES).etcd_changed("cp2", "cp3", remembered="it was down")
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    assert not [f for f in found.findings if f.code == Code.ETCD_FOREIGN_CLUSTER and "so is etcd" in f.message]


def test_it_is_over_when_all_but_one_are_stopped_and_not_because_they_call_the_same_one_their_leader() -> None:
    cluster = restored(Cluster(control_planes=3), *PLANES)
    key = (Code.ETCD_FOREIGN_CLUSTER, "cp1")

    def still() -> str:
        found = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
        return doubt([key], found, cluster.observation())

    assert "leader in common" in still()
    cluster.etcd["cp2"] = Unseen(UnseenKind.TIMEOUT, "no answer within 3 s")
    assert still()


def test_nothing_is_done_about_anything_unasked_and_nobody_is_healthy() -> None:
    script = Script(control_planes=3)
    script.sweep(times=3)
    states = set()
    for _ in range(40):
        out = script.sweep(lambda c: restored(c, *PLANES).node("w1", ready=False))
        assert not [i for i in out if isinstance(i, Perform)], out
        states.add(script.where[0])
    assert State.HEALTHY not in states - {State.HEALTHY} and script.where[0] is State.ETCD_STUCK
