"""The control plane is put back to an older snapshot while recoverd sees little of it: it is found all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView
from recoverd.model.memory import Memory, Watermark
from recoverd.model.observation import Observation, Unseen, UnseenKind
from recoverd.simulate import faults
from recoverd.simulate.clock import run
from recoverd.simulate.stage import Stage
from tests.simulate.rig import Rig


def keys_late(seen: Observation) -> Observation:
    """etcd tells its status in time, and what it holds is not read: its answer to that had its share of the sweep."""
    views = {
        n: replace(v, uid=None, nodes=None, pods=None) if isinstance(v, EtcdView) else v for n, v in seen.etcd.items()
    }
    return replace(seen, etcd=views)


def lists_late(seen: Observation) -> Observation:
    """Nodes and pods are not listed in time, and the pod network is not looked at without them."""
    late = Unseen(UnseenKind.TIMEOUT, "no answer within 4 s")
    return replace(seen, api=replace(seen.api, objects=late), network=Unseen(UnseenKind.NOT_TRIED, "no list of nodes"))


def watermark(stage: Stage) -> Watermark:
    memory = stage.ledger.memory()
    assert memory is not None and memory.watermark is not None
    return memory.watermark


@pytest.mark.parametrize("keys", [0, 3], ids=["keys read", "keys late in the first sweeps after it"])
@pytest.mark.parametrize("lists", [True, False], ids=["lists late before it", "lists in time"])
def test_data_that_went_back_is_found_by_its_revision_on_a_busy_machine(*, keys: int, lists: bool) -> None:
    async def story() -> None:
        rig = Rig(1, 2)
        stage, observe = rig.stage, rig.world.observe
        restored, late = False, keys

        async def busy(sequence: int, memory: Memory) -> Observation:
            nonlocal late
            seen = await observe(sequence, memory)
            if not restored:
                return lists_late(seen) if lists and rig.cluster.saved else seen
            if not any(isinstance(v, EtcdView) for v in seen.etcd.values()):
                return seen
            late -= 1
            return keys_late(seen) if late >= 0 else seen

        rig.world.observe = busy  # type: ignore[method-assign]
        await stage.wait(30)
        faults.take_snapshot(rig.cluster)
        await stage.wait(10)
        faults.roll_deployment(rig.cluster)
        await stage.wait(60)
        restored = True
        faults.restore_snapshot(rig.cluster, "cp1")
        assert await stage.until(lambda: bool(rig.plans()), 60), stage.position
        [plan] = rig.plans().values()
        assert plan.playbook == "restart-node-agents"
        assert Code.ETCD_REVISION_WENT_BACK in {code for code, _ in plan.basis}, plan.basis
        await rig.until("healthy", 240)
        await stage.kill()

    run(story())


def test_data_that_went_back_while_etcd_was_not_seen_is_found_by_its_log() -> None:
    """Beyond the watermark again when it is seen, the revision says nothing: the restored log has begun anew."""

    async def story() -> None:
        rig = Rig(1, 2)
        stage, observe = rig.stage, rig.world.observe
        late = False

        async def busy(sequence: int, memory: Memory) -> Observation:
            seen = await observe(sequence, memory)
            away = Unseen(UnseenKind.TIMEOUT, "etcd did not answer within 3 s")
            return replace(seen, etcd=dict.fromkeys(seen.etcd, away)) if late else seen

        rig.world.observe = busy  # type: ignore[method-assign]
        await stage.wait(30)
        late = True
        await stage.wait(20)
        faults.take_snapshot(rig.cluster)
        await stage.wait(60)
        faults.restore_snapshot(rig.cluster, "cp1")
        await stage.wait(20)
        mark = watermark(stage)
        assert rig.cluster.etcd.leaders()[0].store.revision > mark.revision
        late = False
        assert await stage.until(lambda: bool(rig.plans()), 60), stage.position
        [plan] = rig.plans().values()
        assert plan.playbook == "restart-node-agents"
        assert Code.ETCD_REVISION_WENT_BACK in {code for code, _ in plan.basis}, plan.basis
        await rig.until("healthy", 240)
        assert await stage.until(lambda: watermark(stage).index < 1000, 60), watermark(stage)
        await stage.kill()

    run(story())
