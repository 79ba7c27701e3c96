"""The gate at work on the model cluster: what a plan does rests on a sweep that is fresh enough for it, and what
would make it worse is not done.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from recoverd.model.etcd import FORCE
from recoverd.model.events import Acknowledged, Approved, PlanRequested, Refused
from recoverd.model.finding import State
from recoverd.model.memory import Memory
from recoverd.model.node_operations import Reboot
from recoverd.model.observation import Observation
from recoverd.model.operations import WriteFile
from recoverd.model.plan import PlanStatus, Step, StepResult
from recoverd.model.settings import PersonsNeeded
from recoverd.model.unit_operations import RestartStaticPod
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run, seconds
from recoverd.simulate.hosts import BOOT
from recoverd.simulate.texts import path_of
from recoverd.simulate.world import SimulatedWorld
from tests.simulate.rig import Rig

FAULTS = faults.by_name()


async def offered(rig: Rig, playbook: str, within: float = 400) -> None:
    stage = rig.stage
    assert await stage.until(
        lambda: stage.waiting_plan is not None and stage.waiting_plan.playbook == playbook, within
    ), rig.stage.position


async def stuck_join() -> Rig:
    """A join that hangs, and the plan that waits for it."""
    rig = Rig(1, 1, 1)
    await rig.stage.wait(12)
    faults.block_peer_port(rig.cluster, "cp2")
    faults.join(rig.cluster, "cp2")
    await offered(rig, "force-new-cluster")
    return rig


async def approve(rig: Rig) -> None:
    assert rig.stage.waiting_plan is not None
    await rig.stage.give(Approved(rig.stage.waiting_plan.id, "alice", "", now()))


def lineages(rig: Rig) -> set[tuple[str, str]]:
    return {(p.store.cluster_id, p.store.history) for p in rig.cluster.etcd.leaders()}


@pytest.mark.parametrize("early", [1.0, 2.5, 3.5, 5.0])
def test_a_cluster_is_not_forced_while_its_members_are_just_coming_back(early: float) -> None:
    """Approved when cp2 and cp3 are about to be up again: between the sweep before the approval and the flag they
    form the quorum that was lost.
    """

    async def story() -> None:
        rig = Rig(3, 1)
        await rig.stage.wait(30)
        faults.power_off(rig.cluster, "cp2", "cp3")
        await offered(rig, "force-new-cluster")
        await rig.stage.wait(20)
        for name in ("cp2", "cp3"):
            rig.cluster.power_on(name)
        await rig.stage.wait(BOOT + 2.0 - early)
        with suppress(Refused, AssertionError):  # by then it may have been seen that they are back
            await approve(rig)
        await rig.stage.wait(120)
        assert len(lineages(rig)) == 1 and not any("forced" in history for _, history in lineages(rig)), lineages(rig)
        await rig.until("healthy", 120)
        await rig.stage.kill()

    run(story())


def test_nothing_is_approved_on_a_sweep_of_twenty_minutes_ago() -> None:
    """A sweep does not end, and meanwhile the machines have come back."""

    async def story() -> None:
        rig = Rig(3, 1)
        await rig.stage.wait(30)
        faults.power_off(rig.cluster, "cp2", "cp3")
        await offered(rig, "force-new-cluster")

        async def broken(sequence: int, memory: Memory) -> Observation:
            await asyncio.Event().wait()
            raise AssertionError("it never ends")

        rig.world.observe = broken  # type: ignore[method-assign]
        faults.power_on(rig.cluster, "cp2", "cp3")
        await rig.stage.wait(1200)
        with pytest.raises(Refused, match="has not been looked at for a while"):
            await approve(rig)
        assert rig.world.count == 0
        await rig.stage.kill()

    run(story())


def test_a_plan_that_waits_in_vain_for_sweeps_ends() -> None:
    """Sweeps break in the middle of a plan: before anything was changed it ends, and tells for what it waited."""

    async def story() -> None:
        rig = Rig(3, 1)
        await rig.stage.wait(30)
        faults.power_off(rig.cluster, "cp3")
        await offered(rig, "remove-member")
        plan = rig.stage.waiting_plan
        assert plan is not None
        await approve(rig)

        async def broken(sequence: int, memory: Memory) -> Observation:
            raise ValueError("something nobody foresaw in what a host printed")

        rig.world.observe = broken  # type: ignore[method-assign]
        await rig.stage.wait(80)
        ended = rig.plans()[plan.id]
        assert ended.status is PlanStatus.FAILED and "in vain for" in ended.reason, ended
        (leader,) = rig.cluster.etcd.leaders()
        assert len(leader.store.voters) == 3
        await rig.stage.kill()

    run(story())


def test_a_plan_is_not_approved_while_one_of_its_machines_is_not_seen() -> None:
    """Whether it is still what would be planned is not known then; when the machine stays
    away, another plan takes its place.
    """

    async def story() -> None:
        rig = await stuck_join()
        first = rig.stage.waiting_plan
        assert first is not None and {s.host for s in first.steps} == {"cp1", "cp2"}
        faults.hide(rig.cluster, "cp2")
        await rig.stage.wait(12)
        assert rig.stage.waiting_plan == first, "it may only be slow"
        with pytest.raises(Refused, match="cp2 is not seen just now") as refused:
            await approve(rig)
        assert refused.value.passing, "the next sweep may show it"
        await rig.stage.wait(75)
        second = rig.stage.waiting_plan
        assert second is not None and second.id != first.id and {s.host for s in second.steps} == {"cp1"}, (
            "it is away: it cannot be stopped"
        )
        faults.heal(rig.cluster)
        await rig.stage.wait(20)
        third = rig.stage.waiting_plan
        assert third is not None and {s.host for s in third.steps} == {"cp1", "cp2"}
        await approve(rig)
        await rig.until("healthy", 120)
        await rig.stage.kill()

    run(story())


def test_another_member_is_not_restarted_when_one_has_died_meanwhile() -> None:
    """Certificates of three control planes are renewed in turn; after the first, the third dies: the second is
    one of the two that are needed.
    """

    async def story() -> None:
        rig = Rig(3, 1)
        for name in ("cp1", "cp2", "cp3"):
            FAULTS["expire-soon"](rig.cluster, name, "10")
        await offered(rig, "renew-certificates")
        await approve(rig)

        def restarted() -> bool:
            return any(
                isinstance(s.operation, RestartStaticPod) and s.operation.component == "etcd"
                for _, _, s in rig.world.done
            )

        assert await rig.stage.until(restarted, 200)
        rig.cluster.power_off("cp3")
        for _ in range(300):
            await rig.stage.wait(1)
            assert {"cp1", "cp2"} <= set(rig.cluster.etcd.processes), "quorum was lost by recoverd's own act"
        (plan,) = (p for p in rig.plans().values() if p.playbook == "renew-certificates")
        assert plan.status is PlanStatus.FAILED and "quorum without cp2" in plan.reason, plan.reason
        await rig.stage.kill()

    run(story())


def test_nothing_goes_on_while_the_cluster_cannot_be_seen() -> None:
    """Agents are restarted on two of four workers when the bastion loses sight of the API and the control plane."""

    async def story() -> None:
        rig = Rig(1, 4)
        await rig.stage.wait(60)
        FAULTS["stop-kube-proxy"](rig.cluster, "w1", "w2")
        assert await rig.stage.until(lambda: rig.stage.machine.record.run is not None, 200)
        faults.hide(rig.cluster, "cp1", "w1", "w2", "w3", "w4")
        faults.break_vip(rig.cluster)

        def dark() -> bool:
            diagnosis = rig.stage.machine.diagnosis
            return diagnosis is not None and diagnosis.state is State.UNOBSERVABLE

        assert await rig.stage.until(dark, 60)
        assert await rig.stage.until(lambda: rig.world.acting == 0, 150), "what was begun by then ends"
        rig.world.done.clear()
        await rig.stage.wait(200)
        assert [what for _, what, step in rig.world.done if not step.looks] == []
        faults.heal(rig.cluster)
        await rig.stage.kill()

    run(story())


def test_no_second_node_is_rebooted_while_the_first_is_still_down_in_another_plan() -> None:
    async def story() -> None:
        rig = Rig(1, 7)
        await rig.stage.wait(60)
        for name in ("w1", "w2", "w3"):
            FAULTS["wedge-tunnel"](rig.cluster, name)
        rebooted: list[str] = []

        async def perform(step: Step, *, undo: bool, resume: bool) -> StepResult:
            result = await SimulatedWorld.perform(rig.world, step, undo=undo, resume=resume)
            if isinstance(step.operation, Reboot) and not undo:
                rebooted.append(step.host)
                rig.cluster.power_off(step.host)  # its disk has died
            return result

        rig.world.perform = perform  # type: ignore[method-assign]
        for _ in range(10):
            if rig.stage.waiting_plan:
                try:
                    await approve(rig)
                except Refused as refusal:
                    assert str(refusal)
            elif rig.stage.position.endswith("escalated") and rig.stage.machine.record.incident:
                await rig.stage.give(Acknowledged(rig.stage.machine.record.incident.id, "alice", now()))
            await rig.stage.wait(120)
        assert len(rebooted) == 1, rebooted
        told = [n.entry.detail for n in rig.told if n.entry.event == "plan-failed"]
        assert any(f"{rebooted[0]} to come back" in why for why in told), told
        await rig.stage.kill()

    run(story())


def test_what_was_not_begun_commits_to_nothing() -> None:
    """The flag's write finds no SSH connection: it is as if that step had never come, and what was
    taken away before it is put back.
    """

    async def story() -> None:
        rig = await stuck_join()
        real = rig.world.perform

        async def perform(step: Step, *, undo: bool, resume: bool) -> StepResult:
            if isinstance(step.operation, WriteFile) and FORCE in step.operation.content and not undo:
                return StepResult(
                    False, "not begun: no SSH connection within 20 s. Nothing was changed", untouched=True
                )
            return await real(step, undo=undo, resume=resume)

        rig.world.perform = perform  # type: ignore[method-assign]
        plan = rig.stage.waiting_plan
        assert plan is not None and any(s.undo and not s.commits for s in plan.steps)
        await approve(rig)
        assert await rig.stage.until(lambda: rig.plans()[plan.id].status is PlanStatus.FAILED, 120)
        reason = rig.plans()[plan.id].reason
        assert "point of no return" not in reason and "what it had moved was moved back" in reason, reason
        assert path_of("etcd") in rig.cluster.machines["cp2"].files
        await rig.stage.kill()

    run(story())


def test_another_plan_is_asked_for_while_maintenance_is_just_ending() -> None:
    async def story() -> None:
        rig = Rig(1, 1)
        await rig.stage.wait(30)
        await rig.stage.keep_point()
        FAULTS["expire-soon"](rig.cluster, "cp1", "10")
        await offered(rig, "renew-certificates")
        rig.world.fail_at = 1
        await approve(rig)
        assert await rig.stage.until(lambda: rig.stage.position == "maintenance/escalated", 60)
        with pytest.raises(Refused, match="is just ending; ask again"):
            await rig.stage.give(
                PlanRequested("restore-etcd-snapshot", (), "alice", "", now(), rig.stage.machine.memory.points[-1].id)
            )
        rig.world.fail_at = None
        assert await rig.stage.until(lambda: rig.stage.position == "healthy", 60)
        await rig.stage.give(
            PlanRequested("restore-etcd-snapshot", (), "alice", "", now(), rig.stage.machine.memory.points[-1].id)
        )
        await rig.stage.kill()

    run(story())


def test_a_large_database_is_given_its_time() -> None:
    """A snapshot of 8 GiB takes longer than the bound of a step: cut short, it would leave every API
    server and every etcd stopped.
    """

    async def story() -> None:
        rig = Rig(3, 1)
        await rig.stage.wait(30)
        await rig.stage.keep_point()
        machine = rig.stage.machine
        points = tuple(replace(p, size=8 << 30) for p in machine.memory.points)
        machine.state = replace(machine.state, memory=replace(machine.memory, points=points))
        faults.delete_data(rig.cluster, "cp1", "cp2", "cp3")
        await offered(rig, "restore-etcd-snapshot")
        plan = rig.stage.waiting_plan
        assert plan is not None
        sized = [s for s in plan.steps if s.size]
        assert len(sized) == 6 and all(s.timeout >= s.size / (8 << 20) for s in sized)
        assert plan.deadline > sum(s.timeout for s in sized)
        assert all(s.timeout <= machine.settings.bounds.step_deadline for s in plan.steps if not s.size)
        await rig.stage.kill()

    run(story())


def test_what_a_waiting_plan_destroys_is_told_as_it_is_now() -> None:
    """A restore is asked for on a cluster that people write to: what would be lost grows while the plan waits."""

    async def story() -> None:
        rig = Rig(1, 1)
        await rig.until("healthy", 30)
        await rig.stage.keep_point()
        await rig.stage.wait(60)
        await rig.stage.give(
            PlanRequested(
                "restore-etcd-snapshot", (), "alice", "wrong data", now(), rig.stage.machine.memory.points[-1].id
            )
        )
        first = rig.stage.waiting_plan
        assert first is not None
        await rig.stage.wait(600)
        later = rig.stage.waiting_plan
        assert later is not None and later.id == first.id and later.destroys != first.destroys
        assert rig.plans()[first.id].destroys == later.destroys, "it is what `recoverctl plans` shows"
        before = later.destroys
        await rig.stage.wait(55)
        await approve(rig)
        assert rig.plans()[first.id].destroys != before or rig.stage.machine.record.told_at is not None
        await rig.stage.kill()

    run(story())


def test_what_two_persons_approve_stays_as_the_first_has_read_it() -> None:
    async def story() -> None:
        rig = Rig(1, 1)
        rig.stage.machine.settings = replace(rig.settings, persons=PersonsNeeded(2))
        await rig.until("healthy", 30)
        await rig.stage.keep_point()
        await rig.stage.wait(60)
        point = rig.stage.machine.memory.points[-1].id
        await rig.stage.give(PlanRequested("restore-etcd-snapshot", (), "alice", "wrong data", now(), point))
        await rig.stage.wait(300)
        read = rig.stage.waiting_plan
        assert read is not None
        await rig.stage.give(Approved(read.id, "alice", "", now(), read.digest, person=1001))
        first = rig.stage.waiting_plan
        assert first is not None and first.first is not None
        await rig.stage.wait(600)
        later = rig.stage.waiting_plan
        assert later == first, "what is lost grows, and is not told anew"
        await rig.stage.give(Approved(read.id, "bob", "", now(), first.digest, person=1002))
        assert rig.stage.waiting_plan is None and rig.stage.machine.record.run is not None
        await rig.stage.kill()

    run(story())


def test_a_destructive_plan_tells_that_a_simpler_one_was_refused_before_it() -> None:
    """restore-manifest has failed; what is offered next loses data, and must not look like the only way."""

    async def story() -> None:
        rig = Rig(3, 1)
        await rig.stage.wait(30)
        faults.power_off(rig.cluster, "cp3")
        faults.delete_manifest(rig.cluster, "cp2", "etcd")
        rig.world.fail_next = 1
        await rig.stage.wait(400)
        plan = rig.stage.waiting_plan
        if plan is not None and plan.destructive:
            assert any("tried or refused before" in line and "restore-manifest" in line for line in plan.evidence), (
                plan.evidence
            )
            assert "restore-manifest" in rig.stage.machine.record.explanation
        else:
            assert "restore-manifest" in rig.stage.machine.record.explanation
        assert seconds() > 0
        await rig.stage.kill()

    run(story())


def test_a_cancelled_event_that_was_journalled_has_happened() -> None:
    """A client goes away while its approval is being written: what the journal has is carried out, and what
    it has not is as if never asked.
    """

    async def story(committed: bool) -> None:
        from recoverd.engine.writer import CommittedFirst

        rig = Rig(3, 1)
        await rig.stage.wait(30)
        faults.power_off(rig.cluster, "cp3")
        await offered(rig, "remove-member")
        plan = rig.stage.waiting_plan
        assert plan is not None
        write = rig.ledger.write

        async def cancelled(instructions: object) -> None:
            if committed:
                await write(instructions)  # type: ignore[arg-type]
                raise CommittedFirst
            raise asyncio.CancelledError

        rig.ledger.write = cancelled  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await rig.stage.loop.handle(Approved(plan.id, "alice", "", now()))
        rig.ledger.write = write  # type: ignore[method-assign]
        assert (rig.stage.machine.record.run is not None) is committed
        if committed:
            await rig.until("healthy", 120)
        else:
            assert rig.stage.waiting_plan == plan and rig.world.count == 0
        await rig.stage.kill()

    run(story(True))
    run(story(False))
