"""What a person has asked of recoverd that changes anything, and what came of it. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

EVERY = "*"
"""In place of a cluster's name: all of them."""


class Answer(StrEnum):
    ASKED = "asked"
    """It was begun. Where that stays so, recoverd ended before it had an answer, or could not journal it."""
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    """It was begun and did not end well, or recoverd itself failed."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One request: written before it is carried out, and once more with its answer."""

    id: str
    at: datetime
    by: str
    """As shown to people: `alice`, or `alice (as root)`."""
    person: int | None
    """Uid of the person; None where it is not known who is behind root."""
    uid: int
    """Of the process that asked, by the kernel."""
    request: str
    """As one types it: `approve`, `pause`."""
    cluster: str
    """`EVERY` for all; "" where it is about none, or about something that is not there."""
    subject: str
    """The plan, incident, playbook, machine or receiver that it names; "" for none."""
    reason: str
    answer: Answer = Answer.ASKED
    detail: str = ""
    """What was answered."""
