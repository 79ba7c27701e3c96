"""What the terminal, the status page and the post-mortem say in the same words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from recoverd.model.status import on_hold
from recoverd.model.text import lasting, utc

Shape = dict[str, Any]
CALM = ("healthy", "maintenance")
ALIKE = 3
"""Findings of one kind that are told one by one, where they do not say the same."""
OWN = re.compile(r"\d+(?:\.\d+){3}(?::\d+)?|\[?[0-9a-f]*:[0-9a-f:]+\]?(?::\d+)?|(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d")
"""Addresses and times of day, which differ where one thing is said of several machines."""


def when(text: str | None) -> str:
    return utc(datetime.fromisoformat(text)) if text else "-"


def clock(text: str) -> str:
    """The time of day alone, for what stands below its date or comes at this moment."""
    return when(text)[11:]


def between(start: str, end: str) -> float:
    """Seconds from one moment to another; negative where the clock was set back."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def offset(incident: Shape, at: str) -> int:
    """Whole seconds since the fault was first seen, rounded as the machine's own words are."""
    return round(between(incident["fault_since"], at))


def took(start: str, end: str | None, *, goes_on: bool = False) -> str:
    """How long a step took, to the tenth of a second; `goes_on`: it is carried out now."""
    if not end:
        return "so far" if goes_on else "no end"
    seconds = between(start, end)
    return f"{seconds:.1f} s" if seconds >= 0 else "(clock set back)"


def age(start: str, now: datetime) -> str:
    return lasting((now - datetime.fromisoformat(start)).total_seconds())


def place(c: Shape) -> str:
    """Where a cluster stands: its state, and the phase where there is one."""
    return str(c["state"]) + (f"/{c['phase']}" if c["phase"] else "")


def pause(c: Shape) -> str:
    """By whom the cluster is paused, since when and why."""
    at = c.get("paused_at")
    return on_hold(c.get("paused_by") or "", datetime.fromisoformat(at) if at else None, c["pause_reason"])


def observed(c: Shape) -> bool:
    """Whether the configuration says that recoverd only observes it; a daemon of before that says nothing."""
    return c.get("mode") == "observe"


def asks(c: Shape) -> bool:
    """Whether its plan waits for a person: a plan that was offered while it is healthy does, too."""
    return bool(c["plan"]) and (c["phase"] == "awaiting-approval" or c["state"] == "healthy")


def urgency(c: Shape) -> int:
    """How soon somebody has to look at the cluster, the smallest number first: a fault that waits for a person, as a
    plan or where recoverd has come to its end or is paused; one that it can do nothing about, since it cannot see or
    may not act; one that it repairs; an installation that is not finished, and what is offered on a healthy cluster;
    what stands beside that; nothing.
    """
    if c["state"] in CALM:
        return 3 if asks(c) else 4 if c["paused"] or c["findings"] or c.get("withheld") or c["plan"] else 5
    if c.get("never_healthy"):
        return 3
    if asks(c) or c["phase"] in ("escalated", "paused"):
        return 0
    unable = c["state"] == "unobservable" or c["paused"] or observed(c) or c.get("withheld")
    return 1 if unable or c.get("watched_by") == "nobody" else 2


def answers(plan: str) -> tuple[str, ...]:
    """What to type about a plan that waits."""
    return (
        f"recoverctl plans {plan}",
        f"recoverctl approve {plan}",
        f"recoverctl reject {plan} --reason WHY",
    )


@dataclass(frozen=True, slots=True)
class Alike:
    """Findings of one kind: those that are told whole, and the subjects of the others."""

    told: tuple[Shape, ...]
    others: tuple[str, ...]


def grouped(findings: Sequence[Shape], *, full: bool = False) -> Iterator[Alike]:
    """Findings of one kind: the first of those that say the same of several machines, each of a few that do not, or
    the first of many; `full`: each of them.
    """
    for _, group in groupby(findings, lambda f: (f["severity"], f["code"])):
        alike = tuple(group)
        if full:
            yield Alike(alike, ())
        elif len(alike) > ALIKE:
            yield _first(alike)
        else:
            same: dict[str, list[Shape]] = {}
            for f in alike:
                same.setdefault(_said(f), []).append(f)
            yield from map(_first, same.values())


def _first(alike: Sequence[Shape]) -> Alike:
    return Alike((alike[0],), tuple(f["subject"] for f in alike[1:]))


def _said(f: Shape) -> str:
    """The message without the name of whom it is about, its addresses and times."""
    machine = re.split("[/:]", f["subject"])[0]
    text = re.sub(rf"\b{re.escape(machine)}\b", "", f["message"]) if machine else f["message"]
    return OWN.sub("", text)


def verdict(result: Shape, *, goes_on: bool = False) -> str:
    """What came of one carrying out of a step; `goes_on`: it is carried out now."""
    if goes_on:
        return "is carried out now"
    return {True: "done", False: "FAILED", None: "not known: the daemon stopped first"}[result["ok"]]
