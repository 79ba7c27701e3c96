"""haproxy and keepalived on the control planes themselves (the profile `ha-nodes`): the cluster's address moves, is
nobody's, is two machines', or leads to nothing, while every API server serves. recoverd says so, of the machine where
it is so, and has nothing to repair: no etcd, no API server, no worker is ill.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab import balanced
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node
from tests.lab.test_operators_day import is_ready, until
from tests.lab.witness import boots, ready

PLANES = ("cp1", "cp2", "cp3")
HAPROXY, KEEPALIVED = (f"{balanced.MANIFESTS}/{name}.yaml" for name in ("haproxy", "keepalived"))
LONG = 100.0
"""Seconds for which the address is away: kubelets ask by it, and their nodes are not Ready after 40 of them."""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, spares=1, workers=2, profile="ha-nodes")


def planes(cluster: Cluster) -> list[Node]:
    return [cluster.node(name) for name in PLANES]


def holder(cluster: Cluster) -> Node:
    """The one machine that has the address, once one alone has it."""
    found: list[str] = []

    def one() -> bool:
        found[:] = balanced.holders(planes(cluster))
        return len(found) == 1

    until("one machine has the address", one)
    return cluster.node(found[0])


@contextmanager
def without(nodes: list[Node], *files: str) -> Iterator[None]:
    """Files are away from their places, and come back."""
    held = " ".join(f"/root/held/{file.rpartition('/')[2]}" for file in files)
    for node in nodes:
        node.sh(f"mkdir -p /root/held; mv {' '.join(files)} /root/held/")
    try:
        yield
    finally:
        for node in nodes:
            places = "; ".join(
                f"cp -p {h} {f}.new && mv {f}.new {f} && rm {h}" for h, f in zip(held.split(), files, strict=True)
            )
            node.sh(places)


def serving(cluster: Cluster) -> dict[str, str]:
    """By control plane: since when its API server and its etcd run, as the machine has it."""
    asked = "for p in kube-apiserver etcd; do stat -c '%n %Z' /proc/$(pgrep -xo $p); done"
    return {n.name: n.sh(asked, capture_output=True).stdout for n in planes(cluster)}


def unharmed(cluster: Cluster, s: Bastion, before: dict[str, str], began: dict[str, str]) -> None:
    """Nothing was carried out or offered, and everything runs that ran."""
    s.wait_state("healthy", seconds=180)
    assert s.plans(everything=True) == []
    assert boots(cluster) == before and serving(cluster) == began
    assert etcd.members(cluster.node("cp1")) == list(PLANES)


def watched(s: Bastion, seconds: float) -> set[tuple[str, str, str]]:
    """(code, subject, message) of every fault that is found meanwhile."""
    found, deadline = set[tuple[str, str, str]](), time.monotonic() + seconds
    while time.monotonic() < deadline:
        found |= {(f["code"], f["subject"], f["message"]) for f in s.status()["findings"] if f["severity"] == "fault"}
        time.sleep(1)
    for line in sorted(found):
        print(*line)
    return found


def test_the_address_moves_to_another_machine_and_nothing_is_done(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """keepalived ends on the machine that has it, and is started again; then that machine is rebooted."""
    s = bastion(cluster, planes=PLANES)
    assert all(ready(n) for n in planes(cluster)) and s.status()["state"] == "healthy"
    first = holder(cluster)
    began = serving(cluster)
    with without([first], KEEPALIVED):
        until("another machine has it", lambda: holder(cluster).name != first.name)
    until("keepalived is there again", lambda: first.answers("pgrep -x keepalived"))
    s.wait_state("healthy", seconds=60)
    assert s.incidents() == [] and serving(cluster) == began
    rebooted = holder(cluster)
    rebooted.reboot()
    other = next(n for n in planes(cluster) if n.name != rebooted.name)
    until("it is Ready", lambda: is_ready(other, rebooted.name) and ready(rebooted))
    holder(cluster)
    s.wait_state("healthy", seconds=180)
    assert s.plans(everything=True) == []
