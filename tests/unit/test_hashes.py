"""The CORRUPT alarm that names no member: a majority of equal hashes says whose data are wrong."""

from __future__ import annotations

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.etcd import AlarmEntry, Hashed
from recoverd.model.etcd_operations import DisarmAlarm
from recoverd.model.finding import Diagnosis
from recoverd.playbooks.base import Proposal, Refusal
from tests.unit.builders import Cluster
from tests.unit.rungs import ask, situation


def seen(cluster: Cluster) -> Diagnosis:
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings)


def faults(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    return [f.key for f in diagnosis.faults]


@pytest.mark.parametrize(
    ("hashes", "wrong"),
    [
        ((7, 7, 9), ["cp3"]),
        ((7, None, 9), []),
        ((7, 8, 9), []),
        ((7, 7, None), []),
        ((7, 7, 7), []),
    ],
    ids=["one differs", "no majority is seen", "all differ", "the third is not seen", "all are equal"],
)
def test_corruption_of_nobody_is_laid_at_the_door_of_whom_a_majority_contradicts(
    hashes: tuple[int | None, ...], wrong: list[str]
) -> None:
    cluster = Cluster(3, 2).etcd_changed(alarms=(AlarmEntry("0", "CORRUPT"),), healthy=False)
    for name, value in zip(cluster.joined, hashes, strict=True):
        cluster.etcd_changed(name, hashed=None if value is None else Hashed(1200, 900, value))
    diagnosis = seen(cluster)
    assert faults(diagnosis) == [(Code.ETCD_CORRUPT, n) for n in wrong or ["any"]]
    answer = ask("rebuild-member", situation(cluster, *diagnosis.faults))
    equal = len(set(hashes)) == 1
    assert ("all are equal now" in diagnosis.faults[0].message) is equal
    if not wrong:
        assert isinstance(answer, Refusal) and ("etcdctl alarm disarm" in answer.reason) is equal
        return
    assert isinstance(answer, Proposal) and "asked of cp3" not in answer.summary
    assert [o for s in answer.steps if isinstance(o := s.operation, DisarmAlarm)] == [DisarmAlarm("0", "CORRUPT")]
    assert "cp1: hash 7 at revision 1200, compacted at 900" in answer.evidence


def test_hashes_of_other_revisions_are_not_compared() -> None:
    cluster = Cluster(3, 2).etcd_changed(alarms=(AlarmEntry("0", "CORRUPT"),), hashed=Hashed(1200, 900, 7))
    cluster.etcd_changed("cp3", hashed=Hashed(1200, 950, 9))
    assert faults(seen(cluster)) == [(Code.ETCD_CORRUPT, "any")], "it has dropped more of its history"
    cluster.etcd_changed("cp3", hashed=Hashed(1200, 900, 9), alarms=())
    assert faults(seen(cluster)) == [(Code.ETCD_CORRUPT, "cp3")]
    cluster.etcd_changed(alarms=())
    assert faults(seen(cluster)) == [], "without the alarm nothing is said by them"
