"""What the collectors make of what the API, kubelets and nodes say: mirror pods, old slices, whose turn it is,
how long something has been odd.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from recoverd.model.network import NodePods, ProbeAnswer, ProcessView
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.observe import rounds
from recoverd.observe.agents import AgentWatch
from recoverd.observe.kubelet import ListedPod, compare, from_object, kubelet_uids, without
from recoverd.observe.lists import Answered, Lists, Read
from recoverd.observe.look import LookError
from recoverd.observe.netlook import Rules, hexadecimal, parse_look, script
from recoverd.observe.objects import PodBook
from recoverd.observe.podwatch import PodWatch
from recoverd.observe.rounds import ProbedPod
from recoverd.observe.rulewatch import RuleWatch
from recoverd.observe.services import Endpoint, ServicePort, fenced, is_fenced, service_ports, unready
from tests.unit.builders import NOW

FIXTURES = Path(__file__).parent / "fixtures"
LONG_AGO = "2026-03-05T18:00:00Z"


# --- the look ---


def test_the_look_recorded_on_a_real_worker() -> None:
    probes = {
        "0": ("10.203.21.99", 8080),
        "1": ("10.203.21.1", 1),
        "2": ("10.96.0.80", 80),
        "3": ("10.96.0.1", 443),
        "4": ("10.250.0.1", 80),
        "u5": ("10.96.0.10", 53),
    }
    look = parse_look((FIXTURES / "network-look-iptables.txt").read_text(), "@@lab", probes, middle=NOW)
    assert look.forwarding is True
    assert [(x.name, x.kind, x.up, x.addresses) for x in look.links or ()][1:] == [
        ("cni0", "bridge", True, ("10.203.21.1/24",))
    ]
    assert look.veths == (2, 2)
    assert "10.203.22.0/24 via 10.99.3.22 dev host0" in look.routes
    assert look.processes["kube-proxy"].state == "S"
    assert (NOW - look.processes["kube-proxy"].started_at).total_seconds() == pytest.approx(3246.85 - 3073.93)
    assert look.rules.mode == "iptables"
    assert look.rules.programmed == {
        "10.96.0.80:80": frozenset({"10.203.21.11:8080", "10.203.22.13:8080", "10.203.23.10:8080"}),
        "10.96.0.1:443": frozenset({"10.99.3.11:6443"}),
    }
    assert look.answers == {
        "0": ProbeAnswer.TIMEOUT,
        "1": ProbeAnswer.REFUSED,
        "2": ProbeAnswer.OK,
        "3": ProbeAnswer.OK,
        "4": ProbeAnswer.TIMEOUT,
        "u5": ProbeAnswer.TIMEOUT,
    }


def test_a_look_that_was_cut_short_says_nothing_of_what_it_did_not_come_to() -> None:
    whole = (FIXTURES / "network-look-iptables.txt").read_text()
    for length in range(40, len(whole), 97):
        look = parse_look(whole[:length], "@@lab", {"4": ("10.250.0.1", 80)}, middle=NOW)
        assert look.rules.unseen or "tool" in whole[:length].rpartition("@@lab ")[0] or "@@lab tool" in whole[:length]
        # a node that had nothing to probe was said to have no tool for it
        assert look.tool, length
        if "@@lab end" not in whole[:length]:
            assert look.answers == {"4": None} and look.problems
    none = f"{whole[: whole.index('@@lab tool')]}@@lab tool \n@@lab end\n"
    assert parse_look(none, "@@lab", {}, middle=NOW).tool == ""
    with pytest.raises(LookError):
        parse_look("bash: permission denied\n", "@@lab", {}, middle=NOW)


def test_what_a_look_that_was_cut_short_says_is_what_the_whole_one_says() -> None:
    """A slow machine ends it at its deadline: an address or a process that had not been printed yet was called gone,
    and kubelet and the agents were restarted for it.
    """
    text = (FIXTURES / "network-look-iptables.txt").read_text()
    whole = parse_look(text, "@@lab", {}, middle=NOW)
    assert whole.links and whole.processes and whole.pods
    for length in range(text.index("@@lab links") - 1, text.index("@@lab tool"), 3):
        cut = parse_look(text[:length], "@@lab", {}, middle=NOW)
        for part in ("links", "veths", "processes", "pods"):
            assert getattr(cut, part) in (None, getattr(whole, part)), (length, part)
        assert cut.routes in ((), whole.routes)


def test_only_addresses_get_into_the_script() -> None:
    text = script("true", "@@m", {"0": ("10.0.0.1", 80), "1": ("$(reboot)", 80)}, ("10.96.0.1:443", "x';reboot;'"), 2)
    assert "reboot" not in text and "0 10.0.0.1 80" in text and hexadecimal("10.96.0.80:80") == "0A600050:0050"


# --- pods ---


def pod(
    uid: str,
    *,
    node: str = "w1",
    phase: str = "Running",
    deleting: bool = False,
    bound: str = LONG_AGO,
    **annotations: str,
) -> dict[str, Any]:
    meta: dict[str, Any] = {"uid": uid, "name": f"pod-{uid}", "namespace": "default", "creationTimestamp": LONG_AGO}
    meta["annotations"] = {k.replace("_", "/", 1): v for k, v in annotations.items()}
    if deleting:
        meta["deletionTimestamp"] = LONG_AGO
    conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": bound}]
    return {
        "metadata": meta,
        "spec": {"nodeName": node},
        "status": {"phase": phase, "podIP": "10.1.1.1", "conditions": conditions},
    }


def test_a_static_pod_is_its_mirror_whichever_of_the_two_kubelet_lists() -> None:
    mirror = pod("m1", **{"kubernetes.io_config.mirror": "h1", "kubernetes.io_config.hash": "h1"})
    static = pod("h1", **{"kubernetes.io_config.hash": "h1", "kubernetes.io_config.source": "file"})
    for run in ([static], [mirror], [static, mirror]):
        uids, excused = kubelet_uids({"items": run})
        difference = without(compare([from_object(mirror)], uids), excused)
        assert (difference.missing, difference.extra) == ((), ())


def test_a_mirror_that_is_behind_its_static_pod_is_no_mismatch() -> None:
    """The static pod's manifest was changed while the API server was down: kubelet makes the
    new mirror when it comes to it.
    """
    old = pod("m1", **{"kubernetes.io_config.mirror": "h1", "kubernetes.io_config.hash": "h1"})
    uids, excused = kubelet_uids(
        {"items": [pod("h2", **{"kubernetes.io_config.hash": "h2", "kubernetes.io_config.source": "file"})]}
    )
    difference = without(compare([from_object(old)], uids), excused)
    assert (difference.missing, difference.extra) == ((), ())


def test_deleted_and_ended_pods_are_no_mismatch_either_way() -> None:
    listed = [
        from_object(pod("a", deleting=True)),
        from_object(pod("b", phase="Succeeded")),
        from_object(pod("c", phase="Failed")),
    ]
    uids, excused = kubelet_uids({"items": [pod("d", deleting=True), pod("e", phase="Succeeded")]})
    difference = without(compare(listed, uids), excused)
    assert (difference.missing, difference.extra) == ((), ())


def test_a_pod_of_the_same_name_with_another_uid_is_another_pod() -> None:
    uids, excused = kubelet_uids({"items": [pod("old")]})
    difference = without(compare([from_object(pod("new"))], uids), excused)
    assert [p.uid for p in difference.missing] == ["new"] and [uid for uid, _ in difference.extra] == ["old"]


async def documents(*texts: str) -> AsyncIterator[bytes]:
    for text in texts:
        yield text.encode()


def test_a_table_has_what_is_needed_of_each_pod() -> None:
    columns = [{"name": n} for n in ("Name", "Ready", "Status", "Restarts", "Age", "IP", "Node")]
    meta = {
        "uid": "u",
        "name": "web-1",
        "namespace": "default",
        "creationTimestamp": LONG_AGO,
        "ownerReferences": [{"kind": "DaemonSet", "uid": "ds"}],
    }
    rows = [
        {"cells": ["web-1", "1/1", "Running", 0, "5d", "10.1.1.1", "w1"], "object": {"metadata": meta}},
        {
            "cells": ["x", "0/1", "Pending", 0, "1s", "<none>", "<none>"],
            "object": {"metadata": {"uid": "v", "name": "x"}},
        },
    ]
    table = {"kind": "Table", "columnDefinitions": columns, "rows": rows}
    first, second = asyncio.run(PodBook().read(documents(json.dumps(table))))
    assert (first.name, first.node, first.ip, first.ready, first.owner) == (
        "default/web-1",
        "w1",
        "10.1.1.1",
        True,
        "ds",
    )
    assert (second.node, second.ip, second.ready) == ("", "", False)


class Scripted(Lists):
    """Answers as told, in the place of an API server."""

    def __init__(self, kubelet: Mapping[str, Any] | Unseen, again: Sequence[dict[str, Any]] | Unseen) -> None:
        super().__init__(1.0)
        self.kubelet = kubelet
        self.again = again
        self.asked: list[str] = []

    async def kubelet_pods(self, client: object, node: str) -> Read:
        self.asked.append(node)
        if isinstance(self.kubelet, Unseen):
            return self.kubelet
        return Answered({"items": [p for p in self.kubelet["items"] if p["spec"]["nodeName"] == node]}, NOW)

    async def pods_on(self, client: object, node: str) -> Read:
        return self.again if isinstance(self.again, Unseen) else Answered({"items": list(self.again)}, NOW)


async def compared(
    lists: Scripted, listed: Sequence[dict[str, Any]], directories: Sequence[str] | None = None
) -> NodePods | Unseen:
    seen = await PodWatch(lists).look(
        cast(Any, None),
        ["w1"],
        {"w1": [from_object(p) for p in listed]},
        {} if directories is None else {"w1": directories},
        NOW,
    )
    return seen["w1"]


async def test_what_is_missing_was_listed_before_and_after_kubelet_was_asked() -> None:
    stays, goes, ends = pod("stays", bound="2026-03-05T19:05:00Z"), pod("goes"), pod("ends")
    result = await compared(Scripted({"items": []}, [stays, pod("ends", phase="Succeeded")]), [stays, goes, ends])
    assert isinstance(result, NodePods)
    assert [(p.uid, p.age) for p in result.missing] == [("stays", 300.0)]


async def test_a_pod_that_was_made_while_kubelet_was_asked_is_not_extra() -> None:
    result = await compared(Scripted({"items": [pod("new"), pod("gone")]}, [pod("new")]), [])
    assert isinstance(result, NodePods) and [p.uid for p in result.extra] == ["gone"]


async def test_where_the_proxy_is_refused_the_directories_on_the_node_tell() -> None:
    refused = Unseen(UnseenKind.DENIED, "forbidden")
    result = await compared(Scripted(refused, [pod("a"), pod("b")]), [pod("a"), pod("b")], ["b", "left-over"])
    assert isinstance(result, NodePods) and result.source == "ssh"
    assert [p.uid for p in result.missing] == ["a"] and result.extra == ()
    assert await compared(Scripted(refused, []), [pod("a")]) == refused


async def test_without_a_second_list_nothing_is_said() -> None:
    late = Unseen(UnseenKind.TIMEOUT, "late")
    assert await compared(Scripted({"items": []}, late), [pod("a")]) == late


async def test_in_a_large_cluster_kubelets_are_asked_in_turn_and_suspects_always() -> None:
    nodes = [f"n{i:02}" for i in range(40)]
    listed = {n: [from_object(pod(n, node=n))] for n in nodes}
    lists = Scripted({"items": [pod(n, node=n) for n in nodes if n != "n33"]}, [pod("n33", node="n33")])
    watch = PodWatch(lists)
    directories = {n: [n] for n in nodes if n != "n33"} | {"n33": []}
    rounds_of: list[list[str]] = []
    for k in range(5):
        lists.asked = []
        seen = await watch.look(cast(Any, None), nodes, listed, directories, NOW + timedelta(seconds=5 * k))
        rounds_of.append(lists.asked)
        assert isinstance(result := seen["n33"], NodePods) and [p.uid for p in result.missing] == ["n33"]
        assert result.missing[0].since == NOW
    assert all("n33" in r and len(r) == 9 for r in rounds_of)
    assert {n for r in rounds_of for n in r} == set(nodes)


# --- services ---

SERVICES = {
    "items": [
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "clusterIP": "10.96.0.80",
                "ports": [{"port": 80, "targetPort": 8080}, {"port": 53, "protocol": "UDP"}],
            },
        },
        {
            "metadata": {"name": "headless", "namespace": "default"},
            "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
        },
        {
            "metadata": {"name": "near", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.81", "internalTrafficPolicy": "Local", "ports": [{"port": 80}]},
        },
    ]
}


def slices(version: str) -> dict[str, Any]:
    where = {"nodeName": "w1"} if version == "v1" else {"topology": {"kubernetes.io/hostname": "w1"}}
    ready = {
        "addresses": ["10.1.1.1"],
        "conditions": {"ready": True},
        "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-1"},
        **where,
    }
    other = {"kind": "Pod", "namespace": "default", "name": "web-2"}
    late = {"addresses": ["10.1.1.2"], "conditions": {"ready": False}, "targetRef": other, **where}
    meta = {"namespace": "default", "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}}
    return {
        "items": [
            {
                "metadata": meta,
                "addressType": "IPv4",
                "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
                "endpoints": [ready, late],
            }
        ]
    }


ENDPOINTS = {
    "items": [
        {
            "metadata": {"namespace": "default", "name": "web"},
            "subsets": [
                {
                    "addresses": [
                        {
                            "ip": "10.1.1.1",
                            "nodeName": "w1",
                            "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-1"},
                        }
                    ],
                    "notReadyAddresses": [
                        {
                            "ip": "10.1.1.2",
                            "nodeName": "w1",
                            "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-2"},
                        }
                    ],
                    "ports": [{"port": 8080}],
                }
            ],
        }
    ]
}


@pytest.mark.parametrize("body", [slices("v1"), slices("v1beta1"), ENDPOINTS], ids=["v1", "v1beta1", "endpoints"])
def test_slices_of_every_age_and_endpoints_say_the_same(body: dict[str, Any]) -> None:
    ports = service_ports(SERVICES, body)
    assert set(ports) == {"default/web:80", "default/near:80"} and not ports["default/near:80"].comparable
    web = ports["default/web:80"]
    assert (web.address, web.comparable) == ("10.96.0.80:80", True)
    assert [(e.address, e.ready, e.node) for e in web.endpoints if e.ready] == [("10.1.1.1:8080", True, "w1")]
    assert web.ready[0].pod == "default/web-1" and {e.address for e in web.endpoints} == {
        "10.1.1.1:8080",
        "10.1.1.2:8080",
    }
    assert unready(ports.values()) == {"w1": 1}, "one pod behind however many ports"


def test_a_network_policy_fences_the_pods_that_it_selects() -> None:
    policy = {"metadata": {"namespace": "a"}, "spec": {"podSelector": {"matchLabels": {"app": "db"}}}}
    odd = {
        "metadata": {"namespace": "b"},
        "spec": {"podSelector": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}, "policyTypes": ["Ingress"]},
    }
    outward = {"metadata": {"namespace": "c"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}
    guards = fenced({"items": [policy, odd, outward]})
    assert is_fenced(guards, "a", {"app": "db", "v": "1"}) and not is_fenced(guards, "a", {"app": "web"})
    assert is_fenced(guards, "b", {}) and not is_fenced(guards, "c", {})


@pytest.mark.parametrize(
    ("spec", "guards"),
    [
        ({"endpointSelector": {}, "ingress": [{"fromEndpoints": [{}]}]}, True),
        ({"endpointSelector": {}, "egress": []}, False),
        ({"nodeSelector": {}, "egress": []}, True),
        ({"selector": "app == 'db'", "types": ["Ingress"]}, True),
        ({"selector": "all()", "types": ["Egress"]}, False),
        ({"selector": "all()"}, True),
        ({"selector": "all()", "egress": [{"action": "Allow"}]}, False),
        ({"subject": {"namespaces": {}}, "ingress": [{"action": "Deny"}]}, True),
    ],
    ids=["cilium", "cilium-out", "cilium-host", "calico", "calico-out", "calico-plain", "calico-plain-out", "admin"],
)
@pytest.mark.parametrize("namespace", ["a", ""])
def test_policies_of_the_cni_fence_all_that_they_may_be_about(
    spec: dict[str, Any], guards: bool, namespace: str
) -> None:
    """Else a node whose own pods it reaches and others do not looks like one whose network is broken."""
    meta = {"name": "p", "namespace": namespace} if namespace else {"name": "p"}
    for policy in ({"metadata": meta, "spec": spec}, {"metadata": meta, "specs": [spec]}):
        found = fenced({"items": [], "others": [policy]})
        assert is_fenced(found, "a", {"app": "web"}) is guards
        assert is_fenced(found, "b", {}) is (guards and not namespace)


def port_with(*addresses: str, gone: Sequence[str] = ()) -> ServicePort:
    return ServicePort(
        "default/web:80",
        "default",
        "web",
        "10.96.0.80:80",
        True,
        False,
        tuple(Endpoint(a, True) for a in addresses) + tuple(Endpoint(a, False) for a in gone),
    )


def test_differences_are_as_old_as_the_endpoints_are_known_to_be() -> None:
    watch = RuleWatch()
    watch.learn({"default/web:80": port_with("a:1", "b:1")}, 0.0)
    watch.learn({"default/web:80": port_with("b:1", "c:1", gone=["d:1"])}, 100.0)
    view = watch.compare(
        "w1",
        Rules("iptables", {"10.96.0.80:80": frozenset({"a:1", "b:1", "d:1", "never:1"})}),
        [port_with("b:1", "c:1", gone=["d:1"])],
        130.0,
    )
    assert not isinstance(view, Unseen)
    assert view.gaps[0].missing == {"c:1": 30.0} and view.gaps[0].stale == {"a:1": 130.0, "never:1": 0.0}
    later = watch.compare(
        "w1",
        Rules("iptables", {"10.96.0.80:80": frozenset({"b:1", "c:1", "never:1"})}),
        [port_with("b:1", "c:1")],
        150.0,
    )
    assert not isinstance(later, Unseen) and later.gaps[0].stale == {"never:1": 20.0}
    assert isinstance(watch.compare("w1", Rules("", {}, "has no tool"), [port_with("b:1")], 160.0), Unseen)
    assert watch.steady("default/web:80", 150.0) == 50.0


def test_after_a_time_without_the_api_kube_proxy_is_given_the_time_that_a_change_has() -> None:
    """An endpoint may have gone and come back meanwhile, and kube-proxy has to connect
    anew before it hears of anything.
    """
    watch = RuleWatch()
    watch.learn({"default/web:80": port_with("a:1", "b:1")}, 0.0)
    watch.away()
    watch.learn({"default/web:80": port_with("b:1")}, 100.0)
    view = watch.compare("w1", Rules("iptables", {"10.96.0.80:80": frozenset({"a:1"})}), [port_with("b:1")], 101.0)
    assert not isinstance(view, Unseen)
    assert view.gaps[0].missing == {"b:1": 1.0} and view.gaps[0].stale == {"a:1": 1.0}
    assert watch.steady("default/web:80", 101.0) == 1.0
    watch.learn({"default/web:80": port_with("b:1")}, 120.0)
    later = watch.compare("w1", Rules("iptables", {"10.96.0.80:80": frozenset({"a:1"})}), [port_with("b:1")], 121.0)
    assert not isinstance(later, Unseen)
    assert later.gaps[0].missing == {"b:1": 21.0} and later.gaps[0].stale == {"a:1": 21.0}


def test_what_differed_before_the_api_went_away_goes_on() -> None:
    watch, rules = RuleWatch(), Rules("iptables", {"10.96.0.80:80": frozenset[str]()})
    watch.learn({"default/web:80": port_with("a:1")}, 0.0)
    watch.compare("w1", rules, [port_with("a:1")], 30.0)
    watch.away()
    watch.learn({"default/web:80": port_with("a:1")}, 100.0)
    ages = {}
    for host in ("w1", "w2"):
        view = watch.compare(host, rules, [port_with("a:1")], 101.0)
        assert not isinstance(view, Unseen)
        ages[host] = view.gaps[0].missing["a:1"]
    assert ages == {"w1": 101.0, "w2": 1.0}


# --- which pods are tried ---


def tried(
    *,
    ready: bool = True,
    age: float = 3600,
    answered: bool = False,
    terminating: bool = False,
    address: str = "10.1.1.2",
    **pod: Any,
) -> bool:
    """Whether one pod of a service is probed, and that it is said to be ready as it is."""
    port = ServicePort(
        "d/web:80",
        "d",
        "web",
        "10.96.0.80:80",
        True,
        False,
        (Endpoint("10.1.1.2:80", ready, "d/p", "w1", terminating),),
    )
    fields = {"deleting": False, "labels": {"app": "web"}, "node": "w1", "ip": address, "status": "Running", **pod}
    listed = ListedPod(uid="u", name="d/p", ready=ready, created=NOW - timedelta(seconds=age), **fields)
    found = rounds.candidates(
        [port], [listed], {"w1": ("10.99.1.21", "host1")}, {"e": [None]}, {"u"} if answered else (), NOW
    )
    assert [t.ready for t in found.get("host1", [])] in ([], [ready])
    return bool(found)


def test_a_pod_that_is_not_ready_is_tried_unless_its_network_may_be_on_its_way() -> None:
    assert tried() and tried(age=1)
    assert tried(ready=False) and tried(ready=False, age=1, answered=True)
    assert not tried(ready=False, age=1)
    assert tried(ready=False, status="CrashLoopBackOff"), "its network is there while its container is not"


def test_a_pod_that_ends_or_is_elsewhere_is_not_tried() -> None:
    for change in (
        {"deleting": True},
        {"status": "Error"},
        {"terminating": True},
        {"address": "10.1.1.20"},
        {"address": ""},
        {"node": "w2"},
    ):
        assert not tried(answered=True, **change), change  # type: ignore[arg-type]


# --- whose turn it is ---


def candidates(hosts: Sequence[str], pods: int = 3) -> dict[str, list[ProbedPod]]:
    return {
        h: [ProbedPod(h, f"10.{h[1:]}.0.{p}:80", f"default/{h}-{p}", f"default/s{p}:80") for p in range(pods)]
        for h in hosts
    }


@pytest.mark.parametrize("count", [2, 3, 5, 6, 23, 100])
def test_every_host_is_source_and_target_in_each_round_and_every_pair_has_its_turn(count: int) -> None:
    hosts = [f"n{i}" for i in range(count)]
    seen: set[tuple[str, str]] = set()
    for turn in range(count):
        plan = rounds.targets(hosts, candidates(hosts), turn, (), ())
        pairs = {(s, t.host) for s, ts in plan.items() for t in ts}
        assert {s for s, _ in pairs} == {t for _, t in pairs} == set(hosts)
        assert all((h, h) in pairs for h in hosts)
        assert sum(len(t) for t in plan.values()) <= count * (rounds.WIDTH + 1) * rounds.PODS
        seen |= {p for p in pairs if p[0] != p[1]}
    assert len(seen) == count * (count - 1)


def test_all_sources_of_a_round_try_the_same_pods_and_other_pods_in_the_next() -> None:
    hosts = ["n0", "n1", "n2", "n3"]
    tried = []
    for turn in range(3):
        plan = rounds.targets(hosts, candidates(hosts), turn, ("default/s1:80",), ())
        of_n1 = {tuple(t.pod for t in plan[s] if t.host == "n1") for s in hosts}
        assert len(of_n1) == 1
        tried.append(of_n1.pop())
    assert all(t[0] == "default/n1-1" for t in tried), "a service that was reached before is always among them"
    assert {p for t in tried for p in t} == {"default/n1-0", "default/n1-1", "default/n1-2"}


def test_a_pod_that_is_not_ready_is_tried_at_a_closed_port_too() -> None:
    of = {
        "n0": [
            ProbedPod("n0", "10.1.1.2:80", "d/a", "d/s:80"),
            ProbedPod("n0", "10.1.1.3:80", "d/b", "d/s:80", ready=False),
        ]
    }
    tried = rounds.targets(["n0", "n1"], of, 0, (), ())["n1"]
    assert [(t.pod, t.address, t.ready) for t in tried] == [
        ("d/a", "10.1.1.2:80", True),
        ("d/b", "10.1.1.3:80", False),
        ("d/b", "10.1.1.3:1", False),
    ]


def test_a_pair_that_failed_is_tried_again_out_of_turn() -> None:
    hosts = [f"n{i:02}" for i in range(30)]
    for turn in range(7):
        plan = rounds.targets(hosts, candidates(hosts), turn, (), ("n03>n20",))
        assert any(t.host == "n20" for t in plan["n03"])


def test_the_sample_of_services_comes_round_and_keeps_what_was_wrong() -> None:
    ports = {f"default/s{i:02}:80": port_with("a:1") for i in range(30)} | {rounds.API_SERVICE: port_with("b:1")}
    ports = {
        k: ServicePort(k, "default", k, f"10.96.0.{i}:80", True, False, p.endpoints)
        for i, (k, p) in enumerate(ports.items())
    }
    seen: set[str] = set()
    for turn in range(8):
        keys = [p.key for p in rounds.sample(ports, turn, 8, {"default/s05:80"})]
        assert len(keys) == 8 and {rounds.API_SERVICE, "default/s05:80"} <= set(keys)
        seen |= set(keys)
    assert seen == set(ports)


# --- agents ---


def daemonset(desired: int = 3) -> dict[str, Any]:
    return {
        "items": [
            {
                "metadata": {"name": "kube-proxy", "namespace": "kube-system", "uid": "ds"},
                "status": {"desiredNumberScheduled": desired},
            }
        ]
    }


def agent_pods(*nodes: str) -> list[Any]:
    return [
        from_object(
            {
                **pod(n, node=n),
                "metadata": {**pod(n)["metadata"], "ownerReferences": [{"kind": "DaemonSet", "uid": "ds"}]},
            }
        )
        for n in nodes
    ]


def ready(pods: list[Any]) -> list[Any]:
    from dataclasses import replace

    return [replace(p, ready=True) for p in pods]


RUNS = {"kube-proxy": ProcessView("kube-proxy", "S", datetime(2026, 1, 1, tzinfo=UTC))}
STOPPED = {"kube-proxy": ProcessView("kube-proxy", "T", datetime(2026, 1, 1, tzinfo=UTC))}


def test_an_agent_is_bad_for_as_long_as_it_was_not_well_for_a_while() -> None:
    watch, nodes, pods = AgentWatch(), ["a", "b", "c"], ready(agent_pods("a", "b", "c"))

    def bad_for(process: dict[str, ProcessView], now: float) -> float:
        return {
            v.node: v.bad_for for v in watch.look(daemonset(), pods, nodes, {"a": RUNS, "b": process, "c": RUNS}, now)
        }["b"]

    assert [bad_for(p, t) for p, t in ((RUNS, 0.0), ({}, 5.0), (STOPPED, 15.0), (RUNS, 20.0), ({}, 25.0))] == [
        0.0,
        0.0,
        10.0,
        0.0,
        20.0,
    ]
    assert [bad_for(p, t) for p, t in ((RUNS, 30.0), (RUNS, 41.0), ({}, 45.0))] == [0.0, 0.0, 0.0]


def test_a_node_without_the_pod_is_named_only_when_the_daemonset_wants_it_everywhere() -> None:
    nodes, pods = ["a", "b", "c"], ready(agent_pods("a", "b"))
    wanted = AgentWatch().look(daemonset(3), pods, nodes, {}, 0.0)
    assert [(v.node, v.pod) for v in wanted] == [("a", "pod-a"), ("b", "pod-b"), ("c", "")]
    assert [v.node for v in AgentWatch().look(daemonset(2), pods, nodes, {}, 0.0)] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 0.0),
        ({"probe": {"failureThreshold": 300, "periodSeconds": 2}}, 600.0),
        ({"probe": {"failureThreshold": 30, "initialDelaySeconds": 5}}, 305.0),
        ({"updated": 3}, 0.0),
        ({"updated": 1}, 600.0),
        ({"generation": 2}, 600.0),
        ({"updated": 1, "strategy": "OnDelete"}, 0.0),
    ],
)
def test_an_agent_is_given_the_time_that_its_daemonset_gives_it(changes: dict[str, Any], seconds: float) -> None:
    """As Cilium's chart and kubelet's defaults have it; a rollout that waits for a person gives none."""
    body = daemonset()
    (item,) = body["items"]
    item["spec"] = {"template": {"spec": {"containers": [{"name": "agent"}]}}}
    if probe := changes.get("probe"):
        item["spec"]["template"]["spec"]["containers"].append({"startupProbe": probe})
    item["spec"]["updateStrategy"] = {"type": changes.get("strategy", "RollingUpdate")}
    item["metadata"]["generation"], item["status"]["observedGeneration"] = changes.get("generation", 1), 1
    if "updated" in changes:
        item["status"]["updatedNumberScheduled"] = changes["updated"]
    views = AgentWatch().look(body, agent_pods("a", "b", "c"), ["a", "b", "c"], {}, 0.0)
    assert {v.may_start_for for v in views} == {seconds}


def test_a_row_that_changed_is_made_anew_even_where_its_version_is_the_same() -> None:
    columns = [{"name": n} for n in ("Name", "Ready", "Status", "Restarts", "Age", "IP", "Node")]

    def table(version: str, *cells: str) -> str:
        meta = {"uid": "u", "name": "web-1", "namespace": "default", "resourceVersion": version}
        row = {"cells": ["web-1", *cells], "object": {"metadata": meta}}
        return json.dumps({"kind": "Table", "columnDefinitions": columns, "rows": [row]})

    book = PodBook()

    def read(*texts: str) -> ListedPod:
        (pod,) = asyncio.run(book.read(documents(*texts)))
        return pod

    first = read(table("7", "1/1", "Running", "0", "5d", "10.1.1.1", "w1"))
    assert read(table("7", "1/1", "Running", "0", "6d", "10.1.1.1", "w1")) is first
    # restored data may bring a version a second time
    assert read(table("7", "0/1", "Running", "0", "6d", "10.1.1.1", "w1")).ready is False
    assert read(table("8", "0/1", "Running", "0", "6d", "10.1.1.1", "w2")).node == "w2"


def test_a_part_of_a_list_in_any_piece_is_no_list() -> None:
    rest = json.dumps({"kind": "Table", "columnDefinitions": [], "metadata": {"continue": "more"}, "rows": []})
    whole = json.dumps({"kind": "PodList", "items": []})
    with pytest.raises(ValueError, match="part of the list"):
        asyncio.run(PodBook().read(documents(whole, rest)))
