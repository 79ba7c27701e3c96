"""What the control socket can ask of one bastion among several: it shows the whole fleet, and what is asked of a
cluster that another bastion watches is passed on to that one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from recoverd.daemon.service import Service, Trial, nobody
from recoverd.daemon.shared import SharedWatches
from recoverd.engine.loop import ClusterLoop
from recoverd.engine.writer import JournalWriter
from recoverd.model.events import Refused
from recoverd.model.points import RestorePoint
from recoverd.model.status import ClusterStatus
from recoverd.store.requests import Passing


class FleetService(Service):
    """A `Service` over what `watches` watches, and what others do."""

    def __init__(self, writer: JournalWriter, watches: Callable[[], SharedWatches], trial: Trial = nobody) -> None:
        super().__init__(writer, lambda: watches().notices(), trial)
        self._watches = watches
        self.passing = Passing(self._do)

    def status(self) -> list[ClusterStatus]:
        return self._watches().statuses()

    def restore_points(self, cluster: str | None) -> list[tuple[str, RestorePoint]]:
        names = [c.name for c in self.status()]
        if cluster is not None and cluster not in names:
            self._loop(cluster)
        return [(n, point) for n in names if cluster in (None, n) for point in self._watches().points_of(n)]

    async def approve(
        self, plan: str, by: str, reason: str, digest: str, *, person: int | None = None, emergency: bool = False
    ) -> str:
        found = await self._plan(plan)
        arguments = {"by": by, "reason": reason, "digest": digest, "person": person, "emergency": emergency}
        return await self._ask(found.cluster, "approve", {"plan": plan, **arguments})

    async def reject(self, plan: str, by: str, reason: str) -> str:
        found = await self._plan(plan)
        return await self._ask(found.cluster, "reject", {"plan": plan, "by": by, "reason": reason})

    async def acknowledge(self, incident: str, by: str) -> str:
        found = await self._writer.read(lambda j: j.incident(incident))
        if found is None:
            raise Refused(f"there is no incident {incident}; `recoverctl incidents` lists them", missing=True)
        return await self._ask(found.cluster, "acknowledge", {"incident": incident, "by": by})

    async def pause(self, cluster: str | None, by: str, reason: str) -> str:
        return await self._all(cluster, "pause", {"by": by, "reason": reason})

    async def resume(self, cluster: str | None, by: str) -> str:
        return await self._all(cluster, "resume", {"by": by})

    async def request_plan(
        self, playbook: str, cluster: str, nodes: tuple[str, ...], by: str, reason: str, point: str
    ) -> str:
        arguments = {"playbook": playbook, "nodes": list(nodes), "by": by, "reason": reason, "point": point}
        return await self._ask(cluster, "request_plan", arguments)

    async def take_point(self, cluster: str, by: str) -> str:
        return await self._ask(cluster, "take_point", {"by": by})

    async def _all(self, cluster: str | None, call: str, arguments: Mapping[str, Any]) -> str:
        """One cluster, or all of them: then those that refuse are named, and the others are done."""
        if cluster is not None:
            return await self._ask(cluster, call, arguments)

        async def line(name: str) -> str:
            try:
                return await self._ask(name, call, arguments)
            except Refused as refusal:
                return str(refusal)

        return "\n".join(await asyncio.gather(*(line(status.name) for status in self.status())))

    async def _ask(self, cluster: str, call: str, arguments: Mapping[str, Any]) -> str:
        fleet = self._watches().fleet
        if cluster in self.loops or cluster not in self._watches().wanted():
            return await self._do(cluster, call, arguments)
        return await self.passing.pass_on(fleet, cluster, call, arguments)

    async def _do(self, cluster: str, call: str, arguments: Mapping[str, Any]) -> str:
        """Here, for whoever has asked."""
        a = dict(arguments)
        does: Mapping[str, Callable[[], Awaitable[str]]] = {
            "approve": lambda: Service.approve(
                self, a["plan"], a["by"], a["reason"], a["digest"], person=a["person"], emergency=a["emergency"]
            ),
            "reject": lambda: Service.reject(self, a["plan"], a["by"], a["reason"]),
            "acknowledge": lambda: Service.acknowledge(self, a["incident"], a["by"]),
            "pause": lambda: Service.pause(self, cluster, a["by"], a["reason"]),
            "resume": lambda: Service.resume(self, cluster, a["by"]),
            "request_plan": lambda: Service.request_plan(
                self, a["playbook"], cluster, tuple(a["nodes"]), a["by"], a["reason"], a["point"]
            ),
            "take_point": lambda: Service.take_point(self, cluster, a["by"]),
        }
        if call not in does:
            raise Refused(f"this recoverd knows no request {call!r}: it is older than the one that passed it on")
        return await does[call]()

    def _loop(self, cluster: str) -> ClusterLoop:
        owner = self._watches().fleet.owner_of(cluster)
        if cluster in self._watches().wanted() and cluster not in self.loops:
            who = f"the recoverd on {owner} watches {cluster}: ask there" if owner else f"nobody watches {cluster} now"
            raise Refused(who)
        return super()._loop(cluster)
