"""What a sweep must have seen before a finding that is not in it counts as gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt, unproven
from recoverd.model.catalogue import Code
from recoverd.model.finding import FindingKey, State
from recoverd.model.network import NetworkView, NodeNetworkView, RulesView
from recoverd.model.observation import EndpointHealth, ObjectsView, UnseenKind
from recoverd.model.settings import HostSettings
from tests.unit.builders import Cluster, unseen

NETWORK = NodeNetworkView(True, (), (), {}, (), RulesView("iptables", 3))


def left_open(cluster: Cluster, *keys: FindingKey) -> str:
    """Why a sweep of the cluster as it is now does not show that these are gone."""
    seen = cluster.observation()
    return doubt(keys, diagnose(seen, cluster.memory(), cluster.settings), seen)


def test_what_has_to_be_seen_is_left_out_only_of_what_is_itself_not_seen() -> None:
    assert [c for c in Code if not c.shown_by] == [Code.CLUSTER_DARK, Code.HOST_UNSEEN, Code.SOURCE_UNSEEN]


@pytest.mark.parametrize(
    "key",
    [
        (Code.MANIFEST_MISSING, "cp2"),
        (Code.ETCD_MANIFEST_MISSING, "cp2"),
        (Code.MANIFEST_CHANGED, "cp2/kube-scheduler"),
        (Code.CERTIFICATE_EXPIRED, "cp2:/etc/kubernetes/pki/apiserver.crt"),
        (Code.CERTIFICATE_MISMATCH, "cp2:/etc/kubernetes/pki/etcd/server.crt"),
        (Code.KUBELET_DOWN, "cp2"),
        (Code.ETCD_DATA_EMPTY, "cp2"),
        (Code.ETCD_MEMBER_DOWN, "cp2"),
        (Code.ETCD_MEMBER_CORRUPT, "cp2"),
        (Code.ETCD_FORCE_FLAG_LEFT, "cp2"),
        (Code.ETCD_REVISION_WENT_BACK, ""),
        (Code.IP_FORWARDING_OFF, "cp2"),
    ],
)
def test_what_is_found_of_a_machine_is_not_gone_because_its_ssh_is(key: FindingKey) -> None:
    assert left_open(Cluster(3, 2), key) == ""
    dark = Cluster(3, 2).ssh_fails("cp2")
    dark.endpoint("cp2", EndpointHealth.TIMEOUT)
    assert "cp2" in left_open(dark, key)


@pytest.mark.parametrize("code", [Code.API_NOT_ANSWERING, Code.CRASH_LOOPING])
def test_an_api_server_is_back_when_it_answers_and_not_when_its_machine_is_silent_as_well(code: str) -> None:
    assert left_open(Cluster(3, 2), (code, "cp2")) == ""
    assert "cp2" in left_open(Cluster(3, 2).powered_off("cp2"), (code, "cp2"))


def test_what_the_lists_show_is_not_gone_because_they_time_out() -> None:
    cluster = Cluster(1, 2)
    cluster.objects = unseen(UnseenKind.TIMEOUT)
    for code in (Code.IP_FORWARDING_OFF, Code.PODS_NOT_ON_NODE, Code.ETCD_REVISION_WENT_BACK, Code.WORKER_KUBELET_DOWN):
        assert left_open(cluster, (code, "w1"))


@pytest.mark.parametrize(
    "change", [{"ready": True}, {"unschedulable": True}, None], ids=["Ready", "cordoned", "deleted"]
)
@pytest.mark.parametrize("code", [Code.NODE_CUT_OFF, Code.NODE_NOT_READY, Code.KUBELET_HANGS, Code.CNI_CONFIG_MISSING])
def test_what_keeps_a_node_from_being_ready_is_over_when_it_is(change: dict[str, bool] | None, code: Code) -> None:
    cluster, key = Cluster(1, 2), (code, "w1")
    listed = cluster.objects
    assert isinstance(listed, ObjectsView)
    nodes = [replace(n, ready=n.name != "w1") for n in listed.nodes]
    cluster.objects = replace(listed, nodes=tuple(nodes))
    assert "w1 is not Ready yet" in left_open(cluster, key)
    ours = (replace(n, unschedulable=n.name == "w1", cordoned_by="prod-1.2") for n in nodes)
    cluster.objects = replace(listed, nodes=tuple(ours))
    assert "w1 is not Ready yet" in left_open(cluster, key), "what recoverd cordons nobody has given up"
    now = (replace(n, **(change or {})) if n.name == "w1" else n for n in nodes if change or n.name != "w1")
    cluster.objects = replace(listed, nodes=tuple(now))
    assert left_open(cluster, key) == ""


def test_both_ends_of_a_path_must_be_seen() -> None:
    path = (Code.POD_PATH_BROKEN, "w1>w2")
    assert left_open(Cluster(1, 2), path) == ""
    assert "w2" in left_open(Cluster(1, 2).ssh_fails("w2"), path)


def test_a_node_is_looked_at_under_the_name_that_its_machine_has_in_the_configuration() -> None:
    cluster = Cluster(1, 2)
    assert isinstance(cluster.objects, ObjectsView)
    nodes = (replace(n, name="worker-1.example.org") if n.name == "w1" else n for n in cluster.objects.nodes)
    cluster.objects = replace(cluster.objects, nodes=tuple(nodes))
    key = (Code.IP_FORWARDING_OFF, "worker-1.example.org")
    assert left_open(cluster, key) == ""
    assert "w1" in left_open(cluster.ssh_fails("w1"), key)


def test_a_certificate_is_gone_from_the_findings_when_it_was_read() -> None:
    key = (Code.CERTIFICATE_EXPIRED, "cp1:/etc/kubernetes/pki/etcd/server.crt")
    assert left_open(Cluster(1, 1), key) == ""
    assert "could not be read" in left_open(Cluster(1, 1).host("cp1", certificates=()), key)


def test_data_that_is_lost_is_back_when_a_member_was_seen_to_hold_it() -> None:
    """Seen on a busy lab: for a sweep it was not read what an empty cluster holds, and the approved restore
    ended: there was nothing to restore.
    """
    lost = (Code.ETCD_DATA_LOST, "")
    assert left_open(Cluster(), lost) == ""
    assert "hold" in left_open(Cluster().etcd_changed("cp1", revision=5, nodes=None, uid=None), lost)
    assert left_open(Cluster().etcd_changed("cp1", revision=1), lost), "a cluster that has begun anew"


def test_manifests_that_could_not_be_read_are_not_back() -> None:
    blind = Cluster(3, 1).host("cp2", problems=("/etc/kubernetes/manifests: Input/output error",))
    assert "Input/output" in left_open(blind, (Code.MANIFEST_MISSING, "cp2"))


def test_the_address_is_right_again_when_an_api_server_answers_at_it() -> None:
    key = (Code.VIP_WRONG, "")
    assert left_open(Cluster(3, 1), key) == ""
    silent = Cluster(3, 1).address_answers(EndpointHealth.NOT_TRIED, "no file handle left on the bastion")
    assert "not-tried" in left_open(silent, key)


# --- ways out: what is not part of the cluster any more is no fault of it ---


def test_a_control_plane_that_the_members_do_not_list_any_more_is_gone_with_its_faults() -> None:
    gone = Cluster(3, 1)
    gone.member_list(*(e for e in gone.members if e.name != "cp2")).powered_off("cp2")
    for code in (Code.MANIFEST_MISSING, Code.API_NOT_ANSWERING, Code.KUBELET_DOWN, Code.ETCD_MEMBER_DOWN):
        assert left_open(gone, (code, "cp2")) == "", code


def test_a_stranger_is_not_gone_because_it_is_not_in_the_list() -> None:
    """It never was: in a split brain that is what makes it one."""
    split = Cluster(3, 1)
    split.member_list(*(e for e in split.members if e.name != "cp2")).ssh_fails("cp2")
    seen = split.observation()
    diagnosis = diagnose(seen, split.memory(), split.settings)
    assert diagnosis.roll is not None and diagnosis.roll.listed == {"cp1", "cp3"}
    assert unproven([(Code.ETCD_FOREIGN_CLUSTER, "cp2"), (Code.ETCD_SPLIT_BRAIN, "cp2")], diagnosis, seen)


def test_the_network_of_a_node_that_has_just_booted_shows_nothing_yet() -> None:
    """Nothing is found of it while it comes up: an incident was closed as healthy, and opened anew 80 s later."""
    key, cluster = (Code.KUBE_PROXY_DOWN, "w1"), Cluster(1, 2)
    cluster.host("w1", uptime=40.0)
    assert "w1 is up for 40 s" in left_open(cluster, key)
    assert left_open(cluster, (Code.WORKER_KUBELET_DOWN, "w1")) == ""
    cluster.host("w1", uptime=400.0)
    assert left_open(cluster, key) == ""


def test_a_node_that_was_deleted_is_gone_with_its_faults() -> None:
    cluster = Cluster(1, 2).ssh_fails("w1")
    assert isinstance(cluster.objects, ObjectsView)
    cluster.objects = replace(cluster.objects, nodes=tuple(n for n in cluster.objects.nodes if n.name != "w1"))
    assert left_open(cluster, (Code.IP_FORWARDING_OFF, "w1")) == ""


def test_a_machine_that_is_not_in_the_configuration_any_more_is_gone_with_its_faults() -> None:
    cluster = Cluster(3, 1).powered_off("cp2")
    for views in (cluster.hosts, cluster.etcd, cluster.endpoints):
        del views["cp2"]  # type: ignore[attr-defined]
    cluster.settings = replace(
        cluster.settings, control_planes=tuple(HostSettings(n, cluster.address(n)) for n in ("cp1", "cp3"))
    )
    assert left_open(cluster, (Code.MANIFEST_MISSING, "cp2"), (Code.API_NOT_ANSWERING, "cp2")) == ""


def test_a_machine_that_is_off_does_not_keep_a_setback_open() -> None:
    """Its agents start when it does. One that is Ready and cannot be looked at may be deaf."""
    key = (Code.ETCD_REVISION_WENT_BACK, "")
    assert left_open(Cluster(1, 2).powered_off("w2"), key) == ""
    assert "w2" in left_open(Cluster(1, 2).ssh_fails("w2"), key)


def test_the_network_of_a_node_is_seen_by_its_witnesses() -> None:
    seen = Cluster(1, 1).observation()
    diagnosis = diagnose(seen, Cluster(1, 1).memory(), Cluster(1, 1).settings)
    for network, open_ in (
        (NetworkView(1, {"w1": NETWORK}, {}), False),
        (NetworkView(1, {"w1": unseen()}, {}), True),
        (unseen(), True),
    ):
        assert bool(doubt([(Code.IP_FORWARDING_OFF, "w1")], diagnosis, replace(seen, network=network))) is open_


# --- what recoverd itself lacks ---


def test_what_recoverd_itself_could_not_look_at_is_neither_silent_nor_broken() -> None:
    late = Cluster(3, 2).ssh_fails("cp1", "cp2", "cp3", "w1", "w2", kind=UnseenKind.OWN)
    for name in late.joined:
        late.endpoint(name, EndpointHealth.NOT_TRIED, "too many open files on the bastion")
    late.address_answers(EndpointHealth.NOT_TRIED, "too many open files on the bastion")
    diagnosis = diagnose(late.observation(), late.memory(), late.settings)
    assert diagnosis.state is State.UNOBSERVABLE and not diagnosis.faults
    assert "recoverd itself" in diagnosis.summary and "too many open files" in diagnosis.summary


def test_an_address_that_was_not_asked_is_not_wrong() -> None:
    late = Cluster(3, 2).address_answers(EndpointHealth.NOT_TRIED, "late")
    assert not diagnose(late.observation(), late.memory(), late.settings).faults


def _parted() -> Cluster:
    """cp1 was made a cluster of its own, cp2 and cp3 go on."""
    cluster = Cluster(3)
    return cluster.etcd_changed("cp1", leader="b0b", members=(cluster.members[0],))


def test_a_second_history_is_not_over_when_one_side_only_has_no_leader() -> None:
    key = (Code.ETCD_FOREIGN_CLUSTER, "cp1")
    assert key in diagnose(_parted().observation(), _parted().memory(), _parted().settings).keys
    silent = _parted().etcd_stopped("cp2").no_leader("cp3")
    assert key not in diagnose(silent.observation(), silent.memory(), silent.settings).keys, (
        "nothing says any more that there are two"
    )
    assert "leader in common with cp3" in left_open(silent, key)
    assert left_open(_parted().etcd_stopped("cp1"), key) == ""
    assert left_open(_parted().etcd_stopped("cp2").etcd_stopped("cp3"), key) == ""
    assert left_open(Cluster(3), key) == ""


def test_a_control_plane_that_is_lost_among_hidden_ones_is_a_warning() -> None:
    """Of five, two hidden and two off: quorum is somewhere among the four that are silent, so
    no one of them is proven down.
    """
    cluster = Cluster(5).powered_off("cp3", "cp4").powered_off("cp1", "cp5", node_ready=True)
    diagnosis = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    assert diagnosis.state is State.HEALTHY, diagnosis.summary
    assert {(f.code, f.subject) for f in diagnosis.warnings} == {
        (Code.NODE_NOT_READY, "cp3"),
        (Code.NODE_NOT_READY, "cp4"),
    }


def test_a_deleted_node_is_back_when_it_is_listed_or_when_no_kubelet_runs_there() -> None:
    cluster, key = Cluster(1, 2), (Code.NODE_DELETED, "w1")
    assert left_open(cluster, key) == ""
    assert isinstance(cluster.objects, ObjectsView)
    cluster.objects = replace(cluster.objects, nodes=tuple(n for n in cluster.objects.nodes if n.name != "w1"))
    cluster.host("w1", joined=True).unit("w1", "kubelet", since=cluster.now)
    assert "is no node yet" in left_open(cluster, key), "its kubelet has only just started"
    assert "could not be looked at" in left_open(cluster.ssh_fails("w1"), key)
    reset = Cluster(1, 2)
    reset.objects = cluster.objects
    assert left_open(reset.stopped("w1", "kubelet"), key) == ""
    assert left_open(reset.unit("w1", "kubelet", since=cluster.now).host("w1", joined=False), key) == ""
