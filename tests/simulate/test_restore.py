"""A restore that fails is taken back, at every step until the API servers are started, and starts no etcd over
an empty directory on the way.
"""

from __future__ import annotations

import pytest

from recoverd.model.events import Approved, PlanRequested, Refused
from recoverd.model.plan import PlanStatus
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run
from recoverd.simulate.texts import path_of
from tests.simulate.rig import Rig

MEMBER = "/var/lib/etcd/member"


@pytest.mark.parametrize("step", [3, 6, 9, 12, 13, 14, 17, 20, 22, 25, 27, 29])
def test_a_restore_that_fails_before_the_api_servers_start_is_taken_back(step: int) -> None:
    run(_fails(step))


async def _fails(step: int) -> None:
    rig = Rig(3, 1)
    await rig.stage.wait(12)
    await rig.stage.keep_point()
    faults.delete_data(rig.cluster, "cp1", "cp2", "cp3")
    assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 60)
    begun = rig.cluster.machines["cp1"].data[MEMBER].history
    plan = rig.stage.waiting_plan
    assert plan is not None
    rig.world.fail_at = step
    await rig.stage.give(Approved(plan.id, "alice", "", now()))
    assert await rig.stage.until(lambda: rig.plans()[plan.id].status is PlanStatus.FAILED, 300), rig.events()
    machines = rig.cluster.machines
    assert machines["cp1"].data[MEMBER].history == begun, "what was there is there again"
    for name in ("cp2", "cp3"):
        assert MEMBER not in machines[name].data
        assert path_of("kube-apiserver") in machines[name].files
        etcd_was_stopped = step > {"cp2": 7, "cp3": 8}[name]
        assert (path_of("etcd") in machines[name].files) is not etcd_was_stopped, "without data it is not started again"
    assert path_of("etcd") in machines["cp1"].files and path_of("kube-apiserver") in machines["cp1"].files
    rig.check_model()
    await rig.stage.kill()


def test_an_approved_restore_is_not_started_when_the_data_is_back_meanwhile() -> None:
    async def story() -> None:
        rig = Rig(1, 1)
        await rig.stage.wait(12)
        await rig.stage.keep_point()
        store = rig.cluster.etcd.leaders()[0].store
        faults.delete_data(rig.cluster, "cp1")
        assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 60)
        rig.cluster.machines["cp1"].data[MEMBER] = store
        rig.cluster.kubelets["cp1"].exited("etcd", rig.cluster.now, "received signal; shutting down")
        await rig.until("healthy", 200)
        assert [p.status for p in rig.plans().values() if p.playbook == "restore-etcd-snapshot"] == [
            PlanStatus.SUPERSEDED
        ]
        await rig.stage.kill()

    run(story())


def test_wrong_data_is_taken_back_to_the_point_that_a_person_names() -> None:
    async def story() -> None:
        rig = Rig(3, 1)
        await rig.until("healthy", 30)
        await rig.stage.keep_point()
        (point,) = rig.stage.machine.memory.points
        await rig.stage.wait(60)
        cluster_id = rig.cluster.etcd.leaders()[0].store.history

        async def ask(point: str) -> None:
            await rig.stage.give(
                PlanRequested("restore-etcd-snapshot", (), "alice", "somebody deleted a namespace", now(), point)
            )

        with pytest.raises(Refused, match="--point"):
            await ask("")
        assert rig.stage.waiting_plan is None
        await ask(point.id)
        await rig.stage.wait(120)
        plan = rig.stage.waiting_plan
        assert plan and plan.point == point.id and plan.destructive, "it waits, though the cluster goes on"
        await rig.stage.give(Approved(plan.id, "alice", "", now()))
        assert await rig.stage.until(lambda: rig.plans()[plan.id].status is PlanStatus.SUCCEEDED, 600), rig.events()
        await rig.until("healthy", 200)
        assert rig.cluster.etcd.leaders()[0].store.history != cluster_id
        assert len(rig.cluster.etcd.leaders()) == 1
        await rig.stage.kill()

    run(story())
