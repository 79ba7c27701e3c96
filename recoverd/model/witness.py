"""What shows that an API server which calls itself ready is of use: who leads, and what becomes of a write. Pure.

/readyz asks neither an admission webhook nor a controller.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

LED = ("kube-controller-manager", "kube-scheduler")
"""Of each of which one replica works, and holds a Lease of its name in kube-system meanwhile."""


@dataclass(frozen=True, slots=True)
class LeadView:
    """The Lease by which the replicas of a controller agree on which of them works."""

    holder: str
    """As the holder writes it: its machine's host name, `_`, and a part by chance; "" where nobody holds it."""
    renewed_at: datetime | None
    """By the clock of the machine that holds it."""
    asked_at: datetime
    """By the clock of the API server that answered (its `Date`)."""
    unchanged: float | None = None
    """Seconds, by a clock that nobody sets, in which every look found it as it is: 0.0 where it was
    renewed since the look before, None where there was none to compare with.
    """

    @property
    def host(self) -> str:
        """The host name of the machine that holds it."""
        return self.holder.partition("_")[0]

    @property
    def old(self) -> float:
        """Seconds since it was renewed, as the API server's clock has it; infinite where it never was."""
        return (self.asked_at - self.renewed_at).total_seconds() if self.renewed_at else float("inf")
