"""The daemon is killed before and after every step of every playbook, and started again: the
cluster is recovered exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from recoverd.engine.journal import Journal
from recoverd.model.etcd import FORCE
from recoverd.model.events import Approved
from recoverd.model.plan import PlanStatus
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.stage import Ledger
from tests.simulate.rig import Rig


@dataclass(frozen=True)
class Case:
    playbook: str
    steps: int
    fault: Callable[[ModelCluster], None]
    control_planes: int = 1
    spares: int = 0
    voters: int = 1
    thinks: float = 0.0
    """Seconds that the operator takes to approve."""
    killed_at: int | None = None
    """Only the first so many steps, where the others are those of another case."""
    every: int = 1
    """Of many steps that are alike on several hosts, every so many."""
    begins: float = 120.0
    """Seconds within which the step is begun, of a fault that is none before it has lasted."""


def lost(c: ModelCluster) -> None:
    faults.delete_data(c, *(n for n, m in c.machines.items() if m.control_plane))


def lost_with_bump(c: ModelCluster) -> None:
    faults.newer_etcdctl(c)
    lost(c)


def stuck(c: ModelCluster) -> None:
    faults.block_peer_port(c, "cp2")
    faults.join(c, "cp2")


def stuck_without_room(c: ModelCluster) -> None:
    FAULTS["crowd-disk"](c, "cp1")
    stuck(c)


FAULTS = faults.by_name()
CASES = (
    Case("force-new-cluster", 12, stuck, spares=1),
    Case("force-new-cluster", 10, lambda c: faults.power_off(c, "cp2", "cp3"), control_planes=3),
    # a snapshot is fetched
    Case("force-new-cluster", 10, stuck_without_room, spares=1, killed_at=2),
    # by then etcd has been restarted and answers nothing
    Case("force-new-cluster", 12, stuck, spares=1, thinks=110.0, killed_at=4),
    Case("remove-member", 3, lambda c: faults.power_off(c, "cp3"), control_planes=3, voters=2),
    Case("promote-member", 4, lambda c: faults.join_unpromoted(c, "cp3"), control_planes=2, spares=1, voters=3),
    Case("restore-manifest", 3, lambda c: faults.delete_manifest(c, "cp1", "kube-apiserver")),
    Case("restore-manifest", 3, lambda c: faults.delete_manifest(c, "cp2", "etcd"), control_planes=3, voters=3),
    Case("restore-etcd-snapshot", 26, lost),
    Case("restore-etcd-snapshot", 45, lost_with_bump, control_planes=3, voters=3, every=3),
    Case("rebuild-member", 11, lambda c: faults.corrupt_data(c, "cp2"), control_planes=3, voters=3),
    Case("start-node-services", 1, lambda c: faults.stop(c, "cp1", "kubelet")),
    Case("restore-node-files", 2, lambda c: FAULTS["lose-api-name"](c, "w1")),
    Case("restore-node-files", 2, lambda c: FAULTS["delete-cni-config"](c, "w1")),
    Case("relax-webhook", 3, lambda c: FAULTS["fail-webhook"](c)),
    Case("restart-controller", 2, lambda c: FAULTS["outlive-certificate"](c, "cp1")),
    Case("restart-controller", 2, lambda c: FAULTS["idle-scheduler"](c, "cp1"), begins=400.0),
    Case("restart-node-agents", 3, lambda c: FAULTS["hang-unit"](c, "w1", "containerd")),
)
ASKS = (
    "force-new-cluster",
    "promote-member",
    "relax-webhook",
    "remove-member",
    "rebuild-member",
    "restore-etcd-snapshot",
)
KILLS = [
    (case, step, when)
    for case in CASES
    for step in range(0, case.killed_at or case.steps, case.every)
    for when in ("before", "after")
]


@pytest.mark.parametrize(
    ("case", "step", "when"),
    KILLS,
    ids=[f"{c.playbook}-{c.control_planes}cp-{c.steps}-{w}-{s + 1}" for c, s, w in KILLS],
)
def test_killed_at_a_step_the_cluster_is_recovered_exactly_once(case: Case, step: int, when: str) -> None:
    run(_killed(case, step, when))


async def _killed(case: Case, step: int, when: str, away: float = 0.0) -> None:
    rig = Rig(case.control_planes, 1, case.spares, member_down_after=20.0, force_after=20.0)
    setattr(rig.world, f"kill_{when}", step)
    await rig.stage.wait(12)
    await rig.stage.keep_point()
    revision = rig.cluster.etcd.leaders()[0].store.revision
    case.fault(rig.cluster)
    reviver = asyncio.create_task(rig.restart_when_dead(away))
    if case.playbook in ASKS:
        assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 180)
        await rig.stage.wait(case.thinks)
        await rig.stage.give(Approved(rig.stage.waiting_plan.id, "alice", "", now()))  # type: ignore[union-attr]
    assert await rig.stage.until(lambda: reviver.done(), case.begins), (
        "the step at which it was to be killed was never begun"
    )
    await rig.until("healthy", 300)
    await rig.stage.wait(30)

    (plan,) = (p for p in rig.plans().values() if p.status is not PlanStatus.SUPERSEDED)
    assert (plan.playbook, plan.status, len(plan.steps)) == (case.playbook, PlanStatus.SUCCEEDED, case.steps)
    assert rig.stage.position == "healthy" and rig.events().count("opened") == 1 and rig.events().count("closed") == 1
    (leader,) = rig.cluster.etcd.leaders()
    assert len(leader.store.voters) == case.voters and leader.store.revision >= revision
    assert leader.store.history.count("forced") <= 1, "the flag was acted upon twice"
    assert not any(FORCE in text for m in rig.cluster.machines.values() for text in m.manifests().values())
    assert all(pod.started_at == rig.pods[uid] for m in rig.cluster.machines.values() for uid, pod in m.pods.items())
    rig.check_history()
    await rig.stage.kill()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(5))
def test_one_that_is_back_within_a_minute_goes_on_with_an_etcd_that_it_has_stopped_itself(step: int, when: str) -> None:
    """What that etcd said is the only word of the fault, and it cannot say it again."""
    run(_killed(CASES[1], step, when, away=45.0))


def test_one_that_is_back_after_the_probe_has_ended_etcd_knows_what_it_said() -> None:
    """An etcd that was restarted without quorum answers nothing, so that nobody else could say what is wrong."""

    async def story() -> None:
        rig = Rig(1, 1, 1)
        await rig.stage.wait(12)
        stuck(rig.cluster)
        assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 60)
        await rig.stage.kill()
        await rig.stage.wait(600)
        rig.stage.start()
        await rig.stage.wait(60)
        assert rig.stage.machine.state.sweep and "as it said at 2026-03-05 19:10" in str(
            rig.stage.machine.state.sweep.diagnosis
        )
        plan = rig.stage.waiting_plan
        assert plan is not None and plan.playbook == "force-new-cluster"
        await rig.stage.give(Approved(plan.id, "alice", "", now()))
        await rig.until("healthy", 300)
        await rig.stage.kill()

    run(story())


@pytest.mark.parametrize("step", [2, 3])
def test_one_that_is_back_after_ten_minutes_takes_back_what_rests_on_what_etcd_said_and_asks_anew(step: int) -> None:
    """A person may have been at the data meanwhile."""

    async def story() -> None:
        rig = Rig(1, 1, 1)
        rig.world.kill_before = step
        await rig.stage.wait(12)
        stuck(rig.cluster)
        reviver = asyncio.create_task(rig.restart_when_dead(600.0))
        assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 60)
        await rig.stage.give(Approved("prod-1.1", "alice", "", now()))
        assert await rig.stage.until(reviver.done, 800)
        assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 180)
        assert rig.plans()["prod-1.1"].status is PlanStatus.SUPERSEDED
        assert "etcd" in rig.cluster.machines["cp1"].manifests()
        assert rig.stage.waiting_plan
        await rig.stage.give(Approved(rig.stage.waiting_plan.id, "alice", "", now()))
        await rig.until("healthy", 300)
        await rig.stage.kill()

    run(story())


def test_a_real_journal_carries_a_repair_over_a_kill(tmp_path: Path) -> None:
    """The same with SQLite between the two lives of the daemon, which is closed and opened again."""

    async def story() -> None:
        rig = Rig(1, 1, 1)
        journal = Journal(tmp_path / "journal.sqlite3")
        rig.ledger._journal = journal
        rig.world.kill_after = 4
        await rig.stage.wait(12)
        stuck(rig.cluster)
        assert await rig.stage.until(lambda: rig.stage.waiting_plan is not None, 60)
        await rig.stage.give(Approved(rig.stage.waiting_plan.id, "alice", "", now()))  # type: ignore[union-attr]
        assert await rig.stage.until(rig.world.dead.is_set, 60)
        await rig.stage.kill()
        journal.close()
        journal = Journal(tmp_path / "journal.sqlite3")
        entries = rig.ledger.entries
        rig.stage.ledger = rig.ledger = Ledger.reopened(journal, "prod")
        rig.ledger.entries = entries
        rig.world.kill_after = None
        rig.stage.start()
        await rig.until("healthy", 120)
        steps = journal.steps("prod-1.1")
        assert [s.index for s in steps] == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11]
        assert [s.result is None for s in steps] == [i == 4 for i in range(13)]
        await rig.stage.kill()
        journal.close()

    run(story())
