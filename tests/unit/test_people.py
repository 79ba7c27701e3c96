"""Who counts as a person at work on a machine, and on which machines their being there matters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose.people import FORGOTTEN, at_work
from recoverd.diagnose.scene import Scene
from recoverd.model.observation import LoginView, ObjectsView, PeopleView
from recoverd.model.settings import Bounds
from tests.unit.builders import NOW, Cluster

ALICE = LoginView("alice", "pts/0", NOW.replace(hour=19, minute=41), 4.0)


def scene(cluster: Cluster, **there: PeopleView) -> Scene:
    for name, people in there.items():
        view = cluster.host_view() if name.startswith("cp") else cluster.worker_host()
        cluster.hosts[name] = replace(view, people=people)
    return Scene(cluster.observation(), cluster.memory(), cluster.settings)


def test_a_login_is_told_with_who_where_and_since_when() -> None:
    now = scene(Cluster(1, 2), w1=PeopleView((ALICE,)))
    assert at_work("w1", now) == "alice is at work on w1 (pts/0 since 19:41)"
    assert not at_work("w2", now) and not at_work("cp1", now)


def test_somebody_on_one_control_plane_is_in_the_way_on_all_of_them() -> None:
    now = scene(Cluster(3, 1), cp2=PeopleView((replace(ALICE, idle=1200.0), replace(ALICE, user="bob", idle=1300.0))))
    assert at_work("cp3", now) == "alice is at work on cp2 (pts/0 since 19:41, idle for 20 min) and 1 more"
    assert not at_work("w1", now)


def test_a_terminal_that_was_left_open_is_nobody_and_what_was_not_seen_says_nothing() -> None:
    cluster = Cluster(1, 2).ssh_fails("w2")
    now = scene(cluster, w1=PeopleView((replace(ALICE, idle=FORGOTTEN),)))
    assert not any(at_work(name, now) for name in ("cp1", "w1", "w2"))


@pytest.mark.parametrize(
    ("tool", "counts"),
    [
        ("kubeadm upgrade apply v1.21.0", True),
        ("/usr/bin/kubeadm join 10.0.0.1:6443 --control-plane", True),
        ("kubeadm certs renew all", True),
        ("kubeadm certs check-expiration", False),
        ("kubeadm version -o short", False),
        ("kubeadm token create", False),
        ("etcdctl --endpoints https://127.0.0.1:2379 snapshot restore /root/a.db", True),
        ("/usr/local/bin/etcdutl snapshot restore x.db", True),
        ("etcdctl member remove 8e9e05c52164694d", True),
        ("etcdctl endpoint health", False),
        ("etcdctl snapshot save /backup/a.db", False),
        ("etcdctl get --prefix /registry/addresses", False),
        ("/usr/bin/dpkg --status-fd 11 --no-triggers --unpack --auto-deconfigure --recursive /tmp/apt-dpkg-1", True),
        ("/usr/bin/dpkg --status-fd 11 --configure --pending", True),
        ("dpkg -i /root/kubelet_1.29.0_amd64.deb", True),
        ("dpkg --print-foreign-architectures", False),
        ("dpkg -l kubelet", False),
        ("/usr/bin/python3 /usr/bin/dnf -y update kubelet-1.29.0", True),
        ("/usr/bin/python3 /usr/bin/dnf makecache --timer", False),
        ("/usr/bin/python /bin/yum -y install containerd.io", True),
        ("yum list installed", False),
        ("rpm -Uvh kubelet.rpm", True),
        ("rpm -qi kubelet", False),
        ("rpm -Va", False),
        ("zypper --non-interactive dup", True),
    ],
)
def test_tools_count_that_change_a_control_plane(tool: str, counts: bool) -> None:
    assert bool(at_work("cp1", scene(Cluster(1, 1), cp1=PeopleView(tools=(tool,))))) is counts


def test_a_file_keeps_hands_off_and_a_bound_takes_no_notice_of_anybody() -> None:
    now = scene(Cluster(1, 1), w1=PeopleView((ALICE,), hands_off="root: new disks until noon"))
    assert at_work("w1", now) == "hands off w1, says /run/recoverd/hands-off there (root: new disks until noon)"
    settings = replace(now.settings, bounds=Bounds(person_at_work="ignore"))
    assert not at_work("w1", Scene(now.observation, now.memory, settings))


def test_several_manifests_that_are_gone_at_once_are_somebodys_work() -> None:
    for gone, counts in ((("etcd",), False), (("etcd", "kube-apiserver"), True)):
        cluster = Cluster(1, 1)
        view = cluster.host_view()
        cluster.hosts["cp1"] = replace(view, manifests={c: m for c, m in view.manifests.items() if c not in gone})
        assert ("2 manifests are gone at once" in at_work("cp1", scene(cluster))) is counts


def test_a_cordon_is_somebodys_unless_it_is_recoverds() -> None:
    for by, counts in (("", True), ("prod-1.1", False)):
        cluster = Cluster(1, 2)
        assert isinstance(cluster.objects, ObjectsView)
        nodes = tuple(
            replace(n, unschedulable=n.name == "w1", cordoned_by=by if n.name == "w1" else "")
            for n in cluster.objects.nodes
        )
        cluster.objects = replace(cluster.objects, nodes=nodes)
        now = scene(cluster)
        assert ("w1 is cordoned, and not by recoverd" in at_work("w1", now)) is counts
        assert not at_work("w2", now)
