"""One cluster's journal as its owner writes it: each batch is one transaction of the bastions' etcd, which holds only
while this very ownership does, and then a mirror of it in this bastion's own file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from recoverd.engine.writer import to_its_end
from recoverd.model.events import Journalled
from recoverd.store.gateway import Answer, Kv, StoreError, get, holds, made_at, put
from recoverd.store.keys import Keys
from recoverd.store.rows import rows
from recoverd.store.tenure import NotOwner, Term

LARGEST = 1_300_000
"""Bytes of one batch: etcd takes requests of 1.5 MiB."""
AGAIN = 0.2
"""Seconds after which a batch is tried again whose fate is not known."""
Mirrored = Callable[[str, int, Sequence[Journalled]], Awaitable[None]]
"""Takes what was journalled of a cluster at a revision into this bastion's own file; never raises."""

log = structlog.get_logger()


class OwnedWriter:
    """Implements `recoverd.engine.writer.Writes` for one cluster, for as long as this bastion owns it.

    **Exactly once.** A batch has a name. It is written only where the batch before it is the newest, so that one whose
    answer was lost can be sent again: it finds itself there, or is written now. What is not known to be journalled when
    the ownership ends is none of this process's business any more: whoever owns the cluster next reads what is there.
    """

    def __init__(self, kv: Kv, keys: Keys, term: Term, mirrored: Mirrored) -> None:
        self.term = term
        self.broken = False
        """It cannot go on, though this bastion may own the cluster: whoever takes it up next begins anew."""
        self._kv = kv
        self._keys = keys
        self._mirrored = mirrored
        self._lock = asyncio.Lock()
        self._batch = 0

    async def begin(self) -> None:
        """Make this owner's batches the only ones that can follow. Raises `JournalError`."""
        when = [made_at(self._keys.owners + self.term.cluster, self.term.revision)]
        answer = await self._kv.txn(when, [put(self._keys.heads + self.term.cluster, self._named(0))])
        if not answer.held:
            raise NotOwner(f"{self.term.cluster} is not this bastion's any more")

    async def write(self, instructions: Sequence[Journalled]) -> None:
        """Commit all of them in one transaction, or raise `JournalError` and commit none."""
        if not instructions:
            return
        async with self._lock:
            await to_its_end(self._write(instructions))

    async def _write(self, instructions: Sequence[Journalled]) -> None:
        cluster = self.term.cluster
        before, batch = self._named(self._batch), self._named(self._batch + 1)
        values = rows(self._keys.journal(cluster), batch, instructions)
        if (size := sum(len(v) for v in values.values())) > LARGEST:
            raise StoreError(
                f"what is to be journalled of {cluster} takes {size} bytes, and the bastions' etcd takes {LARGEST} at "
                "once. Nothing was done because of it; report this"
            )
        head, owner = self._keys.heads + cluster, self._keys.owners + cluster
        when = [made_at(owner, self.term.revision), holds(head, before)]
        then = [put(head, batch), *(put(key, value) for key, value in values.items())]
        while True:
            if why := self.term.lapsed():
                raise NotOwner(f"nothing more of {cluster} is journalled here, and nothing done: {why}")
            try:
                answer = await self._kv.txn(when, then, [get(head), get(owner)])
            except StoreError as error:
                self._told(error)
                await asyncio.sleep(AGAIN)
                continue
            break
        revision = answer.revision if answer.held else self._found(batch, answer)
        if why := self.term.lapsed():
            raise NotOwner(f"nothing is done to {cluster} here any more, and what was begun is its next owner's: {why}")
        self._batch += 1
        await self._mirrored(cluster, revision, instructions)

    def _found(self, batch: str, answer: Answer) -> int:
        """The revision at which the batch was written after all, by an attempt whose answer was lost."""
        (head, owner) = answer.found
        if owner and owner[0].created == self.term.revision and head and head[0].value == batch.encode():
            return head[0].changed
        self.broken = True
        whose = owner[0].value.decode(errors="replace") if owner else "nobody's"
        why = f"{self.term.cluster} is not this bastion's any more; by the bastions' etcd it is {whose}"
        raise NotOwner(f"{why}. Nothing more of it is journalled here, and nothing done")

    def _named(self, number: int) -> str:
        """Batches of one owner follow each other in the order of their names, and so do owners."""
        return f"{self.term.revision:016x}-{number:010d}"

    def _told(self, error: StoreError) -> None:
        log.warning("the bastions' etcd is asked again", cluster=self.term.cluster, error=str(error))
