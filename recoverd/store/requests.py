"""Requests of persons that another bastion passes on to the one that owns the cluster, and its answers, as keys in the
bastions' etcd. A request is taken once: whoever deletes it has it.

An answer is one sentence, or comes in parts for as long as something goes on: then its own key says only how many there
are by now, since every bastion reads that with each look, and the parts are fetched by who asked for them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from recoverd.engine.journal_file import JournalError
from recoverd.model.events import Refused
from recoverd.store.fleet import Fleet, Look
from recoverd.store.gateway import Answer, Json, Row, StoreError, StoreRefused, after, below, delete, put, there

PATIENCE = 15.0
"""Seconds for the owner to answer, or to begin: recoverctl waits for 20."""
AGAIN = 0.5
"""Seconds after which a part is written again of which it is not known whether it was."""
LOOKS = 1.0
"""Seconds between two looks at whether the owner is the owner still."""
Do = Callable[[str, str, Mapping[str, Any]], Awaitable[str]]
"""Carries out a request of a cluster, by its name and arguments. Raises `Refused` and `JournalError`."""
Tell = Callable[[str, str, Mapping[str, Any]], AsyncGenerator[bytes]]
"""The same for one that is answered in parts, of which none is larger than a megabyte."""

log = structlog.get_logger()


@dataclass(slots=True)
class Heard:
    """What the owner has said of one request so far, and when there is more of it."""

    said: dict[str, Any] = field(default_factory=dict)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, said: dict[str, Any]) -> None:
        if said != self.said:
            self.said = said
            self.more.set()


class Passing:
    """Both ends of it in one bastion. `heard` is given each look at the store."""

    def __init__(self, do: Do, tell: Tell) -> None:
        self._do = do
        self._tell = tell
        self._asked: dict[str, Heard] = {}
        self._doing: dict[str, asyncio.Task[None]] = {}

    def heard(self, look: Look, fleet: Fleet) -> None:
        for row in look.answers:
            if asked := self._asked.get(row.key.removeprefix(fleet.keys.answers)):
                asked.take(json.loads(row.value))
        for row in look.requests:
            cluster, _, id = row.key.removeprefix(fleet.keys.requests).partition("/")
            if cluster in fleet.writers and id not in self._doing:
                task = asyncio.create_task(self._answer(fleet, cluster, id, row), name=f"request {id}")
                self._doing[id] = task
                task.add_done_callback(lambda _, id=id: self._doing.pop(id, None))  # type: ignore[misc]

    # --- who was asked by a person ---

    async def pass_on(self, fleet: Fleet, cluster: str, call: str, arguments: Mapping[str, Any]) -> str:
        """What the owner of the cluster answers. Raises `Refused` where it refuses or is silent, and `JournalError`."""
        owner, id, heard = _owner(fleet, cluster), secrets.token_hex(8), Heard()
        self._asked[id] = heard
        try:
            await self._ask(fleet, cluster, owner, id, heard, {"call": call, "arguments": dict(arguments)})
        finally:
            self._asked.pop(id, None)
        await fleet.kv.txn((), [delete(fleet.keys.answers + id)])
        _refused(owner, heard.said)
        return f"{owner}: {heard.said['message']}"

    async def follow(
        self, fleet: Fleet, cluster: str, call: str, arguments: Mapping[str, Any]
    ) -> AsyncGenerator[bytes]:
        """What the owner of the cluster answers, part by part as they come. Raises `Refused`, also where the owner is
        lost meanwhile, and `JournalError`. Whoever stops listening stops nothing that has begun.
        """
        owner, id, heard = _owner(fleet, cluster), secrets.token_hex(8), Heard()
        self._asked[id], parts, since = heard, f"{fleet.keys.parts}{id}/", 0
        asked = {"call": call, "arguments": dict(arguments), "in_parts": True, "by": fleet.me}
        try:
            await self._ask(fleet, cluster, owner, id, heard, asked)
            while True:
                heard.more.clear()
                said = heard.said  # before the parts are read: those that it counts are there
                for row in (await fleet.kv.txn((), [below(parts, since=since + 1)])).found[0]:
                    since = max(since, row.changed)
                    yield row.value
                _refused(owner, said)
                if "parts" not in said or said.get("ended"):
                    return
                await _more(fleet, cluster, owner, heard)
        finally:
            self._asked.pop(id, None)
            with suppress(JournalError):  # they go with the owner's lease
                await fleet.kv.txn((), [delete(fleet.keys.answers + id), delete(parts, after(parts))])

    async def _ask(self, fleet: Fleet, cluster: str, owner: str, id: str, heard: Heard, asked: Json) -> None:
        """Have the owner take the request, and wait until it has said something."""
        assert fleet.session is not None
        key = f"{fleet.keys.requests}{cluster}/{id}"
        try:
            await fleet.kv.txn((), [put(key, json.dumps(asked), fleet.session.lease)])
            async with asyncio.timeout(PATIENCE):
                await heard.more.wait()
        except TimeoutError:
            taken = (await self._taken_back(fleet, key, owner)).deleted == 0
            came = (
                "it has taken the request, and what came of it is not known here: recoverctl status tells"
                if taken
                else "nothing was done"
            )
            raise Refused(
                f"the recoverd on {owner}, which watches {cluster}, did not answer within {PATIENCE:g} s; {came}. Ask "
                f"there, with recoverctl on {owner}"
            ) from None
        except StoreRefused:
            raise
        except StoreError as error:
            raise _unknown(owner, error) from error

    async def _taken_back(self, fleet: Fleet, key: str, owner: str) -> Answer:
        try:
            return await fleet.kv.txn((), [delete(key)])
        except StoreError as error:
            raise _unknown(owner, error) from error

    # --- who owns the cluster ---

    async def _answer(self, fleet: Fleet, cluster: str, id: str, row: Row) -> None:
        if fleet.session is None:
            return
        lease = fleet.session.lease
        try:
            taken = await fleet.kv.txn([there(row.key)], [delete(row.key)])
            if not taken.held:
                return
            asked = json.loads(row.value)
            if asked.get("in_parts"):
                await self._answer_in_parts(fleet, cluster, id, asked)
                return
            said = await self._said(cluster, self._do(cluster, str(asked["call"]), asked["arguments"]))
            await fleet.kv.txn((), [put(fleet.keys.answers + id, json.dumps(said), lease)])
        except JournalError as error:
            log.error("a request that was passed on could not be answered", cluster=cluster, error=str(error))

    async def _answer_in_parts(self, fleet: Fleet, cluster: str, id: str, asked: Json) -> None:
        assert fleet.session is not None
        lease, place = fleet.session.lease, fleet.keys.answers + id
        count = 0

        def counted(**more: object) -> Json:
            return put(place, json.dumps({"parts": count, **more}), lease)

        async def all_of_them() -> str:
            nonlocal count
            async with aclosing(self._tell(cluster, str(asked["call"]), asked["arguments"])) as parts:
                async for part in parts:
                    count += 1
                    row = put(f"{fleet.keys.parts}{id}/{count:08d}", part, lease)
                    if not (await _surely(fleet, listening, [row, counted()])).held:
                        break
            return ""

        lives = there(fleet.keys.bastions + str(asked["by"]))
        listening = [there(place), lives]
        if not (await _surely(fleet, [lives], [counted()])).held:
            return  # whoever asked is gone: nothing is begun
        said = await self._said(cluster, all_of_them())
        answer = await _surely(fleet, listening, [counted(ended=True, **said)])
        if not answer.held:  # nobody is there who would take it away
            parts = f"{fleet.keys.parts}{id}/"
            await fleet.kv.txn((), [delete(place), delete(parts, after(parts))])

    async def _said(self, cluster: str, does: Awaitable[str]) -> dict[str, Any]:
        try:
            return {"message": await does}
        except Refused as refused:
            return {"refused": str(refused), "missing": refused.missing, "passing": refused.passing}
        except JournalError as error:
            return {"refused": str(error)}
        except Exception as error:  # whoever waits for it is told, and this bastion's log has it whole
            log.exception("a request that was passed on broke recoverd itself", cluster=cluster)
            return {"refused": f"recoverd itself failed ({error!r}); its log says how"}


def _owner(fleet: Fleet, cluster: str) -> str:
    owner = fleet.owner_of(cluster)
    if fleet.trouble or fleet.session is None:
        raise Refused(f"{cluster} is not watched by this bastion, and its owner cannot be asked: {fleet.trouble}")
    if not owner:
        raise Refused(f"no bastion watches {cluster} at this moment; ask again in some seconds")
    return owner


def _unknown(owner: str, error: StoreError) -> Refused:
    """The request may be there, and whoever reaches the store takes it."""
    return Refused(
        f"whether the recoverd on {owner} has got the request, and what came of it, is not known here: recoverctl on "
        f"{owner} tells. {error}"
    )


def _refused(owner: str, said: Mapping[str, Any]) -> None:
    """Raise what the owner has refused."""
    if "refused" in said:
        missing, passing = bool(said.get("missing")), bool(said.get("passing"))
        raise Refused(f"{owner}: {said['refused']}", missing=missing, passing=passing)


async def _more(fleet: Fleet, cluster: str, owner: str, heard: Heard) -> None:
    """Wait for the next part. Raises `Refused` where none can come any more."""
    while not heard.more.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOKS):
                await heard.more.wait()
        if (why := fleet.trouble) or fleet.owner_of(cluster) != owner:
            why = why or f"{owner} does not watch {cluster} any more"
            raise Refused(
                f"nothing more is heard of it: {why}. What was begun is gone on with by whoever watches {cluster}: "
                f"recoverctl status {cluster}, recoverctl plans --all"
            )


async def _surely(fleet: Fleet, when: list[Json], then: list[Json]) -> Answer:
    """Write what is the same when it is written twice, as soon as the store answers."""
    while True:
        try:
            return await fleet.kv.txn(when, then)
        except StoreRefused:
            raise
        except StoreError:
            if fleet.session is None or fleet.session.lapsed():
                raise
            await asyncio.sleep(AGAIN)
