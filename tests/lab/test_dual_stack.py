"""A cluster with both address families (the profile `dual-stack`): what ails IPv6 alone is found and put back as what
ails IPv4 is, while everything over IPv4 is well.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab.bastion import Bastion
from tests.lab.kubelab import dual
from tests.lab.kubelab.cluster import Cluster
from tests.lab.test_worker_network import acted, spread
from tests.lab.witness import boots

TIMES = 8
"""Connections to each address of a service, each of which may be sent to another pod."""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, workers=3, profile="dual-stack")


def unanswered(cluster: Cluster) -> list[str]:
    """Node, service and how often, where one of both families did not answer a new connection."""
    ask = "for i in $(seq {n}); do curl -gs -m 5 -o /dev/null http://{at}/ && echo ok; done; true"
    found = []
    for node in cluster.nodes:
        for address, service in dual.ADDRESSES.items():
            at = f"[{address}]" if ":" in address else address
            answers = node.sh(ask.format(n=TIMES, at=at), capture_output=True).stdout.split()
            if len(answers) != TIMES:
                found.append(f"{node.name} to {service}: {TIMES - len(answers)} of {TIMES}")
    return found


def watched(s: Bastion, cluster: Cluster) -> None:
    """Wait until it has seen of every node what it can do over IPv6."""

    def known() -> bool:
        networks = s.remembered(s.name).networks
        of = {n.name: networks[n.name].ipv6 for n in cluster.nodes if n.name in networks}
        return len(of) == len(cluster.nodes) and all(
            v6 and v6.asks and v6.served and v6.proxy and (v6.answers or name == "cp1") for name, v6 in of.items()
        )

    s.wait("what IPv6 does is remembered", known, 300)


def put_back(s: Bastion, cluster: Cluster, what: str, code: str) -> None:
    """A fault on w1 opens an incident in which it is called this and put back, and both families answer again."""
    earlier, done = {i["id"] for i in s.incidents()}, len(acted(s))
    cluster.node("w1").sh(what)
    incident = s.wait(
        f"its incident is closed: {what}",
        lambda: next((i for i in s.incidents() if i["id"] not in earlier and i["closed_at"]), None),
        240,
    )
    told = s.ctl("show", incident["id"]).stdout
    assert incident["state"] == "worker-network-broken" and incident["outcome"] == "recovered", told
    assert code in told, told
    plans = acted(s)[done:]
    assert {name for name, _, _ in plans} == {"restore-node-network"}, (what, plans)
    assert all(hosts == {"w1"} for _, _, hosts in plans), (what, plans)
    assert unanswered(cluster) == [], what


@pytest.mark.timeout(2400)
def test_what_ails_ipv6_alone_is_put_back(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    spread(cluster)
    before, w1 = boots(cluster), cluster.node("w1")
    assert unanswered(cluster) == []
    s = bastion(cluster, bounds={"cooldown": 0, "attempts": 100})
    watched(s, cluster)
    for what, code in (
        ("sysctl -qw net.ipv6.conf.all.forwarding=0", "ip-forwarding-off"),
        (f"ip -6 route del {dual.pods(cluster.node('w2'))}", "pod-path-broken"),
        ("sysctl -qw net.bridge.bridge-nf-call-ip6tables=0", "bridge-netfilter-off"),
        (f"ip -6 addr del {dual.gateway(w1)} dev cni0", "pod-device-missing"),
        ("ip link set cni0 down", "pod-device-missing"),  # which takes its address of IPv6, too
        ("ip link del cni0", "pod-device-missing"),
    ):
        put_back(s, cluster, what, code)
    assert boots(cluster) == before


def test_service_rules_of_ipv6_that_are_flushed_are_written_again(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """By the agents' restart, or by kube-proxy itself where its own look at the rules (every 30 s) comes first."""
    before, w1 = boots(cluster), cluster.node("w1")
    s = bastion(cluster, bounds={"cooldown": 0, "attempts": 100})
    watched(s, cluster)

    def flushed() -> bool:
        # kube-proxy may write them again before two sweeps have seen it: then once more
        if not s.incidents() and not any(f["code"] == "service-rules-stale" for f in s.status()["findings"]):
            w1.sh("ip6tables -t nat -F")
        return bool(s.incidents())

    s.wait("there is an incident", flushed, 240, every=5)
    incident = s.repaired(240)
    told = s.ctl("show", incident["id"]).stdout
    assert incident["state"] == "worker-network-broken" and "of IPv6" in told, told
    assert {name for name, _, _ in acted(s)} <= {"restart-node-agents"}, acted(s)
    assert all(hosts == {"w1"} for _, _, hosts in acted(s)), acted(s)
    assert boots(cluster) == before and unanswered(cluster) == []
