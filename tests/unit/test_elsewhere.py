"""An etcd that is none of the cluster's static pods: what is found of its servers, of which nothing is done."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.clients.etcd_answers import classified
from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import unproven
from recoverd.diagnose.outside import Ways
from recoverd.diagnose.scene import API, Scene
from recoverd.machine.decide import nothing_to_do
from recoverd.model.catalogue import Code
from recoverd.model.etcd import WHOLE, AlarmEntry, EtcdView
from recoverd.model.finding import Diagnosis, Finding, Severity, State
from recoverd.model.memory import Memory
from recoverd.model.network import NetworkView
from recoverd.model.observation import EndpointHealth, Observation, Unseen, UnseenKind
from recoverd.playbooks import registry
from tests.unit.builders import Cluster, manifest, unseen
from tests.unit.test_outside import NAMES, Servers, servers
from tests.unit.test_places import SERVERS, external

FAILS, DOWN = (Code.EXTERNAL_ETCD_FAILS, ""), Code.EXTERNAL_ETCD_SERVER_DOWN
AWAY = [UnseenKind.REFUSED, UnseenKind.TIMEOUT, UnseenKind.UNREACHABLE, UnseenKind.UNTRUSTED]
OF_THE_ASKING = [UnseenKind.DENIED, UnseenKind.NOT_TRIED, UnseenKind.OWN, UnseenKind.GARBAGE]


def sweep(outside: Servers, cluster: Cluster | None = None, by: str = "cp1") -> Observation:
    return replace((cluster or external()).observation(), outside=outside, outside_by=by)


def judged(seen: Observation) -> Diagnosis:
    return diagnose(seen, Memory(), Cluster(3).settings)


def waiting() -> Cluster:
    """All API servers say that it is etcd that fails them."""
    cluster = external().api_down(health=EndpointHealth.NOT_READY)
    for name in cluster.joined:
        cluster.endpoint(name, EndpointHealth.NOT_READY, failing_checks=("etcd",))
    return cluster


def without(outside: Servers, *names: str, kind: UnseenKind = UnseenKind.TIMEOUT) -> Servers:
    return {n: unseen(kind) if n in names else v for n, v in outside.items()}


def led_by_none(outside: Servers, *names: str) -> Mapping[str, EtcdView | Unseen]:
    return {n: replace(v, leader="") if n in names and isinstance(v, EtcdView) else v for n, v in outside.items()}


@pytest.mark.parametrize("kind", AWAY)
def test_one_server_that_does_not_serve_is_a_warning_that_says_how_far_it_is_to_the_end(kind: UnseenKind) -> None:
    diagnosis = judged(sweep(without(servers(1000), NAMES[1], kind=kind)))
    found = diagnosis.find(DOWN)
    assert diagnosis.state is State.HEALTHY and found and found.severity is Severity.WARNING
    assert found.subject == NAMES[1] and "2 of 3 do, 2 are needed: with one more lost" in found.message
    assert "etcdctl member remove" in found.message and "does nothing there" in found.message


def test_one_without_a_leader_beside_others_that_have_one_is_found_too() -> None:
    found = judged(sweep(led_by_none(servers(1000), NAMES[2]))).find(DOWN)
    assert found and found.subject == NAMES[2] and "runs without a leader" in found.message


@pytest.mark.parametrize("kind", OF_THE_ASKING)
def test_what_is_wrong_with_the_asking_says_nothing_of_a_server(kind: UnseenKind) -> None:
    assert judged(sweep(without(servers(1000), NAMES[1], kind=kind))).find(DOWN) is None
    assert judged(sweep(without(servers(1000), *NAMES, kind=kind), waiting())).find(Code.EXTERNAL_ETCD_FAILS) is None


@pytest.mark.parametrize("kind", AWAY)
def test_without_a_leader_at_any_server_the_api_servers_fail_by_it(kind: UnseenKind) -> None:
    outside = led_by_none(without(servers(1000), *NAMES[:2], kind=kind), NAMES[2])
    diagnosis = judged(sweep(outside, waiting()))
    found = diagnosis.find(Code.EXTERNAL_ETCD_FAILS)
    assert diagnosis.state is State.ETCD_STUCK and found and diagnosis.faults[0] is found
    assert "2 of its 3 members have to run" in found.message and f"{NAMES[2]}: runs without a leader" in found.message
    assert diagnosis.find(DOWN) is None


def test_who_asked_is_in_no_message_so_that_nobody_is_told_again_with_each_turn() -> None:
    told = {judged(sweep(without(servers(1000), *NAMES), waiting(), by=by)).summary for by in ("cp1", "cp2", "cp3")}
    assert len(told) == 1


def test_what_recoverd_came_too_late_for_changes_nothing_of_what_was_told() -> None:
    """As where a machine that is off gave no answer, or was not waited for, by turns."""
    outside = without(led_by_none(servers(1000), NAMES[0]), *NAMES[1:])
    assert judged(sweep(outside, waiting())).find(*FAILS)
    late = {**outside, NAMES[2]: unseen(UnseenKind.OWN)}
    assert not judged(sweep(late, waiting())).find(*FAILS)


@pytest.mark.parametrize(("back", "blamed"), [(5.0, False), (90.0, True), (None, True)])
def test_the_way_to_etcd_is_not_blamed_while_others_have_only_just_come_back(back: float | None, blamed: bool) -> None:
    cluster = external()
    cluster.endpoint("cp2", EndpointHealth.NOT_READY, failing_checks=("etcd",))
    since = None if back is None else cluster.now - timedelta(seconds=back)
    seen = replace(sweep(servers(1000), cluster), network=NetworkView(1, {}, {}, back_since=since))
    found = judged(seen).find(Code.API_NOT_ANSWERING, "cp2")
    assert found and ("and not this one" in found.message) is blamed


def test_nothing_is_found_while_the_control_plane_that_was_to_ask_is_not_seen() -> None:
    cluster = waiting().ssh_fails("cp1")
    outside = without(servers(1000), *NAMES, kind=UnseenKind.UNREACHABLE)
    assert judged(sweep(outside, cluster)).find(Code.EXTERNAL_ETCD_FAILS) is None
    assert judged(sweep(outside, cluster, by="cp2")).find(Code.EXTERNAL_ETCD_FAILS)


def test_an_api_server_that_is_ready_stands_on_an_etcd_that_serves() -> None:
    assert not judged(sweep(without(servers(1000), *NAMES))).faults


def test_an_api_server_that_fails_by_something_else_is_no_failure_of_etcd() -> None:
    cluster = waiting().endpoint("cp2", EndpointHealth.NOT_READY, failing_checks=("poststarthook/rbac",))
    assert judged(sweep(without(servers(1000), *NAMES), cluster)).find(Code.EXTERNAL_ETCD_FAILS) is None


@pytest.mark.parametrize(("alarm", "words"), [("NOSPACE", "etcdctl defrag"), ("CORRUPT", "hashkv")])
def test_an_alarm_is_a_fault_though_the_api_servers_are_ready(alarm: str, words: str) -> None:
    raised = {n: replace(v, alarms=(AlarmEntry(WHOLE, alarm),)) for n, v in servers(1000).items()}  # type: ignore[type-var]
    diagnosis = judged(sweep(raised))
    assert diagnosis.state is State.ETCD_STUCK
    assert diagnosis.faults[0].code == Code.EXTERNAL_ETCD_ALARM and words in diagnosis.faults[0].message
    assert unproven([diagnosis.faults[0].key], judged(sweep(raised)), sweep(raised))


def test_nothing_is_offered_and_what_is_told_is_what_was_found() -> None:
    diagnosis = judged(sweep(without(servers(1000), *NAMES), waiting()))
    found = diagnosis.faults[0]
    assert not [p.name for p in registry() if found.code in p.repairs or DOWN in p.repairs]
    assert nothing_to_do(diagnosis.faults, ()) == found.message


def test_it_is_gone_when_a_server_was_seen_with_a_leader() -> None:
    def left(outside: Servers, key: tuple[str, str]) -> list[tuple[str, str]]:
        seen = sweep(outside)
        return list(unproven([key], judged(seen), seen))

    well, dark, one = servers(1000), without(servers(1000), *NAMES), (str(DOWN), NAMES[1])
    assert left(well, FAILS) == [] and left(dark, FAILS) == [FAILS]
    assert left(well, one) == [] and left(without(well, NAMES[1]), one) == [one]
    assert left(led_by_none(well, NAMES[1]), one) == [one]
    assert left({}, one) == [one]
    assert left({n: v for n, v in well.items() if n != NAMES[1]}, one) == []


def test_etcd_as_static_pods_has_none_of_this() -> None:
    cluster = Cluster(3).api_down()
    seen = replace(cluster.observation(), outside=without(servers(1), *NAMES), outside_by="cp1")
    codes = {f.code for f in diagnose(seen, cluster.memory(), cluster.settings).findings}
    assert not codes & {Code.EXTERNAL_ETCD_FAILS, DOWN}


def test_a_finding_of_it_names_no_machine_of_the_configuration() -> None:
    found: Finding | None = judged(sweep(without(servers(1000), NAMES[1]))).find(DOWN)
    assert found and not found.facts.host


def told(manifest_of: dict[str, str]) -> Scene:
    """A sweep in which the API servers name these servers."""
    cluster = external()
    for name in cluster.joined:
        cluster.manifest(name, API, manifest(API, f"--etcd-servers={manifest_of.get(name, SERVERS)}"))
    return Scene(cluster.observation(), Memory(), cluster.settings)


def test_the_next_control_plane_asks_where_nothing_was_seen_from_one() -> None:
    ways, well = Ways(), servers(1000)
    assert ways.now is None
    ways.learn(told({}))
    asked = []
    for seen in (well, without(well, *NAMES), without(well, *NAMES[:2]), without(well, *NAMES)):
        asked.append(ways.now[0] if ways.now else "")
        assert ways.took(seen) is seen and ways.by == asked[-1]
    assert asked == ["cp1", "cp1", "cp2", "cp2"] and ways.now and ways.now[0] == "cp3"


def test_where_they_are_is_learnt_anew_and_forgotten_where_etcd_is_on_the_control_planes() -> None:
    ways = Ways()
    ways.learn(told({}))
    ways.learn(told({"cp1": "https://10.99.9.99:2379"}))
    assert ways.now and str(ways.now[1].servers[0]) == "10.99.9.99:2379"
    stacked = Cluster(3)
    ways.learn(Scene(stacked.observation(), stacked.memory(), stacked.settings))
    assert ways.now is None


def test_a_control_plane_that_was_reset_beside_others_that_go_on_is_for_a_person() -> None:
    before = external()
    before._healthy = before.observation()
    memory = replace(before.memory(), watermark=None)
    cluster = external().host("cp2", joined=False, manifests={}, containers={}, certificates=())
    cluster.endpoint("cp2", EndpointHealth.REFUSED)
    diagnosis = diagnose(cluster.observation(), memory, cluster.settings)
    found = diagnosis.find(Code.CONTROL_PLANE_RESET)
    assert found and diagnosis.state is State.APISERVER_DOWN and "by the API servers of cp1, cp3" in found.message
    assert "etcd's data" not in found.message
    back = external().observation()
    assert not unproven([found.key], diagnose(back, memory, cluster.settings), back), "no member of etcd is ever seen"


def test_tls_that_fails_names_the_certificate_that_was_shown() -> None:
    said = str(classified("etcd", ssl.SSLError("alert"), "/etc/kubernetes/pki/apiserver-etcd-client.crt"))
    assert "apiserver-etcd-client.crt" in said and "healthcheck" not in said
