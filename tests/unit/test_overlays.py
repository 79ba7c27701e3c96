"""MTUs of the devices between nodes, as the machines tell them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.finding import Severity, State
from recoverd.model.network import Link, NodeNetworkView
from recoverd.observe.netlook import laid, parse_look
from tests.unit.builders import NOW
from tests.unit.pod_network import PodNetwork

VXLAN = Link("flannel.1", "vxlan", True, ("10.244.1.0/32",), 1450, 50, "eth0", 1500)
"""As flannel makes it over an Ethernet."""


def overlaid(**changed: Link) -> PodNetwork:
    """Each node with its bridge and that tunnel, or another one."""
    net = PodNetwork()
    for name, view in tuple(net.hosts.items()):
        assert isinstance(view, NodeNetworkView) and view.links is not None
        net.host(name, links=(*view.links, changed.get(name, VXLAN)))
    return net


def found(net: PodNetwork) -> list[tuple[str, str, Severity]]:
    return [(f.code, f.subject, f.severity) for f in net.seen().findings]


def test_one_that_takes_more_than_the_uplink_leaves_it_is_a_warning_with_both() -> None:
    assert found(overlaid()) == []
    lowered = overlaid(w2=replace(VXLAN, below=1450))
    assert found(lowered) == [(Code.OVERLAY_MTU, "w2", Severity.WARNING)]
    (warned,) = lowered.seen().findings
    assert "1450 bytes on flannel.1 of w2, and eth0 below it takes 1450, which leaves 1400" in warned.message
    assert "`ip link set eth0 mtu 1500`" in warned.message and "`ip link set flannel.1 mtu 1400`" in warned.message
    assert lowered.seen().state is State.HEALTHY
    assert found(overlaid(w2=replace(VXLAN, mtu=1451))) == [(Code.OVERLAY_MTU, "w2", Severity.WARNING)]


@pytest.mark.parametrize(
    "change", [{"up": False}, {"addresses": ()}, {"adds": 0}, {"mtu": 0}, {"below": 0, "over": "", "mtu": 1450}]
)
def test_nothing_is_said_of_one_that_is_not_used_or_not_told(change: dict[str, object]) -> None:
    assert found(overlaid(w2=replace(replace(VXLAN, below=1400), **change))) == []  # type: ignore[arg-type]


def test_one_that_differs_from_the_others_is_named_with_one_of_them() -> None:
    net = overlaid(w2=replace(VXLAN, mtu=1300))
    assert found(net) == [(Code.OVERLAY_MTU, "w2", Severity.WARNING)]
    (warned,) = net.seen().findings
    assert "1300 bytes on w2 and of 1450 on cp1: what cp1 sends to w2 in large packets is lost" in warned.message
    halves = overlaid(w2=replace(VXLAN, mtu=1300), w3=replace(VXLAN, mtu=1300))
    assert [f[1] for f in found(halves)] == ["cp1", "w1"], "of two and two the larger ones are named"


def test_uplinks_that_differ_as_well_may_be_meant_so() -> None:
    jumbo = replace(VXLAN, mtu=8950, below=9000)
    net = overlaid(w2=jumbo)
    assert found(net) == [(Code.OVERLAY_MTU, "w2", Severity.NOTICE)]
    (told,) = net.seen().findings
    assert "what w2 sends to cp1 in large packets is lost" in told.message and "eth0 mtu 9000" in told.evidence[0]
    unknown = replace(jumbo, below=0, over="")
    assert found(overlaid(w2=unknown)) == [(Code.OVERLAY_MTU, "w2", Severity.WARNING)]


def test_it_is_gone_only_where_the_devices_were_listed() -> None:
    key = (Code.OVERLAY_MTU, "w2")
    for net, gone in ((overlaid(), True), (PodNetwork().host("w2", links=None), False)):
        why = doubt([key], net.seen(), net.observation())
        assert (why == "") is gone and (gone or "network devices of w2" in why)


# --- as `ip` of iproute2 5.10 and 6.1 prints them ---

FLAGS = (
    "<BROADCAST,MULTICAST,UP,LOWER_UP> mtu {} qdisc noqueue state UNKNOWN mode DEFAULT group default \\    link/ether"
)
LINES = (
    f"2: eth0: {FLAGS.format(1500)} 0a:02 brd ff:ff promiscuity 0 minmtu 68 maxmtu 9216 addrgenmode eui64 \\  virtio",
    f"3: eth1: {FLAGS.format(9000)} 0a:03 brd ff:ff promiscuity 0 minmtu 68 maxmtu 9216 addrgenmode eui64 \\  virtio",
    f"4: flannel.1: {FLAGS.format(1450)} 02:01 brd ff:ff promiscuity 0 minmtu 68 maxmtu 65535 \\    vxlan id 1 local "
    "10.9.0.1 dev eth1 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 udpcsum",
    f"5: vxlan.calico: {FLAGS.format(1430)} 02:02 brd ff:ff \\    vxlan id 4096 local fd00::1 dev eth0 dstport 4789",
    f"6: cilium_vxlan: {FLAGS.format(1500)} 02:03 brd ff:ff \\    vxlan external id 0 srcport 0 0 dstport 8472",
    "7: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN \\    link/ipip 0.0.0.0 brd 0.0.0.0 "
    "promiscuity 0 minmtu 0 maxmtu 0 \\    ipip any remote any local any ttl inherit nopmtudisc addrgenmode eui64",
    "8: wireguard.cali: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1440 qdisc noqueue \\    link/none promiscuity 0 \\    "
    "wireguard addrgenmode none",
    f"9: cni0: {FLAGS.format(1450)} 02:04 brd ff:ff \\    bridge forward_delay 1500 hello_time 200",
)


def test_devices_are_laid_over_those_that_they_name_or_that_have_the_nodes_address() -> None:
    text = "\n".join(
        (
            "@@m forwarding",
            "1",
            "@@m links",
            *LINES,
            "@@m addresses",
            "2: eth0    inet 10.0.0.7/24 scope global eth0",
            "@@m end",
        )
    )
    links = laid(parse_look(text, "@@m", {}, middle=NOW).links or (), "10.0.0.7")
    assert {n.name: (n.mtu, n.adds, n.over, n.below) for n in links} == {
        "eth0": (1500, 0, "", 0),
        "eth1": (9000, 0, "", 0),
        "flannel.1": (1450, 50, "eth1", 9000),
        "vxlan.calico": (1430, 70, "eth0", 1500),
        "cilium_vxlan": (1500, 0, "", 0),
        "tunl0": (1480, 20, "eth0", 1500),
        "wireguard.cali": (1440, 60, "eth0", 1500),
        "cni0": (1450, 0, "", 0),
    }
    assert links[2].room == 8950
    elsewhere = laid(links, "10.7.7.7")
    assert {n.name for n in elsewhere if n.over} == {n.name for n in links if n.over}
    unknown = laid(parse_look(text, "@@m", {}, middle=NOW).links or (), "10.7.7.7")
    assert {n.name for n in unknown if n.below} == {"flannel.1", "vxlan.calico"}, "whose uplink is not known"
