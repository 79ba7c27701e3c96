"""This bastion's own file, kept equal to what the bastions' etcd holds of every cluster: recoverctl, the status page
and the metrics read it, and a cluster that is taken over is taken up from it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import structlog

from recoverd.engine.journal import Journal
from recoverd.engine.journal_file import JournalError
from recoverd.engine.writer import JournalWriter
from recoverd.model.audit import EVERY
from recoverd.model.events import Journalled, Note, Remember, SaveIncident, SavePlan, SaveRecord
from recoverd.store.gateway import Kv, Row, below, get
from recoverd.store.keys import Keys
from recoverd.store.rows import unpacked

AGAIN = 100
"""Rows that could not be read, and are asked for again at once: etcd takes 128 operations."""

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
        self.written = 0
        """The revision of the store at which this bastion has written last."""

    async def take(self, cluster: str, revision: int, instructions: Sequence[Journalled]) -> None:
        """Take in what this bastion has just journalled. Never raises: the store has it, and what is missing here is
        fetched from there later.
        """
        self.written = max(self.written, revision)
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
        """Fetch what this file lacks of the cluster, and what it could not read before; with `whole` everything that
        stands in a place of its own once more, since whoever takes the cluster over goes on from that. False where the
        store has nothing of it. Raises `JournalError`. What cannot be read is passed by, and `passed` tells of it.
        What is this bastion's `own` was told when it was written.
        """
        since, passed = await self.reached(cluster), await self.passed(cluster)
        prefix = self._prefix(cluster)
        again = [get(prefix + key) for key in list(passed)[:AGAIN]]
        answer = await self._kv.txn((), [below(prefix, since=0 if whole else since + 1), *again])
        rows = {row.key.removeprefix(prefix): row for found in answer.found for row in found}
        logged = self._keys.log(cluster).removeprefix(prefix)
        for revision, some in _by_revision(rows):
            told = revision > since
            if not told:
                some = {key: row for key, row in some.items() if key in passed or not key.startswith(logged)}
            read, wrong = _read(some)
            self._log(cluster, {key: why for key, why in wrong.items() if passed.get(key) != why})
            await self._write(cluster, revision, read, wrong, None if told else some.keys() - wrong.keys())
            for note in (i for i in read if isinstance(i, Note) and told and not own):
                self._say(note)
        if gone := [key for key in list(passed)[:AGAIN] if key not in rows]:
            await self._write(cluster, since, [], {}, gone)
        self._behind.discard(cluster)
        return bool(answer.found[0]) or since > 0

    async def passed(self, cluster: str) -> dict[str, str]:
        """Why each row of the cluster that this file does not have cannot be read, by its name."""
        return await self._local.read(lambda j: j.passed.of(cluster))

    def _prefix(self, cluster: str) -> str:
        return self._keys.audit if cluster == EVERY else self._keys.journal(cluster)

    def _log(self, cluster: str, wrong: Mapping[str, str]) -> None:
        for key, why in wrong.items():
            log.error(
                f"{self._prefix(cluster)}{key} in the bastions' etcd cannot be read here, and is passed by. Another "
                "bastion with the recoverd that wrote it can; install that one here, too",
                cluster=cluster,
                error=why,
            )

    async def left(self, cluster: str) -> list[Journalled]:
        """What this file holds of a cluster of which the store has nothing: from a time before it, or from another
        store that was lost. Plans and incidents that are open there, record and memory.
        """
        return await self._local.read(lambda j: whole(j, cluster))

    async def _write(
        self,
        cluster: str,
        revision: int,
        instructions: Sequence[Journalled],
        passed: Mapping[str, str] | None = None,
        there: Collection[str] | None = None,
    ) -> None:
        await self._local.read(lambda j: j.follow(self._id, cluster, revision, instructions, passed, there))


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


def _by_revision(rows: Mapping[str, Row]) -> list[tuple[int, dict[str, Row]]]:
    """What was written together, by its name, the oldest first."""
    found: dict[int, dict[str, Row]] = {}
    for key, row in rows.items():
        found.setdefault(row.changed, {})[key] = row
    return sorted(found.items())


def _read(rows: Mapping[str, Row]) -> tuple[list[Journalled], dict[str, str]]:
    """What they hold; and why, by its name, for each that cannot be read."""
    found, wrong = list[Journalled](), dict[str, str]()
    for key, row in rows.items():
        try:
            found += unpacked(row.value)
        except ValueError as error:
            wrong[key] = " ".join(str(error).split())[:300]
    return found, wrong
