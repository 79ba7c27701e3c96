"""The model's world and journal with every trouble that a bastion has, to order."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING

from recoverd.clients.lease import Bastion
from recoverd.diagnose import diagnose
from recoverd.engine.journal_file import JournalError
from recoverd.model.etcd import EtcdView
from recoverd.model.events import Journalled, SavePlan
from recoverd.model.memory import Memory
from recoverd.model.network import NetworkView
from recoverd.model.observation import Observation, Unseen, UnseenKind
from recoverd.model.operations import Operation
from recoverd.model.plan import Plan, Step, StepResult
from recoverd.observe.turns import Turns, odd
from recoverd.simulate import world as simulated
from recoverd.simulate.act import Hands
from recoverd.simulate.clock import seconds
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.stage import Ledger, Stage
from recoverd.simulate.world import SimulatedWorld
from tests.soak.rules import LOOKS, Rules

if TYPE_CHECKING:
    from tests.soak.player import Player, Second

Current = tuple["TroubledWorld", Plan | None, Step, bool, float]
CURRENT: ContextVar[Current | None] = ContextVar("CURRENT", default=None)
GONE = Unseen(UnseenKind.TIMEOUT, "no answer within 3 s")


class WatchedHands(Hands):
    """One operation, held against the rules as it is done."""

    def attempt(self) -> StepResult:
        current = CURRENT.get()
        if current is None or current[0].rules is None:
            return super().attempt()
        world, plan, step, undo, began = current
        rules = world.rules
        before = rules.host(self._name)
        result = super().attempt()
        if isinstance(self._operation, LOOKS) or result.undone or result.already_done:
            return result
        if plan is not None and result.ok:
            rules.check_act(world.stage, plan, step, self._operation, undo=undo, began=began)
            rules.check_alone(world.lease.bastion.name, f"{plan.playbook}: {step.description}")
        rules.check_effect(plan, step, self._operation, before)
        return result


simulated.Hands = WatchedHands  # type: ignore[misc]


class TroubledLedger(Ledger):
    """A journal that can be full; it tells the rules of each plan that it saves."""

    def __init__(self) -> None:
        super().__init__()
        self.full_from = self.full_until = 0.0
        self.read_only = False
        """No journal can be opened by a daemon that is started meanwhile."""
        self.player: Player | Second | None = None

    def fill(self, duration: float, *, read_only: bool = False) -> None:
        if seconds() >= self.full_until:
            self.full_from = seconds()
        self.full_until, self.read_only = seconds() + duration, read_only

    def lacks_room(self, now: float) -> bool:
        """Whether nothing could be journalled at that moment, nor a moment before."""
        return self.full_from + 0.01 < now < self.full_until

    async def write(self, instructions: Sequence[Journalled]) -> None:
        if seconds() < self.full_until and instructions:
            why = "attempt to write a readonly database" if self.read_only else "database or disk is full"
            raise JournalError(f"the journal cannot be written: {why}")
        await super().write(instructions)
        if self.player is not None:
            for each in instructions:
                if isinstance(each, SavePlan):
                    self.player.saved.append(each.plan)
                    self.player.rules.plan_saved(each.plan, self.player.stage)


def without(seen: Observation, left: Collection[str]) -> Observation:
    """The sweep without the looks at these machines, and without what they tried of the network."""
    network = seen.network
    if isinstance(network, NetworkView):
        pairs = {p: at for p, at in network.failing_since.items() if p.partition(">")[0] not in left}
        network = replace(
            network,
            hosts={n: v for n, v in network.hosts.items() if n not in left},
            probes=tuple(p for p in network.probes if p.source not in left),
            services=tuple(s for s in network.services if s.source not in left),
            failing_since=pairs,
        )
    return replace(seen, hosts={n: v for n, v in seen.hosts.items() if n not in left}, network=network)


class TroubledWorld(SimulatedWorld):
    """Sweeps that lie or break, answers that are lost, steps that are slow, and a daemon
    that dies in the middle of one.
    """

    def __init__(self, cluster: ModelCluster, rules: Rules, bastion: Bastion | None = None) -> None:
        super().__init__(cluster, "prod", bastion=bastion)
        self.rules = rules
        self.stage: Stage
        self.turns, self.calm = Turns(30.0, small=0), False
        self.carried = 0
        """Views that were older than their sweep."""
        self.torn: list[str] = []
        self.behind = 0
        """The next sweep is told so much less of etcd's revision than there is, as by a new leader that
        has not applied everything yet.
        """
        self._lagged = -1e9
        self.slow: list[float] = []
        self.raises_until = 0.0
        self.next: list[tuple[str, float]] = []
        """What happens to the next steps."""
        self.kill_before: float | None = None
        self.kill_after: float | None = None
        """For how long the daemon is then away."""
        self.dead: asyncio.Queue[float] = asyncio.Queue()
        self.acting = 0
        self.steps = 0

    @property
    def troubled(self) -> bool:
        return bool(self.torn or self.behind or self.slow or self.raises_until > seconds())

    def lag_behind(self, revisions: int) -> None:
        """Once; no etcd lags in sweep after sweep without there being something wrong."""
        if seconds() - self._lagged > 60:
            self.behind = revisions

    def rest(self, *, calm: bool, quiet: bool) -> None:
        self.calm = calm

    def in_turn(self, seen: Observation, memory: Memory) -> Observation:
        """The sweep as it is where calm workers are looked at in turn: their views are older, as long as that shows
        nothing.
        """
        settings = self.stage.machine.settings
        workers = [n for n in seen.hosts if n not in {p.name for p in settings.control_planes}]
        now = seconds()
        due = self.turns.due(workers, now) if self.calm else frozenset(workers)
        hosts_of = {n: n for n in seen.hosts}
        if len(due) < len(workers):
            left = [n for n in workers if n not in due]
            part = without(seen, left)
            part = self.turns.took(part, workers, due, odd(part, hosts_of), now)
            found = diagnose(part, memory, settings)
            self.turns.found(part, found, hosts_of)
            if self.turns.may_stand(part, found):
                self.carried += len(part.carried)
                return part
        seen = self.turns.took(seen, workers, workers, odd(seen, hosts_of), now)
        self.turns.found(seen, diagnose(seen, memory, settings), hosts_of)
        return seen

    async def observe(self, sequence: int, memory: Memory) -> Observation:
        if seconds() < self.raises_until:
            await asyncio.sleep(0.5)
            raise ValueError("a host printed something that nobody foresaw")
        if self.slow:
            await asyncio.sleep(self.slow.pop())
        began = seconds()
        seen = await super().observe(sequence, memory)
        self.rules.swept(sequence, began)
        if self.torn:
            seen = torn(seen, self.torn.pop())
        if self.behind:
            behind, self.behind, self._lagged = self.behind, 0, seconds()
            etcd, outside = (
                {
                    n: replace(v, revision=max(1, v.revision - behind)) if isinstance(v, EtcdView) else v
                    for n, v in views.items()
                }
                for views in (seen.etcd, seen.outside)
            )
            seen = replace(seen, etcd=etcd, outside=outside)
        return self.in_turn(seen, memory)

    async def perform(self, step: Step, *, undo: bool, resume: bool) -> StepResult:
        record = self.stage.machine.record
        operation = step.undo if undo else step.operation
        of_plan = record.plan is not None and record.run is not None and record.plan.steps[record.run.index] == step
        CURRENT.set((self, record.plan if of_plan else None, step, undo, seconds()))
        if not of_plan:
            return await super().perform(step, undo=undo, resume=resume)
        assert record.plan is not None and record.run is not None and operation is not None
        self.rules.check_begin(self.stage, step, undo=undo, resume=resume)
        self.acting += 1
        if self.acting > 1:
            self.rules.broken("two-at-once", step.description)
        try:
            return await self._troubled(step, operation, record.plan, record.run.index, undo=undo, resume=resume)
        finally:
            self.acting -= 1

    async def _troubled(
        self, step: Step, operation: Operation, plan: Plan, index: int, *, undo: bool, resume: bool
    ) -> StepResult:
        if self.kill_before is not None:
            await self._die(self.kill_before)
        kind, amount = self.next.pop() if self.next else ("", 0.0)
        if kind == "fail-step":
            return StepResult(False, "no space left on device")
        if kind == "not-begun":
            return _not_begun(step)
        if kind == "slow-step":
            await asyncio.sleep(amount)
        self.steps += 1
        result = await super().perform(step, undo=undo, resume=resume)
        if not (isinstance(operation, LOOKS) or result.undone or result.already_done or not result.ok):
            self.rules.check_count(plan, index, undo=undo)
            self.rules.effects[plan.id].add((index, undo))
        if self.kill_after is not None:
            await self._die(self.kill_after)
        if kind == "no-answer":
            await asyncio.Event().wait()  # until the loop gives it up
        if kind == "lost-answer":
            return StepResult(
                False, f"the connection to {step.host} was lost; it may or may not have run", uncertain=True
            )
        return result

    async def _die(self, away: float) -> None:
        self.kill_before = self.kill_after = None
        self.dead.put_nowait(away)
        await asyncio.Event().wait()


def _not_begun(step: Step) -> StepResult:
    text = f"it was not begun: {step.host} did not answer the connection attempt within 3 s. Nothing was changed"
    try:
        return StepResult(False, text, untouched=True)  # type: ignore[call-arg]
    except TypeError:
        return StepResult(False, text)


def torn(seen: Observation, how: str) -> Observation:
    """A sweep in which some of the sources did not answer."""
    match how:
        case "hosts":
            return replace(seen, hosts=dict.fromkeys(seen.hosts, GONE))
        case "etcd":
            return replace(seen, etcd=dict.fromkeys(seen.etcd, GONE), outside=dict.fromkeys(seen.outside, GONE))
        case "objects":
            return replace(seen, api=replace(seen.api, objects=GONE), network=GONE)
        case "network":
            return replace(seen, network=GONE)
        case "api":
            gone = {
                n: replace(e, health=type(e.health).UNREACHABLE, detail="no connection within 1.8 s")
                for n, e in seen.api.members.items()
            }
            return replace(seen, api=replace(seen.api, members=gone, objects=GONE), network=GONE)
        case "one-host":
            name = sorted(seen.hosts)[seen.sequence % len(seen.hosts)]
            etcd = {n: GONE if n == name else v for n, v in seen.etcd.items()}
            return replace(seen, hosts={n: GONE if n == name else v for n, v in seen.hosts.items()}, etcd=etcd)
        case _:
            name = sorted(seen.etcd)[seen.sequence % len(seen.etcd)]
            return replace(seen, etcd={n: GONE if n == name else v for n, v in seen.etcd.items()})
