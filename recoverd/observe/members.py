"""The members of a cluster's etcd, all at once, each within its deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from recoverd.clients.etcd import EtcdClient, EtcdUnseen
from recoverd.clients.haste import Haste
from recoverd.clients.hosts import HostPool
from recoverd.model.etcd import EtcdView, Hashed, differ
from recoverd.model.observation import ApiView, EndpointHealth, HostView, Unseen
from recoverd.observe import late
from recoverd.observe.space import SpaceWatch


class Members:
    """Those on the given hosts, of which each is asked within `seconds`."""

    def __init__(self, hosts: HostPool, names: Iterable[str], seconds: float, haste: Haste) -> None:
        self._seconds, self._haste = seconds, haste
        self._space = SpaceWatch()
        self._clients = {name: EtcdClient(hosts, name) for name in names}

    async def look(self, *, kept: bool) -> Mapping[str, EtcdView | Unseen]:
        """What each says of itself; with `kept`, connections of the sweep before will do (`clients.etcd_line`)."""
        views = await asyncio.gather(
            *(
                self._haste.of(f"etcd on {name}", self._one(name, client, kept), late.silent)
                for name, client in self._clients.items()
            )
        )
        return await self._compared(with_lists(dict(zip(self._clients, views, strict=True))))

    async def close(self) -> None:
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    async def _compared(self, views: dict[str, EtcdView | Unseen]) -> dict[str, EtcdView | Unseen]:
        """With what the data of each come to at one revision, where etcd says that they differ and not whose: that
        takes a member a read of all its keys.
        """
        seen = {name: view for name, view in views.items() if isinstance(view, EtcdView)}
        if not differ(seen.values()):
            return views
        revision = min(view.revision for view in seen.values())

        async def of(name: str) -> Hashed | None:
            try:
                return await self._clients[name].hashed(revision, timeout=self._seconds)
            except (EtcdUnseen, ValueError):
                return None

        hashes = await asyncio.gather(*(of(name) for name in seen))
        return {**views, **{n: replace(seen[n], hashed=h) for n, h in zip(seen, hashes, strict=True)}}

    async def _one(self, name: str, client: EtcdClient, kept: bool) -> EtcdView | Unseen:
        began = time.monotonic()
        try:
            view = await client.view(timeout=self._seconds, kept=kept)
        except EtcdUnseen as unseen:
            return unseen.unseen
        left = max(0.1, self._seconds - (time.monotonic() - began))
        return await self._space.look(name, client, view, timeout=left)


def with_lists(views: Mapping[str, EtcdView | Unseen]) -> dict[str, EtcdView | Unseen]:
    """The views, with the member list of the furthest voter of its cluster for each learner, which tells none."""
    told = [v for v in views.values() if isinstance(v, EtcdView) and v.members]

    def whole(view: EtcdView | Unseen) -> EtcdView | Unseen:
        if not isinstance(view, EtcdView) or view.members:
            return view
        peers = (v for v in told if v.cluster_id == view.cluster_id)
        best = max(peers, key=lambda v: (v.has_leader, v.raft_term, v.revision), default=view)
        return replace(view, members=best.members)

    return {name: whole(view) for name, view in views.items()}


def in_doubt(api: ApiView, etcd: Mapping[str, EtcdView | Unseen], hosts: Mapping[str, HostView | Unseen]) -> bool:
    """Whether anything else in a sweep is such that it matters if the members take new connections: an API server
    that is not ready, or a member, a machine or the lists that were not seen.
    """
    ends = (api.vip, *api.members.values())
    views = (api.objects, *etcd.values(), *hosts.values())
    return any(e.health is not EndpointHealth.READY for e in ends) or any(isinstance(v, Unseen) for v in views)
