"""A server of an etcd that is none of the cluster's static pods, asked as the API servers ask it: from a control plane,
with the API server's own client certificate.
"""

from __future__ import annotations

from recoverd.clients.etcd import UNMETERED, EtcdClient, Metered
from recoverd.clients.etcd_answers import EtcdUnseen
from recoverd.clients.hosts import HostPool, HostUnseen, NothingListens
from recoverd.model.etcd import EtcdView
from recoverd.model.observation import UnseenKind
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

    async def view(self, *, timeout: float, at: int = 0, kept: bool = False) -> EtcdView:  # noqa: ASYNC109
        """As it says itself; a control plane that cannot be asked says nothing of the server (`NOT_TRIED`)."""
        try:
            return await super().view(timeout=timeout, at=at, kept=kept)
        except EtcdUnseen as unseen:
            why = unseen.__cause__
            ends_before = isinstance(why, HostUnseen) and not isinstance(why, NothingListens)
            # what would be said of the server is so of the control plane's sshd where the way ends there
            if ends_before and unseen.unseen.kind.of_the_other_side:
                raise EtcdUnseen(UnseenKind.NOT_TRIED, unseen.unseen.reason) from why
            raise

    async def _metered(self) -> Metered:
        """Nothing: where its metrics are, no manifest says."""
        return UNMETERED
