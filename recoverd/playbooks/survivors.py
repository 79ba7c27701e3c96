"""Who can go on when etcd has lost quorum: which missing members could be back by themselves or by a local cure, and
what is lost without them. Pure.

Dead is not gone for good: a machine that answers and holds its data is a member that is stopped, and one
that is silent may be booting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from recoverd.diagnose import words
from recoverd.diagnose.etcd import STARTING
from recoverd.diagnose.loss import corruption, left_behind
from recoverd.model.catalogue import Code, Of, codes
from recoverd.model.etcd import EtcdView, MemberEntry, accused
from recoverd.model.mounts import unmounted_above
from recoverd.model.observation import HostView, Unseen
from recoverd.model.text import utc
from recoverd.playbooks.base import Refusal, Situation, Wait
from recoverd.playbooks.starts import not_mounted

STOPPERS = codes(Of.STOPS_ETCD)
"""Findings of a machine that say by themselves why its etcd does not run."""

EMPTIED = (Code.ETCD_DATA_EMPTY, Code.CONTROL_PLANE_RESET, Code.ETCD_MEMBER_DOWN)
"""Findings since when a member is without its data: the first that there is."""


class Chance(StrEnum):
    """The chance of a voter that does not serve to serve again."""

    NONE = "its data is lost or corrupt"
    EMPTIED = "its data is gone, as while somebody restores it"
    STARTABLE = "its machine answers and its data is whole"
    BOOTING = "its machine has only just come up"
    SILENT = "silent, NOT proven dead"
    NEW = "it never started"


@dataclass(frozen=True, slots=True)
class Missing:
    """A voter that does not serve."""

    entry: MemberEntry
    host: str
    """Configured name of its machine; "" where it is not configured."""
    chance: Chance
    why: str = ""
    """What keeps it from serving, as far as that is seen."""
    until: datetime | None = None
    """Of a silent one: when it has been so for the bound `force_after`. Of an emptied one: for
    the bound `member_down_after`.
    """

    @property
    def label(self) -> str:
        return self.host or self.entry.name or ", ".join(self.entry.peer_urls) or self.entry.id


def host_of(member: MemberEntry, situation: Situation) -> str | None:
    """Configured name of the machine a member runs on, by its peer URL's address, else by its name;
    None when it is not configured.
    """
    for url in member.peer_urls:
        found = situation.settings.host_at(urlsplit(url).hostname or "")
        if found:
            return found.name
    return next((h.name for h in situation.settings.control_planes if h.name == member.name), None)


def missing(view: EtcdView, serving: Iterable[EtcdView], situation: Situation) -> tuple[Missing, ...]:
    """The voters of the survivor's list that do not serve, each with its chance."""
    ids = {v.member_id for v in serving}
    return tuple(_missing(entry, situation) for entry in view.voters if entry.id not in ids)


def _missing(entry: MemberEntry, situation: Situation) -> Missing:
    name = host_of(entry, situation) or ""
    if not entry.started:
        return Missing(entry, name, Chance.NEW)
    seen = situation.observation.hosts.get(name)
    if not isinstance(seen, HostView):
        since = situation.unseen.get(
            name, situation.now if name else min(situation.since.values(), default=situation.seen_since())
        )
        until = since + timedelta(seconds=situation.settings.bounds.force_after)
        return Missing(
            entry,
            name,
            Chance.SILENT,
            seen.reason if isinstance(seen, Unseen) else "it is not in the configuration",
            until,
        )
    data = seen.etcd_data
    if data is not None and not data.holds and not left_behind(seen):
        if at := unmounted_above(seen, data.path):
            return Missing(entry, name, Chance.STARTABLE, not_mounted(name, at))
        if situation.scene.settling(name):
            return Missing(entry, name, Chance.BOOTING, f"{data.path} is empty, as a disk that is not mounted yet")
        # one that was reset is no part of the cluster, of which that is found and not what it lacks
        since = situation.seen_since(*((code, name) for code in EMPTIED), (Code.ETCD_QUORUM_LOST, ""))
        until = since + timedelta(seconds=situation.settings.bounds.member_down_after)
        return Missing(
            entry, name, Chance.EMPTIED, f"{data.path} there is {'empty' if data.exists else 'missing'}", until
        )
    # what was said of data that are not there any more is over: whoever restores a corrupt member takes them away first
    if why := _lost(entry, name, situation):
        return Missing(entry, name, Chance.NONE, why)
    return Missing(entry, name, Chance.STARTABLE, _stopped_by(name, seen, situation))


def _lost(entry: MemberEntry, name: str, situation: Situation) -> str:
    """Why this member cannot come back with its data; "" where it may."""
    view = situation.etcd(name)
    if view is not None and view.member_id != entry.id:
        return f"the etcd that runs there is another member, {view.member_id}"
    if entry.id in accused(situation.etcd_views.values()):
        return "etcd has raised the CORRUPT alarm against it"
    said = corruption(situation.scene, name)
    return said[-1] if said else ""


def _stopped_by(name: str, seen: HostView, situation: Situation) -> str:
    """What keeps an etcd from running whose data is there."""
    found = [f.message for f in situation.diagnosis.faults if f.code in STOPPERS and f.facts.host == name]
    unseen = [] if seen.etcd_data else ["its data directory could not be looked at"]
    cause, proof = words.of_pod(situation.scene, name, "etcd")
    if not found and cause:
        found = [f"etcd there does not run.{cause}", *(f"({line})" for line in proof)]
    container = seen.containers.get("etcd")
    said = [f"Its log ends: {line}" for line in container.log_tail[-2:] if line] if container and not found else []
    return (
        " ".join((*unseen, *found, *said))
        or f"What keeps it down is not said by anything there: look at kubelet and at the log of etcd on {name}"
    )


def may_return(gone: tuple[Missing, ...], serving: int, view: EtcdView, situation: Situation) -> Refusal | Wait | None:
    """Why no member is made a cluster of its own yet: quorum can come back with everything that the missing
    ones hold. None where it cannot.

    A machine that answers, and whose member cannot come back, is waited for no more than one that never started.
    """
    startable = [m for m in gone if m.chance is Chance.STARTABLE]
    cure = " ".join(f"{m.label}: {m.chance}. {m.why.rstrip('.')}." for m in startable)
    if startable and serving + len(startable) >= view.quorum:
        return Refusal(
            "quorum is back, and nothing is lost, as soon as etcd runs again on "
            f"{', '.join(m.label for m in startable)}. {cure} Cure that there; "
            f"where it cannot be cured, `recoverctl run force-new-cluster {situation.settings.name}` "
            "makes the plan all the same"
        )
    waited = [m for m in gone if m.chance is Chance.BOOTING or (m.until is not None and situation.now < m.until)]
    if not waited or serving + len(startable) + len(waited) < view.quorum:
        return None
    spare = len(waited) - (view.quorum - serving - len(startable))
    return Wait(_waited_for(waited, spare, situation) + (f" {cure}" if cure else ""))


def _waited_for(waited: list[Missing], spare: int, situation: Situation) -> str:
    """In words: what may come back, why that is likely, and until when it is waited for. `spare` of them may
    stay away for quorum to come back.
    """
    names, bounds = ", ".join(f"{m.label} ({m.chance})" for m in waited), situation.settings.bounds
    ends = sorted(m.until for m in waited if m.until is not None)
    when = f" or at {utc(ends[spare])}" if spare < len(ends) else ""
    held, why, look = [], [], []
    if any(m.chance is not Chance.EMPTIED for m in waited):
        held.append(f"bound `force_after`: {bounds.force_after:g} s of silence")
        why.append("a machine takes minutes to boot")
        look.append("Look at their consoles.")
    if any(m.chance is Chance.EMPTIED for m in waited):
        held.append(f"bound `member_down_after`: {bounds.member_down_after:g} s without its data")
        why.append("data that are gone may be put back, or their disk mounted")
        look.append("Is somebody at work there?")
    return (
        f"etcd has lost quorum, which comes back with {names}: {', and '.join(why)}. Forcing a new cluster is offered "
        "when it is seen that they "
        f"cannot{when} ({'; '.join(held)}). {' '.join(look)}"
    )


def not_lost(member: MemberEntry, view: EtcdView, situation: Situation) -> Refusal | Wait | None:
    """Why a member that does not serve is not taken for lost: it has its data and can be started, so its cure is a
    local one; or it is silent, and may be booting. None: it is lost, or a learner, which holds nothing that the voters
    do not, and whose machine answers.
    """
    serves = any(v.member_id == member.id for v in situation.scene.membership.camp.values())
    gone = None if serves else _missing(member, situation)
    if member.learner and gone is not None and gone.chance is not Chance.SILENT:
        starts = situation.scene.settling(gone.host)
        return Wait(f"{gone.label} has only just started, and its etcd may serve by itself") if starts else None
    if gone is not None and gone.chance is Chance.SILENT and gone.until is not None and situation.now < gone.until:
        return Wait(
            f"the member on {gone.label} is {gone.chance}: a machine takes minutes to boot. It is offered for removal "
            f"at {utc(gone.until)} "
            f"(bound `force_after`: {situation.settings.bounds.force_after:g} s of silence). Look at its console"
        )
    if gone is None or gone.chance not in (Chance.STARTABLE, Chance.BOOTING):
        return None
    return Refusal(
        f"the member on {gone.label} is stopped and not lost: {gone.chance}. {gone.why.rstrip('.')}. Cure that "
        "there, and it catches up by "
        f"itself; where that cannot be done, `recoverctl run remove-member {situation.settings.name}` "
        "makes the plan all the same"
    )


def behind_a_point(name: str, view: EtcdView, gone: tuple[Missing, ...], situation: Situation) -> Refusal | None:
    """A verified restore point is ahead of the furthest survivor: going back to it loses less."""
    point = situation.memory.best_point
    if point is None or not point.verified or point.cluster_id != view.cluster_id or point.revision <= view.revision:
        return None
    cluster, others = situation.settings.name, ", ".join(m.label for m in gone)
    return Refusal(
        f"{name}, the furthest of those that are left, is at revision {view.revision}{_behind(view, situation)}, and "
        "the verified restore point "
        f"{point.id} holds revision {point.revision}: forcing would lose what is kept there. Bring {others} back. "
        "When gone for good: take "
        f"{others} out of the configuration, restart recoverd, and `recoverctl run restore-etcd-snapshot {cluster} "
        f"--point {point.id} --node "
        f"{name}`. `recoverctl run force-new-cluster {cluster}` makes the plan all the same"
    )


def _behind(view: EtcdView, situation: Situation) -> str:
    watermark = situation.memory.watermark
    if watermark is None or watermark.cluster_id != view.cluster_id or watermark.revision <= view.revision:
        return ""
    return (
        f", {watermark.revision - view.revision} behind the {watermark.revision} that was seen at {utc(watermark.at)}"
    )


def lost_writes(name: str, view: EtcdView, situation: Situation) -> Iterable[str]:
    """What going on from this member loses, as far as it is known."""
    if behind := _behind(view, situation):
        yield f"WRITES THAT WERE SEEN AND THAT {name} DOES NOT HOLD: it is at revision {view.revision}{behind}"
    yield f"every write that the lost members had and {view.revision} (the surviving revision) does not include"


def newest_point(situation: Situation) -> str:
    """The best restore point, as a line of evidence."""
    point = situation.memory.best_point
    if point is None:
        return "there is no restore point of this cluster"
    how = "verified" if point.verified else "not verified by restoring it"
    return f"the restore point to fall back on: {point.id}, revision {point.revision}, {how}"


def if_they_return(gone: Iterable[Missing]) -> Iterable[str]:
    """What is lost if silent members come back after all."""
    silent = [m for m in gone if m.chance is Chance.SILENT]
    if silent:
        names, their, they = (
            ", ".join(m.label for m in silent),
            *(("its", "it has") if len(silent) == 1 else ("their", "they have")),
        )
        yield (
            f"IF {names} COME{'S' if len(silent) == 1 else ''} BACK, for {Chance.SILENT}: every write that only {they} "
            f"is lost, and {they} to be "
            f"wiped and joined again. With {their} data quorum would be back, and nothing lost"
        )


def to_be_known(gone: Iterable[Missing], situation: Situation) -> Iterable[str]:
    """What has to be known of the missing members before this is approved, in words."""
    for member in gone:
        if member.chance is Chance.STARTABLE:
            yield (
                f"WHAT {member.label} HOLDS: {member.chance}, and started it could bring quorum back with "
                f"nothing lost. {member.why}"
            )
        elif member.chance is Chance.SILENT:
            yield f"what {member.label} holds: it is {member.chance} ({member.why}); look at its console first"
        elif member.chance is Chance.NEW and situation.now < (until := _join_ends(situation)):
            yield (
                f"the join at {', '.join(member.entry.peer_urls)} when it is still at work: kubeadm waits "
                f"{STARTING:g} s for it, until "
                f"{utc(until)}, and with it quorum would be back by itself"
            )


def _join_ends(situation: Situation) -> datetime:
    began = [at for (code, _), at in situation.since.items() if code == Code.ETCD_NEVER_STARTED]
    return min(began, default=situation.seen_since((Code.ETCD_QUORUM_LOST, ""))) + timedelta(seconds=STARTING)
