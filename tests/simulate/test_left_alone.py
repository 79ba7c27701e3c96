"""What is left alone: machines where somebody is at work, and what is told and never acted upon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recoverd.machine.deciding import LEFT
from recoverd.model.catalogue import Code
from recoverd.model.finding import Severity, State
from recoverd.model.plan import PlanStatus
from recoverd.simulate import faults, machine_faults, node_faults, person_faults, witness_faults
from recoverd.simulate.clock import run, seconds
from recoverd.simulate.cluster import ModelCluster
from tests.simulate.rig import Rig


async def waits_for_alice(rig: Rig) -> str:
    """kubelet on w1 is stopped while she is logged in there; the id of the plan that asks her."""
    await rig.stage.wait(30)
    person_faults.log_in(rig.cluster, "w1")
    await rig.stage.wait(10)
    faults.stop(rig.cluster, "w1", "kubelet")
    assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 60), rig.stage.position
    plan = rig.stage.waiting_plan
    assert plan is not None and plan.playbook == "start-node-services" and "at work on w1" in plan.asks
    return plan.id


def test_when_they_have_gone_it_is_made_anew_and_runs_unasked() -> None:
    async def story() -> None:
        rig = Rig(1, 2)
        first = await waits_for_alice(rig)
        await rig.stage.wait(200)
        person_faults.log_out(rig.cluster, "w1")
        left = seconds()
        await rig.stage.wait(LEFT - 60)
        assert rig.stage.waiting_plan and rig.stage.waiting_plan.id == first, "not at once: who goes may come back"
        person_faults.log_in(rig.cluster, "w1")
        await rig.stage.wait(20)
        person_faults.log_out(rig.cluster, "w1")
        back = seconds()
        await rig.stage.wait(LEFT - 60)
        assert rig.stage.waiting_plan and rig.stage.waiting_plan.id == first, f"she was back {back - left:.0f} s later"
        assert await rig.stage.until(lambda: rig.cluster.machines["w1"].units["kubelet"].active, 120)
        plans = rig.plans()
        assert plans[first].status is PlanStatus.SUPERSEDED and "nobody has been there for 300 s" in plans[first].reason
        assert [p.automatic for p in plans.values()] == [False, True]
        await rig.until("healthy", 120)
        await rig.stage.kill()

    run(story())


def test_while_a_bound_holds_it_back_it_goes_on_waiting() -> None:
    """The same was repaired unasked a moment ago: that it comes again is for a person, logged in or not."""

    async def story() -> None:
        rig = Rig(1, 2)
        await rig.stage.wait(30)
        faults.stop(rig.cluster, "w1", "kubelet")
        assert await rig.stage.until(lambda: rig.cluster.machines["w1"].units["kubelet"].active, 60)
        await rig.until("healthy", 120)
        first = await waits_for_alice(rig)
        person_faults.log_out(rig.cluster, "w1")
        await rig.stage.wait(LEFT + 120)
        assert rig.stage.waiting_plan and rig.stage.waiting_plan.id == first
        assert not rig.cluster.machines["w1"].units["kubelet"].active
        await rig.stage.kill()

    run(story())


def test_a_machine_that_is_not_seen_may_have_somebody_on_it() -> None:
    async def story() -> None:
        rig = Rig(3, 2)
        await rig.stage.wait(70)
        person_faults.log_in(rig.cluster, "cp2")
        await rig.stage.wait(10)
        faults.delete_manifest(rig.cluster, "cp1", "kube-apiserver")
        assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 60), rig.stage.position
        plan = rig.stage.waiting_plan
        assert plan is not None and plan.playbook == "restore-manifest" and "cp2" in plan.asks
        rig.cluster.network.hidden.add("cp2")
        await rig.stage.wait(LEFT + 60)
        assert rig.world.done == []
        await rig.stage.kill()

    run(story())


ALONE: dict[str, tuple[Callable[[ModelCluster], object], Callable[[ModelCluster], object], Code, str]] = {
    "slow disk": (
        lambda c: machine_faults.slow_disk(c, "cp2"),
        lambda c: machine_faults.quicken_disk(c, "cp2"),
        Code.ETCD_SLOW_DISK,
        "cp2",
    ),
    "uplink lowered": (
        lambda c: node_faults.lower_uplink(c, "w1"),
        lambda c: node_faults.lower_uplink(c, "w1", "1500"),
        Code.OVERLAY_MTU,
        "w1",
    ),
    "metrics away": (
        witness_faults.lose_metrics,
        witness_faults.remove_api_service,
        Code.AGGREGATED_API_AWAY,
        "v1beta1.metrics.k8s.io",
    ),
    "all cordoned": (
        lambda c: [faults.cordon(c, name) for name in ("w1", "w2")],
        lambda c: faults.uncordon(c, "w1"),
        Code.NODES_CORDONED,
        "",
    ),
}
"""What happens, how a person ends it, and the warning."""


@pytest.mark.parametrize("what", ALONE)
def test_what_is_a_warning_is_told_and_nothing_is_done_about_it(what: str) -> None:
    happens, ends, code, subject = ALONE[what]

    async def story() -> None:
        rig = Rig(3, 2)
        await rig.stage.wait(30)
        happens(rig.cluster)
        await rig.stage.wait(120)
        diagnosis = rig.stage.machine.diagnosis
        assert diagnosis and diagnosis.state is State.HEALTHY and not rig.plans()
        assert [(f.code, f.subject, f.severity) for f in diagnosis.findings] == [(code, subject, Severity.WARNING)]
        ends(rig.cluster)
        await rig.stage.wait(40)
        assert rig.stage.machine.diagnosis and not rig.stage.machine.diagnosis.findings
        await rig.stage.kill()

    run(story())
