"""Five minutes of ordinary work on a healthy cluster, whatever its machines are (LAB_PROFILE): deployments scaled,
rolled and deleted, a worker drained, one rebooted, kube-proxy rolled out, and the CNI's agent and the cluster's DNS
where there are such. recoverd has no incident but the reboot while it lasts, offers nothing and does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread

import pytest

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.test_operators_day import drain_and_reboot, is_ready, roll_out, until

CHURN = 300.0
"""Seconds that it lasts at least; every piece of work is done at least once."""
AFTER = 20.0
"""Seconds after a reboot for which it may still be found: two sweeps and the node's own first heartbeat."""


def kubectl(*commands: str) -> Callable[[Cluster], None]:
    def work(cluster: Cluster) -> None:
        cluster.node("cp1").sh("; ".join(f"kubectl {c} >/dev/null" for c in commands))

    work.__name__ = commands[0]
    return work


def reboot(cluster: Cluster) -> None:
    cluster.node("w2").reboot()
    until("w2 is Ready", lambda: is_ready(cluster.node("cp1"), "w2"))


def roll_out_overlay(cluster: Cluster) -> None:
    """The CNI's agent, and then the cluster's DNS, where they are pods."""
    for what in ("daemonset/kube-flannel-ds", "deployment/coredns") if cluster.profile.overlaid else ():
        cluster.node("cp1").sh(
            f"kubectl -n kube-system rollout restart {what} >/dev/null; "
            f"kubectl -n kube-system rollout status {what} --timeout=180s >/dev/null"
        )


EXTRA = (
    "create deployment extra --image=docker.io/lab/busybox:1 --replicas=4 -- /bin/busybox httpd -f -p 8080",
    "expose deployment extra --port=80 --target-port=8080",
)
WORK = (
    kubectl("scale deploy/web --replicas=8"),
    kubectl("rollout restart deploy/web"),
    kubectl(*EXTRA),
    kubectl("scale deploy/web --replicas=3"),
    roll_out,
    roll_out_overlay,
    kubectl("delete pod -l app=web --grace-period=0 --force"),
    drain_and_reboot,
    kubectl("delete deployment/extra service/extra"),
    kubectl("scale deploy/web --replicas=6", "rollout restart deploy/web"),
    reboot,
    kubectl("delete pod -l app=web"),
)
REBOOTED = {drain_and_reboot.__name__: "w1", reboot.__name__: "w2"}


@dataclass
class Watch:
    """Asks once a second what is found, until `end`; says then what it was while which work was done."""

    s: Bastion
    work: str = ""
    seen: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    """(work, code, subject, message) of faults in an incident, and how often it was said. What one sweep alone has seen
    is none: on a busy machine the lab's balancer takes an API server for dead that needs a second to answer.
    """
    _ended: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self._thread = Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._ended.wait(1):
            status = self.s.status()
            for f in status["findings"] if status["incident"] else ():
                if f["severity"] == "fault":
                    key = (self.work, f["code"], f["subject"], f["message"])
                    self.seen[key] = self.seen.get(key, 0) + 1

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.mark.timeout(3000)
def test_five_minutes_of_ordinary_work_are_nobodys_fault(
    bring_up: Callable[..., Cluster], bastion: Callable[..., Bastion]
) -> None:
    cluster = bring_up(control_planes=1, workers=3)
    s = bastion(cluster)
    s.wait_network(cluster)
    watch, began = Watch(s), time.monotonic()
    try:
        for turn in range(1000):
            piece = WORK[turn % len(WORK)]
            if turn >= len(WORK) and time.monotonic() - began > CHURN:
                break
            watch.work = piece.__name__
            piece(cluster)
            # what comes of it is its own still, and no two pieces are of the same length
            time.sleep(AFTER if piece.__name__ in REBOOTED else turn * 7 % 9 + 2)
    finally:
        watch.end()
        cluster.node("cp1").sh(
            "kubectl delete deployment/extra service/extra --ignore-not-found; kubectl scale deploy/web --replicas=4; "
            "kubectl rollout status deploy/web --timeout=180s",
            check=False,
        )
    for (work, code, subject, message), times in watch.seen.items():
        print(f"{work}: {code} {subject}, {times} times: {message}")
    wrong = [k for k in watch.seen if k[2] != REBOOTED.get(k[0])]
    assert not wrong, wrong
    assert s.plans(everything=True) == []
    s.wait_state("healthy", seconds=60)
    assert [i for i in s.incidents() if not i["closed_at"]] == []
