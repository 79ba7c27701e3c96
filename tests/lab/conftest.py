"""Clusters and bastions for the lab tests. A cluster serves all tests of a module and of its neighbours that want the same; each test leaves it
healthy or is the last on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster


@pytest.fixture(scope="session")
def bring_up(request: pytest.FixtureRequest) -> Iterator[Callable[..., Cluster]]:
    """`bring_up(1, control_planes=1, workers=2)`: a cluster with its workload, one at a time.

    Tests that ask for the same one after the other share it, unless one of them has failed. LAB_REUSE=1 takes one that is up and leaves it up.
    """
    reuse = os.environ.get("LAB_REUSE") == "1"
    mine: tuple[Cluster, dict[str, int], int] | None = None

    def up(number: int, **size: int) -> Cluster:
        nonlocal mine
        cluster, failed = Cluster(number), request.session.testsfailed
        if reuse and cluster.whole:
            return cluster
        if mine and (mine[0].number, *mine[1:]) == (number, size, failed) and cluster.whole:
            return cluster
        if mine:
            mine[0].down()
        cluster.down()
        mine = (cluster, size, failed)
        cluster.up(**size)
        cluster.workload()
        return cluster

    yield up
    if mine and not reuse:
        mine[0].down()


@pytest.fixture
def bastion() -> Iterator[Callable[..., Bastion]]:
    """`bastion(cluster, bounds={...})`: a started recoverd that has seen its clusters healthy."""
    started: list[Bastion] = []

    def start(*clusters: Cluster, healthy: bool = True, **options: Any) -> Bastion:
        made = Bastion(*clusters, **options)
        started.append(made)
        made.start()
        if healthy:
            made.wait_healthy()
        return made

    yield start
    for each in started:
        each.remove()
