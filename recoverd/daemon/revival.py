"""With what a cluster's watch begins where its journal is not whole. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from recoverd.engine.journal import Saved
from recoverd.model.memory import Memory
from recoverd.model.record import Pause, Record


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


def _highest(name: str, kind: str, ids: Iterable[str]) -> int:
    """The highest number that an incident, or a maintenance, of the cluster was given."""
    return max((int(m[1]) for i in ids if (m := re.match(rf"{re.escape(name)}-{kind}(\d+)", i))), default=0)
