"""The cluster's DNS without a pod that is ready: when it is a fault, what is said of it, and when it is gone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, State
from recoverd.model.network import NetworkView, SilentDns
from recoverd.model.node_look import FileView, NodeLook
from recoverd.model.observation import Unseen, UnseenKind
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
