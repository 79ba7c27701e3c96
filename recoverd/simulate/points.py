"""Restore points of the model: what the bastion would have on its disk."""

from __future__ import annotations

import hashlib

from recoverd.model.points import RestorePoint
from recoverd.simulate.clock import moment, seconds
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.store import Store

SIZE = 20 << 20
"""Bytes of every snapshot."""


def take(cluster: ModelCluster, name: str) -> RestorePoint:
    """A verified one, of what the leader holds now. `name`: the cluster's. Raises `ValueError` without a leader."""
    leaders = cluster.etcd.leaders()
    if not leaders:
        raise ValueError("etcdserver: no leader")
    store, at = leaders[0].store, moment(seconds())
    sha256 = digest(store)
    cluster.snapshots.append(store)
    id = f"{name}-{at:%Y%m%dT%H%M%SZ}"
    directory = f"/var/lib/recoverd/restore-points/{name}/{id}"
    point = RestorePoint(
        id=id,
        taken_at=at.timestamp(),
        why="asked",
        host=leaders[0].machine.name,
        path=f"{directory}/snapshot.db",
        sha256=sha256,
        size=SIZE,
        cluster_id=store.cluster_id,
        revision=store.revision,
        keys=store.keys,
        verified_at=at.timestamp(),
        how_verified="restored into a scratch etcd: revision and keys are those of the snapshot",
        directory=directory,
        uid=store.uid,
    )
    cluster.points = (*cluster.points, point)
    return point


def digest(store: Store) -> str:
    """The hash of a snapshot's file."""
    return hashlib.sha256(repr(store).encode()).hexdigest()


def fetched(cluster: ModelCluster, sha256: str) -> Store | None:
    """The snapshot on the bastion's disk that has this hash."""
    return next((s for s in cluster.snapshots if digest(s) == sha256), None)
