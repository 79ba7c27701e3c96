"""Names that nothing has: what an operator is told who has typed one."""

from __future__ import annotations

from collections.abc import Collection

from recoverd.engine.journal import Journal
from recoverd.model.events import Refused
from recoverd.model.text import nearest

INCIDENT, PLAN = "incident", "plan"
ANY = "plan, incident or cluster"
LISTS = {INCIDENT: "incidents", PLAN: "plans --all", ANY: "plans --all"}
"""What lists the names of a kind."""


def refused(journal: Journal, kind: str, name: str, clusters: Collection[str]) -> Refused:
    """That nothing of the `kind` has the name: what has it instead, the name that was probably meant, or what lists
    them.
    """
    said = _instead(journal, kind, name, clusters) or f"`recoverctl {LISTS[kind]}` lists them"
    return Refused(f"there is no {kind} {name}; {said}", missing=True)


def _instead(journal: Journal, kind: str, name: str, clusters: Collection[str]) -> str:
    if plan := journal.plan(name):
        return f"{name} is a plan, of incident {plan.incident}"
    if journal.incident(name):
        return f"{name} is an incident: recoverctl plans {name} --all"
    if name in clusters:
        return f"{name} is a cluster: recoverctl {LISTS[kind].split()[0]} {name}"
    known: list[str] = []
    if kind != INCIDENT:
        known += journal.ids_of(PLAN)
    if kind != PLAN:
        known += journal.ids_of(INCIDENT)
    if kind == ANY:
        known += clusters
    near = nearest(name, known)
    return f"did you mean {near}?" if near else ""
