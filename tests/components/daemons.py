"""The daemon as a process, and clusters for it: fixtures to be imported by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .clusters import Cluster, Daemon, make_cluster
from .conftest import Sshd

StartSshd = Callable[..., Sshd]
Make = Callable[..., Awaitable[Cluster]]
REQUIRED = {"start-node-services": "required"}
"""Approvals that make it wait for a person."""


@pytest.fixture
async def make(tmp_path: Path, start_sshd: StartSshd) -> AsyncIterator[Make]:
    made: list[Cluster] = []

    async def one(name: str = "prod", **changes: Any) -> Cluster:
        made.append(await make_cluster(tmp_path, start_sshd, name))
        made[-1].config.update(changes)
        return made[-1]

    yield one
    for cluster in made:
        await cluster.api.stop()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """`run(cluster, ...)`: a daemon, not started."""
    made: list[Daemon] = []

    def one(*clusters: Cluster | dict[str, Any], **options: Any) -> Daemon:
        made.append(Daemon(tmp_path, *clusters, **options))
        return made[-1]

    yield one
    for daemon in made:
        daemon.close()


async def ended(daemon: Daemon) -> int:
    process = daemon.start()
    return await asyncio.to_thread(process.wait, 60)
