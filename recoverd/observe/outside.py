"""Whether an etcd that is none of the cluster's static pods goes on: its servers as the API servers' manifests name
them. They are looked at, and nothing is done to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from recoverd.clients.etcd import EtcdUnseen
from recoverd.clients.etcd_outside import OutsideClient
from recoverd.clients.hosts import HostPool
from recoverd.diagnose.scene import API, Scene
from recoverd.model.etcd import EtcdView
from recoverd.model.observation import Unseen
from recoverd.model.places import OutsideEtcd, outside_etcd


class OutsideWatch:
    """Asks the servers from one control plane, and from the next one where none could be asked from that."""

    def __init__(self, hosts: HostPool, seconds: float) -> None:
        self._hosts = hosts
        self._seconds = seconds
        self._ways: dict[str, OutsideEtcd] = {}
        """How each control plane reaches them."""
        self._clients: dict[str, OutsideClient] = {}
        self._turn = 0

    def learn(self, scene: Scene) -> None:
        """Take from a sweep where they are, if they are elsewhere; a sweep that does not tell changes nothing."""
        if not scene.external_etcd:
            if scene.etcd_views or scene.memory.watermark:
                self._ways, self._clients = {}, {}
            return
        ways = dict(self._ways)
        for name in scene.control_plane_names:
            host = scene.host(name)
            manifest = (host.manifests.get(API) if host else None) or scene.memory.manifests.get(name, {}).get(API)
            if manifest and (way := outside_etcd(manifest.content)):
                ways[name] = way
        if ways != self._ways:
            self._ways, self._clients = ways, {}

    async def look(self) -> Mapping[str, EtcdView | Unseen]:
        """Each server's own words; nothing where etcd is not known to be elsewhere."""
        if not self._ways:
            return {}
        if not self._clients:
            plane = list(self._ways)[self._turn % len(self._ways)]
            way = self._ways[plane]
            self._clients = {str(s): OutsideClient(self._hosts, plane, s, way) for s in way.servers}
        seen = await asyncio.gather(*(self._server(c) for c in self._clients.values()))
        found = dict(zip(self._clients, seen, strict=True))
        if all(isinstance(v, Unseen) for v in seen):
            self._turn, self._clients = self._turn + 1, {}
        return found

    async def _server(self, client: OutsideClient) -> EtcdView | Unseen:
        try:
            return await client.view(timeout=self._seconds)
        except EtcdUnseen as unseen:
            return unseen.unseen
