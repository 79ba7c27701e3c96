"""What the control socket can ask of one bastion among several: it shows the whole fleet, and what is asked of a
cluster that another bastion watches is passed on to that one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from recoverd.control.protocol import JoinEnded, Told, WatchEvent
from recoverd.daemon.service import Service, Trial, nobody
from recoverd.daemon.shared import SharedWatches
from recoverd.engine.loop import ClusterLoop
from recoverd.engine.writer import JournalWriter
from recoverd.model.codec import dump, load, plain
from recoverd.model.events import Refused
from recoverd.model.joining import Check, JoinRequest
from recoverd.model.points import RestorePoint
from recoverd.model.status import ClusterStatus
from recoverd.store.requests import Passing
from recoverd.store.rows import pressed, unpressed

PART = 500_000
"""Bytes of one part of a long answer."""
MOST = 40 * PART
"""Bytes of an answer that is passed on: they go through the bastions' etcd, which is small."""
LINES: Mapping[str, type[Told]] = {kind.__name__: kind for kind in (Check, WatchEvent, JoinEnded)}


class FleetService(Service):
    """A `Service` over what `watches` watches, and what others do."""

    def __init__(self, writer: JournalWriter, watches: Callable[[], SharedWatches], trial: Trial = nobody) -> None:
        super().__init__(writer, lambda: watches().notices(), trial)
        self._watches = watches
        self.passing = Passing(self._do, self._tell)

    def status(self) -> list[ClusterStatus]:
        return self._watches().statuses()

    def names(self) -> Sequence[str]:
        return self._watches().wanted()

    def restore_points(self, cluster: str | None) -> list[tuple[str, RestorePoint]]:
        names = self.names()
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
        found = await self._incident(incident)
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

    async def dumped(self, cluster: str) -> dict[str, Any]:
        if self._here(cluster):
            return await super().dumped(cluster)
        fleet = self._watches().fleet
        async with aclosing(self.passing.follow(fleet, cluster, "dump", {})) as parts:
            whole: dict[str, Any] = json.loads(unpressed(b"".join([part async for part in parts])))
        return whole

    async def join(
        self, cluster: str, request: JoinRequest, by: str, reason: str, *, emergency: bool = False
    ) -> AsyncGenerator[Told]:
        """By whoever watches the cluster. It asks the machine from there, with its own key and known_hosts."""
        if self._here(cluster):
            lines = super().join(cluster, request, by, reason, emergency=emergency)
            async with aclosing(lines):
                async for line in lines:
                    yield line
            return
        fleet = self._watches().fleet
        owner = fleet.owner_of(cluster)
        arguments = {"request": plain(request), "by": by, "reason": reason, "emergency": emergency}
        async with aclosing(self.passing.follow(fleet, cluster, "join", arguments)) as parts:
            async for part in parts:
                kind, said = json.loads(part)
                told = load(LINES[kind], said)
                yield replace(told, message=f"{owner}: {told.message}") if isinstance(told, JoinEnded) else told

    async def _all(self, cluster: str | None, call: str, arguments: Mapping[str, Any]) -> str:
        """One cluster, or all of them: then those that refuse are named, and the others are done."""
        if cluster is not None:
            return await self._ask(cluster, call, arguments)

        async def line(name: str) -> str:
            try:
                return await self._ask(name, call, arguments)
            except Refused as refusal:
                return str(refusal)

        return "\n".join(await asyncio.gather(*map(line, self.names())))

    async def _ask(self, cluster: str, call: str, arguments: Mapping[str, Any]) -> str:
        if self._here(cluster):
            return await self._do(cluster, call, arguments)
        return await self.passing.pass_on(self._watches().fleet, cluster, call, arguments)

    def _here(self, cluster: str) -> bool:
        """Whether a request of the cluster is this bastion's: it has a loop of it, or knows no such cluster."""
        return cluster in self.loops or cluster not in self.names()

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
            raise _unknown(call)
        return await does[call]()

    async def _tell(self, cluster: str, call: str, arguments: Mapping[str, Any]) -> AsyncGenerator[bytes]:
        """The same for what is answered in parts."""
        if call == "dump":
            whole = pressed(json.dumps(await Service.dumped(self, cluster)).encode())
            if len(whole) > MOST:
                raise Refused(f"it is {len(whole)} bytes even compressed, too much to be passed on; ask there")
            for begin in range(0, len(whole), PART):
                yield whole[begin : begin + PART]
        elif call == "join":
            request = load(JoinRequest, json.dumps(arguments["request"]))
            by, reason, emergency = arguments["by"], arguments["reason"], arguments["emergency"] is True
            async with aclosing(Service.join(self, cluster, request, by, reason, emergency=emergency)) as lines:
                async for line in lines:
                    yield json.dumps([type(line).__name__, dump(line)]).encode()
        else:
            raise _unknown(call)

    def _loop(self, cluster: str) -> ClusterLoop:
        owner = self._watches().fleet.owner_of(cluster)
        if cluster in self.names() and cluster not in self.loops:
            who = f"the recoverd on {owner} watches {cluster}: ask there" if owner else f"nobody watches {cluster} now"
            raise Refused(who)
        return super()._loop(cluster)


def _unknown(call: str) -> Refused:
    return Refused(f"this recoverd knows no request {call!r}: it is older than the one that passed it on")
