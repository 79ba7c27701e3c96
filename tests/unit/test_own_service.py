"""Addresses behind the service by which pods call the API server, at which there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.finding import Severity, State
from recoverd.model.network import ProbeAnswer
from recoverd.model.observation import EndpointHealth
from tests.unit.pod_network import API, PodNetwork
from tests.unit.test_ranges import written

OWN, OLD = "10.99.1.11:6443", "10.99.1.99:6443"
OK, GONE = ProbeAnswer.OK, ProbeAnswer.UNREACHABLE


def net(steady: float = 600.0, **answers: ProbeAnswer) -> PodNetwork:
    """Each node tries the same: `own` is what comes of the control plane's address, `old` of one that it had."""
    made = PodNetwork()
    named = {address: answers[word] for word, address in (("own", OWN), ("old", OLD)) if word in answers}
    made.services = [replace(s, endpoints=named, steady=steady) if s.service == API else s for s in made.services]
    return made


def of_plane(**answers: ProbeAnswer) -> PodNetwork:
    made = net(**answers)
    made.cluster.node("cp1", more_addresses=("10.99.1.99",))
    return made


def of_vip(**answers: ProbeAnswer) -> PodNetwork:
    made = net(**answers)
    made.cluster.vip = replace(made.cluster.vip, address="10.99.1.99:443")
    return made


def given_out(health: EndpointHealth, **answers: ProbeAnswer) -> PodNetwork:
    """By --advertise-address in the manifest of an API server that the bastion sees so."""
    made = net(**answers)
    written(made.cluster, "kube-apiserver", "--advertise-address=10.99.1.99")
    made.cluster.endpoints["cp1"] = replace(made.cluster.endpoints["cp1"], health=health)
    return made


def test_what_an_api_server_that_is_ready_gives_out_is_its_manifests_to_put_right() -> None:
    finding = given_out(EndpointHealth.READY, own=OK, old=GONE).seen().findings[-1]
    assert (finding.code, finding.subject) == (Code.OWN_SERVICE_ENDPOINT, OLD)
    assert "on cp1 is told to give out" in finding.message and "masterleases" not in finding.message


def test_an_address_that_was_left_behind_is_a_warning_and_the_only_one_a_fault() -> None:
    """Pods called the API server in vain every other time, or always, and the cluster was healthy."""
    seen = net(own=OK, old=GONE).seen()
    assert [(f.code, f.subject, f.severity) for f in seen.findings] == [
        (Code.OWN_SERVICE_ENDPOINT, OLD, Severity.WARNING)
    ]
    assert "masterleases" in seen.findings[0].message and seen.state is State.HEALTHY
    seen = net(old=ProbeAnswer.REFUSED).seen()
    assert [(f.code, f.subject) for f in seen.faults] == [(Code.OWN_SERVICE_ENDPOINT, OLD)]
    assert seen.state is State.WORKER_NETWORK_BROKEN and "no pod reaches the API server" in seen.summary


@pytest.mark.parametrize(
    "well",
    [
        pytest.param(lambda: net(own=OK), id="all reach it"),
        pytest.param(lambda: net(59.0, own=OK, old=GONE), id="its lease is about to end"),
        pytest.param(lambda: of_plane(own=OK, old=GONE), id="the second address of a control plane's node"),
        pytest.param(lambda: of_vip(own=OK, old=GONE), id="the cluster's own address"),
        pytest.param(lambda: given_out(EndpointHealth.TIMEOUT, own=OK, old=GONE), id="that of one that is not ready"),
    ],
)
def test_what_is_reached_or_on_its_way_is_nothing(well: object) -> None:
    assert callable(well) and Code.OWN_SERVICE_ENDPOINT not in {f.code for f in well().seen().findings}


def test_that_of_a_control_plane_is_found_of_that() -> None:
    """Where nodes are too busy to reach one that is ready, the other's share is no greater for it."""
    seen = net(own=ProbeAnswer.TIMEOUT, old=GONE).seen()
    assert [(f.code, f.subject, f.severity) for f in seen.findings] == [
        (Code.OWN_SERVICE_ENDPOINT, OLD, Severity.WARNING)
    ]


def test_it_is_gone_when_it_was_tried_and_reached_or_is_not_there_any_more() -> None:
    key = [(Code.OWN_SERVICE_ENDPOINT, OLD)]

    def left(made: PodNetwork) -> str:
        return doubt(key, made.seen(), made.observation())

    assert left(net(own=OK)) == "" and left(net(own=OK, old=OK)) == ""
    assert "no node reaches" in left(net(10.0, own=OK, old=GONE))
    untried = net(own=OK)
    untried.services = []
    assert "no node was seen to try" in left(untried)
