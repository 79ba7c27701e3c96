"""All checks of an installation: the bastion's, and every cluster's side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from recoverd.clients.hosts import HostPool
from recoverd.config import ClusterConfig, Config
from recoverd.doctor import bastion
from recoverd.doctor.check import About, Check
from recoverd.doctor.cluster import ApiExam, credentials
from recoverd.doctor.machine import Examined, examine_machine
from recoverd.memory.remember import workers_of
from recoverd.model.call import Call
from recoverd.model.observation import NodeView
from recoverd.model.settings import HostSettings
from recoverd.model.text import meant

API_SECONDS = 30.0
"""For all addresses and lists: twice the deadlines of a sweep, whatever these are."""


class Stranger(Exception):  # noqa: N818
    """There is no such cluster or machine in the configuration; the text says which there are."""


async def examine(config: Config, cluster: str = "", node: str = "") -> list[Check]:
    """Every check, of all clusters or one, of all machines or one. Raises `Stranger`."""
    chosen = [c for c in config.clusters if cluster in ("", c.settings.name)]
    if not chosen:
        names = [c.settings.name for c in config.clusters]
        raise Stranger(f"there is no cluster {cluster} in the configuration; {meant(cluster, names)}")
    own = About().within("bastion", bastion.examine_bastion(config)) if not node else _nothing()
    parts = await asyncio.gather(own, *(_cluster(config, c, node) for c in chosen))
    return [check for part in parts for check in part]


async def _nothing() -> list[Check]:
    return []


async def _cluster(config: Config, cluster: ClusterConfig, node: str) -> list[Check]:
    settings = cluster.settings
    known = (*settings.control_planes, *settings.workers)
    pool = HostPool(cluster.ssh, known)
    pool.guard = lambda _: Call.of("refuse", "recoverd doctor only looks")
    try:
        async with ApiExam(cluster, pool) as api:
            return await _examined(config, cluster, node, pool, api)
    finally:
        await pool.close()


async def _examined(config: Config, cluster: ClusterConfig, node: str, pool: HostPool, api: ApiExam) -> list[Check]:
    about, settings = About(cluster.settings.name), cluster.settings
    known = [h.name for h in (*settings.control_planes, *settings.workers)]
    first = [name for name in known if node in ("", name)]
    # where control planes listen is learnt from their own look, and asked there afterwards
    found = dict(zip(first, await _machines(cluster, pool, first), strict=True))
    checks = await about.within("api", _look(api), API_SECONDS)
    if learnt := _learnt(cluster, api.nodes):
        pool.update_hosts((*settings.control_planes, *learnt))
        more = [h.name for h in learnt if node in ("", h.name)]
        found |= dict(zip(more, await _machines(cluster, pool, more), strict=True))
    if node and not found:
        machines = [*known, *(h.name for h in learnt)]
        raise Stranger(f"{settings.name} has no machine {node}; {meant(node, machines, 'it has: ')}")
    views, members = {n: e.view for n, e in found.items()}, [e.etcd for e in found.values() if e.etcd]
    of_machines = [check for each in found.values() for check in each.checks]
    checks += api.endpoints(views, node)
    if node:
        return [*of_machines, *checks]
    permissions, used = await asyncio.gather(
        about.within("permissions", api.permissions()), about.within("kubeconfig", credentials(cluster))
    )
    checks += [*used, *api.objects(), *permissions]
    checks += await about.within("versions", bastion.versions(cluster, members))
    return [*of_machines, *checks, *bastion.room(config, cluster, members)]


async def _look(api: ApiExam) -> list[Check]:
    await api.look()
    return []


async def _machines(cluster: ClusterConfig, pool: HostPool, names: Iterable[str]) -> Sequence[Examined]:
    """All side by side."""
    return await asyncio.gather(*(examine_machine(cluster, pool, name) for name in names))


def _learnt(cluster: ClusterConfig, nodes: Iterable[NodeView]) -> list[HostSettings]:
    """The workers that the API server lists, where the configuration names none; as the daemon does it."""
    planes = {p.name for p in cluster.settings.control_planes}
    if cluster.settings.workers:
        return []
    return [HostSettings(w.name, w.address) for w in workers_of(nodes) if w.name not in planes]
