"""The checks before a join, each alone, and what the machine makes of a join: a plan without a secret,
taken back where it has to be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recoverd.machine import ClusterMachine
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd
from recoverd.model.events import (
    JoinRequested,
    Observed,
    Paused,
    Perform,
    Refused,
    SaveDecision,
    SaveIncident,
    StepEnded,
)
from recoverd.model.finding import State
from recoverd.model.join_operations import JoinControlPlane, TakeBackJoin
from recoverd.model.joining import JoinFacts, JoinRequest, MachineFacts, Probe, Reached
from recoverd.model.observation import PkiView, UnseenKind
from recoverd.model.plan import Outcome, PlanStatus, StepResult
from recoverd.model.point_operations import TakeRestorePoint
from recoverd.model.points import PointSettings
from recoverd.model.settings import Approval, Bounds
from recoverd.playbooks import registry
from tests.unit.builders import NOW, Cluster, certificate, unseen

ASKED = JoinRequest("cp2", "10.99.1.12", take_back_single=True)


def machine_facts(name: str, **changes: object) -> MachineFacts:
    ends = NOW + timedelta(days=3000)
    facts = MachineFacts(
        hostname=name,
        addresses=(Cluster.address(name),),
        clock_offset=0.0,
        clock_error=0.1,
        kubeadm="v1.20.2",
        kubelet="v1.20.2",
        runtime="containerd",
        crictl=True,
        free={"/var/lib/etcd": 50 << 30, "/var/lib/kubelet": 50 << 30},
        resolves={"k8s-api": ("10.99.1.10",)},
        authorities={"ca.crt": ends, "etcd/ca.crt": ends},
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


def facts(planes: tuple[str, ...] = ("cp1",), new: str = "cp2", **changes: object) -> JoinFacts:
    names = (*planes, new)
    machines = {n: machine_facts(n) for n in planes} | {
        new: machine_facts(new, authorities={}, missing_keys=("ca.key",))
    }
    whole = replace(JoinFacts("cp1", machines, (), "", "v1.20.2", "k8s-api:6443"), **changes)  # type: ignore[arg-type]
    probes = tuple(Probe(a, b, p, Reached.OPEN) for a in names for b in names for p in whole.ports if a != b)
    return replace(whole, **({"probes": probes} | changes))  # type: ignore[arg-type]


def seen(cluster: Cluster, **bounds: object) -> ClusterMachine:
    """A machine that has looked at the cluster twice."""
    machine = ClusterMachine(cluster.settings, registry(), now=NOW, memory=cluster.memory())
    for _ in range(2):
        machine.handle(Observed(cluster.observation()))
    return machine


def failed(machine: ClusterMachine, told: JoinFacts, asked: JoinRequest = ASKED) -> dict[str, str]:
    return {c.name: c.detail for c in machine.judged(asked, told) if not c.ok}


def with_new(**changes: object) -> JoinFacts:
    whole = facts()
    return replace(whole, machines={**whole.machines, "cp2": replace(whole.machines["cp2"], **changes)})  # type: ignore[type-var]


def test_a_clean_machine_is_let_in() -> None:
    checks = seen(Cluster(1, spares=1)).judged(ASKED, facts())
    assert [c.name for c in checks if not c.ok] == []
    assert {
        "versions",
        "time",
        "names",
        "name",
        "leftovers",
        "disk",
        "certificates",
        "etcd quorum",
        "cluster is healthy",
    } < {c.name for c in checks}
    assert [c.name for c in checks if c.name.startswith("ports")] == ["ports cp1 -> cp2", "ports cp2 -> cp1"]


@pytest.mark.parametrize(
    ("check", "told", "words"),
    [
        ("versions", with_new(kubeadm="v1.23.4"), "kubeadm v1.23.4, and the cluster is v1.20.2"),
        ("versions", with_new(kubelet=""), "no kubelet"),
        ("versions", facts(version=""), "not known"),
        ("time", with_new(clock_offset=3600.0), "cp2 is 3600.0 s ahead of cp1"),
        ("time", with_new(clock_offset=-3600.0), "cp1 is 3600.0 s ahead of cp2"),
        ("names", with_new(resolves={}), "cp2 cannot resolve k8s-api"),
        (
            "names",
            with_new(resolves={"k8s-api": ("10.0.0.1",)}),
            "resolves k8s-api to 10.0.0.1, and the control planes to 10.99.1.10",
        ),
        ("names", facts(endpoint=""), "no controlPlaneEndpoint"),
        (
            "names",
            facts(endpoint_probe=Probe("cp2", "endpoint", 6443, Reached.REFUSED)),
            "does not reach k8s-api:6443: 6443 refused",
        ),
        ("name", with_new(hostname="localhost"), "calls itself localhost"),
        ("address", with_new(addresses=("10.0.0.7",)), "has no 10.99.1.12"),
        ("leftovers", with_new(leftovers=("/var/lib/etcd/member",)), "/var/lib/etcd/member"),
        (
            "disk",
            with_new(free={"/var/lib/etcd": 1 << 20, "/var/lib/kubelet": 50 << 30}),
            "0.0 GiB, and 1.0 GiB are needed",
        ),
        ("disk", with_new(free={}), "cannot be told"),
        ("runtime", with_new(runtime=""), "no container runtime"),
        ("runtime", with_new(crictl=False), "--skip-preflight"),
        (
            "certificates",
            facts(machines={**facts().machines, "cp1": machine_facts("cp1", missing_keys=("ca.key",))}),
            "has no ca.key",
        ),
        (
            "certificates",
            facts(machines={**facts().machines, "cp1": machine_facts("cp1", authorities={"ca.crt": NOW})}),
            "ca.crt on cp1 ends",
        ),
        ("ports cp2 -> cp1", facts(probes=facts().probes[:-1]), "6443 was not tried"),
    ],
)
def test_each_check_refuses_in_words(check: str, told: JoinFacts, words: str) -> None:
    bad = failed(seen(Cluster(1, spares=1)), told)
    assert set(bad) == {check}, bad
    assert words in bad[check]


def test_crictl_is_wanted_only_by_a_kubeadm_that_calls_it() -> None:
    for version, refused in (("1.30.9", {"runtime"}), ("1.31.0", set()), ("1.36.1", set())):
        machine = machine_facts("cp2", crictl=False, kubeadm=f"v{version}", kubelet=f"v{version}")
        told = facts(machines={**facts().machines, "cp2": machine}, version=f"v{version}")
        assert set(failed(seen(Cluster(1, spares=1)), told)) == refused, version


@pytest.mark.parametrize(
    ("reached", "words"),
    [(Reached.FILTERED, "2380 no answer"), (Reached.REFUSED, "2380 refused"), (Reached.UNTOLD, "2380 could not")],
)
def test_a_port_that_is_not_open_is_named_with_its_direction(reached: Reached, words: str) -> None:
    probes = tuple(replace(p, reached=reached) if (p.source, p.port) == ("cp1", 2380) else p for p in facts().probes)
    bad = failed(seen(Cluster(1, spares=1)), facts(probes=probes))
    assert set(bad) == {"ports cp1 -> cp2"} and words in bad["ports cp1 -> cp2"]


def test_a_machine_that_is_not_reached_or_not_trusted_is_all_that_is_told() -> None:
    told = facts(machines={**facts().machines, "cp2": unseen(UnseenKind.UNTRUSTED)})
    assert failed(seen(Cluster(1, spares=1)), told) == {"cp2 over SSH": "untrusted in this test"}


def test_a_name_or_an_address_that_exists_is_refused() -> None:
    machine = seen(Cluster(2, spares=1))
    told = facts(("cp1", "cp2"), "cp3")
    assert (
        "there is a node cp1 already"
        in failed(machine, facts(("cp2",), "cp1", source="cp2"), JoinRequest("cp1", "10.99.1.11"))["name"]
    )
    bad = failed(machine, told, JoinRequest("cp3", "10.99.1.12"))
    assert "belongs to cp2" in bad["address"]


def test_certificates_that_nobody_checks_keep_nobody_out() -> None:
    """kubelet signs its own serving certificate when it first starts and never again: on every machine
    of more than a year it is over.
    """
    over = certificate("/var/lib/kubelet/pki/kubelet.crt", NOW - timedelta(days=35))
    cluster = Cluster(1, spares=1).host("cp1", certificates=(over,), pki=PkiView())
    assert failed(seen(cluster), facts()) == {}


@pytest.mark.parametrize(
    "change", [{"not_after": NOW - timedelta(days=1)}, {"authority": "/etc/kubernetes/pki/ca.crt", "signed": False}]
)
def test_certificates_that_are_over_or_do_not_fit_together_are_not_handed_on(change: dict[str, Any]) -> None:
    leaf = replace(certificate("/etc/kubernetes/admin.conf"), **change)
    cluster = Cluster(1, spares=1).host("cp1", certificates=(leaf,), pki=PkiView())
    bad = failed(seen(cluster), facts())
    assert set(bad) == {"certificates"} and "admin.conf" in bad["certificates"]


def test_a_pod_that_is_gone_by_then_is_no_reason_to_take_a_good_join_back() -> None:
    machine = seen(cluster := Cluster(1, spares=1))
    asked(machine)
    view = cluster.etcd_view("cp1")
    plan = machine.record.plan
    wait = next(s.operation for s in plan.steps if isinstance(s.operation, AwaitEtcd)) if plan else None
    grown = replace(view, members=(*view.members, cluster.entry("cp2")), pods=0, revision=view.revision + 10)
    assert wait and wait.lacks(grown) == "" and "revision" in wait.lacks(replace(grown, revision=view.revision - 1))


def test_one_member_needs_the_fallback_approved_in_advance_and_two_do_not() -> None:
    assert (
        "--take-back-single-member"
        in failed(seen(Cluster(1, spares=1)), facts(), JoinRequest("cp2", "10.99.1.12"))["etcd quorum"]
    )
    assert failed(seen(Cluster(2, spares=1)), facts(("cp1", "cp2"), "cp3"), JoinRequest("cp3", "10.99.1.13")) == {}


def bounded(points: bool = False, **bounds: float) -> Cluster:
    cluster = Cluster(1, spares=1)
    cluster.settings = replace(cluster.settings, bounds=Bounds(**bounds), points=PointSettings(before_plans=points))  # type: ignore[arg-type]
    return cluster


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (
            {"step_deadline": 284},
            "`step_deadline` is 284 s, and a join, and then its taking back, may need 285 s: set it to that at least",
        ),
        ({"plan_deadline": 524}, "`plan_deadline` is 524 s, and the last step of a join may begin after 525 s: set it"),
        ({"plan_deadline": 344, "points": True}, "may begin after 345 s"),
        (
            {"step_deadline": 60, "plan_deadline": 60},
            "285 s; `plan_deadline` is 60 s, and the last step of a join may begin after 525 s: set each",
        ),
    ],
)
def test_bounds_that_would_cut_a_join_or_its_taking_back_refuse_it_before(bounds: dict[str, float], words: str) -> None:
    machine = seen(bounded(**bounds))  # type: ignore[arg-type]
    bad = failed(machine, facts())
    assert set(bad) == {"bounds"} and words in bad["bounds"], bad
    with pytest.raises(Refused, match="_deadline"):
        asked(machine)
    assert machine.record.plan is None
    away = replace(facts(), machines={**facts().machines, "cp2": unseen(UnseenKind.TIMEOUT)})
    assert words in failed(machine, away)["bounds"], "it is told at once, and not when the machine is reached some day"


@pytest.mark.parametrize(("points", "plan"), [(False, 525.0), (True, 345.0)])
def test_bounds_that_are_just_enough_cut_no_step(points: bool, plan: float) -> None:
    """Each step takes as long as it may: none is shortened, and the last one still begins."""
    wide, tight = (
        seen(bounded(points, **b))
        for b in ({"step_deadline": 9000, "plan_deadline": 9000}, {"step_deadline": 285, "plan_deadline": plan})
    )
    asked(wide)
    asked(tight)
    made = tight.record.plan
    assert made and wide.record.plan and [s.timeout for s in made.steps] == [s.timeout for s in wide.record.plan.steps]
    now = NOW + timedelta(seconds=1)
    for index, step in enumerate(made.steps[:-1]):
        now += timedelta(seconds=step.timeout)
        tight.handle(Observed(Cluster(1, spares=1, now=now).observation()))
        out = tight.handle(StepEnded(made.id, index, False, StepResult(True, "done at the last moment"), now))
        assert [(p.index, p.undo) for p in out if isinstance(p, Perform)] == [(index + 1, False)]


@pytest.mark.parametrize("spares", [0, 1])
def test_a_host_key_that_does_not_count_is_told(spares: int) -> None:
    machine, asked = seen(Cluster(1, spares=spares)), replace(ASKED, host_key="ssh-ed25519 AAAA")
    for new in (machine_facts("cp2"), unseen(UnseenKind.UNTRUSTED)):
        told = replace(facts(), machines={**facts().machines, "cp2": new})
        [check] = [c for c in machine.judged(asked, told) if c.name == "cp2 over SSH"]
        assert ("--host-key does not" in check.detail) is bool(spares)


def test_a_member_that_the_configuration_does_not_know_is_named() -> None:
    cluster = Cluster(1, spares=1)
    cluster.member_list(*cluster.members, cluster.entry("cp3"))
    assert "not in the configuration" in failed(seen(cluster), facts())["cluster is healthy"]


# --- what is made of it ---


def asked(machine: ClusterMachine, request: JoinRequest = ASKED, told: JoinFacts | None = None) -> list[object]:
    return list(machine.handle(JoinRequested(request, told or facts(), "alice", "more", NOW + timedelta(seconds=1))))


def test_the_plan_begins_at_once_approved_by_who_asked() -> None:
    machine = seen(Cluster(1, spares=1))
    out = asked(machine)
    plan = machine.record.plan
    assert plan and plan.status is PlanStatus.RUNNING and plan.destructive and plan.requested_by == "alice"
    assert [(d.by, d.approved) for d in out if isinstance(d, SaveDecision)] == [("alice", True)]
    assert machine.lifecycle.state is State.MAINTENANCE
    join, back = plan.steps[1].operation, plan.steps[1].undo
    assert isinstance(join, JoinControlPlane) and isinstance(back, TakeBackJoin)
    assert back.force and back.force.before == machine.observation.hosts["cp1"].manifests["etcd"].sha256  # type: ignore[union-attr]
    assert "--force-new-cluster=true" in back.force.flagged and "--force-new-cluster" not in back.force.final
    assert machine.memory.guest and machine.memory.guest.address == "10.99.1.12"
    assert "token and key not shown" in plan.steps[1].command


def test_an_address_that_a_killed_keepalived_has_left_on_it_is_named() -> None:
    """The machine asks itself for an API server (observed on 1.20.2 after a join that was taken back)."""
    refused = Probe("cp2", "endpoint", 6443, Reached.REFUSED)
    told = replace(with_new(addresses=("10.99.1.12", "10.99.1.10")), endpoint_probe=refused)
    assert "10.99.1.10 is an address of cp2 itself" in failed(seen(Cluster(1, spares=1)), told)["names"]
    told = replace(facts(), endpoint_probe=refused)
    assert "itself" not in failed(seen(Cluster(1, spares=1)), told)["names"]


def test_its_api_server_listens_where_that_of_the_source_does() -> None:
    """kubeadm takes 6443 where nobody says it: where the others are on 8443 behind a balancer on the machines
    themselves, it took the balancer's port, and nobody was led to it (observed on 1.20.2).
    """
    machine, behind = seen(Cluster(1, spares=1)), facts(api_port=8443)
    good = {c.name: c.detail for c in machine.judged(ASKED, behind)}
    assert good["ports cp1 -> cp2"] == "2379, 2380, 8443 open"
    asked(machine, told=behind)
    plan = machine.record.plan
    assert plan
    join = plan.steps[1].operation
    assert isinstance(join, JoinControlPlane) and join.api_port == 8443 and "on 8443" in plan.steps[1].command
    assert plan.steps[-1].operation == AwaitApi(8443), "another one may answer on 6443"


@pytest.mark.parametrize("planes", [1, 2])
def test_it_begins_with_a_restore_point_where_there_are_some(planes: int) -> None:
    cluster = Cluster(planes, spares=1)
    cluster.settings = replace(cluster.settings, points=PointSettings(before_plans=True))
    machine, new = seen(cluster), f"cp{planes + 1}"
    asked(machine, replace(ASKED, name=new, address=Cluster.address(new)), facts(tuple(cluster.joined), new))
    plan = machine.record.plan
    assert plan and isinstance(plan.steps[0].operation, TakeRestorePoint)
    assert isinstance(plan.steps[1].operation, JoinControlPlane)


def test_what_fails_is_taken_back_and_the_maintenance_ends_as_not_done() -> None:
    cluster = Cluster(1, spares=1)
    machine = seen(cluster)
    asked(machine)
    plan = machine.record.plan
    assert plan
    machine.handle(StepEnded(plan.id, 0, False, StepResult(True, "a snapshot"), NOW + timedelta(seconds=2)))
    out = machine.handle(
        StepEnded(plan.id, 1, False, StepResult(False, "it did not start"), NOW + timedelta(seconds=30))
    )
    cluster.now = NOW + timedelta(seconds=35)  # by a sweep of now
    out += machine.handle(Observed(cluster.observation()))
    assert [(p.index, p.undo) for p in out if isinstance(p, Perform)] == [(1, True)]
    machine.handle(StepEnded(plan.id, 1, True, StepResult(True, "taken back"), NOW + timedelta(seconds=50)))
    assert machine.record.plan is None
    later = NOW + timedelta(seconds=60)
    for i in range(3):
        cluster.now = later + timedelta(seconds=5 * i)
        out = [*out, *machine.handle(Observed(cluster.observation()))]
    assert machine.lifecycle.position == "healthy" and machine.record.incident is None
    assert [i.incident.outcome for i in out if isinstance(i, SaveIncident)] == [Outcome.NOT_DONE]


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda m: m.handle(Paused("bob", "holidays", NOW + timedelta(seconds=1))), "paused by bob"),
        (lambda m: asked(m), "is open on prod"),
        (lambda m: m.handle(Observed(Cluster(1, spares=1).api_down().observation())), "not healthy"),
    ],
)
def test_no_join_while_something_is_open(prepare: Callable[[ClusterMachine], object], words: str) -> None:
    machine = seen(Cluster(1, spares=1))
    prepare(machine)
    with pytest.raises(Refused, match=words):
        machine.joinable()


def test_it_can_be_switched_off() -> None:
    cluster = Cluster(1, spares=1)
    cluster.settings = replace(cluster.settings, approval={"join-control-plane": Approval.NEVER})
    with pytest.raises(Refused, match="switched off"):
        seen(cluster).joinable()


def test_facts_that_are_not_good_begin_nothing_whoever_checked_them_before() -> None:
    machine = seen(Cluster(1, spares=1))
    before = machine.record
    with pytest.raises(Refused, match="versions"):
        asked(machine, told=with_new(kubeadm="v1.23.4"))
    assert machine.record == before
