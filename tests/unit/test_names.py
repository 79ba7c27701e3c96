"""The cluster's DNS without a pod that is ready: when it is a fault, what is said of it, and when it is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.network import NetworkView, SilentDns
from recoverd.model.node_look import FileView, NodeLook
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.observe.kubelet import ListedPod
from recoverd.observe.lists import Answered
from recoverd.observe.names import NameWatch
from recoverd.observe.services import Endpoint, ServicePort
from tests.unit.builders import NOW, Cluster

DNS = "kube-system/kube-dns"
RESOLV = "/etc/resolv.conf"


def cluster(age: float = 95.0, resolv: str | None = None, nodes: tuple[str, ...] = ("w1",), **network: Any) -> Cluster:
    made = Cluster(workers=2)
    silent = SilentDns(NOW - timedelta(seconds=age), ("kube-system/coredns-1",), nodes)
    made.network = NetworkView(1, {}, {}, silent_dns={DNS: silent}, **network)
    if resolv is not None:
        made.host("w1", node=NodeLook(resolv=RESOLV, files={RESOLV: FileView("0" * 64, resolv)}))
    return made


def judged(made: Cluster) -> Diagnosis:
    return diagnose(made.observation(), made.memory(), made.settings)


def port(*ready: bool, dns: bool = True, terminating: bool = False) -> ServicePort:
    ends = tuple(
        Endpoint(f"10.0.0.{n}:53", r, f"kube-system/coredns-{n}", "w1", terminating) for n, r in enumerate(ready)
    )
    return ServicePort(f"{DNS}:53", "kube-system", "kube-dns", "10.96.0.10:53", True, dns, ends)


def test_it_is_a_fault_once_it_has_lasted() -> None:
    assert judged(cluster(age=80)).state is State.HEALTHY, "its pods may have been evicted, and start elsewhere"
    found = judged(cluster())
    assert (found.state, [(f.code, f.subject) for f in found.faults]) == (
        State.WORKER_NETWORK_BROKEN,
        [(Code.DNS_DOWN, DNS)],
    )
    assert "for 95 s" in found.summary and "--previous" in found.summary


@pytest.mark.parametrize("server", ["127.0.0.53", "127.0.0.1", "::1", "::1%lo"])
def test_a_resolv_conf_that_names_the_machine_itself_is_why(server: str) -> None:
    found = judged(cluster(resolv=f"# stub\nnameserver {server}\noptions edns0\n")).faults[0]
    assert (
        f"names the machine itself ({server})" in found.message and "delete pods -l k8s-app=kube-dns" in found.message
    )
    assert f"w1:{RESOLV}: nameserver {server}" in found.evidence


@pytest.mark.parametrize("text", ["nameserver 10.0.0.2\n", "", "search a.b\n", "nameserver\n", "nameserver nobody\n"])
def test_another_resolv_conf_is_none_of_it(text: str) -> None:
    assert "names the machine itself" not in judged(cluster(resolv=text)).summary


def test_on_a_node_that_is_not_ready_the_node_is_what_is_found() -> None:
    made = cluster().node("w1", ready=False)
    assert Code.DNS_DOWN not in {f.code for f in judged(made).findings}


def listed_services(*ports: tuple[str, int, str]) -> Answered:
    items = [
        {"metadata": {"namespace": ns, "name": f"s{n}"}, "spec": {"ports": [{"port": p, "protocol": proto}]}}
        for n, (ns, p, proto) in enumerate(ports)
    ]
    return Answered({"items": items}, NOW)


READY = ListedPod(
    "uid",
    "kube-system/coredns-1",
    "w1",
    "10.0.0.1",
    "Running",
    ready=True,
    created=NOW,
    deleting=False,
    labels={"k8s-app": "kube-dns"},
)


def test_pods_of_dns_to_which_no_service_leads_are_a_fault() -> None:
    watch, gone = NameWatch(), listed_services(("default", 443, "TCP"), ("other", 53, "TCP"))
    assert watch.look([], NOW, [READY], gone) == {DNS: SilentDns(NOW, (READY.name,), ("w1",), True)}
    later = watch.look([], NOW + timedelta(seconds=95), [READY], gone)
    assert later[DNS].since == NOW
    made = Cluster(workers=2)
    made.network = NetworkView(1, {}, {}, silent_dns={DNS: replace(later[DNS], since=NOW - timedelta(seconds=95))})
    (fault,) = judged(made).faults
    assert fault.key == (Code.DNS_DOWN, DNS) and "no service in kube-system leads to them" in fault.message
    assert "clusterDNS" in fault.message and "describe pods" not in fault.message
    assert (
        doubt([fault.key], judged(Cluster(workers=2)), made.observation()) == f"no service leads to the pods of {DNS}"
    )


@pytest.mark.parametrize(
    ("pods", "services"),
    [
        ([READY], listed_services(("kube-system", 53, "UDP"))),
        ([READY], Unseen(UnseenKind.TIMEOUT, "late")),
        ([READY], None),
        ([replace(READY, ready=False)], listed_services(("default", 443, "TCP"))),
        ([replace(READY, labels={})], listed_services(("default", 443, "TCP"))),
        ([replace(READY, deleting=True)], listed_services(("default", 443, "TCP"))),
    ],
    ids=["over UDP alone", "services unseen", "not asked", "not ready", "of something else", "being deleted"],
)
def test_other_pods_without_a_service_are_none(pods: list[ListedPod], services: Answered | Unseen | None) -> None:
    assert NameWatch().look([], NOW, pods, services) == {}
    assert NameWatch().look([port(True)], NOW, [READY], listed_services()) == {}, "it is served by another"


def test_it_is_gone_when_one_is_seen_ready() -> None:
    key, made = (Code.DNS_DOWN, DNS), cluster(age=5)
    assert "no pod of" in doubt([key], judged(made), made.observation())
    made.network = NetworkView(1, {}, {}, unseen={"endpoints": Unseen(UnseenKind.TIMEOUT, "no answer in 3 s")})
    assert "no answer in 3 s" in doubt([key], judged(made), made.observation())
    made.network = NetworkView(1, {}, {})
    assert doubt([key], judged(made), made.observation()) == ""


def test_since_when_is_kept_until_one_is_ready_or_the_api_was_away() -> None:
    watch, later = NameWatch(), NOW + timedelta(seconds=5)
    assert watch.look([port(False, False)], NOW) == {
        DNS: SilentDns(NOW, ("kube-system/coredns-0", "kube-system/coredns-1"), ("w1",))
    }
    assert watch.look([port(False, False)], later)[DNS].since == NOW
    assert watch.look([port(False, True)], later) == {}
    assert watch.look([port(False)], later)[DNS].since == later
    watch.away()
    assert watch.look([port(False)], NOW)[DNS].since == NOW
    for other in (port(), port(False, dns=False), port(False, terminating=True)):
        assert NameWatch().look([other], NOW) == {}, "none at all is somebody's will"


def listed(name: str, **changes: Any) -> ListedPod:
    made = ListedPod(name, name, "<none>", "", "Pending", False, NOW, deleting=False, labels={"k8s-app": "kube-dns"})
    return replace(made, **changes)


def test_pods_that_no_node_takes_are_behind_no_service_and_not_ready_all_the_same() -> None:
    """All of DNS's were Pending, as with every node tainted, and the cluster was healthy without a name resolved."""
    waits = listed("kube-system/coredns-1")
    assert NameWatch().look([port()], NOW, [waits]) == {DNS: SilentDns(NOW, ("kube-system/coredns-1",), ())}
    others = (
        listed("d/coredns-1"),
        listed("kube-system/a", labels={}),
        replace(waits, deleting=True),
        replace(waits, status="Evicted"),
    )
    assert NameWatch().look([port()], NOW, [waits, replace(waits, ready=True)]) == {}, "it serves by another name"
    assert NameWatch().look([port()], NOW, others) == {}
    made = cluster(nodes=())
    assert judged(made).faults and "on no node yet" in judged(made).faults[0].evidence[0]
    for node in ("cp1", "w1", "w2"):
        made.node(node, ready=False)
    assert not judged(made).find(Code.DNS_DOWN), "no node is Ready, as before the pod network is there"


def test_dns_that_had_pods_and_has_none_any_more_is_a_warning() -> None:
    watch = NameWatch()
    watch.look([port(True)], NOW)
    assert watch.look([port()], NOW) == {DNS: SilentDns(NOW, (), ())}
    made = cluster()
    made.network = NetworkView(1, {}, {}, silent_dns={DNS: SilentDns(NOW - timedelta(seconds=95), (), ())})
    found = judged(made).find(Code.DNS_DOWN)
    assert found and found.severity is Severity.WARNING and "scaled to nothing" in found.message
    assert judged(made).state is State.HEALTHY
