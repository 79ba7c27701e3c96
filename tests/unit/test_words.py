"""What machines say of why something does not run: in findings, in what is refused for it, and
in what is asked of them next.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import unproven
from recoverd.model.catalogue import Code
from recoverd.model.facts import UnitFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import DiskView, EtcdDataView, HostView, NodeView
from recoverd.model.unit_operations import Unit
from recoverd.observe import journal
from recoverd.observe.journal import JournalWatch, wanted
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal, Wait
from tests.unit.builders import Cluster, manifest, manifest_of
from tests.unit.test_playbooks import asked, situation

SWAP = "failed to run Kubelet: running with swap on is not supported, please disable swap!"
FLAG = "Error: failed to parse kubelet flag: unknown flag: --network-plugin"
OOM = "kubelet.service: Failed with result 'oom-kill'."
RESOLV = "Failed to generate sandbox config for pod: open /run/systemd/resolve/resolv.conf: no such file or directory"
NO_SPACE = "etcdserver: failed to allocate space when creating new wal file (no space left on device)"


def falls(
    cluster: Cluster, name: str, *says: str, unit: str = "kubelet", restarts: int = 66, up: float | None = None
) -> Cluster:
    """systemd starts it again and again; `up` is for how many seconds it is up just now."""
    if up is None:
        cluster.unit(
            name,
            unit,
            active="activating",
            sub="auto-restart",
            result="exit-code",
            since=cluster.now,
            restarts=restarts,
        )
    else:
        cluster.unit(
            name, unit, active="active", sub="running", since=cluster.now - timedelta(seconds=up), restarts=restarts
        )
    return cluster.host(name, journals={unit: says} if says else {})


def found(cluster: Cluster, code: str, subject: str | None = None) -> Finding | None:
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings).find(code, subject)


def proposed(name: str, finding: Finding, cluster: Cluster, *, by_hand: bool = False) -> Answer:
    return next(p for p in registry() if p.name == name).propose(finding, replace(situation(cluster), by_hand=by_hand))


# --- units ---


def test_a_kubelet_that_ends_itself_is_found_with_the_cause_that_it_names_and_the_line() -> None:
    finding = found(falls(Cluster(1), "cp1", "E1128 something else", SWAP), Code.KUBELET_DOWN)
    assert finding and "does not stay up" in finding.message
    assert "swap is on. Cure: `swapoff -a`" in finding.message
    assert f"kubelet on cp1 says: {SWAP}" in finding.evidence
    assert isinstance(finding.facts, UnitFacts) and (finding.facts.host, finding.facts.unit, finding.facts.restart) == (
        "cp1",
        "kubelet",
        False,
    )


def test_seen_in_its_second_of_life_it_is_no_better() -> None:
    for up in (0.5, 9.0):
        finding = found(falls(Cluster(1), "cp1", FLAG, up=up), Code.KUBELET_DOWN)
        assert finding and finding.severity is Severity.FAULT and "--network-plugin" in finding.message
    assert found(falls(Cluster(1), "cp1", FLAG, up=11), Code.KUBELET_DOWN) is None, "it stays up"
    assert found(falls(Cluster(1), "cp1", FLAG, up=5, restarts=1), Code.KUBELET_DOWN) is None, "one restart is no loop"


def test_the_message_is_the_same_in_every_turn_of_its_falling() -> None:
    one, two = (
        found(falls(Cluster(1), "cp1", SWAP, up=up, restarts=n), Code.KUBELET_DOWN) for up, n in ((None, 7), (1.0, 8))
    )
    assert one and two and one.message == two.message


def test_what_a_unit_said_before_somebody_stopped_it_is_no_cause() -> None:
    finding = found(Cluster(1).stopped("cp1", "kubelet").host("cp1", journals={"kubelet": (SWAP,)}), Code.KUBELET_DOWN)
    assert finding and "swap" not in finding.message
    assert isinstance(proposed("start-node-services", finding, Cluster(1).stopped("cp1", "kubelet")), Proposal)


def test_a_runtime_that_ends_itself_names_its_own_cause() -> None:
    cluster = falls(
        Cluster(1), "cp1", 'containerd: invalid disabled plugin URI "cri" expect io.containerd.x.vx', unit="containerd"
    )
    finding = found(cluster, Code.RUNTIME_DOWN)
    assert finding and "/etc/containerd/config.toml" in finding.message


def test_nothing_is_restarted_or_rebooted_for_what_a_restart_does_not_cure() -> None:
    cluster = falls(
        Cluster(1), "w1", "part of the existing bootstrap client certificate is expired: 2023-11-15 07:50:27 +0000 UTC"
    ).node("w1", ready=False)
    finding = found(cluster, Code.WORKER_KUBELET_DOWN)
    assert finding
    for name in ("start-node-services", "restart-node-agents", "rolling-worker-reboot"):
        answer = proposed(name, finding, cluster)
        assert isinstance(answer, Refusal), (name, answer)
        assert "since 2023-11-15" in answer.reason and "kubeadm kubeconfig user" in answer.reason, answer.reason
    for name in ("start-node-services", "restart-node-agents"):
        assert isinstance(proposed(name, finding, cluster, by_hand=True), Proposal), "a person may know better"


def test_a_cause_that_a_restart_may_cure_leaves_the_ladder_as_it_was() -> None:
    cluster = falls(Cluster(1), "w1", OOM).node("w1", ready=False)
    finding = found(cluster, Code.WORKER_KUBELET_DOWN)
    assert finding and isinstance(proposed("start-node-services", finding, cluster), Refusal), (
        "systemd starts it already"
    )
    assert isinstance(proposed("restart-node-agents", finding, cluster), Proposal)


def test_another_workers_agents_are_restarted_all_the_same() -> None:
    cluster = falls(Cluster(1, 3), "w1", SWAP).node("w1", ready=False).stopped("w2", "kubelet").node("w2", ready=False)
    finding = found(cluster, Code.WORKER_KUBELET_DOWN, "w2")
    assert finding
    answer = proposed("restart-node-agents", finding, cluster)
    assert isinstance(answer, Proposal) and {s.host for s in answer.steps} == {"w2"}
    assert any("left out" in line and "swap is on" in line for line in answer.evidence)


def test_a_runtime_is_started_though_kubelet_ends_for_want_of_it() -> None:
    cluster = falls(
        Cluster(1), "cp1", "dial unix /run/containerd/containerd.sock: connect: no such file or directory"
    ).stopped("cp1", "containerd")
    finding = found(cluster, Code.RUNTIME_DOWN)
    assert finding
    answer = proposed("start-node-services", finding, cluster)
    assert isinstance(answer, Proposal) and [s.operation for s in answer.steps] == [Unit("start", "containerd")]
    assert answer.summary == "start containerd on cp1"


# --- static pods ---


def stuck() -> Cluster:
    """After a reboot kubelet runs and makes no sandbox."""
    cluster = Cluster(3).etcd_stopped("cp2").container("cp2", "kube-apiserver", running=False).api_down("cp2")
    return cluster.host("cp2", journals={"kubelet": (RESOLV,)})


def test_static_pods_that_do_not_start_are_a_fault_with_kubelets_words() -> None:
    finding = found(stuck(), Code.STATIC_PODS_STUCK)
    assert finding and finding.subject == "cp2" and finding.state is State.ETCD_STUCK
    assert (
        "does not start etcd and kube-apiserver" in finding.message
        and "/run/systemd/resolve/resolv.conf" in finding.message
    )
    assert finding.evidence == (f"kubelet on cp2 says: {RESOLV}",)
    down = found(stuck(), Code.ETCD_MEMBER_DOWN)
    assert down and "by kubelet's words" in down.message
    answer = asked("remove-member", Code.ETCD_MEMBER_DOWN, stuck())
    assert isinstance(answer, Refusal) and "resolv.conf" in answer.reason


def test_a_kubelet_that_says_so_of_pods_that_run_has_no_such_finding() -> None:
    assert found(Cluster(3).host("cp2", journals={"kubelet": (RESOLV,)}), Code.STATIC_PODS_STUCK) is None


def test_it_is_gone_when_they_were_seen_to_run_and_not_when_kubelet_is_not_read() -> None:
    key = (Code.STATIC_PODS_STUCK, "cp2")

    def left(cluster: Cluster) -> dict[tuple[str, str], str]:
        seen = cluster.observation()
        return unproven([key], diagnose(seen, cluster.memory(), cluster.settings), seen)

    assert "etcd and kube-apiserver on cp2 was not seen to run" in left(stuck().host("cp2", journals={}))[key]
    assert left(Cluster(3)) == {} and left(Cluster(3).ssh_fails("cp2"))


def test_an_image_that_is_not_there_stops_the_pod_that_names_it() -> None:
    line = (
        'Error syncing pod 0ab ("kube-apiserver-cp1_kube-system(0ab)"): ImagePullBackOff: "Back-off pulling image '
        '\\"r/kube-apiserver:v1.20.99\\""'
    )
    cluster = (
        Cluster(1)
        .container("cp1", "kube-apiserver", running=False)
        .api_down()
        .host("cp1", journals={"kubelet": (line,)})
    )
    finding = found(cluster, Code.STATIC_PODS_STUCK)
    assert finding and finding.state is State.APISERVER_DOWN and "v1.20.99" in finding.message


@pytest.mark.parametrize("exit_code", [0, 2])
@pytest.mark.parametrize("component", ["kube-apiserver", "kube-scheduler"])
@pytest.mark.parametrize(("edited", "named"), [(100, False), (200, True)])
def test_the_container_of_before_an_edit_says_nothing_of_what_was_edited(
    edited: int, named: bool, component: str, exit_code: int
) -> None:
    """It was restarted with its machine, and kubelet has ended it for the edit: its image may still be pulled."""
    line = (
        f'Error syncing pod 0ab ("{component}-cp1_kube-system(0ab)"): ImagePullBackOff: "Back-off pulling image '
        f'\\"k8s.gcr.io/{component}:v1.20.99\\""'
    )
    cluster = Cluster(1)
    edit = replace(
        manifest_of(component, manifest(component).content.replace("v1.20.2", "v1.20.99")),
        modified_at=cluster.now - timedelta(seconds=edited),
    )
    cluster.manifest("cp1", component, edit).host("cp1", journals={"kubelet": (line,)}).container(
        "cp1",
        component,
        running=False,
        restarts=1,
        exit_code=exit_code,
        started_at=cluster.now - timedelta(seconds=edited + 50),
    )
    if component == "kube-apiserver":
        cluster.api_down()
    assert (found(cluster, Code.MANIFEST_CHANGED) is not None) is named
    assert not found(cluster, Code.CRASH_LOOPING)
    cluster.container("cp1", component, started_at=cluster.now - timedelta(seconds=edited - 5))
    assert found(cluster, Code.MANIFEST_CHANGED), "and one that was started of it does"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "Error: error opening encryption provider configuration file "
            '"/etc/kubernetes/enc/enc.yaml": open: no such file',
            "/etc/kubernetes/enc/enc.yaml",
        ),
        ("Error: open /etc/kubernetes/pki/sa.pub: no such file or directory", "/etc/kubernetes/pki/sa.pub"),
    ],
)
def test_an_api_server_that_crash_loops_says_why(line: str, says: str) -> None:
    cluster = (
        Cluster(1)
        .api_down()
        .container("cp1", "kube-apiserver", running=False, exit_code=1, restarts=5, log_tail=("I0305 starting", line))
    )
    finding = found(cluster, Code.CRASH_LOOPING)
    assert finding and says in finding.message and f"kube-apiserver on cp1 says: {line}" in finding.evidence


def test_a_member_that_is_down_says_why() -> None:
    line = "cluster cannot be downgraded (current version: 3.4.23 is lower than determined cluster version: 3.5)"
    finding = found(Cluster(3).etcd_stopped("cp2", restarts=4, log_tail=(line,)), Code.ETCD_MEMBER_DOWN)
    assert finding and "it is 3.4.23, and its data are of 3.5" in finding.message


# --- disks ---


def disk(cluster: Cluster, name: str, *disks: DiskView, data: str = "/var/lib/etcd") -> Cluster:
    return cluster.host(name, disks=disks, etcd_data=EtcdDataView(data, True, False))


ROOT, FULL = DiskView("/", 100 << 30, 50 << 30), DiskView("/var/lib/etcd", 400 << 20, 0)


def test_a_full_disk_below_an_etcd_that_does_not_run_is_the_fault() -> None:
    cluster = disk(Cluster(3).etcd_stopped("cp2", log_tail=(NO_SPACE,)), "cp2", ROOT, FULL).host(
        "cp2", largest=("399 MiB /var/lib/etcd/audit.log",)
    )
    finding = found(cluster, Code.DISK_FULL)
    assert finding and finding.subject == "cp2:/var/lib/etcd" and finding.severity is Severity.FAULT
    assert "399 MiB /var/lib/etcd/audit.log" in finding.message
    answer = asked("remove-member", Code.ETCD_MEMBER_DOWN, cluster)
    assert isinstance(answer, Refusal) and "is full" in answer.reason


def test_an_etcd_that_serves_on_a_nearly_full_disk_is_a_notice() -> None:
    cluster = disk(Cluster(3), "cp2", ROOT, FULL)
    assert found(cluster, Code.DISK_FULL) is None
    low = found(cluster, Code.DISK_LOW)
    assert low and low.severity is Severity.NOTICE


def test_the_disk_is_that_of_the_longest_mount_point() -> None:
    stopped = Cluster(3).etcd_stopped("cp2")
    assert found(disk(stopped, "cp2", replace(ROOT, free=0), replace(FULL, free=300 << 20)), Code.DISK_FULL) is None
    elsewhere = disk(stopped, "cp2", ROOT, FULL, DiskView("/data", 1 << 30, 1 << 20), data="/data/etcd")
    assert (hit := found(elsewhere, Code.DISK_FULL)) and hit.subject == "cp2:/data"


def test_a_read_only_file_system_is_named() -> None:
    finding = found(
        disk(Cluster(3).etcd_stopped("cp2"), "cp2", ROOT, replace(FULL, free=1 << 30, read_only=True)),
        Code.FILE_SYSTEM_READ_ONLY,
    )
    assert finding and "read-only" in finding.message and "Nothing is wrong with the member" in finding.message


def test_old_words_of_a_disk_that_has_room_again_are_told_as_old() -> None:
    cluster = disk(
        Cluster(3).etcd_stopped("cp2", restarts=5, log_tail=(NO_SPACE,)), "cp2", ROOT, replace(FULL, free=300 << 20)
    )
    finding = found(cluster, Code.ETCD_MEMBER_DOWN)
    assert finding and "has room and can be written now" in finding.message


def test_a_full_disk_is_gone_when_disks_or_etcd_were_seen() -> None:
    key = (Code.DISK_FULL, "cp2:/var/lib/etcd")
    for cluster, known in (
        (Cluster(3), True),
        (Cluster(3).host("cp2", disks=()), True),
        (disk(Cluster(3).etcd_stopped("cp2"), "cp2"), False),
    ):
        seen = cluster.observation()
        assert (unproven([key], diagnose(seen, cluster.memory(), cluster.settings), seen) == {}) is known


# --- dead is not gone for good ---


def test_a_silent_member_is_given_the_time_of_a_boot_before_its_removal() -> None:
    off = Cluster(3).powered_off("cp3")
    early = asked("remove-member", Code.ETCD_MEMBER_DOWN, off, minutes=4.9)
    assert isinstance(early, Wait) and "NOT proven dead" in early.reason and "`force_after`: 300 s" in early.reason
    late = asked("remove-member", Code.ETCD_MEMBER_DOWN, off, minutes=5.1)
    assert isinstance(late, Proposal) and any(line.startswith("IF cp3 COMES BACK") for line in late.destroys)


def test_the_first_thing_that_a_forced_cluster_destroys_is_what_silent_members_bring_back() -> None:
    cluster = Cluster(3).powered_off("cp2", "cp3").no_leader().api_down("cp1")
    answer = asked("force-new-cluster", Code.ETCD_QUORUM_LOST, cluster)
    assert isinstance(answer, Proposal)
    assert answer.destroys[0].startswith("IF cp2, cp3 COME BACK") and "wiped and joined again" in answer.destroys[0]


@pytest.mark.parametrize("how", ["kubelet", "runtime", "disk", "sandbox"])
def test_two_of_three_that_a_person_can_cure_are_named_and_nothing_is_forced(how: str) -> None:
    cluster = Cluster(3).no_leader("cp1").api_down()
    for name in ("cp2", "cp3"):
        cluster.etcd_stopped(name).container(name, "kube-apiserver", running=False)
        match how:
            case "kubelet":
                falls(cluster, name, SWAP)
            case "runtime":
                falls(
                    cluster,
                    name,
                    "containerd: failed to load TOML: /etc/containerd/config.toml: bad",
                    unit="containerd",
                )
            case "disk":
                disk(cluster, name, ROOT, FULL)
            case _:
                cluster.host(name, journals={"kubelet": (RESOLV,)})
    answer = asked("force-new-cluster", Code.ETCD_QUORUM_LOST, cluster)
    assert isinstance(answer, Refusal) and "nothing is lost, as soon as etcd runs again on cp2, cp3" in answer.reason
    cure = {"kubelet": "swapoff -a", "runtime": "config.toml", "disk": "free space", "sandbox": "resolv.conf"}[how]
    assert answer.reason.count("Cure: ") >= 2 and cure in answer.reason


# --- what is asked next ---


def view(**changes: object) -> HostView:
    return replace(Cluster(1, now=datetime.now(UTC)).host_view(), **changes)  # type: ignore[arg-type]


def unit(**changes: object) -> HostView:
    units = view().units
    return view(units={**units, "kubelet": replace(units["kubelet"], **changes)})  # type: ignore[arg-type]


def test_a_machine_on_which_all_is_well_is_asked_for_no_journal() -> None:
    assert wanted(view()) == () and wanted(view(joined=False)) == ()
    assert wanted(unit(active="inactive", load="masked")) == ()
    assert wanted(unit(restarts=9)) == (), "it was restarted three days ago"


def test_what_looks_wrong_is_asked_for_in_the_next_look() -> None:
    assert wanted(unit(active="inactive")) == ("kubelet",)
    assert wanted(unit(restarts=2, since=datetime.now(UTC) - timedelta(seconds=5))) == ("kubelet",)
    assert wanted(view(containers={})) == ("kubelet", "kernel"), "a static pod does not run"
    watch = JournalWatch()
    assert watch.asks("cp1") == ((), False)
    watch.took("cp1", unit(active="inactive"), largest=False)
    assert watch.asks("cp1") == (("kubelet",), False)
    watch.took("cp1", view(), largest=False)
    watch.lists(
        [NodeView("node-1", False, address="10.0.0.1"), NodeView("w2", True)], {"cp1": "10.0.0.1", "w2": "10.0.0.2"}
    )
    assert watch.asks("cp1") == (("kubelet",), False) and watch.asks("w2") == ((), False)


def test_the_largest_files_are_asked_for_now_and_then_and_kept_while_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch, full, now = JournalWatch(), view(disks=(FULL,)), 1000.0
    monkeypatch.setattr(journal.time, "monotonic", lambda: now)
    assert watch.took("cp1", full, largest=False).largest == () and watch.asks("cp1")[1]
    assert watch.took("cp1", replace(full, largest=("1 MiB /a",)), largest=True).largest == ("1 MiB /a",)
    assert not watch.asks("cp1")[1] and watch.took("cp1", full, largest=False).largest == ("1 MiB /a",)
    now += 61
    assert watch.asks("cp1")[1]
    assert watch.took("cp1", view(), largest=False).largest == () and not watch.asks("cp1")[1]
