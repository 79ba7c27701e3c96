"""This bastion's own file, kept equal to what the bastions' etcd holds of every cluster: recoverctl, the status page
and the metrics read it, and a cluster that is taken over is taken up from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from recoverd.engine.journal import Journal
from recoverd.engine.journal_file import JournalError
from recoverd.engine.writer import JournalWriter
from recoverd.model.audit import EVERY
from recoverd.model.events import Journalled, Note, Remember, SaveAudit, SaveIncident, SavePlan, SaveRecord
from recoverd.store.gateway import Kv, Row, StoreError, below
from recoverd.store.keys import Keys
from recoverd.store.rows import unpacked

log = structlog.get_logger()


class Mirror:
    """Follows one store, whose `id` tells it from others. `say` is given each line of history that others wrote."""

    def __init__(self, kv: Kv, keys: Keys, id: str, local: JournalWriter, say: Callable[[Note], None]) -> None:
        self._kv = kv
        self._keys = keys
        self._id = id
        self._local = local
        self._say = say
        self._behind: set[str] = set()
        """Clusters of which something could not be written here."""

    async def take(self, cluster: str, revision: int, instructions: Sequence[Journalled]) -> None:
        """Take in what this bastion has just journalled. Never raises: the store has it, and what is missing here is
        fetched from there later.
        """
        try:
            # what persons have asked for is written by every bastion: another's may have come just before
            if cluster == EVERY or cluster in self._behind:
                await self.catch_up(cluster, own=True)
            else:
                await self._write(cluster, revision, instructions)
        except JournalError as error:
            self._behind.add(cluster)
            log.error(
                "what the bastions' etcd has could not be written to this bastion's own file; it is tried again",
                cluster=cluster,
                error=str(error),
            )

    async def reached(self, cluster: str) -> int:
        """The revision up to which this file has the cluster."""
        return await self._local.read(lambda j: j.followed(self._id, cluster))

    async def catch_up(self, cluster: str, *, whole: bool = False, own: bool = False) -> bool:
        """Fetch what this file lacks of the cluster. False where the store has nothing of it. Raises `JournalError`;
        with `whole` also where a row cannot be read here, since whoever takes the cluster over has to know all of it.
        What is this bastion's `own` was told when it was written.
        """
        since = await self.reached(cluster)
        prefix = self._keys.audit if cluster == EVERY else self._keys.journal(cluster)
        answer = await self._kv.txn((), [below(prefix, since=since + 1)])
        for revision, rows in _by_revision(answer.found[0]):
            read = _read(rows, whole=whole)
            await self._write(cluster, revision, read)
            for note in (i for i in read if isinstance(i, Note) and not own):
                self._say(note)
        self._behind.discard(cluster)
        return bool(answer.found[0]) or since > 0

    async def left(self, cluster: str) -> list[Journalled]:
        """What this file holds of a cluster of which the store has nothing: from a time before it, or from another
        store that was lost. Plans and incidents that are open there, record and memory.
        """
        return await self._local.read(lambda j: whole(j, cluster))

    async def _write(self, cluster: str, revision: int, instructions: Sequence[Journalled]) -> None:
        await self._local.read(lambda j: j.follow(self._id, cluster, revision, instructions))


def whole(journal: Journal, cluster: str) -> list[Journalled]:
    """What somebody else needs to go on where this file has come to; nothing where it does not hold all of it."""
    saved = journal.saved(cluster)
    if saved.record is None or saved.trouble:
        return []
    plans = (journal.plan(id) for id in journal.open_plans(cluster))
    incidents = (journal.incident(id) for id in journal.open_incidents(cluster))
    opened: list[Journalled] = [SaveIncident(replace(i, timeline=())) for i in incidents if i]
    opened += [SavePlan(p) for p in plans if p]
    return [SaveRecord(cluster, saved.record), Remember(cluster, saved.memory), *opened]


def _by_revision(rows: Iterable[Row]) -> list[tuple[int, list[Row]]]:
    """What was written together, the oldest first."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.changed, []).append(row)
    return sorted(found.items())


def _read(rows: Iterable[Row], *, whole: bool) -> list[Journalled]:
    found: list[Journalled] = []
    for row in rows:
        try:
            found += unpacked(row.value)
        except ValueError as error:
            text = f"{row.key} in the bastions' etcd cannot be read: {error}"
            if whole:
                raise StoreError(
                    f"{text}. Another bastion with the recoverd that wrote it can; install that one here, too"
                ) from error
            log.error(text)
    return found


def cluster_of(instruction: Journalled) -> str:
    """The cluster whose journal it belongs to; `EVERY` for what persons have asked for, which is no cluster's; "" for
    what names a plan only.
    """
    match instruction:
        case SaveAudit():
            return EVERY
        case SaveIncident(incident=incident):
            return incident.cluster
        case SavePlan(plan=plan):
            return plan.cluster
        case _:
            return str(getattr(instruction, "cluster", ""))
