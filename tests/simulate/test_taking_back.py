"""The daemon is killed before and after each write of the taking back of a join: it goes on with what it finds,
and writes nothing a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from recoverd.engine.journal_file import JournalError
from recoverd.model.etcd import FORCE
from recoverd.model.events import JoinRequested, Journalled, Note
from recoverd.model.joining import JoinRequest
from recoverd.model.plan import PlanStatus
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run
from tests.simulate.people import pass_time, people_help
from tests.simulate.rig import Rig

PUT_IN, TAKE_OUT = f"put {FORCE} into the manifest of etcd on cp1", f"take {FORCE} out of the manifest of etcd on cp1"
BY_FORCE = ("end etcd on cp2", PUT_IN, TAKE_OUT, "clean cp2")
BY_REMOVAL = ("end etcd on cp3", "remove member", "clean cp3")
WRITES = [(planes, number) for planes, writes in ((1, BY_FORCE), (2, BY_REMOVAL)) for number in range(len(writes))]
KILLS = [(planes, number, when) for planes, number in WRITES for when in ("before", "after")]


async def begun(planes: int) -> tuple[Rig, str]:
    """A join that cannot work, and the name of its machine."""
    rig, new = Rig(planes, 1, spares=1), f"cp{planes + 1}"
    await rig.stage.wait(12)
    request = JoinRequest(new, rig.cluster.machines[new].address, take_back_single=planes == 1)
    rig.stage.machine.joinable()
    facts = await rig.stage.loop.survey(request, *rig.stage.machine.join_through())
    await rig.stage.give(JoinRequested(request, facts, "alice", "", now()))
    faults.block_peer_port(rig.cluster, new)
    return rig, new


def told(rig: Rig, event: str) -> list[str]:
    return [e.entry.detail for e in rig.ledger.entries if isinstance(e, Note) and e.entry.event == event]


@pytest.mark.parametrize(("planes", "number", "when"), KILLS, ids=[f"{p}cp-{n + 1}-{w}" for p, n, w in KILLS])
def test_killed_at_a_write_it_goes_on_with_what_it_finds(planes: int, number: int, when: str) -> None:
    async def story() -> None:
        rig, new = await begun(planes)
        setattr(rig.world, f"kill_{when}_write", number)
        reviver = asyncio.create_task(rig.restart_when_dead())
        assert await rig.stage.until(reviver.done, 240), "the write at which it was to be killed was never made"
        await rig.until("healthy", 300)
        await rig.stage.wait(60)
        (plan,) = rig.plans().values()
        assert plan.status is PlanStatus.FAILED and "not taken back" not in plan.reason, plan.reason
        (store,) = {p.store.members for p in rig.cluster.etcd.leaders()}
        assert [m.name for m in store] == [f"cp{i + 1}" for i in range(planes)]
        (leader,) = rig.cluster.etcd.leaders()
        assert leader.store.history.count("forced") == (1 if planes == 1 else 0), "the flag was acted upon twice"
        assert not any(FORCE in text for m in rig.cluster.machines.values() for text in m.manifests().values())
        machine = rig.cluster.machines[new]
        assert not machine.data and not [p for p in machine.files if p.startswith("/etc/kubernetes/")]
        # what was made is not made again; of one that was not, the journal has both intents
        intents = told(rig, "write-begun")
        written = (BY_FORCE, BY_REMOVAL)[planes - 1][number]
        again = when == "before" or written.startswith("end etcd")
        assert sum(i.startswith(written) for i in intents) == (2 if again else 1), intents
        assert sorted(rig.world.written) == sorted(intents), "a write that the journal had not"
        rig.check_history()
        await rig.stage.kill()

    run(story())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("planes", "number"), WRITES)
def test_started_again_late_no_flag_stays_and_nothing_is_forced_twice(planes: int, number: int, when: str) -> None:
    """Twenty minutes later the cluster may be well, and nothing be taken back any more;
    a person is told what is left.
    """

    async def story() -> None:
        rig, _ = await begun(planes)
        setattr(rig.world, f"kill_{when}_write", number)
        assert await rig.stage.until(rig.world.dead.is_set, 240)
        await rig.stage.kill()
        await pass_time(rig.cluster, 1200.0)
        setattr(rig.world, f"kill_{when}_write", None)
        rig.stage.start()
        await rig.stage.wait(300)
        await people_help(rig)
        assert not any(FORCE in text for m in rig.cluster.machines.values() for text in m.manifests().values())
        (leader,) = rig.cluster.etcd.leaders()
        assert leader.store.history.count("forced") == (1 if planes == 1 else 0)
        rig.check_history()
        await rig.stage.kill()

    run(story())


@pytest.mark.parametrize("full", BY_FORCE)
def test_a_write_that_cannot_be_journalled_is_not_made_but_for_the_way_out_of_the_flag(full: str) -> None:
    """The disk is full for an instant: what was to be written is left, and told. A flag that stayed would be worse
    than one write without a line.
    """

    async def story() -> None:
        rig, _ = await begun(1)
        write = rig.ledger.write

        async def refusing(instructions: Sequence[Journalled]) -> None:
            if any(
                isinstance(i, Note) and (i.entry.event, i.entry.detail) == ("write-begun", full) for i in instructions
            ):
                raise JournalError("database or disk is full")
            await write(instructions)

        rig.ledger.write = refusing  # type: ignore[method-assign]
        assert await rig.stage.until(
            lambda: bool(rig.plans()) and not any(p.status.open for p in rig.plans().values()), 400
        )
        (plan,) = rig.plans().values()
        assert plan.status is PlanStatus.FAILED
        assert (full in rig.world.written) is (full == TAKE_OUT) is ("could not be journalled" not in plan.reason), (
            plan.reason
        )
        assert not any(FORCE in text for m in rig.cluster.machines.values() for text in m.manifests().values())
        await rig.stage.kill()

    run(story())
