"""The JSON that recoverctl prints: stable names, times in ISO 8601 UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from recoverd.control.changes import Texts, changes, nothing
from recoverd.control.protocol import Delivery, IncidentReport, JoinEnded, Told, WatchEvent
from recoverd.engine.journal_rows import StepRow
from recoverd.model import text
from recoverd.model.audit import AuditEntry
from recoverd.model.events import SaveDecision
from recoverd.model.finding import Finding
from recoverd.model.joining import Check
from recoverd.model.operations import functions_of
from recoverd.model.plan import Incident, Plan
from recoverd.model.points import RestorePoint
from recoverd.model.settings import Mode
from recoverd.model.status import ClusterStatus
from recoverd.shell import described

Shape = dict[str, Any]


def moment(at: datetime | None) -> str | None:
    return text.moment(at) if at else None


def status(cluster: ClusterStatus) -> Shape:
    return {
        "name": cluster.name,
        "state": cluster.state,
        "phase": cluster.phase,
        "since": moment(cluster.since),
        "fault_since": moment(cluster.fault_since),
        "mode": Mode.OBSERVE if cluster.observed else Mode.ACT,
        "paused": cluster.paused,
        "pause_reason": cluster.pause_reason,
        "paused_by": cluster.paused_by or None,
        "paused_at": moment(cluster.paused_at),
        "summary": cluster.summary,
        "explanation": cluster.explanation,
        "findings": [finding(f) for f in cluster.findings],
        "incident": cluster.incident,
        "plan": cluster.plan,
        "last_sweep": moment(cluster.last_sweep),
        "never_healthy": cluster.never_healthy,
        "stretched": round(cluster.stretched, 1) or None,
        "withheld": cluster.withheld,
        "watched_by": cluster.watched_by or None,
    }


def finding(found: Finding) -> Shape:
    return {
        "code": found.code,
        "subject": found.subject,
        "severity": found.severity,
        "message": found.message,
        "evidence": list(found.evidence),
    }


def incident(row: Incident) -> Shape:
    return {
        "id": row.id,
        "cluster": row.cluster,
        "state": row.state,
        "summary": row.summary,
        "opened_at": moment(row.opened_at),
        "fault_since": moment(row.fault_since),
        "closed_at": moment(row.closed_at),
        "outcome": row.outcome,
        "acknowledged_by": row.acknowledged_by or None,
        "timeline": [{"at": moment(e.at), "event": e.event, "detail": e.detail} for e in row.timeline],
    }


def headline(row: Plan) -> Shape:
    """What somebody has to know of a plan who decides whether to get up."""
    return {
        "id": row.id,
        "incident": row.incident,
        "cluster": row.cluster,
        "playbook": row.playbook,
        "summary": row.summary,
        "destructive": row.destructive,
        "destroys": list(row.destroys),
        "status": row.status,
        "waits_for": row.waits_for or None,
        "created_at": moment(row.created_at),
        "expires_at": moment(row.expires_at),
    }


def plan(row: Plan, there: Texts = nothing) -> Shape:
    """`there`: what is in the files that its steps write, for what they change in them."""
    return headline(row) | {
        "digest": row.digest,
        "automatic": row.automatic,
        "reason": row.reason,
        "requested_by": row.requested_by or None,
        "first_approval": {"by": row.first.by, "at": moment(row.first.at)} if row.first else None,
        "evidence": list(row.evidence),
        "undo": list(row.undo),
        "steps": [
            {
                "host": s.host,
                "node": s.part or None,
                "description": s.description,
                "command": s.command,
                "gist": s.gist,
                "changes": changed,
                "looks": s.looks,
                "timeout": s.timeout,
                "point_of_no_return": s.commits,
            }
            for s, changed in zip(row.steps, changes(row, there), strict=True)
        ],
    }


def shadow(row: Plan) -> Shape:
    """A plan of a cluster that is only observed. `unasked`: it would have run without asking anybody."""
    return {
        "plan": row.id,
        "cluster": row.cluster,
        "incident": row.incident,
        "playbook": row.playbook,
        "summary": row.summary,
        "destructive": row.destructive,
        "at": moment(row.created_at),
        "unasked": row.automatic,
        "would": row.reason,
        "destroys": list(row.destroys),
        "steps": len(row.steps),
    }


def functions(rows: Sequence[Plan]) -> str:
    """The shell functions that the plans' steps and what takes them back call, each once, with what
    they need and what explains them.
    """
    return described(
        name for p in rows for s in p.steps for o in (s.operation, s.undo) if o for name in functions_of(o)
    )


def asked(row: AuditEntry) -> Shape:
    """A request of a person. `person`: the uid of who logged in, None where that is not known; `uid`: the process's."""
    return {
        "at": moment(row.at),
        "by": row.by,
        "person": row.person,
        "uid": row.uid,
        "request": row.request,
        "cluster": row.cluster,
        "subject": row.subject,
        "reason": row.reason,
        "answer": row.answer,
        "detail": row.detail,
    }


def step(row: StepRow) -> Shape:
    return {
        "index": row.index,
        "undo": row.undo,
        "intent_at": moment(row.intent_at),
        "ended_at": moment(row.ended_at),
        "ok": row.result.ok if row.result else None,
        "already_done": row.result.already_done if row.result else None,
        "detail": row.result.detail if row.result else None,
    }


def decision(row: SaveDecision) -> Shape:
    return {"approved": row.approved, "by": row.by, "reason": row.reason, "at": moment(row.at)}


def report(row: IncidentReport) -> Shape:
    plans = [
        {
            **plan(p),
            "results": [step(s) for s in row.steps.get(p.id, [])],
            "decisions": [decision(d) for d in row.decisions.get(p.id, [])],
        }
        for p in row.plans
    ]
    return {**incident(row.incident), "plans": plans}


def point(cluster: str, row: RestorePoint) -> Shape:
    return {
        "id": row.id,
        "cluster": cluster,
        "taken_at": moment(datetime.fromtimestamp(row.taken_at, UTC)),
        "why": row.why,
        "host": row.host,
        "revision": row.revision,
        "keys": row.keys,
        "size": row.size,
        "sha256": row.sha256,
        "verified_at": moment(datetime.fromtimestamp(row.verified_at, UTC)) if row.verified_at is not None else None,
        "how_verified": row.how_verified,
        "lacks": list(row.lacks),
        "path": row.path,
        "directory": row.directory,
        "bastion": row.bastion or None,
    }


def watched(event: WatchEvent) -> Shape:
    return {"at": moment(event.at), "cluster": event.cluster, "event": event.event, "detail": event.detail}


def delivery(row: Delivery) -> Shape:
    return {"receiver": row.receiver, "ok": row.ok, "detail": row.detail}


def told(line: Told) -> Shape:
    """One line of a join: a check, an event, or its end."""
    match line:
        case Check():
            return {"check": line.name, "ok": line.ok, "detail": line.detail}
        case JoinEnded():
            return {"end": line.message, "ok": line.ok, "plan": line.plan}
        case WatchEvent():
            return watched(line)
