"""IPv6 beside IPv4: what ails it alone is found and put back, and it is missed only where it was seen to work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoverd.diagnose import diagnose
from recoverd.memory.remember import remember
from recoverd.model.catalogue import Code
from recoverd.model.facts import DeviceFacts
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.memory import KnownIPv6, Memory, NodeNetwork
from recoverd.model.network import (
    IPv6View,
    Link,
    NetworkView,
    NodeNetworkView,
    PodProbe,
    ProbeAnswer,
    RuleGap,
    RulesView,
    ServiceProbe,
)
from recoverd.model.network_operations import LinkUp, PutBridge, PutRoute, Sysctl
from recoverd.observe import rounds
from recoverd.observe.answers import used
from recoverd.observe.kubelet import ListedPod
from recoverd.observe.services import service_ports
from tests.unit.builders import Cluster
from tests.unit.pod_network import WEB, PodNetwork
from tests.unit.rungs import ask, fault, proposal, situation
from tests.unit.test_diagnose import faults

WEB6 = f"{WEB} over IPv6"
SERVICE = "[fd00:96::80]:80"
USED = KnownIPv6(True, True, "iptables", asks=True, answers=True, served=True)
OK, TIMEOUT = ProbeAnswer.OK, ProbeAnswer.TIMEOUT
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


class DualStack(PodNetwork):
    """Every pod has an address of IPv6, too, and the service answers at one."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[tuple[str, str]] = set()
        """(from, to) between hosts whose IPv6 does not arrive."""
        self.silent: set[str] = set()
        """Hosts that the service does not answer over IPv6."""
        for name in self.names:
            self.six(name)
        self._healthy = dict(self.hosts)

    def six(self, name: str, **changes: Any) -> DualStack:
        view = self.hosts[name]
        assert isinstance(view, NodeNetworkView)
        self.hosts[name] = replace(view, ipv6=replace(IPv6View(True, True, RulesView("iptables", 1)), **changes))
        return self

    def cut6(self, source: str, target: str) -> DualStack:
        self.lost.add((source, target))
        return self

    def view(self) -> NetworkView:
        seen = super().view()
        probes = tuple(
            PodProbe(
                source,
                target,
                f"[fd00:10:{target[1:]}::{n}]:8080",
                f"default/web-{target}-{n}",
                WEB6,
                TIMEOUT if (source, target) in self.lost else OK,
            )
            for source in self.names
            for target in self.cluster.workers
            for n in (2, 3)
        )
        services = tuple(
            ServiceProbe(
                source,
                WEB6,
                SERVICE,
                (TIMEOUT if source in self.silent else OK,) * 3,
                {"[fd00:10:1::2]:8080": OK},
                tuple(self.cluster.workers),
                600.0,
            )
            for source in self.names
        )
        failing = {f"{a}>{b}": self.now - timedelta(seconds=7) for a, b in self.lost}
        return replace(seen, probes=seen.probes + probes, services=seen.services + services, failing_over_ipv6=failing)

    def memory(self, *, used: KnownIPv6 | None = USED, **changes: Any) -> Memory:
        made = super().memory(**changes)
        networks = {n: replace(k, ipv6=used) for n, k in made.networks.items()}
        return replace(made, networks=networks, reached=(WEB, WEB6))


def without_rules(n: DualStack) -> DualStack:
    return n.six("w1", rules=RulesView("", 0))


def with_a_gap(n: DualStack) -> DualStack:
    gap = RuleGap(WEB6, SERVICE, {"[fd00:10:1::2]:8080": 90.0})
    return n.six("w1", rules=RulesView("iptables", 1, (gap,)))


def unserved(n: DualStack) -> DualStack:
    n.silent.add("w1")
    return n


def cut_off(n: DualStack) -> DualStack:
    for other in n.names:
        n.cut6(other, "w1").cut6(*("w1", other) if other in n.cluster.workers else (other, "w1"))
    return n


ILL: dict[str, tuple[Callable[[DualStack], object], tuple[str, str], str]] = {
    "forwarding": (
        lambda n: n.six("w1", forwarding=False),
        (Code.IP_FORWARDING_OFF, "w1"),
        "IPv6 forwarding is switched off on w1",
    ),
    "bridge": (
        lambda n: n.six("w1", bridge_netfilter=False),
        (Code.BRIDGE_NETFILTER_OFF, "w1"),
        "pass no rules of ip6tables",
    ),
    "a path": (lambda n: n.cut6("w1", "w2"), (Code.POD_PATH_BROKEN, "w1>w2"), "cannot reach the pods on w2 over IPv6"),
    "a node": (cut_off, (Code.POD_NETWORK_BROKEN, "w1"), "cannot be reached from cp1, w2, w3 over IPv6"),
    "rules that are gone": (without_rules, (Code.SERVICE_RULES_STALE, "w1"), "service rules of IPv6 are gone from w1"),
    "rules with a gap": (with_a_gap, (Code.SERVICE_RULES_STALE, "w1"), "The rules of IPv6 on w1 for"),
    "a service": (unserved, (Code.SERVICE_UNREACHABLE, "w1"), SERVICE),
}


@pytest.mark.parametrize(("change", "key", "words"), ILL.values(), ids=ILL)
def test_what_ails_ipv6_alone_is_found(change: Callable[[DualStack], object], key: tuple[str, str], words: str) -> None:
    network = DualStack()
    change(network)
    seen = network.seen()
    assert faults(seen) == [key]
    assert words in seen.faults[0].message


@pytest.mark.parametrize("change", [c for c, _, _ in ILL.values()], ids=ILL)
@pytest.mark.parametrize("used", [None, KnownIPv6(True, True)], ids=["never looked at", "addresses that nobody uses"])
def test_ipv6_that_was_never_seen_to_work_is_not_missed(
    change: Callable[[DualStack], object], used: KnownIPv6 | None
) -> None:
    """Where half of it has never worked, every node would be ill at once, and agents be restarted for nothing."""
    network = DualStack()
    change(network)
    assert faults(network.seen(network.memory(used=used))) == []


def test_a_service_of_ipv6_that_has_never_answered_is_not_missed() -> None:
    network = unserved(DualStack())
    assert faults(network.seen(network.memory(used=replace(USED, served=False)))) == []


def test_of_both_families_one_finding_speaks_for_a_node() -> None:
    network = DualStack()
    network.cut6("w1", "w2").cut("w1", "w2")
    [found] = network.seen().faults
    assert found.key == (Code.POD_PATH_BROKEN, "w1>w2") and "IPv6" not in found.message
    network.six("w3", forwarding=False).host("w3", forwarding=False)
    off = next(f for f in network.seen().faults if f.code == Code.IP_FORWARDING_OFF)
    assert [line.split(" = ")[0] for line in off.evidence] == [
        "w3: net.ipv4.ip_forward",
        "w3: net.ipv6.conf.all.forwarding",
    ]


def test_a_chain_that_drops_ipv6_is_a_fault_where_its_pods_are_not_reached() -> None:
    def found(network: DualStack) -> list[Severity]:
        network.host("w1", dropping=("ip6 filter FORWARD",))
        return [f.severity for f in network.seen().findings if f.code == Code.FORWARDING_FILTERED]

    assert found(DualStack()) == [Severity.WARNING]
    assert found(cut_off(DualStack())) == [Severity.FAULT]


def bridged(*addresses: str) -> tuple[DualStack, Memory]:
    """w1's bridge has these now, of the two that it had."""
    network = DualStack().host("w1", links=(Link("cni0", "bridge", True, addresses),))
    assert isinstance(network, DualStack)
    memory = network.memory()
    known = replace(memory.networks["w1"], addresses={"cni0": ("10.244.1.1/24", "fd00:10:1::1/64")})
    return network, replace(memory, networks={**memory.networks, "w1": known})


def test_a_bridge_without_its_address_of_ipv6_is_a_fault_where_its_pods_are_not_reached_over_it() -> None:
    def of(network: DualStack, memory: Memory) -> list[tuple[Severity, str]]:
        found = diagnose(network.observation(), memory, network.cluster.settings).findings
        return [(f.severity, f.message) for f in found if f.code == Code.POD_DEVICE_MISSING]

    network, memory = bridged("10.244.1.1/24")
    [(severity, message)] = of(network, memory)
    assert severity is Severity.NOTICE and "has lost its address fd00:10:1::1/64" in message
    [(severity, _)] = of(cut_off(network), memory)
    assert severity is Severity.FAULT
    whole, memory = bridged("10.244.1.1/24", "fd00:10:1::1/64")
    assert of(cut_off(whole), memory) == []


def test_where_all_is_ipv6_a_bridge_that_no_pod_misses_is_told_by_what_arrives_over_it() -> None:
    network, memory = bridged()
    network.host("w1", links=(), pod_addresses=("fd00:10:1::2",)).cut_off("w1")
    seen = diagnose(network.observation(), memory, network.cluster.settings).findings
    assert [f.severity for f in seen if f.code == Code.POD_DEVICE_MISSING] == [Severity.NOTICE]


# --- what is kept in mind ---


def after(network: DualStack, memory: Memory) -> NodeNetwork:
    healthy = Diagnosis(State.HEALTHY, (), "")
    new, _ = remember(network.observation(), healthy, memory, network.cluster.settings, {})
    return new.networks["w1"]


def test_what_was_seen_to_work_is_kept() -> None:
    network = DualStack()
    first = after(network, replace(network.memory(), networks={}))
    assert first.ipv6 == USED
    network = DualStack()
    for other in network.names:
        network.cut6("w1", other).cut6(other, "w1")
    network.silent.add("w1")
    network.six("w1", forwarding=False, rules=RulesView("iptables", 1, (RuleGap(WEB6, SERVICE),)))
    assert after(network, replace(network.memory(), networks={})).ipv6 == KnownIPv6(bridge_netfilter=True)


@pytest.mark.parametrize("lost", ["forwarding", "bridge_netfilter"])
def test_what_is_lost_is_known_for_long_enough_to_be_put_back(lost: str) -> None:
    """Also where nothing is found of it, as while no pod has been reached over it yet."""
    network = DualStack()
    used = replace(USED, answers=False)
    memory = network.memory(used=used)
    network.six("w1", **{lost: False})
    for other in network.names:
        network.cut6(other, "w1")
    sights: Any = {}
    for seconds in (0, 120):
        seen = network.observation()
        later = replace(seen, at=seen.at + timedelta(seconds=seconds))
        new, sights = remember(later, Diagnosis(State.HEALTHY, (), ""), memory, network.cluster.settings, sights)
        assert getattr(new.networks["w1"].ipv6, lost), seconds


def test_failures_of_ipv6_that_has_never_worked_make_no_machine_look_ill() -> None:
    network = DualStack().cut6("w1", "w2")
    network.silent.add("w1")
    seen = network.view()
    for known, fails in ((USED, (2, 1)), (KnownIPv6(), (0, 0))):
        probes, services = used(seen.probes, seen.services, network.memory(used=known))
        assert (sum(not p.answer.arrived for p in probes), sum(OK not in s.answers for s in services)) == fails


# --- what is asked ---


def listed(*families: str) -> tuple[dict[str, Any], dict[str, Any]]:
    ref = {"kind": "Pod", "namespace": "default", "name": "web-1", "uid": "u1"}
    of = {"IPv4": ("10.96.0.80", "10.1.1.1"), "IPv6": ("fd00:96:0::80", "fd00:10:1:0::2")}  # as people may write it
    ips = [of[f][0] for f in families]
    service = {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"clusterIP": ips[0], "clusterIPs": ips, "ports": [{"port": 80}]},
    }
    meta = {"namespace": "default", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}}
    slices = [
        {
            "metadata": meta,
            "addressType": family,
            "ports": [{"name": "", "port": 8080}],
            "endpoints": [{"addresses": [of[family][1]], "targetRef": ref, "nodeName": "w1"}],
        }
        for family in families
    ]
    return {"items": [service]}, {"items": slices}


def test_each_family_has_its_own_services_and_endpoints() -> None:
    both = listed("IPv4", "IPv6")
    [one], [other] = service_ports(*both).values(), service_ports(*both, ipv6=True).values()
    assert (one.key, one.address, [e.address for e in one.endpoints]) == (WEB, "10.96.0.80:80", ["10.1.1.1:8080"])
    assert (other.key, other.address, [e.address for e in other.endpoints]) == (WEB6, SERVICE, ["[fd00:10:1::2]:8080"])
    assert service_ports(*listed("IPv6")) == {} == service_ports(*listed("IPv4"), ipv6=True)
    assert set(service_ports(*listed("IPv6"), ipv6=True)) == {WEB6}


def test_a_pods_second_address_is_tried_while_it_is_the_very_pod() -> None:
    """The table of pods has their first address alone."""
    ports = service_ports(*listed("IPv4", "IPv6"), ipv6=True).values()

    def tried(uid: str, ip: str = "10.1.1.1") -> list[str]:
        pod = ListedPod(uid, "default/web-1", "w1", ip, "Running", True, NOW, False)
        found = rounds.candidates(ports, [pod], {"w1": ("10.99.1.21", "w1")}, {}, (), NOW)
        return [p.address for p in found.get("w1", [])]

    assert tried("u1") == ["[fd00:10:1::2]:8080"] == tried("u1", "fd00:10:1::2")
    assert tried("another") == tried("u1", "") == tried("u1", "fd00:10:1::3") == []


# --- what is put back ---

ROUTE6 = "fd00:10:2::/64 via fd00:99::22 dev host0 metric 1024 pref medium"
DEFAULT6 = "::/0 via fd00:99::1 dev host0 metric 1024 pref medium"


def test_a_bridge_that_is_down_gets_its_addresses_of_ipv6_back_as_well() -> None:
    """The kernel takes them as it is switched off; a second plan for the same node would not be made."""
    found = fault(Code.POD_DEVICE_MISSING, "w1", DeviceFacts, device="cni0", problem="down")
    now = situation(Cluster(1, 2), found)

    def operations(*addresses: str) -> list[object]:
        known = NodeNetwork(True, {"cni0": "bridge"}, {"cni0": addresses})
        view = NodeNetworkView(True, (Link("cni0", "bridge", False),), (), {}, (), RulesView("iptables", 3))
        seen = replace(now.observation, network=NetworkView(1, {"w1": view}, {}))
        of = replace(now, observation=seen, memory=replace(now.memory, networks={"w1": known}))
        return [s.operation for s in proposal("restore-node-network", of).steps]

    assert operations("10.244.1.1/24") == [LinkUp("cni0")]
    both = ("10.244.1.1/24", "fd00:10:1::1/64")
    assert operations(*both) == [PutBridge("cni0", both)]


PUT_BACK: dict[str, tuple[str, IPv6View, list[object]]] = {
    "forwarding": (Code.IP_FORWARDING_OFF, IPv6View(False, True), [Sysctl("net.ipv6.conf.all.forwarding", "1")]),
    "bridge": (
        Code.BRIDGE_NETFILTER_OFF,
        IPv6View(True, False),
        [Sysctl("net.bridge.bridge-nf-call-ip6tables", "1")],
    ),
    "route": (Code.POD_PATH_BROKEN, IPv6View(True, True), [PutRoute(ROUTE6)]),
}


@pytest.mark.parametrize(("code", "now6", "expected"), PUT_BACK.values(), ids=PUT_BACK)
def test_of_ipv6_that_is_put_back_which_was_used(code: str, now6: IPv6View, expected: list[object]) -> None:
    found = fault(code, "w1")
    now = situation(Cluster(1, 2), found)
    routes = ("default via 10.99.1.1 dev host0", DEFAULT6)
    known = NodeNetwork(True, routes=(*routes, ROUTE6), bridge_netfilter=True, ipv6=USED)
    view = NodeNetworkView(True, (), routes, {}, (), RulesView("iptables", 3), bridge_netfilter=True, ipv6=now6)
    seen = replace(now.observation, network=NetworkView(1, {"w1": view}, {}))
    of = replace(now, observation=seen, memory=replace(now.memory, networks={"w1": known}))
    assert [s.operation for s in proposal("restore-node-network", of).steps] == expected
    unused = replace(of, memory=replace(now.memory, networks={"w1": replace(known, ipv6=KnownIPv6(True, True))}))
    assert ask("restore-node-network", unused) is None
