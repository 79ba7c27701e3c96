"""`end-back-off`: a static pod is started at once where what it ended for is seen to be there again, and left to
kubelet's own time everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.etcd import AlarmEntry
from recoverd.model.memory import Memory
from recoverd.model.observation import EtcdDataView, Observation
from recoverd.model.settings import Approval
from recoverd.model.unit_operations import Unstick
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal, Wait
from tests.unit.builders import Cluster, member_id
from tests.unit.test_elsewhere import sweep, waiting
from tests.unit.test_outside import servers
from tests.unit.test_places import external
from tests.unit.test_playbooks import asked, situation
from tests.unit.test_words import FULL, NO_SPACE, ROOT, disk

NAME, API = "end-back-off", "kube-apiserver"
NO_ETCD = 'Error while dialing dial tcp 127.0.0.1:2379: connect: connection refused". Reconnecting...'
ROOM = replace(FULL, free=300 << 20)
GONE = EtcdDataView("/var/lib/etcd", False, True)
Change = Callable[[Cluster], object]


def api_waits(cluster: Cluster, *names: str, said: str = NO_ETCD) -> Cluster:
    """It ended for want of etcd, which serves again."""
    for name in names:
        cluster.container(name, API, running=False, exit_code=1, restarts=5, log_tail=(said,))
    return cluster.api_down(*names)


def etcd_waits(cluster: Cluster, *names: str) -> Cluster:
    for name in names:
        disk(cluster.etcd_stopped(name, restarts=5, log_tail=(NO_SPACE,)), name, ROOT, ROOM)
    return cluster


def starts(answer: Answer) -> list[tuple[str, str]]:
    assert isinstance(answer, Proposal), answer
    operations = [(s.host, s.operation) for s in answer.steps]
    assert all(isinstance(o, Unstick) and o.patience for _, o in operations), "kubelet may be quicker"
    return [(host, o.component) for host, o in operations if isinstance(o, Unstick)]


def test_an_api_server_is_started_when_its_etcd_serves_again() -> None:
    answer = asked(NAME, Code.CRASH_LOOPING, api_waits(Cluster(1), "cp1"))
    assert starts(answer) == [("cp1", API)]
    assert isinstance(answer, Proposal) and not answer.asks
    assert Cluster(1).settings.approval_of(NAME) is Approval.AUTOMATIC
    assert answer.evidence[-1] == f"{API} on cp1 ended for want of an etcd that serves: that is there now"


def test_kubelet_is_given_the_time_in_which_it_starts_what_does_not_wait() -> None:
    """As an API server whose manifest a person has put back together with etcd's, a moment ago."""
    early = asked(NAME, Code.CRASH_LOOPING, api_waits(Cluster(1), "cp1"), minutes=0.2)
    assert isinstance(early, Wait) and "15 s" in early.reason


def test_all_that_wait_are_started_by_one_plan() -> None:
    assert starts(asked(NAME, Code.CRASH_LOOPING, api_waits(Cluster(3), "cp1", "cp3"))) == [("cp1", API), ("cp3", API)]
    both = etcd_waits(Cluster(3), "cp2", "cp3").no_leader().api_down()
    assert starts(asked(NAME, Code.ETCD_MEMBER_DOWN, both)) == [("cp2", "etcd"), ("cp3", "etcd")]


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.no_leader(),
        lambda c: c.etcd_changed("cp1", remembered="it is being restarted"),
        lambda c: c.etcd_changed("cp1", alarms=(AlarmEntry(member_id("cp1"), "NOSPACE"),)),
        lambda c: c.container("cp1", API, log_tail=("Error: unknown flag: --no-such",)),
        lambda c: c.container("cp1", API, log_tail=()),
        lambda c: c.container("cp1", API, running=True, started_at=c.now),
    ],
    ids=["no leader", "not asked just now", "takes no writes", "other words", "no word", "it runs"],
)
def test_an_api_server_is_left_to_kubelet_where_that_is_not_so(change: Change) -> None:
    cluster = api_waits(Cluster(1), "cp1")
    change(cluster)
    found = situation(cluster)
    playbook = next(p for p in registry() if p.name == NAME)
    assert not [f for f in found.confirmed if f.code in playbook.repairs and playbook.propose(f, found)]


def test_an_etcd_is_started_when_its_disk_has_room_and_not_before() -> None:
    waits = etcd_waits(Cluster(3), "cp2")
    assert starts(asked(NAME, Code.ETCD_MEMBER_DOWN, waits)) == [("cp2", "etcd")]
    for full in (replace(FULL, free=0), replace(ROOM, read_only=True), replace(ROOM, inodes=0)):
        assert asked(NAME, Code.ETCD_MEMBER_DOWN, disk(waits, "cp2", ROOT, full)) is None
    assert asked(NAME, Code.ETCD_MEMBER_DOWN, Cluster(3).powered_off("cp3")) is None


def test_nothing_is_started_over_an_empty_directory_or_before_an_etcd_that_lost_its_data() -> None:
    answer = asked(NAME, Code.ETCD_MEMBER_DOWN, etcd_waits(Cluster(3), "cp2").host("cp2", etcd_data=GONE))
    assert answer is None or (isinstance(answer, Refusal) and "start etcd on nothing" in answer.reason)
    anew = api_waits(Cluster(1), "cp1").etcd_changed("cp1", cluster_id="beef", revision=4, nodes=0)
    answer = asked(NAME, Code.CRASH_LOOPING, anew)
    assert isinstance(answer, Refusal) and "is left to wait in its back-off" in answer.reason


def test_of_an_etcd_elsewhere_that_serves_others_the_way_may_be_what_fails_this_one() -> None:
    def offered(seen: Observation) -> list[str]:
        now = situation(Cluster(3), memory=Memory())
        found = replace(now, observation=seen, diagnosis=diagnose(seen, Memory(), now.settings))
        playbook = next(p for p in registry() if p.name == NAME)
        mine = [f for f in found.diagnosis.faults if f.code in playbook.repairs]
        found = replace(found, confirmed=tuple(mine), since={f.key: found.now - timedelta(minutes=1) for f in mine})
        answers = [playbook.propose(f, found) for f in mine]
        return sorted({s.host for a in answers if isinstance(a, Proposal) for s in a.steps})

    every = sweep(servers(1000), api_waits(waiting(), "cp1", "cp2", "cp3"))
    assert offered(every) == ["cp1", "cp2", "cp3"]
    others = api_waits(external(), "cp1", "cp2")
    assert offered(sweep(servers(1000), others, by="cp1")) == ["cp1"], "by whose way it was asked"
    assert offered(sweep(servers(1000), others, by="cp3")) == []
