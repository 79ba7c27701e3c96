"""What programs say last: the kernel of a static pod that could say nothing, and a unit whose words nobody knows."""

from __future__ import annotations

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.finding import Diagnosis
from recoverd.playbooks import registry
from recoverd.playbooks.base import Proposal, Refusal
from tests.unit.builders import Cluster
from tests.unit.rungs import situation

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


def test_what_systemd_starts_again_and_again_for_what_is_not_known_is_not_restarted() -> None:
    """A kubelet that had ended forty times was restarted once more, unasked. A reboot asks, and may help."""
    cluster = Cluster(1, 2).node("w1", ready=False).host("w1", journals={"kubelet": ("panic: something new",)})
    cluster.unit("w1", "kubelet", active="activating", sub="auto-restart", restarts=40)
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings).faults[0]
    assert "kubelet on w1 says: panic: something new" in found.evidence
    for name in ("start-node-services", "restart-node-agents"):
        playbook = next(p for p in registry() if p.name == name)
        answer = playbook.propose(found, situation(cluster, found))
        assert isinstance(answer, Refusal) and "systemd starts it again and again" in answer.reason, name
    reboot = next(p for p in registry() if p.name == "rolling-worker-reboot")
    assert isinstance(reboot.propose(found, situation(cluster, found)), Proposal)


def test_one_that_has_ended_once_may_be_started_again() -> None:
    cluster = Cluster(1, 2).node("w1", ready=False)
    cluster.unit("w1", "kubelet", active="failed", sub="failed", restarts=0)
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings).faults[0]
    playbook = next(p for p in registry() if p.name == "start-node-services")
    assert isinstance(playbook.propose(found, situation(cluster, found)), Proposal)


def test_one_that_is_ended_by_a_signal_again_and_again_is_told_of_cgroup_drivers() -> None:
    """Whoever takes its manifest away, or a boot, ends it so as well, once."""
    said = '{"level":"info","msg":"received signal; shutting down","signal":"terminated"}'

    def told(restarts: int) -> str:
        cluster = Cluster(3).etcd_stopped("cp2", restarts=restarts, log_tail=(said,))
        found = diagnose(cluster.observation(), cluster.memory(), cluster.settings).find("etcd-member-down")
        assert found
        return found.message

    assert "SystemdCgroup" in told(3) and "Why" not in told(1)


NOT_A_FILE = (
    'E0101 nestedpendingoperations.go:348] MountVolume.SetUp failed for volume "etcd-certs" (UniqueName: '
    '"kubernetes.io/host-path/0ab-etcd-certs") pod "{}" (UID: "0ab") : hostPath type check failed: '
    "/etc/kubernetes/pki/etcd is not a directory"
)
NOT_CREATED = '"Error syncing pod" err="failed with CreateContainerError: \\"no such device\\"" pod="kube-system/{}"'


@pytest.mark.parametrize(("line", "says"), [(NOT_A_FILE, "is not a directory"), (NOT_CREATED, "no such device")])
def test_a_static_pod_that_the_runtime_does_not_make_is_told_by_kubelets_words(line: str, says: str) -> None:
    """What keeps it down was "not said by anything there"."""

    def told(pod: str, *own: str) -> str:
        cluster = Cluster(3).etcd_stopped("cp2", restarts=5, log_tail=own)
        cluster.host("cp2", journals={"kubelet": (line.format(pod),)})
        found = diagnose(cluster.observation(), cluster.memory(), cluster.settings).find("etcd-member-down")
        assert found
        return found.message

    assert "Why, by kubelet's words: " in told("etcd-cp2") and says in told("etcd-cp2")
    assert says not in told("app-etcd-0"), "another pod's"
    assert says not in told("etcd-cp2", "panic: tocommit(587192) is out of range [lastIndex(587189)]"), (
        "its own, if any"
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("panic: something new", "It ended with: panic: something new."),
        (
            '{"level":"fatal","ts":"1","msg":"discovery failed","error":"a new reason"}',
            "It ended with: discovery failed: a new reason.",
        ),
        ('E0101 10:00:00.0 1 run.go:74] "command failed" err="a new reason"', "It ended with: a new reason."),
        ("F0101 10:00:00.000000       1 hooks.go:203] a new reason", "It ended with: a new reason."),
        ("Error: a new reason", "It ended with: a new reason."),
        ("I0101 10:00:00.0 1 server.go:1] bye", ""),
    ],
)
def test_what_a_static_pod_ends_with_is_told_where_nobody_knows_it(line: str, says: str) -> None:
    cluster = Cluster(3).etcd_stopped("cp2", restarts=5, log_tail=(line, "goroutine 1 [running]:"))
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings).find("etcd-member-down")
    assert found and (says in found.message if says else "It ended with" not in found.message)
