"""A long list of the API, decoded as it comes in: the pods' table of 5,000 nodes is 400 MB, and the event loop must
neither hold that nor stand still for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from kubernetes.aio.client import ApiException

from recoverd.observe.pacing import LONGEST

PIECE = 1 << 20
"""Bytes: decoding so many takes some milliseconds."""


class Patience:
    """A deadline, within which the first piece of a list has to come, and each after the one before: 150,000 pods take
    longer than any answer may, and come steadily. All of it has `LONGEST`. For lists that come at once, it is one.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, now = seconds, asyncio.get_running_loop().time()
        self._last = now + max(seconds, LONGEST)
        self.limit = asyncio.timeout_at(now + seconds)

    def came(self) -> None:
        """A piece came."""
        self.limit.reschedule(min(asyncio.get_running_loop().time() + self._seconds, self._last))


async def pieces(response: Any, mark: bytes, came: Callable[[], None] = lambda: None) -> AsyncIterator[bytes]:
    """The list as JSON documents of about `PIECE` bytes: each has what stands before its elements, and some of these.
    They are all there together, and a list that is cut short has a last one that is no JSON.

    `mark` is what each element begins with, as the API server writes it, and what stands nowhere else: a quotation mark
    within a text has a backslash before it. A list without it is given whole. `came` is called for each document but
    the last. Raises `ApiException` for an answer that is none, and what aiohttp raises.
    """
    if response.status != 200:
        raise ApiException(status=response.status, reason=getattr(response, "reason", ""))
    head, held, looked = b"", bytearray(), 0
    async for part in response.content.iter_any():
        held += part
        if len(held) < PIECE or (looked and len(held) < 2 * looked):
            continue
        if not head:
            first = held.find(mark)
            if first < 0 or not held[:first].endswith(b"["):
                looked = len(held)  # not cut; and not searched again for every part that comes
                continue
            head, looked = bytes(held[:first]), 0
            del held[:first]
        last = held.rfind(mark)
        if last > 0 and held[last - 1] == ord(","):
            came()
            yield head + held[: last - 1] + b"]}"
            del held[:last]
            await asyncio.sleep(0)
    yield head + held
