"""One etcd member, asked through its JSON gateway over an SSH tunnel; no etcdctl is needed on either side.

Member list, status and a full snapshot are served without quorum (observed on 3.4 and 3.5). Alarms are taken from the
status, where etcd 3.4 and later lists them: an alarm request goes through raft, so that it writes, and hangs for 7 s
without quorum (observed on 3.4.23).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from tenacity import AsyncRetrying, retry_if_exception, wait_fixed

from recoverd.clients.etcd_answers import (
    EtcdRefused,
    EtcdUnseen,
    blob,
    classified,
    member_view,
)
from recoverd.clients.etcd_keys import EVERY_KEY, Ask, count, uid_of
from recoverd.clients.etcd_line import Line, Way
from recoverd.clients.etcd_metrics import Reading, reading
from recoverd.clients.etcd_pki import PKI, CredentialsCache, health_check
from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.clients.own import own_failure
from recoverd.clients.snapshot import SnapshotError, SnapshotFile, SnapshotInfo
from recoverd.model.etcd import DiskTimes, EtcdView, Hashed
from recoverd.model.observation import UnseenKind
from recoverd.model.places import LOOPBACK, Socket

__all__ = ["EtcdClient", "EtcdRefused", "EtcdUnseen", "SnapshotInfo"]

T = TypeVar("T")
MAX_ANSWER = 8 << 20
"""Bytes of one answer; the metrics are the longest, some hundred kilobytes."""
SILENT_SECONDS = 30.0
"""Between two parts of a snapshot. A member that is ended in the middle may leave the connection open."""
OPTIONAL_SHARE = 0.7
"""Share of the deadline that the requests get whose answer a view can do without."""
METRICS_SECONDS = 60.0
"""For which metrics count as they were read: they are long, and the quota is a flag of etcd's. A person who has raised
it does not wait for longer until that is believed; and what a disk does in a minute says how it is.
"""
PROPOSAL_SECONDS = 3.0
UNKNOWN, NOT_FOUND, ALREADY_EXISTS, UNAVAILABLE = 2, 5, 6, 14
"""gRPC's codes."""
OF_LEARNERS = "not supported for learner"
"""etcd's words, where a learner is asked for anything but its status and serializable reads."""


@dataclass(frozen=True, slots=True)
class Metered:
    """What is known of the metrics of a member."""

    until: float
    """By the monotonic clock: when they are read anew."""
    last: Reading
    fsync: DiskTimes | None = None
    commit: DiskTimes | None = None


UNMETERED = Metered(0.0, Reading(0.0))


class EtcdClient:
    """The member on one host, where its manifest lets it listen. `port` and `metrics_port` are others on the host's
    127.0.0.1, `pki` is the directory of its certificates there, or names a CA, a certificate and its key.
    """

    def __init__(
        self, hosts: HostPool, host: str, *, port: int = 0, metrics_port: int = 0, pki: str | tuple[str, ...] = PKI
    ) -> None:
        self._hosts = hosts
        self._host = host
        self._ports = port, metrics_port
        self._credentials = CredentialsCache(hosts, host, health_check(pki) if isinstance(pki, str) else pki)
        self._where = f"etcd on {host}"
        self._certificate = "healthcheck-client.crt" if isinstance(pki, str) else next(iter(pki[1:]), "that is none")
        self._named: str | None = None
        """By which name its certificate is its own; None: the one that it is asked by."""
        self._line = Line(hosts, host, self._credentials)
        self._known = UNMETERED

    async def view(self, *, timeout: float, at: int = 0, kept: bool = False) -> EtcdView:  # noqa: ASYNC109
        """Everything that the member says of itself, within `timeout` seconds; raises `EtcdUnseen`. Nodes and
        pods: at revision `at`, if given.

        Status and member list must come; what else does not come in time is left out (health false, counts
        None, quota 0), and delays nothing. With `kept` it may come over the connections of the view before, by the
        rule of `etcd_line`; without, over new ones.
        """
        began = asyncio.get_running_loop().time()
        optional, until = began + timeout * OPTIONAL_SHARE, began + timeout
        metered = asyncio.create_task(_or_else(UNMETERED, self._metered, optional))
        try:
            view = await self._line.over_kept(lambda way: self._seen(way, at), self._gateway, timeout) if kept else None
            left = until - asyncio.get_running_loop().time()
            if view is None:
                async with self._deadline(left, timeout), self._line.made(self._gateway, left) as way:
                    view = await self._seen(way, at, optional)
                    if kept:
                        way.keep_for(view)
            told = await metered
            return replace(view, quota=told.last.quota, fsync=told.fsync, commit=told.commit)
        except EtcdUnseen:
            self._known = UNMETERED  # it may come back with other flags
            raise
        finally:
            metered.cancel()

    async def _seen(self, way: Way, at: int, optional: float | None = None) -> EtcdView:
        """The view without its metrics. What it can do without is waited for until `optional`."""
        ask = self._ask(way)
        status, members, health, nodes, pods, uid = await asyncio.gather(
            ask("/v3/maintenance/status", {}),
            _members(ask),
            _health(ask, optional),
            _or_else(None, lambda: count(ask, f"{self._registry}/minions/", at), optional),
            _or_else(None, lambda: count(ask, f"{self._registry}/pods/", at), optional),
            _or_else(None, lambda: uid_of(ask, self._registry), optional),
        )
        view = member_view(self._where, status, members)
        # one without a vote goes on naming the last leader that it heard of, since it never stands for election
        leader = "" if view.learner and not health[0] else view.leader
        return replace(view, healthy=health[0], health_reason=health[1], nodes=nodes, pods=pods, uid=uid, leader=leader)

    async def close(self) -> None:
        """Give back what is kept from view to view."""
        await self._line.drop()

    async def standing(self, *, timeout: float) -> EtcdView:  # noqa: ASYNC109
        """Only what every member tells at once, quorum or not: its status and the member list;
        `healthy` is whether it knows a leader.
        """
        async with self.asking(timeout) as ask:
            status, members = await asyncio.gather(ask("/v3/maintenance/status", {}), _members(ask))
            view = member_view(self._where, status, members)
        return replace(view, healthy=view.has_leader)

    async def remove_member(self, member_id: str, *, timeout: float) -> None:  # noqa: ASYNC109
        """Remove a member by its hexadecimal id; returns too when it is not listed. Raises
        `EtcdRefused` or `EtcdUnseen`.
        """
        await self._propose("/v3/cluster/member/remove", {"ID": str(int(member_id, 16))}, timeout, done=(NOT_FOUND,))

    async def add_member(self, peer_url: str, *, learner: bool, timeout: float) -> None:  # noqa: ASYNC109
        """Add a member; returns too when its peer URL is listed already. Raises `EtcdRefused` or `EtcdUnseen`.

        etcd refuses, and is asked again, while its members have been connected for less than 5 s
        (strict reconfiguration check).
        """
        await self._propose(
            "/v3/cluster/member/add", {"peerURLs": [peer_url], "isLearner": learner}, timeout, done=(ALREADY_EXISTS,)
        )

    async def promote_member(self, member_id: str, *, timeout: float) -> None:  # noqa: ASYNC109
        """Make a learner a voter, once; raises `EtcdRefused` while it has not caught up with the leader."""
        async with self.asking(timeout) as ask:
            await ask("/v3/cluster/member/promote", {"ID": str(int(member_id, 16))})

    async def disarm(self, member_id: str, alarm: str, *, timeout: float) -> None:  # noqa: ASYNC109
        """Take back an alarm of a member. Raises `EtcdRefused` or `EtcdUnseen`."""
        body = {"action": "DEACTIVATE", "memberID": str(int(member_id, 16)), "alarm": alarm}
        await self._propose("/v3/maintenance/alarm", body, timeout, done=(NOT_FOUND,))

    async def _propose(self, path: str, body: Mapping[str, object], timeout: float, *, done: tuple[int, ...]) -> None:  # noqa: ASYNC109
        """Ask for a change; an error with a code in `done` says that it has been made.

        Asked again until the deadline while etcd is without a leader: a proposal that was lost in an election is
        never answered (observed on 3.4).
        """
        lost: BaseException | None = None

        async def ask_once() -> None:
            nonlocal lost
            try:
                async with asyncio.timeout(PROPOSAL_SECONDS):
                    await ask(path, body)
            except EtcdRefused as refused:
                lost = refused
                if refused.code not in done:
                    raise

        retrying = AsyncRetrying(retry=retry_if_exception(_election), wait=wait_fixed(0.5), reraise=True)
        try:
            async with self.asking(timeout) as ask:
                await retrying(ask_once)
        except EtcdUnseen as unseen:
            if lost and unseen is not lost and unseen.unseen.kind is UnseenKind.TIMEOUT:
                raise EtcdUnseen(UnseenKind.TIMEOUT, f"{unseen}; before, it said: {lost}") from unseen
            raise

    async def keys(self, revision: int, *, timeout: float) -> int:  # noqa: ASYNC109
        """How many keys lived at a revision, by the member's own data. Raises `EtcdRefused` where it
        is compacted away, `EtcdUnseen`.
        """
        async with self.asking(timeout) as ask:
            return int((await ask("/v3/kv/range", {**EVERY_KEY, "revision": str(revision)})).get("count", 0))

    async def hashed(self, revision: int, *, timeout: float) -> Hashed:  # noqa: ASYNC109
        """What the member's data come to at a revision. Raises `EtcdRefused` where it is compacted away or not there
        yet, `EtcdUnseen` also where the gateway does not lead to HashKV: before 3.5.10 it leads to Hash alone, which
        knows no revision (etcd-io/etcd #16464; seen on 3.4.23).
        """
        async with self.asking(timeout) as ask:
            said = await ask("/v3/maintenance/hashkv", {"revision": str(revision)})
        return Hashed(revision, int(said.get("compact_revision", 0)), int(said.get("hash", 0)))

    async def snapshot(self, target: Path, *, timeout: float) -> SnapshotInfo:  # noqa: ASYNC109
        """Fetch a full snapshot into `target`, which appears only when it is whole and its hash was checked.
        Raises `EtcdUnseen`, `OSError`.
        """
        async with self._deadline(timeout), self._line.made(self._gateway, timeout) as way:
            with SnapshotFile(target) as file:
                silence = aiohttp.ClientTimeout(total=None, sock_read=SILENT_SECONDS)
                async with way.session.post(
                    f"{way.base}/v3/maintenance/snapshot", data="{}", timeout=silence
                ) as response:
                    try:
                        async for blob in _blobs(response):
                            file.write(blob)
                        return await file.finish()
                    except SnapshotError as error:
                        raise EtcdRefused(f"the snapshot from {self._where} is not usable: {error}") from error

    @asynccontextmanager
    async def asking(self, seconds: float) -> AsyncIterator[Ask]:
        """For several questions within one deadline: a function that takes a path and a body. Raises
        `EtcdRefused` or `EtcdUnseen`.
        """
        async with self._deadline(seconds), self._line.made(self._gateway, seconds) as way:
            yield self._ask(way)

    @asynccontextmanager
    async def _deadline(self, seconds: float, of: float = 0.0) -> AsyncIterator[None]:
        """Turn everything that asking can raise into `EtcdUnseen`, at the deadline at the latest, which
        is the end of `of` seconds in all.
        """
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise EtcdUnseen(UnseenKind.TIMEOUT, f"{self._where} did not answer within {of or seconds:g} s") from None
        except HostUnseen as unseen:
            raise EtcdUnseen(unseen.unseen.kind, f"{self._where} cannot be asked: {unseen}") from unseen
        except (aiohttp.ClientError, ssl.SSLError, ConnectionError) as error:
            raise classified(self._where, error, self._certificate) from error
        except OSError as error:
            if not own_failure(error):
                raise
            raise classified(self._where, error, self._certificate) from error

    @property
    def _gateway(self) -> Socket:
        port = self._ports[0]
        return Socket(LOOPBACK, port, tls=True) if port else self._hosts.places_of(self._host).etcd

    @property
    def _registry(self) -> str:
        return self._hosts.places_of(self._host).registry

    @property
    def _metrics(self) -> Socket:
        port = self._ports[1]
        return Socket(LOOPBACK, port, tls=False) if port else self._hosts.places_of(self._host).metrics

    def _ask(self, way: Way) -> Ask:
        async def ask(path: str, body: Mapping[str, object] | None) -> dict[str, Any]:
            method = "GET" if body is None else "POST"
            async with way.session.request(
                method, f"{way.base}{path}", json=body, server_hostname=self._named
            ) as response:
                text = await self._text(response)
            return self._answer(path, response.status, text)

        return ask

    async def _text(self, response: aiohttp.ClientResponse) -> str:
        parts, size = [], 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER:
                raise EtcdUnseen(
                    UnseenKind.GARBAGE,
                    f"{self._where} answered {response.url.path} with more than {MAX_ANSWER} bytes",
                )
        return b"".join(parts).decode(errors="replace")

    def _answer(self, path: str, status: int, text: str) -> dict[str, Any]:
        where = f"{self._where} answered {path} with"
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if status in (401, 403):
            raise EtcdUnseen(UnseenKind.DENIED, f"{where} HTTP {status}: {text[:200]}")
        if not isinstance(answer, dict):
            raise EtcdUnseen(
                UnseenKind.GARBAGE, f"{where} something that is not a JSON object (HTTP {status}): {text[:200]!r}"
            )
        if status != 200 and path != "/health":
            code = answer.get("code")
            said = answer.get("message") or answer.get("error") or text[:200]
            raise EtcdRefused(f"{where} an error: {said} (HTTP {status})", code if isinstance(code, int) else None)
        return answer

    async def _metered(self) -> Metered:
        """What the metrics port tells, which needs no certificate where it speaks no TLS. Read seldom:
        `METRICS_SECONDS`, and anew once the member was not seen.
        """
        if self._known.last.quota and time.monotonic() < self._known.until:
            return self._known
        at = self._metrics
        tls = await self._credentials.get(timeout=5) if at.tls else True
        async with (
            self._hosts.tunnel(self._host, at.port, to=at.host, timeout=5) as port,
            aiohttp.ClientSession(trust_env=False) as session,
            session.get(f"http{'s' * at.tls}://127.0.0.1:{port}/metrics", ssl=tls) as response,
        ):
            now = reading(await self._text(response), time.monotonic())
        fsync, commit = now.since(self._known.last)
        self._known = Metered(time.monotonic() + METRICS_SECONDS, now, fsync, commit)
        return self._known


def _election(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or (isinstance(error, EtcdRefused) and error.code in (UNKNOWN, UNAVAILABLE))


async def _or_else(default: T, ask: Callable[[], Awaitable[T]], until: float | None) -> T:
    """What is nice to know: the default when it has not come by `until`, in the event loop's time."""
    try:
        async with asyncio.timeout_at(until):
            return await ask()
    except (TimeoutError, aiohttp.ClientError, ssl.SSLError, EtcdUnseen, HostUnseen, ValueError, OverflowError):
        return default


async def _members(ask: Ask) -> dict[str, Any]:
    """The member list; an empty one from a learner, which etcd lets tell nobody (3.4 to 3.6: "rpc not supported for
    learner"; seen on 3.4.23).
    """
    try:
        return await ask("/v3/cluster/member/list", {"linearizable": False})
    except EtcdRefused as refused:
        if OF_LEARNERS not in str(refused):
            raise
        return {"members": []}


async def _health(ask: Ask, until: float | None) -> tuple[bool, str]:
    """/health is a linearizable read, so without a leader it hangs or says false; 3.5 and later give a reason."""
    try:
        async with asyncio.timeout_at(until):
            answer = await ask("/health", None)
    except TimeoutError:
        return False, "/health did not answer in time"
    except (aiohttp.ClientError, ssl.SSLError, EtcdUnseen) as error:
        return False, f"/health was not answered: {error}"
    healthy = str(answer.get("health")).lower() == "true"
    return healthy, "" if healthy else str(answer.get("reason") or "/health says false")


async def _blobs(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The pieces of a snapshot: one JSON object a line."""
    rest = b""
    async for part in response.content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > MAX_ANSWER:
            raise SnapshotError("a line of the answer has no end")
        for line in lines:
            yield blob(line)
    if rest.strip():
        yield blob(rest)
