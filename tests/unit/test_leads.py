"""Controllers that run and do not lead: found by their lease and not by anybody's clock alone, and started anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.etcd import AlarmEntry
from recoverd.model.finding import Diagnosis, Finding, State
from recoverd.model.network import NetworkView
from recoverd.model.node_operations import AwaitControllers
from recoverd.model.observation import ApiView, Observation, Unseen, UnseenKind
from recoverd.model.unit_operations import RestartStaticPod
from recoverd.model.witness import LeadView
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from tests.unit.builders import NOW, Cluster, manifest, member_id

MANAGER = "kube-controller-manager"
KEY = (Code.CONTROLLER_NOT_LEADING, MANAGER)


def lead(age: float, unchanged: float | None, holder: str = "cp1_abc") -> LeadView:
    return LeadView(holder, NOW - timedelta(seconds=age), NOW, unchanged)


def sweep(cluster: Cluster, view: LeadView | Unseen) -> Observation:
    seen = cluster.observation()
    return replace(seen, api=replace(seen.api, leads={MANAGER: view}))


def judged(cluster: Cluster, view: LeadView | Unseen) -> Diagnosis:
    return diagnose(sweep(cluster, view), cluster.memory(), cluster.settings)


def found(cluster: Cluster, view: LeadView | Unseen) -> Finding | None:
    return judged(cluster, view).find(*KEY)


def test_a_lease_that_nobody_renews_for_a_minute_is_a_fault_with_its_holders_last_words() -> None:
    cluster = Cluster(3).container("cp2", MANAGER, log_tail=("error retrieving resource lock: Unauthorized",))
    diagnosis = judged(cluster, lead(61, 31, "cp2_abc"))
    finding = diagnosis.find(*KEY)
    assert finding and diagnosis.state is State.APISERVER_DOWN and finding.facts.host == "cp2"
    assert "it says: error retrieving resource lock: Unauthorized" in finding.evidence
    assert "ends is not made anew" in finding.message
    assert not found(cluster, lead(59, 31)), "its holder may only just have ended"


@pytest.mark.parametrize(
    ("view", "why"),
    [
        (lead(7200, 0.0), "it is renewed, by a clock that is two hours slow"),
        (lead(7200, 20.0), "it was not watched for long enough to tell"),
        (lead(7200, None), "nothing is there to compare with"),
        (Unseen(UnseenKind.DENIED, "HTTP 403"), "it may not be read"),
    ],
)
def test_a_lease_is_old_only_where_it_was_seen_to_stand_still(view: LeadView | Unseen, why: str) -> None:
    assert not found(Cluster(), view), why


def test_nobody_could_renew_it_while_the_api_server_was_away() -> None:
    """Observed after force-new-cluster on a busy machine: it led 40 s after the API server's return."""

    def after(seconds: float) -> Finding | None:
        seen = sweep(Cluster(), lead(200, 35))
        back = NetworkView(1, {}, {}, back_since=NOW - timedelta(seconds=seconds))
        return diagnose(replace(seen, network=back), Cluster().memory(), Cluster().settings).find(*KEY)

    assert after(61) and not after(35)


def test_a_fast_clock_hides_a_lease_that_stands_still_for_no_longer_than_it_is_watched() -> None:
    assert found(Cluster(), lead(-3600, 61))


def test_what_has_just_started_or_runs_nowhere_or_has_another_lease_is_not_called_idle() -> None:
    assert not found(Cluster().container("cp1", MANAGER, started_at=NOW - timedelta(seconds=50)), lead(300, 200))
    assert not found(Cluster().container("cp1", MANAGER, running=False), lead(300, 200)), "controller-down tells of it"
    for flag in ("--leader-elect=false", "--leader-elect-resource-name=mine"):
        assert not found(Cluster().manifest("cp1", MANAGER, manifest(MANAGER, flag)), lead(300, 200))


def test_a_lease_that_lasts_longer_may_stand_still_for_longer() -> None:
    """As where etcd's disk is slow, or OpenShift's 137 s: the next replica may not take it yet."""
    slow = replace(lead(170, 170), lasts=137.0)
    assert not found(Cluster(), slow)
    assert not found(Cluster(), replace(lead(400, 200), lasts=137.0)), "not watched for long enough"
    assert found(Cluster(), replace(lead(182, 280), lasts=137.0))
    plan = answer(Cluster(), replace(lead(400, 300), lasts=137.0))
    assert isinstance(plan, Proposal) and [s.timeout for s in plan.steps] == [75.0, 167.0]


def test_a_configuration_of_its_own_may_name_another_lease_than_the_one_that_stands_still() -> None:
    """`leaderElection` in kube-scheduler's --config: it was started anew for a lease that was nobody's any more."""
    own = Cluster().manifest("cp1", MANAGER, manifest(MANAGER, "--config=/etc/kubernetes/mine.yaml"))
    own.container("cp1", MANAGER, started_at=NOW - timedelta(seconds=200))
    assert not found(own, lead(300, 190)), "of before it was started"
    assert found(own, lead(150, 140)), "it has renewed this one itself"


def test_an_etcd_that_takes_no_writes_is_the_cause() -> None:
    full = Cluster().etcd_changed("cp1", alarms=(AlarmEntry(member_id("cp1"), "NOSPACE"),))
    assert judged(full, lead(300, 200)).find(Code.ETCD_NOSPACE) and not found(full, lead(300, 200))


@pytest.mark.parametrize(
    ("view", "gone"),
    [
        (lead(1, 0.0), True),
        (lead(1, None), False),
        (lead(-3600, 20.0), False),
        (Unseen(UnseenKind.TIMEOUT, "3 s"), False),
    ],
)
def test_it_leads_again_when_its_lease_was_seen_to_move_on(view: LeadView | Unseen, gone: bool) -> None:
    cluster = Cluster()
    assert (doubt([KEY], judged(cluster, view), sweep(cluster, view)) == "") is gone


def test_what_was_recorded_before_there_were_leases_says_nothing() -> None:
    seen = Cluster().observation()
    assert seen.api == ApiView(seen.api.vip, seen.api.members, seen.api.objects)
    assert doubt([KEY], diagnose(seen, Cluster().memory(), Cluster().settings), seen)


def answer(cluster: Cluster, view: LeadView, now: datetime = NOW) -> Answer:
    seen = sweep(cluster, view)
    diagnosis = diagnose(seen, cluster.memory(), cluster.settings)
    [finding] = diagnosis.faults
    there = Situation(now, "prod-1", cluster.settings, seen, diagnosis, cluster.memory(), diagnosis.faults)
    return next(p for p in registry() if p.name == "restart-controller").propose(finding, there)


def test_the_holder_is_started_anew_first_and_the_others_only_while_nobody_leads() -> None:
    cluster = Cluster(3).container("cp3", MANAGER, running=False)
    plan = answer(cluster, lead(61, 31, "cp2_abc"))
    assert isinstance(plan, Proposal) and not plan.asks
    assert [(s.host, type(s.operation)) for s in plan.steps] == [
        (name, kind) for name in ("cp2", "cp1") for kind in (RestartStaticPod, AwaitControllers)
    ]
    assert all(s.part == s.host and s.contained for s in plan.steps)
    assert all(s.skip_unless == (KEY,) for s in plan.steps[::2])


def test_a_controller_that_does_not_reach_the_api_server_is_asked_about() -> None:
    line = "error retrieving resource lock: Get https://10.9.9.9:6443: dial tcp 10.9.9.9:6443: i/o timeout"
    plan = answer(Cluster().container("cp1", MANAGER, log_tail=(line,)), lead(61, 31))
    assert isinstance(plan, Proposal)
    assert line in plan.asks and "/etc/kubernetes/controller-manager.conf" in plan.asks


def test_nothing_is_started_anew_while_its_lease_is_refused() -> None:
    """A webhook for leases, where recoverd may not try a write itself: it was restarted, unasked and in vain. What is
    refused of pods is another matter, since its lease may stand still for its own reasons.
    """
    refused = (
        'Failed to update lock: Internal error occurred: failed calling webhook "l.example.com": Post '
        '"https://policy.default.svc:443/": dial tcp 10.96.3.3:443: connect: connection refused'
    )
    denied = 'Failed to update lock: admission webhook "l.example.com" denied the request: frozen'
    rights = (
        f'error retrieving resource lock kube-system/{MANAGER}: leases.coordination.k8s.io "{MANAGER}" is forbidden: '
        f'User "system:{MANAGER}" cannot get resource "leases"'
    )
    busy = "Failed to update lock optimistically: the server has received too many requests and has asked us to wait"
    for said in (refused, denied, rights, busy):
        there = answer(Cluster().container("cp1", MANAGER, log_tail=(said,)), lead(61, 31))
        assert isinstance(there, Refusal) and said in there.reason and "failurePolicy" in there.reason
    of_pods = 'Error creating: Internal error occurred: failed calling webhook "p.example.com": no endpoints available'
    assert isinstance(answer(Cluster().container("cp1", MANAGER, log_tail=(of_pods,)), lead(61, 31)), Proposal)
