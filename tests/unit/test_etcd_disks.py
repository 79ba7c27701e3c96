"""How slow a member's disk is: read from two readings of its metrics, and told well above etcd's guide only."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from recoverd.clients.etcd_metrics import Reading, reading
from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.etcd import DiskTimes
from recoverd.model.finding import Severity, State
from recoverd.playbooks import registry
from tests.unit.builders import Cluster

BOUNDS = [0.001 * 2**i for i in range(14)]
"""etcd's own."""


def text(name: str, *took: float) -> str:
    rows = [f'{name}_bucket{{le="{le:g}"}} {sum(t <= le for t in took)}' for le in BOUNDS]
    rows += [f'{name}_bucket{{le="+Inf"}} {len(took)}', f"{name}_sum {sum(took)}", f"{name}_count {len(took)}"]
    return "\n".join((f"# HELP {name} x", f"# TYPE {name} histogram", *rows))


FSYNC, COMMIT = "etcd_disk_wal_fsync_duration_seconds", "etcd_disk_backend_commit_duration_seconds"


def metrics(fsync: list[float], commit: list[float] | None = None) -> str:
    quota = "# TYPE etcd_server_quota_backend_bytes gauge\netcd_server_quota_backend_bytes 2.147483648e+09"
    other = '# TYPE grpc histogram\ngrpc_server_handled_total{grpc_code="OK"} 7'
    return "\n".join((other, text(FSYNC, *fsync), quota, text(COMMIT, *(commit or [])), ""))


def between(before: list[float], after: list[float]) -> DiskTimes | None:
    return reading(metrics(before + after), 70.0).since(reading(metrics(before), 10.0))[0]


def test_only_what_was_added_counts() -> None:
    slow, quick = [2.0] * 50, [0.0008] * 200
    times = between(slow, quick)
    assert times == DiskTimes(60.0, 200, pytest.approx(0.00099), 0)
    times = between(quick, slow)
    assert times is not None and (times.count, times.slow) == (50, 50) and 1.024 < times.p99 <= 2.048
    assert reading(metrics([]), 0.0).quota == 2147483648


def test_beyond_the_last_bucket_is_its_bound() -> None:
    times = between([], [60.0] * 30)
    assert times is not None and times.p99 == pytest.approx(8.192) and times.slow == 30


def test_a_member_that_was_started_anew_and_one_that_says_nothing_tell_no_times() -> None:
    full, none = reading(metrics([0.1] * 9), 10.0), Reading(0.0)
    assert reading(metrics([0.1]), 70.0).since(full) == (None, None)
    assert full.since(none) == none.since(full) == (None, None)
    quick, anew = reading(metrics([0.0005] * 9), 10.0), reading(metrics([2.0] * 30), 70.0)
    assert anew.since(quick)[0] is None, "it has counted more since it was started anew, and fewer quick ones"
    assert full.since(replace(full, at=1.0))[0] is None, "nothing was added"
    assert reading("", 0.0) == Reading(0.0, 0, {}, {})
    assert math.inf in full.fsync


SLOW = DiskTimes(60.0, 900, 0.25, 40)


@pytest.mark.parametrize(
    ("fsync", "commit", "told"),
    [
        (SLOW, None, True),
        (None, SLOW, True),
        (replace(SLOW, p99=0.099), None, False),
        (None, replace(SLOW, p99=0.249), False),
        (replace(SLOW, count=19), None, False),
        (replace(SLOW, slow=4), None, False),
        (DiskTimes(60.0, 20, 2.0, 20), None, True),
        (None, None, False),
    ],
)
def test_it_is_a_warning_with_its_numbers_well_above_the_guide(
    fsync: DiskTimes | None, commit: DiskTimes | None, told: bool
) -> None:
    cluster = Cluster(3).etcd_changed("cp2", fsync=fsync, commit=commit)
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    assert found.state is State.HEALTHY
    finding = found.find(Code.ETCD_SLOW_DISK)
    assert (finding is not None) is told
    if finding is not None:
        assert (finding.severity, finding.subject, finding.facts.host) == (Severity.WARNING, "cp2", "cp2")
        assert "ms (etcd's guide: " in finding.message and len(finding.evidence) == 1


def test_it_is_never_a_reason_to_act() -> None:
    assert not [p.name for p in registry() if Code.ETCD_SLOW_DISK in p.repairs]


def test_what_a_member_said_before_says_nothing_of_its_disk_now() -> None:
    cluster = Cluster(3).etcd_changed("cp2", fsync=SLOW, remembered="it is mute")
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    assert found.find(Code.ETCD_SLOW_DISK) is None
