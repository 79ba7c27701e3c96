"""The way to one member of etcd: a session of HTTP over TLS through the tunnel of its host, made anew or kept from the
view before. What a new one shows and a kept one cannot is whether the member takes connections, and with which
certificate. **When a kept one serves is said here, and nowhere else**:

- It was asked for: whoever asks found nothing in the sweep before, and waits for nothing (`kept`).
- It was made less than `RENEWED_SECONDS` ago, to the port where the member listens still, with the certificates that
  are used still; and this bastion may ask.
- What comes over it is whole and well, and says of the member and its cluster what the view said for which it was made.
  Any other answer, none within `KEPT_SHARE` of the deadline, or a connection that was cut: then the same look asks over
  a new one, and only what that says counts.

Nothing listens for a kept one: its connections exist, and where they end, no new ones take their place.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from recoverd.clients.etcd_answers import EtcdUnseen
from recoverd.clients.etcd_pki import CredentialsCache
from recoverd.clients.hosts import HostPool
from recoverd.model.etcd import EtcdView
from recoverd.model.places import Socket

RENEWED_SECONDS = 30.0
"""As long as `workers_every` lets a calm worker wait: what only a new connection shows is found that much later."""
KEPT_SHARE = 0.3
"""Of the deadline. A member that is well answers within a tenth of it."""
CONNECTIONS = 2
"""To one member at once: each takes a TLS handshake through the tunnel, and one may hang on /health."""


@dataclass(slots=True)
class Way:
    """One session with a member."""

    session: aiohttp.ClientSession
    base: str
    """What its URLs begin with."""
    at: Socket
    context: ssl.SSLContext
    made: float
    """By the monotonic clock."""
    view: EtcdView | None = None
    """For which it is kept; None: it is not."""

    def keep_for(self, view: EtcdView) -> None:
        """Have it serve the next views, where this one was well."""
        if self.at.tls and _well(view):  # without TLS, who answers would not be known
            self.view = view


class Line:
    """The ways to one member. One view is asked for at a time."""

    def __init__(self, hosts: HostPool, host: str, credentials: CredentialsCache) -> None:
        self._hosts, self._host, self._credentials = hosts, host, credentials
        self._kept: Way | None = None

    @asynccontextmanager
    async def made(self, at: Socket, seconds: float) -> AsyncIterator[Way]:
        """A new session with the member's client certificate, which is forgotten when TLS fails, so
        that the next one reads it anew.
        """
        await self.drop()
        context = await self._credentials.get(timeout=seconds)
        try:
            async with self._hosts.tunnel(self._host, at.port, to=at.host, timeout=seconds) as port:
                session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(
                        ssl=context, limit=CONNECTIONS, keepalive_timeout=2 * RENEWED_SECONDS
                    ),
                    timeout=aiohttp.ClientTimeout(total=None),
                    trust_env=False,
                    headers={"Content-Type": "application/json"},
                )
                # kubeadm's certificate names 127.0.0.1 whatever the address family
                way = Way(session, f"http{'s' * at.tls}://127.0.0.1:{port}", at, context, time.monotonic())
                try:
                    yield way
                finally:
                    if way.view is None:
                        await session.close()
                    else:
                        self._kept = way
        except (aiohttp.ClientError, ssl.SSLError):
            self._credentials.forget()
            raise

    async def over_kept(
        self,
        look: Callable[[Way], Awaitable[EtcdView]],
        at: Socket,
        timeout: float,  # noqa: ASYNC109
    ) -> EtcdView | None:
        """What `look` gives over what is kept; None where that does not serve, and then it is kept no longer."""
        way = self._kept
        if way is None or way.view is None or not self._serves(way, at):
            return None
        self._kept = None
        try:
            async with asyncio.timeout(timeout * KEPT_SHARE):
                view = await look(way)
            if _well(view) and _says(view) == _says(way.view):
                self._kept = way
                return view
        except (TimeoutError, EtcdUnseen, aiohttp.ClientError, ssl.SSLError, OSError):
            pass
        finally:
            if self._kept is None:
                await way.session.close()
        return None

    async def drop(self) -> None:
        """Keep nothing."""
        way, self._kept = self._kept, None
        if way:
            await way.session.close()

    def _serves(self, way: Way, at: Socket) -> bool:
        young = time.monotonic() - way.made < RENEWED_SECONDS
        return young and way.at == at and way.context is self._credentials.known and not self._hosts.lapsed()


def _well(view: EtcdView) -> bool:
    """Whether the member answered everything, and nothing is wrong with what it said."""
    counted = view.nodes is not None and view.pods is not None
    return view.healthy and view.has_leader and counted and not view.alarms and all(m.started for m in view.members)


def _says(view: EtcdView) -> tuple[object, ...]:
    """What stays the same while nothing happens to the member and its cluster."""
    member = view.member_id, view.version, view.learner
    return *member, view.cluster_id, view.uid, view.members, view.leader, view.raft_term
