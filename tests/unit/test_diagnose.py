"""What recoverd concludes from what it sees, rule by rule, and what it must not conclude."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.clients.etcd_answers import alarm_entries
from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.etcd import AlarmEntry, EtcdView
from recoverd.model.facts import ManifestFacts, MemberFacts
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.lease import HeldBy
from recoverd.model.memory import Memory
from recoverd.model.observation import DiskView, EndpointHealth, EtcdDataView, NodeView, ObjectsView, UnseenKind
from recoverd.playbooks.base import Refusal
from recoverd.playbooks.sources import sources
from tests.unit.builders import NOW, Cluster, certificate, manifest, manifest_of, member_id, unseen
from tests.unit.rungs import ask, situation

H = EndpointHealth
K = UnseenKind


def seen(cluster: Cluster, memory: Memory | None = None) -> Diagnosis:
    return diagnose(cluster.observation(), cluster.memory() if memory is None else memory, cluster.settings)


def faults(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    return [f.key for f in diagnosis.faults]


def truncated(component: str) -> str:
    content = manifest(component).content
    return content[: len(content) // 2]


def cut_short(c: Cluster) -> Cluster:
    c.manifest(
        "cp1",
        "kube-apiserver",
        manifest_of("kube-apiserver", truncated("kube-apiserver"), "not YAML: expected a mapping"),
    )
    return c.api_down("cp1")


def mistyped(c: Cluster) -> Cluster:
    c.manifest("cp1", "kube-apiserver", manifest("kube-apiserver", "--secure-prot=6443"))
    c.container(
        "cp1",
        "kube-apiserver",
        running=False,
        exit_code=1,
        restarts=2,
        log_tail=("Error: unknown flag: --secure-prot",),
    )
    return c.api_down("cp1")


def crash_loop(c: Cluster) -> Cluster:
    up = NOW - timedelta(seconds=3)
    c.container("cp1", "kube-apiserver", started_at=up, restarts=7, log_tail=("panic: no route to heaven",))
    return c.api_down("cp1")


def expired(path: str) -> Callable[[Cluster], Cluster]:
    return lambda c: c.host("cp1", certificates=(certificate(path, NOW - timedelta(hours=1)),)).api_down(
        "cp1", health=H.TLS
    )


def foreign(c: Cluster) -> Cluster:
    return c.etcd_changed("cp3", cluster_id="f00d", leader=member_id("cp3"), members=(c.entry("cp3"),))


def split(c: Cluster) -> Cluster:
    return c.etcd_changed("cp3", leader=member_id("cp3"), members=(c.entry("cp3"),), raft_term=9)


def alarm(name: str) -> Callable[[Cluster], Cluster]:
    return lambda c: c.etcd_changed(alarms=(AlarmEntry(member_id("cp2"), name),), healthy=False)


def with_flag(c: Cluster) -> Cluster:
    return c.manifest(
        "cp1", "etcd", manifest("etcd", "--force-new-cluster=true", "--secure-port=6443", "--profiling=false")
    )


def data_gone(c: Cluster) -> Cluster:
    return (
        c.manifest("cp2", "etcd", None)
        .host("cp2", etcd_data=EtcdDataView("/var/lib/etcd", True, True))
        .etcd_stopped("cp2")
    )


def learner(c: Cluster, *, started: bool) -> Cluster:
    return c.member_list(*c.members, c.entry("cp4", started=started, learner=True))


A, E = State.APISERVER_DOWN, State.ETCD_STUCK
NO_YAML = "--changed=yes"

# control planes, what happens, the state, the cause (code and subject)
CAUSES = [
    (
        "manifest deleted",
        1,
        lambda c: c.manifest("cp1", "kube-apiserver", None).api_down(),
        A,
        Code.MANIFEST_MISSING,
        "cp1",
    ),
    (
        "manifest deleted, still running",
        1,
        lambda c: c.manifest("cp1", "kube-apiserver", None),
        A,
        Code.MANIFEST_MISSING,
        "cp1",
    ),
    ("manifest truncated", 1, cut_short, A, Code.MANIFEST_INVALID, "cp1"),
    ("flag mistyped", 1, mistyped, A, Code.MANIFEST_CHANGED, "cp1"),
    (
        "scheduler manifest deleted",
        1,
        lambda c: c.manifest("cp1", "kube-scheduler", None),
        A,
        Code.MANIFEST_MISSING,
        "cp1/kube-scheduler",
    ),
    (
        "one of three deleted",
        3,
        lambda c: c.manifest("cp2", "kube-apiserver", None).api_down("cp2"),
        A,
        Code.MANIFEST_MISSING,
        "cp2",
    ),
    ("crash loop", 1, crash_loop, A, Code.CRASH_LOOPING, "cp1"),
    (
        "certificate expired",
        1,
        expired("/etc/kubernetes/pki/apiserver.crt"),
        A,
        Code.CERTIFICATE_EXPIRED,
        "cp1:/etc/kubernetes/pki/apiserver.crt",
    ),
    (
        "etcd certificate expired",
        1,
        expired("/etc/kubernetes/pki/etcd/server.crt"),
        E,
        Code.CERTIFICATE_EXPIRED,
        "cp1:/etc/kubernetes/pki/etcd/server.crt",
    ),
    ("kubelet stopped, pods run on", 1, lambda c: c.stopped("cp1", "kubelet"), A, Code.KUBELET_DOWN, "cp1"),
    (
        "runtime stopped",
        1,
        lambda c: c.stopped("cp1", "kubelet", "containerd").etcd_stopped("cp1").api_down(),
        A,
        Code.RUNTIME_DOWN,
        "cp1",
    ),
    ("address wrong", 1, lambda c: c.address_answers(H.UNRESOLVED), A, Code.VIP_WRONG, ""),
    ("proxy answers 502", 3, lambda c: c.address_answers(H.ERROR, "502 Bad Gateway"), A, Code.VIP_WRONG, ""),
    ("powered off, workers seen", 1, lambda c: c.powered_off("cp1"), A, Code.API_NOT_ANSWERING, "cp1"),
    ("no cause seen", 1, lambda c: c.api_down(), A, Code.API_NOT_ANSWERING, "cp1"),
    ("etcd container gone", 1, lambda c: c.etcd_stopped("cp1").api_down(), E, Code.ETCD_MEMBER_DOWN, "cp1"),
    (
        "etcd manifest deleted",
        3,
        lambda c: c.manifest("cp2", "etcd", None).etcd_stopped("cp2"),
        E,
        Code.ETCD_MANIFEST_MISSING,
        "cp2",
    ),
    ("etcd data empty", 3, data_gone, E, Code.ETCD_DATA_EMPTY, "cp2"),
    ("etcd down on one of three", 3, lambda c: c.etcd_stopped("cp2"), E, Code.ETCD_MEMBER_DOWN, "cp2"),
    ("one of three powered off", 3, lambda c: c.powered_off("cp2"), E, Code.ETCD_MEMBER_DOWN, "cp2"),
    (
        "two of three powered off",
        3,
        lambda c: c.powered_off("cp2", "cp3").no_leader().api_down("cp1"),
        E,
        Code.ETCD_QUORUM_LOST,
        "",
    ),
    ("no leader, all serve", 3, lambda c: c.no_leader().api_down(), E, Code.ETCD_NO_LEADER, ""),
    (
        "never started, quorum present",
        3,
        lambda c: c.member_list(*c.members, c.entry("cp4", started=False)),
        E,
        Code.ETCD_NEVER_STARTED,
        "cp4",
    ),
    ("NOSPACE", 3, alarm("NOSPACE"), E, Code.ETCD_NOSPACE, "cp2"),
    ("CORRUPT", 3, alarm("CORRUPT"), E, Code.ETCD_CORRUPT, "cp2"),
    ("another cluster id", 3, foreign, E, Code.ETCD_FOREIGN_CLUSTER, "cp3"),
    ("split brain", 3, split, E, Code.ETCD_FOREIGN_CLUSTER, "cp3"),
    ("flag left", 1, with_flag, E, Code.ETCD_FORCE_FLAG_LEFT, "cp1"),
    ("learner never started", 3, lambda c: learner(c, started=False), E, Code.ETCD_LEARNER_STUCK, "cp4"),
]


@pytest.mark.parametrize(
    ("count", "change", "state", "code", "subject"), [c[1:] for c in CAUSES], ids=[c[0] for c in CAUSES]
)
def test_the_cause_is_named(
    count: int, change: Callable[[Cluster], Cluster], state: State, code: str, subject: str
) -> None:
    cluster = Cluster(control_planes=count, spares=1)
    diagnosis = seen(change(cluster))
    assert (diagnosis.state, faults(diagnosis)[:1]) == (state, [(code, subject)])
    assert diagnosis.faults[0].evidence
    assert diagnosis.faults[0].message in diagnosis.summary


def rebooting(c: Cluster) -> Cluster:
    """Seconds after its boot: kubelet is up, nothing else yet."""
    c.host("cp2", uptime=25.0, boot_id="boot-2").unit("cp2", "kubelet", since=NOW - timedelta(seconds=10))
    return (
        c.etcd_stopped("cp2")
        .container("cp2", "kube-apiserver", running=False, exit_code=1)
        .api_down("cp2")
        .node("cp2", ready=False)
    )


def edited(c: Cluster) -> Cluster:
    """An operator's change that works."""
    return c.manifest("cp1", "kube-apiserver", manifest("kube-apiserver", "--v=4")).container(
        "cp1", "kube-apiserver", started_at=NOW
    )


def joining(c: Cluster) -> Cluster:
    """A healthy join (kubeadm 1.29): the learner has started and catches up."""
    learner(c, started=True)
    c.host("cp4", joined=True, manifests={n: manifest(n) for n in ("etcd", "kube-apiserver")})
    c.etcd["cp4"] = replace(c.etcd_view("cp4"), learner=True)
    return c.container("cp4", "etcd", started_at=NOW - timedelta(seconds=3))


def joined_just_now(c: Cluster) -> Cluster:
    """The new voter has started, its API server is not up yet; it was never seen working."""
    c.member_list(*c.members, c.entry("cp4"))
    c.etcd["cp4"] = c.etcd_view("cp4")
    c.host("cp4", joined=True, manifests={n: manifest(n) for n in ("etcd", "kube-apiserver")})
    return c.container("cp4", "kube-apiserver", running=False, exit_code=1, restarts=2)


def removed(c: Cluster) -> Cluster:
    """cp3 was taken out by recoverd, and its manifest is held away."""
    c.member_list(c.entry("cp1"), c.entry("cp2"))
    c.manifest("cp3", "etcd", None).host("cp3", etcd_data=EtcdDataView("/var/lib/etcd", True, True)).etcd_stopped("cp3")
    return c.api_down("cp3").stopped("cp3", "kubelet")


def skewed(c: Cluster) -> Cluster:
    """By the bastion's clock the certificate is over, by the host's it is not."""
    return c.host(
        "cp1",
        clock_offset=-7200.0,
        certificates=(certificate("/etc/kubernetes/pki/apiserver.crt", NOW - timedelta(hours=1)),),
    )


QUIET: list[tuple[str, Callable[[Cluster], Cluster], str | None]] = [
    ("healthy", lambda c: c, None),
    ("rolling reboot, machine away", lambda c: c.powered_off("cp2", node_ready=True), Code.HOST_UNSEEN),
    ("rolling reboot, machine coming up", rebooting, Code.NODE_NOT_READY),
    ("operator's edit that works", edited, None),
    (
        "operator's etcd edit that works",
        lambda c: c.manifest("cp1", "etcd", manifest("etcd", "--quota-backend-bytes=8589934592")),
        None,
    ),
    ("join in progress", joining, Code.ETCD_LEARNER_STUCK),
    ("voter joined, API server coming up", joined_just_now, Code.NOT_JOINED),
    ("member removed", removed, Code.NOT_JOINED),
    ("two leaders in an election", lambda c: c.etcd_changed("cp2", leader=member_id("cp2"), raft_term=4), None),
    ("host key changed", lambda c: c.ssh_fails("cp1", kind=K.UNTRUSTED), Code.HOST_UNSEEN),
    ("a host hangs", lambda c: c.ssh_fails("cp2", kind=K.TIMEOUT), Code.HOST_UNSEEN),
    ("etcd answers garbage", lambda c: _etcd(c, "cp2", K.GARBAGE), Code.SOURCE_UNSEEN),
    ("clock skew", skewed, Code.CLOCK_SKEW),
    ("clock not synchronised", lambda c: c.host("w1", synchronised=False), Code.CLOCK_UNSYNCHRONISED),
    ("disk low", lambda c: c.host("cp1", disks=(DiskView("/var/lib/etcd", 100 << 30, 5 << 30),)), Code.DISK_LOW),
    ("database large", lambda c: c.etcd_changed("cp1", db_size=1900 << 20), Code.ETCD_DB_LARGE),
    ("worker's kubelet stopped", lambda c: c.stopped("w1", "kubelet"), Code.KUBELET_DOWN),
    (
        "certificate soon over",
        lambda c: c.host("cp1", certificates=(certificate("/x/apiserver.crt", NOW + timedelta(days=3)),)),
        Code.CERTIFICATE_EXPIRES_SOON,
    ),
    (
        "admin.conf over",
        lambda c: c.host("cp1", certificates=(certificate("/etc/kubernetes/admin.conf", NOW - timedelta(days=3)),)),
        Code.CERTIFICATE_EXPIRED,
    ),
    (
        "manifests could not be read",
        lambda c: c.host("cp1", manifests={}, problems=("manifests: output was cut",)),
        Code.SOURCE_UNSEEN,
    ),
]


def _etcd(c: Cluster, name: str, kind: UnseenKind) -> Cluster:
    c.etcd[name] = unseen(kind)
    return c


@pytest.mark.parametrize(("change", "notice"), [q[1:] for q in QUIET], ids=[q[0] for q in QUIET])
def test_no_fault_is_made_of_it(change: Callable[[Cluster], Cluster], notice: str | None) -> None:
    diagnosis = seen(change(Cluster(control_planes=3, spares=1)))
    assert (diagnosis.state, faults(diagnosis)) == (State.HEALTHY, [])
    if notice:
        found = diagnosis.find(notice)
        assert found is not None and found.severity in (Severity.WARNING, Severity.NOTICE)


@pytest.mark.parametrize(
    ("by", "busy", "lease", "told"),
    [
        ("prod-1.1", "", None, True),
        ("prod-1.1", "prod-1.1", None, False),
        ("prod-1.1", "prod-2.1", None, True),
        ("", "", None, False),
        ("prod-1.1", "", HeldBy("other", 50.0), False),
    ],
    ids=["it has ended", "at work", "another is at work", "a person's", "another bastion's"],
)
def test_a_cordon_that_a_plan_has_left_is_a_warning(by: str, busy: str, lease: HeldBy | None, told: bool) -> None:
    cluster = Cluster().node("w1", unschedulable=True, cordoned_by=by)
    diagnosis = diagnose(replace(cluster.observation(), lease=lease), cluster.memory(), cluster.settings, busy)
    found = diagnosis.find(Code.NODE_LEFT_CORDONED)
    assert diagnosis.state is State.HEALTHY and (found is not None) is told
    if found:
        assert found.severity is Severity.WARNING and "kubectl uncordon w1" in found.message


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (lambda c: c.powered_off("w1"), Severity.WARNING),
        (lambda c: c.powered_off("w1").node("w1", unschedulable=True), Severity.NOTICE),
        (lambda c: c.node("w1", ready=False), Severity.NOTICE),
    ],
    ids=["off", "off and cordoned", "it answers"],
)
def test_a_worker_that_nobody_took_out_and_whose_machine_is_off_is_a_warning(
    change: Callable[[Cluster], Cluster], severity: Severity
) -> None:
    diagnosis = seen(change(Cluster(control_planes=3)))
    found = diagnosis.find(Code.NODE_NOT_READY)
    assert diagnosis.state is State.HEALTHY and found is not None and found.severity is severity
    assert ("1 warning" in diagnosis.summary) is (severity is Severity.WARNING)


ALL = ("cp1", "cp2", "cp3", "w1", "w2")


def unlisted(c: Cluster) -> Cluster:
    c.objects = unseen(K.TIMEOUT)
    return c


def no_member(c: Cluster) -> Cluster:
    for name in c.joined:
        _etcd(c, name, K.TIMEOUT)
    return c


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda c: c.ssh_fails(*ALL, kind=K.DENIED),
            ("no etcd member was seen", "no control plane's machine could be looked at"),
        ),
        (lambda c: c.ssh_fails(*ALL), ("no etcd member was seen", "no control plane's machine could be looked at")),
        (no_member, ("no etcd member was seen",)),
        (unlisted, ("nodes and pods were not listed",)),
        (lambda c: unlisted(c).ssh_fails(*ALL, kind=K.OWN), ("own in this test",)),
    ],
    ids=[
        "ssh key refused everywhere",
        "ssh dead, API fine",
        "no etcd member seen",
        "lists time out",
        "too many open files on the bastion",
    ],
)
def test_healthy_is_not_said_of_what_was_not_seen(change: Callable[[Cluster], Cluster], words: tuple[str, ...]) -> None:
    diagnosis = seen(change(Cluster(control_planes=3, spares=1)))
    assert (diagnosis.state, diagnosis.partial, faults(diagnosis)) == (State.UNOBSERVABLE, True, [])
    assert all(w in diagnosis.summary for w in words), diagnosis.summary


def test_an_etcd_that_was_never_seen_is_not_missed() -> None:
    """As one that runs elsewhere and is no affair of the control planes."""
    cluster = no_member(Cluster(3))
    assert seen(cluster, replace(cluster.memory(), watermark=None)).state is State.HEALTHY


def test_healthy_says_how_many_machines_were_looked_at() -> None:
    assert "4 of 5 machines looked at" in seen(Cluster(3).ssh_fails("w2", kind=K.TIMEOUT)).summary


def test_join_stuck_is_one_incident_with_the_cause_first() -> None:
    cluster = Cluster(control_planes=1, spares=1)
    diagnosis = seen(cluster.join_stuck())
    assert diagnosis.state is State.ETCD_STUCK
    assert faults(diagnosis) == [
        (Code.ETCD_NEVER_STARTED, "cp2"),
        (Code.ETCD_QUORUM_LOST, ""),
        (Code.API_NOT_ANSWERING, "cp1"),
    ]
    cause = diagnosis.faults[0]
    assert cause.facts == MemberFacts(
        "cp2", member_id=member_id("cp2"), peer_url="https://10.99.1.12:2380", quorum="lost"
    )
    assert diagnosis.find(Code.NOT_JOINED, "cp2")


@pytest.mark.parametrize("known", [True, False], ids=["known before", "at the first start"])
def test_join_stuck_is_found_with_and_without_memory(known: bool) -> None:
    cluster = Cluster(control_planes=1, spares=1)
    diagnosis = seen(cluster.join_stuck(), cluster.memory() if known else Memory())
    assert {Code.ETCD_NEVER_STARTED, Code.ETCD_QUORUM_LOST} <= {f.code for f in diagnosis.faults}


def test_a_voter_at_an_address_that_nobody_configured_is_named_by_it() -> None:
    cluster = Cluster(control_planes=3)
    diagnosis = seen(cluster.member_list(*cluster.members, cluster.entry("cp9", started=False)))
    assert faults(diagnosis) == [(Code.ETCD_NEVER_STARTED, "10.99.1.19")]


def test_quorum_is_not_called_lost_while_an_unseen_member_may_live() -> None:
    """cp2 and cp3 refuse our key: they may well serve, and it is cp1 that is cut off."""
    cluster = Cluster(control_planes=3).no_leader().ssh_fails("cp2", "cp3", kind=K.DENIED).api_down()
    diagnosis = seen(cluster)
    assert Code.ETCD_NO_LEADER in {f.code for f in diagnosis.faults}
    assert diagnosis.find(Code.ETCD_QUORUM_LOST) is None


def test_a_silent_member_is_not_dead_while_its_node_is_ready() -> None:
    """The configured address lies, or only the bastion's path to it is cut."""
    diagnosis = seen(Cluster(control_planes=3).powered_off("cp2", node_ready=True))
    found = diagnosis.find(Code.HOST_UNSEEN, "cp2")
    assert found and "node is Ready" in found.message


def test_no_leader_has_evidence_even_when_the_list_holds_a_learner_alone() -> None:
    cluster = Cluster(control_planes=1)
    found = seen(cluster.no_leader().member_list(cluster.entry("cp1", learner=True))).find(Code.ETCD_NO_LEADER)
    assert found is not None and found.evidence


def test_a_learner_that_serves_for_minutes_is_stuck() -> None:
    cluster = Cluster(control_planes=3, spares=1)
    joining(cluster).container("cp4", "etcd", started_at=NOW - timedelta(minutes=5))
    assert faults(seen(cluster)) == [(Code.ETCD_LEARNER_STUCK, "cp4")]


def test_manifest_findings_carry_what_a_playbook_needs() -> None:
    cluster = Cluster()
    missing = seen(cluster.manifest("cp1", "kube-scheduler", None)).faults[0]
    path = "/etc/kubernetes/manifests/kube-scheduler.yaml"
    assert missing.facts == ManifestFacts("cp1", component="kube-scheduler") and path in missing.message
    changed = seen(mistyped(Cluster())).faults[0]
    assert manifest("kube-apiserver", "--secure-prot=6443").sha256[:12] in changed.evidence[0]
    assert any("+ - --secure-prot=6443" in line for line in changed.evidence)
    assert any("unknown flag" in line for line in changed.evidence)


def test_a_manifest_cut_where_it_still_parses_is_found() -> None:
    cluster = Cluster().manifest("cp1", "kube-apiserver", manifest_of("kube-apiserver", truncated("kube-apiserver")))
    cluster.container("cp1", "kube-apiserver", running=False, exit_code=0).api_down()
    assert faults(seen(cluster))[0] == (Code.MANIFEST_CHANGED, "cp1")


def test_an_edit_that_takes_the_last_section_out_is_not_a_cut_one_while_it_is_rolled_out() -> None:
    whole = manifest("kube-apiserver").content
    for content, found in (
        (whole.removesuffix("status: {}\n"), False),
        (whole.removesuffix("  hostNetwork: true\nstatus: {}\n"), True),
    ):
        cluster = Cluster().manifest("cp1", "kube-apiserver", manifest_of("kube-apiserver", content)).api_down()
        changed = diagnose(cluster.observation(), cluster.memory(), cluster.settings).find("apiserver-manifest-changed")
        assert (changed is not None) is found


def test_an_edit_that_is_just_being_started_is_left_alone() -> None:
    """The API server of an operator's edit is not up yet: it is down, and nothing is concluded about the manifest."""
    cluster = edited(Cluster()).api_down()
    assert faults(seen(cluster)) == [(Code.API_NOT_ANSWERING, "cp1")]


def test_crash_loop_shows_how_long_it_is_up_and_its_last_words() -> None:
    found = seen(crash_loop(Cluster())).faults[0]
    assert "Up 3 seconds" in found.message
    assert any("no route to heaven" in line for line in found.evidence)


def test_kubelet_down_without_consequence_does_not_hide_lost_quorum() -> None:
    cluster = Cluster(control_planes=3).etcd_stopped("cp2").stopped("cp1", "kubelet")
    assert [c for c, _ in faults(seen(cluster))] == [Code.ETCD_MEMBER_DOWN, Code.KUBELET_DOWN]


def test_first_start_on_a_broken_cluster_still_finds_what_is_proven() -> None:
    cluster = Cluster().stopped("cp1", "kubelet").etcd_stopped("cp1").api_down()
    diagnosis = seen(cluster, Memory())
    assert faults(diagnosis)[0] == (Code.KUBELET_DOWN, "cp1")


def test_address_that_never_worked_may_be_a_wrong_kubeconfig() -> None:
    diagnosis = seen(Cluster().address_answers(H.REFUSED), Memory())
    found = diagnosis.find(Code.VIP_WRONG)
    assert (
        found
        and found.severity is Severity.NOTICE
        and diagnosis.state is State.UNOBSERVABLE
        and "not listed" in diagnosis.summary
    )


def test_kubeconfig_of_another_cluster_is_noticed_and_not_believed() -> None:
    cluster = Cluster()
    cluster.objects = ObjectsView((NodeView("standby1", True, address="10.1.1.1"),), {})
    cluster.endpoint("cp1", H.TLS, "certificate signed by unknown authority")
    diagnosis = seen(cluster)
    assert (diagnosis.state, faults(diagnosis)) == (State.UNOBSERVABLE, [])
    assert any("another cluster" in f.message for f in diagnosis.findings)


@pytest.mark.parametrize("count", [1, 3])
def test_everything_dark_is_the_bastions_own_network(count: int) -> None:
    diagnosis = seen(Cluster(control_planes=count).everything_dark())
    assert (diagnosis.state, faults(diagnosis)) == (State.UNOBSERVABLE, [])
    dark = diagnosis.find(Code.CLUSTER_DARK)
    assert dark and "bastion's own network" in dark.message


def test_one_control_plane_seen_alone_proves_nothing_about_quorum() -> None:
    """Two of three and every worker dark: the bastion and cp1 may be cut off from a majority that serves on."""
    diagnosis = seen(Cluster(control_planes=3).no_leader().powered_off("cp2", "cp3", "w1", "w2").api_down("cp1"))
    assert (diagnosis.state, faults(diagnosis)) == (State.UNOBSERVABLE, [])


def test_a_half_joined_machine_left_behind_leaves_the_cluster_healthy() -> None:
    cluster = Cluster(control_planes=1, spares=1)
    cluster.host("cp2", joined=True, manifests={"etcd": manifest("etcd")})
    diagnosis = seen(cluster)
    assert diagnosis.state is State.HEALTHY
    assert diagnosis.find(Code.NOT_JOINED, "cp2")


def test_a_control_plane_that_worked_and_is_no_member_any_more_is_a_warning_with_the_way_back() -> None:
    found = seen(removed(Cluster(control_planes=3))).find(Code.NOT_JOINED, "cp3")
    assert found and found.severity is Severity.WARNING
    assert (
        "2 voters are left and 2 needed: etcd survives the loss of none" in found.message
        and "join-control-plane" in found.message
    )
    never = seen(Cluster(control_planes=1, spares=1)).find(Code.NOT_JOINED, "cp2")
    assert never is None or never.severity is Severity.NOTICE


def test_rebuilt_cluster_is_no_split_brain() -> None:
    cluster = Cluster(control_planes=3)
    for name, view in cluster.etcd.items():
        assert isinstance(view, EtcdView)
        cluster.etcd[name] = replace(view, cluster_id="beef")
    # agents of the old cluster still run; see test_network for how that ends
    diagnosis = seen(cluster)
    assert [f.code for f in diagnosis.faults] == [Code.ETCD_REVISION_WENT_BACK]


def test_a_member_started_as_a_cluster_of_its_own_while_the_others_are_away_is_foreign() -> None:
    cluster = Cluster(control_planes=3).powered_off("cp2", "cp3")
    cluster.etcd_changed("cp1", cluster_id="beef", members=(cluster.entry("cp1"),))
    assert (Code.ETCD_FOREIGN_CLUSTER, "cp1") in faults(seen(cluster))


def test_quorum_is_not_called_lost_from_silence_while_an_api_server_is_ready() -> None:
    """The bastion sees one of three, cut off from the two that serve on behind the load balancer."""
    cluster = Cluster(3).ssh_fails("cp1", "cp3").no_leader("cp2")
    cluster.endpoint("cp1", EndpointHealth.UNREACHABLE).endpoint("cp3", EndpointHealth.UNREACHABLE).endpoint(
        "cp2", EndpointHealth.NOT_READY
    )
    diagnosis = seen(cluster)
    assert cluster.vip.health is EndpointHealth.READY and not diagnosis.find(Code.ETCD_QUORUM_LOST)
    finding = diagnosis.find(Code.ETCD_NO_LEADER)
    assert finding and any("a quorum that is out of the bastion's sight" in line for line in finding.evidence)
    cluster.address_answers(EndpointHealth.REFUSED)
    assert seen(cluster).find(Code.ETCD_QUORUM_LOST)


def test_a_controller_that_runs_nowhere_is_a_warning_and_one_that_may_run_is_none() -> None:
    cluster = Cluster(control_planes=3)
    down = {"running": False, "exit_code": 1, "restarts": 4, "log_tail": ("no kubeconfig",)}
    for name in ("cp1", "cp2", "cp3"):
        assert not seen(cluster).find(Code.CONTROLLER_DOWN), "another one can lead"
        cluster.container(name, "kube-scheduler", **down)
    diagnosis = seen(cluster)
    found = diagnosis.find(Code.CONTROLLER_DOWN, "kube-scheduler")
    assert found and found.severity is Severity.WARNING and diagnosis.state is State.HEALTHY
    assert (
        "crictl logs" in found.message
        and "kube-scheduler on cp3: Exited (1), restarted 4 times" in found.evidence
        and "it says: no kubeconfig" in found.evidence
    )
    cluster.container("cp2", "kube-scheduler", **{**down, "log_tail": ("Error: unknown flag: --port",)})
    named = seen(cluster).find(Code.CONTROLLER_DOWN, "kube-scheduler")
    assert named and "it is given the flag --port" in named.message and "take --port out" in named.message
    assert "crictl" not in named.message
    assert not seen(cluster.ssh_fails("cp2")).find(Code.CONTROLLER_DOWN), "what is not seen may run"


@pytest.mark.parametrize(
    ("said", "entries"),
    [
        ("memberID:10276657743932975437 alarm:NOSPACE ", (AlarmEntry("8e9e05c52164694d", "NOSPACE"),)),
        ("memberID:16 alarm:CORRUPT ", (AlarmEntry("10", "CORRUPT"),)),
        ("alarm:CORRUPT ", (AlarmEntry("0", "CORRUPT"),)),
        ("etcdserver: no leader", ()),
    ],
)
def test_alarms_as_etcd_writes_them(said: str, entries: tuple[AlarmEntry, ...]) -> None:
    """The third is of 3.4.23 and of 3.5.7 and later, which cannot tell whose data are wrong."""
    assert alarm_entries([said]) == entries


def test_corruption_that_etcd_lays_at_nobodys_door_leaves_no_source_and_offers_no_rebuild() -> None:
    cluster = Cluster(3, 2).etcd_changed(alarms=(AlarmEntry("0", "CORRUPT"),), healthy=False)
    assert isinstance(cluster, Cluster)
    observation = cluster.observation()
    diagnosis = diagnose(observation, cluster.memory(), cluster.settings)
    assert faults(diagnosis) == [(Code.ETCD_CORRUPT, "any")], "whose data are lost is not known"
    healthy = Cluster(3, 2).etcd_changed(alarms=(AlarmEntry("0", "CORRUPT"),)).observation()
    assert sources(healthy, diagnose(healthy, cluster.memory(), cluster.settings)) == ()
    well = Cluster(3, 2)
    assert sources(well.observation(), seen(well)) != ()
    answer = ask("rebuild-member", situation(cluster, *diagnosis.faults))
    assert isinstance(answer, Refusal) and "hashkv" in answer.reason


@pytest.mark.parametrize(
    ("others", "data", "found"),
    [
        (True, EtcdDataView("/var/lib/etcd", True, False), True),
        (True, EtcdDataView("/var/lib/etcd", True, True), False),
        (False, EtcdDataView("/var/lib/etcd", True, False), False),
    ],
    ids=["a member", "without data", "none is a static pod"],
)
def test_a_manifest_of_etcd_that_went_before_it_was_remembered_is_missing(
    others: bool, data: EtcdDataView, found: bool
) -> None:
    """As seconds after recoverd was started on a machine under load (seen on the lab)."""
    c = Cluster(3).manifest("cp2", "etcd", None).host("cp2", etcd_data=data).etcd_stopped("cp2")
    if not others:
        c.manifest("cp1", "etcd", None).manifest("cp3", "etcd", None)
    memory = c.memory()
    kept = {n: {k: m for k, m in of.items() if k != "etcd"} for n, of in memory.manifests.items()}
    diagnosis = diagnose(c.observation(), replace(memory, manifests=kept), c.settings)
    missing = diagnosis.find(Code.ETCD_MANIFEST_MISSING, "cp2")
    assert (missing is not None) is found
