"""A stage that is watched: what was true of the model at each moment, what recoverd did,
and rules that must hold of both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from recoverd.machine.guards import rereads
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot
from recoverd.model.effects import moves_data
from recoverd.model.events import Note, SaveDecision, SavePlan, StepIntent
from recoverd.model.file_operations import KeepPodFiles
from recoverd.model.finding import State
from recoverd.model.join_operations import CheckJoin
from recoverd.model.memory import Memory
from recoverd.model.node_operations import (
    AwaitControllers,
    AwaitEndpoints,
    AwaitNodeReady,
    AwaitNodeUnready,
    AwaitReboot,
)
from recoverd.model.observation import EndpointHealth, Observation
from recoverd.model.pki_operations import KeepPki
from recoverd.model.plan import Plan, PlanStatus, Step, StepResult
from recoverd.model.point_operations import LookAtRestorePoints, TakeRestorePoint
from recoverd.model.record import Run
from recoverd.model.settings import Bounds
from recoverd.model.unit_operations import AwaitContainerGone, AwaitFlag, AwaitUnit, Unstick
from recoverd.model.webhook_operations import AwaitService
from recoverd.simulate.carry import Write
from recoverd.simulate.cluster import ModelCluster, settings_for
from recoverd.simulate.stage import Ledger, Stage
from recoverd.simulate.world import SimulatedWorld

LOOKING = (
    AwaitApi,
    AwaitContainerGone,
    AwaitControllers,
    AwaitEndpoints,
    AwaitEtcd,
    AwaitFlag,
    AwaitNodeReady,
    AwaitNodeUnready,
    AwaitReboot,
    AwaitService,
    AwaitUnit,
    CheckJoin,
    FetchSnapshot,
    Unstick,
)
"""Operations that change nothing, or only where nothing runs."""

ASIDE = (KeepPki, KeepPodFiles, LookAtRestorePoints, TakeRestorePoint)
"""What recoverd also does beside plans, and what changes nothing that the cluster runs on."""


def takes_back(plan: Plan, run: Run) -> bool:
    """The step in flight is word for word the undo of one that this plan has carried out and not taken back: what was
    changed only for a while, as a webhook's policy, is put back when it has helped, and then the cluster is healthy.
    """
    done = (plan.steps[i] for i in range(min(run.done + 1, run.index)) if i not in run.back)
    return any(step.undo is not None and step.undo == plan.steps[run.index].operation for step in done)


class Watched(SimulatedWorld):
    """The model's world, with every action held against the rules, and failures and kills to order."""

    def __init__(self, cluster: ModelCluster, rig: Rig) -> None:
        super().__init__(cluster, "prod")
        self._rig = rig
        self.acting = 0
        self.fail_next = 0
        """So many of the next steps fail without having done anything."""
        self.fail_at: int | None = None
        """The step of the running plan that fails without having done anything, counted from 0."""
        self.kill_before: int | None = None
        self.kill_after: int | None = None
        """The carrying out (counted from 0) at whose begin or end the daemon dies: intent journalled, result not."""
        self.count = 0
        self.kill_before_write: int | None = None
        self.kill_after_write: int | None = None
        """The same of a write of a step that makes several, counted from 0."""
        self.writes = 0
        self.written: list[str] = []
        self.dead = asyncio.Event()
        self.last: Observation | None = None
        self.done: list[tuple[str, str, Step]] = []
        """By playbook, in words and as data: every step, or undo of one, that was carried
        out and not found done already.
        """

    async def observe(self, sequence: int, memory: Memory) -> Observation:
        seen = self.last = await super().observe(sequence, memory)
        self._rig.check_model()
        return seen

    async def perform(self, step: Step, *, undo: bool, resume: bool) -> StepResult:
        if isinstance(step.operation, ASIDE) and not self._rig.of_plan(step):
            return await super().perform(step, undo=undo, resume=resume)
        number, self.count = self.count, self.count + 1
        self._rig.check_action(step, asked=resume and step.asks(undo=undo))
        self.acting += 1
        assert self.acting == 1, "two steps are carried out at once"
        try:
            if number == self.kill_before:
                await self._die()
            run = self._rig.stage.machine.record.run
            if run and not undo and run.index == self.fail_at:
                return StepResult(False, "no space left on device")
            if self.fail_next:
                self.fail_next -= 1
                return StepResult(False, "no space left on device")
            result = await super().perform(step, undo=undo, resume=resume)
            if not (result.undone or result.already_done or result.untouched):
                plan = self._rig.stage.machine.record.plan
                self.done.append(
                    (plan.playbook if plan else "", f"{'undo of ' if undo else ''}{step.description}", step)
                )
            if number == self.kill_after:
                await self._die()
            return result
        finally:
            self.acting -= 1

    async def write(self, due: Write) -> StepResult:
        number, self.writes = self.writes, self.writes + 1
        self.written.append(due.what)
        if number == self.kill_before_write:
            await self._die()
        result = await super().write(due)
        if number == self.kill_after_write:
            await self._die()
        return result

    async def _die(self) -> None:
        self.dead.set()
        await asyncio.Event().wait()


class Rig:
    """One model cluster, one daemon on it, and everything that was told."""

    def __init__(self, control_planes: int = 1, workers: int = 2, spares: int = 0, **bounds: float) -> None:
        self.settings = replace(settings_for(control_planes, workers, spares), bounds=replace(Bounds(), **bounds))  # type: ignore[arg-type]
        self.cluster = ModelCluster(self.settings, control_planes)
        self.ledger = Ledger()
        self.told: list[Note] = []
        self.world = Watched(self.cluster, self)
        self.stage = Stage(self.cluster, self.settings, ledger=self.ledger, world=self.world, told=self.hear)
        self.pods = {uid: pod.started_at for m in self.cluster.machines.values() for uid, pod in m.pods.items()}
        self.by_hand: set[str] = set()
        """Splits and losses that people, not recoverd, have made."""

    def hear(self, what: Note) -> None:
        self.told.append(what)
        plan = self.stage.waiting_plan
        if what.entry.event == "plan-made" and plan and plan.playbook == "force-new-cluster" and self.world.last:
            api = self.world.last.api
            ready = [e.address for e in (api.vip, *api.members.values()) if e.health is EndpointHealth.READY]
            assert not ready, f"force-new-cluster is offered while the API server is ready at {ready}"

    # --- rules ---

    def of_plan(self, step: Step) -> bool:
        """Whether it is the step that the running plan is at."""
        plan, run = self.stage.machine.record.plan, self.stage.machine.record.run
        return plan is not None and run is not None and plan.steps[run.index] == step

    def check_action(self, step: Step, *, asked: bool = False) -> None:
        """Something is about to be done to the cluster, or `asked` about: has it been done?"""
        machine = self.stage.machine
        plan = machine.record.plan
        assert plan is not None and plan.status is PlanStatus.RUNNING, "a step without a running plan"
        if plan.destructive:
            assert any(isinstance(e, SaveDecision) and e.approved and e.plan == plan.id for e in self.ledger.entries), (
                f"{plan.id} was not approved"
            )
        run = machine.record.run
        assert run is not None and any(
            isinstance(e, StepIntent) and (e.plan, e.index, e.undo) == (plan.id, run.index, run.undoing)
            for e in self.entries()
        )
        operation = step.undo if run.undoing else step.operation
        if operation is not None and moves_data(operation) and not asked:
            etcd = self.cluster.machines[step.host].container("etcd")
            assert etcd is None, f"etcd's data is moved from under a running etcd: {operation.command()}"
        changes = not asked and not isinstance(step.undo if run.undoing else step.operation, LOOKING)
        if changes and not run.committed and not run.undoing:
            assert machine.record.pause is None, "acted while paused"
            # a person may ask for what no finding is there for, and approve maintenance of what is well
            wanted = (plan.requested_by and not plan.basis) or (
                machine.record.incident and machine.record.incident.maintenance
            )
            well = wanted or rereads(plan, run) or takes_back(plan, run)
            quiet = (State.UNOBSERVABLE,) if well else (State.HEALTHY, State.UNOBSERVABLE)
            assert machine.diagnosis is None or machine.diagnosis.state not in quiet, f"acted while {machine.diagnosis}"

    def check_model(self) -> None:
        """What must be true of the model at every moment, whatever recoverd did."""
        lineages = {(p.store.cluster_id, p.store.history) for p in self.cluster.etcd.leaders()}
        assert len(lineages) <= 1 or "split" in self.by_hand, f"two live etcd clusters: {lineages}"

    def check_history(self) -> None:
        """What must be true of the whole story."""
        open_plans: set[str] = set()
        for entry in self.entries():
            if isinstance(entry, SavePlan):
                (open_plans.add if entry.plan.status.open else open_plans.discard)(entry.plan.id)
                assert len(open_plans) <= 1, f"two plans are open: {open_plans}"
        broken = [n.entry.detail for n in self.told if "recoverd itself failed" in n.entry.detail]
        assert not broken, broken

    # --- helpers ---

    def entries(self) -> list[object]:
        return list(self.ledger.entries)

    def events(self) -> list[str]:
        return [n.entry.event for n in self.told]

    def plans(self) -> dict[str, Plan]:
        """Each with its newest status."""
        return {e.plan.id: e.plan for e in self.ledger.entries if isinstance(e, SavePlan)}

    async def restart_when_dead(self, away: float = 0.0) -> None:
        """`away`: seconds until it is started again."""
        await self.world.dead.wait()
        await self.stage.kill()
        await self.stage.wait(away)
        self.world.kill_before = self.world.kill_after = self.world.kill_before_write = self.world.kill_after_write = (
            None
        )
        self.stage.start()

    async def until(self, place: str, within: float) -> None:
        there: Callable[[], bool] = lambda: self.stage.position == place or self.stage.position.startswith(f"{place}/")  # noqa: E731
        reached = await self.stage.until(there, within)
        assert reached, f"{self.stage.position} and not {place}: {self.stage.machine.record.explanation}\n" + "\n".join(
            f"{n.entry.at:%H:%M:%S} {n.entry.event}: {n.entry.detail}" for n in self.told
        )

    def was_forced(self) -> bool:
        """A one-member cluster was made by force: members that were thrown out must stay off."""
        return any("forced" in store.history for m in self.cluster.machines.values() for store in m.data.values())
