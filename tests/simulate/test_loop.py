"""The loop around the machine: what must not pass unseen."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from recoverd.daemon.service import Service
from recoverd.machine.clock import Reading
from recoverd.machine.machine import Taken
from recoverd.model.etcd import EtcdView
from recoverd.model.events import Event, Refused, StepEnded
from recoverd.model.fleet import Around
from recoverd.model.joining import JoinRequest
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation, Unseen, UnseenKind
from recoverd.simulate import faults
from recoverd.simulate.clock import run
from tests.simulate.rig import Rig


def test_a_defect_where_a_result_is_taken_in_ends_the_daemon_and_a_restart_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The plan would otherwise stay in `remediating` for ever, with nobody told."""
    run(_defect())


async def _defect() -> None:
    rig = Rig(1, 1)
    await rig.stage.wait(12)
    take = rig.stage.machine.take

    def broken(event: Event, reading: Reading | None = None, around: Around | None = None) -> Taken:
        if isinstance(event, StepEnded):
            raise ZeroDivisionError("a defect")
        return take(event, reading, around)

    rig.stage.machine.take = broken  # type: ignore[method-assign]
    faults.delete_manifest(rig.cluster, "cp1", "kube-apiserver")
    with pytest.raises(ZeroDivisionError):
        await rig.stage.until(lambda: False, 60)
    await rig.stage.kill()
    rig.stage.start()
    await rig.until("healthy", 120)
    await asyncio.sleep(0)


@pytest.mark.parametrize(("bad", "fit"), [(1, True), (2, True), (10, False)])
def test_a_join_is_refused_for_what_three_sweeps_on_end_show(bad: int, fit: bool) -> None:
    """Seen on a busy lab: etcd's /health was late in the sweep beside the asking of every
    machine, and a good join was refused.
    """

    async def story() -> None:
        rig = Rig(1, 1, spares=1)
        loop, machine, observe = rig.stage.loop, rig.stage.machine, rig.world.observe
        await rig.stage.wait(30)
        request = JoinRequest("cp2", rig.cluster.machines["cp2"].address, take_back_single=True)
        told = await loop.survey(request, *machine.join_through())
        left = bad

        async def late(sequence: int, memory: Memory) -> Observation:
            nonlocal left
            seen, left = await observe(sequence, memory), left - 1
            return (
                seen
                if left < 0
                else replace(
                    seen, etcd={n: replace(v, healthy=False) for n, v in seen.etcd.items() if isinstance(v, EtcdView)}
                )
            )

        rig.world.observe = late  # type: ignore[method-assign]
        assert await rig.stage.until(
            lambda: left < bad and (seen := machine.observation) and not seen.etcd["cp1"].healthy, 10
        )  # type: ignore[union-attr]
        checks = await Service(writer=None)._judged(loop, request, told)  # type: ignore[arg-type]
        assert all(c.ok for c in checks) is fit, [c for c in checks if not c.ok]
        assert left == (-1 if fit else bad - 3), "it asks for sweeps, and for no more than it needs"
        await rig.stage.kill()

    run(story())


@pytest.mark.parametrize(("torn", "fit"), [(1, True), (2, True), (10, False)])
def test_a_sweep_that_saw_no_etcd_refuses_no_join_by_itself(torn: int, fit: bool) -> None:
    """Seen on a busy lab: etcd did not answer in time in the sweep before `recoverctl
    join-control-plane`, which was refused for that.
    """

    async def story() -> None:
        rig = Rig(1, 1, spares=1)
        loop, machine, observe = rig.stage.loop, rig.stage.machine, rig.world.observe
        await rig.stage.wait(30)
        left = torn

        async def late(sequence: int, memory: Memory) -> Observation:
            nonlocal left
            seen, left = await observe(sequence, memory), left - 1
            return (
                seen
                if left < 0
                else replace(
                    seen, etcd={n: Unseen(UnseenKind.TIMEOUT, "it did not answer within 3 s") for n in seen.etcd}
                )
            )

        rig.world.observe = late  # type: ignore[method-assign]
        assert await rig.stage.until(
            lambda: left < torn and machine.diagnosis is not None and machine.diagnosis.partial, 10
        )
        if fit:
            await Service._joinable(loop)
        else:
            with pytest.raises(Refused, match="no etcd member was seen"):
                await Service._joinable(loop)
        await rig.stage.kill()

    run(story())
