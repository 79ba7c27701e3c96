"""This bastion among the others: it keeps its lease alive, looks at the fleet twice a second, takes the clusters that
are its to watch, and lets go of them when they are not its own any more.

It looks and does not listen: one transaction reads who lives, who owns what, which cluster has news, and which requests
there are, all at one revision and with etcd's quorum, so that a look that is answered is also the proof that it may go
on. A stream that hangs would prove nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from recoverd.clients.lease import Bastion
from recoverd.config.types import EtcdStore
from recoverd.engine.journal_file import JournalError
from recoverd.engine.writer import JournalWriter
from recoverd.store import machines, spread
from recoverd.store.gateway import Kv, Row, StoreError, StoreRefused, below, delete, get, made_at, put
from recoverd.store.hands import Hands
from recoverd.store.identity import identified, not_gone_back
from recoverd.store.keys import Keys
from recoverd.store.mirror import Mirror
from recoverd.store.points import Places
from recoverd.store.retention import Retention, trim_audit
from recoverd.store.spread import View
from recoverd.store.tenure import Session, Term, since_boot
from recoverd.store.writer import OwnedWriter

LOOK = 0.5
"""Seconds from one look to the next."""
WAITS = 3.0
"""Seconds after which a free cluster is taken by whoever can, though it is another's to take."""
UNFIT = 60.0
"""Seconds for which a cluster is left to others that could not be taken up here."""
COMPACT = 300.0
"""Seconds for which etcd keeps what was written over."""
AT_ONCE = 8
"""Clusters that are taken up or let go of at the same time."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the store has found."""

    view: View
    owners: Mapping[str, Row]
    """By cluster."""
    heads: Mapping[str, int]
    """By cluster: the revision of its newest batch."""
    requests: tuple[Row, ...] = ()
    answers: tuple[Row, ...] = ()
    machines: Mapping[str, str] = field(default_factory=dict)
    """By address: as what cluster a control plane is watched."""


@dataclass(slots=True)
class Fleet:
    """`run` for as long as the daemon lives, then `leave`."""

    kv: Kv
    store: EtcdStore
    bastion: Bastion
    local: JournalWriter
    hands: Hands
    clock: Callable[[], float] = since_boot
    heard: Callable[[Look, Fleet], None] = lambda look, fleet: None
    """Is given each look: requests that others pass on, and answers."""
    trouble: str = "the bastions' etcd has not been asked yet"
    """Why nothing can be journalled here at all; "" while all is well."""
    behind: str = ""
    """Why this bastion's own file lacks what others have journalled; "" while it has it."""
    seen: Look | None = None
    session: Session | None = None
    mirror: Mirror | None = None
    writers: dict[str, OwnedWriter] = field(default_factory=dict)
    """Of the clusters that this bastion owns."""
    id: str = ""
    places: Places = field(init=False)
    _keeping: asyncio.Task[None] | None = None
    _changing: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _free: dict[str, float] = field(default_factory=dict)
    """Since when a cluster has been nobody's."""
    _unfit: dict[str, float] = field(default_factory=dict)
    _left: set[str] = field(default_factory=set)
    """Clusters that were left to bastions that can read all of them."""
    _known: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Of clusters elsewhere: the newest batch that is mirrored here, and the owner that was told."""
    _well_at: float = field(default=0.0)
    _joined_at: float = 0.0
    _compacts: tuple[float, int] = (0.0, 0)
    """When etcd was told last to forget, and the revision before which it may the next time."""
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def __post_init__(self) -> None:
        self.places = Places(self.kv, self.keys, self.me)

    @property
    def keys(self) -> Keys:
        return Keys(self.store.prefix)

    @property
    def me(self) -> str:
        return self.store.bastion

    async def run(self) -> None:
        """Look for ever."""
        self._well_at = self.clock()
        while True:
            try:
                await self._round()
            except JournalError as error:
                await self._failed(str(error))
            except Exception:  # a defect here must end neither the watch nor the lease's own end
                log.exception("a look at the bastions' etcd broke recoverd itself; it is tried again")
            await asyncio.sleep(LOOK)

    async def leave(self) -> None:
        """Give everything back at the end, so that others take over at once."""
        for task in self._changing.values():
            task.cancel()
        if self._keeping:
            self._keeping.cancel()
        if self.session and not self.session.lapsed():
            self.session.lose("this bastion is being stopped")
            try:
                await self.kv.revoke(self.session.lease)
            except StoreError as error:
                log.warning("the others take over when this bastion's lease has run out", error=str(error))

    def owner_of(self, cluster: str) -> str:
        """Name of the bastion that watches the cluster, as the newest look has it; "" where none does."""
        return self.seen.view.owners.get(cluster, "") if self.seen else ""

    # --- one look ---

    async def _round(self) -> None:
        # what is written while the look is under way is no measure for it
        known = max(self.mirror.written if self.mirror else 0, self.seen.view.revision if self.seen else 0)
        look = await self._look()
        self._well_at, self.seen = self.clock(), look
        if self.session and look.view.revision < known:
            self.session.lose("the bastions' etcd has gone back in time, as after a restore of a snapshot of it")
            return
        if self.session is None:
            await self._join(look)
            return
        self.trouble = ""
        for cluster, writer in list(self.writers.items()):
            owner = look.owners.get(cluster)
            gone = owner is None or owner.created != writer.term.revision
            if writer.broken or (gone and look.view.revision >= writer.term.revision):
                await self._drop(cluster, writer.broken or "it is not this bastion's any more")
                await self._release(writer.term)
        self.heard(look, self)
        self._settle(look)
        await self._follow(look)
        await self._compact(look.view.revision)
        await self.places.share(self.hands.points(), self.clock())

    async def _failed(self, why: str) -> None:
        silent = self.clock() - self._well_at
        if self.session is None or silent > self.store.ttl:
            if not self.trouble:
                log.error("nothing is done to any cluster any more", event_name="store-lost", reason=why)
            self.trouble = why
            if silent > self.store.ttl and self.session is None:
                await self.hands.adrift(why)

    async def _look(self) -> Look:
        keys = self.keys
        places = keys.bastions, keys.owners, keys.heads, keys.requests, keys.answers, keys.machines
        answer = await self.kv.txn((), [below(place) for place in places])
        bastions, owners, heads, requests, answers, planes = answer.found
        by_cluster = {row.key.removeprefix(keys.owners): row for row in owners}
        view = View(
            answer.revision,
            frozenset(row.key.removeprefix(keys.bastions) for row in bastions),
            {cluster: row.value.decode(errors="replace") for cluster, row in by_cluster.items()},
        )
        newest = {row.key.removeprefix(keys.heads): row.changed for row in heads}
        return Look(view, by_cluster, newest, requests, answers, machines.held(keys, planes))

    async def _compact(self, revision: int) -> None:
        """Let etcd forget what was written over a while ago, whoever of the bastions comes to it first."""
        at, known = self._compacts
        if self.clock() - at < COMPACT:
            return
        self._compacts = self.clock(), revision
        if known:
            with suppress(StoreError):  # another one has done it
                await self.kv.compact(known)
            await trim_audit(self.kv, self.keys)

    # --- the lease ---

    async def _join(self, look: Look) -> None:
        """Be one of the bastions. Raises `StoreError` where another one has this one's name."""
        id = await identified(self.kv, self.keys)
        await not_gone_back(self.local, self.keys, id, self.id, look.view.revision)
        if not self.id:
            self.id, self.mirror = id, Mirror(self.kv, self.keys, id, self.local, self.hands.say)
        key, mine = self.keys.bastions + self.me, json.dumps({"id": self.bastion.id, "host": self.bastion.name})
        there = (await self.kv.txn((), [get(key)])).found[0]
        if there and there[0].value.decode(errors="replace") != mine:
            raise StoreError(
                f"another bastion is called {self.me} in the bastions' etcd ({there[0].value.decode(errors='replace')})"
                ": give this one a name of its own, `store.etcd.bastion` in its configuration. Nothing is done here"
            )
        if there and there[0].lease:
            # of an earlier process on this machine, which the lock on the journal's file says is gone
            await self.kv.revoke(there[0].lease)
        began = self.clock()
        session = Session(await self.kv.grant(self.store.ttl), began, self.store.ttl, self.clock)
        await self.kv.txn((), [put(key, mine, session.lease)])
        self.session, self.trouble, self._joined_at = session, "", self.clock()
        self._free.clear()
        self._keeping = asyncio.create_task(self._keep(session), name="lease of this bastion")
        log.info(f"this bastion is {self.me} among {len(look.view.bastions | {self.me})}", event_name="joined")
        await self.hands.ashore()

    async def _keep(self, session: Session) -> None:
        """Renew the lease until it is lost; then let go of everything at once."""
        while not session.lapsed():
            began = self.clock()
            try:
                async with asyncio.timeout(max(0.1, session.left)):
                    session.kept(began, await self.kv.keep(session.lease))
            except Exception as error:  # whatever it is, the lease must end here when it is over
                log.debug("the lease was not renewed", error=str(error))
            await asyncio.sleep(min(self.store.ttl / 4, max(0.05, session.left)))
        why = session.lapsed()
        log.error(f"{why}; nothing is done to any cluster here", event_name="lease-lost")
        changing = list(self._changing.values())
        for task in changing:
            task.cancel()
        await asyncio.gather(*changing, return_exceptions=True)
        await asyncio.gather(*(self._drop(cluster, why) for cluster in list(self.writers)), return_exceptions=True)
        self.session, self.trouble = None, why

    # --- clusters ---

    async def _follow(self, look: Look) -> None:
        """Take in what others have journalled; what cannot be kept here of one cluster holds up no other's."""
        assert self.mirror is not None
        behind = ""
        for cluster, revision in look.heads.items():
            owner = look.view.owners.get(cluster, "")
            known = self._known.get(cluster) == (revision, owner)
            if known or cluster in self.writers or cluster in self._changing:
                continue
            try:
                await self.mirror.catch_up(cluster)
            except JournalError as error:
                if isinstance(error, StoreError) and not isinstance(error, StoreRefused):
                    raise  # it would answer for no other, either
                behind = str(error)
                continue
            self._known[cluster] = revision, owner
            await self.hands.elsewhere(cluster, owner)
        self.behind = behind

    def _settle(self, look: Look) -> None:
        """Begin to take what is this bastion's to take, and to give up what it has too much."""
        assert self.session is not None
        now, clusters = self.clock(), self.hands.wanted()
        self._left -= {cluster for cluster, owner in look.view.owners.items() if owner != self.me}
        self._free = {c: self._free.get(c, now) for c in clusters if c not in look.view.owners}
        for cluster, row in look.owners.items():
            # it was taken, and the answer was lost
            if row.lease == self.session.lease and cluster not in self.writers:
                term = Term(cluster, row.created, self.id, self.session)
                # what could not be taken up here, nor given back
                unfit = self._unfit.get(cluster, 0.0) >= now
                self._change(cluster, self._release(term) if unfit else self._take_up(term))
        if now - self._joined_at < 2 * LOOK:
            return  # others that come up at the same time are seen by then
        waiting = [c for c, since in self._free.items() if now - since > WAITS]
        for cluster in spread.to_take(look.view, self.me, clusters, waiting):
            if self._unfit.get(cluster, 0.0) < now and not self.held_as(cluster):
                self._change(cluster, self._acquire(cluster, self.session))
        if not self._changing:
            for cluster in spread.to_give_up(look.view, self.me, clusters, self.hands.resting()):
                self._change(cluster, self._give_up(cluster))
        for cluster in set(self.writers) - set(clusters):
            self._change(cluster, self._give_up(cluster))
        for cluster in set(self.writers) & set(clusters):
            if machines.differ(look.machines, cluster, self.hands.planes(cluster)) and not self.held_as(cluster):
                self._change(cluster, self._hold(self.writers[cluster].term, look))

    def _change(self, cluster: str, work: Coroutine[None, None, None]) -> None:
        if cluster in self._changing:
            work.close()
            return
        task = asyncio.create_task(self._changed(cluster, work), name=f"hand-over of {cluster}")
        self._changing[cluster] = task
        task.add_done_callback(lambda _: self._changing.pop(cluster, None))

    async def _changed(self, cluster: str, work: Coroutine[None, None, None]) -> None:
        try:
            async with self._turns:
                await work
        except JournalError as error:
            log.warning("a cluster could not be handed over; it is tried again", cluster=cluster, error=str(error))
        except Exception:
            log.exception("the hand-over of a cluster broke recoverd itself", cluster=cluster)
            self._unfit[cluster] = self.clock() + UNFIT
        finally:
            work.close()

    async def _acquire(self, cluster: str, session: Session) -> None:
        owner, planes = self.keys.owners + cluster, self.hands.planes(cluster)
        held = self.seen.machines if self.seen else {}  # what an owner before has left there is the cluster's as well
        when, then = machines.having(self.keys, held, cluster, planes, session.lease)
        answer = await self.kv.txn([made_at(owner, 0), *when], [put(owner, self.me, session.lease), *then])
        if answer.held:
            await self._take_up(Term(cluster, answer.revision, self.id, session))

    async def _hold(self, term: Term, look: Look) -> None:
        """Have the control planes that the configuration gives now to a cluster which this bastion owns."""
        cluster, planes = term.cluster, self.hands.planes(term.cluster)
        when, then = machines.having(self.keys, look.machines, cluster, planes, term.session.lease)
        await self.kv.txn([made_at(self.keys.owners + cluster, term.revision), *when], then)

    def held_as(self, cluster: str) -> str:
        """As which other cluster a control plane of this one is watched, as while it is renamed; "" where none is."""
        return machines.held_as(self.seen.machines, cluster, self.hands.planes(cluster)) if self.seen else ""

    async def _take_up(self, term: Term) -> None:
        """Go on with the cluster from where the store says that it stands."""
        assert self.mirror is not None
        cluster = term.cluster
        writer = OwnedWriter(self.kv, self.keys, term, self.mirror.take)
        try:
            await writer.begin()
            if not await self.mirror.catch_up(cluster, whole=True) and (left := await self.mirror.left(cluster)):
                await writer.write(left)
            # what it was called before, of which the newest counts as well
            for other in self.seen.heads.keys() - set(self.hands.wanted()) - self.writers.keys() if self.seen else ():
                with suppress(JournalError):
                    await self.mirror.catch_up(other)
            await self._left_to_others(cluster)
            self.writers[cluster] = writer
            await self.hands.take(cluster, writer)
            await Retention(self.kv, self.keys, term).trim()
        except JournalError:
            self._unfit[cluster] = self.clock() + UNFIT
            await self._drop(cluster, "it could not be taken up here")
            await self._release(term)
            raise
        if why := term.lapsed():
            await self._drop(cluster, why)

    async def _left_to_others(self, cluster: str) -> None:
        """Raise `StoreError` where rows of the cluster cannot be read here, the first time: another bastion may be able
        to. Where none has taken it by the next time, it is watched from here all the same.
        """
        assert self.mirror is not None
        passed = await self.mirror.passed(cluster)
        if passed and cluster not in self._left:
            self._left.add(cluster)
            key, why = next(iter(passed.items()))
            raise StoreError(
                f"of {cluster} {len(passed)} rows in the bastions' etcd cannot be read here, as {key} ({why}). It is "
                f"left to other bastions for {UNFIT:g} s: one with the recoverd that wrote them can; install that one "
                "here, too"
            )
        self._left.discard(cluster)

    async def keep_aside(self, cluster: str) -> None:
        """Keep in the store what could not be read of a cluster that this bastion owns. Raises `JournalError`."""
        assert self.mirror is not None
        names = [self.keys.journal(cluster) + key for key in await self.mirror.passed(cluster)]
        for some in (names[at : at + AT_ONCE] for at in range(0, len(names), AT_ONCE)):
            found = (await self.kv.txn((), [get(name) for name in some])).found
            await self.writers[cluster].keep_aside([row for rows in found for row in rows])

    async def _give_up(self, cluster: str) -> None:
        writer = self.writers.get(cluster)
        if writer and await self.hands.rest(cluster):
            self.writers.pop(cluster, None)
            await self._release(writer.term)

    async def _release(self, term: Term) -> None:
        owner = self.keys.owners + term.cluster
        (rows,) = (await self.kv.txn((), [below(self.keys.machines)])).found
        _, then = machines.having(self.keys, machines.held(self.keys, rows), term.cluster, (), term.session.lease)
        await self.kv.txn([made_at(owner, term.revision)], [delete(owner), *then])

    async def _drop(self, cluster: str, why: str) -> None:
        self.writers.pop(cluster, None)
        self._known.pop(cluster, None)
        await self.hands.drop(cluster, why)
