"""Whether a plan may run unasked now, and if not, which bound says so and until when. Pure: the clock is an argument.

A person's approval stands above `attempts` and `cooldown`, which guard against flapping (as
Orchestrator's RecoveryPeriodBlockSeconds, lifted by an acknowledgement); nothing stands above a pause, a
plan that is acting, or the deadlines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from recoverd.model.finding import FindingKey
from recoverd.model.fleet import Around, CommonCause, Neighbour
from recoverd.model.observation import NodeView
from recoverd.model.plan import ActionRecord
from recoverd.model.settings import Bounds, FleetBounds
from recoverd.model.text import some, utc

NAMED = 5
"""Clusters of many that are named."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """A bound that forbids acting now. `until` is None where only a person can lift it."""

    bound: str
    reason: str
    until: datetime | None


def unasked(
    playbook: str, basis: Sequence[FindingKey], history: Sequence[ActionRecord], bounds: Bounds, now: datetime
) -> Blocked | None:
    """None when `playbook` may run for `basis` without a person at `now`, else the bound that forbids it.

    `attempts` counts the playbook's runs within the window, whatever their cause; `cooldown` holds for a repeat of the
    same cause. Acknowledged runs count for neither.
    """
    runs = [a for a in history if a.playbook == playbook and not a.acknowledged]
    for action in reversed(runs):
        until = (action.ended_at or action.started_at) + timedelta(seconds=bounds.cooldown)
        if now < until and set(action.basis) & set(basis):
            what = "ended without success" if action.ok is False else "repaired the same thing"
            return Blocked(
                "cooldown",
                f"{playbook} {what} at {utc(action.ended_at or action.started_at)}; bound `cooldown` "
                f"({bounds.cooldown:g} s) keeps it from "
                f"running unasked for the same cause until {utc(until)}, unless the incident is "
                "acknowledged (recoverctl ack)",
                until,
            )
    window = timedelta(seconds=bounds.window)
    recent = [a for a in runs if now - a.started_at < window]
    if len(recent) >= bounds.attempts:
        until = recent[-bounds.attempts].started_at + window
        return Blocked(
            "attempts",
            f"{playbook} ran {len(recent)} times since {utc(recent[0].started_at)}; bound `attempts` allows "
            f"{bounds.attempts} within "
            f"{bounds.window:g} s, so not again unasked until {utc(until)}, unless the incidents are "
            "acknowledged (recoverctl ack)",
            until,
        )
    return None


def too_few_ready(down: Sequence[str], nodes: Sequence[NodeView], bounds: Bounds) -> Blocked | None:
    """None when the nodes `down` may be taken out of service now, else `min_ready`.

    A worker counts that is Ready and schedulable. Taking a node down that is not Ready takes nothing away,
    and is never forbidden by this.
    """
    workers = [n for n in nodes if not n.control_plane]
    needed = bounds.ready_needed(len(workers))
    staying = [n.name for n in workers if n.ready and not n.unschedulable and n.name not in down]
    if len(staying) >= needed or not any(n.ready for n in workers if n.name in down):
        return None
    return Blocked(
        "min_ready",
        f"without {', '.join(down)} only {len(staying)} of {len(workers)} workers would be ready and schedulable"
        f"{_listed(staying)}; bound `min_ready` ({bounds.min_ready}) keeps {needed}",
        None,
    )


def out_of_turn(around: Around, *, unasked: bool) -> str:
    """What a plan that has not begun waits for, since others are under way; "" when it may begin. What a person has
    approved goes before what nobody was asked about.
    """
    before = (*around.acting, *(around.waiting if unasked else ()))
    if not around.at_once or len(before) < around.at_once:
        return ""
    others = (
        f"; {_and(around.waiting)}, approved, {_is(around.waiting)} before it" if unasked and around.waiting else ""
    )
    return (
        f"{_and(around.acting) or 'nobody'} {_is(around.acting)} acting{others} (bound `fleet.acting_at_once` allows "
        f"{around.at_once} cluster{'s' if around.at_once > 1 else ''} at once)"
    )


def common_causes(clusters: Mapping[str, Neighbour], bounds: FleetBounds) -> tuple[CommonCause, ...]:
    """Faults that began in enough of the clusters within so short a time that their cause is above them.

    A fleet that is smaller than `same_fault_clusters` cannot tell.
    """
    needed, within = bounds.same_fault_needed(len(clusters)), timedelta(seconds=bounds.same_fault_within)
    began: dict[str, list[tuple[datetime, str]]] = {}
    for name, cluster in clusters.items():
        for code, at in cluster.faults.items():
            began.setdefault(code, []).append((at, name))
    found = []
    for code, beginnings in sorted(began.items()):
        beginnings.sort()
        together = max(
            ([(at, name) for at, name in beginnings if first <= at <= first + within] for first, _ in beginnings),
            key=len,
        )
        if len(together) >= needed:
            found.append(CommonCause(code, tuple(sorted(name for _, name in together)), together[0][0]))
    return tuple(found)


def above(cause: CommonCause) -> str:
    """What is said of a cause above the clusters."""
    return (
        f"{cause.code} began in {len(cause.clusters)} clusters together, from {utc(cause.since)} on "
        f"({_and(cause.clusters)}), so what causes it is above them: the bastion's own network, an image, a CA, "
        "whatever they have in common"
    )


def _and(names: Sequence[str]) -> str:
    """Some names in a sentence; of many, the first."""
    if len(names) > NAMED:
        return some(names, NAMED)
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def prune(history: Sequence[ActionRecord], bounds: Bounds, now: datetime) -> tuple[ActionRecord, ...]:
    """The part of `history` that can still matter for a bound."""
    keep = timedelta(seconds=max(bounds.window, bounds.cooldown))
    return tuple(a for a in history if now - (a.ended_at or a.started_at) <= keep)


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""
