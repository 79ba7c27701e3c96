"""The cluster's DNS as the API has it: since when none of its pods has been ready."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from recoverd.model.network import SilentDns
from recoverd.observe.services import ServicePort


class NameWatch:
    """Remembers of one cluster since when its DNS has had pods and none that is ready."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}

    def look(self, ports: Iterable[ServicePort], now: datetime) -> dict[str, SilentDns]:
        """By service, NAMESPACE/NAME; one that has no pod at all is somebody's will, and left out."""
        found: dict[str, SilentDns] = {}
        for port in ports:
            there = [e for e in port.endpoints if not e.terminating]
            if port.dns and there and not any(e.ready for e in there):
                name = f"{port.namespace}/{port.name}"
                pods = tuple(sorted({e.pod for e in there if e.pod}))
                nodes = tuple(sorted({e.node for e in there if e.node}))
                found[name] = SilentDns(self._since.get(name, now), pods, nodes)
        self._since = {name: silent.since for name, silent in found.items()}
        return found

    def away(self) -> None:
        """The API listed nothing for a while: what it calls ready after that has yet to be told it by kubelets."""
        self._since.clear()
