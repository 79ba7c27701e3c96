"""One real cluster: looked at and acted upon over SSH and the API."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recoverd.act import Actor
from recoverd.clients.hosts import HostPool
from recoverd.clients.lease import Bastion, LeaseKeeper, Tenure
from recoverd.config import ClusterConfig
from recoverd.engine.world import World
from recoverd.model.call import Call
from recoverd.model.effects import WITHOUT_LEASE, only_asks
from recoverd.model.events import Refused
from recoverd.model.joining import JoinFacts, JoinRequest
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.plan import Step, StepResult
from recoverd.model.settings import HostSettings
from recoverd.observe import Collector
from recoverd.observe.joining import look

EMPTY = Memory()
LEASE_SECONDS = 30.0
"""How long a step waits for a sweep that says who may act, after a time without any."""


class LiveWorld(World):
    """`recoverd.engine.world.World` over real machines. Workers that the configuration does not list are
    those that the memory has learnt.
    """

    def __init__(
        self,
        cluster: ClusterConfig,
        state_dir: Path,
        memory: Memory = EMPTY,
        bastion: Bastion | None = None,
        tenure: Tenure | None = None,
    ) -> None:
        self._settings = cluster.settings
        self._ssh = cluster.ssh
        self._memory = memory
        self._known = self._hosts_now()
        self._hosts = HostPool(cluster.ssh, self._known)
        # whoever only observes writes no lease, and lets another bastion act
        self._lease = LeaseKeeper(bastion, tenure=tenure) if bastion and not cluster.settings.observes else None
        if self._lease:
            self._hosts.guard = self._lease.guard
        if tenure:
            self._hosts.lapsed = tenure.lapsed
        if why := cluster.settings.hands_off:
            self._hosts.guard = lambda _: Call.of("refuse", why)  # should anything come by `perform`, none gets past it
        self._collector = Collector(cluster, self._hosts, self._lease)
        self._actor = Actor(cluster, self._hosts, state_dir)
        self._actor.update_hosts(self._known)

    async def observe(self, sequence: int, memory: Memory) -> Observation:
        self.learn(memory)
        return await self._collector.observe(sequence, memory)

    def rest(self, *, calm: bool, quiet: bool) -> None:
        self._collector.rest(calm=calm, quiet=quiet)

    def hasten(self) -> None:
        self._collector.hasten()

    async def perform(self, step: Step, *, undo: bool, resume: bool) -> StepResult:
        operation = step.undo if undo else step.operation
        if (why := self._settings.hands_off) and not only_asks(operation, asked=resume and step.asks(undo=undo)):
            return StepResult(False, f"it was not begun: {why}", untouched=True)
        asked = self._lease if not isinstance(step.operation, WITHOUT_LEASE) else None
        if asked and (why := await asked.may_act(min(LEASE_SECONDS, step.timeout / 2))):
            return StepResult(False, f"it was not begun: {why}. Nothing was changed", untouched=True)
        return await self._actor.perform(step, undo=undo, resume=resume)

    async def survey(self, request: JoinRequest, source: str, planes: Sequence[str]) -> JoinFacts:
        if why := self._settings.hands_off:
            raise Refused(why)  # the new machine would be made to listen for a moment
        # over connections of its own: what the machine that asks to join turns out to be touches none of those
        # that the cluster is watched over
        hosts = self._with(HostSettings(request.name, request.address, request.host_key))
        pool = HostPool(self._ssh, hosts)
        try:
            addresses, port = {h.name: h.address for h in hosts}, self._hosts.places_of(source).api
            return await look(pool, planes, request, source, addresses, api_port=port)
        finally:
            await pool.close()

    def learn(self, memory: Memory) -> None:
        self._memory = memory
        known = self._hosts_now()
        if known != self._known:
            self._known = known
            self._hosts.update_hosts(known)
            self._actor.update_hosts(known)

    async def close(self) -> None:
        await self._collector.close()
        await self._actor.close()
        await self._hosts.close()

    def _hosts_now(self) -> tuple[HostSettings, ...]:
        """Those of the configuration, the workers that were learnt where it lists none, and
        the machine that was let join.
        """
        guest = self._memory.guest
        return self._with(HostSettings(guest.name, guest.address, guest.host_key) if guest else None)

    def _with(self, guest: HostSettings | None) -> tuple[HostSettings, ...]:
        """The guest never takes the place of a machine that is known: of that one, known_hosts alone says who it is."""
        known = {h.name: h for h in (*self._settings.control_planes, *self._settings.workers)}
        if not self._settings.workers:
            known |= {
                w.name: HostSettings(w.name, w.address)
                for w in self._memory.workers
                if w.name not in known and w.address
            }
        if guest and guest.name not in known:
            known[guest.name] = guest
        return tuple(known.values())
