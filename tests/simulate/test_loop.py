"""The loop around the machine: what must not pass unseen."""

from __future__ import annotations

import asyncio

import pytest

from recoverd.events import Event, StepEnded
from recoverd.machine.clock import Reading
from recoverd.simulate import faults
from recoverd.simulate.clock import run
from tests.simulate.rig import Rig


def test_a_defect_where_a_result_is_taken_in_ends_the_daemon_and_a_restart_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """The plan would otherwise stay in `remediating` for ever, with nobody told."""
    run(_defect())


async def _defect() -> None:
    rig = Rig(1, 1)
    await rig.stage.wait(12)
    handle = rig.stage.machine.handle

    def broken(event: Event, *reading: Reading | None) -> object:
        if isinstance(event, StepEnded):
            raise ZeroDivisionError("a defect")
        return handle(event, *reading)

    rig.stage.machine.handle = broken  # type: ignore[method-assign,assignment]
    faults.delete_manifest(rig.cluster, "cp1", "kube-apiserver")
    with pytest.raises(ZeroDivisionError):
        await rig.stage.until(lambda: False, 60)
    await rig.stage.kill()
    rig.stage.start()
    await rig.until("healthy", 120)
    await asyncio.sleep(0)
