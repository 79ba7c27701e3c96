"""What is kept in mind of a healthy cluster, so that it can be put back: known-good manifests, counts, workers, etcd's watermark. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from recoverd.model.finding import Code, Diagnosis, State
from recoverd.model.memory import KnownManifest, Memory, Watermark, Worker
from recoverd.model.observation import EndpointHealth, EtcdView, HostView, ObjectsView, Observation
from recoverd.model.settings import ClusterSettings

SETTLE = 60.0
"""Seconds that a changed manifest must have been seen with its component healthy before it replaces the known-good one.
kubelet acts on a changed file after up to 20 s (it polls, observed); until then the old process answers for the new, perhaps broken, file."""
WATERMARK_EVERY = 30.0
"""Seconds between two writes of what changes all the time."""

Sights = Mapping[tuple[str, str, str], datetime]
"""(host, component, sha256) of manifests other than the known-good one, and since when they are seen with their component healthy."""


def remember(observation: Observation, diagnosis: Diagnosis, memory: Memory, settings: ClusterSettings, sights: Sights) -> tuple[Memory, Sights]:
    """The memory after a sweep, and the manifests being watched. Unchanged unless the cluster is healthy."""
    if diagnosis.state is not State.HEALTHY or diagnosis.faults or observation.api.vip.health is not EndpointHealth.READY:
        return memory, {}
    manifests, watched = _manifests(observation, memory, sights)
    objects = observation.api.objects if isinstance(observation.api.objects, ObjectsView) else None
    workers = memory.workers
    if objects and not settings.workers:
        workers = tuple(Worker(n.name, n.address) for n in objects.nodes if not n.control_plane and n.address)
    new = Memory(
        manifests=manifests,
        watermark=_watermark(observation, diagnosis, memory),
        workers=workers,
        node_count=len(objects.nodes) if objects else memory.node_count,
        pod_count=objects.pod_count if objects else memory.pod_count,
        healthy_at=observation.at,
    )
    return (new if _worth_writing(memory, new) else memory), watched


def _manifests(observation: Observation, memory: Memory, sights: Sights) -> tuple[Mapping[str, Mapping[str, KnownManifest]], Sights]:
    known = {host: dict(of_host) for host, of_host in memory.manifests.items()}
    watched: dict[tuple[str, str, str], datetime] = {}
    for host in observation.etcd:
        view = observation.hosts.get(host)
        if not isinstance(view, HostView):
            continue
        for component, manifest in view.manifests.items():
            if manifest.problem or "--force-new-cluster" in manifest.content or not _healthy(observation, host, component, view):
                continue
            before = known.get(host, {}).get(component)
            if before and before.sha256 == manifest.sha256:
                continue
            key = (host, component, manifest.sha256)
            since = watched[key] = sights.get(key, observation.at)
            if before is None or (observation.at - since).total_seconds() >= SETTLE:
                known.setdefault(host, {})[component] = KnownManifest(manifest.path, manifest.sha256, manifest.content, observation.at)
                del watched[key]
    return known, watched


def _healthy(observation: Observation, host: str, component: str, view: HostView) -> bool:
    if component == "etcd":
        etcd = observation.etcd.get(host)
        return isinstance(etcd, EtcdView) and etcd.healthy and not etcd.learner
    if component == "kube-apiserver":
        endpoint = observation.api.members.get(host)
        return endpoint is not None and endpoint.health is EndpointHealth.READY
    container = view.containers.get(component)
    return container is not None and container.running


def _watermark(observation: Observation, diagnosis: Diagnosis, memory: Memory) -> Watermark | None:
    before = memory.watermark
    if diagnosis.find(Code.ETCD_REVISION_WENT_BACK):
        return before
    views = [v for v in observation.etcd.values() if isinstance(v, EtcdView) and v.healthy]
    if not views:
        return before
    top = max(views, key=lambda v: v.revision)
    revision = max(top.revision, before.revision) if before and before.cluster_id == top.cluster_id else top.revision
    return Watermark(top.cluster_id, revision, observation.at, {m.id: m.name for m in top.members})


def _worth_writing(old: Memory, new: Memory) -> bool:
    if old.healthy_at is None or new.healthy_at is None or (new.healthy_at - old.healthy_at).total_seconds() >= WATERMARK_EVERY:
        return True
    of_old, of_new = old.watermark, new.watermark
    members_differ = (of_old.cluster_id, of_old.members) != (of_new.cluster_id, of_new.members) if of_old and of_new else of_old != of_new
    return old.manifests != new.manifests or old.workers != new.workers or old.node_count != new.node_count or members_differ
