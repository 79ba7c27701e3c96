"""The API server as the steps use it: nodes and pods as plain JSON, a deadline on every call, and
errors in the operator's words.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient

from recoverd.observe.api import api_client
from recoverd.observe.kubeconfig import Access, KubeconfigError, read_access
from recoverd.observe.lists import SLICES
from recoverd.observe.objects import TABLE, PodBook
from recoverd.observe.rest import list_all, list_group, request
from recoverd.observe.services import astray
from recoverd.observe.webhooks import ENDPOINTS

CALL_SECONDS = 5.0
NOT_FOUND = 404
MERGE_PATCH = "application/merge-patch+json"
NODE, POD = "/api/v1/nodes/{name}", "/api/v1/namespaces/{namespace}/pods/{name}"
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/{plural}/{name}"
CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/{name}"
Json = dict[str, Any]


class KubeFailure(Exception):  # noqa: N818  as HostUnseen
    """A call that did not come about. `status` is the HTTP status, 0 where no answer came; then a change
    may have been made nevertheless.

    `said` is the API server's own explanation, "" where it gave none.
    """

    def __init__(self, text: str, status: int = 0, said: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.said = said


@dataclass(frozen=True, slots=True)
class Evicted:
    """What the Eviction API answered: `accepted`, `gone` (no such pod), `blocked` (a
    budget forbids it now) or `failed`.
    """

    answer: str
    reason: str = ""


class Kube:
    """One cluster's API server, through the address in the kubeconfig or, where that leads nowhere,
    through a control plane's own.
    """

    def __init__(
        self,
        kubeconfig: Path,
        control_planes: Callable[[], Sequence[str]],
        lapsed: Callable[[], str] = lambda: "",
    ) -> None:
        """`lapsed` says why this bastion may change nothing any more, or ""."""
        self._kubeconfig = kubeconfig
        self._addresses = control_planes
        """HOST:PORT of each, as far as that is known by then."""
        self._lapsed = lapsed
        self._access: tuple[float, Access] | None = None
        self._clients: dict[str, ApiClient] = {}
        self._eviction = ""

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()  # type: ignore[no-untyped-call]
        self._clients.clear()

    async def node(self, name: str) -> Json:
        """The Node object. Raises `KubeFailure`, with status 404 when there is none."""
        return await self._json(f"reading node {name}", lambda client: request(client, NODE, {"name": name}))

    async def patch_node(self, name: str, patch: Json) -> Json:
        """Merge `patch` into the Node; with metadata.resourceVersion in it, status 409
        when it has changed meanwhile.
        """
        return await self._json(
            f"patching node {name}",
            lambda client: request(client, NODE, {"name": name}, method="PATCH", body=patch, content_type=MERGE_PATCH),
            changes=True,
        )

    async def pods(self, node: str) -> list[Json]:
        """Every pod bound to the node."""
        selector = f"spec.nodeName={node}"
        listed = await self._json(
            f"listing the pods of node {node}", lambda client: list_all(client, "pods", fieldSelector=selector)
        )
        return list(listed.get("items") or ())

    async def daemonsets(self) -> list[Json]:
        """Every DaemonSet. Raises `KubeFailure`."""
        listed = await self._json("listing daemonsets", lambda client: list_group(client, "apps", "v1", "daemonsets"))
        return list(listed.get("items") or ())

    async def lease(self, name: str) -> Json:
        """A Lease of kube-system. Raises `KubeFailure`, with status 404 when there is none."""
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}"
        return await self._json(f"reading the lease {name}", lambda client: request(client, path, {"name": name}))

    async def webhooks(self, plural: str, name: str) -> Json:
        """One configuration of admission webhooks. Raises `KubeFailure`, with status 404 when there is none."""
        names = {"plural": plural, "name": name}
        return await self._json(f"reading {plural} {name}", lambda client: request(client, CONFIGURATION, names))

    async def put_webhooks(self, plural: str, whole: Json) -> Json:
        """Write it whole; status 409 when it has changed since it was read."""
        names = {"plural": plural, "name": whole["metadata"]["name"]}
        return await self._json(
            f"writing {plural} {names['name']}",
            lambda client: request(client, CONFIGURATION, names, method="PUT", body=whole),
            changes=True,
        )

    async def config_map(self, name: str) -> Json:
        """A ConfigMap of kube-system. Raises `KubeFailure`, with status 404 when there is none."""
        return await self._json(
            f"reading the configmap {name}", lambda client: request(client, CONFIG_MAP, {"name": name})
        )

    async def put_config_map(self, whole: Json) -> Json:
        """Write it whole; status 409 when it has changed since it was read."""
        name = whole["metadata"]["name"]
        return await self._json(
            f"writing the configmap {name}",
            lambda client: request(client, CONFIG_MAP, {"name": name}, method="PUT", body=whole),
            changes=True,
        )

    async def endpoints_of(self, service: str) -> Json:
        """The Endpoints of a service, NAMESPACE/NAME, as a list of at most one."""
        namespace, _, name = service.partition("/")
        query = {"fieldSelector": f"metadata.name={name}"}
        return await self._json(
            f"listing the endpoints of {service}",
            lambda client: request(client, ENDPOINTS, {"namespace": namespace}, query=query),
        )

    async def astray(self) -> tuple[str, ...]:
        """Endpoints of services that are not the addresses of their pods, in words. Raises `KubeFailure`."""
        # the endpoints last: what they followed by then, the other lists show, too
        services = await self._json("listing services", lambda client: list_all(client, "services"))
        pods = await self._json(
            "listing all pods",
            lambda client: request(client, "/api/v1/pods", query={"resourceVersion": "0"}, accept=TABLE),
        )
        try:
            return astray(services, await self._endpoints(), tuple(PodBook().listed(json.dumps(pods).encode())))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise KubeFailure(
                f"the API server listed pods or endpoints in a form that cannot be understood ({error!r})"
            ) from error

    async def _endpoints(self) -> Json:
        """EndpointSlices, or Endpoints where there are none."""
        for kind in SLICES:
            try:
                listed = await self._json("listing endpointslices", partial(_slices, kind))
            except KubeFailure as failure:
                if failure.status != NOT_FOUND:
                    raise
            else:
                if listed.get("items"):
                    return listed
                break  # 1.17 serves them, and nobody makes any (the gate EndpointSlice is off)
        return await self._json("listing endpoints", lambda client: list_all(client, "endpoints"))

    async def evict(self, pod: Json) -> Evicted:
        """Ask for this very pod (by uid) to be evicted. Raises `KubeFailure` only when no answer came."""
        meta = pod["metadata"]
        body = {
            "apiVersion": await self._eviction_version(),
            "kind": "Eviction",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
            "deleteOptions": {"preconditions": {"uid": meta["uid"]}},
        }
        try:
            await self._json(
                f"evicting pod {meta['namespace']}/{meta['name']}",
                lambda client: request(client, f"{POD}/eviction", _named(pod), method="POST", body=body),
                changes=True,
            )
        except KubeFailure as failure:
            # 409: a pod of the same name and another uid; the one that was meant is gone
            answers = {404: "gone", 409: "gone", 429: "blocked", 0: ""}
            answer = answers.get(failure.status, "failed")
            if not answer:
                raise
            return Evicted(answer, failure.said or str(failure))
        return Evicted("accepted")

    async def delete_pod(self, pod: Json, grace: int | None = None) -> None:
        """Delete this very pod (by uid), with its own grace period unless `grace` gives seconds;
        one that is gone already is fine.
        """
        meta = pod["metadata"]
        options: Json = {"preconditions": {"uid": meta["uid"]}} | (
            {"gracePeriodSeconds": grace} if grace is not None else {}
        )
        try:
            await self._json(
                f"deleting pod {meta['namespace']}/{meta['name']}",
                lambda client: request(client, POD, _named(pod), method="DELETE", body=options),
                changes=True,
            )
        except KubeFailure as failure:
            if failure.status not in (404, 409):
                raise

    async def _eviction_version(self) -> str:
        """`policy/v1` from 1.22 on, `policy/v1beta1` before and until 1.25; found as kubectl does, from what
        the server says that it serves.
        """
        if not self._eviction:
            listed = await self._json("asking for the Eviction API", lambda client: request(client, "/api/v1/"))
            entry = next((r for r in listed.get("resources") or () if r.get("name") == "pods/eviction"), None)
            if entry is None:
                raise KubeFailure(
                    "the API server serves no Eviction API (pods/eviction), so pods cannot be evicted "
                    "with their budgets respected",
                    404,
                )
            self._eviction = f"{entry.get('group') or 'policy'}/{entry.get('version') or 'v1beta1'}"
        return self._eviction

    async def _json(self, what: str, call: Callable[[ApiClient], Awaitable[Any]], *, changes: bool = False) -> Json:
        """One call, at the first address that can be connected to. What may have changed
        something is not sent a second time.
        """
        failures = []
        for server, client in await self._servers():
            if changes and (why := self._lapsed()):
                raise KubeFailure(f"{what} was not asked for: {why}")
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    response = await call(client)
                    text = await response.read()
                return _body(what, server, response.status, text)
            except aiohttp.ClientConnectorError as error:
                failures.append(f"{server} cannot be connected to ({error.os_error.strerror or error.os_error})")
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                failures.append(f"{server}: {error or f'no answer within {CALL_SECONDS:g} s'}")
                if changes:
                    break
        raise KubeFailure(f"{what} failed: {'; '.join(failures)}")

    async def _servers(self) -> list[tuple[str, ApiClient]]:
        try:
            changed = self._kubeconfig.stat().st_mtime
            if self._access is None or self._access[0] != changed:
                access = await read_access(self._kubeconfig)
                await self.close()
                self._access = (changed, access)
        except (OSError, KubeconfigError) as error:
            raise KubeFailure(f"the API server cannot be asked: {error}") from error
        access = self._access[1]
        servers = dict.fromkeys((access.server, *(f"https://{a}" for a in self._addresses())))
        return [(s, self._clients.setdefault(s, api_client(access, s))) for s in servers]


def _slices(kind: tuple[str, str, str], client: ApiClient) -> Awaitable[Any]:
    return list_group(client, *kind)


def _named(pod: Json) -> dict[str, str]:
    return {"namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"]}


def _body(what: str, server: str, status: int, text: bytes) -> Json:
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise KubeFailure(
            f"{what} failed: {server} answered HTTP {status} with something that is no JSON object", status or 500
        )
    if status >= 300:
        said = str(body.get("message") or body.get("reason") or "")
        causes = "; ".join(str(c.get("message", "")) for c in (body.get("details") or {}).get("causes") or ())
        raise KubeFailure(
            f"{what} failed: HTTP {status}: {said}{f' ({causes})' if causes else ''}", status, causes or said
        )
    return body
