"""Waiting for one control plane's own API server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tenacity import AsyncRetrying, RetryError, retry_if_result, wait_fixed

from recoverd.act.carry import hand
from recoverd.act.until import POLL_SECONDS, stop_at
from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.model.bastion_operations import AwaitApi
from recoverd.model.observation import EndpointHealth, EndpointView
from recoverd.model.plan import StepResult
from recoverd.observe.kubeconfig import Access, KubeconfigError, read_access
from recoverd.observe.probe import misnamed, probe

PROBE_SECONDS = 2.0
LAST_SECONDS = 1.0
"""What even the last look before the deadline gets: an answer cut short would be all that the failure tells."""


async def await_api(
    kubeconfig: Path, hosts: HostPool, host: str, address: str, until: float, *, port: int
) -> StepResult:
    """Poll /readyz, at the host's own address and through SSH where that cannot be reached; the
    failure says what was last seen.
    """
    try:
        access = await read_access(kubeconfig)
    except KubeconfigError as error:
        return StepResult(False, f"whether the API server on {host} is ready cannot be told: {error}")

    async def ask() -> EndpointView:
        seconds = max(LAST_SECONDS, min(PROBE_SECONDS, until - asyncio.get_running_loop().time()))
        direct = await _named(access, address, port, seconds, None)
        if direct.health not in (EndpointHealth.TIMEOUT, EndpointHealth.UNREACHABLE):
            return direct
        try:
            async with hosts.tunnel(host, port, timeout=seconds) as local:
                return await _named(access, address, port, seconds, ("127.0.0.1", local))
        except HostUnseen as unseen:
            return EndpointView(direct.address, direct.health, f"{direct.detail}; through SSH: {unseen}")

    began = asyncio.get_running_loop().time()
    not_ready = retry_if_result(lambda view: view.health is not EndpointHealth.READY)
    try:
        await AsyncRetrying(retry=not_ready, wait=wait_fixed(POLL_SECONDS), stop=stop_at(until))(ask)
    except RetryError as over:
        last: EndpointView = over.last_attempt.result()
        took = asyncio.get_running_loop().time() - began
        return StepResult(
            False,
            f"the API server on {host} is not ready after {took:.0f} s; last seen at {last.address}: "
            f"{last.health}: {last.detail}",
        )
    return StepResult(
        True,
        f"the API server on {host} answers /readyz with ok, after {asyncio.get_running_loop().time() - began:.1f} s",
    )


async def _named(access: Access, address: str, port: int, seconds: float, dial: tuple[str, int] | None) -> EndpointView:
    """Probe; where the certificate does not hold the address, it may hold the name in the kubeconfig."""
    view = await probe(access, address, port, seconds=seconds, dial=dial)
    if misnamed(view):
        return await probe(access, address, port, seconds=seconds, dial=dial, named=access.host)
    return view


hand(AwaitApi)(
    lambda o, at: await_api(
        at.reach.cluster.kubeconfig,
        at.reach.hosts,
        at.host,
        at.reach.addresses.get(at.host, ""),
        at.until,
        port=o.port or at.reach.hosts.places_of(at.host).api,
    )
)
