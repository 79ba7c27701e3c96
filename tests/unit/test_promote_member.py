"""`promote-member`: a learner that serves and is in sync gets its vote; one that does not, and one that a join is about
to promote, is told why not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.diagnose.members import Membership
from recoverd.memory.remember import remember
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, RemoveMember
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView
from recoverd.model.etcd_operations import PromoteMember
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.people import PeopleView, ToolView
from recoverd.model.settings import Approval
from recoverd.model.unit_operations import Unstick
from recoverd.observe.members import with_lists
from recoverd.playbooks import registry
from recoverd.playbooks.base import Proposal, Refusal, Wait
from tests.unit.builders import NOW, Cluster, manifest, member_id, unseen
from tests.unit.test_playbooks import asked, proposed, situation

NAME, FOUND = "promote-member", Code.ETCD_LEARNER_STUCK
URL = "https://10.99.1.13:2380"


def learning(voters: int = 2, **changes: Any) -> Cluster:
    """The next control plane has joined as a learner and serves for five minutes; `changes` are of its etcd's view."""
    cluster, name = Cluster(voters, spares=1), f"cp{voters + 1}"
    cluster.member_list(*cluster.members, cluster.entry(name, learner=True))
    planes = {n: manifest(n) for n in ("etcd", "kube-apiserver")}
    cluster.host(name, joined=True, manifests=planes, people=PeopleView())
    cluster.etcd[name] = replace(cluster.etcd_view(name), learner=True, **changes)
    return cluster.container(name, "etcd", started_at=NOW - timedelta(minutes=5))


def test_a_learner_in_sync_is_given_its_vote_after_a_person_has_said_so() -> None:
    proposal = proposed(NAME, FOUND, learning())
    first, second, *rest = proposal.steps
    assert (first.host, first.operation, first.commits) == ("cp1", PromoteMember(URL), True)
    assert first.requires == ((FOUND, "cp3"),), "it may be promoted by the time that somebody approves"
    assert (second.host, second.operation) == ("cp3", AwaitEtcd(members=3))
    assert [(s.host, type(s.operation)) for s in rest] == [("cp3", Unstick), ("cp3", AwaitApi)]
    assert any("afterwards 3, 2 needed, 3 healthy" in line for line in proposal.evidence)
    assert "etcd takes no vote back" in proposal.undo[0]
    assert Cluster().settings.approval_of(NAME) is Approval.REQUIRED


def test_the_second_of_two_voters_is_told_to_be_needed() -> None:
    assert any("of two voters both are needed" in line for line in proposed(NAME, FOUND, learning(1)).evidence)
    assert not any("both" in line for line in proposed(NAME, FOUND, learning(2)).evidence)


def test_where_the_machine_has_no_api_server_none_is_waited_for() -> None:
    cluster = learning().manifest("cp3", "kube-apiserver", None)
    assert [type(s.operation) for s in proposed(NAME, FOUND, cluster).steps] == [PromoteMember, AwaitEtcd]


UNFIT: dict[str, tuple[Callable[[], Cluster], str]] = {
    "it lags behind": (lambda: learning(revision=1000), "not in sync: it is at revision 1000"),
    "it does not follow": (lambda: learning(leader=member_id("cp2")), "does not follow the leader"),
    "it is not healthy": (lambda: learning(healthy=False, health_reason="RAFT NO LEADER"), "RAFT NO LEADER"),
    "its etcd is stopped": (lambda: learning().etcd_stopped("cp3"), "refuses connections"),
    "no manifest would start it again": (lambda: learning().manifest("cp3", "etcd", None), "no usable manifest"),
    "it is no node": (lambda: learning().host("cp3", joined=False), "is no node"),
    "who is at work cannot be seen": (lambda: learning().host("cp3", people=None), "could not be seen"),
    "a single voter of 3.4.3": (lambda: learning(1).etcd_changed(version="3.4.3"), "etcd-io/etcd#11633"),
}


@pytest.mark.parametrize(("cluster", "why"), UNFIT.values(), ids=UNFIT)
def test_one_that_is_not_fit_is_offered_for_removal_with_the_reason(cluster: Callable[[], Cluster], why: str) -> None:
    answer = asked(NAME, FOUND, cluster())
    assert isinstance(answer, Refusal) and why in answer.reason
    removed = proposed("remove-member", FOUND, cluster())
    assert any(isinstance(s.operation, RemoveMember) for s in removed.steps)
    assert any(line.startswith("it is not given its vote instead") and why in line for line in removed.evidence)


def test_no_vote_is_given_where_voters_are_not_seen_to_hold_quorum_with_it() -> None:
    """The leader is not seen, and one that follows it is not healthy just now: of four voters three are needed."""
    cluster = learning(3)
    cluster.etcd["cp1"] = unseen(UnseenKind.TIMEOUT)
    cluster.etcd_changed("cp3", healthy=False)
    answer = asked(NAME, FOUND, cluster)
    assert isinstance(answer, Refusal) and "4 voters, 3 of them needed, and only 1" in answer.reason


def test_without_quorum_or_beside_a_second_history_nobody_gets_a_vote() -> None:
    lost = learning().etcd_stopped("cp2").no_leader()
    assert lost.observation() and diagnose(lost.observation(), lost.memory(), lost.settings).find(Code.ETCD_QUORUM_LOST)
    assert asked(NAME, FOUND, lost) is None
    foreign = learning(3).etcd_changed("cp3", cluster_id="deadbeef")
    answer = asked(NAME, FOUND, foreign)
    assert isinstance(answer, Refusal) and "history of its own" in answer.reason


NOT_LISTED: dict[str, tuple[Callable[[Cluster], object], str, str]] = {
    "nobody healthy is to be asked": (
        lambda c: [c.etcd_changed(n, healthy=False) for n in ("cp1", "cp2")],
        "no member that is healthy and knows a leader can be asked to give it",
        "no member that is healthy and knows a leader can be asked to remove another",
    ),
    "it is in the list no more": (
        lambda c: c.member_list(*c.members[:-1]),
        "the member list of cp1 does not hold the member that the finding names",
        "the member list of cp1 does not hold the member that the finding names",
    ),
    "it votes by now": (
        lambda c: c.member_list(*c.members[:-1], c.entry("cp3")),
        "the member list of cp1 has it as one that votes",
        "",
    ),
}


@pytest.mark.parametrize(("change", "given", "removed"), NOT_LISTED.values(), ids=NOT_LISTED)
def test_one_whose_entry_cannot_be_changed_is_left_alone(
    change: Callable[[Cluster], object], given: str, removed: str
) -> None:
    """The finding is of the sweep before."""
    (finding,) = [f for f in situation(learning()).confirmed if f.code == FOUND]
    change(cluster := learning())
    for name, why in ((NAME, given), ("remove-member", removed)):
        answer = next(p for p in registry() if p.name == name).propose(finding, situation(cluster))
        assert not why or (isinstance(answer, Refusal) and why in answer.reason), answer


def test_a_join_that_is_at_work_is_waited_for_and_one_that_hangs_is_not() -> None:
    for seconds, kind in ((300.0, Wait), (3 * 3600.0, Proposal)):
        tool = ToolView("/usr/bin/kubeadm -v 5 join k8s-api:6443 --control-plane", NOW, seconds)
        cluster = learning().host("cp3", people=PeopleView(tools=(tool,)))
        assert isinstance(asked(NAME, FOUND, cluster), kind)
        if kind is Wait:
            assert isinstance(asked("remove-member", FOUND, cluster), Wait), "nor is it removed meanwhile"
    other = learning().host("cp3", people=PeopleView(tools=(ToolView("kubeadm reset", NOW, 5.0),)))
    assert isinstance(asked(NAME, FOUND, other), Proposal)


def test_a_removal_that_is_asked_for_says_that_the_vote_would_do() -> None:
    now = replace(situation(learning()), by_hand=True)
    (finding,) = [f for f in now.confirmed if f.code == FOUND]
    answer = next(p for p in registry() if p.name == "remove-member").propose(finding, now)
    assert isinstance(answer, Proposal) and any("recoverctl run promote-member prod" in e for e in answer.evidence)


# --- what is found of it ---


@pytest.mark.parametrize(
    ("restarts", "stuck"), [(0, False), (2, True)], ids=["it has just been started", "it is started again and again"]
)
def test_a_learner_that_reaches_nobody_is_stuck_once_its_etcd_was_restarted_for_it(restarts: int, stuck: bool) -> None:
    for view in (unseen(UnseenKind.TIMEOUT), unseen(UnseenKind.REFUSED), None):
        cluster = learning(leader="", healthy=False).container(
            "cp3", "etcd", started_at=NOW - timedelta(seconds=9), restarts=restarts
        )
        if view is not None:
            cluster.etcd["cp3"] = view
        diagnosis = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
        assert any(f.code == FOUND for f in diagnosis.faults) is stuck


def test_what_is_found_of_one_that_serves_reads_the_same_in_every_sweep() -> None:
    said = set[str]()
    for minutes in (3, 4):
        cluster = learning().container("cp3", "etcd", started_at=NOW - timedelta(minutes=minutes))
        finding = diagnose(cluster.observation(), cluster.memory(), cluster.settings).find(FOUND)
        assert finding is not None
        said.add(finding.message)
    assert len(said) == 1, "each would be a line of the journal"


# --- it tells no member list ---


def test_a_learner_has_the_list_of_the_furthest_voter_of_its_cluster() -> None:
    views = dict(learning(3, members=()).etcd)
    behind = views["cp2"]
    assert isinstance(behind, EtcdView)
    views |= {"cp2": replace(behind, members=behind.members[:1], raft_term=1), "cp9": Unseen(UnseenKind.REFUSED, "")}
    whole = with_lists(views)
    first, learner = views["cp1"], whole["cp4"]
    assert isinstance(first, EtcdView) and isinstance(learner, EtcdView)
    assert learner.members == first.members and whole["cp2"] == views["cp2"] and whole["cp9"] == views["cp9"]
    foreign = with_lists({"cp1": replace(first, cluster_id="deadbeef"), "cp4": replace(learner, members=())})["cp4"]
    assert isinstance(foreign, EtcdView) and not foreign.members, "another cluster's list is not its own"


def test_a_learner_alone_is_no_source_of_a_list_nor_of_what_is_remembered() -> None:
    cluster = learning(2, members=(), leader="", revision=5000)
    views = {"cp3": cluster.etcd["cp3"]}
    assert isinstance(views["cp3"], EtcdView)
    seen = Membership({"cp3": views["cp3"]}, None, cluster.settings)
    assert not seen.known and not seen.source
    healthy = learning(2, members=(), revision=5000)
    observation = replace(healthy.observation(), etcd={"cp3": healthy.etcd["cp3"]})
    memory = healthy.memory()
    kept, _ = remember(observation, diagnose(observation, memory, healthy.settings), memory, healthy.settings, {})
    assert kept.watermark == memory.watermark


def test_a_learner_that_names_a_leader_of_before_is_no_stranger() -> None:
    """It is cut off in an election, and goes on naming the last one that it heard of."""
    cluster = learning(3, leader=member_id("cp2"), members=()).etcd_changed("cp2", leader=member_id("cp2"), raft_term=4)
    views = {n: v for n, v in cluster.etcd.items() if isinstance(v, EtcdView)}
    assert not Membership(views, None, cluster.settings).strangers


# --- what is a learner still is not gone ---


def test_a_learner_that_is_as_young_as_in_a_join_or_not_seen_is_not_promoted_for_that() -> None:
    young = learning().container("cp3", "etcd", started_at=NOW - timedelta(seconds=9))
    unseen_now = learning()
    unseen_now.etcd["cp3"] = unseen(UnseenKind.TIMEOUT)
    voter, removed = Cluster(3), Cluster(2, spares=1)
    for cluster, gone in ((young, False), (unseen_now, False), (voter, True), (removed, True)):
        diagnosis = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
        assert (FOUND, "cp3") not in diagnosis.keys
        assert (not doubt([(FOUND, "cp3")], diagnosis, cluster.observation())) is gone


def test_one_whose_machine_is_silent_is_found_and_given_the_time_of_a_boot() -> None:
    cluster = learning()
    cluster.powered_off("cp3")
    for minutes, kind in ((2.0, Wait), (6.0, Proposal)):
        answer = asked("remove-member", FOUND, cluster, minutes=minutes)
        assert isinstance(answer, kind), answer


@pytest.mark.parametrize("why", ["it lags behind", "it does not follow", "it is not healthy"])
def test_one_that_is_behind_is_given_time_to_catch_up_before_its_removal_is_offered(why: str) -> None:
    cluster, _ = UNFIT[why]
    for minutes, kind in ((2.0, Wait), (6.0, Proposal)):
        answer = asked("remove-member", FOUND, cluster(), minutes=minutes)
        assert isinstance(answer, kind), answer
    assert isinstance(asked(NAME, FOUND, cluster(), minutes=2.0), Wait)
