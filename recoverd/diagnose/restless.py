"""Which machines, by the look before, something may be wrong with, so that the next one asks
for more. Pure but for the clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from recoverd.model.network import NetworkView, NodeNetworkView, RulesView
from recoverd.model.observation import ApiView, EndpointHealth, HostView, ObjectsView, UnitView, Unseen

UP = timedelta(seconds=60)
"""For which kubelet and the runtime must be up for a machine to need no closer look,
once systemd has restarted them.
"""


def restless(view: HostView, young: timedelta, at: datetime | None = None) -> list[UnitView]:
    """kubelet and the runtime, where they do not run, or were restarted by systemd itself and have not been
    up for as long as `young` since. `at`: now, by the bastion's clock.
    """
    clock = at or datetime.now(UTC)
    units = [u for n, u in view.units.items() if n in ("kubelet", view.runtime)]
    return [u for u in units if not u.running or (u.restarts and u.since and clock - u.since < young)]


def idle(view: HostView) -> bool:
    """It has the manifest of a static pod that nothing else can do without, and no process of it."""
    return any(c in view.manifests and not view.runs(c) for c in ("etcd", "kube-apiserver"))


def unwell(
    hosts: Mapping[str, HostView | Unseen],
    api: ApiView,
    addresses: Mapping[str, str],
    at: datetime,
    odd: Collection[str] = (),
) -> list[str]:
    """The hosts that deserve a closer look in the next sweep: their node is listed and not Ready, is not listed,
    is one of those where pods are not as they should be (`odd`), or a unit or a static pod of theirs is not up.
    """
    listed = api.objects.nodes if isinstance(api.objects, ObjectsView) else ()
    ready = {key for n in listed if n.ready and n.name not in odd for key in (n.name, n.address)}
    joined = {name: view for name, view in hosts.items() if isinstance(view, HostView) and view.joined}
    return [
        n
        for n, view in joined.items()
        if restless(view, UP, at) or idle(view) or (listed and not {n, addresses.get(n, "")} & ready)
    ]


def of_the_address(hosts: Mapping[str, HostView | Unseen], api: ApiView) -> list[str]:
    """The control planes, where the cluster's address does not answer though an API server is ready, or where several
    of them have it: each is asked whether it has it.
    """
    wrong = api.vip.health not in (EndpointHealth.READY, EndpointHealth.NOT_TRIED) and any(
        e.health is EndpointHealth.READY for e in api.members.values()
    )
    looks = (v.node for n in api.members if isinstance(v := hosts.get(n), HostView))
    held = [address for look in looks if look for address in look.held or ()]
    return [n for n in api.members if isinstance(hosts.get(n), HostView)] if wrong or len(held) > len(set(held)) else []


def odd_nodes(network: NetworkView | Unseen) -> frozenset[str]:
    """The nodes where pods wait for containers or an image, those whose agents are not well, and those with the pods of
    a DNS that is not ready.
    """
    if isinstance(network, Unseen):
        return frozenset()
    without = (image.node for image in network.unpulled.values())
    agents = (agent.node for agent in network.agents if agent.bad_for > 0)
    return frozenset(network.waiting).union(without, agents, *(silent.nodes for silent in network.silent_dns.values()))


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
