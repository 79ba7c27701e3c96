"""The same fault on all machines of a kind at once: what counts as that, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose.scene import Scene
from recoverd.diagnose.together import GENTLE, above, candidates, together
from recoverd.model.catalogue import Code
from recoverd.model.events import Acknowledged, Note, Perform
from recoverd.model.finding import Finding, Phase
from recoverd.model.history import History
from recoverd.model.node_look import FileView, NodeLook
from recoverd.model.plan import ActionRecord, PlanStatus, StepResult
from recoverd.model.record import SharedFault
from recoverd.model.settings import MAY_RUN_UNASKED
from recoverd.model.text import utc
from recoverd.playbooks import registry
from recoverd.playbooks.base import Refusal
from tests.unit.builders import NOW, Cluster
from tests.unit.rungs import ask, failed, fault, proposal, situation
from tests.unit.test_machine import Script, performing

OF = candidates(code for p in registry() if p.name in MAY_RUN_UNASKED for code in p.repairs)


def found_at(
    code: str, ages: Mapping[str, float], cluster: Cluster, *others: Finding, acted: tuple[ActionRecord, ...] = ()
) -> tuple[SharedFault, ...]:
    """What is together of faults of these ages in seconds, by machine."""
    scene = Scene(cluster.observation(), cluster.memory(), cluster.settings)
    faults = [fault(code, name) for name in ages]
    since = {f.key: scene.now - timedelta(seconds=age) for f, age in zip(faults, ages.values(), strict=True)}
    return together(scene, [*faults, *others], since, acted, OF)


OFF = Code.IP_FORWARDING_OFF


@pytest.mark.parametrize(
    ("ages", "workers", "shared"),
    [
        ({"w1": 10.0}, 1, ()),  # of one nothing can be said
        ({"w1": 10.0}, 2, ()),
        ({"w1": 10.0, "w2": 70.0}, 2, ("w1", "w2")),
        ({"w1": 10.0, "w2": 200.0}, 2, ()),
        ({"w1": 10.0, "w2": 20.0}, 3, ()),
        ({"w1": 10.0, "w2": 20.0, "w3": 20.0}, 3, ("w1", "w2", "w3")),
        ({"w1": 10.0, "w2": 20.0, "w3": 3600.0}, 3, ()),
        ({"w1": 10.0, "w2": 20.0, "w3": 20.0}, 5, ("w1", "w2", "w3")),  # most, and three
        ({"w1": 10.0, "w2": 20.0, "w3": 20.0}, 6, ()),
        ({"cp1": 10.0, "w1": 10.0}, 3, ()),  # one of each kind
    ],
)
def test_it_is_all_of_a_kind_or_most_of_many_that_began_together(
    ages: dict[str, float], workers: int, shared: tuple[str, ...]
) -> None:
    got = found_at(OFF, ages, Cluster(1, workers))
    assert (tuple(s.machines for s in got) or ((),)) == (shared,)


def test_control_planes_as_well_and_by_component() -> None:
    assert [s.kind for s in found_at(Code.KUBELET_DOWN, {"cp1": 5.0, "cp2": 5.0, "cp3": 9.0}, Cluster(3, 2))] == [
        "control planes"
    ]
    same = {f"cp{i}/kube-scheduler": 5.0 for i in (1, 2, 3)}
    other = {**{f"cp{i}/kube-scheduler": 5.0 for i in (1, 2)}, "cp3/kube-controller-manager": 5.0}
    cluster = Cluster(3, 2)
    scene = Scene(cluster.observation(), cluster.memory(), cluster.settings)

    def shared(names: dict[str, float]) -> list[str]:
        faults = [Finding(Code.MANIFEST_CHANGED, n, n, ()) for n in names]
        return [s.of for s in together(scene, faults, {}, (), OF)]

    assert shared(same) == ["/kube-scheduler"] and shared(other) == []


def test_who_cannot_be_looked_at_does_not_make_it_another_matter() -> None:
    cluster = Cluster(1, 3).ssh_fails("w3")
    assert [s.machines for s in found_at(OFF, {"w1": 5.0, "w2": 9.0}, cluster)] == [("w1", "w2")]


def test_what_was_repaired_a_moment_ago_counts_unless_it_was_acknowledged() -> None:
    at = Cluster().observation().at
    done = ActionRecord("restore-node-network", ((OFF, "w1"),), at - timedelta(seconds=60), at, True)
    assert len(found_at(OFF, {"w2": 5.0}, Cluster(1, 2), acted=(done,))) == 1
    for other in (
        replace(done, acknowledged=True),
        replace(done, basis=((Code.KUBELET_DOWN, "w1"),)),
        replace(done, started_at=at - timedelta(hours=1)),
    ):
        assert not found_at(OFF, {"w2": 5.0}, Cluster(1, 2), acted=(other,))


def test_what_may_be_another_nodes_fault_counts_only_beside_nothing_else() -> None:
    paths = {"w1": 5.0, "w2": 5.0, "w3": 5.0}
    assert len(found_at(Code.POD_NETWORK_BROKEN, paths, Cluster(1, 3))) == 1
    assert not found_at(Code.POD_NETWORK_BROKEN, paths, Cluster(1, 3), fault(OFF, "w1"))
    assert not found_at(Code.DNS_UNREACHABLE, paths, Cluster(1, 3)), "the DNS is somewhere"


def test_a_rollout_is_named_by_what_changed_on_all_of_them() -> None:
    cluster = Cluster(1, 2)
    at = cluster.now - timedelta(seconds=20)
    for name, offset in (("w1", 0.0), ("w2", 2.0)):
        look = NodeLook(files={"/etc/hosts": FileView("s", "x", at + timedelta(seconds=offset))})
        cluster.stopped(name, "kubelet").host(name, node=look, clock_offset=offset)
    (shared,) = found_at(Code.WORKER_KUBELET_DOWN, {"w1": 10.0, "w2": 12.0}, cluster)
    said = above(shared)
    for words in (
        "all 2 workers within 2 s",
        f"/etc/hosts was changed at {utc(at)}",
        "kubelet is inactive since then by systemd's word",
        "configuration management",
    ):
        assert words in said, said
    cluster.host("w2", node=NodeLook(files={"/etc/hosts": FileView("s", "x", at - timedelta(days=3))}))
    assert "/etc/hosts" not in above(found_at(Code.WORKER_KUBELET_DOWN, {"w1": 10.0, "w2": 12.0}, cluster)[0])


# --- what follows ---


def stops(*names: str):  # type: ignore[no-untyped-def]
    return lambda cluster: cluster.stopped(*names[:1], "kubelet") and [cluster.stopped(n, "kubelet") for n in names]


def cause_above(script: Script) -> list[str]:
    return [i.entry.detail for i in script.seen if isinstance(i, Note) and i.entry.event == History.COMMON_CAUSE]


def test_on_all_at_once_it_asks_once_for_all_of_them_and_says_why() -> None:
    script = Script(3, spares=0)
    script.sweep(times=3)
    script.sweep(stops("cp1", "cp2", "cp3"), times=3)
    assert script.plan.status is PlanStatus.AWAITING_APPROVAL and not script.plan.automatic
    assert [s.host for s in script.plan.steps] == ["cp1", "cp2", "cp3"]
    assert "all 3 control planes" in script.plan.asks and "all 3 control planes" in script.plan.evidence[0]
    (told,) = cause_above(script)
    assert "Nothing is done about it unasked" in told and "recoverctl ack" in told
    # one that a person starts by hand makes the others' no chance of their own
    script.sweep(stops("cp2", "cp3"), times=70)
    assert script.plan.status is PlanStatus.AWAITING_APPROVAL and script.plan.asks
    incident = script.machine.record.incident
    assert incident is not None
    script.give(Acknowledged(incident.id, "alice", script.now))
    assert performing(script.sweep(stops("cp2", "cp3"), times=2)).plan.automatic


def test_one_alone_is_started_unasked_and_the_last_of_a_rollout_is_not() -> None:
    script = Script(3, spares=0)
    script.sweep(times=3)
    for name in ("cp1", "cp2"):
        out = script.sweep(stops(name), times=2)
        script.shows = lambda c: c
        script.answer(performing(out), StepResult(True, "ok"))
        script.sweep(times=4)
        assert script.machine.record.incident is None
    assert not [i for i in script.sweep(stops("cp3"), times=2) if isinstance(i, Perform)]
    assert script.where[1] is Phase.AWAITING_APPROVAL and "all 3 control planes" in script.plan.asks


def test_what_one_sweep_shows_on_the_last_of_them_is_waited_for() -> None:
    script = Script(3, spares=0)
    script.sweep(times=3)
    script.sweep(stops("cp1", "cp2"), times=1)
    script.sweep(stops("cp1", "cp2", "cp3"), times=1)
    assert script.machine.record.plan is None
    assert "The next sweep tells" in script.machine.status().explanation
    # it was nothing: the others are started, unasked
    assert performing(script.sweep(stops("cp1", "cp2"), times=2)).plan.automatic


def test_what_is_under_way_is_brought_to_the_end_of_its_machine() -> None:
    script = Script(3, spares=0)
    script.sweep(times=3)
    begun = performing(script.sweep(stops("cp1", "cp2"), times=3))
    script.sweep(stops("cp1", "cp2", "cp3"), times=2)
    script.shows = stops("cp2", "cp3")
    script.answer(begun, StepResult(True, "ok"))
    script.sweep(stops("cp2", "cp3"), times=2)
    assert not [i for i in script.seen if isinstance(i, Perform) and i.index > 0]
    assert script.plan.status is PlanStatus.AWAITING_APPROVAL and "control planes" in script.plan.asks


def test_no_node_is_rebooted_for_what_all_have_unless_a_person_wants_it() -> None:
    broken = [fault(Code.POD_NETWORK_BROKEN, n) for n in ("w1", "w2", "w3")]
    shared = (SharedFault(Code.POD_NETWORK_BROKEN, "", "workers", ("w1", "w2", "w3"), 3, NOW, NOW),)
    tried = (failed("restart-node-agents", *broken),)
    now = situation(Cluster(1, 3), *broken, declined=tried, shared=shared)
    answer = ask("rolling-worker-reboot", now)
    assert isinstance(answer, Refusal)
    assert (
        "the network between the machines" in answer.reason and "recoverctl run rolling-worker-reboot" in answer.reason
    )
    proposal("rolling-worker-reboot", replace(now, by_hand=True))
    proposal("rolling-worker-reboot", replace(now, shared=()))


def test_rules_that_are_gone_everywhere_are_written_again_unasked() -> None:
    """And nothing else is exempt: a lab test expects this one."""
    assert frozenset({Code.SERVICE_RULES_STALE}) == GENTLE


def test_kubelets_that_are_stopped_on_several_machines_are_one_plan_and_count_once() -> None:
    cluster = Cluster(1, 5).stopped("w1", "kubelet").stopped("w2", "kubelet").ssh_fails("w3")
    down = [fault(Code.WORKER_KUBELET_DOWN, n) for n in ("w1", "w2", "w3")]
    plan = proposal("start-node-services", situation(cluster, *down))
    assert [(s.host, s.part, s.skip_unless, s.contained) for s in plan.steps] == [
        (n, n, ((Code.WORKER_KUBELET_DOWN, n),), True) for n in ("w1", "w2")
    ]
    assert plan.basis == tuple(f.key for f in down[:2]) and any("left out: w3" in line for line in plan.evidence)
    alone = proposal("start-node-services", situation(cluster, down[0]))
    assert [(s.part, s.requires) for s in alone.steps] == [("", (down[0].key,))]
