"""The net is not torn: each kind of wrong act, done on purpose on the model, is caught by the rule that it breaks;
the right one beside it is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from recoverd.model.bastion_operations import RemoveMember
from recoverd.model.etcd import FORCE
from recoverd.model.events import SavePlan, StepIntent
from recoverd.model.node_operations import Reboot
from recoverd.model.operations import MovePath, Operation, WriteFile
from recoverd.model.plan import Plan, PlanStatus, Step
from recoverd.model.record import Run
from recoverd.model.unit_operations import RestartStaticPod, RestartUnit, Unit
from recoverd.simulate import clock, faults, node_faults
from recoverd.simulate.clock import now
from recoverd.simulate.texts import ETCD_DIR, path_of
from tests.soak.hands import BY_HAND
from tests.soak.moves import Story
from tests.soak.player import Player

Scene = Callable[[Player], Awaitable[None]]
MEMBER = f"{ETCD_DIR}/member"


def caught(scene: Scene, planes: int = 3, workers: int = 3) -> set[str]:
    """Which rules the scene breaks. Nothing is decided meanwhile: the daemon only watches."""

    async def main() -> set[str]:
        player = Player(Story(0, planes, workers, False, False, ()))
        await player._wait(20)
        await scene(player)
        await player.stage.kill()
        return {w.what for w in player.rules.wrong}

    return clock.run(main())


def running(playbook: str, step: Step, *, automatic: bool, id: str = "prod-1.1") -> Plan:
    at, nothing = now(), ()
    status = PlanStatus.RUNNING
    return Plan(
        id,
        "prod-1",
        "prod",
        playbook,
        "",
        False,
        automatic,
        status,
        at,
        at,
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
        (step,),
        60.0,
        900.0,
    )


def unguarded(
    player: Player,
    host: str,
    operation: Operation,
    done: Callable[[], object],
    *,
    playbook: str,
    automatic: bool = False,
) -> None:
    """What an operation would do whose script had no guard."""
    step = Step(host, "a step", operation, 60.0)
    before = player.rules.host(host)
    done()
    player.rules.check_effect(running(playbook, step, automatic=automatic), step, operation, before)


async def act(
    player: Player,
    host: str,
    operation: Operation,
    *,
    playbook: str = "restart-node-agents",
    automatic: bool = False,
    evidence: tuple[str, ...] = (),
) -> None:
    """recoverd carries one operation out on a host, as a step of a plan that runs."""
    step = Step(host, "a step", operation, 60.0)
    plan = Plan(
        "prod-1.1",
        "prod-1",
        "prod",
        playbook,
        "",
        False,
        automatic,
        PlanStatus.RUNNING,
        now(),
        now(),
        evidence,
        (),
        (),
        (),
        (),
        (step,),
        60.0,
        900.0,
    )
    machine = player.stage.machine
    machine.state = replace(machine.state, record=replace(machine.record, plan=plan, run=Run(now(), 0)))
    player.ledger.entries.append(StepIntent(plan.id, 0, False, now()))
    performing = asyncio.create_task(player.world.perform(step, undo=False, resume=False))
    for _ in range(4):
        await asyncio.sleep(0.5)
        player.cluster.advance(clock.seconds())
    performing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await performing
    machine.state = replace(machine.state, record=replace(machine.record, plan=None, run=None))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def passed(player: Player, duration: float) -> None:
    """Time passes on the model alone."""
    for _ in range(int(duration)):
        await asyncio.sleep(1)
        player.cluster.advance(clock.seconds())


async def data_under_etcd(player: Player) -> None:
    move, data = MovePath(MEMBER, f"{MEMBER}.prod-1"), player.cluster.machines["cp1"].data
    unguarded(
        player, "cp1", move, lambda: data.update({move.target: data.pop(move.source)}), playbook="restore-etcd-snapshot"
    )


async def quorum(player: Player) -> None:
    faults.power_off(player.cluster, "cp3")
    await passed(player, 20)
    await act(player, "cp1", RestartStaticPod("etcd", 60), playbook="renew-certificates")


async def quorum_kept(player: Player) -> None:
    await act(player, "cp1", RestartStaticPod("etcd", 60), playbook="renew-certificates")


async def second_node(player: Player) -> None:
    for node in ("w1", "w2"):
        node_faults.spoil_kubelet(player.cluster, node)
        await act(player, node, RestartUnit("kubelet"), automatic=True)


async def second_reboot(player: Player) -> None:
    for node in ("w1", "w2"):
        await act(player, node, Reboot(player.cluster.machines[node].boot_id), playbook="rolling-worker-reboot")


async def one_reboot_after_another(player: Player) -> None:
    for node in ("w1", "w2"):
        await act(player, node, Reboot(player.cluster.machines[node].boot_id), playbook="rolling-worker-reboot")
        await passed(player, 90)


async def over_nothing(player: Player) -> None:
    faults.stop(player.cluster, "cp1", "kubelet")
    faults.lose_data(player.cluster, "cp1")
    await passed(player, 30)
    start = lambda: player.cluster.restart_unit("cp1", "kubelet")  # noqa: E731
    unguarded(player, "cp1", Unit("start", "kubelet"), start, playbook="start-node-services", automatic=True)


async def over_data(player: Player) -> None:
    faults.stop(player.cluster, "cp1", "kubelet")
    await passed(player, 30)
    await act(player, "cp1", Unit("start", "kubelet"), playbook="start-node-services", automatic=True)


async def force(player: Player, name: str = "cp1") -> None:
    text = player.cluster.machines[name].files[path_of("etcd")]
    new = text.replace(f"    - --name={name}\n", f"    - --name={name}\n    - {FORCE}\n")
    assert new != text
    await act(player, name, WriteFile(path_of("etcd"), new, sha256(new), sha256(text)), playbook="force-new-cluster")


async def force_while_led(player: Player) -> None:
    faults.stop(player.cluster, "cp1", "kubelet")
    await force(player)


async def force_the_older(player: Player) -> None:
    faults.partition(player.cluster, "cp1")
    await passed(player, 30)
    faults.power_off(player.cluster, "cp3")
    await passed(player, 30)
    faults.heal(player.cluster)
    faults.partition(player.cluster, "cp1")
    await force(player)


async def force_the_last(player: Player) -> None:
    faults.power_off(player.cluster, "cp2", "cp3")
    await passed(player, 30)
    await force(player)


async def remove_living(player: Player) -> None:
    await act(player, "cp1", RemoveMember(player.cluster.etcd.processes["cp3"].id), playbook="remove-member")


async def remove_learner(player: Player, *evidence: str) -> None:
    etcd = player.cluster.etcd
    learner = etcd.processes["cp3"].id
    # as if it had joined as one
    rows = tuple(replace(m, learner=m.id == learner) for m in etcd.processes["cp1"].store.members)
    assert etcd.write("cp1", lambda store: replace(store, members=rows))
    await passed(player, 20)
    await act(player, "cp1", RemoveMember(learner), playbook="remove-member", evidence=evidence)


async def remove_serving_learner(player: Player) -> None:
    await remove_learner(player, "it is not given its vote instead: etcd on cp3 is not seen to serve")


async def remove_unwanted_learner(player: Player) -> None:
    await remove_learner(player, "it serves, is in sync and lacks its vote alone")


async def remove_dead(player: Player) -> None:
    gone = player.cluster.etcd.processes["cp3"].id
    faults.power_off(player.cluster, "cp3")
    await passed(player, 30)
    await act(player, "cp1", RemoveMember(gone), playbook="remove-member")


async def at_work(player: Player) -> None:
    task = asyncio.create_task(BY_HAND["hand-restore"](player.cluster, player.truth, "cp1", "20"))
    await passed(player, 15)
    await act(player, "cp1", Unit("start", "kubelet"), playbook="start-node-services", automatic=True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def paused(player: Player) -> None:
    await player._ask("pause", ())
    await passed(player, 5)
    await act(player, "w1", RestartUnit("kubelet"), automatic=True)


async def unseen(player: Player) -> None:
    player.world.raises_until = 1e9
    await passed(player, 10)
    player.stage.machine.state = replace(player.stage.machine.state, sweep=None)
    await act(player, "w1", RestartUnit("kubelet"), automatic=True)


async def old_sweep(player: Player) -> None:
    player.world.raises_until = 1e9
    await passed(player, 120)
    await on_the_newest_sweep(player)


async def old_sweep_and_an_earlier_hour(player: Player) -> None:
    """The clock is set back meanwhile, so that by the times noted the sweep is a new one."""
    player.world.raises_until = 1e9
    await passed(player, 120)
    player._jump("-110")
    await on_the_newest_sweep(player)


async def new_sweep_and_a_later_hour(player: Player) -> None:
    """The clock is set forward after the sweep, as if that was an old one."""
    player._jump("90")
    await on_the_newest_sweep(player)


async def paused_and_a_later_hour(player: Player) -> None:
    """What was sent before the pause ends after it, and the clock is set forward meanwhile."""
    began = clock.seconds()
    await player._ask("pause", ())
    player._jump("90")
    await on_the_newest_sweep(player, began)


async def on_the_newest_sweep(player: Player, began: float | None = None) -> None:
    """An act that was sent at `began`, or just now."""
    step, machine = Step("w1", "a step", RestartUnit("kubelet"), 60.0), player.stage.machine
    machine.state = replace(machine.state, record=replace(machine.record, run=Run(now(), 0)))
    plan = running("restart-node-agents", step, automatic=True)
    began = clock.seconds() if began is None else began
    player.rules.check_act(player.stage, plan, step, step.operation, undo=False, began=began)


async def undecided(player: Player) -> None:
    await act(
        player, "w1", Reboot(player.cluster.machines["w1"].boot_id), playbook="rolling-worker-reboot", automatic=True
    )


async def on_nothing(player: Player) -> None:
    await passed(player, 90)
    step = Step("w1", "a step", RestartUnit("kubelet"), 60.0)
    plan = running("restart-node-agents", step, automatic=True)
    await player.ledger.write([SavePlan(plan)])


async def too_often(player: Player) -> None:
    step = Step("w1", "a step", RestartUnit("kubelet"), 60.0)
    faults.stop(player.cluster, "w1")
    for n in range(4):
        await passed(player, 5)
        plan = Plan(
            f"p{n}",
            "i",
            "prod",
            "start-node-services",
            "",
            False,
            True,
            PlanStatus.RUNNING,
            now(),
            now(),
            (),
            (),
            (),
            (),
            (),
            (step,),
            60.0,
            900.0,
        )
        player.rules.plan_saved(plan, player.stage)


async def split_up(player: Player) -> None:
    """cp1 is forced, and cp2 and cp3 come back with what they hold."""
    faults.power_off(player.cluster, "cp2", "cp3")
    await passed(player, 10)
    await force(player)
    await passed(player, 30)
    faults.power_on(player.cluster, "cp2", "cp3")
    await passed(player, 90)
    player.rules.wrong.clear()


async def split(player: Player) -> None:
    await split_up(player)
    await act(player, "w1", RestartUnit("kubelet"), automatic=True)


async def remove_in_split(player: Player) -> None:
    await split_up(player)
    await act(player, "cp2", RemoveMember(player.cluster.etcd.processes["cp1"].id), playbook="remove-member")


CAUGHT: dict[str, tuple[Scene, str]] = {
    "etcd's data is moved from under a running etcd": (data_under_etcd, "data-moved-from-under-etcd"),
    "a voting member is restarted while another is dead": (quorum, "quorum-lost-by-act"),
    "a second kubelet is restarted though the first did not come up": (second_node, "second-node-down"),
    "a second worker is rebooted while the first is down": (second_reboot, "second-node-down"),
    "kubelet is started over an empty etcd directory": (over_nothing, "etcd-started-over-nothing"),
    "a cluster is forced while its others have quorum": (force_while_led, "forced-while-quorum-lives"),
    "a member is forced that lags behind one that can be seen": (force_the_older, "forced-not-the-newest"),
    "a member that lives is removed": (remove_living, "removed-a-living-member"),
    "a learner that lives is removed without a word of its vote": (remove_learner, "removed-a-living-learner"),
    "a learner that lives is removed as one that does not": (remove_serving_learner, "removed-a-living-learner"),
    "something is done unasked where a person restores by hand": (at_work, "under-a-persons-hands"),
    "something is done while paused": (paused, "while-paused"),
    "something is done before anything was seen": (unseen, "before-anything-was-seen"),
    "something is done on a sweep of two minutes ago": (old_sweep, "on-old-evidence"),
    "the same, and the clock was set back since": (old_sweep_and_an_earlier_hour, "on-old-evidence"),
    "a worker is rebooted without a decision": (undecided, "without-decision"),
    "agents are restarted though nothing is wrong": (on_nothing, "acted-on-nothing"),
    "a playbook runs unasked four times in an hour": (too_often, "bound-exceeded"),
    "agents are restarted in a split brain": (split, "unasked-in-a-split"),
    "a member is removed in a split brain": (remove_in_split, "removed-in-a-split"),
}
RIGHT: dict[str, Scene] = {
    "a member of three that are well is restarted": quorum_kept,
    "workers are rebooted one after another": one_reboot_after_another,
    "kubelet is started over data": over_data,
    "the last member is forced": force_the_last,
    "a dead member is removed": remove_dead,
    "a learner is removed that somebody does not want to vote": remove_unwanted_learner,
    "something is done on a new sweep, and the clock was set forward since": new_sweep_and_a_later_hour,
    "something ends in a pause that it was sent before, and the clock was set forward": paused_and_a_later_hour,
}


@pytest.mark.parametrize("kind", CAUGHT)
def test_a_wrong_act_is_caught(kind: str) -> None:
    scene, rule = CAUGHT[kind]
    assert rule in caught(scene), kind


@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_act_is_let_be(kind: str) -> None:
    wrong = caught(RIGHT[kind]) - {"without-decision"}  # nobody has approved it here
    assert not wrong, kind
