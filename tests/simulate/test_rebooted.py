"""A node that is not Ready is rebooted by a plan, which cordons it first: by that it is not what a person gave up."""

from __future__ import annotations

import pytest

from recoverd.model.events import Approved, PlanRequested
from recoverd.model.plan import PlanStatus
from recoverd.simulate.clock import now, run
from recoverd.simulate.faults import by_name
from tests.simulate.rig import Rig

FAULTS = by_name()


@pytest.mark.parametrize("unit", ["kubelet", "containerd"])
@pytest.mark.parametrize("returns", [True, False], ids=["it comes back", "it does not"])
def test_a_node_whose_unit_hangs_is_rebooted_and_no_cordon_of_the_plan_makes_it_well(
    unit: str, *, returns: bool
) -> None:
    async def story() -> None:
        rig = Rig(1, 3)
        stage, machine = rig.stage, rig.cluster.machines["w1"]
        await stage.wait(30)
        FAULTS["log-in"](rig.cluster, "w1")
        FAULTS["hang-unit"](rig.cluster, "w1", unit)
        assert await stage.until(lambda: stage.waiting_plan is not None, 120)
        FAULTS["log-out"](rig.cluster, "w1")
        await stage.give(PlanRequested("rolling-worker-reboot", ("w1",), "alice", "", now()))
        assert await stage.until(lambda: stage.waiting_plan is not None, 10) and stage.waiting_plan
        await stage.give(Approved(stage.waiting_plan.id, "alice", "", now()))
        assert await stage.until(lambda: not machine.up(rig.cluster.now), 60), "it is rebooted"
        if not returns:
            FAULTS["power-off"](rig.cluster, "w1")
        await stage.wait(400)
        (plan,) = (p for p in rig.plans().values() if p.playbook == "rolling-worker-reboot")
        store = rig.cluster.api.store
        assert store is not None
        if returns:
            assert (plan.status, stage.position) == (PlanStatus.SUCCEEDED, "healthy"), plan.reason
            assert "w1" not in store.cordons
        else:
            assert plan.status is PlanStatus.FAILED and "w1" in store.cordons
            assert stage.position == "worker-network-broken/escalated", "it is missed until it is back or deleted"
        await stage.kill()

    run(story())
