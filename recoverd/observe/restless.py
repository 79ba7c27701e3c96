"""Which machines, by the look before, something may be wrong with, so that the next one asks
for more. Pure but for the clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from recoverd.model.network import NetworkView, NodeNetworkView, RulesView
from recoverd.model.observation import ApiView, HostView, ObjectsView, UnitView, Unseen

UP = timedelta(seconds=60)
"""For which kubelet and the runtime must be up for a machine to need no closer look,
once systemd has restarted them.
"""


def restless(view: HostView, young: timedelta) -> list[UnitView]:
    """kubelet and the runtime, where they do not run, or were restarted by systemd itself and have not been
    up for as long as `young` since.
    """
    clock = datetime.now(UTC) + timedelta(seconds=view.clock_offset)
    units = [u for n, u in view.units.items() if n in ("kubelet", view.runtime)]
    return [u for u in units if not u.running or (u.restarts and u.since and clock - u.since < young)]


def unwell(
    hosts: Mapping[str, HostView | Unseen], api: ApiView, addresses: Mapping[str, str], waiting: Collection[str] = ()
) -> list[str]:
    """The hosts that deserve a closer look in the next sweep: their node is listed and not Ready, is not listed,
    is one of those where pods are not as they should be (`waiting`), or a unit of theirs is not up.
    """
    listed = api.objects.nodes if isinstance(api.objects, ObjectsView) else ()
    ready = {key for n in listed if n.ready and n.name not in waiting for key in (n.name, n.address)}
    joined = {name: view for name, view in hosts.items() if isinstance(view, HostView) and view.joined}
    return [n for n, view in joined.items() if restless(view, UP) or (listed and not {n, addresses.get(n, "")} & ready)]


def odd_nodes(network: NetworkView) -> frozenset[str]:
    """The nodes where pods wait for their containers, and those with the pods of a DNS that is not ready."""
    return frozenset(network.waiting).union(*(silent.nodes for silent in network.silent_dns.values()))


def lagging(network: NetworkView) -> list[str]:
    """The hosts whose service rules are not those of the endpoints, or are gone beside a kube-proxy: what it follows
    tells why.
    """
    return [
        name
        for name, host in network.hosts.items()
        if isinstance(host, NodeNetworkView)
        and isinstance(host.rules, RulesView)
        and (host.rules.gaps or (not host.rules.mode and "kube-proxy" in host.processes))
    ]
