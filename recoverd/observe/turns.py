"""Whose turn it is: the calm workers of a larger cluster are looked at one after the other, all others in every sweep.

A sweep in which not all had their turn may only say that all is as it was. It is given to the machine where the newest
whole sweep found the same faults, and every warning, too; where anything else is found, a fault is not, or the machine
is not at rest, the same sweep is made whole before anybody judges it. So nothing is found anew, done or taken for gone
by a look that is older than the sweep.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from recoverd.model.finding import Diagnosis, FindingKey, State
from recoverd.model.network import NetworkView, NodeNetworkView, NodePods, ProbeAnswer, RulesView
from recoverd.model.observation import HostView, Observation
from recoverd.model.settings import STALE_INTERVALS
from recoverd.observe.pacing import NOT_YET

SMALL = 20
"""Workers up to which all are looked at in every sweep: turns would save little, and find what breaks later."""
BUSY = 0.1
"""Share of the interval by which recoverd itself was late in a sweep from which on its turns are further apart."""
BETWEEN = re.compile(r"[\s>]+")
"""What stands between the machines, paths and nodes that a finding's subject names."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A worker as it was when its turn was last."""

    clock: float
    """Of a monotonic clock, in seconds."""
    at: datetime
    host: HostView
    network: NodeNetworkView


class Turns:
    """Those of one cluster. `every` is within how many seconds each worker has its turn; 0: in every sweep, as where
    there are no more than `small`. `interval` is that of its sweeps, in seconds.

    Where recoverd does not manage that, each sweep looks at as many as it would in time, and a worker has its turn
    within `STALE_INTERVALS` times as long, where sweeps come within as many intervals. Looking at as many more as a
    sweep was longer made the next one as long again, for good: with 5,000 workers all of them had their turn in every
    sweep, of 20 s, and so they had with a hundred clusters of 50, in sweeps of 50 s.
    """

    def __init__(self, every: float, interval: float = math.inf, small: int = SMALL) -> None:
        self._every, self._interval, self._small = every, interval, small
        self._kept: dict[str, Looked] = {}
        self._odd: frozenset[str] = frozenset()
        self._before: float | None = None
        self._busy_until = -math.inf
        self._standing: frozenset[FindingKey] = frozenset()
        """Warnings and faults of the newest sweep in which all were looked at."""
        self._faults: frozenset[FindingKey] = frozenset()
        """The faults of these."""

    def takes(self, workers: Collection[str]) -> bool:
        """Whether there are turns among so many."""
        return self._every > 0 and len(workers) > self._small

    def due(self, workers: Sequence[str], now: float) -> frozenset[str]:
        """The workers that are looked at in a sweep that begins now: those of whom something is odd or nothing is
        kept, and of the others so many that each has its turn in time, the longest waiting first.
        """
        if not self.takes(workers) or self._before is None:
            return frozenset(workers)
        passed = now - self._before
        busy = now < self._busy_until
        share, within = (min(passed, self._interval), STALE_INTERVALS) if busy else (passed, 1)
        fresh = [w for w in workers if w not in self._kept or w in self._odd]
        waiting = sorted(set(workers).difference(fresh), key=lambda w: (self._kept[w].clock, w))
        count = math.ceil(len(waiting) * share / self._every)
        # by the next sweep, which is as far away as the last one, these would have waited for too long
        late = sum(now + passed - self._kept[w].clock > within * self._every for w in waiting)
        # where sweeps do not even come within a stretched interval, that cannot be helped, and would keep them as long
        hopeless = busy and passed > STALE_INTERVALS * self._interval
        return frozenset((*fresh, *waiting[: count if hopeless else max(count, late)]))

    def longest_waiting(self, workers: Collection[str]) -> list[str]:
        """These, with those first of whom nothing is kept or what was seen is the oldest."""
        return sorted(workers, key=lambda w: (self._kept[w].clock if w in self._kept else -math.inf, w))

    def took(
        self, seen: Observation, workers: Collection[str], looked: Collection[str], odd: Iterable[str], now: float
    ) -> Observation:
        """Keep what was seen of those that were looked at, and give the sweep, which began at `now`, with what is kept
        of the others and of those that it did not come to, as `carried`. `odd` are hosts that are looked at in the next
        sweep whatever happens.
        """
        network = seen.network if isinstance(seen.network, NetworkView) else None
        missed = set[str]()
        for name in looked:
            view = seen.hosts.get(name)
            of_network = network.hosts.get(name) if network else None
            if NOT_YET in (view, of_network):
                missed.add(name)
                continue
            if isinstance(view, HostView) and isinstance(of_network, NodeNetworkView):
                self._kept[name] = Looked(now, seen.at, view, of_network)
            else:
                self._kept.pop(name, None)
        self._kept = {n: k for n, k in self._kept.items() if n in workers}
        self._odd, self._before = frozenset(odd), now
        if seen.behind > BUSY * self._interval:
            self._busy_until = now + STALE_INTERVALS * self._every
        carried = {n: k for n, k in self._kept.items() if n not in looked or n in missed}
        if not carried:
            return seen
        if network:
            network = replace(network, hosts={**network.hosts, **{n: k.network for n, k in carried.items()}})
        return replace(
            seen,
            hosts={**seen.hosts, **{n: k.host for n, k in carried.items()}},
            network=network or seen.network,
            carried={n: k.at for n, k in carried.items()},
        )

    def found(self, seen: Observation, diagnosis: Diagnosis, hosts_of: Mapping[str, str]) -> None:
        """Whoever a finding of a sweep is about, be it a notice, is looked at in the next sweep as well."""
        if not seen.carried:
            self._standing, self._faults = diagnosis.keys, frozenset(f.key for f in diagnosis.faults)
        words = {w for f in diagnosis.findings for w in (*BETWEEN.split(f.subject), getattr(f.facts, "host", ""))}
        self._odd |= {hosts_of.get(word, word) for word in words}

    def may_stand(self, seen: Observation, found: Diagnosis) -> bool:
        """Whether a sweep may in which not all had their turn: it says that what was wrong when all were looked at is
        so still, and nothing else. One for which recoverd itself was too late may, if nothing is found: it says
        nothing, and to look at more would make it later.
        """
        if not found.keys <= self._standing:
            return False
        if found.state is State.UNOBSERVABLE:
            return seen.late
        return self._faults == {f.key for f in found.faults}


def odd(seen: Observation, hosts_of: Mapping[str, str]) -> set[str]:
    """The hosts of which something may be wrong, though nothing need be found yet. `hosts_of` has the host by node."""
    found = {n for n, v in seen.hosts.items() if not isinstance(v, HostView) or v.problems or v.journals or _people(v)}
    network = seen.network
    if not isinstance(network, NetworkView):
        return found
    for pair in (*network.failing_since, *network.failing_over_ipv6):
        found.update(pair.split(">"))
    found.update(name for p in network.probes if not p.answer.arrived for name in (p.source, p.target))
    found.update(s.source for s in network.services if any(a is not ProbeAnswer.OK for a in s.answers))
    for name, view in network.hosts.items():
        if not isinstance(view, NodeNetworkView) or view.problems or not _ruled(view):
            found.add(name)
    nodes = {n for n, p in network.pods.items() if not isinstance(p, NodePods) or p.missing or p.extra}
    nodes.update(a.node for a in network.agents if a.bad_for or a.running is False or not a.ready)
    nodes.update(network.waiting)
    found.update(hosts_of.get(node, node) for node in nodes)
    return found


def _people(view: HostView) -> bool:
    people = view.people
    return people is None or bool(people.logins or people.tools or people.hands_off)


def _ruled(view: NodeNetworkView) -> bool:
    return isinstance(view.rules, RulesView) and not view.rules.gaps
