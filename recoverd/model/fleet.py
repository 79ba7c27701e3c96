"""What one cluster has to know of the others before anything is done to it. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What the others have to know of one cluster."""

    acting: bool = False
    """A plan is under way on it: from its first step until it was seen whether it helped."""
    waiting: bool = False
    """A plan that a person has approved waits for its turn."""
    faults: Mapping[str, datetime] = field(default_factory=dict)
    """By code: when the first of those that are there was first seen."""
    never_healthy: bool = False
    """recoverd has never seen it healthy."""


@dataclass(frozen=True, slots=True)
class CommonCause:
    """The same fault began in so many clusters within so short a time that its cause is above them."""

    code: str
    clusters: tuple[str, ...]
    """In which it began then, by name."""
    since: datetime
    """When it began in the first of them."""
    unfinished: bool = False
    """None of them was ever seen healthy, so that what they have in common may be an installation that is not
    finished: nothing is done unasked all the same, and nobody is called.
    """


@dataclass(frozen=True, slots=True)
class Around:
    """What goes on around one cluster at one moment."""

    acting: tuple[str, ...] = ()
    """Other clusters on which plans are under way, by name."""
    waiting: tuple[str, ...] = ()
    """Other clusters on which plans that persons have approved wait for their turn."""
    at_once: int = 0
    """On how many clusters plans may be under way at once; 0: on any number."""
    cause: CommonCause | None = None
    """Of a fault that is on this cluster too."""
