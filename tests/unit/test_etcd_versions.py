"""What remedies of etcd are safe in which version: the table, and what playbooks make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.model.etcd_versions import FORCE_NEW_CLUSTER, LEARNERS, caveats, number
from recoverd.model.operations import WriteFile
from recoverd.playbooks.base import Proposal, Refusal
from tests.unit.builders import Cluster
from tests.unit.test_playbooks import situation
from tests.unit.test_survivors import forced, off


def lost(version: str, *, learner: bool = False) -> Cluster:
    cluster = Cluster(3)
    if learner:
        cluster.member_list(*cluster.members, cluster.entry("cp4", learner=True))
    return off(cluster.etcd_changed(version=version), "cp2", "cp3")


@pytest.mark.parametrize("version", ["3.4.3", "3.4.13", "3.4.23", "3.5.0", "3.5.16", "3.5.24"])
def test_the_flag_is_used_where_it_ends_well(version: str) -> None:
    assert isinstance(forced(situation(lost(version))), Proposal)


@pytest.mark.parametrize(
    ("version", "learner", "why"),
    [
        ("3.4.13", True, "#12285"),
        ("3.4.23", True, "#20893"),
        ("3.5.24", True, "#20893"),
        ("3.6.0", False, "#20009"),
        ("3.6.4", False, "#20009"),
        ("", False, "#20009"),
    ],
)
def test_where_it_is_known_to_fail_the_plan_is_refused_naming_the_version(
    version: str, learner: bool, why: str
) -> None:
    now = situation(lost(version, learner=learner))
    answer = forced(now)
    assert isinstance(answer, Refusal), answer
    assert why in answer.reason and (version or "an unknown version") in answer.reason
    assert (
        "/var/lib/etcd/member/snap/db --skip-hash-check" in answer.reason and "restore-etcd-snapshot" in answer.reason
    )
    by_hand = forced(replace(now, by_hand=True))
    assert isinstance(by_hand, Proposal)  # who has looked may want it nevertheless, and is told
    assert why in " ".join(by_hand.evidence) and any(isinstance(s.operation, WriteFile) for s in by_hand.steps)


def test_a_learner_is_no_trouble_where_it_is_mended() -> None:
    assert isinstance(forced(situation(lost("3.5.25", learner=True))), Proposal)


def test_what_may_be_left_is_told_where_it_is_not_mended() -> None:
    for version, told in (("3.4.23", True), ("3.5.21", True), ("3.5.22", False)):
        proposal = forced(situation(lost(version)))
        assert isinstance(proposal, Proposal)
        assert ("#20055" in " ".join(proposal.evidence)) is told, version


@pytest.mark.parametrize(
    ("said", "version"),
    [("3.4.13", (3, 4, 13)), ("3.6.0-rc.1", (3, 6, 0)), ("v3.5.9", (3, 5, 9)), ("", None), ("3.x", None)],
)
def test_versions_as_etcd_says_them(said: str, version: tuple[int, int, int] | None) -> None:
    assert number(said) == version


def test_every_caveat_names_where_it_was_learnt_and_no_version_is_in_two_of_a_kind() -> None:
    for row in (*FORCE_NEW_CLUSTER, *LEARNERS):
        assert row.source.startswith("etcd-io/etcd#") and row.since < row.mended
    for version in ("3.4.0", "3.4.14", "3.5.0", "3.5.22", "3.6.0", "3.6.1", "3.6.9"):
        sources = [c.source for c in caveats(FORCE_NEW_CLUSTER, version, Cluster(1).members)]
        assert len(sources) == len(set(sources)), version
