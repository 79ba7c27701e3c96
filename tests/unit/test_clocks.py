"""Clocks that are wrong: whose, how much, and what else is put down to them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.clocks import GRAVE
from recoverd.model.catalogue import Code
from recoverd.model.facts import UnitFacts
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.observation import EndpointHealth, UnseenKind
from tests.unit.builders import Cluster, unseen
from tests.unit.test_not_ready import STOPPED, WELL

OFF = -30 * 86400.0


def judged(cluster: Cluster) -> Diagnosis:
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings)


@pytest.mark.parametrize(("off", "severity"), [(20.0, Severity.NOTICE), (-GRAVE, Severity.WARNING)])
def test_seconds_are_a_notice_and_minutes_a_warning(off: float, severity: Severity) -> None:
    found = judged(Cluster(3, 2).host("cp2", clock_offset=off)).find(Code.CLOCK_SKEW)
    assert found and found.severity is severity and found.subject == "cp2"


def test_a_node_that_is_not_heard_of_beside_a_wrong_clock_is_put_down_to_it_and_nothing_is_restarted() -> None:
    """On such a worker kubelet answers and reaches the API server, as over a dead connection, and is not accepted."""
    cluster = Cluster(1, 2).host("w1", clock_offset=OFF, node=WELL)
    cluster.node("w1", ready=False, since=cluster.now - timedelta(seconds=200), **STOPPED)
    found = judged(cluster)
    assert [f.code for f in found.faults] == [Code.CLOCK_SKEW, Code.NODE_NOT_READY]
    assert found.state is State.WORKER_NETWORK_BROKEN and "Cure: " in found.faults[0].message
    facts = found.faults[1].facts
    assert isinstance(facts, UnitFacts) and facts.why and not facts.restart


@pytest.mark.parametrize("health", [EndpointHealth.ERROR, EndpointHealth.TLS])
def test_an_api_server_that_accepts_nobody_beside_a_wrong_clock_is_no_matter_of_the_kubeconfig(
    health: EndpointHealth,
) -> None:
    cluster = Cluster(1, 2).host("cp1", clock_offset=400 * 86400.0)
    cluster.endpoint("cp1", health, "HTTP 401 to /readyz").address_answers(health, "HTTP 401 to /readyz")
    found = judged(cluster)
    assert found.state is State.APISERVER_DOWN and found.faults[0].code == Code.CLOCK_SKEW


def test_a_member_that_is_not_seen_beside_a_wrong_clock_is_put_down_to_it() -> None:
    cluster = Cluster(3, 2).host("cp2", clock_offset=OFF).endpoint("cp2", EndpointHealth.TLS, "does not verify")
    cluster.etcd["cp2"] = unseen(UnseenKind.TIMEOUT)
    assert judged(cluster).faults[0].code == Code.CLOCK_SKEW


def test_where_all_agree_it_is_the_bastion_s_clock() -> None:
    cluster = Cluster(1, 2)
    for name in ("cp1", "w1", "w2"):
        cluster.host(name, clock_offset=OFF)
    found = judged(cluster)
    assert found.faults == () and "bastion's own is wrong" in found.find(Code.CLOCK_SKEW).message  # type: ignore[union-attr]
