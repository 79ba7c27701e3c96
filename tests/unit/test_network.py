"""What is found of the pod network, rule by rule, and what must not be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.machine import ClusterMachine
from recoverd.memory.remember import LOSS_SETTLE, SETTLE, Sights, remember
from recoverd.model.catalogue import Code
from recoverd.model.codec import dump, load
from recoverd.model.events import Acknowledged, Observed
from recoverd.model.facts import CureFacts, PodNetworkFacts
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.memory import Memory, NodeNetwork, Setback
from recoverd.model.network import Link, NodeNetworkView, ProbeAnswer, ProcessView, RuleGap, RulesView
from recoverd.model.observation import EndpointHealth, HostView, ObjectsView, Observation, Unseen, UnseenKind
from recoverd.observe.answers import device_of
from recoverd.observe.turns import odd
from recoverd.playbooks.base import Refusal
from tests.unit.builders import NOW, Cluster
from tests.unit.pod_network import API, DNS, WEB, PodNetwork
from tests.unit.rungs import ask, situation

Change = Callable[[PodNetwork], object]


def faults(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    return [f.key for f in diagnosis.faults]


def old_gap(**ages: float) -> RuleGap:
    return RuleGap(
        WEB,
        "10.96.0.80:80",
        {"10.244.1.9:8080": ages["missing"]} if "missing" in ages else {},
        {"10.244.9.9:8080": ages["stale"]} if "stale" in ages else {},
    )


def proxy(n: PodNetwork, state: str, age: float) -> PodNetwork:
    return n.host("w1", processes={"kube-proxy": ProcessView("kube-proxy", state, n.now - timedelta(seconds=age))})


def kubelet_down(n: PodNetwork) -> None:
    n.cluster.stopped("w2", "kubelet").node("w2", ready=False)


def kubelet_falling(n: PodNetwork) -> None:
    """Caught in the moment between its start and its end; systemd has started it again and again."""
    host = n.cluster.hosts["w2"]
    assert isinstance(host, HostView)
    unit = replace(host.units["kubelet"], since=n.cluster.now - timedelta(seconds=1), restarts=59)
    n.cluster.host("w2", units={**host.units, "kubelet": unit}).node("w2", ready=False)


FOUND: list[tuple[str, Change, list[tuple[str, str]]]] = [
    (
        "forwarding off",
        lambda n: n.host("w2", forwarding=False).cut_off("w2", but=("w2",)),
        [(Code.IP_FORWARDING_OFF, "w2"), (Code.POD_NETWORK_BROKEN, "w2")],
    ),
    (
        "FORWARD drops",
        lambda n: n.host("w2", dropping=("ip filter FORWARD",)).cut_off("w2", but=("w2",)),
        [(Code.FORWARDING_FILTERED, "w2"), (Code.POD_NETWORK_BROKEN, "w2")],
    ),
    (
        "firewalld drops",
        lambda n: n.host("w2", dropping=("inet firewalld filter_FORWARD",)).cut_off("w2", but=("w2",)),
        [(Code.FORWARDING_FILTERED, "w2"), (Code.POD_NETWORK_BROKEN, "w2")],
    ),
    (
        "firewalld rejects",
        lambda n: n.host("w2", dropping=("inet firewalld filter_FORWARD reject",)).cut_off("w2", but=("w2",)),
        [(Code.FORWARDING_FILTERED, "w2"), (Code.POD_NETWORK_BROKEN, "w2")],
    ),
    (
        "no iptables for the bridge",
        lambda n: n.host("w1", bridge_netfilter=False),
        [(Code.BRIDGE_NETFILTER_OFF, "w1")],
    ),
    (
        "bridge gone",
        lambda n: n.host("w1", links=()).cut_off("w1"),
        [(Code.POD_DEVICE_MISSING, "w1"), (Code.POD_NETWORK_BROKEN, "w1")],
    ),
    (
        "bridge down",
        lambda n: n.host("w1", links=(Link("cni0", "bridge", False, ("10.244.1.1/24",)),)).cut_off("w1"),
        [(Code.POD_DEVICE_MISSING, "w1"), (Code.POD_NETWORK_BROKEN, "w1")],
    ),
    (
        "bridge made anew, its pods not on it",
        lambda n: (n.host("w1", veths=(2, 0)).unready.update(n.addresses("w1")), n.cut_off("w1")),
        [(Code.POD_DEVICE_MISSING, "w1"), (Code.POD_NETWORK_BROKEN, "w1")],
    ),
    ("one route lost", lambda n: n.cut("w3", "w1"), [(Code.POD_PATH_BROKEN, "w3>w1")]),
    (
        "one route lost, to a node with one pod",
        lambda n: (n.untried.add(n.addresses("w1")[1]), n.cut("w3", "w1")),
        [(Code.POD_PATH_BROKEN, "w3>w1")],
    ),
    (
        "no route at all from a node",
        lambda n: n.cut("w3", "w1", ProbeAnswer.UNREACHABLE).cut("w3", "w2", ProbeAnswer.UNREACHABLE),
        [(Code.POD_NETWORK_BROKEN, "w3")],
    ),
    (
        "both ways",
        lambda n: n.cut("w3", "w1").cut("w3", "w2").cut_off("w3", but=("w3",)),
        [(Code.POD_NETWORK_BROKEN, "w3")],
    ),
    (
        "kube-proxy's process stopped",
        lambda n: n.agent("w3", running=False, bad_for=16.0),
        [(Code.KUBE_PROXY_DOWN, "w3")],
    ),
    (
        "kube-proxy ends again and again",
        lambda n: n.agent("w3", running=False, ready=False, status="CrashLoopBackOff", bad_for=41.0),
        [(Code.KUBE_PROXY_DOWN, "w3")],
    ),
    (
        "kube-proxy has no pod there",
        lambda n: n.agent("w3", running=None, ready=False, pod="", bad_for=61.0),
        [(Code.KUBE_PROXY_DOWN, "w3")],
    ),
    (
        "kube-proxy's pod does not end, though nothing takes its place",
        lambda n: n.agent("w3", running=False, ready=False, status="Terminating", bad_for=61.0),
        [(Code.KUBE_PROXY_DOWN, "w3")],
    ),
    (
        "the CNI's agent ends again and again, whatever time its startup probe gives it",
        lambda n: n.agent(
            "w3", kind="cni", ready=False, running=None, status="CrashLoopBackOff", bad_for=61.0, may_start_for=600.0
        ),
        [(Code.CNI_AGENT_DOWN, "w3")],
    ),
    (
        "the CNI's agent is not ready",
        lambda n: n.agent("w3", kind="cni", ready=False, running=None, status="CrashLoopBackOff", bad_for=61.0),
        [(Code.CNI_AGENT_DOWN, "w3")],
    ),
    ("rules lack an endpoint", lambda n: n.rules("w2", old_gap(missing=30.0)), [(Code.SERVICE_RULES_STALE, "w2")]),
    ("rules lead to what is gone", lambda n: n.rules("w2", old_gap(stale=30.0)), [(Code.SERVICE_RULES_STALE, "w2")]),
    (
        "rules gone",
        lambda n: n.rules("w2", mode="").service_fails("w2", WEB),
        [(Code.SERVICE_RULES_STALE, "w2"), (Code.SERVICE_UNREACHABLE, "w2")],
    ),
    (
        "service address",
        lambda n: n.service_fails("w1", API).service_fails("w1", WEB),
        [(Code.SERVICE_UNREACHABLE, "w1")],
    ),
    (
        "service address, with a pod of it that is not ready",
        lambda n: (n.unready.add(n.addresses("w2")[0]), n.pod_hangs("w2").service_fails("w1", WEB)),
        [(Code.SERVICE_UNREACHABLE, "w1")],
    ),
    (
        "every pod of a node, and kubelet does not reach them either, so that none is ready",
        lambda n: (n.unready.update(n.addresses("w1")), n.cut_off("w1")),
        [(Code.POD_NETWORK_BROKEN, "w1")],
    ),
    (
        "pods of the API not on the node",
        lambda n: n.missing("w1", 300.0, 400.0).missing("w2", extra=(60.0,)),
        [(Code.PODS_NOT_ON_NODE, "w1"), (Code.PODS_NOT_ON_NODE, "w2")],
    ),
    ("a worker's kubelet", kubelet_down, [(Code.WORKER_KUBELET_DOWN, "w2")]),
    ("a worker's kubelet that keeps ending", kubelet_falling, [(Code.WORKER_KUBELET_DOWN, "w2")]),
    (
        "every pod of the network",
        lambda n: [n.cut(a, b) for a in n.names for b in n.cluster.workers if a != b],
        [(Code.POD_NETWORK_BROKEN, w) for w in ("w1", "w2", "w3")],
    ),
]


@pytest.mark.parametrize(("change", "expected"), [f[1:] for f in FOUND], ids=[f[0] for f in FOUND])
def test_it_is_found_and_no_other_node_is_named(change: Change, expected: list[tuple[str, str]]) -> None:
    network = PodNetwork()
    change(network)
    diagnosis = network.seen()
    assert (diagnosis.state, faults(diagnosis)) == (State.WORKER_NETWORK_BROKEN, expected)
    for finding in diagnosis.faults:
        assert finding.facts.node in finding.message and finding.evidence


@pytest.mark.parametrize(
    ("back", "since", "setback", "found"),
    [
        (30.0, 20.0, None, False),
        (30.0, 40.0, None, True),
        (61.0, 20.0, None, True),
        (30.0, 20.0, Setback(NOW, NOW - timedelta(seconds=60), 1234, 900, "cafe"), True),
    ],
    ids=[
        "kubelet may be on its way back",
        "seen before the API went away",
        "it had time to come back",
        "deaf after a setback",
    ],
)
def test_a_kubelet_is_given_time_to_come_back_to_an_api_server_that_was_away(
    back: float, since: float, setback: Setback | None, found: bool
) -> None:
    """As of a pod that was bound to a node just before quorum was lost: its kubelet has not
    heard of it, and it is old at once.
    """
    network = PodNetwork()
    network.back = back
    network.missing("w1", 500.0, since=since)
    assert bool(network.seen(network.memory(setback=setback)).find(Code.PODS_NOT_ON_NODE, "w1")) is found


def replaced(n: PodNetwork) -> PodNetwork:
    """Cilium or Calico's eBPF keeps services now: there is no DaemonSet of kube-proxy and no process."""
    n.agents.clear()
    for name in n.names:
        n.host(name, processes={})
    return n


def hidden(n: PodNetwork, name: str) -> None:
    n.cluster.ssh_fails(name)
    n.hosts[name] = Unseen(UnseenKind.UNREACHABLE, "no route to it")


def fenced_service(n: PodNetwork) -> None:
    """A policy lets nobody but the own node in, since ever."""
    for worker in n.cluster.workers:
        n.cut_off(worker, but=(worker,))


QUIET: list[tuple[str, Change, Memory | None]] = [
    ("nothing", lambda n: None, None),
    (
        "kube-proxy has ended, and kubelet has yet to start it anew, or to say what is in its way",
        lambda n: n.agent("w3", running=False, ready=False, status="CrashLoopBackOff", bad_for=39.0),
        None,
    ),
    ("one pod hangs", lambda n: n.pod_hangs("w1"), None),
    (
        "every pod of a node hangs",
        lambda n: [x.update(n.addresses("w1")) for x in (n.unready, n.hung)] and n.cut_off("w1"),
        None,
    ),
    (
        "the only pod of a node hangs, and is not ready",
        lambda n: (n.untried.add(n.addresses("w1")[1]), n.unready.add(n.addresses("w1")[0]), n.pod_hangs("w1")),
        None,
    ),
    ("the only pod of a node hangs", lambda n: (n.untried.add(n.addresses("w1")[1]), n.pod_hangs("w1")), None),
    (
        "a pod refuses: it was reached",
        lambda n: n.cut("w3", "w1", ProbeAnswer.REFUSED).cut("w2", "w1", ProbeAnswer.REFUSED),
        None,
    ),
    ("a policy forbids the probe", fenced_service, Memory(reached=())),
    (
        "a node that is off",
        lambda n: (n.cluster.powered_off("w1", node_ready=True), hidden(n, "w1"), n.cut_off("w1")),
        None,
    ),
    ("a node that is not Ready", lambda n: (n.cluster.node("w1", ready=False), n.cut_off("w1", but=("w1",))), None),
    (
        "a node that has just booted",
        lambda n: (
            n.cluster.host("w1", uptime=30.0),
            n.cut_off("w1", but=("w1",)).host("w1", links=(), forwarding=False).rules("w1", mode=""),
        ),
        None,
    ),
    ("pods on their way up", lambda n: n.missing("w1", 5.0, 19.0, extra=(3.0,)), None),
    (
        "a kubelet that has just been started",
        lambda n: (
            n.cluster.unit("w1", "kubelet", since=n.now - timedelta(seconds=4)),
            n.missing("w1", 500.0, since=2.0),
        ),
        None,
    ),
    ("rules that kube-proxy is busy with", lambda n: n.rules("w2", old_gap(missing=3.0, stale=10.0)), None),
    ("kube-proxy has just been started", lambda n: proxy(n, "S", 5.0).rules("w1", old_gap(missing=90.0)), None),
    ("kube-proxy is being rolled", lambda n: n.agent("w3", running=False, bad_for=6.0), None),
    *(
        (
            f"kube-proxy is being rolled, {what}",
            lambda n, given=given: n.agent("w3", running=False, ready=False, **given),
            None,
        )
        for what, given in {
            "and its old pod takes its time to end": {"status": "Terminating", "bad_for": 50.0, "may_start_for": 600.0},
            "and the old pod is gone": {"pod": "", "status": "", "bad_for": 52.0, "may_start_for": 600.0},
            "by hand": {"status": "Terminating", "bad_for": 50.0},
        }.items()
    ),
    (
        "kube-proxy's new image is pulled",
        lambda n: n.agent("w3", running=False, ready=False, status="ContainerCreating", bad_for=100.0),
        None,
    ),
    (
        "the CNI's agent takes the time that its startup probe gives it",
        lambda n: n.agent("w3", kind="cni", ready=False, running=None, bad_for=500.0, may_start_for=600.0),
        None,
    ),
    (
        "the CNI's agent is rolled out",
        lambda n: n.agent(
            "w3", kind="cni", pod="", status="", ready=False, running=None, bad_for=90.0, may_start_for=600.0
        ),
        None,
    ),
    (
        "IPv4 forwarding is off where all pods have IPv6",
        lambda n: [n.host(x, forwarding=False, pod_addresses=("fd00:10:244::2",)) for x in n.names],
        None,
    ),
    ("netfilter could not be read", lambda n: n.host("w1", bridge_netfilter=None, dropping=None), None),
    ("a chain drops IPv6 alone", lambda n: n.host("w1", dropping=("ip6 filter FORWARD",)), None),
    (
        "FORWARD drops and the bridge passes no iptables, and what was so before is not known",
        lambda n: [n.host(x, bridge_netfilter=False, dropping=("ip filter FORWARD",)) for x in n.names],
        Memory(reached=(WEB,)),
    ),
    (
        "no kube-proxy at all, as with Cilium",
        lambda n: ([n.rules(x, mode="") for x in n.names], n.agents.clear()),
        Memory(reached=(WEB,)),
    ),
    ("kube-proxy was replaced, and its rules taken away", lambda n: replaced(n).rules("w1", mode=""), None),
    (
        "kube-proxy was replaced, and its rules left behind",
        lambda n: replaced(n).rules("w1", old_gap(stale=90.0)),
        None,
    ),
    (
        "whether a kube-proxy is wanted was not seen",
        lambda n: (n.listless.add("daemonsets"), replaced(n).rules("w1", mode="")),
        None,
    ),
    (
        "kube-proxy of a node that is joining is bound and not started yet",
        lambda n: n.host("w3", processes={}).rules("w3", mode=""),
        Memory(reached=(WEB,)),
    ),
    ("rules could not be read", lambda n: n.host("w1", rules=Unseen(UnseenKind.NOT_TRIED, "no iptables-save")), None),
    ("devices could not be listed", lambda n: n.host("w1", links=None), None),
    (
        "a bridge that no pod needs",
        lambda n: (n.host("w1", links=(), pods=0), n.untried.update(n.addresses("w1"))),
        None,
    ),
    ("a tunnel that nobody misses", lambda n: n.host("w1", links=()), None),
    (
        "one of three tries fails",
        lambda n: setattr(
            n,
            "services",
            [replace(s, answers=(ProbeAnswer.OK, ProbeAnswer.TIMEOUT, ProbeAnswer.OK)) for s in n.services],
        ),
        None,
    ),
    (
        "kubelets could not be asked",
        lambda n: n.pods.update({x: Unseen(UnseenKind.DENIED, "forbidden: nodes/proxy") for x in n.names}),
        None,
    ),
]


@pytest.mark.parametrize(("change", "memory"), [q[1:] for q in QUIET], ids=[q[0] for q in QUIET])
def test_no_fault_is_made_of_it(change: Change, memory: Memory | None) -> None:
    network = PodNetwork()
    change(network)
    diagnosis = network.seen(
        None if memory is None else replace(network.memory(), reached=memory.reached, networks=memory.networks)
    )
    assert (diagnosis.state, faults(diagnosis)) == (State.HEALTHY, [])


@pytest.mark.parametrize(
    ("ready_for", "remembered", "found"), [(40.0, False, False), (100.0, False, True), (40.0, True, True)]
)
def test_the_ways_to_a_node_that_has_only_just_joined_are_being_made(
    ready_for: float, remembered: bool, found: bool
) -> None:
    network = PodNetwork()
    network.cut_off("w1").cluster.node("w1", since=network.now - timedelta(seconds=ready_for))
    before = network.memory()
    diagnosis = network.seen(before if remembered else replace(before, networks={}))
    assert faults(diagnosis) == ([(Code.POD_NETWORK_BROKEN, "w1")] if found else [])


@pytest.mark.parametrize("pods", [("10.244.2.2",), ("fd00:10:244::2", "10.244.2.2"), ("10.244.2.2:8080",), ()])
def test_forwarding_that_is_off_is_a_fault_at_first_sight_where_not_all_is_seen_to_be_ipv6(
    pods: tuple[str, ...],
) -> None:
    network = PodNetwork().host("w2", forwarding=False, pod_addresses=pods)
    assert (Code.IP_FORWARDING_OFF, "w2") in faults(network.seen(Memory(reached=(WEB,))))


def test_on_a_node_with_an_ipv6_address_and_no_pod_forwarding_of_ipv4_may_be_off() -> None:
    network = PodNetwork().host("w2", forwarding=False, pod_addresses=())
    assert faults(network.seen()) == [(Code.IP_FORWARDING_OFF, "w2")]
    network.cluster.node("w2", address="fd00:10:99::22")
    assert faults(network.seen()) == []


def test_what_could_not_be_read_of_a_nodes_network_is_told_and_no_device_of_it_missed() -> None:
    network = PodNetwork().host("w1", links=None, problems=("it has more than 512 network devices",))
    seen = network.seen()
    assert faults(seen) == [] and seen.state is State.HEALTHY
    [told] = [f for f in seen.findings if f.subject == "w1/network"]
    assert told.code == Code.SOURCE_UNSEEN and "512" in told.evidence[0]


def test_rules_that_were_never_seen_are_missed_where_kube_proxy_runs() -> None:
    network = PodNetwork().rules("w3", mode="")
    assert (Code.SERVICE_RULES_STALE, "w3") in {f.key for f in network.seen(Memory(reached=(WEB,))).faults}


@pytest.mark.parametrize(("back", "found"), [(5.0, False), (90.0, True), (None, True)])
def test_a_kube_proxy_that_came_up_while_the_api_was_away_is_given_time(back: float | None, found: bool) -> None:
    network = PodNetwork().rules("w3", mode="")
    network.back = back
    assert ((Code.SERVICE_RULES_STALE, "w3") in {f.key for f in network.seen(Memory(reached=(WEB,))).faults}) is found


@pytest.mark.parametrize(
    ("back", "since", "setback", "found"),
    [
        (40.0, 39.0, None, False),
        (40.0, 70.0, None, True),
        (61.0, 60.0, None, True),
        (40.0, 39.0, Setback(NOW, NOW - timedelta(seconds=60), 1234, 900, "cafe"), True),
        (None, 39.0, None, True),
    ],
    ids=[
        "kube-proxy may be on its way back",
        "it was so before the API went away",
        "it had time to come back",
        "deaf after a setback",
        "the API was not away",
    ],
)
def test_a_kube_proxy_is_given_time_to_come_back_to_an_api_server_that_was_away(
    back: float | None, since: float, setback: Setback | None, found: bool
) -> None:
    """As where the API's address was away for two minutes, and every node with it: all endpoints are new."""
    network = PodNetwork().rules("w1", RuleGap(WEB, "10.96.0.80:80", {"10.244.2.2:8080": since}))
    network.service_fails("w1", WEB, ProbeAnswer.REFUSED)
    network.services = [replace(s, steady=since) for s in network.services]
    network.back = back
    seen = {f.key for f in network.seen(network.memory(setback=setback)).faults}
    assert ({(Code.SERVICE_RULES_STALE, "w1"), (Code.SERVICE_UNREACHABLE, "w1")} <= seen) is found
    assert bool(seen) is found


@pytest.mark.parametrize(
    ("back", "open"), [(40.0, True), (61.0, False), (None, False)], ids=["just back", "for a minute", "never away"]
)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda n: n.rules("w1", RuleGap(WEB, "10.96.0.80:80", {"10.244.2.2:8080": 3.0})),
        lambda n: n.service_fails("w1", WEB, ProbeAnswer.REFUSED),
        lambda n: n.missing("w1", 8.0),
    ],
    ids=["a rule differs", "a service does not answer", "a pod is not known"],
)
def test_what_is_not_found_while_nodes_come_back_to_the_api_server_is_not_gone(
    spoil: Change, back: float | None, *, open: bool
) -> None:
    keys = [(c, "w1") for c in (Code.SERVICE_RULES_STALE, Code.KUBE_PROXY_CUT_OFF, Code.PODS_NOT_ON_NODE)]
    network = PodNetwork()
    network.back = back
    assert not doubt(keys, network.seen(), network.observation()), "all is seen as the API server has it"
    spoil(network)
    assert bool(doubt(keys, network.seen(), network.observation())) is open


@pytest.mark.parametrize(("age", "open"), [(9.0, True), (21.0, False)])
@pytest.mark.parametrize("gone", [True, False], ids=["no rules yet", "rules of before"])
def test_rules_are_not_right_because_a_fresh_kube_proxy_is_given_time_for_them(
    age: float, *, gone: bool, open: bool
) -> None:
    gaps = () if gone else (RuleGap(WEB, "10.96.0.80:80", {"10.244.2.2:8080": 300.0}),)
    network = PodNetwork().rules("w1", *gaps, mode="" if gone else "iptables")
    started = ProcessView("kube-proxy", "S", NOW - timedelta(seconds=age))
    network.host("w1", processes={"kube-proxy": started})
    key, seen = (Code.SERVICE_RULES_STALE, "w1"), network.seen()
    assert (key not in seen.keys) is open
    assert bool(doubt([key], seen, network.observation())) is open


def test_a_service_is_not_blamed_for_the_path_to_its_endpoints() -> None:
    diagnosis = PodNetwork().cut("w3", "w1").service_fails("w3", WEB).seen()
    assert faults(diagnosis) == [(Code.POD_PATH_BROKEN, "w3>w1")]


def test_a_service_whose_endpoints_have_just_changed_is_given_time() -> None:
    network = PodNetwork().service_fails("w3", WEB)
    network.services = [replace(s, steady=5.0) for s in network.services]
    assert faults(network.seen()) == []


def test_dns_has_a_finding_of_its_own() -> None:
    network = PodNetwork()
    network.services = [replace(s, service=DNS, dns=True) if s.service == WEB else s for s in network.services]
    assert faults(network.service_fails("w2", DNS).seen()) == [(Code.DNS_UNREACHABLE, "w2")]


def test_dns_whose_address_is_on_a_device_of_the_node_itself_is_no_fault_of_its_agents() -> None:
    network = PodNetwork()
    network.services = [
        replace(s, service=DNS, dns=True, device="nodelocaldns") if s.service == WEB else s for s in network.services
    ]
    (fault,) = network.service_fails("w2", DNS, ProbeAnswer.REFUSED).seen().faults
    assert fault.key == (Code.DNS_UNREACHABLE, "w2") and isinstance(fault.facts, CureFacts)
    assert "is on the device nodelocaldns of w2 itself, where NodeLocal DNSCache is to answer" in fault.message
    for playbook in ("restart-node-agents", "rolling-worker-reboot"):
        answer = ask(playbook, situation(network.cluster, fault), fault)
        assert isinstance(answer, Refusal) and f"w2 ({Code.DNS_UNREACHABLE}) no restart" in answer.reason, answer


@pytest.mark.parametrize(
    ("address", "device"),
    [
        ("10.96.0.10:53", "nodelocaldns"),
        ("10.96.0.80:80", ""),
        ("10.96.0.1:443", ""),
        ("[fd00:96::a]:53", "nodelocaldns"),
    ],
)
def test_a_services_address_on_a_device_of_the_node_is_seen_but_for_those_of_ipvs(address: str, device: str) -> None:
    links = (
        Link("kube-ipvs0", "dummy", True, ("10.96.0.80/32",)),
        Link("nodelocaldns", "dummy", True, ("169.254.20.10/32", "10.96.0.10/32", "fd00:96::a/128")),
    )
    assert device_of(links, address) == device


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (ProbeAnswer.OK, "though w2 reaches its endpoints directly"),
        (ProbeAnswer.TIMEOUT, "nor do its pods when w2 asks them directly, though it makes connections to them"),
    ],
)
def test_dns_that_is_lost_over_udp_alone_is_not_said_to_be_reached(answer: ProbeAnswer, found: str) -> None:
    network = PodNetwork()
    network.services = [
        replace(s, service=DNS, dns=True, queried=dict.fromkeys(s.endpoints, answer)) if s.service == WEB else s
        for s in network.services
    ]
    (fault,) = network.service_fails("w2", DNS).seen().faults
    assert fault.code == Code.DNS_UNREACHABLE and found in fault.message, fault
    assert "queried over UDP, 3 times" in fault.evidence[0] and "; over UDP: 10" in fault.evidence[0], fault


@pytest.mark.parametrize(("kind", "named"), [("vxlan", True), ("ipip", False)])
def test_checksums_that_vxlan_may_spoil_are_named_where_services_alone_are_not_reached(kind: str, named: bool) -> None:
    known = NodeNetwork(True, {"cni0": "bridge", "tunnel": kind}, {}, ())
    (fault,) = PodNetwork().service_fails("w2", WEB).seen(Memory(reached=(WEB,), networks={"w2": known})).faults
    assert ("`ethtool -K tunnel tx-checksum-ip-generic off`" in fault.message) is named, fault


def test_pods_unknown_before_kubelet_started_are_not_excused_by_its_start() -> None:
    network = PodNetwork()
    network.cluster.unit("w1", "kubelet", since=network.now - timedelta(seconds=4))
    assert faults(network.missing("w1", 500.0, since=30.0).seen()) == [(Code.PODS_NOT_ON_NODE, "w1")]


@pytest.mark.parametrize(
    ("ready", "since", "setback", "found"),
    [
        (30.0, 20.0, None, False),
        (30.0, 40.0, None, True),
        (61.0, 20.0, None, True),
        (30.0, 20.0, Setback(NOW, NOW - timedelta(seconds=60), 1234, 900, "cafe"), True),
    ],
    ids=["its reflector may wait still", "unknown before it was cut off", "it had time", "deaf after a setback"],
)
def test_a_kubelet_whose_node_is_ready_again_is_given_time_to_list_its_pods(
    ready: float, since: float, setback: Setback | None, found: bool
) -> None:
    """Seen on a busy lab: its way to the API server was put back, and its agents were restarted for nothing 19 s
    after its node was Ready.
    """
    network = PodNetwork()
    assert isinstance(network.cluster.objects, ObjectsView)
    at = network.now - timedelta(seconds=ready)
    nodes = tuple(replace(n, since=at) if n.name == "w1" else n for n in network.cluster.objects.nodes)
    network.cluster.objects = replace(network.cluster.objects, nodes=nodes)
    network.missing("w1", 500.0, since=since)
    assert bool(network.seen(network.memory(setback=setback)).find(Code.PODS_NOT_ON_NODE, "w1")) is found


def test_it_says_since_when_and_which_cannot_reach_which() -> None:
    found = PodNetwork().cut_off("w2", but=("w2",)).seen().find(Code.POD_NETWORK_BROKEN, "w2")
    assert found is not None
    assert "cannot be reached from cp1, w1, w3 (w2 itself reaches them) since 2026-03-05 19:09:53 UTC" in found.message
    assert found.facts == PodNetworkFacts("w2", "w2", sources=("cp1", "w1", "w3"))


def test_an_api_server_that_is_down_outranks_the_network() -> None:
    network = PodNetwork().cut_off("w2", but=("w2",))
    network.cluster.api_down()
    diagnosis = network.seen()
    assert diagnosis.state is State.APISERVER_DOWN
    assert all(f.state is State.APISERVER_DOWN for f in diagnosis.faults)


# --- data that went back ---


def gone_back(network: PodNetwork) -> PodNetwork:
    network.cluster.etcd_changed(revision=900)
    return network


def restarted(network: PodNetwork, *names: str) -> PodNetwork:
    """kubelet, kube-proxy and the controllers on these hosts started a moment ago."""
    at = network.now - timedelta(seconds=30)
    for name in names:
        network.cluster.unit(name, "kubelet", since=at)
        if name in network.cluster.joined:
            for component in ("kube-controller-manager", "kube-scheduler"):
                network.cluster.container(name, component, started_at=at)
        network.host(name, processes={"kube-proxy": ProcessView("kube-proxy", "S", at)})
    return network


def test_data_that_went_back_is_a_fault_at_once_and_names_the_stale_agents() -> None:
    diagnosis = restarted(gone_back(PodNetwork()), "w1").seen()
    assert faults(diagnosis) == [(Code.ETCD_REVISION_WENT_BACK, "")]
    stale = diagnosis.faults[0].facts.stale  # type: ignore[attr-defined]
    assert list(stale) == [
        "cp1/kube-controller-manager",
        "cp1/kube-proxy",
        "cp1/kube-scheduler",
        "cp1/kubelet",
        *(f"w{i}/{a}" for i in (2, 3) for a in ("kube-proxy", "kubelet")),
    ]


def test_it_ends_when_every_agent_was_restarted_whoever_did_it() -> None:
    diagnosis = restarted(gone_back(PodNetwork()), "cp1", "w1", "w2", "w3").seen()
    assert faults(diagnosis) == []
    found = diagnosis.find(Code.ETCD_REVISION_WENT_BACK)
    assert found is not None and found.severity is Severity.NOTICE


def test_a_follower_that_lags_behind_is_no_proof() -> None:
    network = PodNetwork(Cluster(control_planes=3, workers=2)).cluster
    network.ssh_fails("cp1", "cp3").etcd_changed("cp2", revision=900)
    assert (
        diagnose(network.observation(), network.memory(), network.settings).find(Code.ETCD_REVISION_WENT_BACK) is None
    )


def test_while_the_api_server_is_down_it_is_only_a_notice() -> None:
    network = gone_back(PodNetwork())
    network.cluster.api_down(health=EndpointHealth.REFUSED)
    found = network.seen().find(Code.ETCD_REVISION_WENT_BACK)
    assert found is not None and found.severity is Severity.NOTICE


# --- what is kept ---


def test_an_observation_survives_the_journal_and_an_old_one_can_be_read() -> None:
    observation = PodNetwork().observation()
    assert load(Observation, dump(observation)) == observation
    assert load(Observation, dump(Cluster().observation())).network is None
    assert load(Memory, '{"manifests": {}, "workers": []}') == Memory()


def test_types_of_the_builder_are_those_of_the_model() -> None:
    network = PodNetwork()
    assert all(isinstance(h, NodeNetworkView) and isinstance(h.rules, RulesView) for h in network.hosts.values())


# --- what is remembered ---


def remembered(network: PodNetwork, memory: Memory, sights: Sights | None = None) -> tuple[Memory, Sights]:
    observation = network.observation()
    return remember(
        observation,
        diagnose(observation, memory, network.cluster.settings),
        memory,
        network.cluster.settings,
        sights or {},
    )


def test_a_healthy_sweep_records_each_nodes_network_and_which_services_can_be_reached() -> None:
    memory, _ = remembered(PodNetwork(), Memory())
    assert set(memory.networks) == {"cp1", "w1", "w2", "w3"}
    w1 = memory.networks["w1"]
    assert (w1.devices, w1.addresses, w1.forwarding, w1.bridged, w1.proxy) == (
        {"cni0": "bridge"},
        {"cni0": ("10.244.1.1/24",)},
        True,
        True,
        "iptables",
    )
    assert memory.reached == (WEB,)
    assert load(Memory, dump(memory)) == memory


def test_machines_with_too_many_routes_are_told_in_one_notice_and_no_turn_is_taken_from_others_for_them() -> None:
    """As on an overlay of more than 2,048 nodes, where all of them have as many routes."""
    network = PodNetwork().host("w1", routes=None).host("w2", routes=None)
    told = [f for f in network.seen().findings if f.code == Code.SOURCE_UNSEEN]
    assert [(f.subject, f.message[:15]) for f in told] == [("network/routes", "2 machines have")]
    usual, many = PodNetwork().observation(), network.observation()
    assert odd(many, {}) == odd(usual, {})
    old = PodNetwork().memory()
    assert remembered(network, old)[0].networks == old.networks, "one that grows past it has lost none"


def test_what_a_node_lost_is_remembered_for_minutes_and_what_it_gained_is_learnt_sooner() -> None:
    old = PodNetwork().memory()
    for routes, settle in (
        (("default via 10.99.1.1 dev eth0", "10.9.0.0/16 via 10.99.1.9"), SETTLE),
        ((), LOSS_SETTLE),
    ):

        def sweep(seconds: float, sights: Sights, routes: tuple[str, ...] = routes) -> tuple[Memory, Sights]:
            return remembered(
                PodNetwork(Cluster(1, 3, now=NOW + timedelta(seconds=seconds))).host("w1", routes=routes), old, sights
            )

        _, sights = sweep(0, {})
        before, sights = sweep(settle - 1, sights)
        assert before.networks["w1"].routes == old.networks["w1"].routes
        after, _ = sweep(settle, sights)
        assert after.networks["w1"].routes == routes


def test_routes_of_routing_daemons_and_pods_are_not_recorded() -> None:
    """They change with every pod, and the record of a node would never settle."""
    kept = "default via 10.99.1.1 dev eth0"
    of_others = ("10.244.9.0/26 via 10.99.1.29 dev eth0 proto bird", "10.0.3.17 dev eni5c2 scope link")
    memory, _ = remembered(PodNetwork().host("w1", routes=(kept, *of_others)), Memory())
    assert memory.networks["w1"].routes == (kept,)


def test_how_kube_proxy_programmed_is_forgotten_when_it_was_replaced_or_cannot_be_read_any_more() -> None:
    old = PodNetwork().memory()
    unread = Unseen(UnseenKind.NOT_TRIED, "no nft")
    for change in (lambda n: replaced(n).rules("w1", mode=""), lambda n: n.host("w1", rules=unread)):
        sights: Sights = {}
        for seconds in (0.0, SETTLE):
            network = PodNetwork(Cluster(1, 3, now=NOW + timedelta(seconds=seconds)))
            change(network)
            after, sights = remembered(network, old, sights)
        assert (old.networks["w1"].proxy, after.networks["w1"].proxy) == ("iptables", "")


def test_what_was_read_of_netfilter_once_is_remembered_while_it_cannot_be_read() -> None:
    old = PodNetwork().memory()
    assert (old.networks["w1"].bridge_netfilter, old.networks["w1"].dropping) == (True, ())
    after, _ = remembered(PodNetwork().host("w1", bridge_netfilter=None, dropping=None), old)
    assert after.networks == old.networks


def test_a_chain_that_drops_beside_pods_that_are_reached_is_a_warning() -> None:
    """Flannel, Calico and kube-proxy have rules of their own that let packets through."""
    found = PodNetwork().host("w2", dropping=("ip filter FORWARD",)).seen().findings
    assert [(f.code, f.severity) for f in found] == [(Code.FORWARDING_FILTERED, Severity.WARNING)]


def test_a_broken_node_teaches_nothing() -> None:
    memory = PodNetwork().memory()
    after, _ = remembered(PodNetwork().host("w1", forwarding=False, links=()), memory)
    assert after == memory


def driven(memory: Memory) -> ClusterMachine:
    return ClusterMachine(PodNetwork().cluster.settings, (), now=NOW, memory=memory)


def later(seconds: float) -> PodNetwork:
    return PodNetwork(Cluster(1, 3, now=NOW + timedelta(seconds=seconds)))


def test_a_setback_outlives_a_new_history_that_grew_past_the_old_one_and_ends_with_the_restarts() -> None:
    machine = driven(PodNetwork().memory())
    machine.handle(Observed(gone_back(later(0)).observation()))
    assert machine.memory.setback is not None and (machine.memory.setback.was, machine.memory.setback.now) == (
        1234,
        900,
    )
    machine.handle(Observed(gone_back(later(5)).observation()))
    grown = later(10)
    grown.cluster.etcd_changed(revision=5000)
    machine.handle(Observed(grown.observation()))
    assert (
        machine.diagnosis is not None
        and machine.diagnosis.find(Code.ETCD_REVISION_WENT_BACK) in machine.diagnosis.faults
    )
    for seconds in (300, 305, 310):
        well = restarted(later(seconds), "cp1", "w1", "w2", "w3")
        well.cluster.etcd_changed(revision=1000)
        machine.handle(Observed(well.observation()))
    assert machine.memory.setback is None
    assert machine.memory.watermark is not None and machine.memory.watermark.revision == 1000


def test_a_person_who_acknowledges_ends_it_too() -> None:
    machine = driven(PodNetwork().memory())
    for seconds in (0, 5):
        machine.handle(Observed(gone_back(later(seconds)).observation()))
    assert machine.record.incident is not None
    machine.handle(Acknowledged(machine.record.incident.id, "root", NOW + timedelta(seconds=8)))
    for seconds in (10, 15, 20, 25):
        machine.handle(Observed(gone_back(later(seconds)).observation()))
    assert machine.diagnosis is not None and machine.diagnosis.state is State.HEALTHY
    assert (
        machine.memory.setback is None
        and machine.memory.watermark is not None
        and machine.memory.watermark.revision == 900
    )
