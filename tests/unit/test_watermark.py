"""How far etcd's history was seen to come: known to the second in memory, written now and then, compared
with what a restore brings back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from recoverd.machine import ClusterMachine
from recoverd.memory.remember import WATERMARK_EVERY
from recoverd.model.catalogue import Code
from recoverd.model.events import Event, Observed, Remember, Restarted, Stopping
from recoverd.model.finding import State
from recoverd.model.memory import Memory
from recoverd.model.observation import EndpointHealth, Unseen, UnseenKind
from tests.unit.builders import NOW, Cluster, member_id

Change = Callable[[Cluster], object]


class Daemon:
    """One machine of a cluster of three control planes, and what a journal holds of its memory: without one,
    it has seen it healthy at `NOW`.
    """

    def __init__(self, written: Memory | None = None) -> None:
        self.journal = written or Cluster(3).memory()
        self.machine = ClusterMachine(Cluster(3).settings, (), now=NOW, memory=self.journal)
        if written is None:
            self.sweep(0, 1234)

    def give(self, event: Event) -> list[Remember]:
        """The memories that this has written."""
        found = [i for i in self.machine.handle(event) if isinstance(i, Remember)]
        for remember in found:
            self.journal = remember.memory
        return found

    def sweep(self, seconds: float, revision: int, change: Change = lambda _: None) -> list[Remember]:
        cluster = Cluster(3, now=NOW + timedelta(seconds=seconds))
        cluster.etcd_changed(revision=revision)
        change(cluster)
        return self.give(Observed(cluster.observation()))

    @property
    def revision(self) -> int:
        return revision_of(self.machine.memory)

    def went_back(self) -> bool:
        assert self.machine.diagnosis is not None
        return self.machine.diagnosis.find(Code.ETCD_REVISION_WENT_BACK) is not None


def revision_of(memory: Memory) -> int:
    assert memory.watermark is not None
    return memory.watermark.revision


def test_data_that_is_seconds_old_is_seen_to_be_older() -> None:
    daemon = Daemon()
    daemon.sweep(5, 2000)
    daemon.sweep(10, 2050)
    daemon.sweep(15, 2040)
    assert daemon.went_back()
    setback = daemon.machine.memory.setback
    assert setback is not None and (setback.was, setback.now) == (2050, 2040)
    assert setback.reference == NOW + timedelta(seconds=10), (
        "agents that were started after that never followed the lost history"
    )


def test_the_journal_is_not_written_for_every_revision() -> None:
    daemon = Daemon()
    times = [seconds for seconds in range(5, 121, 5) if daemon.sweep(seconds, 2000 + seconds)]
    assert times == [30, 60, 90, 120] and WATERMARK_EVERY == 30
    assert daemon.revision == 2120


@pytest.mark.parametrize("change", [Cluster.api_down, Cluster.everything_dark], ids=["down", "dark"])
def test_what_was_seen_last_is_written_when_a_fault_begins_and_not_again_each_sweep(change: Change) -> None:
    daemon = Daemon()
    assert not daemon.sweep(5, 2000)
    assert revision_of(daemon.journal) == 1234
    assert daemon.sweep(10, 2000, change)
    assert revision_of(daemon.journal) == 2000
    assert not daemon.sweep(15, 2010, change)


def test_during_an_incident_the_history_goes_on() -> None:
    daemon = Daemon()
    for seconds in range(5, 30, 5):
        daemon.sweep(seconds, 2000 + seconds, Cluster.api_down)
    assert daemon.machine.record.incident is not None and daemon.revision == 2025
    daemon.sweep(30, 2010, Cluster.api_down)
    assert daemon.went_back()


def test_a_member_without_a_leader_does_not_say_how_far_the_history_has_come() -> None:
    daemon = Daemon()
    daemon.sweep(5, 2000, Cluster.no_leader)
    assert daemon.revision == 1234


def test_another_clusters_revision_counts_only_when_it_is_healthy() -> None:
    """A cluster that was restored with a bump, and whose API is not back yet: which one is the truth,
    is not decided by its revision.
    """
    daemon = Daemon()
    restored = 1_000_001_234

    daemon.sweep(5, restored, lambda c: c.etcd_changed(cluster_id="feed").api_down())
    assert daemon.revision == 1234
    for seconds in (10, 15, 20):
        daemon.sweep(seconds, restored, lambda c: c.etcd_changed(cluster_id="feed"))
    assert daemon.revision == restored


def test_a_setback_is_compared_with_the_history_that_is_gone_until_it_is_over() -> None:
    daemon = Daemon()
    daemon.sweep(5, 2000)
    for seconds, revision in ((10, 900), (15, 950), (20, 2500), (25, 3000)):
        daemon.sweep(seconds, revision)
    assert daemon.went_back() and daemon.revision == 2000


def test_a_setback_that_shows_before_it_is_read_whose_data_these_are_is_not_taken_for_the_history() -> None:
    """An etcd that has just started on a busy machine tells its revision, and the keys come in time only later."""
    daemon = Daemon()
    daemon.sweep(5, 2000, lambda c: c.etcd_changed(uid="the one"))
    for seconds in (10, 15):
        daemon.sweep(seconds, 900 + seconds, lambda c: c.etcd_changed(uid=None, nodes=None))
        assert not daemon.went_back()
        assert daemon.revision == 2000, "by it the next sweep knows too that etcd is behind"
    daemon.sweep(20, 930, lambda c: c.etcd_changed(uid="the one"))
    assert daemon.went_back()
    setback = daemon.machine.memory.setback
    assert setback is not None and (setback.was, setback.reference) == (2000, NOW + timedelta(seconds=5))


def unlisted(cluster: Cluster) -> None:
    cluster.objects = Unseen(UnseenKind.TIMEOUT, "no answer within 4 s")


def api_unasked(cluster: Cluster) -> None:
    cluster.api_down(health=EndpointHealth.NOT_TRIED)


@pytest.mark.parametrize("blind", [unlisted, api_unasked], ids=["partly", "dark"])
def test_the_history_goes_on_in_sweeps_that_do_not_show_whether_all_is_well(blind: Change) -> None:
    """On a busy machine one source or another is late in every sweep; what etcd itself has said holds."""
    daemon = Daemon()
    for seconds in range(5, 30, 5):
        daemon.sweep(seconds, 2000 + seconds, blind)
        assert daemon.machine.diagnosis is not None and daemon.machine.diagnosis.state is State.UNOBSERVABLE
    assert daemon.revision == 2025
    daemon.sweep(30, 2010)
    assert daemon.went_back()


def test_what_the_journal_did_not_take_is_written_with_the_next_sweep() -> None:
    daemon = Daemon()
    before = daemon.machine.state
    daemon.sweep(30, 2030)
    assert daemon.journal.watermark is not None and revision_of(daemon.journal) == 2030
    daemon.machine.state = before
    daemon.machine.drop()  # its transaction has failed
    assert daemon.revision == 1234
    assert daemon.sweep(35, 2035)


def test_an_end_in_good_order_loses_nothing_of_it() -> None:
    daemon = Daemon()
    assert not daemon.sweep(5, 2000)
    assert daemon.give(Stopping(NOW + timedelta(seconds=6)))
    assert not daemon.give(Stopping(NOW + timedelta(seconds=7))), "it is written already"
    successor = Daemon(daemon.journal)
    successor.give(Restarted(NOW + timedelta(seconds=60)))
    successor.sweep(62, 1990)
    assert successor.went_back()


def test_one_torn_sweep_is_no_setback() -> None:
    """A new leader on a slow disk had not applied everything yet; by the next sweep it has."""
    daemon = Daemon()
    daemon.sweep(5, 2000)
    daemon.sweep(10, 1990)
    assert daemon.machine.memory.setback is not None and not daemon.machine.memory.setback.proven
    daemon.sweep(15, 2005)
    assert not daemon.went_back() and daemon.machine.memory.setback is None and daemon.revision == 2005


def test_what_one_sweep_showed_is_not_shown_again_by_one_that_sees_no_etcd() -> None:
    daemon = Daemon()
    daemon.sweep(5, 2000)
    daemon.sweep(10, 1990)
    daemon.sweep(15, 1990, lambda c: c.ssh_fails("cp1", "cp2", "cp3"))
    assert not daemon.went_back()
    daemon.sweep(20, 1995)
    assert daemon.went_back() and daemon.machine.memory.setback is not None and daemon.machine.memory.setback.proven


def test_the_other_side_of_a_split_brain_is_not_our_history_gone_back() -> None:
    """cp1 went on alone after --force-new-cluster; cp2 and cp3 come back with old data, and the same cluster id."""
    alone = Cluster(1).memory()
    for seen in (("cp1", "cp2", "cp3"), ("cp2", "cp3")):
        machine = ClusterMachine(Cluster(3).settings, (), now=NOW, memory=alone)
        for seconds in (0, 5, 10):
            cluster = Cluster(3, now=NOW + timedelta(seconds=seconds))
            cluster.etcd_changed("cp2", "cp3", leader=member_id("cp2"), revision=900)
            cluster.etcd_changed("cp1", members=(cluster.entry("cp1"),))
            cluster.ssh_fails(*(n for n in cluster.joined if n not in seen))
            machine.handle(Observed(cluster.observation()))
            assert machine.diagnosis is not None and machine.diagnosis.find(Code.ETCD_REVISION_WENT_BACK) is None
        assert machine.memory.setback is None and revision_of(machine.memory) == 1234
