"""What may be done is what the configuration says now: a playbook is switched off, or has to ask, while a plan of it
waits or runs. The daemon is ended and started with another configuration, as by somebody who sees it act.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.model.events import Approved, Note, PlanRequested, Refused
from recoverd.model.settings import Approval
from recoverd.simulate import node_faults, pki_faults
from recoverd.simulate.clock import now, run
from recoverd.simulate.cluster import ModelCluster, settings_for
from recoverd.simulate.stage import Stage


class Let:
    """A stage on which it changes what a playbook may, and what it told."""

    def __init__(self) -> None:
        self.told: list[Note] = []
        settings = settings_for(1, 3)
        self.stage = Stage(ModelCluster(settings, 1), settings, told=self.told.append)

    async def become(self, playbook: str, approval: Approval) -> None:
        await self.stage.kill()
        self.stage.settings = replace(self.stage.settings, approval={playbook: approval})
        self.stage.start()

    def events(self, event: str) -> list[str]:
        return [n.entry.detail for n in self.told if n.entry.event == event]


@pytest.mark.parametrize(
    ("approval", "says", "then"),
    [
        (Approval.NEVER, "switched off in the configuration", "rolling-worker-reboot"),
        (Approval.REQUIRED, "has it ask", "restart-node-agents"),
    ],
)
def test_what_runs_unasked_ends_where_it_may_not_any_more(approval: Approval, says: str, then: str) -> None:
    async def story() -> None:
        let = Let()
        stage = let.stage
        await stage.wait(60)
        node_faults.stop_kube_proxy(stage.cluster, "w1", "w2")
        assert await stage.until(lambda: stage.machine.record.run is not None, 200), stage.position
        plan = stage.machine.record.plan
        assert plan and plan.automatic
        await let.become(plan.playbook, approval)
        begun = len(let.events("step-started"))
        assert await stage.until(lambda: stage.machine.record.run is None, 200)
        (why,) = let.events("plan-superseded")
        assert says in why and len(let.events("step-started")) == begun
        assert await stage.until(lambda: stage.waiting_plan is not None, 100), stage.position
        assert stage.waiting_plan and stage.waiting_plan.playbook == then
        await stage.kill()

    run(story())


def test_what_a_person_has_approved_goes_on_where_the_playbook_still_asks_and_ends_where_it_is_switched_off() -> None:
    async def story(approval: Approval) -> list[str]:
        let = Let()
        stage = let.stage
        await let.become("restart-node-agents", Approval.REQUIRED)
        await stage.wait(60)
        node_faults.stop_kube_proxy(stage.cluster, "w1")
        assert await stage.until(lambda: stage.waiting_plan is not None, 200), stage.position
        assert stage.waiting_plan
        await stage.give(Approved(stage.waiting_plan.id, "operator", "", now()))
        await let.become("restart-node-agents", approval)
        assert await stage.until(lambda: stage.machine.record.plan is None, 300), stage.position
        await stage.kill()
        return [*let.events("plan-succeeded"), *let.events("plan-superseded")]

    (ended,) = run(story(Approval.REQUIRED))
    assert "is gone" in ended
    (ended,) = run(story(Approval.NEVER))
    assert "switched off in the configuration" in ended


def test_a_plan_that_a_person_asked_for_cannot_be_approved_once_its_playbook_is_switched_off() -> None:
    async def story() -> None:
        let = Let()
        stage = let.stage
        await stage.wait(60)
        pki_faults.expire_soon(stage.cluster, "cp1", "5")
        await stage.wait(15)
        await stage.give(PlanRequested("renew-certificates", (), "operator", "", now()))
        assert stage.waiting_plan
        waits = stage.waiting_plan.id
        await let.become("renew-certificates", Approval.NEVER)
        await stage.wait(6)
        with pytest.raises(Refused):
            await stage.give(Approved(waits, "operator", "", now()))
        assert await stage.until(lambda: stage.waiting_plan is None, 60)
        await stage.kill()

    run(story())
