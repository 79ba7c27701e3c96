"""Two histories of etcd beside each other: nothing is restarted, moved or removed before a person has said which one is right. Pure."""

from __future__ import annotations

from recoverd.model.finding import Code, Diagnosis, Finding
from recoverd.playbooks.base import Situation

HISTORIES = frozenset({Code.ETCD_FOREIGN_CLUSTER, Code.ETCD_SPLIT_BRAIN})
"""What says that two live, or will as soon as something is started."""
REMEDIED = HISTORIES | {Code.ETCD_DATA_LOST, Code.ETCD_DATA_DIRECTORY_CHANGED}
"""A plan for one of these is itself the way out."""


def second(diagnosis: Diagnosis) -> Finding | None:
    """The finding that says so; None where there is one history."""
    return next((f for f in diagnosis.faults if f.code in HISTORIES), None)


def in_the_way(finding: Finding, situation: Situation) -> str:
    """Why nothing is done about `finding` while there is a second history; "" where there is none, or it is what `finding` is about."""
    found = second(situation.diagnosis)
    if found is None or finding.code in REMEDIED:
        return ""
    return f"etcd has more than one history, and nothing else is done before a person has said which is right: {found.message}"
