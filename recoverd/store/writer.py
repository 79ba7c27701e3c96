"""One cluster's journal as its owner writes it: each batch is one transaction of the bastions' etcd, which holds only
while this very ownership does, and then a mirror of it in this bastion's own file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from recoverd.engine.writer import to_its_end
from recoverd.model.events import Journalled, Remember, RememberPart
from recoverd.model.memory_parts import INDEX, REST, Changes, Written, found
from recoverd.store.gateway import (
    Answer,
    Json,
    Kv,
    Row,
    StoreError,
    StoreRefused,
    below,
    delete,
    get,
    holds,
    made_at,
    put,
)
from recoverd.store.keys import Keys
from recoverd.store.rows import grouped, parts, rows
from recoverd.store.tenure import NotOwner, Term

LARGEST = 1_300_000
"""Bytes of one batch: etcd takes requests of 1.5 MiB."""
MOST = 100
"""Rows of one batch that are written or deleted: etcd takes 128 operations."""
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

    **All or nothing**, but for parts of the memory that are more than etcd takes at once: those are written ahead, in
    batches of their own. Each is what a healthy sweep has shown of one machine, and true by itself.

    **Asked again is what may yet go.** While etcd is silent, or has no leader, a batch waits for it for as long as the
    lease lives. What it refuses for good (`recoverd.store.refusals`) is not sent again: the write fails, nothing of it
    is done, and the cluster is looked at as before.
    """

    def __init__(self, kv: Kv, keys: Keys, term: Term, mirrored: Mirrored) -> None:
        self.term = term
        self.broken = ""
        """Why it cannot go on, though this bastion may own the cluster: whoever takes it up next begins anew."""
        self.trouble = ""
        """Why the newest batch was not journalled, though this bastion owns the cluster; "" where it was."""
        self._kv = kv
        self._keys = keys
        self._mirrored = mirrored
        self._lock = asyncio.Lock()
        self._batch = 0
        self._memory = Written(indexed=True)
        """What the store holds of what is remembered."""

    async def begin(self) -> None:
        """Make this owner's batches the only ones that can follow. Raises `JournalError`."""
        when = [made_at(self._keys.owners + self.term.cluster, self.term.revision)]
        journal = self._keys.journal(self.term.cluster)
        head = put(self._keys.heads + self.term.cluster, self._named(0))
        answer = await self._kv.txn(when, [head, below(f"{journal}memory")])
        if not answer.held:
            raise NotOwner(f"{self.term.cluster} is not this bastion's any more")
        self._memory = await asyncio.to_thread(_found, journal, answer.found[0])

    async def keep_aside(self, rows: Sequence[Row]) -> None:
        """Keep these as they are, which are about to be written over by who cannot read them. Raises `JournalError`."""
        journal, aside = self._keys.journal(self.term.cluster), self._keys.aside(self.term.cluster)
        async with self._lock:
            for row in rows:
                kept = put(f"{aside}{row.key.removeprefix(journal)}@{row.changed}", row.value)
                await to_its_end(self._kept(kept))

    async def _kept(self, row: Json) -> None:
        await self._commit([row])

    async def write(self, instructions: Sequence[Journalled]) -> None:
        """Commit all of them in one transaction, or raise `JournalError` and commit none."""
        if not instructions:
            return
        async with self._lock:
            await to_its_end(self._write(instructions))

    async def _write(self, instructions: Sequence[Journalled]) -> None:
        # many nodes are much text
        changes: Changes | None = None
        try:
            batches, changes = await asyncio.to_thread(self._batches, instructions)
            for batch in batches:
                revision = await self._commit(batch)
        except StoreRefused as refusal:
            self.trouble = str(refusal)
            if changes:  # some of it may have been written ahead
                self._memory.doubt(changes)
            raise
        if changes:
            self._memory.adopt(changes)
        self.trouble = ""
        await self._mirrored(self.term.cluster, revision, instructions)
        self._still_ours()  # the process may have been stopped meanwhile, for any time

    def _batches(self, instructions: Sequence[Journalled]) -> tuple[list[list[Json]], Changes | None]:
        """What to write, one transaction after the other, and what comes of the memory by that. Raises `StoreRefused`
        for what etcd does not take.
        """
        journal, changes = self._keys.journal(self.term.cluster), None
        together: list[Journalled] = [i for i in instructions if not isinstance(i, Remember)]
        ahead: list[Journalled] = []
        for memory in [i.memory for i in instructions if isinstance(i, Remember)][-1:]:
            changes = self._memory.changes(memory)
            for part, text in changes.puts.items():
                where = together if part in (REST, INDEX) else ahead
                where.append(RememberPart(self.term.cluster, part, text))
        groups = grouped(rows(journal, "", ahead), MOST, LARGEST // 2)
        last = rows(journal, self._named(self._batch + len(groups) + 1), together)
        if len(groups) == 1 and len(last) + len(groups[0]) <= MOST and _size(last) + _size(groups[0]) <= LARGEST:
            last, groups = groups[0] | rows(journal, self._named(self._batch + 1), together), []
        if (size := max(_size(values) for values in (*groups, last))) > LARGEST:
            raise StoreRefused(
                f"what is to be journalled of {self.term.cluster} takes {size} bytes, and the bastions' etcd takes "
                f"{LARGEST} at once. Nothing was done because of it; report this"
            )
        batches = [[put(key, value) for key, value in values.items()] for values in (*groups, last)]
        if changes:
            changes = replace(changes, gone=changes.gone[: max(0, MOST - len(last))])
            batches[-1] += [delete(f"{journal}memory/{part}") for part in changes.gone]
        return batches, changes

    async def _commit(self, operations: Sequence[Json]) -> int:
        """Carry them out as the next batch; its revision."""
        cluster = self.term.cluster
        before, batch = self._named(self._batch), self._named(self._batch + 1)
        head, owner = self._keys.heads + cluster, self._keys.owners + cluster
        when = [made_at(owner, self.term.revision), holds(head, before)]
        then, sure = [put(head, batch), *operations], True
        if self.broken:  # a batch of the same name may be there: this one would be taken for it, and lost
            raise NotOwner(self.broken)
        while True:
            if why := self.term.lapsed():
                raise NotOwner(f"nothing more of {cluster} is journalled here, and nothing done: {why}")
            try:
                answer = await self._kv.txn(when, then, [get(head), get(owner)])
            except StoreRefused as refusal:
                raise self._refused(refusal, sure=sure and refusal.sure) from refusal
            except StoreError as error:
                sure = False
                self._told(error)
                await asyncio.sleep(AGAIN)
                continue
            break
        revision = answer.revision if answer.held else self._found(batch, answer)
        self._still_ours()
        self._batch += 1
        return revision

    def _still_ours(self) -> None:
        """Raise `NotOwner` where the ownership has ended while a write was under way."""
        if why := self.term.lapsed():
            cluster = self.term.cluster
            raise NotOwner(f"nothing is done to {cluster} here any more, and what was begun is its next owner's: {why}")

    def _refused(self, refusal: StoreRefused, *, sure: bool) -> StoreRefused:
        """What is said of a batch that was refused for good. Where an earlier attempt may have written it, this owner
        cannot go on: its next batch would have the same name.
        """
        cluster = self.term.cluster
        said = (
            f"what was to be journalled of {cluster} was refused, so nothing of it was done; it is looked at as "
            f"before, and tried anew with what is to be journalled next. {refusal}"
        )
        if not sure:
            self.broken = said = (
                f"whether what was to be journalled of {cluster} is there is not known, since an attempt before was "
                f"not answered; nothing of it was done, and its next owner goes on from what is there. {refusal}"
            )
        return StoreRefused(said)

    def _found(self, batch: str, answer: Answer) -> int:
        """The revision at which the batch was written after all, by an attempt whose answer was lost."""
        (head, owner) = answer.found
        if owner and owner[0].created == self.term.revision and head and head[0].value == batch.encode():
            return head[0].changed
        whose = owner[0].value.decode(errors="replace") if owner else "nobody's"
        why = f"{self.term.cluster} is not this bastion's any more; by the bastions' etcd it is {whose}"
        self.broken = f"{why}. Nothing more of it is journalled here, and nothing done"
        raise NotOwner(self.broken)

    def _named(self, number: int) -> str:
        """Batches of one owner follow each other in the order of their names, and so do owners."""
        return f"{self.term.revision:016x}-{number:010d}"

    def _told(self, error: StoreError) -> None:
        log.warning("the bastions' etcd is asked again", cluster=self.term.cluster, error=str(error))


def _found(journal: str, rows: Sequence[Row]) -> Written:
    return found(parts(journal, {row.key: row.value for row in rows}))


def _size(values: dict[str, bytes]) -> int:
    return sum(map(len, values.values()))
