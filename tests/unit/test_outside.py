"""An etcd that is none of the cluster's static pods: that its data went back is found, and what follows is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.machine import ClusterMachine
from recoverd.memory.remember import WATERMARK_EVERY
from recoverd.model import codec
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView, MemberEntry
from recoverd.model.events import Observed, Remember
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.memory import Memory
from recoverd.model.observation import Unseen
from recoverd.model.places import OutsideEtcd, Socket, outside_etcd, places_of
from recoverd.playbooks import registry
from tests.unit.builders import NOW, Cluster, manifest, member_id, unseen
from tests.unit.test_places import SERVERS, external

Servers = Mapping[str, EtcdView | Unseen]
NAMES = ("etcd1.example:2379", "10.99.9.12:2379", "etcd3.example:2379")
UID = "0b6df153-2a0e-4a3c-a2b1-5d9f0e7c1a22"


def servers(revision: int, *, cluster_id: str = "c1", uid: str = UID, dark: tuple[str, ...] = ()) -> Servers:
    """Three of one cluster, the first of which leads."""
    entries = tuple(MemberEntry(member_id(n), n, (f"https://{n}",), (f"https://{n}",), learner=False) for n in NAMES)
    view = replace(
        Cluster(1).etcd_view("cp1"), cluster_id=cluster_id, leader=member_id(NAMES[0]), members=entries, uid=uid
    )
    return {
        n: unseen() if n in dark else replace(view, member_id=member_id(n), revision=revision, nodes=5) for n in NAMES
    }


class Watch:
    """A machine of such a cluster."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.machine = ClusterMachine(Cluster(3).settings, registry(), now=NOW, memory=memory)
        self.seconds = 0.0

    def sweep(self, outside: Servers) -> list[Remember]:
        self.seconds += 5
        now = NOW + timedelta(seconds=self.seconds)
        cluster = external()
        seen = replace(cluster.observation(), at=now, started_at=now, outside=outside)
        return [i for i in self.machine.handle(Observed(seen)) if isinstance(i, Remember)]

    def found(self) -> Finding | None:
        assert self.machine.diagnosis
        return self.machine.diagnosis.find(Code.ETCD_REVISION_WENT_BACK)


def test_that_it_went_back_is_a_fault_and_the_agents_are_restarted_unasked() -> None:
    watch = Watch()
    for revision in (1000, 1010, 1020):
        watch.sweep(servers(revision))
    assert watch.machine.diagnosis and watch.machine.diagnosis.state is State.HEALTHY
    for revision in (700, 701, 702, 703):
        watch.sweep(servers(revision))
    found, plan = watch.found(), watch.machine.record.plan
    assert found and found.severity is Severity.FAULT and found.state is State.WORKER_NETWORK_BROKEN
    assert "below 1020" in found.message, found.message
    assert plan and plan.playbook == "restart-node-agents" and not plan.destructive


def test_a_restored_cluster_has_another_id_and_that_is_seen_also() -> None:
    watch = Watch()
    for _ in range(2):
        watch.sweep(servers(1000))
    for _ in range(3):
        watch.sweep(servers(700, cluster_id="c2"))
    assert (found := watch.found()) and "the cluster id was c1 and is c2" in found.message


def test_what_half_of_them_do_not_say_is_not_concluded_of_another_cluster() -> None:
    watch = Watch()
    for _ in range(2):
        watch.sweep(servers(1000))
    for _ in range(3):
        watch.sweep(servers(700, cluster_id="c2", dark=NAMES[1:]))
    assert watch.found() is None


def test_two_names_of_one_member_are_one() -> None:
    watch = Watch()
    for revision in (1000, 1001, 700, 701, 702):
        seen = servers(revision)
        watch.sweep({**seen, "balancer.example:2379": seen[NAMES[0]]})
    assert watch.found()


def test_a_new_and_empty_one_restarts_nothing() -> None:
    watch = Watch()
    for _ in range(2):
        watch.sweep(servers(1000))
    for _ in range(4):
        watch.sweep(servers(12, cluster_id="c2", uid=""))
    found, plan = watch.found(), watch.machine.record.plan
    assert found and found.state is State.ETCD_STUCK and "begun a new, empty cluster" in found.message
    assert plan is None, plan


@pytest.mark.parametrize("dark", [NAMES[:1], NAMES], ids=["its leader", "all"])
def test_a_leader_that_is_not_seen_says_nothing(dark: tuple[str, ...]) -> None:
    watch = Watch()
    for _ in range(2):
        watch.sweep(servers(1000))
    for _ in range(3):
        watch.sweep(servers(700, dark=dark))
    assert watch.found() is None and not watch.machine.record.plan


def test_how_far_it_has_come_is_in_the_journal_and_not_written_for_every_revision() -> None:
    watch = Watch()
    written = [r for n in range(24) for r in watch.sweep(servers(1000 + n))]
    assert len(written) < 24 * 5 / WATERMARK_EVERY + 4
    kept = codec.load(Memory, codec.dump(written[-1].memory))
    assert kept.outside and kept.outside.revision > 1000 and kept.watermark is None
    again = Watch(kept)
    for _ in range(3):
        again.sweep(servers(700))
    assert again.found()


def test_the_notice_says_whether_that_is_read() -> None:
    for outside, words in (
        (servers(1000), "is read from the leader's revision"),
        (servers(1000, dark=NAMES), "permitopen"),
        ({}, "was not asked yet"),
    ):
        watch = Watch()
        watch.sweep(outside)
        assert watch.machine.diagnosis
        told = [f for f in watch.machine.diagnosis.findings if f.subject == "etcd"]
        assert [f.code for f in told] == [Code.SOURCE_UNSEEN] and words in told[0].message, told


def test_how_its_servers_are_reached_is_in_the_manifest_of_the_api_server() -> None:
    files = ("/etc/kubernetes/pki/etcd/ca.crt", "/etc/pki/c.crt", "/etc/pki/c.key")
    flags = [f"--etcd-servers={SERVERS}", *map("=".join, zip(
        ("--etcd-cafile", "--etcd-certfile", "--etcd-keyfile"), files, strict=True
    ))]  # fmt: skip
    reached = (Socket("etcd1.example", 2379, tls=True), Socket("10.99.9.12", 2379, tls=True))
    assert outside_etcd(manifest("kube-apiserver", *flags).content) == OutsideEtcd(reached, files, "/registry")
    other = manifest("kube-apiserver", "--etcd-servers=http://e:2379", "--etcd-prefix=kubernetes.io/").content
    assert outside_etcd(other) == OutsideEtcd((Socket("e", 2379, tls=False),), (), "/kubernetes.io")
    assert outside_etcd(manifest("kube-apiserver", "--etcd-servers=https://127.0.0.1:2379").content) is None


def test_objects_under_another_prefix_are_counted_there() -> None:
    """Nodes and pods were counted as 0, which made of older data a new, empty cluster."""
    local = "--etcd-servers=https://127.0.0.1:2379"
    api = manifest("kube-apiserver", local, "--etcd-prefix=/k8s").content
    assert places_of((api,), ()).registry == "/k8s"
    assert places_of((), (), places_of((api,), ())).registry == "/k8s"
    assert places_of((manifest("kube-apiserver", local).content,), (), places_of((api,), ())).registry == "/registry"
