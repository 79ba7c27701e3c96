"""The daemon is killed before and after every step of every playbook, and started again late, with people having
repaired things meanwhile or not.

`make test` takes a sample; WHOLE_MATRIX=1 takes all of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from recoverd.model.etcd import FORCE
from recoverd.model.events import Approved, Refused
from recoverd.model.settings import MAY_RUN_UNASKED
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run
from recoverd.simulate.cluster import ModelCluster
from tests.simulate.people import healthy_files, pass_time, people_help, set_right
from tests.simulate.rig import Rig
from tests.simulate.test_crashes import lost, stuck

FAULTS = faults.by_name()
WHOLE = bool(os.environ.get("WHOLE_MATRIX"))
EVERY = 29
"""Of all the runs, how many are in the sample: one in so many."""


@dataclass(frozen=True)
class Case:
    playbook: str
    fault: Callable[[ModelCluster], object]
    control_planes: int = 1
    spares: int = 0
    workers: int = 1
    steps: int = 12
    encrypted: bool = False
    """Its API servers encrypt secrets at rest."""

    @property
    def unasked(self) -> bool:
        return self.playbook in MAY_RUN_UNASKED


def addressless(c: ModelCluster) -> None:
    FAULTS["leak-addresses"](c, "w1")
    FAULTS["roll-deployment"](c)


def misled(c: ModelCluster) -> None:
    FAULTS["mislead-kube-proxy"](c, "w1", "w2")
    FAULTS["roll-deployment"](c)


def unsandboxed(c: ModelCluster) -> None:
    FAULTS["lose-resolv-conf"](c, "cp2")
    FAULTS["reboot"](c, "cp2")


CASES = (
    Case("force-new-cluster", stuck, spares=1, steps=12),
    Case("force-new-cluster", lambda c: faults.power_off(c, "cp2", "cp3"), control_planes=3, steps=10),
    Case("remove-member", lambda c: faults.power_off(c, "cp3"), control_planes=3, steps=3),
    Case("promote-member", lambda c: FAULTS["join-unpromoted"](c, "cp3"), control_planes=2, spares=1, steps=4),
    Case("restore-manifest", lambda c: faults.delete_manifest(c, "cp1", "kube-apiserver"), steps=3),
    Case("restore-etcd-snapshot", lost, steps=26),
    Case("rebuild-member", lambda c: faults.corrupt_data(c, "cp2"), control_planes=3, steps=11),
    Case("start-node-services", lambda c: faults.stop(c, "cp1", "kubelet"), steps=1),
    Case("restart-node-agents", lambda c: FAULTS["stop-kube-proxy"](c, "w1"), workers=2, steps=5),
    Case("free-pod-addresses", addressless, steps=1),
    Case("relax-webhook", lambda c: FAULTS["fail-webhook"](c), steps=3),
    Case("repoint-kube-proxy", misled, workers=2, steps=4),
    Case("restart-controller", lambda c: FAULTS["outlive-certificate"](c, "cp1"), steps=2),
    Case("restart-controller", lambda c: FAULTS["idle-scheduler"](c, "cp1"), steps=2),
    Case("restore-node-files", lambda c: FAULTS["lose-api-name"](c, "w1"), workers=2, steps=2),
    Case("restore-node-files", unsandboxed, control_planes=3, steps=1),
    Case("restore-pod-files", lambda c: FAULTS["lose-pod-file"](c, "cp1"), encrypted=True, steps=3),
    Case("restore-node-network", lambda c: FAULTS["forwarding-off"](c, "w1"), workers=2, steps=1),
    Case("rolling-worker-reboot", lambda c: FAULTS["wedge-tunnel"](c, "w1"), workers=3, steps=7),
    Case("renew-certificates", lambda c: FAULTS["expire-soon"](c, "cp1", "10"), steps=8),
    Case("free-etcd-space", faults.fill_etcd, control_planes=3, steps=19),
    Case("rebuild-control-plane", lambda c: FAULTS["kubeadm-reset"](c, "cp1"), steps=25),
    Case("rebuild-control-plane", lambda c: FAULTS["kubeadm-reset"](c, "cp3"), control_planes=3, steps=11),
    Case("renew-worker-certificate", lambda c: FAULTS["expire-client-certificate"](c, "w1"), workers=2, steps=4),
    Case("restore-pki", lambda c: FAULTS["remake-pki"](c, "cp1"), steps=8),
)
EVERYTHING = [
    (case, step, when, away, by_hand)
    for case in CASES
    for step in range(case.steps)
    for when in ("before", "after")
    for away, by_hand in ((1200.0, False), (3600.0, True))
]
RUNS = EVERYTHING if WHOLE else EVERYTHING[::EVERY]


@pytest.mark.parametrize(
    ("case", "step", "when", "away", "by_hand"),
    RUNS,
    ids=[f"{c.playbook}-{c.control_planes}cp-{w}-{s + 1}-{a:g}s{'-by-hand' if h else ''}" for c, s, w, a, h in RUNS],
)
def test_started_again_late_nothing_is_lost_and_nothing_is_gone_over(
    case: Case, step: int, when: str, away: float, by_hand: bool
) -> None:
    run(_late(case, step, when, away, by_hand))


async def _late(case: Case, step: int, when: str, away: float, by_hand: bool) -> None:
    rig = Rig(case.control_planes, case.workers, case.spares, member_down_after=20.0, force_after=20.0)
    stage, cluster = rig.stage, rig.cluster
    if case.encrypted:
        FAULTS["encrypt-secrets"](cluster, *cluster.machines)
    await stage.wait(150 if case.encrypted else 70)
    await stage.keep_point()
    good, files = cluster.etcd.leaders()[0].store, healthy_files(cluster)
    case.fault(cluster)
    if not await _killed_at(rig, case, step, when):
        pytest.skip("the plan has fewer steps of its own, or was not needed")
    await stage.kill()
    await pass_time(cluster, away / 2)
    if by_hand:
        # nothing that people leave: an etcd that has begun anew, or one that was forced beside members
        # that come back with the machines
        restore = case.fault is lost or any("forced" in p.store.history for p in cluster.etcd.leaders())
        set_right(cluster, good, files, restore=restore)
    await pass_time(cluster, away / 2)
    lineage = {(p.store.cluster_id, p.store.history) for p in cluster.etcd.leaders()}
    rig.world.done.clear()
    stage.start()
    await stage.wait(60)
    if by_hand:
        assert {(p.store.cluster_id, p.store.history) for p in cluster.etcd.leaders()} == lineage, (
            "etcd is as people have left it"
        )
    await people_help(rig)
    rig.check_history()
    if not by_hand and stage.position.endswith("/escalated"):
        # nobody looked for twenty minutes, and what is left may say nothing of the time before: then a person is told
        assert stage.machine.record.explanation
        await stage.kill()
        return
    assert stage.position == "healthy", stage.machine.record.explanation
    if by_hand:
        assert {(p.store.cluster_id, p.store.history) for p in cluster.etcd.leaders()} == lineage, (
            "etcd is as people have left it"
        )
    (leader,) = cluster.etcd.leaders()
    assert leader.store.revision >= good.revision, "nothing is lost"
    assert leader.store.history.count("forced") <= 1
    assert not any(FORCE in text for m in cluster.machines.values() for text in m.manifests().values())
    assert all(m.boots <= 2 for m in cluster.machines.values())
    await stage.kill()


async def _killed_at(rig: Rig, case: Case, step: int, when: str) -> bool:
    """Have the plan of the case begin, and end the daemon at that step."""
    stage = rig.stage
    ordered = lambda: setattr(rig.world, f"kill_{when}", rig.world.count + step)  # noqa: E731
    if case.unasked:
        ordered()
    elif await stage.until(
        lambda: stage.waiting_plan is not None and stage.waiting_plan.playbook == case.playbook, 600
    ):
        ordered()
        for _ in range(5):
            if stage.waiting_plan is None or rig.world.dead.is_set():
                break
            with suppress(Refused):
                await stage.give(Approved(stage.waiting_plan.id, "alice", "", now()))
            await stage.wait(10)
    dead = await stage.until(rig.world.dead.is_set, 400)
    rig.world.kill_before = rig.world.kill_after = None
    return dead
