"""How long something was seen: flaps, gaps, clocks that are set, and incidents that wait to see the
end of what they were opened for.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from recoverd.machine.clock import Reading
from recoverd.machine.sight import key_of, name_of
from recoverd.model.catalogue import Code
from recoverd.model.events import Acknowledged, Note, Observed, Perform, Restarted
from recoverd.model.finding import Phase, State
from recoverd.model.news import Topic
from recoverd.model.observation import EndpointHealth, ObjectsView, UnseenKind
from recoverd.model.plan import ActionRecord
from recoverd.model.settings import Approval, HostSettings
from tests.unit.builders import Cluster, unseen
from tests.unit.pod_network import PodNetwork
from tests.unit.test_machine import Change, Script, manifest_gone, performing, stuck
from tests.unit.test_news import so

QUORUM = f"{Code.ETCD_QUORUM_LOST} "


def refused(cluster: Cluster) -> object:
    return cluster.api_down()


def no_etcd(cluster: Cluster) -> object:
    cluster.etcd = dict.fromkeys(cluster.etcd, unseen(UnseenKind.TIMEOUT))
    return cluster


def one_gone(cluster: Cluster) -> object:
    """The API server's manifest on one of three control planes."""
    return (
        cluster.manifest("cp2", "kube-apiserver", None)
        .container("cp2", "kube-apiserver", running=False)
        .api_down("cp2")
    )


def then_dark(cluster: Cluster) -> object:
    """Its machine cannot be looked at any more, in no way."""
    cluster.ssh_fails("cp2")
    return cluster.endpoint("cp2", EndpointHealth.TIMEOUT)


def told(s: Script, event: str) -> list[str]:
    return [i.entry.detail for i in s.seen if isinstance(i, Note) and i.entry.event == event]


# --- confirmation ---


def test_an_api_server_that_is_down_in_every_second_sweep_is_an_incident_and_stays_one() -> None:
    s = Script()
    for _ in range(6):
        s.sweep(refused)
        s.sweep()
    assert s.machine.record.incident is not None and s.events().count("opened") == 1
    for _ in range(30):
        s.sweep(refused)
        s.sweep()
    assert s.events().count("opened") == 1 and not told(s, "closed")
    s.sweep(times=2)
    assert s.where == (State.HEALTHY, None)


def test_faults_that_take_turns_are_an_incident() -> None:
    """Each sweep has one, and none of them is ever seen twice on end."""
    turns: tuple[Change, ...] = (
        lambda c: c.stopped("cp1", "kubelet"),
        lambda c: c.etcd_stopped("cp2"),
        lambda c: c.stopped("cp3", "kubelet"),
    )
    s = Script(3)
    for number in range(6):
        s.sweep(turns[number % 3])
    assert s.machine.record.incident is not None


def test_what_was_seen_once_an_hour_ago_is_not_seen_twice() -> None:
    s = Script()
    s.sweep(manifest_gone)
    s.now += timedelta(hours=1)
    s.give(Restarted(s.now))
    assert not [i for i in s.sweep(manifest_gone) if isinstance(i, Perform)], (
        "the second sighting is the first since an hour"
    )
    assert performing(s.sweep(manifest_gone)).plan.playbook == "restore-manifest"


# --- patience before what destroys ---


def lasting(s: Script) -> float:
    return (s.now - s.machine.record.sightings[QUORUM].since).total_seconds()


def test_patience_counts_from_the_last_sweep_that_showed_it_gone() -> None:
    s = Script(member_down_after=1e6)
    s.sweep(stuck, times=6)
    assert lasting(s) >= 25
    s.sweep()
    s.sweep(stuck)
    assert lasting(s) <= 1


def test_patience_does_not_run_while_nobody_looks() -> None:
    s = Script()
    s.sweep(stuck, times=3)
    incident = s.machine.record.incident
    s.now += timedelta(hours=1)
    s.sweep(stuck)
    assert lasting(s) <= 1 and s.machine.record.incident == incident
    assert "confirmed anew" in told(s, "looked-again")[0]


def test_one_sweep_that_could_not_see_it_does_not_end_patience() -> None:
    s = Script()
    s.sweep(stuck, times=3)
    before = s.machine.record.sightings[QUORUM].since
    s.sweep(Cluster.everything_dark)
    s.sweep(stuck)
    assert s.machine.record.sightings[QUORUM].since == before


# --- what an incident waits for ---


def opened(s: Script) -> str:
    s.settings = replace(s.settings, approval={"restore-manifest": Approval.NEVER})
    s.machine.settings = s.settings
    s.sweep(one_gone, times=2)
    assert s.machine.record.incident is not None
    return s.machine.record.incident.id


def test_an_incident_waits_for_the_pods_of_a_node_that_has_come_back() -> None:
    """As the node controller leaves them: every pod of a lost node is unready until its kubelet says otherwise."""
    s = Script(3)
    opened(s)
    back = s.now

    def returned(cluster: Cluster) -> None:
        assert isinstance(cluster.objects, ObjectsView)
        nodes = (replace(n, since=back) if n.name == "cp2" else n for n in cluster.objects.nodes)
        cluster.objects = replace(cluster.objects, nodes=tuple(nodes))

    def unready(cluster: Cluster) -> None:
        returned(cluster)
        cluster.network = replace(PodNetwork(cluster).view(), unready={"cp2": 4, "cp1": 1})

    s.sweep(unready, times=5)
    assert s.where[0] is State.APISERVER_DOWN and not told(s, "closed")
    assert told(s, "waits-for-pods") == [
        "nothing is found any more; the incident closes when the pods of cp2, Ready again, are ready too, "
        "90 s from now at most"
    ]
    s.sweep(returned)
    assert s.where == (State.HEALTHY, None) and len(told(s, "closed")) == 1


def test_an_incident_does_not_wait_for_ever_for_pods_nor_for_those_of_nodes_that_were_never_away() -> None:
    def unready(cluster: Cluster, *, since: datetime) -> None:
        assert isinstance(cluster.objects, ObjectsView)
        cluster.objects = replace(cluster.objects, nodes=tuple(replace(n, since=since) for n in cluster.objects.nodes))
        cluster.network = replace(PodNetwork(cluster).view(), unready={"cp2": 4})

    s = Script(3)
    before = s.now - timedelta(hours=1)
    opened(s)
    s.sweep(lambda c: unready(c, since=before), times=2)
    assert s.where == (State.HEALTHY, None), "cp2 was Ready all the time: its pods have a reason of their own"
    s = Script(3)
    opened(s)
    back = s.now
    s.sweep(lambda c: unready(c, since=back), times=18)
    assert not told(s, "closed")
    s.sweep(lambda c: unready(c, since=back), times=4)
    assert s.where == (State.HEALTHY, None), "some pod is never ready"


def test_an_incident_does_not_close_because_its_machine_cannot_be_seen() -> None:
    s = Script(3)
    opened(s)
    s.sweep(then_dark, times=20)
    assert s.where[0] is State.APISERVER_DOWN and not told(s, "closed")
    assert len(told(s, "waits-to-see")) == 1, "it is said once"
    assert (
        "cp2 could not be looked at" in s.machine.status().explanation
        and "recoverctl ack prod-1" in s.machine.status().explanation
    )
    s.sweep(one_gone)
    assert s.where[0] is State.APISERVER_DOWN
    s.sweep(times=2)
    assert s.where == (State.HEALTHY, None) and len(told(s, "closed")) == 1


def test_what_is_seen_in_every_other_sweep_is_told_once() -> None:
    """As the address of the API servers by a bastion that came too late for each second sweep."""
    s = Script(3)
    opened(s)
    s.sweep(one_gone, times=3)
    before = len([i for i in s.seen if isinstance(i, Note)])
    for _ in range(6):
        s.sweep(then_dark)
        s.sweep(one_gone)
    assert [i.entry for i in s.seen if isinstance(i, Note)][before:] == []
    assert s.where[0] is State.APISERVER_DOWN


def test_it_must_be_seen_gone_in_as_many_sweeps_as_any_other() -> None:
    s = Script(3)
    opened(s)
    s.sweep()
    s.sweep(then_dark, times=5)
    assert not told(s, "closed")


def test_a_person_can_close_what_nobody_will_see() -> None:
    s = Script(3)
    incident = opened(s)
    s.give(Acknowledged(incident, "alice", s.now))
    s.sweep(then_dark, times=4)
    assert not told(s, "closed"), "said before it was unseen, it says nothing of that"
    s.give(Acknowledged(incident, "alice", s.now))
    assert "apiserver-manifest-missing cp2" in told(s, "let-go")[0]
    s.sweep(then_dark, times=2)
    assert s.where == (State.HEALTHY, None)


def test_a_machine_that_is_taken_out_of_the_configuration_keeps_nothing_open() -> None:
    s = Script(3)
    opened(s)
    s.sweep(then_dark, times=3)

    def without(cluster: Cluster) -> object:
        cluster.member_list(*(e for e in cluster.members if e.name != "cp2"))
        for views in (cluster.hosts, cluster.etcd, cluster.endpoints):
            del views["cp2"]  # type: ignore[attr-defined]
        return cluster

    left = tuple(HostSettings(n, Cluster.address(n)) for n in ("cp1", "cp3"))
    s.machine.settings = replace(s.settings, control_planes=left)
    s.sweep(without, times=3)
    assert s.where == (State.HEALTHY, None)


def test_what_was_open_before_the_bastion_went_blind_is_open_after_it() -> None:
    s = Script(3)
    incident = opened(s)
    s.sweep(Cluster.everything_dark, times=10)
    assert s.where[0] is State.UNOBSERVABLE
    s.sweep(then_dark, times=5)
    assert (
        s.where == (State.APISERVER_DOWN, Phase.CONFIRMED)
        and s.machine.record.incident
        and s.machine.record.incident.id == incident
    )
    s.sweep(times=2)
    assert s.where == (State.HEALTHY, None)


# --- healthy is a promise ---


def test_a_source_that_is_late_once_changes_nothing_and_one_that_stays_away_is_no_health() -> None:
    s = Script(3)
    s.sweep(times=2)
    for _ in range(3):
        s.sweep(no_etcd, times=4)
        assert s.where == (State.HEALTHY, None)
        s.sweep()
    s.sweep(no_etcd, times=6)
    assert s.where == (State.UNOBSERVABLE, None) and "no etcd member was seen" in s.machine.status().explanation
    s.sweep()
    assert s.where == (State.HEALTHY, None) and "opened" not in s.events()


def told_as(s: Script) -> tuple[State, str]:
    """What everybody is told of the cluster: the terminal, the page, the API and Prometheus."""
    status = s.machine.status()
    return status.state, status.summary


@pytest.mark.parametrize("change", [Cluster.everything_dark, no_etcd])
def test_nothing_is_called_healthy_before_a_sweep_has_seen_it_so(change: Change) -> None:
    s = Script(3)
    assert told_as(s) == (State.UNOBSERVABLE, "no sweep has ended since recoverd was started")
    assert so(s) == {} and s.machine.status().since == s.now
    for _ in range(8):
        s.sweep(change)
        assert told_as(s)[0] is State.UNOBSERVABLE
    s.sweep()
    assert told_as(s)[0] is State.HEALTHY
    s.sweep(change)
    assert told_as(s)[0] is State.HEALTHY, "one late sweep of a cluster that was seen is no news"


def test_what_an_earlier_process_saw_is_no_health_either_and_a_fault_that_it_left_is_one() -> None:
    s = Script(3)
    s.sweep(times=3)
    s.now += timedelta(hours=1)
    s.restart()
    s.sweep(Cluster.everything_dark)
    status = s.machine.status()
    assert status.state is State.UNOBSERVABLE and (s.now - status.since).total_seconds() == 5.0
    assert so(s) == {}, "which is news once it has lasted"
    s.sweep(Cluster.everything_dark)
    assert set(so(s)) == {Topic.UNOBSERVABLE}
    s.sweep(one_gone, times=3)
    s.restart()
    assert told_as(s)[0] is State.APISERVER_DOWN


# --- the clock ---


def ticking(s: Script, change: Change, times: int, ahead: float = 0.0) -> None:
    """Sweeps with both clocks read; the wall clock is `ahead` of the one that nobody sets."""
    for _ in range(times):
        s.now += timedelta(seconds=5)
        cluster = Cluster(s.shape[0], spares=s.shape[1], now=s.now)
        change(cluster)
        s.seen += s.machine.handle(Observed(cluster.observation()), Reading(s.now, s.now.timestamp() - ahead))


@pytest.mark.parametrize("by", [30, 120, 3600])
def test_a_clock_that_is_set_forward_ends_no_patience_and_no_bound(by: int) -> None:
    s = Script()
    ran = ActionRecord("restore-manifest", ((Code.MANIFEST_MISSING, "cp1"),), s.now, s.now, True, incident="prod-9")
    s.machine.state = replace(s.machine.state, record=replace(s.machine.record, history=(ran,)))
    ticking(s, stuck, 4)
    before, age = lasting(s), s.now - ran.started_at
    s.now += timedelta(seconds=by)
    ticking(s, stuck, 1, ahead=by)
    assert lasting(s) == pytest.approx(before + 5, abs=1)
    assert s.now - s.machine.record.history[0].started_at == age + timedelta(seconds=5)
    assert f"forward by {by} s" in told(s, "clock-went-forward")[0]
    ticking(s, stuck, 3, ahead=by)
    assert len(told(s, "clock-went-forward")) == 1 and not told(s, "looked-again")


def test_time_that_passes_on_both_clocks_is_no_jump() -> None:
    s = Script()
    ticking(s, stuck, 2)
    s.now += timedelta(hours=1)  # the bastion was suspended
    ticking(s, stuck, 1)
    assert not told(s, "clock-went-forward") and told(s, "looked-again")


def test_a_name_is_read_back_as_the_key_that_it_was() -> None:
    for key in (
        (Code.ETCD_QUORUM_LOST, ""),
        (Code.POD_PATH_BROKEN, "w1>w2"),
        (Code.CERTIFICATE_EXPIRED, "cp1:/etc/a b.crt"),
    ):
        assert key_of(name_of(key)) == key


@pytest.mark.parametrize("by", [-3600, 3600])
def test_what_may_pass_has_its_minute_by_no_clock_that_is_set(by: int) -> None:
    """Set back, nobody was called for an hour; set forward, somebody was at once."""

    def isolated(cluster: Cluster) -> object:
        return cluster.etcd_changed("cp3", leader="")

    s = Script(3, 0)
    ticking(s, isolated, 4)
    assert "a person is called when it has lasted 60 s" in told(s, "waiting")[-1]
    s.now += timedelta(seconds=by)
    ticking(s, isolated, 2, ahead=by)
    assert not told(s, "escalated")
    ticking(s, isolated, 14, ahead=by)
    assert told(s, "escalated")
