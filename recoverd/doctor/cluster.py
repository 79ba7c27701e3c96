"""What the API server of a cluster is asked: by the kubeconfig's address and by each control plane's own, what
recoverd's user may do, and whether the nodes are those of the configuration.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType

import aiohttp
from kubernetes.aio.client import ApiClient

from recoverd.clients.hosts import HostPool
from recoverd.config import ClusterConfig
from recoverd.doctor.check import About, Check, Level
from recoverd.doctor.permissions import CANARY, NEEDED, Permission, lack
from recoverd.model.observation import ApiView, EndpointHealth, EndpointView, HostView, NodeView, ObjectsView, Unseen
from recoverd.observe.api import ApiCollector, api_client
from recoverd.observe.kubeconfig import Access, KubeconfigError, read_access
from recoverd.observe.rest import request

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
SOON = timedelta(days=30)


class ApiExam:
    """The API server of one cluster, with its connections."""

    def __init__(self, cluster: ClusterConfig, pool: HostPool) -> None:
        self._cluster = cluster
        self._about = About(cluster.settings.name)
        self._collector = ApiCollector(cluster, pool)
        self.view: ApiView | None = None

    async def __aenter__(self) -> ApiExam:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._collector.close()

    @property
    def nodes(self) -> tuple[NodeView, ...]:
        """Those that the API server lists; none where it does not."""
        objects = self.view.objects if self.view else None
        return objects.nodes if isinstance(objects, ObjectsView) else ()

    async def look(self) -> None:
        """Ask every address and list the objects, as a sweep does."""
        self.view = await self._collector.observe()

    def endpoints(self, views: Mapping[str, HostView | None], node: str) -> list[Check]:
        """One line an address; with `node`, only of its own."""
        if self.view is None:
            return []
        found = [] if node else [_endpoint(self._about, self.view.vip, joined=True)]
        for name, endpoint in self.view.members.items():
            if node in ("", name):
                host = views.get(name)
                about = About(self._cluster.settings.name, name)
                found.append(_endpoint(about, endpoint, joined=host is None or host.joined))
        return found

    def objects(self) -> list[Check]:
        """Whether nodes and pods are listed, and the nodes are those that the configuration names."""
        about, objects = self._about, self.view.objects if self.view else None
        if objects is None or isinstance(objects, Unseen):
            return [about.fail("lists", objects.reason if objects else "the API server was not asked")]
        settings, known = self._cluster.settings, {n.name for n in objects.nodes}
        versions = sorted({n.kubelet_version for n in objects.nodes if n.kubelet_version})
        found = [about.ok("lists", f"{len(known)} nodes and their pods; kubelet {', '.join(versions) or 'not told'}")]
        strangers = [h.name for h in (*settings.control_planes, *settings.workers) if h.name not in known]
        if strangers:
            detail = f"the cluster has no node {', '.join(strangers)}; it has {', '.join(sorted(known))}"
            remedy = "name machines in the configuration as kubectl get nodes does; a spare joins later"
            found.append(about.warn("names", detail, remedy))
        return found

    async def permissions(self) -> list[Check]:
        """What the files in config/ let recoverd's user do, each verb asked by SelfSubjectAccessReview."""
        view = self.view
        try:
            access = await read_access(self._cluster.kubeconfig)
        except KubeconfigError as error:
            return [self._about.fail("permissions", f"not asked: {error}")]
        members = view.members.values() if view else ()
        ready = [e.address for e in (*([view.vip] if view else []), *members) if e.health is EndpointHealth.READY]
        if not ready:
            return [self._about.fail("permissions", "not asked: no API server is ready")]
        named = view is not None and view.vip.health is EndpointHealth.READY
        client = api_client(access, access.server if named else f"https://{ready[0]}")
        async with client:
            try:
                return [check for file, needed in NEEDED.items() for check in await self._file(client, file, needed)]
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return [self._about.fail("permissions", f"the API server did not say what is allowed: {error}")]

    async def _file(self, client: ApiClient, file: str, needed: Sequence[Permission]) -> list[Check]:
        about, canary = self._about, self._cluster.settings.canary
        if file == CANARY and not canary.every:
            return []
        said = await asyncio.gather(*(_allowed(client, p, canary.namespace) for p in needed))
        missing = [p for p, yes in zip(needed, said, strict=True) if not yes]
        if not missing:
            return [about.ok("permissions", f"{file}: all {len(needed)} are given")]
        blind, worth = lack(file, missing)
        level = Level.FAIL if blind else Level.WARN
        detail = f"{file}: not allowed: {', '.join(map(str, missing))}; {worth}"
        return [Check(level, about.cluster, "", "permissions", detail, f"kubectl apply -f {file}")]


async def _allowed(client: ApiClient, permission: Permission, namespace: str) -> bool:
    response = await request(client, REVIEWS, method="POST", body=permission.review(namespace))
    text = await response.read()
    if response.status not in (200, 201):
        raise ValueError(f"HTTP {response.status} to {permission}: {text[:200]!r}")
    return bool(json.loads(text).get("status", {}).get("allowed"))


async def credentials(cluster: ClusterConfig) -> list[Check]:
    """Whether the kubeconfig can be used, and for how long."""
    about = About(cluster.settings.name)
    try:
        access = await read_access(cluster.kubeconfig)
    except KubeconfigError as error:
        remedy = "config/rbac.yaml says how to make one"
        return [about.fail("kubeconfig", str(error), remedy)]
    return [_expiry(about, access, datetime.now(UTC))]


def _expiry(about: About, access: Access, now: datetime) -> Check:
    if access.expires is None:
        detail = f"for {access.server}, without a client certificate: an API server without etcd accepts no token"
        return about.warn("kubeconfig", detail, "make one with a client certificate (config/rbac.yaml says how)")
    left = access.expires - now
    detail = f"for {access.server}, valid until {access.expires:%Y-%m-%d}, {left.days} days from now"
    if left <= timedelta(0):
        return about.fail("kubeconfig", access.expired() or detail)
    if left < SOON:
        return about.warn("kubeconfig", detail, "make a new one now (config/rbac.yaml says how)")
    return about.ok("kubeconfig", detail)


def _endpoint(about: About, view: EndpointView, *, joined: bool) -> Check:
    what = "api" if about.node else "api address"
    if view.health is EndpointHealth.READY:
        return about.ok(what, f"{view.address} is ready")
    if not joined:
        return about.warn(what, f"{view.address}: the machine has not joined the cluster yet")
    detail = f"{view.address or 'the kubeconfig'} is {view.health}: {view.detail}"
    remedies = {
        EndpointHealth.UNRESOLVED: "let the bastion resolve the name (DNS, or /etc/hosts)",
        EndpointHealth.UNREACHABLE: "let the bastion reach it, by its network or through SSH (a tunnel)",
        EndpointHealth.TLS: "see that the kubeconfig is of this cluster, and its certificates are good",
    }
    return about.fail(what, detail, remedies.get(view.health, ""))
