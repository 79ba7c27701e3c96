"""What people are told of a cluster by the bastion itself: which kinds of news there are,
and one piece of it. Data only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Topic(StrEnum):
    """Kinds of news, as the configuration names them (`on`)."""

    CONFIRMED = "confirmed"
    """A fault is proven: an incident was opened."""
    WAITING = "waiting"
    """A plan waits for a person."""
    ESCALATED = "escalated"
    """recoverd does nothing more, and a person has to."""
    FAILED = "failed"
    """A plan failed."""
    EMERGENCY = "emergency"
    """One person has approved alone a plan that needs two."""
    UNOBSERVABLE = "unobservable"
    """The cluster cannot be seen, or can be seen again."""
    UNFINISHED = "unfinished"
    """A cluster that recoverd has never seen healthy does not become so: its installation is to be finished. It takes
    the place of what would call a person for the cluster.
    """
    SHADOW = "shadow"
    """What recoverd would have done now, or that it would have called a person, where it only observes."""
    NOBODY_ACTS = "nobody-acts"
    """The bastions' own etcd is not there: every cluster is only looked at. It is no cluster's."""
    COMMON_CAUSE = "common-cause"
    """The same fault began in many clusters together: nothing is done about it unasked. It is no cluster's, and takes
    the place of what would be told of each.
    """
    RECOVERED = "recovered"
    """The cluster is healthy again: the incident was closed."""


@dataclass(frozen=True, slots=True)
class News:
    """One piece of news, and how it is told. Two with the same `key` are the same one, which nobody is told twice."""

    topic: Topic
    cluster: str
    """"" where it is about this bastion."""
    subject: str
    """What it is about, without a blank: an incident, a plan, or the moment when something began."""
    since: datetime
    title: str
    """One line, the cluster's name first."""
    lines: tuple[str, ...]
    incident: str = ""
    """The incident that it belongs to; "" where there is none."""
    over: bool = False
    """It says that something is over."""
    again: float | None = None
    """Seconds after which it is told again, if it is still so; None: never."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Those of the alert of config/alerts that is on the same thing; empty for what only
    happened and is not so any more.
    """

    @property
    def key(self) -> str:
        ends = self.over and self.topic in (Topic.UNOBSERVABLE, Topic.NOBODY_ACTS, Topic.COMMON_CAUSE)
        return f"{self.topic}{'-over' if ends else ''} {self.subject}"

    @property
    def body(self) -> str:
        return "\n".join(self.lines)
