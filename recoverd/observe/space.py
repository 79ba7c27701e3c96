"""What takes the space of an etcd that has reached its quota: read only then, and no oftener than it changes."""

from __future__ import annotations

import time
from dataclasses import replace

from recoverd.clients.etcd import EtcdClient, EtcdUnseen
from recoverd.clients.etcd_space import PrefixReader
from recoverd.model.etcd import EtcdView, PrefixUse

READ_EVERY = 60.0
"""Seconds. Nothing is written while the alarm is up; only leases end."""


class SpaceWatch:
    """The same for each member of a cluster."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[float, tuple[PrefixUse, ...]]] = {}
        self._readers: dict[str, PrefixReader] = {}
        """Of members whose prefixes did not come within one sweep."""

    async def look(self, name: str, client: EtcdClient, view: EtcdView, *, timeout: float) -> EtcdView:  # noqa: ASYNC109
        """The view with its prefixes, where it tells of the NOSPACE alarm; those of before, where they did not all come
        within `timeout` seconds, and none before they all came once.
        """
        if not view.full:
            self._read.pop(name, None)
            self._readers.pop(name, None)
            return view
        at, known = self._read.get(name, (0.0, ()))
        if not known or time.monotonic() - at > READ_EVERY:
            reader = self._readers.setdefault(name, PrefixReader())
            try:
                known = await reader.read(client, timeout=timeout)
                self._read[name] = (time.monotonic(), known)
                del self._readers[name]
            except EtcdUnseen:  # the next sweep goes on with it
                pass
        return replace(view, prefixes=known)
