"""What `recoverctl status` shows of one cluster."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from recoverd.model.finding import Finding, Phase, State
from recoverd.model.text import utc


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    name: str
    state: State
    """Where it stands in its lifecycle; `unobservable` and not `healthy` until a sweep since the start found it so."""
    phase: Phase | None
    since: datetime
    """When its state or phase changed last, or the watch began where nothing is known yet."""
    paused: bool
    pause_reason: str
    summary: str
    findings: tuple[Finding, ...]
    incident: str | None
    fault_since: datetime | None
    """When the fault was first seen that the open incident is of."""
    plan: str | None
    last_sweep: datetime | None
    explanation: str
    """What recoverd is doing about it or why it does nothing, and what the operator can do; "" when healthy."""
    observed: bool = False
    """The configuration says that recoverd only observes it (`mode: observe`)."""
    withheld: str = ""
    """Why recoverd only observes it for now, whatever the configuration says; "" where it does not."""
    watched_by: str = ""
    """The bastion that watches it, where that is another one; "" where it is this one."""
    never_healthy: bool = False
    """recoverd has never seen it healthy: what is wrong with it may be the installation that is not finished."""
    stretched: float = 0.0
    """Seconds from one sweep's beginning to the next one's, where recoverd does not manage its interval; else 0.0."""
    above: str = ""
    """The code of its fault, where that began in many clusters together; "" where it did not."""
    paused_by: str = ""
    paused_at: datetime | None = None

    @property
    def pause(self) -> str:
        """By whom it is paused, since when and why; "" where it is not."""
        return on_hold(self.paused_by, self.paused_at, self.pause_reason) if self.paused else ""


def on_hold(by: str, at: datetime | None, reason: str) -> str:
    """A pause in words; a daemon of before does not say by whom and since when."""
    return f"paused{f' by {by}' if by else ''}{f' since {utc(at)}' if at else ''}: {reason}"
