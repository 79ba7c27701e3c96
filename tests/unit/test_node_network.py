"""What `restore-node-network` puts back, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.model.catalogue import Code
from recoverd.model.facts import DeviceFacts, Facts
from recoverd.model.finding import Finding, State
from recoverd.model.memory import KnownFile, Memory, NodeNetwork
from recoverd.model.network import FORWARD, REJECTING, Link, NetworkView, NodeNetworkView, RulesView
from recoverd.model.network_operations import AcceptForwards, LinkUp, PutBridge, PutRoute, Sysctl
from recoverd.model.node_look import CNI_DIR, NodeLook
from recoverd.model.observation import HostView
from recoverd.playbooks.base import Proposal, Refusal, Situation, Wait
from tests.unit.builders import Cluster
from tests.unit.rungs import ask, fault, proposal, situation

KNOWN = NodeNetwork(
    True,
    {"cni0": "bridge", "tun0": ""},
    {"cni0": ("10.244.1.1/24",)},
    ("10.244.1.0/24 dev cni0 proto kernel scope link src 10.244.1.1", "10.244.2.0/24 via 10.99.1.22 dev host0"),
    bridge_netfilter=True,
    dropping=(),
)

BRIDGE, TUNNEL = Link("cni0", "bridge", True, ("10.244.1.1/24",)), Link("tun0", "", True)

ROUTE = "10.244.2.0/24 via 10.99.1.22 dev host0"


def network(forwarding: bool = True, links: tuple[Link, ...] = (), routes: tuple[str, ...] = ()) -> NodeNetworkView:
    return NodeNetworkView(forwarding, links, routes, {}, (), RulesView("iptables", 3))


def restoring(finding: Finding, seen: NodeNetworkView) -> Situation:
    now = situation(Cluster(1, 2), finding)
    memory = replace(now.memory, networks={"w1": KNOWN})
    return replace(now, memory=memory, observation=replace(now.observation, network=NetworkView(1, {"w1": seen}, {})))


def missing(device: str, problem: str) -> Finding:
    return fault(Code.POD_DEVICE_MISSING, "w1", DeviceFacts, device=device, problem=problem)


@pytest.mark.parametrize(
    ("finding", "seen", "expected"),
    [
        (
            fault(Code.IP_FORWARDING_OFF, "w1"),
            network(False, (BRIDGE, TUNNEL), (ROUTE,)),
            [Sysctl("net.ipv4.ip_forward", "1")],
        ),
        (
            fault(Code.BRIDGE_NETFILTER_OFF, "w1"),
            replace(network(True, (BRIDGE, TUNNEL), (ROUTE,)), bridge_netfilter=False),
            [Sysctl("net.bridge.bridge-nf-call-iptables", "1")],
        ),
        (
            fault(Code.FORWARDING_FILTERED, "w1"),
            replace(network(True, (BRIDGE, TUNNEL), (ROUTE,)), dropping=(FORWARD, "inet fw f")),
            [AcceptForwards()],
        ),
        (missing("cni0", "gone"), network(True, (TUNNEL,), (ROUTE,)), [PutBridge("cni0", ("10.244.1.1/24",))]),
        (missing("cni0", "ports"), network(True, (BRIDGE, TUNNEL), (ROUTE,)), [PutBridge("cni0", ("10.244.1.1/24",))]),
        (missing("tun0", "down"), network(True, (BRIDGE, replace(TUNNEL, up=False)), (ROUTE,)), [LinkUp("tun0")]),
        (
            fault(Code.POD_NETWORK_BROKEN, "w1"),
            network(True, (BRIDGE, TUNNEL), ("default via 10.99.1.1 dev host0",)),
            [PutRoute(ROUTE)],
        ),
        (
            fault(Code.POD_PATH_BROKEN, "w1"),
            network(True, (BRIDGE, TUNNEL), ("default via 10.99.1.1 dev host0",)),
            [PutRoute(ROUTE)],
        ),
    ],
)
def test_only_what_is_missing_and_was_recorded_is_put_back(
    finding: Finding, seen: NodeNetworkView, expected: list[object]
) -> None:
    now = restoring(finding, seen)
    assert [s.operation for s in proposal("restore-node-network", now).steps] == expected
    assert isinstance(ask("restore-node-network", replace(now, memory=Memory())), Refusal), "never recorded"


def test_no_bridge_is_put_back_unasked_where_another_pod_network_is_set_up() -> None:
    """As on the way from Flannel to Calico: the bridge of before was made anew beside the new network's routes."""

    def asked(cni: tuple[str, ...] | None, known: tuple[str, ...] = ("10-flannel.conflist",)) -> str:
        now = restoring(missing("cni0", "gone"), network(True, (TUNNEL,), (ROUTE,)))
        files = {f"{CNI_DIR}/{name}": KnownFile("00", now.now) for name in known}
        view = now.observation.hosts["w1"]
        assert isinstance(view, HostView)
        hosts = {**now.observation.hosts, "w1": replace(view, node=NodeLook(cni=cni))}
        memory = replace(now.memory, files={"w1": files})
        return proposal(
            "restore-node-network", replace(now, memory=memory, observation=replace(now.observation, hosts=hosts))
        ).asks

    for names in (("10-calico.conflist",), ("05-cilium.conflist", "10-flannel.conflist")):
        assert "10-flannel.conflist was" in asked(names) and names[0] in asked(names)
    for same in (("10-flannel.conflist",), ("10-flannel.conflist", "99-loopback.conf"), (), None):
        assert asked(same) == ""
    assert asked(("10-calico.conflist",), ()) == "", "none was ever recorded, as where it holds a secret"


def test_an_older_default_route_does_not_take_the_place_of_the_one_that_is_there() -> None:
    """The machine is reached by it: a gateway of weeks ago may cut it off for good."""
    old = "default via 10.99.1.254 dev host0"
    now = restoring(
        fault(Code.POD_NETWORK_BROKEN, "w1"), network(True, (BRIDGE, TUNNEL), ("default via 10.99.1.1 dev host0",))
    )
    memory = replace(now.memory, networks={"w1": replace(KNOWN, routes=(*KNOWN.routes, old))})
    assert [s.operation for s in proposal("restore-node-network", replace(now, memory=memory)).steps] == [
        PutRoute(ROUTE)
    ]


def test_a_firewall_is_somebodys_will() -> None:
    found = fault(Code.FORWARDING_FILTERED, "w1")
    policy = restoring(found, replace(network(True, (BRIDGE,)), dropping=(FORWARD,)))
    assert "somebody may want" in proposal("restore-node-network", policy).asks
    for chain in ("inet fw f", f"{FORWARD}{REJECTING}"):  # no policy undoes a rule
        other = ask("restore-node-network", restoring(found, replace(network(True, (BRIDGE,)), dropping=(chain,))))
        assert isinstance(other, Refusal) and "no restart and no reboot" in other.reason


@pytest.mark.parametrize("playbook", ["restart-node-agents", "rolling-worker-reboot"])
def test_nothing_is_restarted_or_rebooted_because_of_a_firewall(playbook: str) -> None:
    found = (fault(Code.POD_NETWORK_BROKEN, "w1"), fault(Code.FORWARDING_FILTERED, "w1"))
    answer = ask(playbook, situation(Cluster(1, 2), *found))
    assert isinstance(answer, Refusal) and "no restart and no reboot" in answer.reason


@pytest.mark.parametrize("playbook", ["restart-node-agents", "rolling-worker-reboot"])
def test_nor_on_the_node_at_the_other_end_of_a_path(playbook: str) -> None:
    """Where two nodes are all that are probed, what is found beside it is the path, of the one that is well."""
    path = Finding(Code.POD_PATH_BROKEN, "w2>w1", "", (), state=State.WORKER_NETWORK_BROKEN, facts=Facts("w2", "w2"))
    answer = ask(playbook, situation(Cluster(1, 2), path, fault(Code.FORWARDING_FILTERED, "w1")))
    assert isinstance(answer, Refusal) and "w1 drops what it forwards" in answer.reason
    more = fault(Code.KUBE_PROXY_DOWN, "w2")
    answer = ask("restart-node-agents", situation(Cluster(1, 2), more, path, fault(Code.FORWARDING_FILTERED, "w1")))
    assert isinstance(answer, Proposal), answer


@pytest.mark.parametrize(
    "cause", [Code.IP_FORWARDING_OFF, Code.FORWARDING_FILTERED, Code.POD_DEVICE_MISSING, Code.WORKER_KUBELET_DOWN]
)
def test_a_cause_that_is_seen_one_sweep_after_its_effect_is_waited_for(cause: Code) -> None:
    """As where the look at the node came too late in the first one; its agents were restarted instead."""
    effect = fault(Code.POD_NETWORK_BROKEN, "w1")
    now = situation(Cluster(1, 2), effect, fault(cause, "w1"))
    answer = ask("restart-node-agents", replace(now, confirmed=(effect,)))
    assert isinstance(answer, Wait) and f"{cause} on w1" in answer.reason
    of_another = situation(Cluster(1, 2), effect, fault(cause, "w2"))
    assert isinstance(ask("restart-node-agents", replace(of_another, confirmed=(effect,))), Proposal)


def test_a_route_is_put_back_only_where_none_leads() -> None:
    """A node that was replaced has another address, and the way to its pods leads over that."""
    newer = ROUTE.replace("10.99.1.22", "10.99.1.32")
    assert newer != ROUTE
    now = restoring(
        fault(Code.POD_NETWORK_BROKEN, "w1"),
        network(True, (BRIDGE, TUNNEL), ("default via 10.99.1.1 dev host0", newer)),
    )
    assert not isinstance(ask("restore-node-network", now), Proposal)


@pytest.mark.parametrize(
    ("protocol", "ours"),
    [("bird", False), ("dhcp", False), ("kernel", False), ("186", False), ("static", True), ("boot", True)],
)
def test_a_route_that_a_program_keeps_is_left_to_it(protocol: str, ours: bool) -> None:
    kept = f"10.244.9.0/26 via 10.99.1.29 dev host0 proto {protocol}"
    now = restoring(
        fault(Code.POD_NETWORK_BROKEN, "w1"),
        network(True, (BRIDGE, TUNNEL), ("default via 10.99.1.1 dev host0", ROUTE)),
    )
    memory = replace(now.memory, networks={"w1": replace(KNOWN, routes=(*KNOWN.routes, kept))})
    answer = ask("restore-node-network", replace(now, memory=memory))
    assert isinstance(answer, Proposal) is ours


@pytest.mark.parametrize(
    "route",
    [
        "10.0.3.17 dev eni5c2 scope link",
        "10.240.0.9 dev azv9a1 proto static",
        "10.244.9.9 dev cali12 scope link",
        "10.244.80.0/26 nhid 21 via 10.99.1.29 dev host0",
    ],
)
def test_a_route_of_a_pod_or_over_a_numbered_next_hop_is_left_to_its_cni(route: str) -> None:
    now = restoring(
        fault(Code.POD_NETWORK_BROKEN, "w1"),
        network(True, (BRIDGE, TUNNEL), ("default via 10.99.1.1 dev host0", ROUTE)),
    )
    memory = replace(now.memory, networks={"w1": replace(KNOWN, routes=(*KNOWN.routes, route))})
    assert not isinstance(ask("restore-node-network", replace(now, memory=memory)), Proposal)


def test_a_route_over_a_tunnel_that_is_gone_is_its_agents_to_make() -> None:
    """`ip route add` fails without the device: an attempt and its time were lost before the agent was restarted."""
    over, none = "10.244.9.0/24 via 10.244.9.0 dev tun0 onlink", ("default via 10.99.1.1 dev host0",)

    def put_back(finding: Finding, *links: Link) -> list[object]:
        now = restoring(finding, network(True, links, none))
        memory = replace(now.memory, networks={"w1": replace(KNOWN, routes=(*KNOWN.routes, over))})
        return [s.operation for s in proposal("restore-node-network", replace(now, memory=memory)).steps]

    assert put_back(missing("tun0", "gone"), BRIDGE) == [PutRoute(ROUTE)]
    assert put_back(missing("tun0", "down"), BRIDGE, TUNNEL) == [LinkUp("tun0"), PutRoute(ROUTE), PutRoute(over)]


def test_a_route_that_cannot_be_added_keeps_no_other_away() -> None:
    second = "10.244.3.0/24 via 10.99.1.23 dev host0"
    now = restoring(
        fault(Code.POD_NETWORK_BROKEN, "w1"),
        network(True, (BRIDGE, TUNNEL), ("default via 10.99.1.1 dev host0",)),
    )
    memory = replace(now.memory, networks={"w1": replace(KNOWN, routes=(*KNOWN.routes, second))})
    steps = proposal("restore-node-network", replace(now, memory=memory)).steps
    assert [s.operation for s in steps] == [PutRoute(ROUTE), PutRoute(second)]
    assert all(s.contained for s in steps) and len({s.part for s in steps}) == 2


def test_what_is_not_missing_or_cannot_be_put_back_is_for_the_next_rung() -> None:
    assert (
        ask(
            "restore-node-network",
            restoring(fault(Code.POD_NETWORK_BROKEN, "w1"), network(True, (BRIDGE, TUNNEL), (ROUTE,))),
        )
        is None
    )
    assert ask("restore-node-network", restoring(missing("tun0", "gone"), network(True, (BRIDGE,), (ROUTE,)))) is None


def test_what_several_nodes_lack_is_put_back_by_one_plan_and_none_keeps_the_others_from_theirs() -> None:
    off = [fault(Code.IP_FORWARDING_OFF, n) for n in ("w1", "w2", "w3")]
    now = situation(Cluster(1, 4), *off)
    seen = {n: network(False, (BRIDGE, TUNNEL), (ROUTE,)) for n in ("w1", "w2")}
    now = replace(
        now,
        memory=replace(now.memory, networks=dict.fromkeys(("w1", "w2"), KNOWN)),
        observation=replace(now.observation, network=NetworkView(1, seen, {})),
    )
    plan = proposal("restore-node-network", now)
    assert [(s.host, s.part, s.contained) for s in plan.steps] == [("w1", "w1", True), ("w2", "w2", True)]
    assert plan.basis == tuple(f.key for f in off[:2]) and any("left out: w3" in line for line in plan.evidence)
    answer = ask("restore-node-network", now, off[2])
    assert isinstance(answer, Refusal) and "w3" in answer.reason
