"""The journal of a bastion among several: what belongs to a cluster goes through its owner's ownership, what persons
have asked for goes to the bastions' etcd from wherever they asked, and reading is done in this bastion's own file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recoverd.engine.journal import Journal
from recoverd.engine.journal_mirror import cluster_of
from recoverd.engine.writer import JournalWriter
from recoverd.model.audit import EVERY
from recoverd.model.events import Journalled, SaveAudit
from recoverd.store.fleet import Fleet
from recoverd.store.gateway import put
from recoverd.store.rows import packed
from recoverd.store.tenure import NotOwner


class SharedWriter(JournalWriter):
    """A `JournalWriter` for everybody but the clusters' own loops, which have an `OwnedWriter` each. `local` is over
    the same file.
    """

    def __init__(self, journal: Journal, local: JournalWriter, fleet: Callable[[], Fleet]) -> None:
        super().__init__(journal)
        self._lock = local._lock
        self._fleet = fleet

    async def write(self, instructions: Sequence[Journalled]) -> None:
        """Commit what belongs together in one transaction each. Raises `NotOwner` for a cluster that another bastion
        watches.
        """
        fleet = self._fleet()
        placed: dict[str, list[Journalled]] = {}
        for instruction in instructions:
            placed.setdefault(cluster_of(instruction), []).append(instruction)
        for cluster, some in placed.items():
            if cluster == EVERY:
                await self._ask(fleet, [i for i in some if isinstance(i, SaveAudit)])
            elif writer := fleet.writers.get(cluster):
                await writer.write(some)
            else:
                raise NotOwner(_why_not(fleet, cluster))

    async def _ask(self, fleet: Fleet, requests: Sequence[SaveAudit]) -> None:
        """No cluster's owner has to be asked for what a person has asked for: nothing is done by it yet."""
        keys, mirror = fleet.keys, fleet.mirror
        if fleet.trouble or mirror is None:
            raise NotOwner(fleet.trouble or "the bastions' etcd has not been asked yet")
        for request in requests:
            rows = [put(keys.audit + request.entry.id, packed([request])), put(keys.heads + EVERY, request.entry.id)]
            answer = await fleet.kv.txn((), rows)
            await mirror.take(EVERY, answer.revision, [request])


def _why_not(fleet: Fleet, cluster: str) -> str:
    """Why nothing of the cluster can be journalled here. Who owned it is not known while the store is silent."""
    if fleet.trouble:
        return fleet.trouble
    if owner := fleet.owner_of(cluster):
        return f"{cluster} is watched by {owner}, and journalled there"
    return f"{cluster} is watched by no bastion at this moment, so nothing of it can be journalled"
