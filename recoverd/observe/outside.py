"""Whether an etcd that is none of the cluster's static pods goes on: its servers as the API servers' manifests name
them. They are looked at, and nothing is done to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from recoverd.clients.etcd import EtcdUnseen
from recoverd.clients.etcd_outside import OutsideClient
from recoverd.clients.hosts import HostPool
from recoverd.diagnose.outside import Ways
from recoverd.diagnose.scene import Scene
from recoverd.model.etcd import EtcdView
from recoverd.model.observation import Unseen
from recoverd.model.places import OutsideEtcd
from recoverd.observe.members import with_lists


class OutsideWatch:
    """Asks the servers by way of the control plane whose turn it is."""

    def __init__(self, hosts: HostPool, seconds: float) -> None:
        self._hosts = hosts
        self._seconds = seconds
        self._ways = Ways()
        self._used: tuple[str, OutsideEtcd] | None = None
        self._clients: dict[str, OutsideClient] = {}

    @property
    def by(self) -> str:
        """The control plane from which the last look was made."""
        return self._ways.by

    def learn(self, scene: Scene) -> None:
        """Take from a sweep where they are."""
        self._ways.learn(scene)

    async def look(self) -> Mapping[str, EtcdView | Unseen]:
        """Each server's own words; nothing where etcd is not known to be elsewhere."""
        if (way := self._ways.now) is None:
            return {}
        if way != self._used:
            plane, etcd = self._used = way
            self._clients = {str(s): OutsideClient(self._hosts, plane, s, etcd) for s in etcd.servers}
        seen = await asyncio.gather(*(self._server(c) for c in self._clients.values()))
        return self._ways.took(with_lists(dict(zip(self._clients, seen, strict=True))))

    async def _server(self, client: OutsideClient) -> EtcdView | Unseen:
        try:
            return await client.view(timeout=self._seconds)
        except EtcdUnseen as unseen:
            return unseen.unseen
