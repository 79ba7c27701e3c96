"""What the kernel has done to a static pod is its cause, where the pod itself could say nothing."""

from __future__ import annotations

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.finding import Diagnosis
from tests.unit.builders import Cluster

KILLED = "Out of memory: Killed process 12345 ({}) total-vm:11024864kB, anon-rss:812344kB, UID:0"


def ended(kernel: str, *own: str) -> Diagnosis:
    cluster = Cluster(3, 1).host("cp2", journals={"kernel": (kernel,)})
    cluster.etcd_stopped("cp2", log_tail=own, restarts=9).api_down("cp2")
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings)


@pytest.mark.parametrize("own", [(), ('"x509: certificate signed by unknown authority"',)])
def test_a_member_that_the_kernel_killed(own: tuple[str, ...]) -> None:
    found = ended(KILLED.format("etcd"), *own).faults[0]
    assert "Why, by kernel's words: the kernel killed etcd for want of memory" in found.message
    assert any("Killed process" in line for line in found.evidence)


def test_what_was_done_to_others_and_what_it_says_itself_is_no_matter_of_the_kernels() -> None:
    assert "kernel" not in ended(KILLED.format("java")).faults[0].message
    own = "panic: tocommit(587192) is out of range [lastIndex(587189)]. Was the raft log corrupted, truncated, or lost?"
    assert "kernel" not in ended(KILLED.format("etcd"), own).faults[0].message
