"""`rebuild-control-plane` beside others that go on: who counts as reset, the one plan that joins it again, and where
that is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from recoverd.diagnose.absence import doubt
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot, RemoveMember
from recoverd.model.catalogue import Code
from recoverd.model.finding import Severity
from recoverd.model.join_operations import CheckJoin, JoinControlPlane, TakeBackJoin
from recoverd.model.joining import JoinRequest
from recoverd.model.memory import KnownManifest, Memory
from recoverd.model.observation import EndpointHealth, Unseen, UnseenKind
from recoverd.model.operations import WriteFile
from recoverd.model.pki_operations import PutBackKeys
from recoverd.model.settings import Bounds
from recoverd.playbooks.base import Proposal, Refusal, Situation, Wait
from recoverd.playbooks.join_machines import again, in_the_way
from tests.unit.builders import NOW, Cluster, member_id
from tests.unit.test_join import facts, machine_facts
from tests.unit.test_rebuild_control_plane import KEPT, ask, judged, memory, reset, situation

LATE = NOW - timedelta(seconds=61)
KEYLESS = machine_facts("cp1", missing_keys=("ca.key",))
FLAGS = ("profiling",)
"""The builder's API servers have it."""


def lost(planes: int = 3, *, listed: bool = False) -> Cluster:
    """The last of the control planes is reset; `listed`: as with a new disk, its member is still in the list."""
    name = f"cp{planes}"
    cluster = reset(Cluster(planes), name).node(name, ready=False)
    if not listed:
        cluster.member_list(*(cluster.entry(f"cp{i}") for i in range(1, planes)))
    return cluster


def waited(cluster: Cluster, known: Memory | None = None) -> Situation:
    now = situation(cluster, known)
    return replace(now, since=dict.fromkeys(now.since, LATE))


def plan(cluster: Cluster, known: Memory | None = None) -> Proposal:
    made = ask(waited(cluster, known))
    assert isinstance(made, Proposal), made
    return made


def kinds(made: Proposal) -> list[str]:
    return [s.operation.kind for s in made.steps]


@pytest.mark.parametrize("listed", [True, False])
def test_one_that_was_reset_is_a_fault_of_its_own_and_the_first(listed: bool) -> None:
    found = judged(lost(listed=listed))
    first = found.faults[0]
    assert first.key == (Code.CONTROL_PLANE_RESET, "cp3") and "the cluster goes on without it: 2 of" in first.message
    assert found.find(Code.NOT_JOINED) is None and found.find(Code.ETCD_DATA_LOST) is None


@pytest.mark.parametrize("how", ["cordoned", "deleted", "nobody lists nodes"])
def test_what_a_person_is_replacing_by_hand_is_none(how: str) -> None:
    cluster = lost()
    match how:
        case "cordoned":
            cluster.node("cp3", unschedulable=True)
        case "deleted":
            assert not isinstance(cluster.objects, Unseen)
            nodes = tuple(n for n in cluster.objects.nodes if n.name != "cp3")
            cluster.objects = replace(cluster.objects, nodes=nodes)
        case _:
            cluster.objects = Unseen(UnseenKind.TIMEOUT, "in this test")
    found = judged(cluster)
    assert found.find(Code.CONTROL_PLANE_RESET) is None and not found.faults
    told = found.find(Code.NOT_JOINED)
    assert told is not None and told.severity is Severity.WARNING


def test_one_that_was_seen_too_late_in_a_sweep_is_still_the_one_that_was_reset() -> None:
    """A rejoin stopped after its second step, since a machine that no member lists was taken for one that has left."""
    key, cluster = (Code.CONTROL_PLANE_RESET, "cp3"), lost()
    cluster.hosts["cp3"] = Unseen(UnseenKind.OWN, "recoverd was late")
    seen, found = cluster.observation(), judged(cluster)
    assert key not in found.keys and "recoverd was late" in doubt([key], found, seen)
    cluster.node("cp3", unschedulable=True)
    assert not doubt([key], judged(cluster), cluster.observation())


def test_it_is_given_the_time_in_which_a_person_would_drain_it() -> None:
    answer = ask(situation(lost()))
    assert isinstance(answer, Wait) and "member_down_after" in answer.reason


def test_one_plan_from_the_copy_of_its_certificates_to_a_node_that_is_ready() -> None:
    made = plan(lost())
    assert kinds(made) == [
        "end-left-pods", "check-join", "fetch-snapshot", "put-back-keys", "await-node-unready", "join-control-plane",
        "await-etcd", "await-api", "await-node-ready",
    ]  # fmt: skip
    check, put, join = (made.steps[i].operation for i in (1, 3, 5))
    assert check == CheckJoin("cp1", "cp3", "10.99.1.13", ("cp1", "cp2"), FLAGS)
    assert isinstance(put, PutBackKeys) and put.source == KEPT
    assert isinstance(join, JoinControlPlane) and (join.source, join.needs_crictl) == ("cp1", True)
    undo = made.steps[5].undo
    assert isinstance(undo, TakeBackJoin) and undo.keeps_node and (undo.members, undo.force) == (2, None)
    assert "delete node" not in undo.command()
    assert made.steps[6].operation == AwaitEtcd(3)
    assert not any(s.commits for s in made.steps), "whatever fails, the join is taken back"
    assert made.resolves == () and made.basis == ((Code.CONTROL_PLANE_RESET, "cp3"),)


def test_its_api_server_gets_the_port_that_it_had() -> None:
    cluster = lost()
    known = memory(cluster)
    server = known.manifests["cp3"]["kube-apiserver"]
    moved = replace(server, content=server.content.replace("--secure-port=6443", "--secure-port=8443"))
    kept = {**known.manifests, "cp3": {**known.manifests["cp3"], "kube-apiserver": moved}}
    made = plan(cluster, replace(known, manifests=kept))
    ports = [s.operation.api_port for s in made.steps if isinstance(s.operation, JoinControlPlane)]
    ports += [s.operation.port for s in made.steps if isinstance(s.operation, AwaitApi)]
    assert ports == [8443, 8443]


def test_its_old_member_is_removed_first_and_that_is_seen() -> None:
    made = plan(lost(listed=True))
    at = kinds(made).index("remove-member")
    assert made.steps[at].host == "cp1" and made.steps[at].operation == RemoveMember(member_id("cp3"))
    assert made.steps[at + 1].operation == AwaitEtcd(2)
    assert any("the membership of cp3" in line for line in made.destroys)


def test_the_next_sweep_plans_the_same_whoever_leads_by_then() -> None:
    cluster = lost()
    now = waited(cluster)
    made = ask(now)
    assert isinstance(made, Proposal)
    cluster.etcd_changed("cp1", "cp2", leader=member_id("cp2"), revision=99999, db_size=123456789)
    later = waited(cluster)
    other = ask(later)
    assert isinstance(other, Proposal) and other.steps != made.steps, "without an open plan the leader is asked"
    open_one: Any = SimpleNamespace(steps=made.steps)
    same = ask(replace(later, plan=open_one))
    assert isinstance(same, Proposal) and (same.steps, same.summary) == (made.steps, made.summary)


def test_without_a_copy_kubeadm_brings_what_it_needs() -> None:
    cluster = lost()
    assert "put-back-keys" not in kinds(plan(cluster, memory(cluster, kept="")))


def test_a_static_pod_that_kubeadm_does_not_know_of_is_put_back_once_it_has_joined() -> None:
    cluster = lost()
    known = memory(cluster)
    vip = KnownManifest("/etc/kubernetes/manifests/kube-vip.yaml", "ab" * 32, "kind: Pod\n", NOW)
    secret = KnownManifest("/etc/kubernetes/manifests/keepalived.yaml", "cd" * 32, "", NOW)  # recoverd has no copy
    theirs = {**known.manifests["cp3"], "kube-vip": vip, "keepalived": secret}
    known = replace(known, manifests={**known.manifests, "cp3": theirs})
    made = plan(cluster, known)
    [at] = [i for i, s in enumerate(made.steps) if isinstance(s.operation, WriteFile)]
    write = made.steps[at].operation
    assert isinstance(write, WriteFile) and (write.path, write.before) == (vip.path, "")
    assert at > kinds(made).index("join-control-plane")


def test_one_of_two_may_cost_the_quorum_and_says_so() -> None:
    made = plan(lost(2))
    [join] = [s for s in made.steps if isinstance(s.operation, JoinControlPlane)]
    assert isinstance(join.undo, TakeBackJoin) and join.undo.force is not None
    assert "quorum is lost until" in made.summary and any("--force-new-cluster" in line for line in made.destroys)


def no_api(c: Cluster) -> Cluster:
    return c.endpoint("cp1", EndpointHealth.NOT_READY).endpoint("cp2", EndpointHealth.NOT_READY)


def waiting(c: Cluster) -> Cluster:
    return c.member_list(c.entry("cp1"), c.entry("cp2"), c.entry("cp9", started=False))


def lame(c: Cluster) -> Cluster:
    c.member_list(*(c.entry(n) for n in ("cp1", "cp2", "cp4", "cp5")))
    return c.etcd_changed("cp2", healthy=False)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (no_api, "an API server that is ready"),
        (waiting, "has not become a voter"),
        (lame, "bring another member back first"),
    ],
)
def test_where_nobody_can_be_joined_it_is_refused(change: Callable[[Cluster], Cluster], why: str) -> None:
    answer = ask(waited(change(lost())))
    assert isinstance(answer, Refusal) and why in answer.reason, answer


def test_a_bound_that_would_cut_the_join_refuses_it() -> None:
    cluster = lost()
    cluster.settings = replace(cluster.settings, bounds=Bounds(step_deadline=100.0))
    answer = ask(waited(cluster))
    assert isinstance(answer, Refusal) and "step_deadline" in answer.reason


def judged_again(wanted: tuple[str, ...] = (), **changes: object) -> list[str]:
    asked = facts(("cp1", "cp2"), "cp3", **changes)
    checks = again(JoinRequest("cp3", "10.99.1.13", skip_preflight=True), asked, 1 << 30, 5.0, NOW, wanted)
    return [f"{c.name}: {c.detail}" for c in checks if not c.ok]


def test_machines_that_are_well_let_it_join() -> None:
    assert judged_again() == []
    assert judged_again(("audit-policy-file",), flags=frozenset({"audit-policy-file"})) == []


@pytest.mark.parametrize(
    ("wanted", "changes", "word"),
    [
        (("oidc-issuer-url",), {"flags": frozenset({"audit-log-path"})}, "had --oidc-issuer-url,"),
        (("audit-log-path",), {"flags": None}, "--audit-log-path"),
        ((), {"machines": {"cp1": machine_facts("cp1"), "cp3": machine_facts("cp3", hostname="x")}}, "itself x"),
        ((), {"machines": {"cp1": KEYLESS, "cp3": machine_facts("cp3")}}, "ca.key"),
        ((), {"machines": {"cp1": machine_facts("cp1"), "cp3": machine_facts("cp3", leftovers=("x",))}}, "not clean"),
        ((), {"machines": {"cp1": machine_facts("cp1"), "cp3": machine_facts("cp3", kubeadm="v1.22.0")}}, "v1.22.0"),
    ],
)  # fmt: skip
def test_what_is_lacking_is_told(wanted: tuple[str, ...], changes: dict[str, object], word: str) -> None:
    assert any(word in line for line in judged_again(wanted, **changes))


def test_only_certificates_may_be_left() -> None:
    assert not in_the_way("/etc/kubernetes/pki") and in_the_way("/etc/kubernetes/kubelet.conf")


def test_where_a_restore_point_comes_first_no_snapshot_is_fetched() -> None:
    cluster = lost()
    cluster.settings = replace(cluster.settings, points=replace(cluster.settings.points, before_plans=True))
    assert not any(isinstance(s.operation, FetchSnapshot) for s in plan(cluster).steps)
