"""A server of an etcd that is none of the cluster's static pods, asked as the API servers ask it: from a control plane,
with the API server's own client certificate.
"""

from __future__ import annotations

from recoverd.clients.etcd import UNMETERED, EtcdClient, Metered
from recoverd.clients.hosts import HostPool
from recoverd.model.places import OutsideEtcd, Socket

__all__ = ["OutsideClient"]


class OutsideClient(EtcdClient):
    """The server at one address, which a control plane reaches."""

    def __init__(self, hosts: HostPool, plane: str, server: Socket, etcd: OutsideEtcd) -> None:
        super().__init__(hosts, plane, pki=etcd.files)
        self._server, self._prefix = server, etcd.registry
        self._where = f"etcd at {server}, asked from {plane},"
        self._named = server.host

    @property
    def _gateway(self) -> Socket:
        return self._server

    @property
    def _registry(self) -> str:
        return self._prefix

    async def _metered(self) -> Metered:
        """Nothing: where its metrics are, no manifest says."""
        return UNMETERED
