"""Requests of persons that another bastion passes on to the one that owns the cluster, and its answers, as keys in the
bastions' etcd. A request is taken once: whoever deletes it has it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from recoverd.engine.journal_file import JournalError
from recoverd.model.events import Refused
from recoverd.store.fleet import Fleet, Look
from recoverd.store.gateway import Row, delete, put, there

PATIENCE = 15.0
"""Seconds for the owner to answer: recoverctl waits for 20."""
Do = Callable[[str, str, Mapping[str, Any]], Awaitable[str]]
"""Carries out a request of a cluster, by its name and arguments. Raises `Refused` and `JournalError`."""

log = structlog.get_logger()


class Passing:
    """Both ends of it in one bastion. `heard` is given each look at the store."""

    def __init__(self, do: Do) -> None:
        self._do = do
        self._asked: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._doing: dict[str, asyncio.Task[None]] = {}

    def heard(self, look: Look, fleet: Fleet) -> None:
        for row in look.answers:
            id = row.key.removeprefix(fleet.keys.answers)
            future = self._asked.get(id)
            if future and not future.done():
                future.set_result(json.loads(row.value))
        for row in look.requests:
            cluster, _, id = row.key.removeprefix(fleet.keys.requests).partition("/")
            if cluster in fleet.writers and id not in self._doing:
                task = asyncio.create_task(self._answer(fleet, cluster, id, row), name=f"request {id}")
                self._doing[id] = task
                task.add_done_callback(lambda _, id=id: self._doing.pop(id, None))  # type: ignore[misc]

    async def pass_on(self, fleet: Fleet, cluster: str, call: str, arguments: Mapping[str, Any]) -> str:
        """What the owner of the cluster answers. Raises `Refused` where it refuses or is silent, and `JournalError`."""
        owner = fleet.owner_of(cluster)
        if fleet.trouble or fleet.session is None:
            raise Refused(f"{cluster} is not watched by this bastion, and its owner cannot be asked: {fleet.trouble}")
        if not owner:
            raise Refused(f"no bastion watches {cluster} at this moment; ask again in some seconds")
        id = secrets.token_hex(8)
        key = f"{fleet.keys.requests}{cluster}/{id}"
        future = self._asked[id] = asyncio.get_running_loop().create_future()
        try:
            asked = json.dumps({"call": call, "arguments": dict(arguments)})
            await fleet.kv.txn((), [put(key, asked, fleet.session.lease)])
            async with asyncio.timeout(PATIENCE):
                answer = await future
        except TimeoutError:
            taken = (await fleet.kv.txn((), [delete(key)])).deleted == 0
            came = (
                "it has taken the request, and what came of it is not known here: recoverctl status tells"
                if taken
                else "nothing was done"
            )
            raise Refused(
                f"the recoverd on {owner}, which watches {cluster}, did not answer within {PATIENCE:g} s; {came}. Ask "
                f"there, with recoverctl on {owner}"
            ) from None
        finally:
            self._asked.pop(id, None)
        await fleet.kv.txn((), [delete(fleet.keys.answers + id)])
        if "refused" in answer:
            missing, passing = bool(answer.get("missing")), bool(answer.get("passing"))
            raise Refused(f"{owner}: {answer['refused']}", missing=missing, passing=passing)
        return f"{owner}: {answer['message']}"

    async def _answer(self, fleet: Fleet, cluster: str, id: str, row: Row) -> None:
        if fleet.session is None:
            return
        lease = fleet.session.lease
        try:
            taken = await fleet.kv.txn([there(row.key)], [delete(row.key)])
            if not taken.held:
                return
            said = await self._said(cluster, row)
            await fleet.kv.txn((), [put(fleet.keys.answers + id, json.dumps(said), lease)])
        except JournalError as error:
            log.error("a request that was passed on could not be answered", cluster=cluster, error=str(error))

    async def _said(self, cluster: str, row: Row) -> dict[str, Any]:
        try:
            asked = json.loads(row.value)
            return {"message": await self._do(cluster, str(asked["call"]), asked["arguments"])}
        except Refused as refused:
            return {"refused": str(refused), "missing": refused.missing, "passing": refused.passing}
        except JournalError as error:
            return {"refused": str(error)}
        except Exception as error:  # whoever waits for it is told, and this bastion's log has it whole
            log.exception("a request that was passed on broke recoverd itself", cluster=cluster)
            return {"refused": f"recoverd itself failed ({error!r}); its log says how"}
