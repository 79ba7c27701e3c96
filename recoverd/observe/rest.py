"""One request to an API server as plain JSON, through the official client's connection, credentials and quoting.

The client's typed classes are left alone on purpose: importing them costs 1.5 s of CPU at each start (seen with
kubernetes 37), and of large lists only a few fields are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernetes.aio.client import ApiClient

JSON = "application/json"


async def request(
    client: ApiClient,
    path: str,
    names: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    query: Mapping[str, str] | None = None,
    accept: str = JSON,
    body: Any = None,
    content_type: str = JSON,
) -> Any:
    """Send one request and give aiohttp's response, its body not yet read, whatever its status.

    `path` is an API path with `{placeholders}`, which are filled from `names`, quoted. Raises what
    aiohttp raises, and `OSError`.
    """
    headers = {"Accept": accept, **({"Content-Type": content_type} if body is not None else {})}
    prepared = await client.param_serialize(
        method, path, dict(names or {}), list((query or {}).items()), headers, body, auth_settings=["BearerToken"]
    )
    answer = await client.call_api(*prepared, _preload_content=False)
    return answer.response


async def list_all(client: ApiClient, kind: str, **query: str) -> Any:
    """List a kind of the core API in all namespaces: `pods`, `services`, `nodes`, `endpoints`."""
    return await request(client, "/api/v1/{kind}", {"kind": kind}, query=query)


async def list_group(client: ApiClient, group: str, version: str, kind: str, **query: str) -> Any:
    """List a kind of an API group in all namespaces."""
    return await request(
        client, "/apis/{group}/{version}/{kind}", {"group": group, "version": version, "kind": kind}, query=query
    )
