"""Rules of a node's firewall against what its tunnel brings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose.absence import doubt
from recoverd.diagnose.inputs import against, refuses
from recoverd.model.catalogue import Code
from recoverd.model.finding import State
from recoverd.model.network import Link
from recoverd.playbooks.base import Proposal, Refusal
from tests.unit.pod_network import PodNetwork
from tests.unit.rungs import ask, situation

FLANNEL = Link("flannel.1", "vxlan", True, port=8472)
RULE = "ip filter INPUT: udp dport 8472 counter packets 9 bytes 99 drop"
BRIDGE = Link("cni0", "bridge", True, ("10.244.2.1/24",))


def hardened(*cut: str, rule: str = RULE, link: Link = FLANNEL) -> PodNetwork:
    net = PodNetwork().host("w2", refusing=(rule,), links=(BRIDGE, link))
    for source in cut:
        net.cut(source, "w2")
    return net


@pytest.mark.parametrize("cut", [("w1",), ("w1", "w3", "cp1")])
def test_a_rule_beside_broken_paths_is_their_cause_and_nothing_is_restarted(cut: tuple[str, ...]) -> None:
    net = hardened(*cut)
    seen = net.seen()
    finding = next(f for f in seen.findings if f.code == Code.TUNNEL_FILTERED)
    assert finding.subject == "w2" and finding.state is State.WORKER_NETWORK_BROKEN
    assert (
        finding.evidence[0] == "w2: ip filter INPUT: udp dport 8472 drop"
        and "`nft delete rule ip filter INPUT handle N`" in finding.message
    )
    path = next(f for f in seen.findings if f.code in (Code.POD_PATH_BROKEN, Code.POD_NETWORK_BROKEN))
    for playbook in ("restart-node-agents", "rolling-worker-reboot"):
        answer = ask(playbook, situation(net.cluster, path, finding))
        assert isinstance(answer, Refusal) and "tunnel-filtered" in answer.reason, answer


def test_a_rule_that_breaks_nothing_is_not_spoken_of() -> None:
    assert not hardened().seen().findings
    elsewhere = hardened().cut("w1", "w3")
    assert {f.code for f in elsewhere.seen().findings} == {Code.POD_PATH_BROKEN}


def test_it_is_gone_when_the_rules_were_read_without_it() -> None:
    keys = [f.key for f in hardened("w1").seen().findings if f.code == Code.TUNNEL_FILTERED]
    for read, gone in (((), True), (None, False)):
        net = PodNetwork().host("w2", refusing=read, links=(BRIDGE, FLANNEL))
        assert (not doubt(keys, net.seen(), net.observation())) is gone


@pytest.mark.parametrize(
    ("rule", "yes"),
    [
        ("udp dport 8472 drop", True),
        ("udp dport { 53, 8400-8500 } reject", True),
        ("udp dport != { 53, 123 } drop", True),
        ("udp dport != 8472 drop", False),
        ("udp dport 4789 drop", False),
        ("udp sport 8472 drop", False),
        ("tcp dport 8472 drop", False),
        ("-A INPUT -p udp -m multiport --dports 53,8000:9000 -j DROP", True),
        ("-A INPUT -p udp -m udp ! --dport 8472 -j DROP", False),
        ("ip protocol ipencap drop", False),
    ],
)
def test_which_rules_are_against_a_port(rule: str, yes: bool) -> None:
    assert refuses(f"ip filter INPUT: {rule}", FLANNEL) is yes


NODES = ("10.99.1.11", "10.99.1.21")
OWN = "ip filter INPUT: udp dport 8472 counter packets 9 bytes 99 drop"


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (("udp dport 8472 counter packets 9 bytes 99 drop",), True),
        (("udp dport 8472 counter packets 0 bytes 0 drop",), False),
        (("-A INPUT -p udp -m udp --dport 8472 -c 9 99 -j DROP",), True),
        (("-A INPUT -p udp -m udp --dport 8472 -c 0 0 -j DROP",), False),
        (("ip saddr 203.0.113.0/24 udp dport 8472 drop",), False),
        (("ip saddr != 10.99.1.0/24 udp dport 8472 drop",), False),
        (("ip saddr != { 10.99.1.11, 10.99.1.21-10.99.1.29 } udp dport 8472 drop",), False),
        (("ip saddr != 10.99.1.11 udp dport 8472 drop",), True),
        (("ip saddr @blocked udp dport 8472 drop",), False),
        (("-A INPUT ! -s 10.99.0.0/16 -p udp -m udp --dport 8472 -j DROP",), False),
        (("-A INPUT -s 10.99.1.21/32 -p udp -m udp --dport 8472 -j DROP",), True),
        (('iifname "eth1" udp dport 8472 drop',), False),
        (('iifname { "eth0", "eth1" } udp dport 8472 drop',), True),
        (('iifname != "eth0" udp dport 8472 drop',), False),
        (("-A INPUT -i eth+ -p udp -m udp --dport 8472 -j DROP",), True),
        (("-A INPUT -i wan0 -p udp -m udp --dport 8472 -j DROP",), False),
        (("ip saddr 10.99.1.0/24 udp dport 8472 accept", "udp dport 8472 drop"), False),
        (("udp dport 8472 drop", "ip saddr 10.99.1.0/24 udp dport 8472 accept"), True),
        (("ip saddr 10.99.1.11 accept", "udp dport 8472 drop"), True),
        (("ip saddr @nodes accept", "udp dport 8472 drop"), False),
        (('iifname "lo" accept', "ct state established,related accept", "udp dport 8472 drop"), True),
        (('iifname "eth0" accept', "udp dport 8472 drop"), False),
        (("udp dport 53 accept", "udp dport 8472 drop"), True),
        (("meta l4proto { tcp, udp } th dport 8472 accept", "udp dport 8472 drop"), False),
        (("-A INPUT -m set --match-set nodes src -j ACCEPT", "-A INPUT -p udp --dport 8472 -j DROP"), False),
    ],
)
def test_a_rule_is_named_only_where_it_is_against_what_other_nodes_send(rules: tuple[str, ...], named: bool) -> None:
    link = replace(FLANNEL, over="eth0")
    assert bool(against([f"ip filter INPUT: {rule}" for rule in rules], link, NODES)) is named
    elsewhere = [f"inet fw in: {rules[0]}", OWN] if len(rules) > 1 else [OWN]
    assert against(elsewhere, link, NODES), "what one table lets pass meets the other"


@pytest.mark.parametrize("drop", ["INPUT", "mine"])
def test_a_chain_that_leads_to_another_may_let_the_nodes_pass_before(drop: str) -> None:
    """As where a chain of its own lets them in and the one that calls it drops the rest, or the reverse."""
    accept = "mine" if drop == "INPUT" else "INPUT"
    rules = [f"ip filter {drop}: {OWN[17:]}", f"ip filter {accept}: ip saddr 10.99.1.0/24 accept"]
    assert not against(rules, FLANNEL, NODES)
    assert against(rules, FLANNEL, [*NODES, "10.99.2.1"])


def test_of_a_device_that_is_not_known_nothing_is_concluded() -> None:
    rule = 'ip filter INPUT: iifname "eth0" udp dport 8472 drop'
    assert not against([rule], FLANNEL, NODES)
    assert not against(['ip filter INPUT: iifname "eth0" accept', OWN], FLANNEL, NODES)


def test_beside_a_rule_for_packets_from_elsewhere_the_agents_are_restarted() -> None:
    """Who lets the overlay's port in from the nodes alone has such a rule on every machine."""
    net = PodNetwork().host(
        "w2", refusing=(f"ip filter INPUT: ip saddr != 10.99.0.0/16 {OWN[17:]}",), links=(BRIDGE, FLANNEL)
    )
    net.cut("w1", "w2")
    (path,) = net.seen().findings
    assert isinstance(ask("restart-node-agents", situation(net.cluster, path)), Proposal)


@pytest.mark.parametrize(
    ("kind", "rule", "yes"),
    [
        ("vxlan", "udp dport 4789 drop", True),
        ("geneve", "udp dport 6081 drop", True),
        ("wireguard", "udp dport 51820 drop", True),
        ("ipip", "meta l4proto ipencap counter drop", True),
        ("ipip", "-A INPUT -p ipencap -j DROP", True),
        ("ipip", "-A INPUT -p 4 -j REJECT --reject-with icmp-port-unreachable", True),
        ("ipip", "udp dport 4 drop", False),
        ("bridge", "udp dport 4789 drop", False),
    ],
)
def test_which_tunnel_comes_by_what_where_it_does_not_say(kind: str, rule: str, yes: bool) -> None:
    assert refuses(f"ip filter INPUT: {rule}", Link("t", kind, True)) is yes
