"""Members of etcd that run and follow nobody: which are cut off, which hang, and where neither is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.etcd import AlarmEntry
from recoverd.model.finding import Diagnosis, Finding, Severity, State
from recoverd.model.observation import EndpointHealth, UnseenKind
from tests.unit.builders import Cluster, unseen

CODES = (Code.ETCD_MEMBER_ISOLATED, Code.ETCD_MEMBER_HANGS)
PEERS = {"cp1": Cluster.address("cp1"), "cp2": Cluster.address("cp2")}


def judged(cluster: Cluster) -> Diagnosis:
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings)


def found(cluster: Cluster) -> list[Finding]:
    return [f for f in judged(cluster).findings if f.code in CODES]


def running(cluster: Cluster, seconds: float = 300.0) -> Cluster:
    return cluster.container("cp3", "etcd", running=True, started_at=cluster.now - timedelta(seconds=seconds))


def connected(cluster: Cluster, *names: str) -> Cluster:
    return cluster.host("cp3", peers={address: n in names for n, address in PEERS.items()})


def silent(cluster: Cluster) -> Cluster:
    cluster.etcd["cp3"] = unseen(UnseenKind.TIMEOUT)
    return running(cluster)


def alone() -> Cluster:
    return running(Cluster(3).no_leader("cp3")).endpoint("cp3", EndpointHealth.NOT_READY)


def test_one_without_a_leader_and_without_a_connection_is_cut_off() -> None:
    (only,) = found(connected(alone()))
    assert (only.code, only.subject, only.state) == (Code.ETCD_MEMBER_ISOLATED, "cp3", State.ETCD_STUCK)
    assert f"no connection to {PEERS['cp1']}:2380 nor to {PEERS['cp2']}:2380" in only.message
    assert judged(connected(alone())).faults[0].code == Code.ETCD_MEMBER_ISOLATED, "the API server's is its effect"


@pytest.mark.parametrize(
    ("peers", "said"),
    [
        (lambda c: connected(c, "cp1"), "is connected to"),
        (lambda c: connected(c, "cp1", "cp2"), "nothing comes of that"),
        (lambda c: c.host("cp3", peers=None), "not seen"),
    ],
    ids=["one", "both", "untold"],
)
def test_its_own_word_is_enough(peers: Callable[[Cluster], Cluster], said: str) -> None:
    (only,) = found(peers(alone()))
    assert only.code == Code.ETCD_MEMBER_ISOLATED and said in only.message


def test_restarted_by_its_probe_it_answers_nothing_and_is_cut_off_all_the_same() -> None:
    (only,) = found(connected(silent(Cluster(3))))
    assert only.code == Code.ETCD_MEMBER_ISOLATED


def test_one_that_is_connected_and_answers_nothing_hangs() -> None:
    cluster = connected(silent(Cluster(3)), "cp1", "cp2").endpoint("cp3", EndpointHealth.NOT_READY)
    (only,) = found(cluster)
    assert (only.code, only.severity) == (Code.ETCD_MEMBER_HANGS, Severity.FAULT)
    serving = cluster.endpoint("cp3", EndpointHealth.READY)
    (warning,) = found(serving)
    assert (warning.severity, warning.state, judged(serving).state) == (Severity.WARNING, None, State.HEALTHY)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: running(c, 10),
        lambda c: c.no_leader(),
        lambda c: c.etcd_changed("cp3", alarms=(AlarmEntry("", "NOSPACE"),)),
        lambda c: c.etcd_changed("cp3", remembered="as it was"),
    ],
    ids=["just started", "nobody leads", "an alarm", "remembered"],
)
def test_neither_is_said_of(change: Callable[[Cluster], Cluster]) -> None:
    assert found(change(connected(alone()))) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.container("cp3", "etcd", running=False),
        lambda c: c.powered_off("cp3"),
        lambda c: running(c, 10),
    ],
    ids=["stopped", "its machine is off", "just started"],
)
def test_silence_alone_is_neither(change: Callable[[Cluster], Cluster]) -> None:
    assert found(change(connected(silent(Cluster(3))))) == []


def test_a_peer_url_that_is_none_is_called_by_its_member() -> None:
    cluster = connected(alone())
    rows = [replace(e, peer_urls=("http://[::1",)) if e.name == "cp1" else e for e in cluster.members]
    (only,) = found(cluster.member_list(*rows))
    assert rows[0].id in only.evidence[-1] or rows[0].id in only.message or "not seen" in only.message


def test_it_is_over_only_when_the_member_was_seen_to_follow() -> None:
    key = [(Code.ETCD_MEMBER_ISOLATED, "cp3")]
    still = silent(Cluster(3)).powered_off("cp3")
    assert doubt(key, judged(still), still.observation())
    well = Cluster(3)
    assert doubt(key, judged(well), well.observation()) == ""
