"""What is news of a cluster, in the words that a person reads at night on a telephone. Pure.

What stands (a fault, a plan that waits, a call for a person, a cluster that cannot be seen) is read off the
machine after every event and not off the events: so it can be compared with what was told already, also by a
process that was started since. What happens in a moment (a plan that failed, the end of an incident) is read off
what the event had journalled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from recoverd.model.events import Instruction, Note, SaveIncident, SavePlan
from recoverd.model.finding import FAULT_STATES, Phase, State
from recoverd.model.fleet import CommonCause
from recoverd.model.history import History
from recoverd.model.news import News, Topic
from recoverd.model.plan import Incident, Outcome, Plan, PlanStatus
from recoverd.model.record import Record
from recoverd.model.status import ClusterStatus
from recoverd.model.text import clean, lasting, utc

FIRST, LONGEST = 100, 300
"""Characters of one line; the whole is told by recoverctl."""
LOST = 2
"""Lines of what is lost with a plan."""
OFFERED_AGAIN = 24 * 3600.0
"""Seconds after which maintenance that still waits is told again: an offer that nobody took is made anew,
under a new name, every half hour.
"""
ALERTS = {
    State.APISERVER_DOWN: "RecoverdApiserverDown",
    State.ETCD_STUCK: "RecoverdEtcdStuck",
    State.WORKER_NETWORK_BROKEN: "RecoverdWorkerNetworkBroken",
}
"""Names in config/alerts."""
HOW = {
    Outcome.RECOVERED: "recoverd repaired it",
    Outcome.RECOVERED_BY_ITSELF: "it went away by itself, nothing was done",
    Outcome.RECOVERED_BY_HAND: "repaired by hand",
    Outcome.NOT_DONE: "the maintenance was not carried out to its end",
    Outcome.UNKNOWN: "how is not known",
}


def standing(status: ClusterStatus, record: Record, bastion: str) -> tuple[News, ...]:
    """What is so now. `bastion` is where one types the commands."""
    if status.never_healthy:
        unfinished = _unfinished(status, record, bastion)
        return (unfinished,) if unfinished else ()
    found = (
        _confirmed(status, record, bastion),
        _waiting(status, record, bastion),
        _escalated(status, record, bastion),
        _shadow(status, record, bastion),
        _dark(status, record, bastion),
    )
    return tuple(news for news in found if news)


def happened(instructions: Iterable[Instruction], record: Record, bastion: str, now: datetime) -> tuple[News, ...]:
    """What an event brought with it, by its instructions; `record` is the machine's after it."""
    found = []
    for instruction in instructions:
        match instruction:
            case SavePlan(plan=plan) if plan.status is PlanStatus.FAILED:
                found.append(failed(plan, now, bastion))
            case Note(entry=entry) if entry.event == History.EMERGENCY and record.plan:
                found.append(_emergency(record.plan, entry.detail, now, bastion))
            case SaveIncident(incident=incident) if incident.closed_at:
                found.append(recovered(incident, helpful(incident, record), bastion))
            case _:
                pass
    return tuple(found)


def title(text: object) -> str:
    """The first line of a message, of which a pager shows so much: whose it is, then what somebody has to know, and
    last what may be cut.
    """
    return line(text, FIRST)


def line(text: object, longest: int = LONGEST) -> str:
    """One line of a message: without control characters, and not too long."""
    whole = clean(" ".join(str(text).split()))
    return whole if len(whole) <= longest else f"{whole[: longest - 3]}..."


def _confirmed(status: ClusterStatus, record: Record, bastion: str) -> News | None:
    incident = record.incident
    if incident is None or incident.state not in FAULT_STATES:
        return None
    only = ["recoverd only observes it and does nothing (mode: observe)."] if status.observed else []
    doing = [line(f"Now: {status.explanation}")] if status.explanation else []
    paused = [line(f"recoverd does nothing, it is {status.pause}")] if status.paused else []
    return News(
        Topic.CONFIRMED,
        status.name,
        incident.id,
        incident.fault_since,
        title(f"{status.name}: BROKEN, {incident.state}{' (only observed)' if status.observed else ''}"),
        (
            line(incident.summary),
            f"Since {utc(incident.fault_since)}.",
            *paused,
            *only,
            *doing,
            f"On {bastion}: recoverctl status {status.name}",
        ),
        incident=incident.id,
        labels={"alertname": ALERTS[incident.state], "state": str(incident.state), "severity": "page"},
    )


def _unfinished(status: ClusterStatus, record: Record, bastion: str) -> News | None:
    """Of a cluster that was never seen healthy: one message a day, which calls nobody."""
    dark = status.state is State.UNOBSERVABLE and record.state == State.UNOBSERVABLE
    if record.incident is None and not dark:
        return None
    plan = record.plan
    waits = plan is not None and plan.status is PlanStatus.AWAITING_APPROVAL
    return News(
        Topic.UNFINISHED,
        status.name,
        "never-healthy",
        record.incident.fault_since if record.incident else record.since,
        title(f"{status.name}: not watched yet, recoverd has never seen it healthy"),
        (
            line(status.summary),
            "Where the cluster is well, the installation is not finished (SSH, sudo, kubeconfig, addresses).",
            f"What is missing, on {bastion}: recoverd doctor {status.name}",
            *([f"A plan waits: recoverctl plans {status.name}"] if waits else []),
            "Until it was seen healthy once, nobody is called for it at night.",
        ),
        incident=record.incident.id if record.incident else "",
        again=OFFERED_AGAIN,
        labels={"alertname": "RecoverdNeverHealthy", "severity": "ticket"},
    )


def _waiting(status: ClusterStatus, record: Record, bastion: str) -> News | None:
    plan, incident = record.plan, record.incident
    if plan is None or plan.status is not PlanStatus.AWAITING_APPROVAL or status.observed:
        return None  # where it only observes, nobody could approve it
    fault = [line(incident.summary), f"Broken since {utc(incident.fault_since)}."] if incident else []
    lost = [line(f"LOST: {text}") for text in plan.destroys[:LOST]]
    if len(plan.destroys) > LOST:
        lost[-1] = line(f"{lost[-1][: LONGEST - 40]} ({len(plan.destroys) - LOST} more: recoverctl plans {plan.id})")
    kind = "DESTRUCTIVE, " if plan.destructive else ""
    one = [line(f"1 of 2 persons has approved it, {plan.first.by}: another person must.")] if plan.first else []
    return News(
        Topic.WAITING,
        status.name,
        plan.id if incident else plan.playbook,
        plan.created_at,
        title(f"{status.name}: {'WAITS FOR YOU' if incident else 'maintenance is offered'} ({kind}{plan.playbook})"),
        (
            *fault,
            line(f"Plan {plan.id}: {plan.summary}"),
            *lost,
            *one,
            f"Until {utc(plan.expires_at)}. On {bastion}:",
            f"recoverctl approve {plan.id}" if incident else f"recoverctl plans {status.name}",
        ),
        incident=incident.id if incident else "",
        again=None if incident else OFFERED_AGAIN,
        labels={
            "alertname": "RecoverdPlanAwaitsApproval" if incident else "RecoverdMaintenanceOffered",
            "plan": plan.id,
            "playbook": plan.playbook,
            "severity": "page" if incident else "ticket",
        },
    )


def _escalated(status: ClusterStatus, record: Record, bastion: str) -> News | None:
    incident = record.incident
    if status.phase is not Phase.ESCALATED or incident is None or status.observed:
        return None  # where it only observes it has not come to its end: the fault itself called a person
    return News(
        Topic.ESCALATED,
        status.name,
        f"{incident.id}.{record.plans}" if record.plans else incident.id,  # after another plan it is another call
        record.since,
        title(f"{status.name}: A PERSON IS NEEDED, {incident.state}"),
        (
            line(incident.summary),
            f"Broken since {utc(incident.fault_since)}.",
            line(f"recoverd does nothing more: {status.explanation}"),
            f"On {bastion}: recoverctl status {status.name}",
            f"What failed or was refused is tried again after: recoverctl ack {incident.id}",
        ),
        incident=incident.id,
        labels={"alertname": "RecoverdEscalated", "phase": "escalated", "severity": "page"},
    )


def _shadow(status: ClusterStatus, record: Record, bastion: str) -> News | None:
    """For information: no alert is on it."""
    plan, incident = record.shadow, record.incident
    if not status.observed or incident is None or not (plan or status.phase is Phase.ESCALATED):
        return None
    what = f"{plan.reason} ({plan.playbook})" if plan else "would have called a person"
    lost = [line(f"LOST, had it been done: {text}") for text in plan.destroys[:LOST]] if plan else []
    return News(
        Topic.SHADOW,
        status.name,
        plan.id if plan else f"{incident.id}.escalated",
        plan.created_at if plan else record.since,
        title(f"{status.name}: only observed; recoverd {what}"),
        (
            line(incident.summary),
            line(f"Plan {plan.id}: {plan.summary}" if plan else f"Why: {status.explanation}"),
            *lost,
            f"For information: nothing is done, and nothing can be approved. On {bastion}: "
            + (f"recoverctl plans {plan.id}" if plan else f"recoverctl status {status.name}"),
        ),
        incident=incident.id,
    )


def _dark(status: ClusterStatus, record: Record, bastion: str) -> News | None:
    if status.state is not State.UNOBSERVABLE or record.state != State.UNOBSERVABLE:
        return None  # nor where the first sweeps have not shown it yet
    return News(
        Topic.UNOBSERVABLE,
        status.name,
        f"{record.since:%Y-%m-%dT%H:%M:%S.%fZ}",
        record.since,
        title(f"{status.name}: CANNOT BE SEEN from {bastion}"),
        (
            line(status.summary),
            f"Since {utc(record.since)}. Nothing is known of it, good or bad, and nothing is done.",
            f"Suspect the network of {bastion} first, then its SSH key and kubeconfig. On {bastion}: "
            f"recoverctl status {status.name}",
        ),
        incident=record.incident.id if record.incident else "",
        labels={"alertname": "RecoverdUnobservable", "state": "unobservable", "severity": "page"},
    )


def seen_again(status: ClusterStatus, record: Record, subject: str, now: datetime) -> News:
    """That a cluster can be seen again; `subject` is that of the news that it could not."""
    since = datetime.fromisoformat(subject)
    incident = record.incident
    state = f"{status.state}: {status.summary}" if status.state is not State.HEALTHY else "healthy"
    return News(
        Topic.UNOBSERVABLE,
        status.name,
        subject,
        since,
        title(f"{status.name}: can be seen again, after {lasting((now - since).total_seconds())}"),
        (line(f"It is {state}."),),
        incident=incident.id if incident else "",
        over=True,
    )


def nobody_acts(why: str, since: datetime, bastion: str) -> News:
    """That this bastion only looks, since nothing can be journalled."""
    return News(
        Topic.NOBODY_ACTS,
        "",
        f"{since:%Y-%m-%dT%H:%M:%S.%fZ}",
        since,
        title(f"recoverd on {bastion}: NOTHING IS DONE to any cluster"),
        (
            line(why),
            f"Since {utc(since)}. Every cluster is looked at from here, and nothing repaired.",
            f"Bring most members of the bastions' etcd back (systemctl status etcd). On {bastion}: recoverctl status",
        ),
        labels={"alertname": "RecoverdStoreUnavailable", "severity": "page"},
    )


def acts_again(news: News, now: datetime) -> News:
    """That what `news` told is over."""
    return _over(news, f"{news.title.partition(':')[0]}: acts again", "The bastions' etcd is there again.", now)


def common_cause(cause: CommonCause, bastion: str) -> News:
    """That the same fault began in many clusters, once for all of them."""
    return News(
        Topic.COMMON_CAUSE,
        "",
        f"{cause.code}-{cause.since:%Y-%m-%dT%H:%M:%S.%fZ}",
        cause.since,
        title(f"recoverd on {bastion}: {cause.code} IN {len(cause.clusters)} CLUSTERS TOGETHER"),
        (
            line(f"{', '.join(cause.clusters)}."),
            f"Since {utc(cause.since)}. Its cause is above them: the bastion's network, an image, a CA, "
            "whatever they have in common.",
            "Nothing is done about it unasked, and nobody is told of each of them. Plans that wait can be approved.",
            f"On {bastion}: recoverctl status, recoverctl plans",
        ),
        labels={"alertname": "RecoverdCommonCause", "severity": "page"},
    )


def no_common_cause(news: News, now: datetime) -> News:
    """That what `news` told is over."""
    text = f"{news.title.partition(' IN ')[0]}: not in many clusters any more"
    return _over(news, text, "Each that has it still is told by itself.", now)


def _over(news: News, text: str, said: str, now: datetime) -> News:
    """The end of what `news` told of no single cluster, with how long it lasted."""
    whole = f"{text}, after {lasting((now - news.since).total_seconds())}"
    return replace(news, title=title(whole), lines=(said,), over=True, labels={})


def failed(plan: Plan, at: datetime, bastion: str) -> News:
    """That a plan failed, with what it left."""
    return News(
        Topic.FAILED,
        plan.cluster,
        plan.id,
        at,
        title(f"{plan.cluster}: FAILED, plan {plan.id} ({plan.playbook})"),
        (
            line(plan.reason),
            f"See what it left before anything else is tried. On {bastion}: recoverctl show {plan.incident}",
        ),
        incident=plan.incident,
        labels={
            "alertname": "RecoverdActionFailed",
            "playbook": plan.playbook,
            "outcome": "failed",
            "severity": "page",
        },
    )


def _emergency(plan: Plan, said: str, at: datetime, bastion: str) -> News:
    """That one person has approved alone what needs two."""
    return News(
        Topic.EMERGENCY,
        plan.cluster,
        plan.id,
        at,
        title(f"{plan.cluster}: ONE PERSON ALONE has approved plan {plan.id} ({plan.playbook})"),
        (line(said), f"On {bastion}: recoverctl show {plan.incident}, recoverctl audit {plan.cluster}"),
        incident=plan.incident,
    )


def helpful(incident: Incident, record: Record) -> list[str]:
    """The playbooks that succeeded in the incident."""
    return [a.playbook for a in record.history if a.incident == incident.id and a.ok]


def recovered(incident: Incident, playbooks: Sequence[str], bastion: str) -> News:
    """That an incident is closed: how long it lasted, and by what it ended."""
    assert incident.closed_at is not None and incident.outcome is not None
    took = lasting((incident.closed_at - incident.fault_since).total_seconds())
    how = HOW[incident.outcome] + (
        f" ({', '.join(playbooks)})" if incident.outcome is Outcome.RECOVERED and playbooks else ""
    )
    was = f"{utc(incident.fault_since)} to {utc(incident.closed_at)}"
    return News(
        Topic.RECOVERED,
        incident.cluster,
        incident.id,
        incident.closed_at,
        title(f"{incident.cluster}: healthy again after {took}"),
        (
            line(f"By: {how}."),
            line(f"It was, from {was}: {incident.summary}"),
            f"The whole story, on {bastion}: recoverctl show {incident.id}",
        ),
        incident=incident.id,
        over=True,
    )
