"""`restore-node-network`: puts back single parts of a node's network that are missing, as they were recorded
while the cluster was healthy.

Only what a finding proves to be wrong on the node and what the record says it was: IP forwarding, the pod bridge, a
device that is down, routes, the bridge's way through iptables, and the policy of FORWARD, which a person is asked about
since a firewall is somebody's will. A tunnel that is gone is made anew by its CNI's agent, which is the next rung's
work.

What is lacking where another pod network is being set up somebody may have taken away: that is asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from recoverd.model.catalogue import Code
from recoverd.model.facts import DeviceFacts
from recoverd.model.finding import Finding
from recoverd.model.memory import KnownIPv6, NodeNetwork
from recoverd.model.network import FORWARD, NetworkView, NodeNetworkView
from recoverd.model.network_operations import (
    BRIDGED,
    BRIDGED6,
    FORWARDING,
    FORWARDING6,
    AcceptForwards,
    LinkUp,
    NetworkOperation,
    PutBridge,
    PutRoute,
    Sysctl,
    destination,
    forwarding_of,
    of_nobody,
)
from recoverd.model.node_look import CNI_DIR
from recoverd.model.places import of_ipv6
from recoverd.model.plan import Step
from recoverd.model.text import utc
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.nodes import broken, filtered, host_of, node_in, node_of

NAME = "restore-node-network"
Parts = list[tuple[str, NetworkOperation]]
ROUTED = frozenset({Code.POD_NETWORK_BROKEN, Code.POD_PATH_BROKEN, Code.POD_DEVICE_MISSING, Code.SERVICE_UNREACHABLE})
"""What missing routes explain."""


@dataclass(frozen=True, slots=True)
class RestoreNodeNetwork:
    name: str = NAME
    summary: str = "put back a node's IP forwarding, pod bridge, routes or FORWARD policy as they were recorded"
    destructive: bool = False
    order: int = 15
    repairs: frozenset[str] = ROUTED | {
        Code.IP_FORWARDING_OFF,
        Code.BRIDGE_NETFILTER_OFF,
        Code.FORWARDING_FILTERED,
    }

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        """Every node of which the same is found, in one plan: node after node would use up its bound in no time."""
        found, refused = {}, {}
        for node in dict.fromkeys((node_of(finding), *broken(situation, {finding.code}))):
            parts = self._parts(finding.code, node, situation)
            if isinstance(parts, Refusal):
                refused[node] = parts.reason
            elif parts:
                found[node] = parts
        if why := refused.pop(node_of(finding), ""):
            return Refusal(why)
        if node_of(finding) not in found:
            return None  # what was recorded is all there: the fault lies elsewhere
        findings = [f for n in found for f in broken(situation, self.repairs).get(n, [])]
        hosts = {n: host_of(n, situation) for n in found}
        return Proposal(
            summary="; ".join(f"put back on {hosts[n]}: {', '.join(what for what, _ in found[n])}" for n in found),
            steps=tuple(step for n in found for step in _steps(n, found[n], situation, of_many=len(found) > 1)),
            basis=tuple(f.key for f in findings),
            evidence=(
                *(line for f in findings for line in f.evidence),
                *(f"left out: {n}: {why}" for n, why in refused.items()),
            ),
            undo=("by hand: what is put back is named in the steps; nothing of it is made to last over a reboot",),
            verify_within=90.0,
            asks=_asks({hosts[n]: [o for _, o in parts] for n, parts in found.items()}, situation),
        )

    def _parts(self, code: str, node: str, situation: Situation) -> Parts | Refusal:
        """What is put back on one node, in words and as operations; none where all is there."""
        host = host_of(node, situation)
        if not situation.by_hand and any(node_in(key) == node for key in situation.spent(NAME)):
            return Refusal(f"{NAME} was tried on {node} in this incident and did not help, or was rejected")
        seen = situation.observation.network
        view = seen.hosts.get(host) if isinstance(seen, NetworkView) else None
        known = situation.memory.networks.get(host)
        if not isinstance(view, NodeNetworkView):
            return Refusal(f"the network of {host} cannot be looked at now, so nothing of it is put back")
        if known is None:
            return Refusal(
                f"the network of {host} was never recorded while it was healthy, so there is nothing to put back"
            )
        parts = list(_missing(broken(situation, self.repairs).get(node, []), known, view))
        return Refusal(filtered(node, situation)) if not parts and code == Code.FORWARDING_FILTERED else parts


def _steps(node: str, parts: Parts, situation: Situation, *, of_many: bool) -> Iterator[Step]:
    """Those of one node; of many, what fails on one does not keep the others from theirs."""
    host = host_of(node, situation)
    known = situation.memory.networks[host].recorded_at
    at = f", as recorded at {utc(known)}" if known else ""
    for what, operation in parts:
        step = _step(host, f"put back {what} on {host}{at}", operation)
        yield replace(step, part=step.part or node, contained=True) if of_many else step


def _asks(found: Mapping[str, Sequence[NetworkOperation]], situation: Situation) -> str:
    """What speaks against doing it unasked on one of these machines; "" where nothing does."""
    accepting = [host for host, parts in found.items() if any(isinstance(o, AcceptForwards) for o in parts)]
    if accepting:
        return f"somebody may want {', '.join(accepting)} to drop what it forwards"
    old = [host for host, parts in found.items() if any(isinstance(o, PutBridge | PutRoute | LinkUp) for o in parts)]
    return next((other for host in old if (other := _other_network(host, situation))), "")


def _other_network(host: str, situation: Situation) -> str:
    """That somebody is giving this machine another pod network: of several configurations the runtime takes the first
    by name (containerd's and CRI-O's documentation), and that one was not there while all was well.
    """
    view = situation.host(host)
    known = {p.rpartition("/")[2] for p in situation.memory.files.get(host, {}) if p.startswith(f"{CNI_DIR}/")}
    first = min(view.node.cni, default="") if view and view.node and view.node.cni else ""
    if not known or not first or first in known:
        return ""
    return (
        f"{CNI_DIR} on {host} has {first} now, where {', '.join(sorted(known))} was: it is being given another pod "
        "network, and what the old one needed may be gone on purpose"
    )


def _step(host: str, description: str, operation: NetworkOperation) -> Step:
    """One of the plan; a route that cannot be added, as over a gateway that is gone, does not keep the others away."""
    if isinstance(operation, PutRoute):
        part = f"{host}, {destination(operation.route)}"
        return Step(host, description, operation, 20.0, part=part, contained=True)
    return Step(host, description, operation, 20.0)


def _missing(
    findings: list[Finding], known: NodeNetwork, view: NodeNetworkView
) -> Iterator[tuple[str, NetworkOperation]]:
    """What was recorded, is not there, and is what the findings are about; devices before the routes over them."""
    codes = {f.code for f in findings}
    for key in _switched_off(codes, known, view):
        yield f"{key} = 1", Sysctl(key, "1")
    if Code.FORWARDING_FILTERED in codes and FORWARD in (view.dropping or ()) and FORWARD not in (known.dropping or ()):
        yield "the policy ACCEPT of FORWARD", AcceptForwards()
    there = {link.name for link in view.links or ()}
    for finding in findings:
        if not isinstance(finding.facts, DeviceFacts) or (device := finding.facts.device) not in known.devices:
            continue
        bridge, addresses = known.devices[device] == "bridge", known.addresses.get(device, ())
        # one that is switched off loses its addresses of IPv6, and not those of IPv4
        if finding.facts.problem == "down" and not (bridge and any(map(of_ipv6, addresses))):
            yield f"the device {device}", LinkUp(device)
        elif bridge:
            there.add(device)
            yield (
                f"the bridge {device} ({', '.join(addresses) or 'no address'}) with the pods on it",
                PutBridge(device, addresses),
            )
    if codes & ROUTED and view.routes:  # none: they could not be read, or are too many to be gone by
        led = {destination(" ".join(route.split())) for route in view.routes}
        # one over a tunnel that is gone cannot be added: the agent that makes the tunnel makes its routes
        gone = known.devices.keys() - there if view.links is not None else frozenset[str]()
        used = bool(known.ipv6 and (known.ipv6.asks or known.ipv6.answers))
        for route in (" ".join(r.split()) for r in known.routes if used or ":" not in destination(r)):
            if destination(route) not in led and of_nobody(route) and gone.isdisjoint(route.split()):
                yield f"the route {route}", PutRoute(route)


def _switched_off(codes: set[str], known: NodeNetwork, view: NodeNetworkView) -> Iterator[str]:
    """The sysctls that were on and are not, and that the findings are about."""
    before, now = known.ipv6 or KnownIPv6(), view.ipv6
    for code, key, was, is_now in (
        (Code.IP_FORWARDING_OFF, FORWARDING, known.forwarding, view.forwarding),
        (Code.IP_FORWARDING_OFF, FORWARDING6, before.answers and before.forwarding, now.forwarding),
        (Code.BRIDGE_NETFILTER_OFF, BRIDGED, known.bridge_netfilter, view.bridge_netfilter),
        (Code.BRIDGE_NETFILTER_OFF, BRIDGED6, before.answers and before.bridge_netfilter, now.bridge_netfilter),
    ):
        if code in codes and was and is_now is False:
            yield key
    if Code.IP_FORWARDING_OFF in codes and view.forwarding and view.kernel and known.still is not None:
        yield from (forwarding_of(d) for d in view.kernel.still if d not in known.still)


PLAYBOOK = RestoreNodeNetwork()
