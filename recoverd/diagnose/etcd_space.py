"""Alarms of etcd, and the space that its data take. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import WHOLE, EtcdView, PrefixUse, mib, outvoted
from recoverd.model.facts import MemberFacts
from recoverd.model.finding import Finding, Severity, State

ANY = "any"
"""Subject of an alarm that names no member."""
UNTOLD = (
    "the data of the members differ, and it cannot tell whose are wrong. None may be the source of anything; a restore "
    "point from before holds what is right."
)
EQUAL = (
    "the data of the members differed. By their hashes at one revision (HashKV) all are equal now, so it is of before, "
    "or came of an upgrade (etcd-io/etcd #13766): look at etcd's log for `corrupt` first, and take it back with "
    "`etcdctl alarm disarm`."
)
BIGGEST = 5
"""Prefixes that are named of a database that is full."""


def alarms(scene: Scene) -> Iterator[Finding]:
    words = {
        "NOSPACE": (
            Code.ETCD_NOSPACE,
            "the database has reached its quota: etcd refuses every write until it is compacted, "
            "defragmented and disarmed",
        ),
        "CORRUPT": (Code.ETCD_CORRUPT, "its data differ from the others': it must not be used as a source of anything"),
    }
    raised = dict.fromkeys(
        (a.member_id, a.alarm) for v in scene.membership.camp.values() for a in v.alarms if a.alarm in words
    )
    for member_id, alarm in raised:
        code, meaning = words[alarm]
        if alarm == "CORRUPT" and member_id == WHOLE:
            yield from _differ(scene)
            continue
        entry = next((e for e in scene.membership.entries if e.id == member_id), None)
        subject = scene.membership.label(entry) if entry else member_id
        view = scene.membership.camp.get(subject)
        size = (
            (f"{subject}: database {_mib(view.db_size)} ({_mib(view.db_in_use)} in use), quota {_mib(view.quota)}",)
            if view
            else ()
        )
        size = (*size, *biggest(scene)) if alarm == "NOSPACE" else size
        yield Finding(
            code,
            subject,
            f"etcd on {subject} has raised the {alarm} alarm: {meaning}.",
            (f"alarm {alarm} of member {member_id}", *size),
            state=State.ETCD_STUCK,
            facts=MemberFacts(subject if entry else "", member_id=member_id),
        )


def _differ(scene: Scene) -> Iterator[Finding]:
    """The alarm that names no member."""
    camp = scene.membership.camp
    evidence = (f"alarm CORRUPT of no member, as told by {', '.join(sorted(camp))}", *_hashes(camp))
    wrong = outvoted(camp.values())
    for name, view in sorted(camp.items()):
        if view.member_id in wrong:
            yield Finding(
                Code.ETCD_CORRUPT,
                name,
                f"The data of etcd on {name} differ from those of a majority of the members, by their hashes at one "
                "revision (HashKV); etcd has raised the CORRUPT alarm without naming a member. They must not be used "
                "as a source of anything.",
                evidence,
                state=State.ETCD_STUCK,
                facts=MemberFacts(name, member_id=view.member_id),
            )
    if wrong:
        return
    voting = scene.membership.electorate
    hashes = {v.hashed for v in voting.values()}
    equal = len(hashes) == 1 and None not in hashes and len(voting) == len(scene.membership.voters)
    yield Finding(
        Code.ETCD_CORRUPT,
        ANY,
        f"etcd has raised the CORRUPT alarm without naming a member: {EQUAL if equal else UNTOLD}",
        evidence,
        state=State.ETCD_STUCK,
        facts=MemberFacts("", member_id=WHOLE),
    )


def _hashes(camp: Mapping[str, EtcdView]) -> Iterator[str]:
    for name, view in sorted(camp.items()):
        if (h := view.hashed) is not None:
            yield f"{name}: hash {h.value} at revision {h.revision}, compacted at {h.compacted}"


def biggest(scene: Scene) -> tuple[str, ...]:
    """Lines that name what takes most of etcd's space without its history; none where that was not read."""
    return tuple(
        f"{use.prefix}: {use.keys} keys, about {mib(use.size)} without their history"
        for use in space_used(scene)[:BIGGEST]
    )


def space_used(scene: Scene) -> tuple[PrefixUse, ...]:
    """What takes etcd's space by the first member that could be asked, the biggest first; empty where none was."""
    return next((v.prefixes for _, v in sorted(scene.membership.camp.items()) if v.prefixes), ())


def _mib(size: int) -> str:
    return mib(size) if size else "unknown"


def large(scene: Scene) -> Iterator[Finding]:
    for name, view in sorted(scene.etcd_views.items()):
        if view.quota > 0 and view.db_size > 0.8 * view.quota:
            yield Finding(
                Code.ETCD_DB_LARGE,
                name,
                f"The etcd database on {name} fills {view.db_size / view.quota:.0%} of its quota; at 100% "
                "etcd refuses every write.",
                (f"database {_mib(view.db_size)} ({_mib(view.db_in_use)} in use), quota {_mib(view.quota)}",),
                severity=Severity.NOTICE,
            )
