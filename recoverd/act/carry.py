"""What every hand is given, and which hand carries which operation out: one for each kind,
beside the function that does it.

`recoverd.act.Actor` asks for the hand of an operation and knows none by name. That each kind of
`recoverd.model.operations.Operation` has one is checked by tests/unit/test_hands.py, as that
the model cluster has one too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from recoverd.act.kube import Kube
from recoverd.clients.etcd import EtcdClient
from recoverd.clients.hosts import HostPool
from recoverd.config import ClusterConfig
from recoverd.model.plan import StepResult
from recoverd.model.point_operations import TakeRestorePoint

O = TypeVar("O")  # noqa: E741


class Points(Protocol):
    """What takes restore points and looks at those that there are (`recoverd.act.points`)."""

    async def take(
        self, operation: TakeRestorePoint, host: str, until: float, *, resume: bool = False
    ) -> StepResult: ...
    async def look(self) -> StepResult: ...


@dataclass(frozen=True, slots=True)
class Reach:
    """One cluster, as the hands reach it."""

    cluster: ClusterConfig
    hosts: HostPool
    kube: Kube
    etcd: Callable[[str], EtcdClient]
    """The client for the member on a host."""
    points: Points
    snapshots: Path
    """Directory of the snapshots that plans fetch."""
    addresses: dict[str, str]
    """Of the machines that are watched, by name."""


@dataclass(frozen=True, slots=True)
class Carry:
    """Tells a hand what it carries out and within which time."""

    host: str
    until: float
    """In the event loop's time."""
    resume: bool
    """It may have run before."""
    ask: bool
    """Only look whether it has been done."""
    reach: Reach

    @property
    def etcd(self) -> EtcdClient:
        return self.reach.etcd(self.host)


Hand = Callable[[Any, Carry], Awaitable[StepResult]]
HANDS: dict[type, Hand] = {}


def hand(*kinds: type[O]) -> Callable[[Callable[[O, Carry], Awaitable[StepResult]]], None]:
    """Name the hand of these kinds of operation."""

    def named(carries: Callable[[O, Carry], Awaitable[StepResult]]) -> None:
        for kind in kinds:
            assert kind not in HANDS, f"{kind.__name__} has a hand already"
            HANDS[kind] = carries

    return named
