"""What is kept in mind of a healthy cluster, so that it can be put back: known-good manifests, counts,
workers, etcd's watermark. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import datetime
from functools import lru_cache
from operator import attrgetter

from recoverd.diagnose.address import does_not_answer
from recoverd.diagnose.nodes import judged
from recoverd.diagnose.rules import proxied
from recoverd.diagnose.scene import API, Scene
from recoverd.diagnose.setback import bumped, comparable, current
from recoverd.memory.files import known_files
from recoverd.memory.mounts import known_mounts
from recoverd.memory.pki import known_pki
from recoverd.memory.pod_files import known_pod_files
from recoverd.memory.static_pods import healthy, known_static_pods
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView
from recoverd.model.finding import Diagnosis, State
from recoverd.model.memory import KnownIPv6, KnownManifest, Memory, NodeNetwork, Watermark, Worker
from recoverd.model.network import NetworkView, NodeNetworkView, RulesView
from recoverd.model.network_operations import of_nobody
from recoverd.model.observation import (
    EndpointHealth,
    HostView,
    ManifestView,
    NodeView,
    ObjectsView,
    Observation,
    Unseen,
)
from recoverd.model.pki_operations import STATIC_PODS
from recoverd.model.settings import ClusterSettings

SETTLE = 60.0
"""Seconds that a changed manifest must have been seen with its component healthy before it replaces the known-good one.
kubelet acts on a changed file after up to 20 s (it polls, observed); until then the old process answers for
the new, perhaps broken, file.
"""
LOSS_SETTLE = 600.0
"""The same for a node's network that lacks something it had: what is lost must be known
for long enough to be put back.
"""
REACHED = 8192
"""Services that are remembered as reached."""
WATERMARK_EVERY = 30.0
"""Seconds between two writes of what changes all the time."""

STEADY = attrgetter(
    *(
        f.name
        for f in fields(Memory)
        if f.name
        not in ("watermark", "outside", "healthy_at", "pod_count", "newest", "reached", "silent_at", "at_work")
    )
)
STEADY_WATERMARK = attrgetter(*(f.name for f in fields(Watermark) if f.name not in ("revision", "at", "index")))

Sights = Mapping[tuple[str, str, str], datetime]
"""(host, component, sha256) of manifests other than the known-good one, and since when they are
seen with their component healthy.
"""


def workers_of(nodes: Iterable[NodeView]) -> tuple[Worker, ...]:
    """The workers among the nodes that the API server lists, as far as their addresses are known."""
    return tuple(Worker(n.name, n.address) for n in nodes if not n.control_plane and n.address)


def remember(
    observation: Observation, diagnosis: Diagnosis, memory: Memory, settings: ClusterSettings, sights: Sights
) -> tuple[Memory, Sights]:
    """The memory after a sweep, and the manifests being watched. Unchanged unless the cluster is healthy.

    Every healthy sweep gives a new one; whether that is worth a write of the journal, `worth_writing` says.
    """
    if (
        diagnosis.state is not State.HEALTHY
        or diagnosis.faults
        or observation.api.vip.health is not EndpointHealth.READY
    ):
        return memory, {}
    manifests, watched = _manifests(observation, memory, sights)
    objects = observation.api.objects if isinstance(observation.api.objects, ObjectsView) else None
    workers = workers_of(objects.nodes) if objects and not settings.workers else memory.workers
    scene = Scene(observation, memory, settings)
    manifests, of_others = known_static_pods(scene, manifests, sights)
    networks, of_networks = _networks(observation, scene, sights)
    files, texts = known_files(scene)
    pki, of_pki = known_pki(observation, diagnosis, memory.pki, sights)
    pod_files, of_pod_files = known_pod_files(scene, sights)
    new = replace(
        memory,
        manifests=manifests,
        watermark=_watermark(observation.etcd, observation, diagnosis, memory, memory.watermark),
        outside=_watermark(scene.outside, observation, diagnosis, memory, memory.outside),
        workers=workers,
        node_count=len(objects.nodes) if objects else memory.node_count,
        pod_count=objects.pod_count if objects else memory.pod_count,
        healthy_at=observation.at,
        networks=networks,
        reached=_reached(observation, memory),
        pki=pki,
        pod_files=pod_files,
        newest=objects.newest if objects else memory.newest,
        # both are over in a healthy sweep without an incident
        setback=memory.setback if memory.setback and not memory.setback.proven else None,
        guest=None,
        worked=_worked(observation, memory),
        files=files,
        texts=texts,
        mounts=known_mounts(scene),
    )
    return new, {**watched, **of_others, **of_networks, **of_pki, **of_pod_files}


def notice(observation: Observation, memory: Memory, settings: ClusterSettings) -> Memory:
    """The memory with what this sweep shows of the cluster's address, and of etcd's history: a setback, which must
    outlive the growth of the new history beyond the watermark, or else how far the history has come.

    Called in every sweep, healthy or not, and also where what else `healthy` rests on was not seen: a restore in the
    middle of an incident may bring back data that is seconds old, and on a machine under load one source or another is
    late in every sweep. A sweep that did not see etcd's leader changes nothing. `remember` takes the setback out again
    when it is over; which cluster and which members are etcd's, healthy sweeps alone say.
    """
    scene = Scene(observation, memory, settings)
    if does_not_answer(scene):
        memory = replace(memory, silent_at=observation.at)
    setback = current(scene)
    if setback is not None:
        return memory if setback == memory.setback else replace(memory, setback=setback)
    if memory.setback and not memory.setback.proven:
        memory = replace(memory, setback=None)  # the history goes on: that sweep was torn
    watermark, etcd = scene.mark, scene.history
    if (
        watermark is None
        or etcd.lead is None
        or etcd.cluster_id != watermark.cluster_id
        or (seen := comparable(scene, watermark)) is None
    ):
        return memory
    revision, index = seen
    if revision < watermark.revision:
        # a setback of which is not known yet whether the cluster began anew: what is held against it later must stand
        return memory
    # with a bump the log has begun anew as well, and its index must not be held against it from the next sweep on
    index = index if bumped(revision, watermark) else max(index, watermark.index)
    further = replace(watermark, revision=revision, at=observation.at, index=index)
    return replace(memory, outside=further) if scene.external_etcd else replace(memory, watermark=further)


def worth_writing(written: Memory | None, new: Memory) -> bool:
    """Whether the journal needs `new` where it has `written` (None: not known what).

    What every sweep changes (the watermark's revision, the number of pods, the newest objects, which services were
    reached, when a person was seen) is written every `WATERMARK_EVERY` seconds, anything else at once. After a kill -9
    the watermark is older by so much at most: a setback by less than what etcd wrote meanwhile is then shown by a
    restored snapshot's new log alone, and by nothing where a machine was put back.
    """
    if written is None or _steady(written) != _steady(new):
        return True
    times = zip(_seen_at(written), _seen_at(new), strict=True)
    return any(a != b and (a is None or b is None or abs((b - a).total_seconds()) >= WATERMARK_EVERY) for a, b in times)


def _seen_at(memory: Memory) -> tuple[datetime | None, ...]:
    """When it was seen healthy, etcd's history going on, its address silent, and a person at work."""
    mark = _mark(memory)
    person = max((s.at for s in memory.at_work.values()), default=None)
    return memory.healthy_at, mark.at if mark else None, memory.silent_at, person


def _mark(memory: Memory) -> Watermark | None:
    """Of the cluster's own etcd or, where it has none, of one elsewhere."""
    return memory.watermark or memory.outside


def _steady(memory: Memory) -> tuple[object, ...]:
    """Without what every sweep changes."""
    return (*STEADY(memory), *(STEADY_WATERMARK(mark) if (mark := _mark(memory)) else ()), sorted(memory.at_work))


def _reached(observation: Observation, memory: Memory) -> tuple[str, ...]:
    view = observation.network
    if not isinstance(view, NetworkView):
        return memory.reached
    now = {p.service for p in view.probes if p.answer.arrived and p.source != p.target}
    if now <= set(memory.reached):
        return memory.reached
    return (*(s for s in memory.reached if s not in now), *sorted(now))[-REACHED:]


def _networks(observation: Observation, scene: Scene, sights: Sights) -> tuple[Mapping[str, NodeNetwork], Sights]:
    """Each node's network as it is now, unless it only just became so."""
    known = dict(scene.memory.networks)
    watched: dict[tuple[str, str, str], datetime] = {}
    view = observation.network
    if not isinstance(view, NetworkView):
        return known, watched
    # what is sent back goes by what the sender's node is announced at
    reached = {n for p in view.probes if p.answer.arrived and p.source != p.target for n in (p.source, p.target)}
    used = _used_ipv6(view)
    for host, of_host in view.hosts.items():
        if host in observation.carried:
            # it settles by looks, not by the time between them
            watched |= {key: since for key, since in sights.items() if key[:2] == (host, "network")}
            continue
        if (
            not isinstance(of_host, NodeNetworkView)
            or of_host.links is None
            or of_host.forwarding is None
            or not judged(scene, host)
        ):
            continue
        before = known.get(host)
        ipv6 = _known_ipv6(host, of_host, before, used)
        node = scene.node(host)
        announced = node.announced if node and host in reached else before.announced if before else ""
        new = _network(of_host, before, proxied=proxied(scene, view, host), ipv6=ipv6, announced=announced)
        if before and replace(new, recorded_at=before.recorded_at) == before:
            continue
        key = (host, "network", repr(new))
        since = sights.get(key, observation.at)
        settle = 0.0 if before is None else LOSS_SETTLE if _lost(before, new) else SETTLE
        if (observation.at - since).total_seconds() >= settle:
            known[host] = replace(new, recorded_at=observation.at)
        else:
            watched[key] = since
    return known, watched


def _used_ipv6(view: NetworkView) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The hosts that reached another's pod over IPv6 in this sweep, whose pods were reached, and that a service of it
    answered.
    """
    pairs = {(p.source, p.target) for p in view.probes if p.over_ipv6 and p.answer.arrived and p.source != p.target}
    served = frozenset(s.source for s in view.services if s.over_ipv6 and s.answered)
    return frozenset(source for source, _ in pairs), frozenset(target for _, target in pairs), served


def _known_ipv6(
    host: str, view: NodeNetworkView, before: NodeNetwork | None, used: tuple[frozenset[str], ...]
) -> KnownIPv6:
    """What was seen to work once is missed for good: over IPv6 nothing else tells that it is meant to."""
    known, rules = (before.ipv6 if before else None) or KnownIPv6(), view.ipv6.rules
    asks, answers, served = (host in hosts for hosts in used)
    right = isinstance(rules, RulesView) and rules.mode and rules.checked and not rules.gaps
    return KnownIPv6(
        forwarding=known.forwarding if view.ipv6.forwarding is None else view.ipv6.forwarding,
        bridge_netfilter=known.bridge_netfilter if view.ipv6.bridge_netfilter is None else view.ipv6.bridge_netfilter,
        proxy=rules.mode if right and isinstance(rules, RulesView) else known.proxy,
        asks=known.asks or asks,
        answers=known.answers or answers,
        served=known.served or served,
    )


def _network(
    view: NodeNetworkView, before: NodeNetwork | None, *, proxied: bool | None, ipv6: KnownIPv6, announced: str
) -> NodeNetwork:
    links = [link for link in view.links or () if link.up]
    cables = view.veths or (0, 0)
    proxy = view.rules.mode if isinstance(view.rules, RulesView) else ""
    # where it was replaced nobody keeps what is left of its rules, and what cannot be read any more cannot be missed
    if proxied is False:
        proxy = ""
    elif not proxy and isinstance(view.rules, RulesView) and before:
        proxy = before.proxy
    return NodeNetwork(
        forwarding=bool(view.forwarding),
        devices={link.name: link.kind for link in links},
        addresses={link.name: link.addresses for link in links if link.addresses},
        # of a routing daemon's and of the pods' own, which come and go, none could be put back
        routes=_of_nobody(view.routes or ()),
        bridged=cables[0] == cables[1] if cables[0] else bool(before and before.bridged),
        proxy=proxy,
        bridge_netfilter=view.bridge_netfilter
        if view.bridge_netfilter is not None
        else bool(before and before.bridge_netfilter),
        dropping=view.dropping if view.dropping is not None or before is None else before.dropping,
        ipv6=replace(ipv6, proxy="") if proxied is False else ipv6,
        still=view.kernel.still if view.kernel else before.still if before else None,
        announced=announced,
    )


@lru_cache(maxsize=1 << 13)  # a machine's routes are the same object for as long as they do not change
def _of_nobody(routes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(r for r in routes if of_nobody(r))


def _lost(before: NodeNetwork, new: NodeNetwork) -> bool:
    return (
        (before.forwarding and not new.forwarding)
        or (before.bridged and not new.bridged)
        or (before.bridge_netfilter and not new.bridge_netfilter)
        or not set(new.dropping or ()) <= set(new.dropping or () if before.dropping is None else before.dropping)
        or not set(new.still or ()) <= set(new.still or () if before.still is None else before.still)
        or not before.devices.items() <= new.devices.items()
        or any(not set(a) <= set(new.addresses.get(d, ())) for d, a in before.addresses.items())
        or _lost_ipv6(before.ipv6 or KnownIPv6(), new.ipv6 or KnownIPv6())
        or (before.routes != new.routes and not set(before.routes) <= set(new.routes))
    )


def _lost_ipv6(before: KnownIPv6, new: KnownIPv6) -> bool:
    return before.forwarding > new.forwarding or before.bridge_netfilter > new.bridge_netfilter


def _manifests(
    observation: Observation, memory: Memory, sights: Sights
) -> tuple[Mapping[str, Mapping[str, KnownManifest]], Sights]:
    known = {host: dict(of_host) for host, of_host in memory.manifests.items()}
    watched: dict[tuple[str, str, str], datetime] = {}
    for host in observation.etcd:
        view = observation.hosts.get(host)
        if not isinstance(view, HostView):
            continue
        for component, manifest in view.manifests.items():
            if (
                component not in STATIC_PODS
                or manifest.problem
                or "--force-new-cluster" in manifest.content
                or not healthy(observation, host, component, view)
            ):
                continue
            before = known.get(host, {}).get(component)
            if before and before.sha256 == manifest.sha256:
                continue
            key = (host, component, manifest.sha256)
            since = watched[key] = sights.get(key, observation.at)
            first = before is None and _ran_before(manifest, observation.at)
            if first or (observation.at - since).total_seconds() >= SETTLE:
                known.setdefault(host, {})[component] = KnownManifest(
                    manifest.path, manifest.sha256, manifest.content, observation.at
                )
                del watched[key]
    return known, watched


def _worked(observation: Observation, memory: Memory) -> tuple[str, ...]:
    now = {
        name
        for name, view in observation.hosts.items()
        if isinstance(view, HostView)
        and healthy(observation, name, API, view)
        and (began := view.running_since(API)) is not None
        and (observation.at - began).total_seconds() >= SETTLE
    }
    return memory.worked if now <= set(memory.worked) else tuple(sorted(now | set(memory.worked)))


def _ran_before(manifest: ManifestView, now: datetime) -> bool:
    """What is seen for the first time has been in place for so long already that it is what runs."""
    if manifest.modified_at is None:
        return False
    return (now - manifest.modified_at).total_seconds() >= SETTLE


def _watermark(
    seen: Mapping[str, EtcdView | Unseen],
    observation: Observation,
    diagnosis: Diagnosis,
    memory: Memory,
    before: Watermark | None,
) -> Watermark | None:
    views = [v for v in seen.values() if isinstance(v, EtcdView) and v.healthy and v.members]
    if not views:
        return before
    top = max(views, key=lambda v: v.revision)
    # found in a healthy sweep, a setback is over: everybody follows the new history now
    over = (
        diagnosis.find(Code.ETCD_REVISION_WENT_BACK) is not None
        and memory.setback is not None
        and memory.setback.proven
    )
    revision, at, index = top.revision, observation.at, max(v.raft_index for v in views)
    if before and before.cluster_id == top.cluster_id and not over:
        index = max(index, before.index)
        if before.revision > revision:
            revision, at = before.revision, before.at  # that history was not seen to go on
    uid = top.uid or (before.uid if before else "")
    return Watermark(top.cluster_id, revision, at, {m.id: m.name for m in top.members}, uid, index)
