"""Clocks that are wrong: whose, how much, and what else is put down to them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.clocks import GRAVE
from recoverd.diagnose.restless import restless
from recoverd.model.catalogue import Code
from recoverd.model.facts import UnitFacts
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.observation import EndpointHealth, UnseenKind
from recoverd.observe.look import parse
from tests.unit.builders import NOW, Cluster, unseen
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


@pytest.mark.parametrize("off", [0.0, 900.0, -900.0])
def test_times_of_a_machine_are_told_by_the_bastion_s_clock(off: float) -> None:
    """Else a kubelet was started in the future, and counts as just started for ever."""
    written = NOW + timedelta(seconds=off - 50)
    stat = "1 (sh) S" + " 0" * 18 + " {}" + " 0" * 10
    sections = {
        "boot": "b",
        "clock": f"{(NOW + timedelta(seconds=off)).timestamp():.1f}",
        "uptime": f"{stat.format(100000)}\n{stat.format(0)}",
        "units": "Id=kubelet.service\nLoadState=loaded\nActiveState=active\nSubState=running\nResult=success\n"
        "StateChangeTimestampMonotonic=700000000\nNRestarts=0",
        "manifest /etc/kubernetes/manifests/etcd.yaml": f"3 {written.timestamp():.0f}\nYTpi\n",
        "container etcd": f"{'stat ' + stat.format(80000)}\nscanned",
    }
    text = "".join(f"@@ {name}\n{said}\n" for name, said in sections.items())
    view = parse(f"{text}@@ end\n", "@@", middle=NOW).view
    assert view.clock_offset == off
    assert view.units["kubelet"].since == NOW - timedelta(seconds=300)
    assert view.manifests["etcd"].modified_at == NOW - timedelta(seconds=50)
    assert view.containers["etcd"].started_at == view.running_since("etcd") == NOW - timedelta(seconds=200)


def test_a_unit_that_was_restarted_long_ago_is_no_new_one_on_a_machine_that_is_ahead() -> None:
    """As `by_the_bastions` gives it; by the machine's own clock it would start in a quarter of an hour."""
    cluster = Cluster(1, 2).host("w1", clock_offset=900.0)
    cluster.unit("w1", "kubelet", since=NOW - timedelta(hours=3), restarts=4)
    assert restless(cluster._seen("w1"), timedelta(seconds=60), NOW) == []
    assert [f.code for f in judged(cluster).findings] == [Code.CLOCK_SKEW]
