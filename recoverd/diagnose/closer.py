"""Whose machine is looked at more closely in the next sweep: what a node hears, reaches and reads costs time,
and matters where something may be wrong. Pure; the model's sweeps go by it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from recoverd.diagnose.restless import lagging, odd_nodes, of_the_address, unwell
from recoverd.model.network import NetworkView
from recoverd.model.observation import ApiView, HostView, Unseen

NODE_EVERY = 600.0
"""Seconds between two closer looks at a machine with whose node nothing is wrong: for what is remembered of it."""
FIRST_EVERY = 20.0
"""The same while nothing is remembered of it yet: that is learnt in a healthy sweep only."""


class CloserLooks:
    """Of the machines of one cluster, by a clock in seconds that whoever uses it has."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        """By host; those that are not well are in every sweep."""

    def due(self, name: str, now: float) -> bool:
        return now > self._due.get(name, float("-inf"))

    def took(self, name: str, now: float, *, learnt: bool) -> None:
        """One was made, or tried: a machine that hangs must not hang for longer in every sweep."""
        self._due[name] = now + (NODE_EVERY if learnt else FIRST_EVERY)

    def learn(
        self,
        hosts: Mapping[str, HostView | Unseen],
        api: ApiView,
        network: NetworkView | Unseen,
        addresses: Mapping[str, str],
        at: datetime,
    ) -> None:
        """Take from a sweep who deserves one in the next. `at`: when the sweep was made, by the bastion's clock."""
        wanted = [*unwell(hosts, api, addresses, at, odd_nodes(network)), *of_the_address(hosts, api)]
        if isinstance(network, NetworkView):
            wanted += lagging(network)
        self._due |= dict.fromkeys(wanted, float("-inf"))
