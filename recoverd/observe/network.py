"""The pod network of one cluster, seen by several witnesses in one sweep."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files

from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.config import ClusterConfig
from recoverd.model.memory import Memory
from recoverd.model.network import (
    AgentView,
    IPv6View,
    NetworkView,
    NodeNetworkView,
    PodProbe,
    RulesView,
    ServiceProbe,
    SilentDns,
    UnpulledImage,
)
from recoverd.model.observation import ApiView, NodeView, ObjectsView, Unseen, UnseenKind
from recoverd.model.places import of_ipv6
from recoverd.observe import images, rounds
from recoverd.observe.agents import AgentWatch
from recoverd.observe.answers import failing, telling
from recoverd.observe.api import Listed
from recoverd.observe.kernel import KernelWatch
from recoverd.observe.kubelet import ListedPod, waiting
from recoverd.observe.lists import Answered, Lists, Read
from recoverd.observe.look import LookError
from recoverd.observe.names import NameWatch
from recoverd.observe.netlook import UNKNOWN, HostLook, Routes, laid, parse_look, pod_links, script
from recoverd.observe.pacing import Pacer
from recoverd.observe.podwatch import PodWatch
from recoverd.observe.rounds import ProbedPod, Questions, candidates
from recoverd.observe.rulelook import Rules
from recoverd.observe.rulewatch import RuleWatch
from recoverd.observe.services import EVERYWHERE, PortBook, ServicePort, fenced, unready

SCRIPT = (files(__package__) / "network.sh").read_text()
OUTPUT_LIMIT = 512 << 10
PROBE_SECONDS = 2
"""For all probes of a host, which run at once: the kernel sends a second SYN after one second."""
SAMPLE = 8
"""Services whose rules are compared in a sweep."""
AT_ONCE = 100
"""Machines that are compared with the lists in one piece: it takes 0.2 ms each."""
AWAY = 2
"""Sweeps in a row without an answer after which the API was away: after one it may have been the sweep, and
what was found must not seem gone.
"""


FAMILIES = (False, True)
"""Of IPv4 and of IPv6: whether it is the latter."""


@dataclass(frozen=True, slots=True)
class _Family:
    """What is asked of the hosts in a round over one family."""

    targets: Mapping[str, Sequence[ProbedPod]]
    """By host."""
    tried: rounds.Tried
    sample: Sequence[ServicePort]


class NetworkCollector:
    """Makes the `NetworkView` of each sweep."""

    def __init__(self, cluster: ClusterConfig, hosts: HostPool) -> None:
        self._hosts = hosts
        self._seconds = cluster.deadlines.network
        self._lists = Lists(cluster.deadlines.api)
        self._pods = PodWatch(self._lists)
        self._rules, self._ports = RuleWatch(), PortBook()
        self._agents = AgentWatch()
        self._images = images.ImageWatch()
        self._names, self._kernels = NameWatch(), KernelWatch()
        self.pacer = Pacer()
        self._round = 0
        self._reached: set[str] = set()
        self._answered: frozenset[str] = frozenset()
        """Uids of pods that have answered somebody."""
        self._guards: dict[str, list[dict[str, str] | None]] = {EVERYWHERE: [None]}
        """What policies forbid, as they were last given; until then everything."""
        self._failing: dict[bool, dict[str, datetime]] = {False: {}, True: {}}
        """By whether it is over IPv6."""
        self._bad_rules: set[str] = set()
        self._routes: dict[str, Routes] = {}
        """By host: those that were read last, which it need not send again."""
        self._missed = 0
        """Sweeps in a row in which no API server listed anything."""
        self._back: datetime | None = None

    async def observe(
        self, api: ApiView, listed: Listed | None, memory: Memory, names: Sequence[str], looked: Sequence[str]
    ) -> NetworkView | Unseen:
        """One round. `names` are the hosts of the cluster, `looked` those that are looked at in this sweep, each of
        which tries pods of any. Never raises for what the cluster does.
        """
        if listed is None or not isinstance(api.objects, ObjectsView):
            self._missed += 1
            if self._missed >= AWAY:
                self._rules.away()
                self._names.away()
            return Unseen(
                UnseenKind.NOT_TRIED, "the pod network is not looked at while no API server lists nodes and pods"
            )
        if self._missed >= AWAY:
            self._back = datetime.now(UTC)
        self._missed = 0
        self._round += 1
        lists = self._lists
        read = dict(
            zip(
                ("services", "endpoints", "daemonsets", "networkpolicies"),
                await asyncio.gather(
                    *(f(listed.client) for f in (lists.services, lists.endpoints, lists.daemonsets, lists.policies))
                ),
                strict=True,
            )
        )
        return await _Round(self, api.objects, listed, memory, names, looked, read).run()

    async def look(self, name: str, asked: Questions, services: Sequence[str]) -> HostLook | Unseen:
        marker, known = f"@@{secrets.token_hex(8)}", self._routes.pop(name, UNKNOWN)
        text = script(SCRIPT, marker, asked.probes, services, PROBE_SECONDS, known)
        begun = datetime.now(UTC)
        try:
            result = await self._hosts.run(name, text, timeout=self._seconds, max_output=OUTPUT_LIMIT)
        except HostUnseen as unseen:
            return unseen.unseen
        try:
            # the first lines are printed at once, so the clock is that of the start
            look = parse_look(
                result.stdout, marker, asked.probes, middle=begun, truncated=result.truncated, known=known
            )
            self._routes[name] = look.known
            return look
        except LookError as error:
            said = f"; it wrote to stderr: {result.stderr[:200]!r}" if result.stderr else ""
            return Unseen(
                UnseenKind.GARBAGE,
                f"{name} answered the look at its network with something else (exit "
                f"{result.exit_status}): {error}{said}",
            )


class _Round:
    """One sweep's work, with what it knows at hand."""

    def __init__(
        self,
        of: NetworkCollector,
        objects: ObjectsView,
        listed: Listed,
        memory: Memory,
        names: Sequence[str],
        looked: Sequence[str],
        read: Mapping[str, Read],
    ) -> None:
        self.of, self.listed, self.pods = of, listed, listed.pods
        self.names, self.order, self.looked = names, looked, frozenset(looked)
        self.now, self.clock = datetime.now(UTC), time.monotonic()
        self.lists = read
        self.known, self.memory = of._reached | set(memory.reached), memory
        self.nodes = {n.name: n for n in objects.nodes}
        self.hosts = hosts_by_node(names, objects.nodes, of._hosts.addresses)
        """Node name to host name."""
        self.nodes_of = {host: node for node, host in reversed(self.hosts.items())}
        """Host name to node name, the first where there are several."""
        self.on: dict[str, list[ListedPod]] = {}
        for pod in self.pods:
            self.on.setdefault(pod.node, []).append(pod)
        self.by_family = {v6: _ports(of._ports, read["services"], read["endpoints"], ipv6=v6) for v6 in FAMILIES}
        self.ports = self.by_family[False]
        self.everything = self.ports | self.by_family[True]

    async def run(self) -> NetworkView:
        of = self.of
        of._rules.learn(self.everything, self.clock)
        families = [self._family(ipv6=ipv6) for ipv6 in FAMILIES]
        sample = [port for family in families for port in family.sample]
        numbered = enumerate(sorted(self.names))
        asked = {name: self._ask(index, name, families) for index, name in numbered if name in self.looked}
        looks = await self._looks(asked, [p.address for p in sample])
        seen = {n: look for n, look in looks.items() if isinstance(look, HostLook)}
        ready = [n.name for n in self.nodes.values() if n.ready]
        of_nodes = {node: look for node, host in self.hosts.items() if (look := seen.get(host))}
        directories = {node: look.pods for node, look in of_nodes.items() if look.pods is not None}
        probes, services = telling(seen, asked, self.hosts, self.memory)
        compared, (doubted, fresh) = await asyncio.gather(
            of._pods.look(self.listed.client, ready, self.on, directories, self.now, self._looked_nodes()),
            self._again(probes, services, seen, sample),
        )
        if doubted:
            still = {(e.pod, rounds.ip_of(e.address)) for p in fresh.values() for e in p.endpoints if not e.terminating}
            probes = [p for p in probes if p.answer.arrived or (p.pod, rounds.ip_of(p.address)) in still]
            services = [s for s in services if s.answered or s.service in fresh]
            of._rules.learn({**self.everything, **fresh}, time.monotonic())
        services = [replace(s, steady=of._rules.steady(s.service, time.monotonic())) for s in services]
        # of a service in doubt, the rules are compared when its endpoints are the same before and after the look
        settled = [p for p in sample if p.key not in doubted or (p.key in fresh and _same(p, fresh[p.key]))]
        hosts = await self._hosts(looks, settled)
        self._keep(probes, hosts)
        agents = self._agent_views(ready, of_nodes)
        silent = of._names.look(self.ports.values(), self.now, self.pods, self.lists["services"])
        return NetworkView(
            round=of._round,
            hosts=hosts,
            pods=compared,
            probes=tuple(probes),
            services=tuple(services),
            agents=agents,
            failing_since=dict(of._failing[False]),
            failing_over_ipv6=dict(of._failing[True]),
            back_since=of._back,
            unseen={name: r for name, r in self.lists.items() if isinstance(r, Unseen)},
            waiting=waiting(self.on, ready, self.now),
            unready=unready(self.ports.values()),
            silent_dns=silent,
            unpulled=await self._unpulled(agents, silent),
            api_service=rounds.ip_of(own.address) if (own := self.ports.get(rounds.API_SERVICE)) else "",
        )

    async def _looks(self, asked: Mapping[str, Questions], services: Sequence[str]) -> dict[str, HostLook | Unseen]:
        """What each machine that was asked something tells."""
        of, queued = self.of, self.of._hosts.queued
        looks = (of.pacer.look(partial(of.look, n, asked[n], services), partial(queued, n)) for n in self.order)
        return dict(zip(self.order, await asyncio.gather(*looks), strict=True))

    async def _unpulled(
        self, agents: Sequence[AgentView], silent: Mapping[str, SilentDns]
    ) -> Mapping[str, UnpulledImage]:
        found = await images.unpulled(self.listed.client, self.of._lists, self.pods, agents, silent)
        return self.of._images.between(found, self.pods, self.clock)

    def _looked_nodes(self) -> set[str] | None:
        """The nodes whose machines are looked at in this sweep; None: all."""
        if len(self.looked) == len(self.names):
            return None
        return {node for node, host in self.hosts.items() if host in self.looked}

    # --- what is asked ---

    def _family(self, *, ipv6: bool) -> _Family:
        of, ports = self.of, self.by_family[ipv6]
        return _Family(
            rounds.targets(self.names, self._candidates(ports), of._round, self.known, of._failing[ipv6]),
            rounds.tried(ports, self.known),
            rounds.sample(ports, of._round, SAMPLE, of._bad_rules),
        )

    def _candidates(self, ports: Mapping[str, ServicePort]) -> dict[str, list[ProbedPod]]:
        policies = self.lists["networkpolicies"]
        if isinstance(policies, Answered):
            self.of._guards = fenced(policies.body)
        guards = self.of._guards
        nodes = {n: (node.address, self.hosts[n]) for n, node in self.nodes.items() if node.ready and n in self.hosts}
        return candidates(ports.values(), self.pods, nodes, guards, self.of._answered, self.now)

    def _ask(self, index: int, name: str, families: Sequence[_Family]) -> Questions:
        asked = Questions()
        for target in (t for family in families for t in family.targets[name]):
            asked.pods[asked.add(target.address)] = target
        for port in (p for family in families for p in rounds.services(family.tried, index, self.of._round)):
            tries = [asked.add(port.address, "u" if port.dns else "") for _ in range(rounds.TRIES)]
            if port.dns:
                tries.append(asked.add(port.address))
            ready = port.ready
            direct = {
                ready[(self.of._round + index + k) % len(ready)].address for k in range(min(rounds.DIRECT, len(ready)))
            }
            hows = ("", "u") if port.dns else ("",)
            asked.services.append((port, tries, {asked.add(a, how): a for how in hows for a in sorted(direct)}))
        return asked

    # --- what came of it ---

    async def _again(
        self,
        probes: Sequence[PodProbe],
        services: Sequence[ServiceProbe],
        seen: Mapping[str, HostLook],
        sample: Sequence[ServicePort],
    ) -> tuple[set[str], dict[str, ServicePort]]:
        """The services about which something is wrong, and their endpoints, read after it was seen.

        A pod that ended in the meantime is no fault of the network; where they cannot be read, nothing is concluded.
        """
        doubted = {p.service for p in probes if not p.answer.arrived} | {s.service for s in services if not s.answered}
        for look in seen.values():
            for port in sample:
                rules = look.rules6 if of_ipv6(port.address) else look.rules
                ready = frozenset(e.address for e in port.ready)
                if not rules.unseen and rules.programmed.get(port.address, frozenset()) != ready:
                    doubted.add(port.key)
        if not doubted:
            return doubted, {}
        again = await self.of._lists.endpoints_of(
            self.listed.client, [self.everything[k].name for k in doubted if k in self.everything]
        )
        of_all, new = self.lists["services"], PortBook()
        fresh = {k: p for v6 in FAMILIES for k, p in _ports(new, of_all, again, ipv6=v6).items()}
        return doubted, {k: p for k, p in fresh.items() if k in doubted}

    async def _hosts(
        self, looks: Mapping[str, HostLook | Unseen], settled: Sequence[ServicePort]
    ) -> dict[str, NodeNetworkView | Unseen]:
        """What each of those that were looked at is like; everything else goes on between some of them and the next."""
        hosts = dict[str, NodeNetworkView | Unseen]()
        for number, name in enumerate(n for n in self.names if n in looks):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            hosts[name] = self._host(name, looks[name], settled)
        return hosts

    def _host(self, name: str, look: HostLook | Unseen, settled: Sequence[ServicePort]) -> NodeNetworkView | Unseen:
        if isinstance(look, Unseen):
            return look
        node = self.nodes_of.get(name, name)
        address = self.nodes[node].address if node in self.nodes else ""
        pods = [
            p for p in self.on.get(node, ()) if p.ip and p.ip != address and not p.deleting and not p.may_have_ended
        ]
        return NodeNetworkView(
            forwarding=look.forwarding,
            bridge_netfilter=look.bridge_netfilter,
            dropping=look.dropping,
            refusing=look.refusing,
            cluster_cidr=look.cluster_cidr,
            links=None if look.links is None else tuple(pod_links(laid(look.links, address), [p.ip for p in pods])),
            veths=look.veths,
            routes=look.routes,
            processes=look.processes or {},
            pod_directories=None if look.pods is None else look.pods[:512],
            rules=self._compared(name, look.rules, settled, ipv6=False),
            tool=look.tool,
            pods=len(pods),
            pod_addresses=tuple(p.ip for p in pods[:4]),
            kernel=self.of._kernels.look(name, look.counts, self.clock),
            problems=look.problems,
            ipv6=IPv6View(
                look.forwarding6, look.bridge_netfilter6, self._compared(name, look.rules6, settled, ipv6=True)
            ),
        )

    def _compared(self, name: str, rules: Rules, settled: Sequence[ServicePort], *, ipv6: bool) -> RulesView | Unseen:
        of_family = [p for p in settled if of_ipv6(p.address) is ipv6]
        return self.of._rules.compare(name, rules, of_family, self.clock)

    def _agent_views(self, ready: Sequence[str], of_nodes: Mapping[str, HostLook]) -> tuple[AgentView, ...]:
        daemonsets = self.lists["daemonsets"]
        if not isinstance(daemonsets, Answered):
            return ()
        processes = {node: look.processes for node, look in of_nodes.items() if look.processes is not None}
        return self.of._agents.look(daemonsets.body, self.pods, ready, processes, self.clock)

    def _keep(self, probes: Sequence[PodProbe], hosts: Mapping[str, NodeNetworkView | Unseen]) -> None:
        """For the next rounds: which services can be reached, which pairs fail since when, whose rules are wrong."""
        of = self.of
        of._reached |= {p.service for p in probes if p.answer.arrived and p.source != p.target}
        answering = {p.pod for p in probes if p.answer.arrived}
        of._answered = frozenset(p.uid for p in self.pods if p.name in answering or p.uid in of._answered)
        of._failing = {v6: failing(probes, before, self.now, ipv6=v6) for v6, before in of._failing.items()}
        of._bad_rules = {
            g.service
            for view in hosts.values()
            if isinstance(view, NodeNetworkView)
            for rules in (view.rules, view.ipv6.rules)
            if isinstance(rules, RulesView)
            for g in rules.gaps
        }


def _ports(book: PortBook, services: Read, endpoints: Read, *, ipv6: bool) -> dict[str, ServicePort]:
    if not isinstance(services, Answered) or not isinstance(endpoints, Answered):
        return {}
    try:
        return book.ports(services, endpoints, ipv6=ipv6)
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _same(one: ServicePort, other: ServicePort) -> bool:
    return {e.address: e.ready for e in one.endpoints} == {e.address: e.ready for e in other.endpoints}


def hosts_by_node(names: Sequence[str], nodes: Sequence[NodeView], addresses: Mapping[str, str]) -> dict[str, str]:
    """Which of the hosts each node is, by name or else by address; nodes that are none of them are left out."""
    by_address, known = {addresses[n]: n for n in names if n in addresses}, frozenset(names)
    return {n.name: host for n in nodes if (host := n.name if n.name in known else by_address.get(n.address, ""))}
