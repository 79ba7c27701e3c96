"""Two bastions watch the same cluster, each with a recoverd and a journal of its own: a spare, or one that
was moved and not switched off.
"""

from __future__ import annotations

import asyncio

import pytest

from recoverd.clients.lease import Bastion
from recoverd.model.etcd_operations import RestoreSnapshot, SendSnapshot
from recoverd.model.events import Approved, Note, PlanRequested, Refused
from recoverd.model.lease import Held, HeldBy, Unknown
from recoverd.model.plan import PlanStatus, Step, StepResult
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run, seconds
from recoverd.simulate.stage import Ledger, Stage
from recoverd.simulate.world import SimulatedWorld

from .rig import Rig


class Other:
    """The second bastion, `bastion-b`, on the rig's cluster."""

    def __init__(self, rig: Rig) -> None:
        self.told: list[Note] = []
        self.did: list[str] = []
        self.world = SimulatedWorld(rig.cluster, "prod", bastion=Bastion("z", "bastion-b"))
        perform = self.world.perform

        async def noted(step: Step, *, undo: bool, resume: bool) -> StepResult:
            self.did.append(step.description)
            return await perform(step, undo=undo, resume=resume)

        self.world.perform = noted  # type: ignore[method-assign]
        self.stage = Stage(rig.cluster, rig.settings, ledger=Ledger(), world=self.world, told=self.told.append)

    @property
    def lease(self) -> object:
        return self.stage.machine.observation and self.stage.machine.observation.lease


def test_a_restore_on_one_is_not_undone_by_the_other() -> None:
    """Manifests are away while data is restored. The other one sees them missing, and does not put
    them back into the middle of it.
    """

    async def story(planes: int) -> None:
        rig = Rig(planes, 2)
        await rig.stage.wait(20)
        other = Other(rig)
        rig.by_hand.add("split")
        await rig.stage.wait(40)
        await rig.stage.keep_point()
        await rig.stage.wait(30)
        assert isinstance(other.lease, HeldBy) and other.lease.name == "bastion"
        perform = rig.world.perform

        async def slow(step: Step, *, undo: bool, resume: bool) -> StepResult:
            if isinstance(step.operation, SendSnapshot | RestoreSnapshot) and not undo:
                await asyncio.sleep(20)
            return await perform(step, undo=undo, resume=resume)

        rig.world.perform = slow  # type: ignore[method-assign]
        point = rig.stage.machine.memory.points[-1].id
        await rig.stage.give(PlanRequested("restore-etcd-snapshot", (), "alice", "", now(), point))
        plan = rig.stage.waiting_plan
        assert plan is not None
        with pytest.raises(Refused, match="bastion acts on this cluster"):
            await other.stage.give(PlanRequested("restore-etcd-snapshot", (), "bob", "", now(), ""))
        await rig.stage.give(Approved(plan.id, "alice", "", now()))
        assert await rig.stage.until(lambda: rig.plans()[plan.id].status is PlanStatus.SUCCEEDED, 600), rig.plans()[
            plan.id
        ]
        assert [d for d in other.did if "restore point" not in d] == []
        assert [n.entry.event for n in other.told if n.entry.event.startswith("plan-")] == []
        await rig.until("healthy", 300)
        await other.stage.kill()
        await rig.stage.kill()

    run(story(1))
    run(story(3))


def test_the_other_takes_over_when_the_first_is_gone_and_the_first_gives_way_when_it_is_back() -> None:
    async def story() -> None:
        rig = Rig(3, 2)
        await rig.stage.wait(20)
        other = Other(rig)
        await rig.stage.wait(20)
        assert isinstance(other.lease, HeldBy)
        await rig.stage.kill()
        gone = seconds()
        faults.stop(rig.cluster, "w1", "kubelet")
        assert await other.stage.until(lambda: isinstance(other.lease, Held), 120)
        assert 50 < seconds() - gone < 90
        assert await other.stage.until(lambda: rig.cluster.machines["w1"].units["kubelet"].active, 60)
        rig.stage.start()
        await rig.stage.wait(30)
        seen = rig.stage.machine.observation
        assert (
            seen and isinstance(seen.lease, HeldBy) and seen.lease.name == "bastion-b" and isinstance(other.lease, Held)
        )
        await other.stage.kill()
        await rig.stage.kill()

    run(story())


def test_a_bastion_that_stood_still_for_a_minute_finds_that_it_may_not_act() -> None:
    """Its step was on the way when it was stopped. Meanwhile the other one has taken over."""

    async def story() -> None:
        rig = Rig(1, 2)
        await rig.stage.wait(20)
        other = Other(rig)
        await rig.stage.wait(20)
        lease = rig.world.lease
        # nothing of the first one moves, but what it had sent arrives afterwards
        rig.stage._running.cancel()  # type: ignore[union-attr]
        faults.stop(rig.cluster, "cp1", "kubelet")
        assert await other.stage.until(lambda: rig.cluster.machines["cp1"].units["kubelet"].active, 150)
        assert isinstance(other.lease, Held) and isinstance(lease.lease, Held), "it does not know yet"
        step = next(
            p for p in other.stage.ledger.entries if hasattr(p, "plan") and hasattr(p.plan, "steps")
        ).plan.steps[0]  # type: ignore[union-attr]
        result = await SimulatedWorld.perform(rig.world, step, undo=False, resume=False)
        assert not result.ok and ("not seen for a while" in result.detail or "holds the lease" in result.detail)
        await other.stage.kill()
        await rig.stage.loop.close()

    run(story())


def test_a_control_plane_on_which_nothing_can_be_written_is_repaired_all_the_same() -> None:
    """Its disk, or its /run, is full, which may be the fault itself. There is no other
    bastion, so nobody is in the way.
    """

    async def story() -> None:
        rig = Rig(1, 1)
        rig.cluster.machines["cp1"].unwritable = "No space left on device"
        await rig.stage.wait(20)
        seen = rig.stage.machine.observation
        assert seen and isinstance(seen.lease, Unknown) and "No space left on device" in seen.lease.reason
        faults.stop(rig.cluster, "cp1", "kubelet")
        assert await rig.stage.until(lambda: rig.cluster.machines["cp1"].units["kubelet"].active, 60)
        await rig.stage.kill()

    run(story())
