"""Nodes that are Ready and let no pods in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.observe.objects import nodes_of
from tests.unit.builders import Cluster

FULL = ("DiskPressure",)


def judged(cluster: Cluster) -> Diagnosis:
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings)


def test_one_node_under_pressure_is_a_warning_and_all_of_them_are_a_fault() -> None:
    found = judged(Cluster(1, 2).node("w1", pressures=FULL))
    warned = found.find(Code.NODE_PRESSURE)
    assert warned and warned.severity is Severity.WARNING and "df -i" in warned.message
    assert found.state is State.HEALTHY
    everywhere = judged(Cluster(1, 2).node("w1", pressures=FULL).node("w2", pressures=FULL))
    assert [f.subject for f in everywhere.faults] == ["w1", "w2"] and everywhere.state is State.WORKER_NETWORK_BROKEN


def test_one_that_is_not_ready_or_cordoned_is_told_of_as_that() -> None:
    cluster = Cluster(1, 2).node("w1", pressures=FULL).node("w2", unschedulable=True)
    assert [f.subject for f in judged(cluster).faults] == ["w1"], "none else is left for pods"
    assert judged(Cluster(1, 2).node("w1", pressures=FULL, ready=False)).find(Code.NODE_PRESSURE) is None
    assert judged(Cluster(1, 2)).find(Code.NODE_PRESSURE) is None


def test_what_the_api_server_lists_of_a_node_under_pressure() -> None:
    """As kubelet 1.20 writes its conditions (pkg/kubelet/nodestatus/setters.go)."""
    conditions = [
        {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
        {"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"},
        {"type": "PIDPressure", "status": "Unknown"},
        {"type": "Ready", "status": "True", "reason": "KubeletReady"},
    ]
    node = {"metadata": {"name": "w1", "labels": {}}, "status": {"conditions": conditions}}

    async def listed() -> AsyncIterator[bytes]:
        yield json.dumps({"kind": "NodeList", "items": [node]}).encode()

    (view,), _ = asyncio.run(nodes_of(listed()))
    assert view.ready and view.pressures == ("DiskPressure",)
