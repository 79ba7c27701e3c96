"""Whatever goes wrong, in whatever order, with a daemon killed at any moment: nothing is made worse, and it
ends in a state that is explained.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from recoverd.model.etcd import FORCE
from recoverd.model.events import Acknowledged, Approved, Paused, Refused, Rejected, Resumed
from recoverd.simulate import faults
from recoverd.simulate.clock import now, run
from recoverd.simulate.cluster import ModelCluster
from tests.simulate.rig import Rig

FAULTS = faults.by_name()


@dataclass(frozen=True)
class Move:
    """One thing that happens, and how long it is then let be, in seconds."""

    what: str
    args: tuple[str, ...] = ()
    then: float = 0.0

    def __repr__(self) -> str:
        return " ".join((self.what, *self.args, f"[{self.then:g} s]"))


waits = st.sampled_from((0.0, 0.3, 1.2, 5.0, 12.0, 30.0, 75.0))


def moves(planes: tuple[str, ...], spare: str = "") -> st.SearchStrategy[list[Move]]:
    plane, component = st.sampled_from(planes), st.sampled_from(("etcd", "kube-apiserver"))
    several = st.lists(plane, min_size=1, max_size=2, unique=True).map(tuple)
    of_files = st.tuples(
        st.sampled_from(("delete-manifest", "truncate-manifest", "mistype-flag")), st.tuples(plane, component)
    )
    of_machines = st.tuples(
        st.sampled_from(("power-off", "power-on", "reboot", "hang", "unhang", "stop", "start")),
        plane.map(lambda n: (n,)),
    )
    of_networks = st.one_of(
        st.tuples(st.sampled_from(("block-peer-port", "partition", "hide")), several),
        st.tuples(st.sampled_from(("blind", "heal", "heal", "break-vip")), st.just(())),
    )
    people = st.tuples(
        st.sampled_from(("approve", "approve", "approve", "reject", "ack", "pause", "resume")), st.just(())
    )
    trouble = st.tuples(st.sampled_from(("crash", "crash", "fail-a-step")), st.just(()))
    kinds = [of_files, of_machines, of_networks, people, people, trouble]
    if spare:
        kinds.append(st.tuples(st.just("join"), st.just((spare,))))
    return st.lists(st.builds(_move, st.one_of(*kinds), waits), min_size=1, max_size=12)


def _move(what: tuple[str, tuple[str, ...]], then: float) -> Move:
    return Move(*what, then)


def others_live(rig: Rig) -> bool:
    """A person looks at the consoles, as the plan says, before members that cannot be
    reached are thrown out: do they live?
    """
    plan = rig.stage.waiting_plan
    if plan is None or plan.playbook != "force-new-cluster":
        return False
    return bool(set(rig.cluster.etcd.processes) - {step.host for step in plan.steps})


async def carry_out(rig: Rig, move: Move) -> None:
    stage, record = rig.stage, rig.stage.machine.record
    people: dict[str, Callable[[], object]] = {
        "approve": lambda: Approved(stage.waiting_plan.id if stage.waiting_plan else "", "alice", "", now()),
        "reject": lambda: Rejected(record.plan.id if record.plan else "", "alice", "no", now()),
        "ack": lambda: Acknowledged(record.incident.id if record.incident else "", "alice", now()),
        "pause": lambda: Paused("alice", "hands off", now()),
        "resume": lambda: Resumed("alice", now()),
    }
    if move.what == "approve" and others_live(rig):
        move = Move("reject", (), move.then)
    if move.what in people:
        try:
            await stage.give(people[move.what]())  # type: ignore[arg-type]
        except Refused as refusal:
            assert str(refusal)
    elif move.what == "crash":
        await stage.kill()
        stage.start()
    elif move.what == "fail-a-step":
        rig.world.fail_next = 1
    elif move.what == "join":
        if rig.cluster.etcd.leaders() and not rig.cluster.machines[move.args[0]].joined:
            FAULTS["join"](rig.cluster, *move.args)
    else:
        if move.what == "power-on" and rig.was_forced():
            return  # the plan says: keep them off
        FAULTS[move.what](rig.cluster, *move.args)
    await stage.wait(move.then)
    rig.check_model()


async def faults_end(rig: Rig) -> None:
    """Networks and machines come back; those that a forced cluster has thrown out stay off,
    as the plan tells the operator.
    """
    cluster = rig.cluster
    faults.heal(cluster)
    rig.world.fail_next = 0
    for name, machine in cluster.machines.items():
        machine.hung = False
        if not rig.was_forced():
            cluster.power_on(name)


async def people_help(rig: Rig) -> None:
    """Resume, and for 15 minutes approve what is offered and acknowledge what has failed, once a minute."""
    for _ in range(15):
        for what in ("resume", "approve", "ack"):
            await carry_out(rig, Move(what))
        if await rig.stage.until(lambda: rig.stage.position == "healthy", 60):
            await rig.stage.wait(10)
            if rig.stage.position == "healthy":
                return


async def story(rig: Rig, plot: list[Move]) -> None:
    highest = 0
    try:
        await rig.stage.wait(12)
        for move in plot:
            await carry_out(rig, move)
        highest = max((p.store.revision for p in rig.cluster.etcd.processes.values()), default=0)
        await faults_end(rig)
        await people_help(rig)
        await judge(rig)
    finally:
        note(f"highest running revision before people helped: {highest}")
        for n in rig.told:
            note(f"{n.entry.at:%H:%M:%S} {n.entry.event}: {n.entry.detail[:200]}")
        await rig.stage.kill()


async def judge(rig: Rig) -> None:
    rig.check_history()
    rig.check_model()
    place, explanation = rig.stage.position, rig.stage.machine.record.explanation
    assert place == "healthy" or explanation, f"{place} without a word"
    assert place == "healthy" or place.split("/")[-1] in ("escalated", "awaiting-approval", "confirmed"), (
        f"stuck in {place}: {explanation}"
    )
    if place == "healthy":
        assert rig.cluster.api.serving(), "called healthy, and no API server is ready"
        for machine in rig.cluster.machines.values():
            container = machine.container("etcd")
            assert container is None or FORCE not in container.content, (
                f"etcd on {machine.name} still runs with {FORCE}"
            )


HUNT = int(os.environ.get("HUNT", "0"))
"""Set to a number of examples, other ones at each run, to look for more than `make test` has time for."""
common = settings(
    max_examples=HUNT or 20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not HUNT,
    database=None,
    phases=(Phase.explicit, Phase.generate) if HUNT else tuple(Phase),
)


@common
@given(moves(("cp1",), "cp2"))
def test_one_control_plane_and_a_spare(plot: list[Move]) -> None:
    run(_with(lambda: Rig(1, 1, 1), plot))


@common
@given(moves(("cp1", "cp2", "cp3")))
def test_three_control_planes(plot: list[Move]) -> None:
    run(_with(lambda: Rig(3, 1), plot))


async def _with(rig: Callable[[], Rig], plot: list[Move]) -> None:
    await story(rig(), plot)


HARMLESS = {
    "reboots": [Move("reboot", (n,), 90.0) for n in ("cp1", "cp2", "cp3")],
    "blind": [Move("blind", (), 60.0), Move("heal", (), 20.0)] * 2,
    "hidden": [Move("hide", ("cp1", "cp2"), 120.0), Move("heal", (), 20.0)],
    "killed-often": [Move("crash", (), 7.0)] * 10,
}


@pytest.mark.parametrize("plot", HARMLESS.values(), ids=HARMLESS)
def test_nothing_is_done_to_a_cluster_that_needs_nothing(plot: list[Move]) -> None:
    async def quiet() -> None:
        rig = Rig(3, 1)
        await rig.stage.wait(12)
        for move in plot:
            await carry_out(rig, move)
        await rig.stage.wait(60)
        assert rig.world.count == 0 and not rig.plans()
        assert rig.stage.position == "healthy"
        await rig.stage.kill()

    run(quiet())


def test_the_rules_catch_a_destructive_step_without_approval() -> None:
    """The net is not torn: a machine that runs a destructive plan unasked is caught."""
    from recoverd.machine import deciding, running

    async def unasked() -> None:
        rig = Rig(1, 1, 1)
        await rig.stage.wait(12)

        def stuck(cluster: ModelCluster) -> None:
            faults.block_peer_port(cluster, "cp2")
            faults.join(cluster, "cp2")

        stuck(rig.cluster)
        await rig.stage.wait(60)
        await rig.stage.kill()
        rig.check_history()

    real = deciding.take
    deciding.take = lambda turn, playbook, proposal, declined: running.start(
        turn, deciding.make(turn, playbook, proposal), "unasked"
    )
    try:
        with pytest.raises(AssertionError, match="was not approved"):
            run(unasked())
    finally:
        deciding.take = real
