"""The pods of a large cluster between two lists of them. A list of 15,000 is 42 MB and most of what a calm sweep costs,
so what changes meanwhile is followed (a watch, as kubectl's `get --watch` has it) instead of listing all again.

**When what was followed serves is said here, and nowhere else**:

- It was asked for: the sweep is one in which not all workers have their turn, so it may only say that all is well, and
  whatever else it finds is looked at again with a whole list (`turns`).
- Its newest word, or the list that it began with, is no older than `KEPT`: a watch that stands still without one (a
  balancer that has forgotten the connection) is believed for so long and no longer. The list is no older than `LONGEST`
  and came from the same client.
- The watch stands, has said nothing that is not understood, and no error. Anything else ends it.
- There are `LARGE` pods at least: below that a list costs little.

Where the kubeconfig's user may not watch pods (its role is older than this), all are listed in every sweep, as before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
import structlog
from kubernetes.aio.client import ApiClient

from recoverd.observe.kubelet import ListedPod
from recoverd.observe.objects import ROW, TABLE, PodBook
from recoverd.observe.pieces import pieces
from recoverd.observe.rest import request

KEPT = 30.0
"""Seconds: as long as `workers_every` lets a calm worker wait."""
LONGEST = 300.0
"""Seconds: what such a list costs once in five minutes is little beside the looks at the machines."""
LARGE = 1000
DENIED = 600.0
"""Seconds for which nobody asks again for a watch that was not permitted."""

log = structlog.get_logger()


class PodFeed:
    """Of one cluster. `clock` is a monotonic one, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, large: int = LARGE) -> None:
        self._clock, self._large = clock, large
        self._book = PodBook()
        self._began = self._heard = 0.0
        self._client: ApiClient | None = None
        self._denied_until = 0.0
        self._stands = False
        self._task: asyncio.Task[None] | None = None

    async def pods(
        self, client: ApiClient, came: Callable[[], None] = lambda: None, *, followed: bool
    ) -> tuple[ListedPod, ...]:
        """All pods: those that were followed where `followed` lets it (see above), or a list, of which `came` is called
        for each piece. Raises `ValueError` for what is no list of pods or a part of one, `IndexError`, `ApiException`,
        and what aiohttp raises.
        """
        now = self._clock()
        if followed and self._stands and self._client is client and self._fresh(now):
            return self._book.pods()
        await self.close()
        listed = await self._book.read(
            pieces(await request(client, "/api/v1/pods", query={"resourceVersion": "0"}, accept=TABLE), ROW, came)
        )
        if followed and self._book.version and len(listed) >= self._large and now >= self._denied_until:
            self._began = self._heard = now
            self._client = client
            self._task = asyncio.create_task(self._follow(client, self._book.version), name="pods that change")
        return listed

    def _fresh(self, now: float) -> bool:
        return now - self._heard <= KEPT and now - self._began <= LONGEST

    async def close(self) -> None:
        """End what follows them."""
        task, self._task, self._stands = self._task, None, False
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _follow(self, client: ApiClient, version: str) -> None:
        """Take in every change until the watch ends, for whatever reason: the next sweep lists all again."""
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": f"{2 * LONGEST:.0f}"}
        response: Any = None
        try:
            response = await request(client, "/api/v1/pods", query=query, accept=TABLE)
            if response.status == 403:
                self._denied_until = self._clock() + DENIED
            if response.status == 200:
                self._stands = True
                await self._take(response)
        except (aiohttp.ClientError, OSError, ValueError, IndexError) as error:
            log.debug("pods are followed no longer, and listed instead", error=str(error))
        finally:
            self._stands = False
            if response is not None:
                response.close()

    async def _take(self, response: Any) -> None:
        # by hand: aiohttp refuses a line of more than 128 KiB, and what has been managed by many may be longer
        held = bytearray()
        async for part in response.content.iter_any():
            held += part
            *lines, rest = held.split(b"\n")
            for line in lines:
                self._book.take(bytes(line))
                self._heard = self._clock()
            held = bytearray(rest)
