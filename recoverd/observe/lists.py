"""Lists of the API that the network's witnesses need, read no oftener than their size allows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import blake2b
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, ApiException

from recoverd.model.observation import Unseen, UnseenKind
from recoverd.observe.rest import list_all, list_group, request
from recoverd.observe.shapes import ENDPOINTS, PODS, SERVICES

BYTES_PER_SECOND = 512 << 10
"""A list is not read again before its size divided by this: small clusters are read at every
sweep, a list of 10 MiB every 20 s.
"""
LARGE = 256 << 10
"""Bytes from which on a list whose items are those of the one before is not decoded again: to compare a megabyte takes
a millisecond, and to decode it ten. Shorter ones are not kept in memory for it.
"""
BARE = 1000
"""Bytes: a list without items is shorter, and one with an item is longer or is read twice."""
SLICES = (("discovery.k8s.io", "v1", "endpointslices"), ("discovery.k8s.io", "v1beta1", "endpointslices"))
"""1.17 to 1.20 have v1beta1 only; before, or where it is switched off, there are Endpoints."""
POLICIES = {
    "cilium.io": ("ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies"),
    "crd.projectcalico.org": ("networkpolicies", "globalnetworkpolicies"),
    "crd.antrea.io": ("networkpolicies", "clusternetworkpolicies"),
    "policy.networking.k8s.io": ("adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"),
}
"""Kinds of policies beside NetworkPolicy, by API group; not every version has all of them."""
RETRY = 60.0
"""Seconds before a list that was denied is asked for again."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A list and when the API server says that it was."""

    body: dict[str, Any]
    """Not to be changed: the next answer may be the same."""
    at: datetime
    digest: bytes = b""
    """What two lists with the same items have in common; "" where it was not made, as the list is short."""


Read = Answered | Unseen
Decode = Callable[[bytes], Any]


class Lists:
    """The lists of one cluster, with the last answer kept until the next is due, where that is later than at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: dict[str, tuple[float, Read]] = {}
        self._large: dict[str, tuple[bytes, Any]] = {}
        """By name: the digest of the newest list that is large, and what it was decoded to."""
        self._slices: tuple[str, str, str] | None = SLICES[0]
        self._groups: tuple[float, dict[str, str] | None] = (0.0, None)

    async def services(self, client: ApiClient) -> Read:
        return await self._cached(
            "services", lambda: list_all(client, "services", resourceVersion="0"), SERVICES.decode
        )

    async def daemonsets(self, client: ApiClient) -> Read:
        return await self._cached(
            "daemonsets", lambda: list_group(client, "apps", "v1", "daemonsets", resourceVersion="0")
        )

    async def policies(self, client: ApiClient) -> Read:
        """NetworkPolicies, and below `others` those of the CNI's own kinds and of administrators, as far as the API
        server serves such kinds. Unseen where one of them was not given: what it forbids is not known then.
        """
        own = await self._cached(
            "networkpolicies",
            lambda: list_group(client, "networking.k8s.io", "v1", "networkpolicies", resourceVersion="0"),
        )
        served = await self._served(client)
        if isinstance(own, Unseen):
            return own
        if isinstance(served, Unseen):
            return served
        asked = [(g, served[g], kind) for g, kinds in POLICIES.items() if g in served for kind in kinds]
        others = await asyncio.gather(
            *(self._cached(f"{k}.{g}", partial(_or_none, client, g, v, k)) for g, v, k in asked)
        )
        if unseen := next((o for o in others if isinstance(o, Unseen)), None):
            return unseen
        items = [i for o in others if isinstance(o, Answered) for i in o.body.get("items") or ()]
        return Answered({**own.body, "others": items}, own.at)

    async def _served(self, client: ApiClient) -> dict[str, str] | Unseen:
        """The API groups that are served, with their preferred version; asked for once a minute."""
        due, known = self._groups
        if known is not None and time.monotonic() < due:
            return known
        read = await read_json("its API groups", lambda: request(client, "/apis"), self._seconds)
        if isinstance(read, Unseen):
            return read if known is None else known
        groups = {
            str(g.get("name")): str((g.get("preferredVersion") or {}).get("version"))
            for g in read.body.get("groups") or ()
        }
        self._groups = (time.monotonic() + RETRY, groups)
        return groups

    async def endpoints(self, client: ApiClient) -> Read:
        """EndpointSlices, or Endpoints where there are none."""
        return await self._cached("endpoints", lambda: self._endpoints(client, resourceVersion="0"), ENDPOINTS.decode)

    async def endpoints_of(self, client: ApiClient, services: Sequence[str]) -> Read:
        """Read now, past the API server's cache, those of the services named (without namespace)."""
        if self._slices is None:
            return await self._read("endpoints", lambda: self._endpoints(client), ENDPOINTS.decode)
        names = ",".join(sorted(set(services)))
        return await self._read(
            "endpoints",
            lambda: self._endpoints(client, labelSelector=f"kubernetes.io/service-name in ({names})"),
            ENDPOINTS.decode,
        )

    async def pods_on(self, client: ApiClient, node: str) -> Read:
        """The pods bound to a node, read now, past the API server's cache."""
        return await self._read(
            f"pods on {node}",
            lambda: list_all(client, "pods", fieldSelector=f"spec.nodeName={node}"),
            PODS.decode,
        )

    async def kubelet_pods(self, client: ApiClient, node: str) -> Read:
        """The pods that a node's kubelet has, by itself, through the API's node proxy."""
        return await self._read(
            f"the pods of {node}'s kubelet (nodes/proxy)",
            lambda: request(client, "/api/v1/nodes/{node}/proxy/pods", {"node": node}),
            PODS.decode,
        )

    async def _endpoints(self, client: ApiClient, **options: Any) -> Any:
        while self._slices:
            answer = await list_group(client, *self._slices, **options)
            if answer.status != 404:
                if answer.status == 200 and await _holds_none(answer):
                    break
                return answer
            answer.release()
            left = SLICES[SLICES.index(self._slices) + 1 :]
            self._slices = left[0] if left else None
        options.pop("labelSelector", None)
        return await list_all(client, "endpoints", **options)

    async def _cached(self, name: str, ask: Callable[[], Awaitable[Any]], decode: Decode = json.loads) -> Read:
        if (kept := self._kept.get(name)) and time.monotonic() < kept[0]:
            return kept[1]
        size: list[int] = []
        read = await self._read(name, ask, partial(self._decoded, name, decode), size)
        if isinstance(read, Answered) and (known := self._large.get(name)):
            read = replace(read, digest=known[0])
        wait = (
            size[0] / BYTES_PER_SECOND
            if size
            else RETRY
            if isinstance(read, Unseen) and read.kind is UnseenKind.DENIED
            else 0.0
        )
        if wait > 1.0:
            self._kept[name] = (time.monotonic() + wait, read)
        else:
            self._kept.pop(name, None)  # it is read again before anybody asks for it
        return read

    def _decoded(self, name: str, decode: Decode, text: bytes) -> Any:
        """What the list says; the same object as before where its items are. What stands before them is the version of
        all that the API server has, which changes without them.
        """
        if len(text) < LARGE:
            self._large.pop(name, None)
            return decode(text)
        digest = blake2b(memoryview(text)[max(0, text.find(b'"items"')) :]).digest()
        if (known := self._large.get(name)) and known[0] == digest:
            return known[1]
        self._large.pop(name, None)
        body = decode(text)
        self._large[name] = digest, body
        return body

    async def _read(
        self,
        name: str,
        ask: Callable[[], Awaitable[Any]],
        decode: Decode = json.loads,
        size: list[int] | None = None,
    ) -> Read:
        read = await read_json(name, ask, self._seconds, size, decode)
        if isinstance(read, Answered) and not isinstance(read.body.get("items") or [], list):
            return Unseen(UnseenKind.GARBAGE, f"the API server answered with something else when asked for {name}")
        return read


class _None:
    """An empty list, in the place of an answer that there is no such kind."""

    status, reason = 200, "OK"
    headers: Mapping[str, str] = {}

    async def read(self) -> bytes:
        return b'{"items": []}'


async def _or_none(client: ApiClient, group: str, version: str, kind: str) -> Any:
    answer = await list_group(client, group, version, kind, resourceVersion="0")
    if answer.status != 404:
        return answer
    answer.release()
    return _None()


async def _holds_none(answer: Any) -> bool:
    """Whether a list is empty. Of EndpointSlices that means that nobody makes any, as in 1.17, which serves them with
    the gate EndpointSlice off: the API server's own service has one wherever it is on.
    """
    text = await answer.read()
    return len(text) < BARE and not json.loads(text).get("items")


async def read_json(
    name: str,
    ask: Callable[[], Awaitable[Any]],
    seconds: float,
    size: list[int] | None = None,
    decode: Decode = json.loads,
) -> Read:
    """One object of the API, within so many seconds, or why there is none in words that call it `name`. The number of
    its bytes is added to `size`.
    """
    try:
        async with asyncio.timeout(seconds):
            response = await ask()
            text = await response.read()
        if response.status != 200:
            raise ApiException(status=response.status, reason=getattr(response, "reason", ""))
        if size is not None:
            size.append(len(text))
        body = decode(text)
        if not isinstance(body, dict):
            return Unseen(UnseenKind.GARBAGE, f"the API server answered with something else when asked for {name}")
        return Answered(body, date_of(response.headers))
    except TimeoutError:
        return Unseen(UnseenKind.TIMEOUT, f"the API server did not give {name} within {seconds:g} s")
    except ApiException as error:
        kind = UnseenKind.DENIED if error.status in (401, 403) else UnseenKind.UNREACHABLE
        return Unseen(kind, f"the API server answered HTTP {error.status} {error.reason} when asked for {name}")
    except (aiohttp.ClientError, OSError) as error:
        return Unseen(UnseenKind.UNREACHABLE, f"the API server broke off when asked for {name}: {error}")
    except ValueError as error:
        return Unseen(UnseenKind.GARBAGE, f"the API server gave {name} in a form that cannot be understood ({error})")


def date_of(headers: Mapping[str, str]) -> datetime:
    """The API server's clock, so that ages do not depend on the bastion's."""
    try:
        return parsedate_to_datetime(headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        return datetime.now(UTC)
