"""`recoverd.engine.world.World` over the model cluster, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from recoverd.clients.haste import Haste
from recoverd.clients.lease import Bastion, LeaseKeeper
from recoverd.diagnose.closer import CloserLooks
from recoverd.diagnose.outside import Ways
from recoverd.diagnose.scene import Scene
from recoverd.engine.world import World
from recoverd.engine.writes import journalled
from recoverd.model.effects import WITHOUT_LEASE, only_asks
from recoverd.model.join_operations import JoinControlPlane
from recoverd.model.joining import JoinFacts, JoinRequest
from recoverd.model.lease import HostLease
from recoverd.model.memory import Memory
from recoverd.model.observation import HostView, Observation
from recoverd.model.operations import HostOperation
from recoverd.model.plan import Step, StepResult
from recoverd.model.settings import BEGIN_SECONDS
from recoverd.simulate import outside
from recoverd.simulate.act import Hands
from recoverd.simulate.carry import Write
from recoverd.simulate.clock import moment, seconds
from recoverd.simulate.cluster import TICK, ModelCluster
from recoverd.simulate.joining import survey
from recoverd.simulate.lease import look, refuses
from recoverd.simulate.look import observe

SWEEP, DEADLINE = 0.5, 3.0
"""Seconds of a sweep in which all answer, and of one that waits for somebody silent."""
COMMAND = 0.5
"""One command over SSH, with its check."""


class SimulatedWorld(World):
    """Looks at and acts on the model. `saw` is told each observation."""

    def __init__(
        self,
        cluster: ModelCluster,
        name: str,
        saw: Callable[[Observation], None] = lambda _: None,
        bastion: Bastion | None = None,
        hands_off: str = "",
    ) -> None:
        self.cluster = cluster
        self._name = name
        self._saw = saw
        self._failing: dict[str, datetime] = {}
        self._known: frozenset[str] = frozenset()
        """Machines that were control planes once, or that a person let join."""
        self._hands_off = hands_off
        """Why nothing is written, as where the cluster is only observed."""
        self._haste = Haste()
        self._closer = CloserLooks()
        self._ways = Ways()
        self.lease = LeaseKeeper(bastion or Bastion("b", "bastion"), seconds)

    async def observe(self, sequence: int, memory: Memory) -> Observation:
        self.learn(memory)
        began = seconds()
        self.lease.begin()
        self.cluster.advance(began)
        silent = self.cluster.api.lists() is None and any(not m.up(began) for m in self.cluster.machines.values())
        silent = silent or self.cluster.network.blind
        self._haste.begin()
        await self._haste.of("the sweep", asyncio.sleep(DEADLINE if silent else SWEEP, silent), bool)
        self._haste.end()
        self.cluster.advance(seconds())
        seen = observe(self.cluster, self._name, sequence, moment(began), moment(seconds()), self._failing)
        if self.cluster.apart:
            seen = replace(seen, outside=outside.look(self.cluster, self._ways), outside_by=self._ways.by)
            self._ways.learn(Scene(seen, memory, self.cluster.settings))
        seen = self._as_asked(seen, memory)
        seen = seen if self._hands_off else self._leased(seen)
        self._saw(seen)
        return seen

    def _as_asked(self, seen: Observation, memory: Memory) -> Observation:
        """The closer look at a machine is in a sweep only where the live collector makes one."""
        hosts = dict(seen.hosts)
        for name, view in seen.hosts.items():
            if self._closer.due(name, seconds()):
                self._closer.took(name, seconds(), learnt=isinstance(view, HostView) and name in memory.files)
            elif isinstance(view, HostView):
                hosts[name] = replace(view, node=None)
        addresses = {m.name: m.address for m in self.cluster.machines.values()}
        assert seen.network is not None
        self._closer.learn(seen.hosts, seen.api, seen.network, addresses, seen.at)
        return replace(seen, hosts=hosts)

    def succeed(self) -> str:
        """Another bastion looks and acts from now on; its name. Its id on the machines is that of the one before."""
        name, _, number = self.lease.bastion.name.partition("-")
        self.lease = LeaseKeeper(Bastion(self.lease.bastion.id, f"{name}-{int(number or 1) + 1}"), seconds)
        return self.lease.bastion.name

    def hasten(self) -> None:
        self._haste.ask()

    def _leased(self, seen: Observation) -> Observation:
        """The same with who may act, by what each control plane says that was seen."""
        hosts, planes = dict(seen.hosts), dict[str, HostLease | None]()
        for name in seen.etcd:
            view = hosts[name]
            said = (
                look(self.cluster.machines[name], seconds(), *self.lease.asked(name))
                if isinstance(view, HostView)
                else None
            )
            planes[name] = said
            if isinstance(view, HostView):
                hosts[name] = replace(view, lease=said)
        return replace(seen, hosts=hosts, lease=self.lease.take(planes))

    async def perform(self, step: Step, *, undo: bool, resume: bool) -> StepResult:
        operation = step.undo if undo else step.operation
        if operation is None:
            return StepResult(True, "there is nothing to take back", already_done=True)
        if self._hands_off and not only_asks(operation, asked=resume and step.asks(undo=undo)):
            return StepResult(False, f"it was not begun: {self._hands_off}", untouched=True)
        if isinstance(operation, JoinControlPlane) and operation.name not in self._known:
            return StepResult(False, f"the join of {operation.name} failed: recoverd was not told to let it in")
        if not isinstance(operation, WITHOUT_LEASE) and (why := await self.lease.may_act(step.timeout / 2)):
            return StepResult(False, f"it was not begun: {why}. Nothing was changed", untouched=True)
        hands = Hands(self.cluster, step.host, operation, resume=resume, ask=resume and step.asks(undo=undo))
        began = seconds()
        await asyncio.sleep(COMMAND)
        machine = self.cluster.machines.get(step.host)
        if machine and machine.control_plane and isinstance(operation, HostOperation) and machine.up(seconds()):
            fence, strict = self.lease.terms(step.host)
            if why := refuses(machine, seconds(), self.lease.bastion.id, fence, strict=strict):
                return StepResult(False, why, untouched=True)
        while True:
            self.cluster.advance(seconds())
            result = hands.attempt()
            if due := hands.due:
                result = await journalled(due.what, partial(self.write, due), always=due.always)
                if result.ok:
                    continue
            again = hands.unbegun and seconds() - began < min(step.timeout, BEGIN_SECONDS)
            if result.ok or result.undone or not (hands.waits or again):
                return result
            if seconds() - began >= step.timeout:
                return StepResult(False, f"not as wanted after {seconds() - began:.0f} s; last seen: {result.detail}")
            await asyncio.sleep(TICK)

    async def write(self, due: Write) -> StepResult:
        """One write of a step that makes several; the journal has it already."""
        return due.make()

    async def survey(self, request: JoinRequest, source: str, planes: Sequence[str]) -> JoinFacts:
        await asyncio.sleep(SWEEP)
        self.cluster.advance(seconds())
        return survey(self.cluster, request, source, planes)

    def learn(self, memory: Memory) -> None:
        self._known = frozenset({*memory.manifests, *({memory.guest.name} if memory.guest else ())})

    async def close(self) -> None:
        return
