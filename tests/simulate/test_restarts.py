"""recoverd is ended in the middle of a plan and started again, sooner or later: first it looks, and
nothing that is over is gone on with.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from recoverd.model.events import Approved, Event, Paused, Resumed, StepEnded
from recoverd.model.node_operations import Reboot
from recoverd.model.plan import PlanStatus, Step
from recoverd.model.unit_operations import RestartStaticPod
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run, seconds
from recoverd.simulate.texts import ETCD_DIR, path_of
from tests.simulate.people import BY_HAND, healthy_files, pass_time, set_right
from tests.simulate.rig import Rig

FAULTS = faults.by_name()


async def begun(rig: Rig, playbook: str) -> None:
    """A plan of this playbook is offered and approved."""
    stage = rig.stage
    assert await stage.until(lambda: stage.waiting_plan is not None and stage.waiting_plan.playbook == playbook, 400)
    assert stage.waiting_plan is not None
    await stage.give(Approved(stage.waiting_plan.id, "alice", "", now()))


def changes(rig: Rig, of: str) -> list[str]:
    """What plans of the playbook did, since `rig.world.done` was emptied, that changed something."""
    return [what for playbook, what, step in rig.world.done if not step.looks and playbook == of]


@pytest.mark.parametrize(
    ("at", "away", "paused"),
    [
        ("keep what is left", 3600, False),
        ("keep what is left", 3600, True),
        ("keep what is left", 120, False),
        ("stop etcd on", 3600, True),
    ],
)
def test_a_restore_is_not_gone_on_with_when_people_have_restored_meanwhile(at: str, away: float, paused: bool) -> None:
    """The bastion was off; the data must not be moved from under the etcd that people have
    brought back, nor etcd be stopped.
    """

    async def story() -> None:
        rig = Rig(1, 2)
        cluster, stage = rig.cluster, rig.stage
        await stage.wait(60)
        await stage.keep_point()
        good, files = cluster.etcd.leaders()[0].store, healthy_files(cluster)
        faults.delete_data(cluster, "cp1")
        assert await stage.until(lambda: stage.waiting_plan is not None, 120) and stage.waiting_plan
        steps = stage.waiting_plan.steps
        rig.world.kill_before = next(i for i, s in enumerate(steps) if s.description.startswith(at))
        await begun(rig, "restore-etcd-snapshot")
        assert await stage.until(rig.world.dead.is_set, 300)
        if paused:
            await stage.give(Paused("alice", "restored by hand, hands off", now()))
        await stage.kill()
        set_right(cluster, good, files, restore=True)
        await pass_time(cluster, away)
        assert [p.store.history for p in cluster.etcd.leaders()] == [BY_HAND]
        rig.world.kill_before = None
        rig.world.done.clear()
        stage.start()
        await stage.wait(300)
        assert changes(rig, "restore-etcd-snapshot") == []
        assert [p.store.history for p in cluster.etcd.leaders()] == [BY_HAND] and cluster.api.ready("cp1")
        if paused:
            assert (
                "recoverctl resume prod" in stage.machine.status().explanation and stage.machine.record.run is not None
            )
            await stage.give(Resumed("alice", now()))
        await rig.until("healthy", 200)
        assert changes(rig, "restore-etcd-snapshot") == [] and [p.store.history for p in cluster.etcd.leaders()] == [
            BY_HAND
        ]
        (plan,) = (p for p in rig.plans().values() if p.playbook == "restore-etcd-snapshot")
        assert plan.status in (PlanStatus.SUPERSEDED, PlanStatus.FAILED)
        assert any(why in plan.reason for why in ("healthy without it", "deadline", "etcd on cp1 to end: it runs")), (
            plan.reason
        )
        assert "NOT taken back" in plan.reason, "what lies about is told"
        await stage.kill()

    run(story())


def test_a_member_is_not_restarted_once_more_when_another_has_died_meanwhile() -> None:
    """Certificates are being renewed, recoverd is ended after it has restarted etcd on cp1, and cp3 dies: cp1 is
    one of the two that are needed.
    """

    async def story() -> None:
        rig = Rig(3, 1)
        for name in ("cp1", "cp2", "cp3"):
            FAULTS["expire-soon"](rig.cluster, name, "10")
        assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 200) and rig.stage.waiting_plan
        steps = rig.stage.waiting_plan.steps
        rig.world.kill_after = next(
            i
            for i, s in enumerate(steps)
            if isinstance(s.operation, RestartStaticPod) and s.operation.component == "etcd"
        )
        await begun(rig, "renew-certificates")
        assert await rig.stage.until(rig.world.dead.is_set, 200)
        await rig.stage.kill()
        rig.cluster.power_off("cp3")
        await pass_time(rig.cluster, 30)
        rig.world.kill_after = None
        rig.world.done.clear()
        rig.stage.start()
        for _ in range(200):
            await rig.stage.wait(1)
            assert {"cp1", "cp2"} <= set(rig.cluster.etcd.processes), "quorum was lost by recoverd's own act"
        (plan,) = (p for p in rig.plans().values() if p.playbook == "renew-certificates")
        assert plan.status is PlanStatus.FAILED and "quorum without cp1" in plan.reason, plan.reason
        await rig.stage.kill()

    run(story())


@pytest.mark.parametrize("paused", [False, True])
def test_agents_of_a_node_that_is_well_are_not_restarted_hours_later(paused: bool) -> None:
    async def story() -> None:
        rig = Rig(1, 2)
        await rig.stage.wait(60)
        rig.world.kill_before = 0
        FAULTS["stop-kube-proxy"](rig.cluster, "w1")
        assert await rig.stage.until(rig.world.dead.is_set, 200)
        if paused:
            await rig.stage.give(Paused("alice", "I do it", now()))
        await rig.stage.kill()
        rig.cluster.machines["w1"].agents["kube-proxy"].start(rig.cluster.now)
        await pass_time(rig.cluster, 7200)
        rig.world.kill_before = None
        rig.world.done.clear()
        rig.stage.start()
        await rig.stage.wait(120)
        if paused:
            await rig.stage.give(Resumed("alice", now()))
            await rig.stage.wait(60)
        assert changes(rig, "restart-node-agents") == [] and rig.stage.position == "healthy"
        await rig.stage.kill()

    run(story())


def test_a_step_that_recoverd_never_sees_the_end_of_is_not_begun_for_ever() -> None:
    """A defect ends the daemon whenever a result comes in, and systemd starts it again every ten seconds."""

    async def story() -> None:
        rig = Rig(1, 2)
        await rig.stage.wait(60)

        def break_it() -> None:
            take = rig.stage.machine.take

            def broken(event: Event, *clocks: Any) -> object:
                if isinstance(event, StepEnded) and not (event.result.undone or event.result.uncertain):
                    raise ZeroDivisionError("a defect")
                return take(event, *clocks)

            rig.stage.machine.take = broken  # type: ignore[method-assign,assignment]

        break_it()
        FAULTS["stop-kube-proxy"](rig.cluster, "w1")
        rig.world.done.clear()
        end = seconds() + 600
        while seconds() < end:
            try:
                await rig.stage.wait(5)
            except ZeroDivisionError:
                await rig.stage.kill()
                await pass_time(rig.cluster, 10)
                rig.stage.start()
                break_it()
        done = changes(rig, "restart-node-agents")
        assert 1 <= len(done) <= 3 and len(set(done)) == 1, done
        assert all(p.status in (PlanStatus.SUCCEEDED, PlanStatus.FAILED) for p in rig.plans().values())
        await rig.stage.kill()

    run(story())


def test_a_kill_right_after_a_reboot_was_asked_for_goes_on_to_wait_for_it() -> None:
    """The machine cannot be asked whether it was asked: it is on its way down. Its node
    must not stay cordoned for good.
    """

    async def story() -> None:
        rig = Rig(1, 3)
        await rig.stage.wait(60)
        FAULTS["wedge-tunnel"](rig.cluster, "w1")
        assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 400) and rig.stage.waiting_plan
        steps: tuple[Step, ...] = rig.stage.waiting_plan.steps
        rig.world.kill_after = rig.world.count + next(i for i, s in enumerate(steps) if isinstance(s.operation, Reboot))
        reviver = asyncio.create_task(rig.restart_when_dead())
        await begun(rig, "rolling-worker-reboot")
        assert await rig.stage.until(reviver.done, 300)
        await rig.until("healthy", 600)
        assert rig.cluster.machines["w1"].boots == 2, "it was rebooted once"
        store = rig.cluster.api.store
        assert store is not None and "w1" not in store.cordons
        (plan,) = (p for p in rig.plans().values() if p.playbook == "rolling-worker-reboot")
        assert plan.status is PlanStatus.SUCCEEDED, plan.reason
        await rig.stage.kill()

    run(story())


def test_data_that_etcd_runs_on_is_not_put_in_place_of_when_a_plan_is_taken_back() -> None:
    """Somebody starts etcd in the middle of a restore: what follows fails, and its undo leaves the
    data alone that this etcd runs on.
    """

    async def story() -> None:
        rig = Rig(1, 1)
        await rig.stage.wait(12)
        await rig.stage.keep_point()
        good, files = rig.cluster.etcd.leaders()[0].store, healthy_files(rig.cluster)
        faults.delete_data(rig.cluster, "cp1")
        assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 120) and rig.stage.waiting_plan
        index = next(
            i for i, s in enumerate(rig.stage.waiting_plan.steps) if s.description.startswith("see that no etcd runs")
        )
        rig.world.fail_at = index
        await begun(rig, "restore-etcd-snapshot")
        run_ = lambda: rig.stage.machine.record.run  # noqa: E731
        assert await rig.stage.until(lambda: (r := run_()) is not None and r.done >= index - 1, 300)
        rig.cluster.machines["cp1"].data[f"{ETCD_DIR}/member"] = good
        rig.cluster.machines["cp1"].files[path_of("etcd")] = files["cp1"]["etcd"]
        rig.cluster.kubelets["cp1"].exited("etcd", rig.cluster.now, "received signal; shutting down")
        await rig.stage.wait(200)
        assert [p.store.cluster_id for p in rig.cluster.etcd.leaders()] == [good.cluster_id]
        await rig.stage.kill()

    run(story())
