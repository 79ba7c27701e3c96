"""A long list of the API, decoded as it comes in: the pods' table of 5,000 nodes is 400 MB, and the event loop must
neither hold that nor stand still for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from kubernetes.aio.client import ApiException

PIECE = 1 << 20
"""Bytes: decoding so many takes some milliseconds."""


async def pieces(response: Any, mark: bytes) -> AsyncIterator[bytes]:
    """The list as JSON documents of about `PIECE` bytes: each has what stands before its elements, and some of these.
    They are all there together, and a list that is cut short has a last one that is no JSON.

    `mark` is what each element begins with, as the API server writes it, and what stands nowhere else: a quotation mark
    within a text has a backslash before it. A list without it is given whole. Raises `ApiException` for an answer
    that is none, and what aiohttp raises.
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
            yield head + held[: last - 1] + b"]}"
            del held[:last]
            await asyncio.sleep(0)
    yield head + held
