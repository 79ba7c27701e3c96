"""A plan that failed at some step is made again once that is acknowledged, and finds what the first one has
left: it is right all the same.

`make test` takes a sample of the steps; WHOLE_MATRIX=1 takes all of them.
"""

from __future__ import annotations

import pytest

from recoverd.model.events import Approved
from recoverd.model.plan import PlanStatus
from recoverd.simulate.clock import now, run
from tests.simulate.people import people_help
from tests.simulate.rig import Rig
from tests.simulate.test_crashes import lost
from tests.simulate.test_late_restarts import CASES, WHOLE, Case
from tests.simulate.test_restore import MEMBER

ASKED = [(case, step) for case in CASES if not case.unasked for step in range(case.steps + 1)]
RUNS = ASKED if WHOLE else [*ASKED[::9], *((c, s) for c, s in ASKED if (c.playbook, s) == ("rebuild-member", 8))]


@pytest.mark.parametrize(("case", "step"), RUNS, ids=[f"{c.playbook}-{c.control_planes}cp-{s + 1}" for c, s in RUNS])
def test_a_plan_that_failed_is_made_again_and_succeeds(case: Case, step: int) -> None:
    run(_retried(case, step))


async def _retried(case: Case, step: int) -> None:
    rig = Rig(case.control_planes, case.workers, case.spares, member_down_after=20.0, force_after=20.0)
    stage, cluster = rig.stage, rig.cluster
    await stage.wait(70)
    await stage.keep_point()
    good = cluster.etcd.leaders()[0].store
    case.fault(cluster)
    assert await stage.until(
        lambda: stage.waiting_plan is not None and stage.waiting_plan.playbook == case.playbook, 600
    ), stage.position
    first = stage.waiting_plan
    assert first is not None
    rig.world.fail_at = step
    await stage.give(Approved(first.id, "alice", "", now()))
    await stage.until(lambda: not rig.plans()[first.id].status.open, 900)
    if case.playbook == "rebuild-member" and MEMBER in cluster.machines["cp2"].data:
        case.fault(cluster)  # its disk is bad: what the plan has put there is so again at once
    if rig.plans()[first.id].status is not PlanStatus.FAILED:
        pytest.skip(f"step {step + 1} was not carried out: {rig.plans()[first.id].status}")
    rig.world.fail_at = None
    await people_help(rig)
    assert stage.position == "healthy", (
        stage.machine.record.explanation,
        [(p.id, p.playbook, p.status, p.reason) for p in rig.plans().values()],
    )
    again = [
        p
        for p in rig.plans().values()
        if p.id != first.id and (p.playbook, p.status) == (case.playbook, PlanStatus.FAILED)
    ]
    assert not again, [(p.playbook, p.reason) for p in again]
    (leader,) = cluster.etcd.leaders()
    assert case.fault is lost or leader.store.revision >= good.revision, "nothing is lost"
    await stage.kill()
