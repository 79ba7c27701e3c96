"""How long which fault has been seen: confirmation, flaps and blind sweeps. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from recoverd.model.finding import Diagnosis, Finding, FindingKey
from recoverd.model.observation import Observation, Unseen
from recoverd.model.record import Sighting


def name_of(key: FindingKey) -> str:
    return f"{key[0]} {key[1]}"


def sighted(before: Mapping[str, Sighting], diagnosis: Diagnosis, at: datetime, forget_after: int) -> dict[str, Sighting]:
    """The sightings after one more sweep that could see.

    A fault that is missed starts counting anew, and is forgotten after `forget_after` sweeps without it; until then its `since` stands.
    """
    now: dict[str, Sighting] = {}
    for key in diagnosis.keys:
        old = before.get(name_of(key))
        now[name_of(key)] = Sighting(old.since, old.seen + 1) if old else Sighting(at, 1)
    for name, old in before.items():
        if name not in now and old.missed + 1 < forget_after:
            now[name] = Sighting(old.since, 0, old.missed + 1)
    return now


def silent(before: Mapping[str, datetime], observation: Observation) -> dict[str, datetime]:
    """The hosts that this sweep could not look at, and since when: what destroys something waits for as long as a machine may take to boot."""
    return {n: before.get(n, observation.started_at) for n, v in observation.hosts.items() if isinstance(v, Unseen)}


def confirmed(findings: Sequence[Finding], sightings: Mapping[str, Sighting], sweeps: int) -> tuple[Finding, ...]:
    """Those of this sweep's findings that were seen in at least `sweeps` consecutive ones."""
    return tuple(f for f in findings if (s := sightings.get(name_of(f.key))) and s.seen >= sweeps)
