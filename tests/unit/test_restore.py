"""etcd's data lost, corrupt or begun anew: what is found, what is planned about it, and what must never be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.loss import CORRUPTION
from recoverd.diagnose.scene import Scene
from recoverd.diagnose.setback import BUMP, current
from recoverd.machine.decide import choose
from recoverd.model.bastion_operations import FetchSnapshot, RemoveMember
from recoverd.model.etcd import AlarmEntry
from recoverd.model.etcd_operations import (
    AddMember,
    AwaitRestored,
    DisarmAlarm,
    PromoteMember,
    RestoreSnapshot,
    SendSnapshot,
    minor_of,
)
from recoverd.model.facts import Facts, Fate, LossFacts
from recoverd.model.finding import Diagnosis, Finding, Severity, State
from recoverd.model.memory import Memory
from recoverd.model.observation import CreatedView, EndpointHealth, EtcdDataView, EtcdToolView, HostView, Unseen
from recoverd.model.operations import MANIFESTS, MovePath, WriteFile
from recoverd.model.plan import Step
from recoverd.model.points import PointSettings, RestorePoint
from recoverd.model.unit_operations import AwaitUnit, RestartStaticPod, RestartUnit
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Askable, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.etcd_manifest import flag, with_flags
from tests.unit.builders import NOW, Cluster, manifest, manifest_of, member_id
from tests.unit.test_playbooks import situation

GONE, EMPTY = EtcdDataView("/var/lib/etcd", False, True), EtcdDataView("/var/lib/etcd", True, True)
OLD, NEW = EtcdToolView("/usr/bin/etcdctl", "3.4.23", False), EtcdToolView("/opt/etcdutl", "3.5.16", True)
POINT = RestorePoint(
    "prod-20260305T180000Z",
    (NOW - timedelta(minutes=70)).timestamp(),
    "schedule",
    "cp1",
    "/var/lib/recoverd/restore-points/prod/x/snapshot.db",
    "ab" * 32,
    20 << 20,
    "cdf818194e3a8c32",
    1000,
    300,
    1.0,
    "restored into a scratch etcd",
    "/var/lib/recoverd/restore-points/prod/x",
)


def etcd_manifest(name: str, state: str = "new") -> str:
    flags = [
        f"--name={name}",
        f"--initial-advertise-peer-urls=https://{Cluster.address(name)}:2380",
        "--data-dir=/var/lib/etcd",
    ]
    flags += [
        f"--initial-cluster={name}=https://{Cluster.address(name)}:2380",
        *([f"--initial-cluster-state={state}"] if state != "new" else []),
    ]
    return manifest("etcd", *flags).content.replace("v1.20.2", "3.4.13-0")


def built(control_planes: int = 3) -> Cluster:
    """A healthy cluster whose etcd manifests are as kubeadm writes them: the first says `new`."""
    cluster = Cluster(control_planes)
    for name in cluster.joined:
        content = etcd_manifest(name, "new" if name == "cp1" else "existing")
        view = replace(manifest("etcd"), content=content)
        cluster.manifest(name, "etcd", view).host(name, etcd_tool=OLD)
    cluster._healthy = cluster.observation()
    return cluster


def lost(control_planes: int = 3, tool: EtcdToolView | None = OLD) -> Cluster:
    cluster = built(control_planes)
    for name in cluster.joined:
        cluster.etcd_stopped(name).host(name, etcd_data=GONE, etcd_tool=tool)
    return cluster.api_down()


def anew(cluster: Cluster, name: str = "cp1") -> Cluster:
    """Its etcd was started on an empty directory with `new`."""
    view = replace(
        cluster.etcd_view(name), members=(cluster.entry(name),), revision=7, nodes=0, pods=0, leader=member_id(name)
    )
    cluster.etcd[name] = view
    return cluster.host(name, etcd_data=EtcdDataView("/var/lib/etcd", True, False))


def seen(cluster: Cluster, memory: Memory | None = None) -> Diagnosis:
    return diagnose(cluster.observation(), memory or cluster.memory(), cluster.settings)


def with_points(cluster: Cluster, *points: RestorePoint) -> Memory:
    return replace(cluster.memory(), points=points or (POINT,))


def ask(playbook: str, code: str, cluster: Cluster, *, memory: Memory | None = None, minutes: float = 10) -> Answer:
    now: Situation = situation(cluster, minutes=minutes, memory=memory)
    finding = now.diagnosis.find(code)
    assert finding, f"{code} is not found, but {[f.code for f in now.diagnosis.findings]}"
    return next(p for p in registry() if p.name == playbook).propose(finding, now)


def restored(cluster: Cluster, memory: Memory | None = None) -> Proposal:
    answer = ask("restore-etcd-snapshot", "etcd-data-lost", cluster, memory=memory or with_points(cluster))
    assert isinstance(answer, Proposal), answer
    assert any("a disk that is not mounted" in line for line in answer.evidence)
    return answer


def of(kind: type, steps: tuple[Step, ...]) -> list[tuple[str, object]]:
    return [(s.host, s.operation) for s in steps if isinstance(s.operation, kind)]


# --- data lost on every member ---


@pytest.mark.parametrize("data", [GONE, EMPTY], ids=["gone", "empty"])
@pytest.mark.parametrize("planes", [1, 3])
def test_data_gone_everywhere_is_the_first_cause(planes: int, data: EtcdDataView) -> None:
    cluster = lost(planes)
    for name in cluster.joined:
        cluster.host(name, etcd_data=data)
    diagnosis = seen(cluster)
    assert (diagnosis.state, diagnosis.faults[0].code) == (State.ETCD_STUCK, "etcd-data-lost")
    assert "revision 1234" in diagnosis.faults[0].message
    assert len(diagnosis.faults[0].evidence) == planes


def test_a_member_that_was_taken_in_by_one_that_ended_then_holds_nothing() -> None:
    """Where the first has begun anew meanwhile, nobody is left whose data it would be beside."""
    cluster = anew(lost(3)).host("cp3", etcd_data=replace(EMPTY, empty=False, blank=True))
    diagnosis = seen(cluster)
    assert diagnosis.faults[0].code == "etcd-data-lost" and not diagnosis.find("etcd-split-brain")
    whole = cluster.host("cp3", etcd_data=replace(EMPTY, empty=False))
    assert seen(whole).find("etcd-split-brain") and not seen(whole).find("etcd-data-lost")


def test_a_cluster_that_began_anew_over_deleted_data_is_lost_data_and_not_a_healthy_cluster() -> None:
    assert seen(anew(built(1))).faults[0].code == "etcd-data-lost"
    three = anew(lost(3))
    finding = seen(three).find("etcd-data-lost")
    assert finding and isinstance(finding.facts, LossFacts) and finding.facts.fates["cp1"] is Fate.ANEW
    assert "0 node objects where 5 were" in " ".join(finding.evidence)
    # kubelets that were restarted meanwhile have registered themselves
    registered = anew(built(1)).etcd_changed("cp1", nodes=1)
    assert seen(registered).find("etcd-data-lost")


def other_cluster(cluster: Cluster, uid: str = "another") -> Cluster:
    """cp1 has begun anew, grown beyond the old revision, and every node has registered itself."""
    return anew(cluster).etcd_changed("cp1", revision=5000, nodes=5, uid=uid)


def knowing(cluster: Cluster, uid: str = "the one") -> Memory:
    memory = with_points(cluster)
    assert memory.watermark
    return replace(memory, watermark=replace(memory.watermark, uid=uid))


@pytest.mark.parametrize("uid", ["another", ""])
def test_another_kubernetes_cluster_in_etcd_is_known_by_its_uid(uid: str) -> None:
    cluster = other_cluster(built(1), uid)
    assert seen(cluster, knowing(cluster)).faults[0].code == "etcd-data-lost"
    same = anew(built(1)).etcd_changed("cp1", uid="the one")
    assert not seen(same, knowing(same)).find("etcd-data-lost"), (
        "few nodes alone prove nothing where the UID is the same"
    )


@pytest.mark.parametrize(
    ("playbook", "code"),
    [
        ("restart-node-agents", "etcd-revision-went-back"),
        ("restart-node-agents", "pods-not-on-node"),
        ("rolling-worker-reboot", "pods-not-on-node"),
        ("start-node-services", "worker-kubelet-down"),
    ],
)
def test_no_kubelet_is_started_anew_beside_a_cluster_that_has_begun_anew(playbook: str, code: str) -> None:
    """Two of three cannot be looked at, so nothing is known to be lost; and one sweep in which the emptied member
    does not answer changes nothing.
    """
    three = other_cluster(built(3)).ssh_fails("cp2", "cp3")
    memory = knowing(three)
    diagnosis = seen(three, memory)
    assert (diagnosis.state, diagnosis.find("etcd-data-lost")) == (State.ETCD_STUCK, None)
    back = diagnosis.find("etcd-revision-went-back")
    assert back and "has begun a new, empty cluster" in back.message and back.severity is Severity.FAULT
    noticed = current(Scene(three.observation(), memory, three.settings))
    assert noticed and noticed.anew
    later = replace(memory, setback=noticed)
    mute = built(3).ssh_fails("cp2", "cp3").etcd_stopped("cp1")
    for cluster, known in ((three, later), (mute, later)):
        assert not [f for f in seen(cluster, known).faults if f.state is State.WORKER_NETWORK_BROKEN]
        finding = Finding(
            code, "w1", "is broken", ("seen",), state=State.WORKER_NETWORK_BROKEN, facts=Facts("w1", "w1")
        )
        answer = next(p for p in registry() if p.name == playbook).propose(finding, situation(cluster, memory=known))
        assert isinstance(answer, Refusal) and "end them all" in answer.reason, answer


@pytest.mark.parametrize("playbook", ["restart-node-agents", "rolling-worker-reboot"])
def test_no_kubelet_is_started_anew_while_it_is_not_seen_what_an_etcd_that_is_behind_holds(playbook: str) -> None:
    """Machines that come up at once: it serves, and neither the namespace's UID nor its keys were
    read in time, sweep after sweep.
    """
    cluster = anew(lost(3)).etcd_changed("cp1", revision=700, nodes=None, uid=None)
    memory = knowing(cluster)
    noticed = current(Scene(cluster.observation(), memory, cluster.settings))
    assert noticed is None
    diagnosis = seen(cluster, memory)
    assert not diagnosis.find("etcd-revision-went-back") and not diagnosis.find("etcd-data-lost")
    finding = Finding(
        "pods-not-on-node", "w1", "is broken", ("seen",), state=State.WORKER_NETWORK_BROKEN, facts=Facts("w1", "w1")
    )
    answer = next(p for p in registry() if p.name == playbook).propose(finding, situation(cluster, memory=memory))
    assert isinstance(answer, Refusal) and "was not seen yet" in answer.reason, answer
    # one to which nothing was ever written holds nothing, whatever of it was seen
    empty = anew(lost(3)).etcd_changed("cp1", revision=1, nodes=None, uid=None)
    found = seen(empty, memory).find("etcd-data-lost")
    assert found and isinstance(found.facts, LossFacts) and found.facts.fates["cp1"] is Fate.ANEW


def test_a_restore_ends_what_began_anew() -> None:
    cluster = other_cluster(built(1))
    memory = knowing(cluster)
    memory = replace(memory, setback=current(Scene(cluster.observation(), memory, cluster.settings)))
    back = built(1).etcd_changed("cp1", cluster_id="restored", revision=1000, uid="the one")
    after = current(Scene(back.observation(), memory, back.settings))
    assert after and not after.anew and after.cluster_id == "restored"


def test_one_copy_that_is_left_or_unseen_is_not_lost() -> None:
    for cluster in (
        lost(3).ssh_fails("cp2"),
        lost(3).host("cp2", etcd_data=EtcdDataView("/var/lib/etcd", True, False)),
    ):
        assert not seen(cluster).find("etcd-data-lost")
    older = built(1).etcd_changed("cp1", revision=700)
    assert not seen(older).find("etcd-data-lost"), "an older history with its nodes is a setback"
    assert not seen(built(3)).faults
    fresh = lost(1)
    assert not seen(fresh, Memory()).find("etcd-data-lost"), "nothing is known of before"


def members(memory: Memory, **names: str) -> Memory:
    """With the members as they called themselves when they were last seen healthy."""
    assert memory.watermark
    return replace(
        memory, watermark=replace(memory.watermark, members={member_id(n): name for n, name in names.items()})
    )


@pytest.mark.parametrize("ready", [True, False])
def test_members_that_are_not_configured_may_hold_the_data(ready: bool) -> None:
    """After `recoverctl join-control-plane` cp2 and cp3 are members and not yet in the
    configuration; cp1 loses its data.
    """
    cluster = lost(1)
    if ready:
        cluster.address_answers(EndpointHealth.READY)
    memory = members(with_points(cluster), cp1="cp1", cp2="cp2", cp3="cp3")
    diagnosis = seen(cluster, memory)
    assert not diagnosis.find("etcd-data-lost") and diagnosis.find("etcd-data-directory-empty", "cp1")
    answer = ask("rebuild-member", "etcd-data-directory-empty", cluster, memory=memory)
    assert isinstance(answer, Refusal) and "cp2, cp3 held the data too" in answer.reason


def test_members_may_be_called_otherwise_than_their_machines() -> None:
    one_left = built(3).etcd_stopped("cp1").host("cp1", etcd_data=GONE)
    names = {"cp1": "cp1", "cp2": "cp2.example.com", "cp3": "cp3.example.com"}
    assert not seen(one_left, members(one_left.memory(), **names)).find("etcd-data-lost")
    for called in (names, {n: f"{n}.example.com" for n in names}):
        every = lost(3)
        found = seen(every, members(every.memory(), **called)).find("etcd-data-lost")
        assert found and isinstance(found.facts, LossFacts) and tuple(found.facts.fates) == ("cp1", "cp2", "cp3")


def test_data_is_not_lost_while_an_api_server_is_ready() -> None:
    cluster = lost(1).endpoint("cp1", EndpointHealth.READY)
    assert not seen(cluster).find("etcd-data-lost")


def test_every_member_corrupt_is_lost_too() -> None:
    cluster = built(3)
    for name in cluster.joined:
        cluster.etcd_stopped(name, restarts=3, log_tail=("panic: page 7 already freed",))
    assert seen(cluster.api_down()).faults[0].code == "etcd-data-lost"


# --- the plan ---


def test_every_api_server_and_every_member_is_stopped_before_any_data_is_touched_and_started_after_all_of_it() -> None:
    steps = restored(lost(3)).steps
    first = min(
        i for i, s in enumerate(steps) if isinstance(s.operation, MovePath) and s.operation.source.endswith("/member")
    )
    moved = {(s.host, s.operation.source) for s in steps[:first] if isinstance(s.operation, MovePath)}
    assert moved == {(h, f"{MANIFESTS}/{c}.yaml") for h in ("cp1", "cp2", "cp3") for c in ("etcd", "kube-apiserver")}
    data_done = max(i for i, s in enumerate(steps) if isinstance(s.operation, RestoreSnapshot))
    writes = [i for i, s in enumerate(steps) if isinstance(s.operation, WriteFile)]
    assert len(writes) == 6 and min(writes) > data_done
    api = [i for i in writes if "kube-apiserver" in steps[i].operation.path]  # type: ignore[union-attr]
    served = [i for i, s in enumerate(steps) if isinstance(s.operation, AwaitRestored)]
    assert max(served) < min(api), "no API server before every member serves what was restored"
    assert [s.commits for s in steps[: min(api)]] == [False] * min(api) and steps[min(api)].commits


def test_all_members_get_the_same_snapshot_one_token_and_their_own_names() -> None:
    steps = restored(lost(3)).steps
    operations = [o for _, o in of(RestoreSnapshot, steps)]
    assert len({(o.sha256, o.token, o.cluster, o.bump, o.minor) for o in operations}) == 1  # type: ignore[attr-defined]
    assert [o.name for o in operations] == ["cp1", "cp2", "cp3"]  # type: ignore[attr-defined]
    (one, *_) = operations
    assert isinstance(one, RestoreSnapshot) and one.cluster.count("=https://10.99.1.1") == 3 and one.minor == "3.4."
    assert {o.sha256 for _, o in of(SendSnapshot, steps)} == {POINT.sha256}  # type: ignore[attr-defined]


def test_etcd_is_started_only_where_the_restored_database_is() -> None:
    for cluster in (lost(3), anew(lost(3))):
        for step in restored(cluster).steps:
            for operation in (step.operation, step.undo):
                if isinstance(operation, WriteFile) and operation.path.endswith("etcd.yaml"):
                    assert operation.needs == "/var/lib/etcd/member/snap/db"
                if isinstance(operation, MovePath) and operation.target.endswith("manifests/etcd.yaml"):
                    assert operation.needs == "/var/lib/etcd/member/snap/db"
        stops = [
            s
            for s in restored(cluster).steps
            if isinstance(s.operation, MovePath) and s.operation.source.endswith("etcd.yaml")
        ]
        assert [s.undo is None for s in stops] == [isinstance(cluster.etcd["cp1"], Unseen), True, True]


def test_what_is_lost_is_said() -> None:
    cluster = lost(1)
    new = tuple(CreatedView("pod", f"default/p{i}", NOW - timedelta(minutes=i)) for i in range(120))
    proposal = restored(cluster, replace(with_points(cluster), newest=new))
    told = " ".join(proposal.destroys)
    # the watermark is of an hour ago, the point of ten minutes before that
    assert "at least 10 min and 234 revisions" in told
    assert "pod default/p0, pod default/p1," in told and "and 50 more" in told and "default/p71" not in told


def test_the_newest_verified_point_is_taken_and_said() -> None:
    unverified = replace(
        POINT, id="prod-20260305T190000Z", verified_at=None, how_verified="no etcd is on the bastion", revision=1100
    )
    cluster = lost(1)
    assert POINT.id in restored(cluster, with_points(cluster, POINT, unverified)).summary
    only = restored(cluster, with_points(cluster, unverified))
    assert unverified.id in only.summary and any("none has been verified" in line for line in only.evidence)


def test_a_point_of_the_cluster_that_was_here_before_is_gone_back_to_only_where_a_person_names_it() -> None:
    """A cluster was made anew on the same machines. Its first point was not verified yet, and that of the other was."""
    former, first = replace(POINT, uid="another"), replace(POINT, id="prod-own", verified_at=None, uid="the one")
    cluster = lost(1)
    memory = knowing(cluster)
    assert first.id in restored(cluster, replace(memory, points=(first, former))).summary
    assert POINT.id in restored(cluster, replace(memory, points=(POINT,))).summary, "whose it is is not known"
    answer = ask("restore-etcd-snapshot", "etcd-data-lost", cluster, memory=replace(memory, points=(former,)))
    assert isinstance(answer, Refusal) and f"--point {former.id}" in answer.reason
    finding = (now := situation(cluster, minutes=10, memory=replace(memory, points=(former,)))).diagnosis.find(
        "etcd-data-lost"
    )
    assert finding
    named = next(p for p in registry() if p.name == "restore-etcd-snapshot").propose(
        finding, replace(now, point=former.id)
    )
    assert isinstance(named, Proposal) and any("OF ANOTHER KUBERNETES CLUSTER" in line for line in named.evidence)


def test_the_bump_is_beyond_every_revision_and_only_where_every_member_can() -> None:
    (operation,) = [o for _, o in of(RestoreSnapshot, restored(lost(1, NEW)).steps)]
    assert isinstance(operation, RestoreSnapshot) and POINT.revision + operation.bump >= 1234 + BUMP
    mixed = lost(3, NEW).host("cp2", etcd_tool=OLD)
    assert {o.bump for _, o in of(RestoreSnapshot, restored(mixed).steps)} == {0}  # type: ignore[attr-defined]


def test_what_an_earlier_attempt_left_is_taken_for_this_ones_only_when_it_is_the_same() -> None:
    """It was taken back on cp1, and lies beside its data; meanwhile another point became the best, or etcdctl
    was replaced by one that bumps.
    """

    def beside(cluster: Cluster, *points: RestorePoint) -> set[str]:
        return {o.beside for _, o in of(RestoreSnapshot, restored(cluster, with_points(cluster, *points)).steps)}  # type: ignore[attr-defined]

    first = beside(lost(3))
    assert len(first) == 1 and beside(lost(3)) == first
    another = replace(POINT, id="prod-20260305T170000Z", sha256="cd" * 32)
    assert not beside(lost(3), another) & first and not beside(lost(3, NEW)) & first


def test_a_second_restore_in_an_incident_goes_beyond_what_the_first_handed_out() -> None:
    def bump(ran: int) -> int:
        now = replace(situation(cluster, memory=with_points(cluster)), ran=ran)
        found = now.diagnosis.find("etcd-data-lost")
        answer = next(p for p in registry() if p.name == "restore-etcd-snapshot").propose(found, now) if found else None
        assert isinstance(answer, Proposal)
        return next(o.bump for _, o in of(RestoreSnapshot, answer.steps))  # type: ignore[attr-defined,no-any-return]

    cluster = lost(1, NEW)
    assert bump(1) - bump(0) == bump(2) - bump(1) == BUMP


@pytest.mark.parametrize("playbook", ["rebuild-member", "restore-etcd-snapshot"])
def test_a_plan_that_is_made_again_keeps_nothing_under_the_names_of_the_first(playbook: str) -> None:
    """The first one failed when etcd's new manifest was in place already: "etcd.yaml exists already", said the
    second of what the first had kept.
    """
    cluster = corrupt(built(3)) if playbook == "rebuild-member" else lost(3)
    now = situation(cluster, memory=with_points(cluster))

    def targets(now: Situation) -> set[tuple[str, str]]:
        answer = choose(now, registry(), ()).proposal
        assert answer
        return {(h, o.target) for h, o in of(MovePath, answer.steps) if isinstance(o, MovePath)}

    first = targets(now)
    assert len(first) >= 2 and not targets(replace(now, ran=1)) & first


def changed_manifest(cluster: Cluster, name: str, *flags: str) -> Cluster:
    text = etcd_manifest(name).replace("    - etcd\n", "".join(("    - etcd\n", *(f"    - {f}\n" for f in flags))))
    return cluster.manifest(name, "etcd", replace(manifest("etcd"), content=text))


def test_a_flag_that_somebody_tried_in_the_night_is_not_put_back() -> None:
    forced = changed_manifest(lost(3), "cp2", "--force-new-cluster=true")
    one = changed_manifest(corrupt(built(3)), "cp2", "--force-new-cluster")
    rebuilt = ask("rebuild-member", "etcd-member-corrupt", one)
    assert isinstance(rebuilt, Proposal)
    for steps in (restored(forced).steps, rebuilt.steps):
        writes = [o for _, o in of(WriteFile, steps) if o.path.endswith("etcd.yaml")]  # type: ignore[attr-defined]
        assert writes and not any("--force-new-cluster" in o.content for o in writes)  # type: ignore[attr-defined]


def test_a_log_that_lies_apart_is_left_to_a_person() -> None:
    every = changed_manifest(lost(3), "cp2", "--wal-dir=/wal")
    answer = ask("restore-etcd-snapshot", "etcd-data-lost", every, memory=with_points(every))
    rebuilt = ask("rebuild-member", "etcd-member-corrupt", changed_manifest(corrupt(built(3)), "cp2", "--wal-dir=/wal"))
    for said in (answer, rebuilt):
        assert isinstance(said, Refusal) and "--wal-dir=/wal" in said.reason
    assert restored(changed_manifest(lost(3), "cp2", "--wal-dir=/var/lib/etcd/member/wal"))


def test_agents_are_restarted_only_without_the_bump_and_controllers_always() -> None:
    plain, bumped = restored(lost(1)).steps, restored(lost(1, NEW)).steps
    assert [h for h, _ in of(RestartUnit, plain)] == ["cp1", "w1", "w2"] and not of(RestartUnit, bumped)
    for steps in (plain, bumped):
        assert [(h, o.component) for h, o in of(RestartStaticPod, steps)] == [
            ("cp1", "kube-controller-manager"),
            ("cp1", "kube-scheduler"),
        ]  # type: ignore[attr-defined]


def test_after_a_restore_one_kubelet_is_seen_to_stay_up_before_the_others_are_restarted_in_one_go() -> None:
    """One alone made it worse (observed), and one that does not come up may not be the only one."""
    steps = restored(lost(3)).steps
    kubelets = [s for s in steps if isinstance(s.operation, RestartUnit | AwaitUnit)]
    restart, see = RestartUnit, AwaitUnit
    assert [(type(s.operation), s.host) for s in kubelets] == [
        *((restart, "cp1"), (see, "cp1"), (restart, "cp2"), (restart, "cp3"), (see, "cp2"), (see, "cp3")),
        *((restart, "w1"), (see, "w1"), (restart, "w2"), (see, "w2")),
    ]
    assert all(s.vital for s in kubelets), "the first that does not come up ends the plan"
    workers = next(i for i, s in enumerate(steps) if isinstance(s.operation, RestartUnit) and s.host == "w1")
    assert all(i < workers for i, s in enumerate(steps) if isinstance(s.operation, RestartStaticPod))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c, "no restore point"),
        (lambda c: c.host("cp2", etcd_tool=None), "no etcdctl or etcdutl of etcd's own version was found on cp2"),
    ],
)
def test_it_refuses_with_the_reason(change: object, why: str) -> None:
    cluster = change(lost(3))  # type: ignore[operator]
    memory = cluster.memory() if why == "no restore point" else with_points(cluster)
    answer = ask("restore-etcd-snapshot", "etcd-data-lost", cluster, memory=memory)
    assert isinstance(answer, Refusal) and why in answer.reason


def test_no_kubelet_is_restarted_on_the_empty_cluster() -> None:
    """It would be told that it has no pods, and end them."""
    answer = ask("restart-node-agents", "etcd-revision-went-back", anew(built(1)))
    assert isinstance(answer, Refusal) and "end them all" in answer.reason


def test_a_restore_with_a_bump_is_no_setback_and_one_without_is() -> None:
    cluster = built(1).etcd_changed("cp1", cluster_id="feed", revision=1234 + BUMP)
    assert current(Scene(cluster.observation(), cluster.memory(), cluster.settings)) is None
    cluster.etcd_changed("cp1", revision=1000)
    assert current(Scene(cluster.observation(), cluster.memory(), cluster.settings)) is not None


# --- data that a person calls wrong ---


def wished(cluster: Cluster, point: str = "", memory: Memory | None = None, nodes: tuple[str, ...] = ()) -> Answer:
    playbook = next(p for p in registry() if p.name == "restore-etcd-snapshot")
    assert isinstance(playbook, Askable)
    return playbook.asked(
        replace(situation(cluster, memory=memory or with_points(cluster)), point=point, by_hand=True, nodes=nodes)
    )


def test_data_that_is_there_is_restored_only_to_a_point_that_was_named() -> None:
    refused = wished(built(3))
    assert isinstance(refused, Refusal) and "--point" in refused.reason
    refused = wished(built(3), "prod-1")
    assert isinstance(refused, Refusal) and "there is no restore point prod-1" in refused.reason
    older = replace(POINT, id="prod-20260301T000000Z", revision=400)
    proposal = wished(built(3), older.id, with_points(built(3), older, POINT))
    assert isinstance(proposal, Proposal) and older.id in proposal.summary
    assert [h for h, _ in of(RestoreSnapshot, proposal.steps)] == ["cp1", "cp2", "cp3"]
    assert (proposal.basis, proposal.resolves, proposal.own_point) == ((), (), True)
    assert any("as asked for" in line for line in proposal.evidence)
    assert any("834 revisions" in line for line in proposal.destroys) and any(
        "kept aside on every host" in line for line in proposal.destroys
    )


def test_a_machine_that_is_gone_for_good_is_left_out_only_by_a_persons_word() -> None:
    cluster = lost(3)
    memory = with_points(cluster)
    cluster.ssh_fails("cp3")
    assert not seen(cluster, memory).find("etcd-data-lost"), "cp3 may hold it"
    refused = ask("rebuild-member", "etcd-data-directory-empty", cluster, memory=memory)
    assert (
        isinstance(refused, Refusal)
        and "take cp3 out of the configuration" in refused.reason
        and "--point ID --node cp1 --node cp2" in refused.reason
    )
    for nodes, why in (((), "cp3 cannot be looked at"), (("cp1", "cp2"), "taken out of the configuration first")):
        answer = wished(cluster, POINT.id, memory, nodes)
        assert isinstance(answer, Refusal) and why in answer.reason
    left = lost(2)  # cp3 is not configured any more, and remembered as a member
    answer = wished(left, POINT.id, memory)
    assert isinstance(answer, Refusal) and "--node cp1 --node cp2" in answer.reason
    proposal = wished(left, POINT.id, memory, ("cp1", "cp2"))
    assert isinstance(proposal, Proposal)
    assert [h for h, _ in of(RestoreSnapshot, proposal.steps)] == ["cp1", "cp2"]
    assert any("member cp3" in line and "never be started again" in line for line in proposal.destroys)
    again = wished(left, POINT.id, memory, tuple(dict.fromkeys(s.part for s in proposal.steps if s.part)))
    assert isinstance(again, Proposal) and again.steps == proposal.steps, "as it is asked again while the plan waits"


def test_a_point_may_be_chosen_for_lost_data_too() -> None:
    older = replace(POINT, id="prod-20260301T000000Z", revision=400)
    cluster = lost(3)
    now = replace(situation(cluster, memory=with_points(cluster, older, POINT)), point=older.id)
    finding = now.diagnosis.find("etcd-data-lost")
    playbook = next(p for p in registry() if p.name == "restore-etcd-snapshot")
    assert finding
    proposal = playbook.propose(finding, now)
    assert isinstance(proposal, Proposal) and older.id in proposal.summary and proposal.basis == (finding.key,)


def test_a_plan_for_a_living_cluster_stays_the_same_while_that_goes_on_writing() -> None:
    def at(revision: int) -> list[tuple[str, object]]:
        cluster = built(1)
        cluster.host("cp1", etcd_tool=NEW)
        memory = with_points(cluster)
        assert memory.watermark
        answer = wished(cluster, POINT.id, replace(memory, watermark=replace(memory.watermark, revision=revision)))
        assert isinstance(answer, Proposal)
        return [(s.host, s.operation) for s in answer.steps]

    assert at(5_000) == at(900_000)
    made = next(o for _, o in at(900_000) if isinstance(o, RestoreSnapshot))
    assert POINT.revision + made.bump > 900_000 + BUMP // 2


# --- one member ---


def corrupt(cluster: Cluster, name: str = "cp2") -> Cluster:
    return cluster.etcd_stopped(
        name, restarts=4, log_tail=("starting", "panic: invalid page type: 17: 0", "goroutine 1 [running]:")
    )


@pytest.mark.parametrize(
    "line",
    [
        "panic: page 23 already freed",
        "panic: freepages: failed to get all reachable pages (page 27: multiple references)",
        "walpb: crc mismatch",
        "unexpected fault address 0x7f2c3c1ff000",
        '{"level":"fatal","msg":"checkInitialHashKV failed","error":"8e9e05c52164694d found data '
        'inconsistency with peers"}',
        "panic: assertion failed: Page expected to be: 5, but self identifies as 0",
        "panic: 8e9e05c52164694d state.commit 25 is out of range [10, 20]",
        "panic: recovering backend from snapshot error: database snapshot file path error: snap: "
        "snapshot file doesn't exist",
        '{"level":"panic","msg":"failed to recover v3 backend from snapshot","error":"failed to '
        'find database snapshot file"}',
        '{"level":"fatal","msg":"failed to open WAL","error":"wal: could not read '
        '/var/lib/etcd/member/wal/0.wal: unexpected EOF"}',
        '{"level":"fatal","msg":"failed to read WAL, cannot be repaired","error":"wal: slice bounds out of range, '
        'snapshot[Index: 100030, Term: 6], current entry[Index: 100099, Term: 6], len(ents): 58"}',
        '{"level":"panic","msg":"failed to open WAL","error":"wal: snapshot mismatch"}',
        '{"level":"panic","msg":"failed to open database","error":"file size too small"}',
    ],
)
def test_what_etcd_says_of_damaged_files_is_known(line: str) -> None:
    assert CORRUPTION.search(line)


@pytest.mark.parametrize("line", ["listen tcp 10.0.0.1:2380: bind: address already in use", "no space left on device"])
def test_what_is_no_damage_is_not_taken_for_it(line: str) -> None:
    assert not CORRUPTION.search(line)
    assert not seen(built(3).etcd_stopped("cp2", restarts=4, log_tail=(line,))).find("etcd-member-corrupt")


def test_entries_that_were_acknowledged_and_are_gone_are_damage_where_others_lead() -> None:
    """A machine that was put back to an older snapshot: its peers go on, and it ends itself at
    every start (etcd-io/etcd #13509).
    """
    line = (
        "panic: tocommit(587192) is out of range [lastIndex(587189)]. Was the raft log corrupted, truncated, or lost?"
    )
    cluster = built(3).etcd_stopped("cp2", restarts=4, log_tail=(line,))
    assert seen(cluster).find("etcd-member-corrupt")
    assert isinstance(ask("rebuild-member", "etcd-member-corrupt", cluster), Proposal)
    forced = (
        built(3)
        .etcd_stopped("cp2", restarts=4, log_tail=(line,))
        .manifest("cp2", "etcd", manifest("etcd", "--force-new-cluster=true"))
    )
    assert not seen(forced).find("etcd-member-corrupt"), "it hears the members of before"
    assert not seen(built(1).etcd_stopped("cp1", restarts=4, log_tail=(line,))).find("etcd-member-corrupt")


def test_members_that_find_each_other_inconsistent_are_not_all_corrupt() -> None:
    line = (
        '{"level":"fatal","msg":"checkInitialHashKV failed","error":"8e9e05c52164694d found data '
        'inconsistency with peers"}'
    )
    assert seen(built(3).etcd_stopped("cp2", restarts=4, log_tail=(line,))).find("etcd-member-corrupt", "cp2")
    cluster = built(3)
    for name in ("cp1", "cp2", "cp3"):
        cluster.etcd_stopped(
            name, restarts=4, log_tail=(line, "panic: page 23 already freed") if name == "cp3" else (line,)
        )
    diagnosis = seen(cluster)
    assert [f.subject for f in diagnosis.faults if f.code == "etcd-member-corrupt"] == ["cp3"] and not diagnosis.find(
        "etcd-data-lost"
    )


def test_a_corrupt_member_is_named_and_rebuilt_from_its_peers() -> None:
    cluster = corrupt(built(3))
    assert seen(cluster).faults[0].key == ("etcd-member-corrupt", "cp2")
    proposal = ask("rebuild-member", "etcd-member-corrupt", cluster, minutes=0)
    assert isinstance(proposal, Proposal)
    kinds = [type(s.operation).__name__ for s in proposal.steps]
    assert (
        kinds.index("MovePath")
        < kinds.index("RemoveMember")
        < kinds.index("AddMember")
        < kinds.index("WriteFile")
        < kinds.index("PromoteMember")
    )
    (write,) = [o for _, o in of(WriteFile, proposal.steps)]
    assert isinstance(write, WriteFile) and flag(write.content, "--initial-cluster-state") == "existing"
    assert sorted(p.split("=")[0] for p in flag(write.content, "--initial-cluster").split(",")) == ["cp1", "cp2", "cp3"]
    assert of(RemoveMember, proposal.steps) == [("cp1", RemoveMember(member_id("cp2")))]
    assert of(AddMember, proposal.steps) == [("cp1", AddMember("https://10.99.1.12:2380", True, member_id("cp2")))]
    assert any(
        "now 3 voters, 2 needed, 2 healthy without it; removed: 2 voters, 2 needed, 2 healthy" in line
        for line in proposal.evidence
    )


def before_plans(cluster: Cluster) -> Cluster:
    cluster.settings = replace(cluster.settings, points=PointSettings(before_plans=True))
    return cluster


ALARM = (AlarmEntry(member_id("cp2"), "CORRUPT"),)


@pytest.mark.parametrize(
    ("cluster", "fetched", "told"),
    [
        (before_plans(corrupt(built(3))), [], "a restore point from before is kept"),
        (corrupt(built(3)), ["cp1"], "a snapshot from before is kept"),
        (
            before_plans(corrupt(built(3)).etcd_changed(healthy=False, health_reason="no space")),
            ["cp1"],
            "a snapshot from before is kept",
        ),
        (built(3).etcd_changed(alarms=ALARM, healthy=False), [], "its peers hold the data. Etcd on cp2"),
    ],
    ids=["a restore point comes first", "no restore points", "no member for one", "no member to be trusted"],
)
def test_what_is_kept_before_a_member_is_rebuilt_is_kept_once_and_told(
    cluster: Cluster, fetched: list[str], told: str
) -> None:
    found = seen(cluster).find("etcd-member-corrupt") or seen(cluster).find("etcd-corrupt-alarm")
    proposal = ask("rebuild-member", str(found and found.code), cluster)
    assert isinstance(proposal, Proposal) and found
    assert [host for host, _ in of(FetchSnapshot, proposal.steps)] == fetched
    assert told in proposal.undo[1] and ("kept" in told or "kept" not in proposal.undo[1])
    assert proposal.steps[0].requires == (found.key,)


@pytest.mark.parametrize("version", ["3.3.15", "3.4.3", "3.4.13"])
def test_an_etcd_that_knows_no_learners_or_cannot_be_forced_after_one_is_given_none(version: str) -> None:
    """3.4.3 and 3.4.13 are kubeadm's of 1.17 to 1.21."""
    cluster = corrupt(built(3)).etcd_changed(version=version)
    proposal = ask("rebuild-member", "etcd-member-corrupt", cluster)
    assert isinstance(proposal, Proposal) and not of(PromoteMember, proposal.steps)
    assert [o.learner for _, o in of(AddMember, proposal.steps)] == [False]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("version", "learner", "told"),
    [
        ("3.4.3", False, ""),
        ("3.4.13", False, ""),
        ("3.4.14", True, ""),
        ("3.5.0", True, ""),
        ("3.5.16", True, "too many learner members"),
        ("3.5.24", True, ""),
        ("3.6.4", True, ""),
        ("", False, ""),
    ],
)
def test_a_member_is_added_as_a_learner_only_where_that_takes_no_last_resort_away(
    version: str, learner: bool, told: str
) -> None:
    """A learner was added from 3.4.0 on, and --force-new-cluster of 3.4.13 panics where one ever was (#12285)."""
    proposal = ask("rebuild-member", "etcd-member-corrupt", corrupt(built(3)).etcd_changed(version=version))
    assert isinstance(proposal, Proposal)
    assert [o.learner for _, o in of(AddMember, proposal.steps)] == [learner]  # type: ignore[attr-defined]
    assert bool(of(PromoteMember, proposal.steps)) is learner
    assert ("too many learner members" in " ".join(proposal.evidence)) is bool(told)


def test_the_corrupt_alarm_is_taken_back_when_its_member_is_gone() -> None:
    cluster = built(3).etcd_changed(alarms=(AlarmEntry(member_id("cp3"), "CORRUPT"),), healthy=False)
    proposal = ask("rebuild-member", "etcd-corrupt-alarm", cluster)
    assert isinstance(proposal, Proposal)
    assert [o for _, o in of(DisarmAlarm, proposal.steps)] == [DisarmAlarm(member_id("cp3"), "CORRUPT")]
    order = [type(s.operation).__name__ for s in proposal.steps]
    assert order.index("RemoveMember") < order.index("DisarmAlarm") < order.index("AddMember")


def test_a_member_is_not_rebuilt_when_that_takes_quorum_away() -> None:
    cluster = corrupt(built(3)).ssh_fails("cp3")
    answer = ask("rebuild-member", "etcd-member-corrupt", cluster)
    assert isinstance(answer, Refusal) and "would take quorum away" in answer.reason
    gone = corrupt(built(3)).powered_off("cp3").no_leader().api_down("cp1")
    assert not isinstance(ask("rebuild-member", "etcd-member-corrupt", gone), Proposal)


def test_an_emptied_member_is_waited_for_a_while_and_then_rebuilt() -> None:
    cluster = built(3).manifest("cp2", "etcd", None).etcd_stopped("cp2").host("cp2", etcd_data=EMPTY)
    assert isinstance(ask("rebuild-member", "etcd-data-directory-empty", cluster, minutes=0.5), Wait)
    proposal = ask("rebuild-member", "etcd-data-directory-empty", cluster)
    assert isinstance(proposal, Proposal)
    assert not [s for s in proposal.steps if isinstance(s.undo, MovePath) and s.undo.target.endswith("etcd.yaml")]
    pointed = ask("rebuild-member", "etcd-data-directory-empty", before_plans(cluster))
    assert isinstance(pointed, Proposal) and len(pointed.steps) == len(proposal.steps) - 1
    assert pointed.steps[0].requires == (("etcd-data-directory-empty", "cp2"),), (
        "it may have been rebuilt while the restore point was taken"
    )


# --- split brain ---


def test_new_over_an_empty_directory_beside_peers_with_data_is_split_brain() -> None:
    cluster = built(3).etcd_stopped("cp1").host("cp1", etcd_data=EMPTY)
    found = seen(cluster).find("etcd-split-brain", "cp1")
    assert found and "second, empty cluster" in found.message and "cp2, cp3" in found.message
    begun = anew(built(3))
    assert seen(begun).find("etcd-split-brain", "cp1") and not seen(begun).find("etcd-data-lost")
    existing = built(3).etcd_stopped("cp2").host("cp2", etcd_data=EMPTY)
    assert not seen(existing).find("etcd-split-brain"), "it says existing"
    assert not seen(lost(3)).find("etcd-split-brain"), "no peer holds data"


def test_no_playbook_ever_starts_etcd_on_an_empty_directory_with_new() -> None:
    clusters = [
        built(3).etcd_stopped("cp1").host("cp1", etcd_data=EMPTY),
        built(3).manifest("cp1", "etcd", None).etcd_stopped("cp1").host("cp1", etcd_data=GONE),
        anew(built(3)),
        lost(3),
        anew(lost(3)),
        lost(1),
        anew(built(1)),
    ]
    for cluster in clusters:
        now = situation(cluster, memory=with_points(cluster))
        for answer in (p.propose(f, now) for f in now.confirmed for p in registry() if f.code in p.repairs):
            for step in answer.steps if isinstance(answer, Proposal) else ():
                for operation in (step.operation, step.undo):
                    check_start(operation, step.host, cluster)


def check_start(operation: object, host: str, cluster: Cluster) -> None:
    view = cluster.hosts[host]
    assert isinstance(view, HostView)
    if isinstance(operation, WriteFile) and operation.path.endswith("/etcd.yaml"):
        assert operation.needs or flag(operation.content, "--initial-cluster-state") == "existing", operation
    if isinstance(operation, MovePath) and operation.target.endswith("manifests/etcd.yaml"):
        assert view.etcd_data and not view.etcd_data.empty and operation.needs, operation


# --- manifests ---


def test_flags_are_replaced_and_nothing_else() -> None:
    text = etcd_manifest("cp1")
    changed = with_flags(text, {"--initial-cluster": "a=b,c=d", "--initial-cluster-state": "existing"})
    assert (
        changed
        and flag(changed, "--initial-cluster") == "a=b,c=d"
        and flag(changed, "--initial-cluster-state") == "existing"
    )
    assert flag(changed, "--name") == "cp1" and len(changed.splitlines()) == len(text.splitlines()) + 1
    assert with_flags("command: [etcd]", {"--a": "b"}) is None


def test_the_minor_version_is_that_of_the_image() -> None:
    assert minor_of(etcd_manifest("cp1")) == "3.4."
    assert (
        minor_of("    image: registry.k8s.io/etcd:v3.5.9-0\n") == "3.5."
        and minor_of("    image: etcd@sha256:abc\n") == ""
    )


def test_data_beneath_a_disk_that_is_not_mounted_are_neither_restored_nor_rebuilt() -> None:
    """Days after a boot as well: a disk that is marked nofail stays away in silence."""
    at = {"unmounted": ("/var/lib/etcd",)}
    cluster = lost(1).host("cp1", **at)
    refused = ask("restore-etcd-snapshot", "etcd-data-lost", cluster, memory=with_points(cluster))
    assert isinstance(refused, Refusal) and "`mount /var/lib/etcd`" in refused.reason
    one = built(3).manifest("cp2", "etcd", None).etcd_stopped("cp2").host("cp2", etcd_data=EMPTY, **at)
    refused = ask("rebuild-member", "etcd-data-directory-empty", one)
    assert isinstance(refused, Refusal) and "nothing is lost" in refused.reason
    elsewhere = lost(1).host("cp1", unmounted=("/var/lib/kubelet",))
    assert isinstance(
        ask("restore-etcd-snapshot", "etcd-data-lost", elsewhere, memory=with_points(elsewhere)), Proposal
    )


def test_an_empty_directory_right_after_a_boot_is_given_time_to_be_mounted() -> None:
    cluster = lost(1).host("cp1", uptime=95.0)
    early = ask("restore-etcd-snapshot", "etcd-data-lost", cluster, memory=with_points(cluster), minutes=0.5)
    assert isinstance(early, Wait) and "a disk that is not mounted yet looks the same" in early.reason
    assert isinstance(
        ask("restore-etcd-snapshot", "etcd-data-lost", cluster, memory=with_points(cluster), minutes=1.5), Proposal
    )
    settled = lost(1)
    assert isinstance(
        ask("restore-etcd-snapshot", "etcd-data-lost", settled, memory=with_points(settled), minutes=0.1), Proposal
    ), "up for days"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("walpb: crc mismatch", True),
        (
            '{"level":"fatal","msg":"failed to read WAL, cannot be repaired","error":"wal: max '
            'entry size limit exceeded"}',
            True,
        ),
        ("panic: page 23 already freed", False),
    ],
)
def test_where_only_the_log_is_damaged_the_plan_says_that_the_database_may_be_whole(line: str, says: bool) -> None:
    """A power cut, and one control plane: what the database holds may be newer than any point."""
    cluster = built(1).etcd_stopped("cp1", log_tail=(line,)).api_down()
    finding = seen(cluster).find("etcd-data-lost")
    assert finding and ("the database may be whole" in finding.message) is says
    answer = ask("restore-etcd-snapshot", "etcd-data-lost", cluster, memory=with_points(cluster))
    assert isinstance(answer, Proposal)
    assert any("/var/lib/etcd/member/snap/db may be whole" in line for line in answer.destroys) is says


def test_an_edit_of_the_data_directory_is_no_loss_and_its_way_back_asks_first() -> None:
    cluster = built(1)
    view = cluster.hosts["cp1"]
    assert isinstance(view, HostView)
    moved = manifest_of(
        "etcd", view.manifests["etcd"].content.replace("--data-dir=/var/lib/etcd", "--data-dir=/var/lib/etcd2")
    )
    here, there = EtcdDataView("/var/lib/etcd", True, False), EtcdDataView("/var/lib/etcd2", False, True)
    cluster.manifest("cp1", "etcd", moved).etcd_stopped("cp1").api_down().host("cp1", etcd_data=there, etcd_before=here)
    found = seen(cluster)
    assert (
        found.faults[0].code == "etcd-data-directory-changed"
        and not found.find("etcd-data-lost")
        and not found.find("etcd-data-directory-empty")
    )
    answer = ask("restore-manifest", "etcd-data-directory-changed", cluster)
    assert isinstance(answer, Proposal) and "changed --data-dir" in answer.asks
    # restored into another directory, which was named then: the data of before are somebody's, and nothing is found
    restored = anew(cluster).etcd_changed("cp1", nodes=3, revision=1200)
    assert not seen(restored).find("etcd-data-directory-changed")


def test_a_large_database_is_given_the_time_that_it_takes() -> None:
    """8 GiB are sent to, and restored on, three machines: no step and no plan is cut short by bounds
    that are meant for small ones.
    """
    large = replace(POINT, size=8 << 30)
    cluster = lost(3)
    proposal = restored(cluster, with_points(cluster, large))
    timeouts = [s.timeout for s in proposal.steps if isinstance(s.operation, SendSnapshot | RestoreSnapshot)]
    assert len(timeouts) == 6 and min(timeouts) > (8 << 30) / (8 << 20)
    assert proposal.moving >= 6 * 1024
    small = restored(cluster)
    assert max(s.timeout for s in small.steps) <= 240 and small.moving < 60
