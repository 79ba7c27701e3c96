"""Looking at one cluster: every source at once, each with its own deadline, and nothing taken for
broken that was only not seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from recoverd.clients.haste import Haste
from recoverd.clients.hosts import HostPool
from recoverd.clients.lease import LeaseKeeper
from recoverd.config import ClusterConfig
from recoverd.diagnose import diagnose
from recoverd.diagnose.closer import CloserLooks
from recoverd.diagnose.restless import odd_nodes
from recoverd.diagnose.scene import Scene
from recoverd.model.etcd_operations import image_of, minor_of
from recoverd.model.finding import Diagnosis
from recoverd.model.lease import Lease
from recoverd.model.memory import Memory
from recoverd.model.network import NetworkView
from recoverd.model.observation import (
    ApiView,
    EtcdToolView,
    HostView,
    ManifestView,
    ObjectsView,
    Observation,
    Unseen,
)
from recoverd.model.places import flag, places_in
from recoverd.model.pod_files import PodFileView
from recoverd.model.static_pods import processes
from recoverd.observe import late, pod_files, untried, webhooks
from recoverd.observe.aggregated import AggregateWatch
from recoverd.observe.api import ApiCollector
from recoverd.observe.canary import CanaryWatch
from recoverd.observe.hosts import EtcdAbout, Extras, look_at
from recoverd.observe.journal import JournalWatch
from recoverd.observe.keys import KeyWatch
from recoverd.observe.leads import LeadWatch
from recoverd.observe.members import Members, in_doubt
from recoverd.observe.network import NetworkCollector, hosts_by_node
from recoverd.observe.outside import OutsideWatch
from recoverd.observe.pacing import Pacer
from recoverd.observe.turns import Turns, odd

__all__ = ["Collector"]

T = TypeVar("T")
CLOCK_EVERY = 600.0
"""Seconds; the question starts a service on the machine."""
CLOSER = 2.5
"""Seconds that a closer look may take more: what hangs there is waited for two."""
TOOL_EVERY = 600.0
"""Seconds for which the program that restores snapshots is taken to be where it was found: asking it
takes some of the machine's time.
"""


async def _timed(durations: dict[str, float], source: str, work: Awaitable[T]) -> T:
    began = time.monotonic()
    try:
        return await work
    finally:
        durations[source] = time.monotonic() - began


class Collector:
    """Makes the observations of one cluster."""

    def __init__(self, cluster: ClusterConfig, hosts: HostPool, lease: LeaseKeeper | None = None) -> None:
        self._cluster = cluster
        self._hosts = hosts
        self._lease = lease
        self._haste = Haste()
        self._api = ApiCollector(cluster, hosts, self._haste)
        self._keys = KeyWatch()
        self._canary = CanaryWatch(cluster.settings.canary, cluster.deadlines.api)
        self._leads = LeadWatch(cluster.deadlines.api)
        self._aggregated = AggregateWatch(cluster.deadlines.api)
        self._network = NetworkCollector(cluster, hosts)
        self._tools: dict[str, tuple[float, str, EtcdToolView | None]] = {}
        """By control plane: until when it holds, for which version it was looked for, and what was found."""
        self._clocks: dict[str, tuple[float, bool | None]] = {}
        """By host: until when it holds, and whether its clock was synchronised."""
        self._journals = JournalWatch()
        self._closer = CloserLooks()
        self._manifests: dict[str, Mapping[str, ManifestView]] = {}
        self._pod_files: dict[str, Mapping[str, PodFileView] | None] = {}
        """By control plane: those that were seen last, which name files."""
        self._outside = OutsideWatch(hosts, cluster.deadlines.etcd)
        self._pacer = Pacer()
        self._turns, self._calm = Turns(cluster.workers_every, cluster.interval), False
        self._quiet = False
        self._planes = tuple(plane.name for plane in cluster.settings.control_planes)
        self._members = Members(hosts, self._planes, cluster.deadlines.etcd, self._haste)

    def hasten(self) -> None:
        """Somebody waits for the sweep in hand and the next one."""
        self._haste.ask()

    def rest(self, *, calm: bool, quiet: bool) -> None:
        """In the next sweep calm workers may be looked at in turn, since nothing waits for what it shows, and etcd be
        asked over the connections of the sweep before, since nothing but notices was found (`quiet`).
        """
        self._calm, self._quiet = calm, quiet

    async def observe(self, sequence: int, memory: Memory) -> Observation:
        """One sweep. Ends when the slowest source has answered or come to its deadline; never
        raises for what the cluster does. Not all workers are looked at in one that finds nothing (`turns`).
        """
        settings = self._cluster.settings
        workers = [w.name for w in settings.workers or memory.workers]
        due = self._turns.due(workers, time.monotonic()) if self._calm else frozenset(workers)
        kept = self._quiet
        if len(due) < len(workers):
            seen = await self._swept(sequence, memory, workers, due, kept=kept)
            if self._turns.may_stand(seen, self._judged(seen, memory, [*self._planes, *workers])):
                return seen
            kept = False
        seen = await self._swept(sequence, memory, workers, frozenset(workers), kept=kept)
        if self._turns.takes(workers):
            self._judged(seen, memory, [*self._planes, *workers])
        return seen

    def _judged(self, seen: Observation, memory: Memory, everybody: Sequence[str]) -> Diagnosis:
        """What the sweep adds up to: whoever is in it has no turn to wait for."""
        found = diagnose(seen, memory, self._cluster.settings)
        self._turns.found(seen, found, self._hosts_of(seen, everybody))
        return found

    def _hosts_of(self, seen: Observation, everybody: Sequence[str]) -> Mapping[str, str]:
        listed = seen.api.objects.nodes if isinstance(seen.api.objects, ObjectsView) else ()
        return hosts_by_node(everybody, listed, self._hosts.addresses)

    async def _swept(
        self, sequence: int, memory: Memory, workers: Sequence[str], due: Collection[str], *, kept: bool
    ) -> Observation:
        """One sweep over the control planes and the workers that are due; `kept`: as `Members.look` has it."""
        everybody = [*self._planes, *workers]
        names = [*self._planes, *self._turns.longest_waiting(due)]
        started, clock, durations = datetime.now(UTC), time.monotonic(), dict[str, float]()

        def timed(source: str, work: Awaitable[T]) -> Awaitable[T]:
            return _timed(durations, source, work)

        async def objects() -> tuple[ApiView, NetworkView | Unseen]:
            api = await timed("api", self._api.observe(followed=len(names) < len(everybody)))
            looked = timed("network", self._network.observe(api, self._api.listed, memory, everybody, names))
            said, network = await asyncio.gather(self._witnesses(api), looked)
            return said, network

        self._begin()
        self._locate({}, memory)
        async with late.Heartbeat() as heart:
            (api, network), (etcd, outside), machines = await asyncio.gather(
                objects(),
                timed("etcd", asyncio.gather(self._members.look(kept=kept), self._outside.look())),
                timed("hosts", asyncio.gather(*(self._looked(name, memory) for name in names))),
            )
            hosts = dict(zip(names, machines, strict=True))
            if self._locate(hosts, memory):
                # they were asked where they do not listen, which says nothing of them
                (api, network), etcd = await asyncio.gather(objects(), timed("etcd", self._members.look(kept=kept)))
            if kept and in_doubt(api, etcd, hosts):
                etcd = await timed("etcd", self._members.look(kept=False))
        self._haste.end()
        self._learn(hosts, api, network)
        seen = Observation(
            cluster=self._cluster.settings.name,
            sequence=sequence,
            started_at=started,
            at=datetime.now(UTC),
            api=api,
            etcd=etcd,
            hosts=hosts,
            outside=outside,
            outside_by=self._outside.by,
            durations=durations,
            network=network,
            lease=self._held(hosts),
            own=(self._api.trouble,) if self._api.trouble else (),
        )
        seen = late.with_own(late.with_behind(seen, heart.behind, self._cluster.deadlines))
        self._outside.learn(Scene(seen, memory, self._cluster.settings))
        return self._taken(seen, everybody, names, clock)

    def _held(self, hosts: Mapping[str, HostView | Unseen]) -> Lease | None:
        """Who holds the leases of the control planes, as far as their machines were seen."""
        seen = {name: view.lease if isinstance(view := hosts[name], HostView) else None for name in self._planes}
        return self._lease.take(seen) if self._lease else None

    def _begin(self) -> None:
        self._haste.begin()
        self._pacer.begin()
        self._network.pacer.begin()
        if self._lease:
            self._lease.begin()

    def _taken(self, seen: Observation, everybody: Sequence[str], looked: Collection[str], now: float) -> Observation:
        """The sweep with what is kept of those that had no turn, where there are turns."""
        workers = frozenset(everybody).difference(self._planes)
        if not self._turns.takes(workers):
            return seen
        hosts_of = self._hosts_of(seen, everybody)
        clock = time.monotonic()
        watched = {n for n in everybody if self._journals.asks(n)[0] or self._closer.due(n, clock)}
        return self._turns.took(seen, workers, looked, odd(seen, hosts_of) | watched, now)

    def _learn(self, hosts: Mapping[str, HostView | Unseen], api: ApiView, network: NetworkView | Unseen) -> None:
        """Take from this sweep whom the next ones look at more closely."""
        if isinstance(api.objects, ObjectsView):
            self._journals.lists(api.objects.nodes, self._hosts.addresses, odd_nodes(network))
        self._closer.learn(hosts, api, network, self._hosts.addresses, datetime.now(UTC))

    async def close(self) -> None:
        await self._canary.close()
        await self._api.close()
        await self._members.close()

    def _locate(self, hosts: Mapping[str, HostView | Unseen], memory: Memory) -> bool:
        """Learn where things listen on the control planes from the manifests that are seen or remembered; True
        where something listens elsewhere than was known.
        """
        moved = False
        for name in self._planes:
            view, known = hosts.get(name), memory.manifests.get(name, {})
            seen = view.manifests if isinstance(view, HostView) else {}
            before = self._hosts.places_of(name)
            self._hosts.places[name] = places_in(seen, known, before=before)
            moved = moved or self._hosts.places[name] != before
        return moved

    async def _witnesses(self, api: ApiView) -> ApiView:
        """The view with what shows whether the API server is of use, beside that it answers."""
        listed, seconds = self._api.listed, self._cluster.deadlines.api
        client = listed.client if listed else None
        leads, tries, aggregated, waiting = await asyncio.gather(
            self._leads.look(client),
            self._canary.look(client),
            self._aggregated.look(client),
            untried.look(client, listed.pods if listed else (), seconds),
        )
        hooks = await webhooks.look(client, tries, seconds)
        return replace(api, leads=leads, tries=tries, webhooks=hooks, aggregated=aggregated, untried=waiting)

    async def _looked(self, name: str, memory: Memory) -> HostView | Unseen:
        async def look() -> HostView | Unseen:
            return await self._haste.of(name, self._machine(name, memory), late.silent)

        return await (look() if name in self._planes else self._pacer.look(look, partial(self._hosts.queued, name)))

    async def _machine(self, name: str, memory: Memory) -> HostView | Unseen:
        manifest = memory.manifests.get(name, {}).get("etcd")
        data = flag(manifest.content, "--data-dir") if manifest else ""
        minor = (minor_of(manifest.content) if manifest else "") or "any"
        until, known, tool = self._tools.get(name, (0.0, "", None))
        ask = name in self._planes and (known != minor or tool is None or time.monotonic() > until)
        # its program is looked for in the image only by mounting that, which writes on the machine
        mounts = manifest and not self._cluster.settings.observes
        image = image_of(manifest.content) if manifest and mounts else ""
        about = EtcdAbout(data, minor if ask else "", image)
        lease = self._lease if name in self._planes else None
        due, synchronised = self._clocks.get(name, (0.0, None))
        clock, closer = time.monotonic() > due, self._closer.due(name, time.monotonic())
        journals, largest = self._journals.asks(name)
        seconds = self._cluster.deadlines.hosts + (CLOSER if closer else 0.0)
        named, pods = pod_files.NONE, processes({})
        if name in self._planes:
            manifests = self._manifests.get(name, {})
            named = pod_files.asked(name, manifests, self._pod_files.get(name), memory)
            pods = processes(manifests)
        asked = Extras(clock, closer, journals, largest, pods, named, memory.mounts.get(name, ()))
        tenure = self._lease.tenure if self._lease else None
        view = await look_at(self._hosts, name, seconds, about, self._keys, lease, asked, tenure)
        if closer:
            learnt = isinstance(view, HostView) and name in memory.files
            self._closer.took(name, time.monotonic(), learnt=learnt)
        if isinstance(view, Unseen):
            return view
        self._manifests[name], self._pod_files[name] = view.manifests, view.pod_files
        view = self._journals.took(name, view, largest=largest)
        if clock:
            self._clocks[name] = (time.monotonic() + CLOCK_EVERY, view.synchronised)
        if ask:
            self._tools[name] = (time.monotonic() + TOOL_EVERY, minor, view.etcd_tool)
        return replace(
            view, synchronised=view.synchronised if clock else synchronised, etcd_tool=view.etcd_tool if ask else tool
        )
