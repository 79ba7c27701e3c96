"""The API server as the bastion sees it: through the kubeconfig's address, through each control plane's
own, and the objects it lists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, ApiException, Configuration

from recoverd.clients.haste import Haste
from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.clients.own import own_failure
from recoverd.config import ClusterConfig
from recoverd.model.observation import (
    ApiView,
    EndpointHealth,
    EndpointView,
    ObjectsView,
    Unseen,
    UnseenKind,
)
from recoverd.model.places import authority
from recoverd.model.settings import HostSettings
from recoverd.observe.kubeconfig import Access, KubeconfigError, read_access
from recoverd.observe.kubelet import ListedPod
from recoverd.observe.objects import NODE, Nodes, newest, nodes_of, per_node
from recoverd.observe.pieces import Patience, pieces
from recoverd.observe.podfeed import PodFeed
from recoverd.observe.probe import misnamed, probe
from recoverd.observe.rest import list_all

DIRECT_SHARE = 0.6
"""Share of the deadline after which a control plane's own address is given up and asked through SSH
instead: a firewall may be between.
"""
REFUSED = "HTTP 401 "
"""In what is said of an answer to credentials that nobody knows, as a token that is over."""
UNREAD = -1.0
"""The time of change of no file."""
SILENT = frozenset({EndpointHealth.TIMEOUT, EndpointHealth.UNREACHABLE, EndpointHealth.NOT_READY})
"""What an API server took its time to say: the check of an etcd that does not answer takes two seconds."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the newest list of objects was made of, for those who look closer."""

    client: ApiClient
    pods: tuple[ListedPod, ...]


class ApiCollector:
    """Looks at one cluster's API server."""

    listed: Listed | None = None
    """Of the newest sweep; None when the objects could not be listed in it."""

    def __init__(self, cluster: ClusterConfig, hosts: HostPool, haste: Haste | None = None) -> None:
        self._cluster = cluster
        self._hosts = hosts
        self._haste = haste or Haste()
        self._seconds = cluster.deadlines.api
        self._access: tuple[float, Access] | None = None
        self._clients: dict[str, ApiClient] = {}
        self._pods = PodFeed()
        self.trouble = ""
        """Why the kubeconfig cannot be used any more that what is asked with was read from, or not for long; "" when it
        can.
        """

    async def observe(self, *, followed: bool = False) -> ApiView:
        """Within twice the deadline: one for the probes, one for the objects. Never
        raises for what the cluster does. `followed`: as `PodFeed.pods` has it.
        """
        planes = self._cluster.settings.control_planes
        try:
            access = await self._read()
        except KubeconfigError as error:
            # nothing was asked of anybody, so nobody was silent
            blind = {p.name: self._blind(p, str(error)) for p in planes}
            return ApiView(
                EndpointView("", EndpointHealth.NOT_TRIED, str(error)), blind, Unseen(UnseenKind.OWN, str(error))
            )
        vip, *members = await asyncio.gather(
            self._probed("api", probe(access, access.host, access.port, seconds=self._seconds)),
            *(self._probed(f"api on {plane.name}", self._member(access, plane)) for plane in planes),
        )
        by_name = {plane.name: view for plane, view in zip(planes, members, strict=True)}
        if any(REFUSED in view.detail for view in (vip, *members)):
            # what it names for its credentials, a program or a file beside it, may give others by now
            self._access = (UNREAD, access)
        objects = await self._objects(access, vip, by_name, followed=followed)
        return ApiView(vip, by_name, objects, credentials_expire=access.expires)

    async def _probed(self, source: str, look: Coroutine[Any, Any, EndpointView]) -> EndpointView:
        return await self._haste.of(source, look, lambda view: view.health in SILENT)

    async def close(self) -> None:
        await self._pods.close()
        for client in self._clients.values():
            await client.close()  # type: ignore[no-untyped-call]
        self._clients.clear()

    async def _read(self) -> Access:
        """The kubeconfig, read anew when the file has changed: its credentials may have been renewed.

        While what is there now cannot be used (half a copy, another's file), what was read before is;
        without any, `KubeconfigError`.
        """
        file = self._cluster.kubeconfig
        try:
            changed = file.stat().st_mtime
            if self._access is None or self._access[0] != changed:
                self._access = (changed, await read_access(file))
                await self.close()
        except (OSError, KubeconfigError) as error:
            why = str(error) if isinstance(error, KubeconfigError) else f"{file} cannot be read: {error.strerror}"
            if self._access is None:
                raise KubeconfigError(
                    f"{why}; put one there that recoverd's user may read (recoverd check-config)"
                ) from error
            self.trouble = f"{why}; what was read from it before is used until it can be read (recoverd check-config)"
            return self._access[1]
        access = self._access[1]
        self.trouble = access.expiring()
        return access

    def _blind(self, plane: HostSettings, why: str) -> EndpointView:
        address = authority(plane.address, self._hosts.places_of(plane.name).api)
        return EndpointView(address, EndpointHealth.NOT_TRIED, why)

    async def _member(self, access: Access, plane: HostSettings) -> EndpointView:
        at, seconds = self._hosts.places_of(plane.name).api, self._seconds * DIRECT_SHARE
        direct = await probe(access, plane.address, at, seconds=seconds)
        if misnamed(direct):
            direct = await probe(access, plane.address, at, seconds=seconds, named=access.host)
        if direct.health not in (EndpointHealth.TIMEOUT, EndpointHealth.UNREACHABLE):
            return direct
        left = self._seconds * (1 - DIRECT_SHARE)
        try:
            async with asyncio.timeout(left), self._hosts.tunnel(plane.name, at, timeout=left) as port:
                seen = await probe(access, plane.address, at, seconds=left, dial=("127.0.0.1", port))
        except (HostUnseen, TimeoutError):
            return direct
        if seen.health is EndpointHealth.ERROR:
            return direct  # the tunnel's end was closed: nothing is known beyond what was
        return EndpointView(
            seen.address, seen.health, f"{seen.detail} (through SSH; directly: {direct.detail})", seen.failing_checks
        )

    async def _objects(
        self, access: Access, vip: EndpointView, members: dict[str, EndpointView], *, followed: bool
    ) -> ObjectsView | Unseen:
        self.listed = None
        server = access.server if vip.health is EndpointHealth.READY else ""
        server = server or next(
            (f"https://{v.address}" for v in members.values() if v.health is EndpointHealth.READY), ""
        )
        if not server:
            return Unseen(UnseenKind.NOT_TRIED, "no API server is ready to list objects")
        client = self._client(access, server)
        try:
            async with (patience := Patience(self._seconds)).limit:
                (views, made), listed = await self._listed(client, patience, followed=followed)
            self.listed = Listed(client, listed)
            return ObjectsView(views, per_node(listed), newest=newest(made, listed))
        except TimeoutError:
            return Unseen(UnseenKind.TIMEOUT, f"{server} did not list nodes and pods within {self._seconds:g} s")
        except ApiException as error:
            if error.status == 401 and (expired := access.expired()):
                return Unseen(UnseenKind.OWN, f"{server} did not list nodes and pods (HTTP 401): {expired}")
            if error.status in (401, 403):
                return Unseen(
                    UnseenKind.DENIED,
                    f"{server} does not let the kubeconfig's user list nodes and pods: HTTP "
                    f"{error.status} {error.reason}",
                )
            return Unseen(
                UnseenKind.GARBAGE,
                f"{server} answered HTTP {error.status} {error.reason} to the list of nodes and pods",
            )
        except (aiohttp.ClientError, OSError) as error:
            if own := own_failure(error):
                return Unseen(UnseenKind.OWN, f"{server} was not asked for nodes and pods: {own}")
            return Unseen(UnseenKind.UNREACHABLE, f"{server} broke off while listing nodes and pods: {error}")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            return Unseen(
                UnseenKind.GARBAGE, f"{server} listed nodes and pods in a form that cannot be understood ({error!r})"
            )

    async def _listed(
        self, client: ApiClient, patience: Patience, *, followed: bool
    ) -> tuple[Nodes, tuple[ListedPod, ...]]:
        pods = asyncio.create_task(self._pods.pods(client, patience.came, followed=followed))
        try:
            nodes = await list_all(client, "nodes", resourceVersion="0")
            return await nodes_of(pieces(nodes, NODE, patience.came)), await pods
        finally:
            pods.cancel()
            await asyncio.gather(pods, return_exceptions=True)

    def _client(self, access: Access, server: str) -> ApiClient:
        if server not in self._clients:
            self._clients[server] = api_client(access, server)
        return self._clients[server]


def api_client(access: Access, server: str) -> ApiClient:
    """The official client for one address of the API server, with the credentials of the kubeconfig. To be closed."""
    configuration = Configuration(host=server)
    for field in ("ssl_ca_cert", "cert_file", "key_file", "verify_ssl", "api_key", "api_key_prefix"):
        setattr(configuration, field, getattr(access.configuration, field))
    configuration.disable_strict_ssl_verification = True
    return ApiClient(configuration)
