"""Certificates were put back and recoverd died before what runs had read them: it goes on where it can, and
never puts the bad ones in again.
"""

from __future__ import annotations

import pytest

from recoverd.model.events import Approved, Paused
from recoverd.model.plan import PlanStatus
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run
from tests.simulate.people import pass_time
from tests.simulate.rig import Rig

FAULTS = faults.by_name()


@pytest.mark.parametrize(
    ("away", "ends"), [(0.0, PlanStatus.SUCCEEDED), (300.0, PlanStatus.SUCCEEDED), (1200.0, PlanStatus.FAILED)]
)
def test_files_that_were_put_back_stay_and_what_runs_is_restarted(away: float, ends: PlanStatus) -> None:
    """The cluster looks well as soon as the files are there, and no sweep shows whose authorities etcd and
    the API server have in memory.
    """

    async def story() -> None:
        rig = Rig(1, 1)
        stage = rig.stage
        await stage.wait(120)
        good = dict(rig.cluster.machines["cp1"].papers)
        FAULTS["remake-pki"](rig.cluster, "cp1")
        assert await stage.until(
            lambda: stage.waiting_plan is not None and stage.waiting_plan.playbook == "restore-pki", 120
        ), stage.position
        plan = stage.waiting_plan
        assert plan is not None and any("in memory" in line for line in plan.evidence)
        rig.world.kill_after = rig.world.count
        await stage.give(Approved(plan.id, "alice", "", now()))
        assert await stage.until(rig.world.dead.is_set, 60)
        rig.world.kill_after = None
        await stage.kill()
        await pass_time(rig.cluster, away)
        assert rig.cluster.machines["cp1"].papers == good
        rig.world.done.clear()
        stage.start()
        await rig.until("healthy", 600)
        assert rig.cluster.machines["cp1"].papers == good, "the bad ones are not put in again"
        ended = rig.plans()[plan.id]
        assert ended.status is ends, ended.reason
        restarted = [s.description for _, _, s in rig.world.done]
        if ends is PlanStatus.SUCCEEDED:
            assert "restart etcd on cp1" in restarted and "restart the API server on cp1" in restarted
        else:
            assert restarted == [] and "restart etcd on cp1" in ended.reason, ended.reason
        await stage.kill()

    run(story())


@pytest.mark.parametrize(
    ("fault", "playbook"), [("remake-pki", "restore-pki"), ("expire-certificates", "renew-certificates")]
)
def test_a_pause_in_the_middle_leaves_the_certificates_that_were_put_in(fault: str, playbook: str) -> None:
    """Taking them back would put in those that were found broken, under a kubelet that was restarted with the good
    ones. Found by a random story.
    """

    async def story() -> None:
        rig = Rig(1, 3)
        stage, machine = rig.stage, rig.cluster.machines["cp1"]
        await stage.wait(120)
        FAULTS[fault](rig.cluster, "cp1")
        assert await stage.until(
            lambda: stage.waiting_plan is not None and stage.waiting_plan.playbook == playbook, 300
        ), stage.position
        plan = stage.waiting_plan
        assert plan is not None
        bad = dict(machine.papers)
        await stage.give(Approved(plan.id, "alice", "", now()))
        assert await stage.until(
            lambda: any(words.startswith("restart kubelet") for _, words, _ in rig.world.done), 120
        ), rig.world.done
        put_in = dict(machine.papers)
        assert put_in != bad
        await stage.give(Paused("bob", "let me look", now()))
        assert await stage.until(lambda: not rig.plans()[plan.id].status.open, 120)
        ended = rig.plans()[plan.id]
        assert machine.papers == put_in and ended.status is PlanStatus.SUPERSEDED
        assert "the files are in place; NOT done" in ended.reason and "restart the API server on cp1" in ended.reason, (
            ended.reason
        )
        assert "undo-refused" in rig.events()
        await stage.kill()

    run(story())
