"""The ranges of the cluster's network, and what is written of them in several places."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.ranges import MANAGER
from recoverd.diagnose.scene import API
from recoverd.memory.remember import remember
from recoverd.model.catalogue import Code
from recoverd.model.facts import CureFacts
from recoverd.model.finding import Finding, Severity
from recoverd.model.observation import HostView, ObjectsView
from recoverd.observe.objects import nodes_of
from recoverd.playbooks.base import Refusal
from tests.unit.builders import Cluster, certificate
from tests.unit.pod_network import PodNetwork
from tests.unit.rungs import ask, fault, situation

KEPT = {
    API: ("--service-cluster-ip-range=10.96.0.0/16",),
    MANAGER: (
        "--allocate-node-cidrs=true",
        "--cluster-cidr=10.244.0.0/16",
        "--service-cluster-ip-range=10.96.0.0/16",
    ),
}


def written(cluster: Cluster, component: str, *flags: str, age: float = 3600.0) -> None:
    """The manifest of a component with these flags beside those that it has."""
    host = cluster.hosts["cp1"]
    assert isinstance(host, HostView)
    known = host.manifests[component]
    lines = "".join(f"    - {flag}\n" for flag in (component, *KEPT.get(component, ()), *flags))
    text = (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {component}\nspec:\n  containers:\n"
        f"  - command:\n{lines}    name: {component}\n"
    )
    at = cluster.now - timedelta(seconds=age)
    changed = replace(known, content=text, modified_at=at)
    cluster.host("cp1", manifests={**host.manifests, component: changed})


def net(*parts: str, **of_proxy: str) -> PodNetwork:
    """With these parts of the pod network for cp1, w1, w2; `of_proxy` is what kube-proxy takes for pods, by host."""
    made = PodNetwork(control_planes=1, workers=2)
    for component in (API, MANAGER):
        written(made.cluster, component)
    objects = made.cluster.objects
    assert isinstance(objects, ObjectsView)
    given = parts or ("10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24")
    nodes = [replace(n, pod_cidrs=(p,) if p else ()) for n, p in zip(objects.nodes, given, strict=True)]
    made.cluster.objects = replace(objects, nodes=tuple(nodes))
    for host, cidr in of_proxy.items():
        made.host(host, cluster_cidr=cidr)
    return made


def told(made: PodNetwork, service: str = "10.96.0.1") -> list[Finding]:
    seen = made.observation()
    network = seen.network
    seen = replace(seen, network=replace(network, api_service=service))  # type: ignore[type-var]
    memory = made.memory()
    return [f for f in diagnose(seen, memory, made.cluster.settings).findings if f.code in OF_RANGES]


OF_RANGES = {Code.NETWORK_RANGES_DIFFER, Code.SERVICE_ADDRESS_UNCERTIFIED, Code.POD_SUBNETS_OVERLAP}


def test_what_kubeadm_writes_is_the_same_everywhere() -> None:
    assert told(net(w1="10.244.0.0/16")) == []


@pytest.mark.parametrize(
    ("component", "flag", "word"),
    [
        (MANAGER, "--service-cluster-ip-range=10.97.0.0/16", "another range of services than the API server"),
        (MANAGER, "--cluster-cidr=10.200.0.0/16", "cp1, w1, w2 have a part of the pod network that is not in"),
        (API, "--service-cluster-ip-range=10.97.0.0/16", "the service `kubernetes` has 10.96.0.1, which is not in"),
    ],
)
def test_one_that_was_edited_alone_is_named(component: str, flag: str, word: str) -> None:
    made = net()
    written(made.cluster, component, flag)
    (finding,) = told(made)
    assert (finding.code, finding.subject, finding.severity) == (Code.NETWORK_RANGES_DIFFER, "cp1", Severity.WARNING)
    assert word in finding.message and any(flag.partition("=")[2] in line for line in finding.evidence)
    just_now = net()
    written(just_now.cluster, component, flag, age=60.0)
    assert told(just_now) == [], "whoever edits one edits the others after it"


def test_kube_proxy_may_take_another_range_for_that_of_pods() -> None:
    (finding,) = told(net(w2="10.32.0.0/12"))
    assert "kube-proxy on w2 takes another range" in finding.message and "w2: 10.32.0.0/12" in finding.evidence[0]
    assert told(net(w2="no range")) == []


def test_nodes_whose_parts_nobody_gives_out_are_let_be() -> None:
    made = net("10.0.0.0/24", "10.0.1.0/24", "")
    written(made.cluster, MANAGER, "--allocate-node-cidrs=false")
    assert told(made) == []


def test_a_range_of_both_families_is_compared_as_a_whole() -> None:
    made = net()
    written(made.cluster, MANAGER, "--service-cluster-ip-range=fd00:96::/112,10.96.0.0/16")
    written(made.cluster, API, "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112")
    assert told(made) == []


@pytest.mark.parametrize(("part", "other"), [("10.244.1.0/24", "10.244.1.0/24"), ("10.244.0.0/23", "10.244.1.0/24")])
def test_parts_that_overlap_are_named_with_both_nodes(part: str, other: str) -> None:
    (finding,) = told(net("10.244.9.0/24", part, other))
    assert (finding.code, finding.subject, finding.severity) == (Code.POD_SUBNETS_OVERLAP, "w1>w2", Severity.WARNING)
    assert part in finding.message and other in finding.message
    made = net("10.244.9.0/24", part, other)
    made.cut("cp1", "w2")
    (finding,) = told(made)
    assert finding.severity is Severity.FAULT and isinstance(finding.facts, CureFacts)
    path = fault(Code.POD_NETWORK_BROKEN, "w2")
    answer = ask("restart-node-agents", situation(made.cluster, path, finding))
    assert isinstance(answer, Refusal) and "pod-subnets-overlap" in answer.reason, answer


def test_every_part_within_a_larger_one_is_named_beside_that_and_those_behind_it_are_not() -> None:
    made = net("10.244.1.0/24", "10.244.0.0/22", "10.244.3.0/24")
    assert sorted(f.subject for f in told(made)) == ["w1>cp1", "w1>w2"]
    alike = net("10.244.0.0/24", "10.244.4.0/24", "10.244.0.0/23")
    assert [f.subject for f in told(alike)] == ["w2>cp1"], "the larger of two that begin alike holds the other"
    objects = (six := net()).cluster.objects
    assert isinstance(objects, ObjectsView)
    nodes = [replace(n, pod_cidrs=(n.pod_cidrs[0], "::/64")) for n in objects.nodes[:1]]
    six.cluster.objects = replace(objects, nodes=(*nodes, *objects.nodes[1:]))
    assert not [f for f in told(six) if f.code is Code.POD_SUBNETS_OVERLAP], "IPv4 is no part of ::/64"


def test_nodes_outside_the_range_of_pods_are_named() -> None:
    (finding,) = told(net("10.244.1.0/24", "10.243.255.0/24", "10.245.0.0/24"))
    assert "w1, w2 have a part" in finding.message
    larger = net("10.244.0.0/15", "10.246.0.0/24", "")
    assert any("cp1, w1 have a part" in f.message for f in told(larger)), "one that is larger than the range, too"


def test_parts_of_both_families_of_one_node_are_its_own() -> None:
    made = net()
    objects = made.cluster.objects
    assert isinstance(objects, ObjectsView)
    nodes = [replace(n, pod_cidrs=(*n.pod_cidrs, f"fd00:{i}::/64")) for i, n in enumerate(objects.nodes)]
    made.cluster.objects = replace(objects, nodes=tuple(nodes))
    written(made.cluster, MANAGER, "--cluster-cidr=10.244.0.0/16,fd00::/16")
    assert told(made) == []


@pytest.mark.parametrize(
    ("names", "flags", "lacks"),
    [
        (("kubernetes", "10.96.0.1", "10.99.1.11"), (), False),
        (("kubernetes", "10.97.0.1"), (), True),
        (("kubernetes", "10.97.0.1"), ("--tls-cert-file=/srv/api.crt",), False),
        (("kubernetes", "10.97.0.1"), ("--tls-sni-cert-key=/srv/a.crt,/srv/a.key",), False),
        (("kubernetes",), (), False),
    ],
)
def test_the_certificate_is_for_the_service_by_which_pods_call(
    names: tuple[str, ...], flags: tuple[str, ...], lacks: bool
) -> None:
    made = net()
    written(made.cluster, API, *flags)
    made.cluster.host("cp1", certificates=(replace(certificate("/etc/kubernetes/pki/apiserver.crt"), names=names),))
    found = told(made)
    assert [f.code for f in found] == [Code.SERVICE_ADDRESS_UNCERTIFIED] * lacks
    assert not told(made, service="") and all("10.96.0.1" in f.message for f in found)


ADDRESSES = {"cp1": "10.99.1.11", "w1": "10.99.1.21", "w2": "10.99.1.22", "w3": "10.99.1.23"}


@pytest.mark.parametrize(
    ("announced", "cut", "names"),
    [
        pytest.param(ADDRESSES | {"w2": "192.168.50.3"}, True, ["w2"], id="one elsewhere"),
        pytest.param(ADDRESSES | {"w2": "192.168.50.3"}, False, [], id="and its paths are whole"),
        pytest.param(dict.fromkeys(ADDRESSES, "10.0.2.15"), True, ["w1", "w2"], id="all at one address"),
        pytest.param({n: f"10.8.0.{a[-2:]}" for n, a in ADDRESSES.items()}, True, [], id="a network for pods alone"),
        pytest.param(ADDRESSES, True, [], id="each at its own"),
        pytest.param({}, True, [], id="a CNI that tells none"),
    ],
)
def test_a_node_that_its_cni_announces_elsewhere_is_why_paths_are_broken(
    announced: dict[str, str], cut: bool, names: list[str]
) -> None:
    """Its agent was restarted unasked, chose the same device again, and a reboot was offered."""
    net = PodNetwork()
    for name, address in announced.items():
        net.cluster.node(name, announced=address)
    if cut:
        net.cut("w1", "w2")
    found = [f for f in net.seen().findings if f.code == Code.CNI_ADDRESS]
    assert [f.subject for f in found] == names
    for name in ("restart-node-agents", "rolling-worker-reboot") if found else ():
        faults = net.seen().faults
        broken = next(f for f in faults if f.code == Code.POD_PATH_BROKEN)
        answer = ask(name, replace(situation(net.cluster, *faults), observation=net.observation()), broken)
        assert isinstance(answer, Refusal) and "IP_AUTODETECTION_METHOD" in answer.reason, answer


POD_NET = {n: f"10.8.0.{a[-2:]}" for n, a in ADDRESSES.items()}


@pytest.mark.parametrize(
    ("worked", "now", "names"),
    [
        pytest.param({"w2": "203.0.113.7"}, ADDRESSES | {"w2": "203.0.113.7"}, [], id="by another on purpose"),
        pytest.param(POD_NET, POD_NET | {"w2": "192.168.50.3"}, ["w2"], id="another than that of its pods' network"),
        pytest.param(POD_NET, POD_NET | {"w2": ADDRESSES["w2"]}, ["w2"], id="its own, where the others have another"),
        pytest.param({"w2": "10.99.1.99"}, ADDRESSES, [], id="its own, which it was given since"),
        pytest.param({"w2": "10.0.2.15"}, dict.fromkeys(ADDRESSES, "10.0.2.15"), ["w1", "w2"], id="one for all"),
    ],
)
def test_what_was_announced_while_its_pods_were_reached_is_no_cause(
    worked: dict[str, str], now: dict[str, str], names: list[str]
) -> None:
    net = PodNetwork()
    for name, address in now.items():
        net.cluster.node(name, announced=address)
    net.cut("w1", "w2")
    memory = net.memory()
    known = {h: replace(n, announced=worked.get(h, "")) for h, n in memory.networks.items()}
    found = [f for f in net.seen(replace(memory, networks=known)).findings if f.code == Code.CNI_ADDRESS]
    assert [f.subject for f in found] == names


def test_it_is_remembered_where_it_was_seen_to_work() -> None:
    """Not of a node that nobody has reached and that has reached nobody."""
    net = PodNetwork()
    for name, address in POD_NET.items():
        net.cluster.node(name, announced=address)

    def kept(net: PodNetwork) -> dict[str, str]:
        memory = net.cluster.memory()
        after, _ = remember(net.observation(), net.seen(memory), memory, net.cluster.settings, {})
        return {h: n.announced for h, n in after.networks.items()}

    assert kept(net) == {n: POD_NET[n] for n in net.names}
    net.untried = {a for w in net.cluster.workers for a in net.addresses(w)}
    assert kept(net) == dict.fromkeys(net.names, "")


def test_what_the_api_server_lists_of_it() -> None:
    """As Calico and Flannel write it; of both, as Canal, what carries the packets counts."""
    for notes, address in (
        ({"projectcalico.org/IPv4Address": "10.0.0.3/24"}, "10.0.0.3"),
        (
            {"flannel.alpha.coreos.com/public-ip": "10.0.0.4", "projectcalico.org/IPv4Address": "10.0.0.3/24"},
            "10.0.0.4",
        ),
        ({}, ""),
    ):
        node = {"metadata": {"name": "w1", "labels": {}, "annotations": notes}, "status": {}}

        async def listed(node: object = node) -> AsyncIterator[bytes]:
            yield json.dumps({"kind": "NodeList", "items": [node]}).encode()

        (view,), _ = asyncio.run(nodes_of(listed()))
        assert view.announced == address
