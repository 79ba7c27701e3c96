"""The beginning of what changes a machine."""

from __future__ import annotations

import asyncio

from tenacity import AsyncRetrying, retry_if_exception, wait_fixed

from recoverd.act.until import POLL_SECONDS, left, stop_at, timeout
from recoverd.clients.hosts import CommandResult, HostPool, HostUnseen
from recoverd.model.call import Call
from recoverd.model.settings import BEGIN_SECONDS
from recoverd.model.unseen import UnseenKind

PASSING = frozenset({UnseenKind.UNREACHABLE, UnseenKind.REFUSED, UnseenKind.TIMEOUT, UnseenKind.OWN})
"""Why a machine was not reached, where that may be otherwise a moment later."""


async def begin(hosts: HostPool, host: str, call: Call, until: float) -> CommandResult:
    """Run a call that changes something, as `HostPool.act` does, until `until`, in the event loop's time. One that did
    not begin is begun anew for `BEGIN_SECONDS`: nothing of it was sent, so nothing is done twice. Raises `HostUnseen`.
    """

    async def attempt() -> CommandResult:
        return await hosts.act(host, call, timeout=timeout(until))

    result: CommandResult = await AsyncRetrying(
        retry=retry_if_exception(_did_not_begin),
        wait=wait_fixed(POLL_SECONDS),
        stop=stop_at(until - max(0.0, left(until) - BEGIN_SECONDS)),
        sleep=asyncio.sleep,
        reraise=True,
    )(attempt)
    return result


def _did_not_begin(error: BaseException) -> bool:
    return isinstance(error, HostUnseen) and not error.sent and error.unseen.kind in PASSING
