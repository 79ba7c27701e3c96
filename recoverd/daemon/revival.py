"""With what a cluster's watch begins where its journal is not whole, or has the cluster under another name. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from recoverd.engine.journal import Saved
from recoverd.model.memory import Memory
from recoverd.model.record import Pause, Record
from recoverd.model.text import some

NAMED = 5
"""Names of many that are told."""


def paused(saved: Saved, name: str, ids: Iterable[str], at: datetime) -> tuple[Saved, str]:
    """What to begin with where `saved` is not whole: paused by recoverd itself; and why, with what
    a person has to look at. Pure.
    """
    if saved.record:
        what = "known-good manifests, etcd's furthest revision and learnt workers are"
        lost = f"{what if saved.memory == Memory() else 'that is'} to be learnt anew from a healthy cluster"
        record = saved.record
    else:
        lost = "whether a plan was running, what was rejected and how often recoverd has acted is forgotten"
        record = Record(
            "healthy", at, born=at, incidents=_highest(name, "", ids), maintenances=_highest(name, "m", ids)
        )
    why = (
        f"{'; '.join(saved.trouble)}: {lost}. What it held is kept in the journal. See on the machines that "
        "nothing was left half done "
        f"(recoverctl plans --all shows the last plans), then: recoverctl resume {name}"
    )
    return Saved(replace(record, pause=record.pause or Pause("recoverd", why, at)), saved.memory, saved.trouble), why


def inherited(
    saved: Saved, others: Mapping[str, Saved], planes: Collection[str], at: datetime
) -> tuple[Saved, tuple[str, ...]]:
    """What to begin with where these control planes were watched under `others` since, names that the configuration
    does not have any more, the newest first; and what has been taken from them, in words.

    A new name makes recoverd forget what it has learnt, and lifts nothing that people have said or that bounds count:
    a pause, what was rejected, what has been done, and who was at work on a machine.
    """
    own = saved.record.watched_from if saved.record else None
    newer = {
        name: (record, other.memory)
        for name, other in others.items()
        if (record := other.record) is not None
        and record.watched_from is not None
        and (own is None or record.watched_from > own)
        and not set(planes).isdisjoint(record.planes)
    }
    names = sorted(newer, key=lambda name: newer[name][0].watched_from or at, reverse=True)
    if not names:
        return saved, ()
    records = [newer[name][0] for name in names]
    pause = next((r.pause for r in records if r.pause), None)
    declined = tuple(
        replace(d, reason=f"{d.reason} (of the time when this cluster was called {name})")
        for name in names
        for d in newer[name][0].declined
    )
    done = sorted((a for r in records for a in r.history), key=lambda a: a.started_at)
    people = {host: sight for name in reversed(names) for host, sight in newer[name][1].at_work.items()}
    record = replace(
        saved.record or Record("healthy", at, born=at), pause=pause, declined=declined, history=tuple(done)
    )
    parts = [
        f"it is paused still, by {pause.by} ({pause.reason})" if pause else "",
        f"{len(declined)} that people have rejected, or that failed, are not offered again" if declined else "",
        f"{len(done)} plans that ran count for its bounds" if done else "",
    ]
    told = f"its control planes were watched as {some(names, NAMED)}", *filter(None, parts)
    return Saved(record, replace(saved.memory, at_work={**saved.memory.at_work, **people}), saved.trouble), told


def _highest(name: str, kind: str, ids: Iterable[str]) -> int:
    """The highest number that an incident, or a maintenance, of the cluster was given."""
    return max((int(m[1]) for i in ids if (m := re.match(rf"{re.escape(name)}-{kind}(\d+)", i))), default=0)
