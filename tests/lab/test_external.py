"""etcd on three machines of its own (the profile `external-etcd-of-three`), of which two are switched off: no API
server serves, and nothing on the nodes brings them back. recoverd names the servers, offers nothing, touches nothing
while it lasts, and finds the way back to healthy when somebody switches them on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.test_operators_day import until
from tests.lab.witness import boots, pods, ready

LONG = 200.0
"""Seconds without quorum: a person is called after 60, and API servers end and are started in vain several times."""
UNITS = "kubelet", "containerd"


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=2, workers=2, profile="external-etcd-of-three")


def members(cluster: Cluster) -> str:
    return etcd.ctl(cluster.node("etcd1"), "member", "list")


def units(cluster: Cluster) -> dict[str, str]:
    """By node: which processes kubelet and the runtime are."""
    asked = f"systemctl show -P MainPID {' '.join(UNITS)}"
    return {n.name: n.sh(asked, capture_output=True).stdout for n in cluster.nodes}


def test_two_of_three_servers_are_off_and_nothing_is_done_until_they_are_back(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    s = bastion(cluster)
    booted, ran, web, listed = boots(cluster), units(cluster), pods(cluster), members(cluster)
    lost = [cluster.node("etcd3"), cluster.node("etcd2")]
    try:
        lost[0].power_off()
        one = s.wait(
            "one of three is warned of",
            lambda: next((f for f in s.status()["findings"] if f["code"] == "external-etcd-server-down"), None),
            60,
        )
        assert one["subject"] == f"{lost[0].address}:2379" and "2 of 3 do, 2 are needed" in one["message"], one
        assert s.incidents() == [], s.incidents()
        lost[1].power_off()
        off = time.monotonic()
        found = s.wait(
            "that it has no quorum is found",
            lambda: next((f for f in s.status()["findings"] if f["code"] == "external-etcd-fails"), None),
            60,
        )
        print(f"found after {time.monotonic() - off:.1f} s: {found['message']}")
        assert all(f"{n.address}:2379" in found["message"] for n in lost), found
        assert "2 of its 3 members have to run" in found["message"] and "runs without a leader" in found["message"]
        s.wait_state("etcd-stuck", "escalated", 120)
        while time.monotonic() < off + LONG:
            status = s.status()
            # a bastion that is overloaded may see nothing for a sweep
            assert status["state"] in ("etcd-stuck", "unobservable"), status
            assert s.plans(everything=True) == [], s.plans(everything=True)
            time.sleep(2)
        s.wait("it is found still", lambda: "external-etcd-fails" in s.codes(), 60)
        print(s.ctl("status").stdout)
        assert units(cluster) == ran and boots(cluster) == booted
    finally:
        for node in lost:
            node.power_on()
    back = time.monotonic()
    s.wait_state("healthy", seconds=600)
    print(f"healthy {time.monotonic() - back:.1f} s after both were on again")
    until("each API server is ready", lambda: all(ready(n) for n in cluster.nodes if n.name.startswith("cp")))
    (incident,) = s.incidents()
    print(*(f"{e['at']} {e['event']}: {e['detail']}" for e in incident["timeline"]), sep="\n")
    assert incident["closed_at"] and "etcd-stuck" in incident["timeline"][0]["detail"], incident
    # kubelet lets an API server wait that ended in vain several times
    assert {p["playbook"] for p in s.plans(everything=True)} <= {"end-back-off"}, s.plans(everything=True)
    assert boots(cluster) == booted and members(cluster) == listed
    after = units(cluster)
    assert {n for n in after if after[n] != ran[n]} <= {n for n in after if n.startswith("cp")}, (ran, after)
    assert {n: p.uid for n, p in pods(cluster).items()} == {n: p.uid for n, p in web.items()}
