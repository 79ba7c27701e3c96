"""What the control socket can ask of the daemon: the `Controller` over all cluster loops and the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from recoverd import __version__
from recoverd.control.protocol import Delivery, IncidentReport, JoinEnded, Told, WatchEvent
from recoverd.daemon import strangers
from recoverd.engine.journal import Journal
from recoverd.engine.journal_rows import Newest
from recoverd.engine.loop import ClusterLoop, now
from recoverd.engine.writer import JournalWriter
from recoverd.model.audit import AuditEntry
from recoverd.model.codec import plain
from recoverd.model.dump import Dump, without_secrets
from recoverd.model.events import (
    Acknowledged,
    Approved,
    Event,
    JoinRequested,
    Note,
    Paused,
    PlanRequested,
    PointRequested,
    Refused,
    Rejected,
    Resumed,
    SaveAudit,
    SaveIncident,
)
from recoverd.model.history import ENDS
from recoverd.model.joining import Check, JoinFacts, JoinRequest
from recoverd.model.plan import Incident, Plan, PlanStatus
from recoverd.model.points import RestorePoint
from recoverd.model.status import ClusterStatus
from recoverd.model.text import meant, utc
from recoverd.playbooks.join_checks import OF_THE_SWEEP

JUDGED = 3
"""Sweeps that have to show a cluster as unfit for a join."""
SWEPT_WITHIN = 20.0
"""Seconds that such a sweep is waited for."""
LOOKED_WITHIN = 10.0
"""The same for an approval, whose answer recoverctl waits for."""
WATCH_BACKLOG = 1000
"""Lines a slow watcher may lag behind before it loses the oldest."""

Trial = Callable[[str | None], Awaitable[list[Delivery]]]
"""Sends a test to one receiver, or to all. Raises `Refused` where there is no such receiver."""
log = structlog.get_logger()


async def nobody(receiver: str | None) -> list[Delivery]:
    """A daemon that tells nobody."""
    return []


class Service:
    """Implements `recoverd.control.protocol.Controller`."""

    def __init__(self, writer: JournalWriter, notices: Callable[[], list[str]] = list, trial: Trial = nobody) -> None:
        self.loops: Mapping[str, ClusterLoop] = {}
        self._trial = trial
        self._writer = writer
        self._notices = notices
        self._surveys: dict[str, str] = {}
        """Clusters whose machines are being asked about a join, and for whom."""
        self._watchers: set[asyncio.Queue[WatchEvent]] = set()
        self._published = 0

    def publish(self, note: Note) -> None:
        """Give a line of history to everybody who watches."""
        self._published += 1
        event = WatchEvent(note.entry.at, note.cluster, note.entry.event, note.entry.detail, note.plan)
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def status(self) -> list[ClusterStatus]:
        return [loop.machine.status() for loop in self.loops.values()]

    def names(self) -> Sequence[str]:
        """Of the clusters, whoever watches them."""
        return list(self.loops)

    def notices(self) -> list[str]:
        return self._notices()

    def dump(self, cluster: str) -> Dump:
        machine = self._loop(cluster).machine
        if machine.observation is None:
            raise Refused(f"{cluster} has not been swept yet; ask again in a few seconds")
        return Dump(__version__, machine.settings, machine.observation, machine.memory, machine.record)

    async def dumped(self, cluster: str) -> dict[str, Any]:
        found: dict[str, Any] = without_secrets(plain(self.dump(cluster)))
        return found

    def revision(self) -> int:
        return self._published

    async def incidents(self, cluster: str | None, limit: int | None = None) -> Newest[Incident]:
        found = await self._writer.read(lambda j: j.incidents(cluster=cluster, limit=limit))
        if cluster is not None and not found:  # of one that is not watched any more, the journal knows them
            self._known(cluster)
        return found

    async def report(self, incident: str) -> IncidentReport:
        found = await self._incident(incident)

        def gather(journal: Journal) -> IncidentReport:
            plans = journal.plans(incident=incident)
            steps, decisions = (
                {p.id: journal.steps(p.id) for p in plans},
                {p.id: journal.decisions(p.id) for p in plans},
            )
            return IncidentReport(found, plans, steps, decisions)

        return await self._writer.read(gather)

    async def plans(self, *, all: bool, of: str = "", limit: int | None = None) -> Newest[Plan]:
        if of and (found := await self._writer.read(lambda j: j.plan(of))):
            return Newest([found])
        chosen = await self._writer.read(lambda j: j.plans(of=of, open_only=not all, limit=limit))
        if of and not chosen and of not in self.names() and await self._writer.read(lambda j: j.incident(of)) is None:
            raise await self._stranger(strangers.ANY, of)
        return chosen

    async def shadows(self, cluster: str | None, limit: int | None = None) -> Newest[Plan]:
        if cluster is not None:
            self._known(cluster)
        return await self._writer.read(lambda j: j.plans(of=cluster, status=PlanStatus.SHADOW, limit=limit))

    async def approve(
        self, plan: str, by: str, reason: str, digest: str, *, person: int | None = None, emergency: bool = False
    ) -> str:
        found = await self._plan(plan)
        loop = self._loop(found.cluster)
        try:
            await loop.handle(Approved(plan, by, reason, now(), digest, person, emergency))
        except Refused as refused:
            # who asks may ask again at once: by then another sweep has looked
            if refused.passing:
                await loop.sweep_anew(LOOKED_WITHIN)
            raise
        stands = loop.machine.record.plan
        if stands and stands.id == plan and stands.status is PlanStatus.AWAITING_APPROVAL and stands.first:
            return (
                f"plan {plan} ({found.playbook} on {found.cluster}): 1 of 2, by {by}; another person must approve it "
                f"before {utc(stands.expires_at)}, and nothing is done until then"
            )
        if stands and stands.id == plan and stands.waits_for:
            return (
                f"plan {plan} ({found.playbook} on {found.cluster}) approved by {by}; it waits for its turn: "
                f"{stands.waits_for}. It begins by itself, and nothing has to be typed again: recoverctl watch"
            )
        return f"plan {plan} ({found.playbook} on {found.cluster}) approved by {by}; it runs now: recoverctl watch"

    async def reject(self, plan: str, by: str, reason: str) -> str:
        found = await self._plan(plan)
        await self._loop(found.cluster).handle(Rejected(plan, by, reason, now()))
        return f"plan {plan} ({found.playbook} on {found.cluster}) rejected by {by}; nothing was done"

    async def acknowledge(self, incident: str, by: str) -> str:
        found = await self._incident(incident)
        event = Acknowledged(incident, by, now())
        # a cluster that was renamed has what was done under its old name
        named = (n for n, loop in self.loops.items() if loop.machine.counts(incident))
        cluster = found.cluster if found.cluster in self.loops else next(named, "")
        if cluster:
            await self.loops[cluster].handle(event)
        if found.closed_at is not None:
            await self._writer.write([SaveIncident(replace(found, acknowledged_by=by, timeline=()))])
        after = f"recoverd may act on {cluster} again" if cluster else f"{found.cluster} is not watched any more"
        return f"incident {incident} acknowledged by {by}; {after}"

    async def pause(self, cluster: str | None, by: str, reason: str) -> str:
        return await self._each(
            cluster, Paused(by, reason, now()), "paused: recoverd goes on watching and does nothing"
        )

    async def resume(self, cluster: str | None, by: str) -> str:
        return await self._each(cluster, Resumed(by, now()), "resumed")

    async def request_plan(
        self, playbook: str, cluster: str, nodes: tuple[str, ...], by: str, reason: str, point: str
    ) -> str:
        loop = self._loop(cluster)
        await loop.handle(PlanRequested(playbook, nodes, by, reason, now(), point))
        plan = loop.machine.record.plan
        return f"plan {plan.id} made: {plan.summary}; recoverctl approve {plan.id}" if plan else "no plan was made"

    def restore_points(self, cluster: str | None) -> list[tuple[str, RestorePoint]]:
        loops = self.loops.values() if cluster is None else [self._loop(cluster)]
        return [(loop.name, point) for loop in loops for point in loop.machine.memory.points]

    async def take_point(self, cluster: str, by: str) -> str:
        await self._loop(cluster).handle(PointRequested(by, now()))
        return (
            f"a restore point of {cluster} is being taken; recoverctl watch tells when it is there, recoverctl "
            f"restore-points {cluster} lists it"
        )

    async def join(
        self, cluster: str, request: JoinRequest, by: str, reason: str, *, emergency: bool = False
    ) -> AsyncGenerator[Told]:
        """Checks first, all of them; then, where all are good, the plan, followed to its end."""
        loop = self._loop(cluster)
        machine = loop.machine
        source, planes = await self._joinable(loop)
        if cluster in self._surveys:
            raise Refused(f"a join is being checked on {cluster} already, asked for by {self._surveys[cluster]}")
        self._surveys[cluster] = by
        try:
            facts = await loop.survey(request, source, planes)
        finally:
            del self._surveys[cluster]
        checks = await self._judged(loop, request, facts)
        for check in checks:
            yield check
        if bad := [c.name for c in checks if not c.ok]:
            yield JoinEnded(False, f"refused, and nothing was changed: {', '.join(bad)}")
            return
        with self._listening() as queue:
            await loop.handle(JoinRequested(request, facts, by, reason, now(), emergency))
            plan = machine.record.plan
            assert plan is not None
            ended = False
            while not ended:
                event = await queue.get()
                if event.cluster == cluster:
                    yield event
                    # this line is published once the plan's last status is in the journal
                    ended = event.plan == plan.id and event.event in ENDS
        yield await self._joined(plan.id, request)

    @staticmethod
    async def _joinable(loop: ClusterLoop) -> tuple[str, tuple[str, ...]]:
        """Through which control plane a join goes, and all that are members. Raises `Refused` where none may begin now,
        and for what one sweep did not see when the next do not, too.
        """
        for _ in range(JUDGED - 1):
            try:
                loop.machine.joinable()
                return loop.machine.join_through()
            except Refused as refused:
                if not refused.passing:
                    raise
            await loop.sweep_anew(SWEPT_WITHIN)
        loop.machine.joinable()
        return loop.machine.join_through()

    async def _judged(self, loop: ClusterLoop, request: JoinRequest, facts: JoinFacts) -> tuple[Check, ...]:
        """What the facts come to.

        A sweep beside the asking of every machine may have seen little: what one shows as
        bad has to be so in three on end.
        """
        for left in reversed(range(JUDGED)):
            await self._joinable(loop)
            checks = loop.machine.judged(request, facts)
            if not left or not any(c.name in OF_THE_SWEEP and not c.ok for c in checks):
                break
            await loop.sweep_anew(SWEPT_WITHIN)
        return checks

    async def _joined(self, plan: str, request: JoinRequest) -> JoinEnded:
        ended = await self._plan(plan)
        if ended.status is not PlanStatus.SUCCEEDED:
            return JoinEnded(False, f"plan {plan} {ended.status}: {ended.reason}", plan)
        loop = self._loop(ended.cluster)
        if any(h.name == request.name for h in loop.machine.settings.control_planes):
            return JoinEnded(True, f"{request.name} has joined {ended.cluster}", plan)
        line = f"  - {{name: {request.name}, address: {request.address}}}"
        return JoinEnded(
            True,
            f"{request.name} has joined {ended.cluster}. Add it to the cluster's control_planes in the configuration, "
            "its host key to known_hosts, "
            f"and reload recoverd (systemctl reload recoverd):\n{line}",
            plan,
        )

    @contextmanager
    def _listening(self) -> Iterator[asyncio.Queue[WatchEvent]]:
        queue: asyncio.Queue[WatchEvent] = asyncio.Queue(WATCH_BACKLOG)
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)

    async def watch(self) -> AsyncIterator[WatchEvent]:
        with self._listening() as queue:
            while True:
                yield await queue.get()

    async def record(self, entry: AuditEntry) -> None:
        if not entry.cluster and entry.subject:
            entry = replace(entry, cluster=await self._writer.read(lambda j: _cluster_of(j, entry.subject)))
        await self._writer.write([SaveAudit(entry)])

    async def audit(self, since: datetime, cluster: str, limit: int | None = None) -> Newest[AuditEntry]:
        found = await self._writer.read(lambda j: j.audit(since, cluster, limit))
        if cluster and not found and not await self._writer.read(lambda j: j.incidents(cluster=cluster, limit=1)):
            self._known(cluster)  # of one that is not watched any more, the journal knows what was asked
        return found

    async def notify_test(self, receiver: str | None, by: str) -> list[Delivery]:
        told = await self._trial(receiver)
        if not told:
            raise Refused("nobody is told anything: the configuration has neither `notifications` nor a `heartbeat`")
        outcomes = ", ".join(f"{d.receiver} {'told' if d.ok else f'not told ({d.detail})'}" for d in told)
        log.info(f"{by} asked for a test of the notifications: {outcomes}", event_name="notify-test")
        return told

    async def _each(self, cluster: str | None, event: Event, done: str) -> str:
        """One cluster, or all of them: then those that refuse (paused already) are named and the others are done."""
        if cluster is not None:
            await self._loop(cluster).handle(event)
            return f"{cluster} {done}"
        lines = []
        for name, loop in list(self.loops.items()):
            try:
                await loop.handle(event)
                lines.append(f"{name} {done}")
            except Refused as refusal:
                lines.append(str(refusal))
        return "\n".join(lines)

    async def _plan(self, plan: str) -> Plan:
        found = await self._writer.read(lambda j: j.plan(plan))
        if found is None:
            raise await self._stranger(strangers.PLAN, plan)
        return found

    async def _incident(self, incident: str) -> Incident:
        found = await self._writer.read(lambda j: j.incident(incident))
        if found is None:
            raise await self._stranger(strangers.INCIDENT, incident)
        return found

    async def _stranger(self, kind: str, name: str) -> Refused:
        return await self._writer.read(lambda j: strangers.refused(j, kind, name, self.names()))

    def _known(self, cluster: str) -> None:
        """Refuse a name that is no cluster's of the configuration, whoever watches it."""
        if cluster not in self.names():
            raise Refused(f"there is no cluster {cluster}; {meant(cluster, self.names())}", missing=True)

    def _loop(self, cluster: str) -> ClusterLoop:
        if cluster not in self.loops:
            self._known(cluster)
        return self.loops[cluster]


def _cluster_of(journal: Journal, name: str) -> str:
    """The cluster of a plan or an incident; "" where there is none of that name."""
    found = journal.plan(name) or journal.incident(name)
    return found.cluster if found else ""
