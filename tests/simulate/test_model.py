"""The model behaves as the real lab was seen to (DESIGN.md, "Facts"), so that what is
concluded on it holds there too.
"""

from __future__ import annotations

from recoverd.model.etcd import EtcdView
from recoverd.model.observation import EndpointHealth, Unseen, UnseenKind
from recoverd.playbooks.etcd_manifest import annotated, with_flag
from recoverd.simulate import faults
from recoverd.simulate.cluster import ModelCluster, settings_for
from recoverd.simulate.texts import path_of


def cluster(control_planes: int = 1, workers: int = 1, spares: int = 0) -> ModelCluster:
    return ModelCluster(settings_for(control_planes, workers, spares), control_planes)


def later(c: ModelCluster, seconds: float) -> None:
    c.advance(c.now + seconds)


def takes(c: ModelCluster, reached: object, within: float = 600.0) -> float:
    """Seconds until it holds."""
    began = c.now
    while not reached():  # type: ignore[operator]
        assert c.now - began < within, "it never came about"
        later(c, 0.5)
    return c.now - began


def stuck() -> ModelCluster:
    c = cluster(spares=1)
    faults.block_peer_port(c, "cp2")
    faults.join(c, "cp2")
    later(c, 15)
    return c


def force(c: ModelCluster, name: str = "cp1") -> None:
    files = c.machines[name].files
    files[path_of("etcd")] = with_flag(files[path_of("etcd")]) or ""


def test_a_hanging_join_takes_quorum_and_then_the_api_server_within_a_minute() -> None:
    c = stuck()
    view = c.etcd.view("cp1")
    assert isinstance(view, EtcdView) and not view.has_leader and not view.healthy
    assert [m.started for m in view.members] == [True, False] and view.quorum == 2
    assert c.etcd.view("cp2") == Unseen(
        UnseenKind.REFUSED, "etcd on cp2 cannot be asked: connection refused on port 2379"
    )
    assert takes(c, lambda: c.api.endpoint("cp1").health is EndpointHealth.REFUSED) < 60


def test_force_new_cluster_brings_etcd_back_in_seconds_with_its_data() -> None:
    c = stuck()
    faults.delete_manifest(c, "cp2", "etcd")
    later(c, 2)
    force(c)
    assert 2 <= takes(c, lambda: c.etcd.behind("cp1") and len(c.etcd.leaders()[0].store.voters) == 1) <= 3.5
    assert c.etcd.leaders()[0].store.revision >= 1000 and len(c.etcd.leaders()[0].store.nodes) == 2
    assert takes(c, lambda: c.api.ready("cp1")) <= 12


def test_old_members_that_are_alive_make_a_forced_cluster_panic_or_split() -> None:
    c = cluster(3)
    force(c)
    later(c, 8)
    assert any("panic" in line for line in c.machines["cp1"].logs.get("etcd", ()))
    apart = cluster(3)
    faults.partition(apart, "cp2", "cp3")
    force(apart)
    later(apart, 30)
    faults.heal(apart)
    later(apart, 30)
    assert len(apart.etcd.leaders()) == 2


def test_a_member_that_is_restarted_without_quorum_listens_and_answers_nothing() -> None:
    c = stuck()
    later(c, 90)
    view = c.etcd.view("cp1")
    assert isinstance(view, Unseen) and view.kind is UnseenKind.TIMEOUT


def test_the_same_manifest_put_back_suffers_the_back_off_and_a_new_uid_does_not() -> None:
    def waits(change: bool) -> float:
        c = cluster()
        good = c.machines["cp1"].files[path_of("kube-apiserver")]
        faults.mistype_flag(c, "cp1", "kube-apiserver")
        later(c, 60)
        wrong = c.machines["cp1"].files[path_of("kube-apiserver")]
        faults.delete_manifest(c, "cp1", "kube-apiserver")
        later(c, 3)
        c.machines["cp1"].files[path_of("kube-apiserver")] = annotated(wrong, "x") if change else wrong
        assert good != wrong
        return takes(c, lambda: c.machines["cp1"].container("kube-apiserver") is not None)

    assert waits(change=True) <= 2
    assert waits(change=False) >= 10


def test_a_truncated_manifest_is_noticed_at_the_next_poll() -> None:
    c = cluster()
    faults.truncate_manifest(c, "cp1", "kube-apiserver")
    later(c, 0.5)
    assert 0 < takes(c, lambda: c.machines["cp1"].container("kube-apiserver") is None) <= 21


def test_etcd_on_an_empty_directory_begins_a_second_cluster() -> None:
    c = cluster(3)
    manifest = c.machines["cp1"].files[path_of("etcd")]
    faults.delete_manifest(c, "cp1", "etcd")
    later(c, 3)
    faults.lose_data(c, "cp1")
    c.machines["cp1"].files[path_of("etcd")] = manifest
    later(c, 10)
    assert len(c.etcd.leaders()) == 2, "a split brain, which the playbook refuses to make"


def test_a_minority_has_no_leader_and_catches_up_when_it_is_back() -> None:
    c = cluster(3)
    faults.partition(c, "cp3")
    later(c, 20)
    assert not c.etcd.behind("cp3") and c.etcd.behind("cp1") and len(c.etcd.leaders()) == 1
    behind, ahead = c.machines["cp3"].data["/var/lib/etcd/member"].revision, c.etcd.leaders()[0].store.revision
    assert behind < ahead
    faults.heal(c)
    later(c, 2)
    assert c.machines["cp3"].data["/var/lib/etcd/member"].revision >= ahead


def test_a_join_that_works_makes_a_voter_that_serves() -> None:
    c = cluster(spares=1)
    faults.join(c, "cp2")
    assert takes(c, lambda: c.etcd.behind("cp2")) < 40
    assert [m.started for m in c.etcd.leaders()[0].store.members] == [True, True]
    assert takes(c, lambda: c.api.ready("cp2")) < 40


def test_a_reboot_changes_the_boot_id_and_everything_comes_back() -> None:
    c = cluster(3)
    before = c.machines["cp2"].boot_id
    faults.reboot(c, "cp2")
    later(c, 5)
    assert c.api.endpoint("cp2").health is EndpointHealth.UNREACHABLE and c.api.serving()
    later(c, 90)
    assert c.machines["cp2"].boot_id != before and all(c.api.ready(n) for n in ("cp1", "cp2", "cp3"))


def test_the_last_member_is_not_removed_and_stays() -> None:
    """As real etcd does it (component tests): else an approval could end the cluster."""
    c = cluster()
    own = c.machines["cp1"].data["/var/lib/etcd/member"].member_id
    assert "not enough started members" in c.etcd.remove("cp1", own)
    later(c, 5)
    assert c.etcd.behind("cp1") and c.api.ready("cp1")


def test_what_is_left_of_a_removed_member_does_not_come_back() -> None:
    c = cluster(3)
    gone = c.machines["cp3"].data["/var/lib/etcd/member"].member_id
    assert c.etcd.remove("cp1", gone) == ""
    later(c, 30)
    assert not c.etcd.behind("cp3") and len(c.etcd.leaders()) == 1
    assert any("permanently removed" in line for line in c.machines["cp3"].logs["etcd"])
