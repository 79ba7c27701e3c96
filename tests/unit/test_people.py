"""Who counts as a person at work on a machine, and on which machines their being there matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose.people import HANGS, KEPT, at_work, left_at, sights
from recoverd.diagnose.scene import Scene
from recoverd.memory.remember import WATERMARK_EVERY, worth_writing
from recoverd.model.memory import Sight
from recoverd.model.observation import HostView, ObjectsView
from recoverd.model.people import AsideView, LoginView, PeopleView, ToolView
from recoverd.model.settings import FORGOTTEN, Bounds
from recoverd.model.text import utc
from tests.unit.builders import NOW, Cluster

ALICE = LoginView("alice", "pts/0", NOW.replace(hour=19, minute=41), 4.0)


CHANGE = {
    "apt-get -y -o Dpkg::Options::=--force-confold install containerd.io": "apt-get",
    "/usr/bin/apt full-upgrade": "apt",
    "/usr/bin/dpkg --status-fd 30 --no-triggers --unpack --auto-deconfigure --recursive /tmp/apt-dpkg-X": "dpkg",
    "dpkg -i containerd.io_1.7.deb": "dpkg",
    "/usr/bin/python3 /usr/bin/unattended-upgrade": "unattended-upgrade",
    "rpm -Uvh kubelet.rpm": "rpm",
    "/usr/bin/python3.9 -sP /usr/bin/dnf -y upgrade": "dnf",
    "/usr/bin/python /bin/yum update": "yum",
    "/usr/bin/python3 -s /usr/bin/dnf-automatic /etc/dnf/automatic.conf --installupdates": "dnf-automatic",
    "zypper --non-interactive up": "zypper",
    "/bin/bash /usr/sbin/transactional-update cleanup dup reboot": "transactional-update",
    "rpm-ostree upgrade": "rpm-ostree",
    "snap refresh kubelet": "snap",
    "apk upgrade": "apk",
    "pacman -Syu": "pacman",
}
LOOK_ONLY = (
    "apt-get -qq -y update",
    "apt-get -o Debug::NoLocking=true -s -qq upgrade",
    "apt-get -d -y dist-upgrade",
    "apt list --upgradable",
    "dpkg -l",
    "dpkg --print-architecture",
    "/usr/bin/python3 /usr/share/unattended-upgrades/unattended-upgrade-shutdown --wait-for-signal",
    "/usr/bin/python3 /usr/bin/unattended-upgrade --dry-run",
    "rpm -qa",
    "rpm -q -i kubelet",
    "/usr/bin/python3 /usr/bin/dnf makecache --timer",
    "/usr/bin/python3 /usr/bin/dnf check-update",
    "/usr/bin/python /bin/yum list updates",
    "/usr/bin/python3 /usr/bin/dnf-automatic /etc/dnf/automatic.conf --downloadupdates --no-installupdates",
    "zypper list-updates",
    "/usr/libexec/packagekitd",
    "rpm-ostree start-daemon",
    "snap list",
    "pacman -Ss containerd",
    "vi /root/apt-get install",
)
"""Nagios, node_exporter, Ansible and the distributions' own timers run these all day."""


def view(cluster: Cluster, name: str) -> HostView:
    found = cluster.hosts[name]
    assert isinstance(found, HostView)
    return found


def without(cluster: Cluster, *gone: str) -> None:
    """These manifests of cp1 are away."""
    seen = view(cluster, "cp1")
    cluster.hosts["cp1"] = replace(seen, manifests={c: m for c, m in seen.manifests.items() if c not in gone})


def scene(cluster: Cluster, **there: PeopleView) -> Scene:
    for name, people in there.items():
        cluster.hosts[name] = replace(view(cluster, name), people=people)
    return Scene(cluster.observation(), cluster.memory(), cluster.settings)


def test_a_login_is_told_with_who_where_and_since_when() -> None:
    now = scene(Cluster(1, 2), w1=PeopleView((ALICE,)))
    assert at_work("w1", now) == "alice is at work on w1 (pts/0 since 2026-03-05 19:41:00 UTC)"
    assert not at_work("w2", now) and not at_work("cp1", now)


def test_somebody_on_one_control_plane_is_in_the_way_on_all_of_them() -> None:
    now = scene(Cluster(3, 1), cp2=PeopleView((replace(ALICE, idle=1200.0), replace(ALICE, user="bob", idle=1300.0))))
    assert at_work("cp3", now) == (
        "alice is at work on cp2 (pts/0 since 2026-03-05 19:41:00 UTC, idle for 20 min) and 1 more"
    )
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
    assert bool(at_work("cp1", scene(Cluster(1, 1), cp1=PeopleView(tools=(ToolView(tool),))))) is counts


def under(now: Scene, **bounds: object) -> Scene:
    """The same with another bound."""
    settings = replace(now.settings, bounds=Bounds(**bounds))  # type: ignore[arg-type]
    return Scene(now.observation, now.memory, settings)


def test_a_bound_takes_no_notice_of_terminals_and_tools_and_of_nothing_else() -> None:
    kept = {"w1": Sight("alice was there", NOW)}
    there = PeopleView((ALICE,), (ToolView("kubeadm upgrade node"), ToolView("dpkg --configure -a")))
    now = scene(Cluster(1, 1), w1=there)
    assert at_work("w1", now) and at_work("w1", remembering(scene(Cluster(1, 1)), kept))
    assert not at_work("w1", under(now, person_at_work="ignore"))
    assert not sights(under(now, person_at_work="ignore"))
    assert not at_work("w1", under(remembering(scene(Cluster(1, 1)), kept), person_at_work="ignore"))

    now = scene(Cluster(1, 1), w1=replace(there, hands_off="root: new disks until noon"))
    said = "hands off w1, says /run/recoverd/hands-off there (root: new disks until noon)"
    assert at_work("w1", now) == at_work("w1", under(now, person_at_work="ignore")) == said
    cluster = Cluster(1, 1)
    without(cluster, "etcd", "kube-apiserver")
    assert "2 manifests are gone at once" in at_work("cp1", under(scene(cluster), person_at_work="ignore"))
    cordoned = cordon(Cluster(1, 2), "w1")
    assert "w1 is cordoned" in at_work("w1", under(scene(cordoned), person_at_work="ignore"))


def test_a_bound_says_how_long_a_terminal_may_be_idle() -> None:
    for idle, limit, counts in ((890.0, 900.0, True), (900.0, 900.0, False), (FORGOTTEN, 2 * FORGOTTEN, True)):
        now = scene(Cluster(1, 1), w1=PeopleView((replace(ALICE, idle=idle),)))
        assert bool(at_work("w1", under(now, person_at_work=limit))) is counts


@pytest.mark.parametrize("command", CHANGE)
def test_a_package_manager_that_changes_something_counts(command: str) -> None:
    tool = ToolView(command, NOW.replace(hour=19, minute=41), 30.0)
    said = at_work("w1", scene(Cluster(1, 1), w1=PeopleView(tools=(tool,))))
    assert said == f"{CHANGE[command]} runs on w1 since 2026-03-05 19:41:00 UTC (`{command}`)"


@pytest.mark.parametrize("command", LOOK_ONLY)
def test_one_that_lists_or_fetches_or_tries_does_not(command: str) -> None:
    assert not at_work("w1", scene(Cluster(1, 1), w1=PeopleView(tools=(ToolView(command),))))


def test_what_hangs_for_hours_is_not_waited_for() -> None:
    for command in ("dpkg --configure -a", "kubeadm reset"):
        for runs, counts in ((HANGS - 1, True), (HANGS, False)):
            view = PeopleView(tools=(ToolView(command, NOW, runs),))
            assert bool(at_work("w1", scene(Cluster(1, 1), w1=view))) is counts


def remembering(now: Scene, kept: Mapping[str, Sight], **changes: object) -> Scene:
    memory = replace(now.memory, at_work=kept, **changes)  # type: ignore[arg-type]
    return Scene(now.observation, memory, now.settings, now.busy)


def test_between_two_terminals_somebody_is_still_at_work() -> None:
    there = scene(Cluster(3, 1), cp2=PeopleView((ALICE,)))
    (name,) = kept = sights(there)
    assert name == "cp2"
    for seconds, counts in ((1, True), (KEPT - 1, True), (KEPT, False), (-1, False)):
        later = Cluster(3, 1, now=NOW + timedelta(seconds=seconds))
        said = at_work("cp3", remembering(scene(later), kept))
        assert bool(said) is counts, "not for longer, nor after the clock was set back"
        assert (
            not counts
            or said == f"alice is at work on cp2 (pts/0 since 2026-03-05 19:41:00 UTC), last seen at {utc(NOW)}"
        )
        assert not at_work("w1", remembering(scene(later), kept))
    left = remembering(scene(Cluster(3, 1, now=NOW + timedelta(seconds=KEPT + 60))), kept)
    assert left_at(["cp1"], left) == NOW and sights(left) == kept, "from then on the five minutes count"
    assert not sights(remembering(scene(Cluster(3, 1, now=NOW + timedelta(seconds=3600))), kept))


def test_that_somebody_is_still_there_is_written_now_and_then_and_that_somebody_is_at_once() -> None:
    memory = scene(Cluster(1, 1)).memory
    seen = replace(memory, at_work={"w1": Sight("alice is at work on w1", NOW)})
    assert worth_writing(memory, seen)
    for seconds, due in ((5, False), (WATERMARK_EVERY, True)):
        later = {"w1": Sight("alice is at work on w1", NOW + timedelta(seconds=seconds))}
        assert worth_writing(seen, replace(memory, at_work=later)) is due


def test_a_tool_of_a_plan_of_recoverds_own_is_nobody_afterwards() -> None:
    now = scene(Cluster(1, 1), cp1=PeopleView(tools=(ToolView("kubeadm certs renew all"),)))
    assert sights(now) and not sights(Scene(now.observation, now.memory, now.settings, "prod-1.1"))


def test_a_manifest_that_was_moved_is_somebodys_work_and_an_old_copy_is_not() -> None:
    healthy = NOW - timedelta(seconds=5)
    cases = {
        ("etcd", timedelta(0), 0.0): True,
        ("etcd", timedelta(days=-1), 0.0): False,  # of a backup
        ("etcd", timedelta(seconds=-40), 0.0): True,  # copied, and then taken away
        ("kube-scheduler", timedelta(0), 0.0): False,  # its own is in its place
        ("etcd", timedelta(hours=1), 3600.0): True,  # by a clock that is ahead
        ("etcd", timedelta(minutes=58), 3600.0): False,
    }
    for (component, later, offset), counts in cases.items():
        cluster = Cluster(1, 1)
        without(cluster, "etcd")
        cluster.hosts["cp1"] = replace(view(cluster, "cp1"), clock_offset=offset)
        aside = (AsideView(component, f"/root/{component}.yaml", healthy + later),)
        now = scene(cluster, cp1=PeopleView(aside=aside))
        said = at_work("cp1", remembering(now, {}, healthy_at=healthy))
        assert bool(said) is counts, (component, later, offset)
        assert not counts or said.startswith("the manifest of etcd on cp1 lies in /root/etcd.yaml since 2026-03-05 19:")


def test_several_manifests_that_are_gone_at_once_are_somebodys_work() -> None:
    for gone, counts in ((("etcd",), False), (("etcd", "kube-apiserver"), True)):
        cluster = Cluster(1, 1)
        without(cluster, *gone)
        assert ("2 manifests are gone at once" in at_work("cp1", scene(cluster))) is counts


def cordon(cluster: Cluster, name: str, by: str = "") -> Cluster:
    assert isinstance(cluster.objects, ObjectsView)
    nodes = (
        replace(n, unschedulable=n.name == name, cordoned_by=by if n.name == name else "")
        for n in cluster.objects.nodes
    )
    cluster.objects = replace(cluster.objects, nodes=tuple(nodes))
    return cluster


def test_a_cordon_is_somebodys_unless_it_is_recoverds() -> None:
    for by, counts in (("", True), ("prod-1.1", False)):
        now = scene(cordon(Cluster(1, 2), "w1", by))
        assert ("w1 is cordoned, and not by recoverd" in at_work("w1", now)) is counts
        assert not at_work("w2", now)
