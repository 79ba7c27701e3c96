"""What the terminal, the status page and the post-mortem say in the same words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from recoverd.model.text import lasting

Shape = dict[str, Any]
ALIKE = 3
"""Findings of one kind that are told one by one, where they do not say the same."""
OWN = re.compile(r"\d+(?:\.\d+){3}(?::\d+)?|\[?[0-9a-f]*:[0-9a-f:]+\]?(?::\d+)?|\d\d:\d\d:\d\d")
"""Addresses and times of day, which differ where one thing is said of several machines."""


def when(text: str | None) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC") if text else "-"


def clock(text: str) -> str:
    """The time of day alone, for what stands below its date."""
    return when(text)[11:19]


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


def observed(c: Shape) -> bool:
    """Whether the configuration says that recoverd only observes it; a daemon of before that says nothing."""
    return c.get("mode") == "observe"


def asks(c: Shape) -> bool:
    """Whether its plan waits for a person: a plan that was offered while it is healthy does, too."""
    return bool(c["plan"]) and (c["phase"] == "awaiting-approval" or c["state"] == "healthy")


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
