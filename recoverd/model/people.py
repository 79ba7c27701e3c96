"""What people do on a machine, as far as a look shows it. Times are the machine's own; durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LoginView:
    """A terminal that somebody has open on a machine. recoverd's own sessions have none."""

    user: str
    tty: str
    """As `pts/0`; in words for one that belongs to a container."""
    since: datetime
    idle: float
    """Seconds since something was typed."""


@dataclass(frozen=True, slots=True)
class ToolView:
    """A program that runs, and may change what recoverd watches: kubeadm, etcd's tools, a package manager."""

    command: str
    """Its command line."""
    since: datetime | None = None
    """None where it could not be told."""
    runs: float = 0.0
    """Seconds since then; 0 where it could not be told."""


@dataclass(frozen=True, slots=True)
class AsideView:
    """A manifest of a static pod that kubelet does not see, where the one that it would see is not there."""

    component: str
    path: str
    changed_at: datetime
    """When it was put there (its inode's time of change, which `mv` and `cp -p` set as well)."""


@dataclass(frozen=True, slots=True)
class PeopleView:
    """What people do on a machine, as far as it shows."""

    logins: tuple[LoginView, ...] = ()
    tools: tuple[ToolView, ...] = ()
    hands_off: str = ""
    """Who wrote /run/recoverd/hands-off, and its first line; "" where there is none."""
    aside: tuple[AsideView, ...] = ()
