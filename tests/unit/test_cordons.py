"""Clusters with hardly a node left that takes new pods."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.observation import ObjectsView
from recoverd.observe.objects import nodes_of
from tests.unit.builders import Cluster

CLOUD = "node.cloudprovider.kubernetes.io/uninitialized:NoSchedule"
NO_NETWORK = "node.kubernetes.io/network-unavailable:NoSchedule"
LONG = timedelta(seconds=200)


def tainted(*of_nodes: dict[str, Any], waiting: int = 1, since: timedelta = LONG) -> Diagnosis:
    """One for each worker: what is different of its node."""
    cluster = Cluster(1, len(of_nodes))
    for name, node in zip(cluster.workers, of_nodes, strict=True):
        cluster.node(name, since=cluster.now - since, **node)
    seen = cluster.observation()
    assert isinstance(seen.api.objects, ObjectsView)
    objects = replace(seen.api.objects, pods={**seen.api.objects.pods, "": waiting})
    return diagnose(replace(seen, api=replace(seen.api, objects=objects)), cluster.memory(), cluster.settings)


@pytest.mark.parametrize(
    ("nodes", "waiting", "since", "found"),
    [
        pytest.param(
            [{"taints": (CLOUD,)}] * 2, 1, LONG, [("nodes-take-no-pods", "", Severity.FAULT)], id="all by a controller"
        ),
        pytest.param([{"taints": (CLOUD,)}] * 2, 1, LONG / 4, [], id="and Ready since a moment"),
        pytest.param(
            [{"taints": (CLOUD,)}] * 2,
            0,
            LONG,
            [("node-not-initialised", w, Severity.WARNING) for w in ("w1", "w2")],
            id="and nothing waits",
        ),
        pytest.param(
            [{"taints": (CLOUD,)}, {}], 1, LONG, [("node-not-initialised", "w1", Severity.WARNING)], id="one of two"
        ),
        pytest.param(
            [{"taints": ("dedicated:NoExecute",)}] * 2,
            3,
            LONG,
            [("nodes-take-no-pods", "", Severity.WARNING)],
            id="all by a person",
        ),
        pytest.param([{"taints": ("dedicated:NoExecute",)}] * 2, 0, LONG, [], id="and every pod tolerates it"),
        pytest.param([{"taints": ("dedicated:NoSchedule",)}, {}], 3, LONG, [], id="one by a person"),
        pytest.param(
            [{"taints": (CLOUD,)}, {"unschedulable": True}],
            1,
            LONG,
            [("nodes-take-no-pods", "", Severity.WARNING)],
            id="one of each",
        ),
        pytest.param(
            [{"taints": (CLOUD,), "ready": False}, {}],
            1,
            LONG,
            [("node-not-ready", "w1", Severity.FAULT)],
            id="not Ready",
        ),
        pytest.param([{"taints": (NO_NETWORK,)}, {}], 1, LONG, [], id="no network since a moment"),
    ],
)
def test_nodes_that_take_no_pods_for_a_taint(
    nodes: list[dict[str, Any]], waiting: int, since: timedelta, found: list[tuple[str, str, Severity]]
) -> None:
    """Every pod was Pending, and the cluster was healthy."""
    diagnosis = tainted(*nodes, waiting=waiting, since=since)
    assert [(str(f.code), f.subject, f.severity) for f in diagnosis.findings if f.code != Code.SOURCE_UNSEEN] == found
    broken = any(s is Severity.FAULT for _, _, s in found)
    assert (diagnosis.state is State.WORKER_NETWORK_BROKEN) is broken


def test_what_a_person_does_about_a_taint_is_said() -> None:
    (all_of_them,) = tainted({"taints": (CLOUD,)}, {"taints": (CLOUD, "dedicated:NoSchedule")}, waiting=2).findings
    assert all_of_them.severity is Severity.WARNING and "2 wait now" in all_of_them.message
    assert "cloud-controller-manager" in all_of_them.message and "kubectl taint nodes NAME KEY-" in all_of_them.message
    away = tainted({"taints": (NO_NETWORK,), "without_network": Cluster(1, 1).now - LONG}, {}).findings
    assert [f.code for f in away] == [Code.NODE_UNINITIALISED] and "NetworkUnavailable" in away[0].message


def judged(workers: int, cordoned: int, *, waiting: int = 0, busy: str = "", **node: Any) -> Diagnosis:
    cluster = Cluster(1, workers)
    for number in range(1, cordoned + 1):
        cluster.node(f"w{number}", unschedulable=True, **node)
    seen = cluster.observation()
    assert isinstance(seen.api.objects, ObjectsView)
    objects = replace(seen.api.objects, pods={**seen.api.objects.pods, "": waiting})
    return diagnose(replace(seen, api=replace(seen.api, objects=objects)), cluster.memory(), cluster.settings, busy)


@pytest.mark.parametrize(
    ("workers", "cordoned", "found"),
    [
        (2, 1, False),
        (2, 2, True),
        (3, 1, False),
        (3, 2, True),
        (3, 3, True),
        (4, 2, False),
        (5, 4, True),
        (1, 1, False),
    ],
)
def test_all_and_all_but_one_of_several_are_a_warning(workers: int, cordoned: int, found: bool) -> None:
    diagnosis = judged(workers, cordoned)
    assert [(f.code, f.severity) for f in diagnosis.findings] == [(Code.NODES_CORDONED, Severity.WARNING)] * found
    assert diagnosis.state is State.HEALTHY


def test_who_is_cordoned_since_when_and_who_waits_is_said() -> None:
    at = datetime(2026, 3, 5, 17, 42, tzinfo=UTC)
    (all_of_them,) = judged(2, 2, waiting=3, cordoned_at=at).findings
    assert "2 of the 2 nodes for pods are cordoned (w1, w2): no new pod gets anywhere" in all_of_them.message
    assert "3 wait now" in all_of_them.message and "kubectl uncordon w1 w2" in all_of_them.message
    assert all_of_them.evidence == tuple(f"{n}: unschedulable since 2026-03-05 17:42 UTC" for n in ("w1", "w2"))
    (but_one,) = judged(3, 2).findings
    assert "new pods get to w3 alone" in but_one.message and but_one.evidence[0] == "w1: unschedulable"


def test_the_only_worker_is_told_of_while_a_pod_waits_for_it() -> None:
    (found,) = judged(1, 1, waiting=1).findings
    assert found.code == Code.NODES_CORDONED and "The only node for pods is cordoned (w1)" in found.message
    assert judged(1, 0, waiting=1).findings == ()


def test_a_plan_of_recoverd_that_is_at_work_is_no_finding() -> None:
    assert judged(2, 2, busy="prod-1.1", cordoned_by="prod-1.1").findings == ()
    over = {f.code for f in judged(2, 2, cordoned_by="prod-1.1").findings}
    assert over == {Code.NODES_CORDONED, Code.NODE_LEFT_CORDONED}


def test_control_planes_count_where_there_is_nothing_else() -> None:
    cluster = Cluster(3, 0)
    for name in ("cp1", "cp2", "cp3"):
        cluster.node(name, unschedulable=True)
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings).findings
    assert [f.code for f in found] == [Code.NODES_CORDONED]


def test_since_when_a_node_is_cordoned_is_read_of_its_taint() -> None:
    """As the node lifecycle controller 1.20 writes it beside spec.unschedulable."""
    taints = [
        {"effect": "NoSchedule", "key": "dedicated"},
        {"effect": "NoSchedule", "key": "node.kubernetes.io/unschedulable", "timeAdded": "2026-03-05T17:42:00Z"},
    ]
    nodes = [
        {"metadata": {"name": n}, "spec": {"unschedulable": cordoned, "taints": taints}, "status": {}}
        for n, cordoned in (("w1", True), ("w2", False))
    ]

    async def listed() -> AsyncIterator[bytes]:
        yield json.dumps({"kind": "NodeList", "items": nodes}).encode()

    (first, second), _ = asyncio.run(nodes_of(listed()))
    assert first.cordoned_at == datetime(2026, 3, 5, 17, 42, tzinfo=UTC) and second.cordoned_at is None
    assert first.taints == second.taints == ("dedicated:NoSchedule",) and second.without_network is None


def test_taints_are_read_without_what_is_told_otherwise() -> None:
    keys = ("node-role.kubernetes.io/control-plane", "node.kubernetes.io/disk-pressure", NO_NETWORK.partition(":")[0])
    taints = [{"effect": e, "key": k} for k in (*keys, "own") for e in ("NoSchedule", "PreferNoSchedule")]
    at = "2026-03-05T17:42:00Z"
    condition = {"type": "NetworkUnavailable", "status": "True", "lastTransitionTime": at}
    node = {"metadata": {"name": "w1"}, "spec": {"taints": taints}, "status": {"conditions": [condition]}}

    async def listed() -> AsyncIterator[bytes]:
        yield json.dumps({"kind": "NodeList", "items": [node]}).encode()

    (view,), _ = asyncio.run(nodes_of(listed()))
    assert view.taints == (NO_NETWORK, "own:NoSchedule")
    assert view.without_network == datetime(2026, 3, 5, 17, 42, tzinfo=UTC)
