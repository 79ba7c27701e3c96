"""What the clusters of a fleet tell each other: on which of them something is done, and which faults began where.

Each cluster's loop tells what an event will have come to before that is journalled, and is told what goes on around it
before the next one: all in one thread, so of two that would begin at the same time the second one sees the first. Of
clusters that other bastions watch, their journalled records tell it; two bastions that begin within the same look at
the store, half a second, may be one more than the bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from recoverd.bounds import above, common_causes
from recoverd.machine.sight import key_of
from recoverd.model.finding import Diagnosis, State
from recoverd.model.fleet import Around, CommonCause, Neighbour
from recoverd.model.memory import Memory
from recoverd.model.plan import PlanStatus
from recoverd.model.record import Record
from recoverd.model.settings import FleetBounds


def neighbour(record: Record, memory: Memory, diagnosis: Diagnosis | None = None) -> Neighbour:
    """What the others have to know of a cluster. Without a diagnosis, as of one that is watched elsewhere, only faults
    that are confirmed are known.
    """
    plan, run = record.plan, record.run
    begun = plan is not None and plan.status is PlanStatus.RUNNING
    waits = begun and run is not None and run.reached < 0
    dark = diagnosis is not None and diagnosis.state is State.UNOBSERVABLE
    resting = run is not None and run.until_resumed
    found = {f.key for f in diagnosis.faults} if diagnosis else frozenset[tuple[str, str]]()
    began: dict[str, datetime] = {}
    for name, sighting in record.sightings.items():
        key = key_of(name)
        if key in found or (sighting.stands and not sighting.missed):
            at = sighting.first or sighting.since
            began[key[0]] = min(at, began.get(key[0], at))
    return Neighbour(
        acting=begun and not waits and not resting,
        waiting=bool(waits and plan and plan.waits_for and not plan.automatic) and not dark,
        faults=began,
        never_healthy=memory.healthy_at is None,
    )


@dataclass(slots=True)
class Neighbours:
    """All clusters of the configuration, whoever watches them."""

    bounds: FleetBounds = field(default_factory=FleetBounds)
    clusters: dict[str, Neighbour] = field(default_factory=dict)
    _causes: tuple[CommonCause, ...] = ()

    def set(self, bounds: FleetBounds) -> None:
        """Take over other bounds."""
        self.bounds = bounds
        self._look()

    def tell(self, cluster: str, what: Neighbour) -> None:
        """What is so of the cluster from now on."""
        if self.clusters.get(cluster) != what:
            self.clusters[cluster] = what
            self._look()

    def forget(self, cluster: str) -> None:
        """It is in the configuration no more."""
        if self.clusters.pop(cluster, None):
            self._look()

    def keep(self, clusters: Iterable[str]) -> None:
        """Forget all but these."""
        for cluster in set(self.clusters) - set(clusters):
            self.forget(cluster)

    def around(self, cluster: str) -> Around:
        """What goes on around the cluster."""
        others = {name: of for name, of in self.clusters.items() if name != cluster}
        mine = self.clusters.get(cluster, Neighbour()).faults
        return Around(
            acting=tuple(sorted(name for name, of in others.items() if of.acting)),
            waiting=tuple(sorted(name for name, of in others.items() if of.waiting)),
            at_once=self.bounds.acting_at_once,
            cause=next((c for c in self._causes if cluster in c.clusters and c.code in mine), None),
        )

    @property
    def causes(self) -> tuple[CommonCause, ...]:
        """Of faults that many clusters have together."""
        return self._causes

    @property
    def called(self) -> tuple[CommonCause, ...]:
        """Those that somebody is called for: not what clusters have in common that were all never seen healthy."""
        return tuple(cause for cause in self._causes if not cause.unfinished)

    @property
    def acting(self) -> int:
        """Clusters on which plans are under way."""
        return sum(of.acting for of in self.clusters.values())

    def notices(self) -> list[str]:
        """What an operator should know, a sentence each."""
        return [
            f"{above(cause)}. recoverd does nothing about it unasked: look at what they have in common first; plans "
            "that wait can be approved all the same (recoverctl plans)"
            for cause in self._causes
        ]

    def _look(self) -> None:
        """Find what began in many clusters together. What was found stands while enough to tell are left of them: the
        first to recover do not make the others' fault another one.
        """
        now = {cause.code: cause for cause in common_causes(self.clusters, self.bounds)}
        for cause in self._causes:
            left = tuple(name for name in cause.clusters if self._has(name, cause.code))
            if cause.code in now:
                known = set(now[cause.code].clusters) | set(left)
                now[cause.code] = CommonCause(cause.code, tuple(sorted(known)), cause.since)
            elif len(left) >= self.bounds.same_fault_clusters:
                now[cause.code] = CommonCause(cause.code, left, cause.since)
        self._causes = tuple(replace(now[code], unfinished=self._never_healthy(now[code])) for code in sorted(now))

    def _never_healthy(self, cause: CommonCause) -> bool:
        return all(self.clusters.get(name, Neighbour()).never_healthy for name in cause.clusters)

    def _has(self, cluster: str, code: str) -> bool:
        return code in self.clusters.get(cluster, Neighbour()).faults
