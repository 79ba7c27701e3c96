"""How long which fault has been seen: confirmation, flaps, blind sweeps, and what still has to be seen
before it counts as gone. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from recoverd.diagnose.absence import unproven
from recoverd.model.finding import Diagnosis, Finding, FindingKey
from recoverd.model.observation import Observation, Unseen
from recoverd.model.record import Sighting
from recoverd.model.settings import ClusterSettings

COUNTED = 100
"""Sweeps beyond which it makes no difference in how many more a fault was seen."""
FLAP = 2, 6
"""A fault that comes and goes is confirmed when it was seen in so many times `confirm_sweeps` of the newest so many
times `confirm_sweeps` sweeps.
"""
UNSTEADY = 3
"""This many times `confirm_sweeps` sweeps on end that each see a fault are an incident,
though none of the faults lasts.
"""

Sightings = Mapping[str, Sighting]


def name_of(key: FindingKey) -> str:
    return f"{key[0]} {key[1]}"


def key_of(name: str) -> FindingKey:
    """The inverse: no code has a blank in it."""
    code, _, subject = name.partition(" ")
    return code, subject


def sighted(
    before: Sightings, diagnosis: Diagnosis, observation: Observation, settings: ClusterSettings
) -> dict[str, Sighting]:
    """The sightings after one more sweep that could see.

    What is seen again after `stale_after` seconds counts anew: nobody knows what was in between. One that is shown to
    be gone counts anew at once, and is forgotten when `recover_sweeps` sweeps showed that and it does not flap. One
    that cannot be seen now is neither seen nor gone.
    """
    at, bounds = observation.started_at, settings.bounds
    span = (1 << FLAP[1] * bounds.confirm_sweeps) - 1
    gap = timedelta(seconds=settings.stale_after)
    now: dict[str, Sighting] = {}
    for key in sorted(diagnosis.keys):
        old = before.get(name_of(key))
        if old is None or old.last is None or at - old.last > gap:
            stands, unseen_for = old is not None and old.stands, _unseen_for(old, at)
            now[name_of(key)] = Sighting(at, 1, 0, 1, observation.at, stands, unseen_for, _first(old))
        else:
            since = at if old.missed else old.since
            recent = (old.recent << 1 | 1) & span
            unseen_for = 0.0 if old.missed else old.unseen_for
            seen = min(old.seen + 1, COUNTED)
            now[name_of(key)] = Sighting(since, seen, 0, recent, observation.at, old.stands, unseen_for, _first(old))
    left = {name: old for name, old in before.items() if name not in now}
    blind = unproven([key_of(name) for name in left], diagnosis, observation)
    for name, old in left.items():
        recent = old.recent << 1 & span
        if key_of(name) in blind:
            missed = replace(old, seen=0, recent=recent)
        else:
            gone = old.missed + 1
            missed = replace(
                old, seen=0, recent=recent, missed=gone, stands=old.stands and gone < bounds.recover_sweeps
            )
        if missed.stands or missed.recent:
            now[name] = missed
    return now


def _first(old: Sighting | None) -> datetime | None:
    return (old.first or old.since) if old and not old.missed else None


def _unseen_for(old: Sighting | None, at: datetime) -> float:
    if old is None or old.last is None or old.missed:
        return 0.0
    return max(old.unseen_for, (at - old.last).total_seconds())


def silent(before: Mapping[str, datetime], observation: Observation) -> dict[str, datetime]:
    """The hosts that this sweep could not look at, and since when: what destroys something waits for as long
    as a machine may take to boot.
    """
    return {n: before.get(n, observation.started_at) for n, v in observation.hosts.items() if isinstance(v, Unseen)}


def confirmed(findings: Sequence[Finding], sightings: Sightings, sweeps: int) -> tuple[Finding, ...]:
    """Those of this sweep's findings that were seen in at least `sweeps` consecutive ones, or that flap."""
    return tuple(f for f in findings if (s := sightings.get(name_of(f.key))) and (s.seen >= sweeps or flaps(s, sweeps)))


def flaps(sighting: Sighting, sweeps: int) -> bool:
    """It comes and goes, and never stays for long."""
    return sighting.recent.bit_count() >= FLAP[0] * sweeps


def standing(sightings: Sightings, faults: Sequence[Finding]) -> dict[str, Sighting]:
    """The sightings, with these confirmed faults as such that an incident waits for to be seen gone."""
    names = {name_of(f.key) for f in faults}
    return {name: replace(s, stands=True) if name in names else s for name, s in sightings.items()}


def interrupted(sightings: Sightings) -> dict[str, Sighting]:
    """After a time in which nothing could be seen: what stood stands, and everything has to be confirmed anew."""
    return {name: replace(s, seen=0, recent=0, last=None) for name, s in sightings.items() if s.stands}


def unended(sightings: Sightings, diagnosis: Diagnosis, observation: Observation) -> dict[FindingKey, str]:
    """What an incident was opened for and what this sweep neither finds as a fault nor shows to be gone, and why.

    What is a warning for a while may stand as it did: a node whose machine is off, in the minute that all nodes are
    given after their API server was away. The incident was closed as recovered by that, and opened again.
    """
    faults = {f.key for f in diagnosis.faults}
    keys = [key for name, s in sightings.items() if s.stands and (key := key_of(name)) not in faults]
    return unproven(keys, diagnosis, observation)


def let_go(sightings: Sightings, keys: Mapping[FindingKey, str]) -> dict[str, Sighting]:
    """The sightings without what a person says is not to be waited for."""
    return {name: s for name, s in sightings.items() if key_of(name) not in keys}


def gap(swept_at: datetime | None, observation: Observation, settings: ClusterSettings) -> float:
    """Seconds without a sweep before this one, where they are more than a sweep may be old; else 0."""
    if swept_at is None:
        return 0.0
    seconds = (observation.started_at - swept_at).total_seconds()
    return seconds if seconds > settings.stale_after else 0.0
