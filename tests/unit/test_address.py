"""The cluster's address: on which machine it is, where it leads to nothing, and where several have it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.diagnose.closer import CloserLooks
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, Finding, Severity, State
from recoverd.model.node_look import NodeLook
from recoverd.model.observation import EndpointHealth, HostView, UnseenKind
from tests.unit.builders import NOW, Cluster, manifest_of, unseen

VIP = "10.99.1.10"
LOOK = NodeLook("k8s-api:6443", (VIP,), True, held=())
REFUSED = "connect: Connection refused"


def look(cluster: Cluster, name: str, *pods: str, **changes: object) -> Cluster:
    view = cluster.hosts[name]
    assert isinstance(view, HostView)
    manifests = {**view.manifests, **{p: manifest_of(p, "") for p in pods}}
    return cluster.host(name, node=replace(LOOK, **changes), manifests=manifests)  # type: ignore[arg-type]


def behind(*holders: str, deaf: bool = False, pods: tuple[str, ...] = ("haproxy", "keepalived")) -> Cluster:
    """Three control planes that balance themselves, and who of them has the address."""
    cluster = Cluster(3, 1)
    for name in cluster.joined:
        held = (VIP,) if name in holders else ()
        look(cluster, name, *pods, held=held, reaches=not (deaf or not holders), said=REFUSED if deaf else "")
    return cluster


def judged(cluster: Cluster) -> Diagnosis:
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings)


def wrong(cluster: Cluster, health: EndpointHealth = EndpointHealth.REFUSED) -> Finding:
    found = judged(cluster.address_answers(health)).find(Code.VIP_WRONG)
    assert found is not None
    return found


def test_the_machine_that_has_it_and_on_which_nothing_listens_is_named() -> None:
    found = wrong(behind("cp2", deaf=True))
    assert "it is on cp2, and nothing answers there on 6443 (asked on cp2 itself): see haproxy" in found.message
    assert any(
        line.startswith(f"cp2: has {VIP}, does not connect to it ({REFUSED})") and "haproxy" in line
        for line in found.evidence
    )
    assert any(line.startswith("cp1: does not have it") for line in found.evidence)


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (behind(), "no control plane has it on an interface: see why keepalived does not hold it"),
        (behind(pods=("kube-vip",)), "see why kube-vip does not hold it"),
        (behind(pods=()), "look at what else is to hold it, a balancer before them or keepalived, and at DNS"),
        (behind("cp1"), "it is on cp1, which reaches it there: look at the way to it, and behind"),
        (behind("cp1", "cp3"), "it is on cp1 and cp3, which reach it there"),
        (Cluster(3, 1), "look at the virtual IP, the load balancer, DNS, or the kubeconfig"),
        (look(Cluster(3, 1), "cp1"), "or the kubeconfig. None of cp1 has it on an interface"),
        (look(Cluster(3, 1), "cp1", held=None), "look at the virtual IP, the load balancer, DNS, or the kubeconfig"),
    ],
)
def test_where_it_is_or_is_not_is_said_as_far_as_it_was_seen(cluster: Cluster, words: str) -> None:
    assert words in wrong(cluster, EndpointHealth.TIMEOUT).message


def test_an_address_of_kubelets_that_is_not_the_kubeconfigs_says_nothing_of_that() -> None:
    cluster = Cluster(3, 1)
    for name in cluster.joined:
        look(cluster, name, server="10.0.0.1:6443", addresses=("10.0.0.1",), held=("10.0.0.1",))
    assert "interface" not in wrong(cluster).message
    assert judged(cluster).find(Code.ADDRESS_ON_SEVERAL) is None


def test_an_address_of_ipv6_is_the_same_with_its_brackets_and_without_however_it_is_written() -> None:
    cluster, address = Cluster(3, 1), "fd00::10"
    cluster.vip = replace(cluster.vip, address="[fd00:0::10]:6443")
    for name in cluster.joined:
        look(cluster, name, server=f"[{address}]:6443", addresses=None, held=(address,) if name == "cp2" else ())
    assert "it is on cp2" in wrong(cluster).message


def test_several_machines_that_have_it_are_a_warning_and_the_cluster_stays_healthy() -> None:
    cluster = behind("cp1", "cp3")
    found = judged(cluster).find(Code.ADDRESS_ON_SEVERAL)
    assert found and found.severity is Severity.WARNING and found.subject == VIP
    assert f"{VIP} is on cp1 and cp3 at once" in found.message and judged(cluster).state is State.HEALTHY
    assert judged(behind("cp1")).find(Code.ADDRESS_ON_SEVERAL) is None


def test_that_it_is_on_one_alone_is_seen_only_where_every_control_plane_was_asked() -> None:
    key = (Code.ADDRESS_ON_SEVERAL, VIP)
    alone = behind("cp1")
    assert not doubt([key], judged(alone), alone.observation())
    alone.host("cp3", node=None)
    assert "cp3" in doubt([key], judged(alone), alone.observation())


@pytest.mark.parametrize(
    ("cluster", "due"),
    [
        (Cluster(3, 1), set()),
        (behind("cp1"), set()),
        (behind("cp1", "cp3"), {"cp1", "cp2", "cp3"}),
        (Cluster(3, 1).address_answers(EndpointHealth.TIMEOUT), {"cp1", "cp2", "cp3"}),
        (Cluster(3, 1).address_answers(EndpointHealth.NOT_TRIED), set()),
    ],
)
def test_who_has_it_is_asked_while_it_does_not_answer_or_several_have_it(cluster: Cluster, due: set[str]) -> None:
    looks, seen = CloserLooks(), cluster.observation()
    for name in cluster.hosts:
        looks.took(name, 0.0, learnt=True)
    looks.learn(seen.hosts, seen.api, unseen(UnseenKind.NOT_TRIED), {}, NOW)
    assert {n for n in cluster.hosts if looks.due(n, 1.0)} == due
