"""What recoverd remembers of a cluster from the time when it was healthy; kept in the journal, given to the pure core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class KnownManifest:
    """A static pod manifest that was in place while its component was healthy."""

    path: str
    sha256: str
    content: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Watermark:
    """The furthest that etcd was seen: a revision that goes below it means that the data was put back."""

    cluster_id: str
    revision: int
    at: datetime
    members: Mapping[str, str] = field(default_factory=dict)
    """Member id to name."""


@dataclass(frozen=True, slots=True)
class Worker:
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Known-good facts of one cluster. Empty until the cluster was once seen healthy."""

    manifests: Mapping[str, Mapping[str, KnownManifest]] = field(default_factory=dict)
    """By control-plane name, then component. A control plane without an entry was never seen working."""
    watermark: Watermark | None = None
    workers: tuple[Worker, ...] = ()
    """Learnt from the API where the configuration lists none."""
    node_count: int | None = None
    pod_count: int | None = None
    healthy_at: datetime | None = None
