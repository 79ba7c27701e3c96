"""The bastions' own etcd, asked through its JSON gateway: ranges, transactions and leases, at whichever member answers.

The Python clients of etcd's gRPC API have had no release for years, or bring grpcio; the gateway needs nothing that is
not here. It takes the client certificate of the connection, and no user of etcd's own (etcd's documentation on
authentication: the CommonName of a certificate is no user over the gateway).
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from recoverd.config.types import EtcdStore
from recoverd.engine.journal_file import JournalError
from recoverd.store.refusals import answered

ATTEMPT = 1.5
"""Seconds for one member to answer: one without a leader is silent for longer, and another may have one."""
ROUND = 4.0
"""Seconds for what is asked of all of them in turn."""
Json = dict[str, Any]


class StoreError(JournalError):
    """No member of the bastions' etcd has answered, or it has refused."""


class StoreRefused(StoreError):  # noqa: N818
    """It has refused what it refuses for good: asked again it says the same."""

    def __init__(self, why: str, *, sure: bool = True) -> None:
        """`sure`: nor can a member have done it that was asked before and was not heard."""
        super().__init__(why)
        self.sure = sure


@dataclass(frozen=True, slots=True)
class Row:
    """One key with its value."""

    key: str
    value: bytes
    created: int
    """Revision of the write that made it."""
    changed: int
    """Revision of the newest write."""
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a transaction came to: whether its conditions held, at which revision, and what its ranges found."""

    held: bool
    revision: int
    found: tuple[tuple[Row, ...], ...] = ()
    deleted: int = 0


class Kv(Protocol):
    """What the rest needs of etcd. Each raises `StoreError`, also where it is not known whether it was done."""

    async def txn(self, when: Sequence[Json], then: Sequence[Json], otherwise: Sequence[Json] = ()) -> Answer: ...
    async def grant(self, ttl: float) -> int: ...
    async def keep(self, lease: int) -> float: ...
    async def revoke(self, lease: int) -> None: ...
    async def compact(self, revision: int) -> None: ...


def text(value: str | bytes) -> str:
    """As the gateway takes and gives keys and values."""
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def made_at(key: str, revision: int) -> Json:
    """The condition that the key was made at the revision; 0: that it is not there."""
    return {"key": text(key), "target": "CREATE", "result": "EQUAL", "create_revision": str(revision)}


def there(key: str) -> Json:
    """The condition that the key is there."""
    return {"key": text(key), "target": "VERSION", "result": "GREATER", "version": "0"}


def holds(key: str, value: str) -> Json:
    """The condition that the key has the value."""
    return {"key": text(key), "target": "VALUE", "result": "EQUAL", "value": text(value)}


def put(key: str, value: str | bytes, lease: int = 0) -> Json:
    return {"request_put": {"key": text(key), "value": text(value), **({"lease": str(lease)} if lease else {})}}


def delete(key: str, end: str | bytes = "") -> Json:
    """Delete the key, or all from it to before `end`."""
    return {"request_delete_range": {"key": text(key), **({"range_end": text(end)} if end else {})}}


def get(key: str) -> Json:
    return {"request_range": {"key": text(key)}}


def below(prefix: str, *, since: int = 0, keys_only: bool = False) -> Json:
    """All keys with the prefix, in order; `since`: only those that were written at that revision or later."""
    asked: Json = {"key": text(prefix), "range_end": text(after(prefix))}
    if since:
        asked["min_mod_revision"] = str(since)
    if keys_only:
        asked["keys_only"] = True
    return {"request_range": asked}


def after(prefix: str) -> bytes:
    """The first key behind all that begin with the prefix."""
    return prefix[:-1].encode() + bytes([ord(prefix[-1]) + 1])


class Gateway:
    """A `Kv` over the members at the endpoints. The member that answered last is asked first."""

    def __init__(self, store: EtcdStore) -> None:
        self._endpoints = list(store.endpoints)
        self._store = store
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    async def txn(self, when: Sequence[Json], then: Sequence[Json], otherwise: Sequence[Json] = ()) -> Answer:
        body = {"compare": list(when), "success": list(then), "failure": list(otherwise)}
        return _answer(await self._ask("/v3/kv/txn", body))

    async def grant(self, ttl: float) -> int:
        """A lease of so many seconds; its id."""
        return int((await self._ask("/v3/lease/grant", {"TTL": str(round(ttl))}))["ID"])

    async def keep(self, lease: int) -> float:
        """Renew the lease. Seconds that it lasts from now on; 0 where there is none any more."""
        said = await self._ask("/v3/lease/keepalive", {"ID": str(lease)})
        return float(said.get("result", said).get("TTL", 0))

    async def revoke(self, lease: int) -> None:
        await self._ask("/v3/lease/revoke", {"ID": str(lease)})

    async def compact(self, revision: int) -> None:
        """Forget what was written over before the revision."""
        await self._ask("/v3/kv/compaction", {"revision": str(revision)})

    async def _ask(self, path: str, body: Json) -> Json:
        """The answer of the first member that gives one. What a member refuses for good, it refuses for all of them."""
        tried, sure = [], True
        try:
            async with asyncio.timeout(ROUND):
                for endpoint in list(self._endpoints):
                    try:
                        async with asyncio.timeout(ATTEMPT):
                            answer = await self._ask_one(endpoint, path, body)
                    except StoreRefused as refusal:
                        raise StoreRefused(
                            f"the bastions' etcd at {endpoint} has refused it: {refusal}", sure=sure
                        ) from refusal
                    except (TimeoutError, OSError, aiohttp.ClientError, StoreError, ValueError, RuntimeError) as error:
                        # a RuntimeError: another request has just closed the session, for one with new certificates
                        tried.append(f"{endpoint}: {_said(error)}")
                        sure = sure and isinstance(error, aiohttp.ClientConnectorError)  # which has sent nothing
                        continue
                    self._endpoints.sort(key=lambda e: e != endpoint)  # used at once
                    return answer
        except TimeoutError:
            tried.append(f"{ROUND:g} s were over")
        # the member that was silent is asked last from now on, and certificates that were renewed are read anew
        self._endpoints.append(self._endpoints.pop(0))
        await self.close()
        raise StoreError(
            f"the bastions' etcd did not answer ({'; '.join(tried)}). Nothing is done to any cluster without it: see "
            "that most of its members run (systemctl status etcd on each bastion) and are reached from here"
        )

    async def _ask_one(self, endpoint: str, path: str, body: Json) -> Json:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls()),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            )
        async with self._session.post(endpoint + path, json=body) as response:
            status, said = response.status, await response.text()
        answer, why, for_good = answered(status, said)
        if answer is None:
            raise StoreRefused(why) if for_good else StoreError(why)
        return answer

    def _tls(self) -> ssl.SSLContext | bool:
        if not self._store.ca:
            return True
        context = ssl.create_default_context(cafile=self._store.ca)
        if self._store.cert:
            context.load_cert_chain(self._store.cert, self._store.key)
        return context


def _said(error: BaseException) -> str:
    return f"no answer within {ATTEMPT:g} s" if isinstance(error, TimeoutError) else str(error) or repr(error)


def _answer(said: Json) -> Answer:
    found, deleted = [], 0
    for part in said.get("responses", ()):
        if "response_range" in part:
            found.append(tuple(_row(kv) for kv in part["response_range"].get("kvs", ())))
        deleted += int(part.get("response_delete_range", {}).get("deleted", 0))
    return Answer(bool(said.get("succeeded", False)), int(said["header"]["revision"]), tuple(found), deleted)


def _row(kv: Json) -> Row:
    return Row(
        base64.b64decode(kv["key"]).decode(errors="replace"),
        base64.b64decode(kv.get("value", "")),
        int(kv["create_revision"]),
        int(kv["mod_revision"]),
        int(kv.get("lease", 0)),
    )
