"""How a join is taken out of etcd again: what was seen says whether its member is removed, one member is made a
cluster by force, or nothing is done.

Nothing here looks or acts; `recoverd.act.join_back` and the model cluster ask it after each look, and do what it
says. What no look has shown is never taken for lost: a member that is mute is forced only where nobody but the
two of this join can have a vote.
"""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.model.bastion_operations import AwaitEtcd, RemoveMember
from recoverd.model.etcd import FORCE, EtcdView, MemberEntry
from recoverd.model.join_operations import TakeBackJoin
from recoverd.model.operations import WriteFile, sha256
from recoverd.model.plan import Step
from recoverd.model.unit_operations import AwaitFlag

LOOK_SECONDS = 60.0
"""To be told the member list, which is served without quorum; and for a leader to be seen again where
nothing of the join keeps one away.
"""
MUTE_SECONDS = 15.0
"""A member that was restarted without quorum listens and tells nothing (observed on 3.4); then what
was before the join has to do.
"""
LEADER_SECONDS = 4.0
"""Seen without a leader for so long, while it should have one, quorum is lost: an election takes a second or two."""
INSTANT = 0.001
"""Seconds for which one that has not answered is mute at least."""
REMOVE_SECONDS, WRITE_SECONDS, ALONE_SECONDS, FLAG_SECONDS = 20.0, 20.0, 60.0, 60


@dataclass(frozen=True, slots=True)
class Seen:
    """What one taking back has seen so far."""

    view: EtcdView | None
    """The newest words of the source's member since the looking began; None: it has told nothing."""
    why: str = ""
    """Why the newest look was not answered."""
    mute: float = 0.0
    """Seconds since it last answered, or since the looking began; 0 where the newest look was answered."""
    leaderless: float = 0.0
    """Seconds between the first and the last of the looks on end that were answered without a leader."""
    looking: float = 0.0
    """Seconds since the looking began."""
    reachable: bool = True
    """The new machine answers, and kubeadm has been ended there."""
    silenced: bool = False
    """Its etcd has been ended, and its manifest is out of kubelet's sight."""
    flagged: bool = False
    """The source's manifest holds `--force-new-cluster`: an interrupted taking back put it there, or a person."""
    clusters: int = 1
    """Ids of etcd clusters that the source's member has told since the looking began."""


@dataclass(frozen=True, slots=True)
class Look:
    """Look again: what was seen does not tell yet."""


@dataclass(frozen=True, slots=True)
class Silence:
    """End etcd on the new machine, and look again: alive, it could start at any moment
    and take part in what is done.
    """


@dataclass(frozen=True, slots=True)
class Remove:
    """Have the source's member remove the new one, while there is quorum."""

    member_id: str
    via: Step


@dataclass(frozen=True, slots=True)
class Force:
    """Make the source's member a cluster of its own. `out` is carried out whatever came of
    `into`: the flag must never stay.
    """

    on: str
    into: tuple[Step, ...]
    out: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """etcd has no member of this join, and a leader. What is still waited for is what an
    interrupted one may not have seen.
    """

    waits: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """It cannot be taken back further; the reason says what state is left and what to do."""

    reason: str


Choice = Look | Silence | Remove | Force | Nothing | Stop


@dataclass(slots=True)
class Looks:
    """What the looks of one taking back come to, one after the other; times are the caller's."""

    began: float
    silenced: bool = False
    view: EtcdView | None = None
    answered: float | None = None
    leaderless: float | None = None
    """When the first of those on end was answered without a leader."""
    clusters: frozenset[str] = frozenset()

    def seen(self, now: float, view: EtcdView | None, why: str, *, reachable: bool, flagged: bool) -> Seen:
        """Take in one more look. One that was not answered is no look without a leader."""
        if view is not None:
            self.view, self.answered = view, now
            self.leaderless = None if view.has_leader else now if self.leaderless is None else self.leaderless
            self.clusters |= {view.cluster_id}
        mute = 0.0 if view is not None else max(now - (self.began if self.answered is None else self.answered), INSTANT)
        without = 0.0 if self.leaderless is None or self.answered is None else self.answered - self.leaderless
        looking = now - self.began
        return Seen(
            self.view, why, mute, without, looking, reachable, self.silenced, flagged, max(len(self.clusters), 1)
        )


def listed(view: EtcdView, address: str) -> MemberEntry | None:
    """The row of the member whose peer URL is on an address."""
    host = f"[{address}]" if ":" in address else address
    return next((m for m in view.members if any(f"//{host}:" in url for url in m.peer_urls)), None)


def choose(it: TakeBackJoin, seen: Seen) -> Choice:
    """What is to be done to etcd next. A flag that is in place comes first: whatever else is seen, kubelet
    acts on it and it must come out.
    """
    if seen.flagged and it.force:
        return _force(it, flagged=True)
    if seen.clusters > 1:
        return Stop(
            f"etcd on {it.source} has become another cluster while it was looked at: there are two histories. "
            "Nothing was done to either; "
            f"look at its data, and at {it.name}, which was not cleaned"
        )
    if seen.view is None or seen.mute:
        return _mute(it, seen)
    entry = listed(seen.view, it.address)
    return _of_member(it, seen, seen.view, entry) if entry else _of_none(it, seen, seen.view)


def _mute(it: TakeBackJoin, seen: Seen) -> Choice:
    """It may be forced for what was before, where it was alone then and, by its last words, has nobody else since."""
    entry = listed(seen.view, it.address) if seen.view else None
    two = seen.view is None or (entry is not None and _pair(seen.view, entry))
    never = entry is not None and not entry.started
    if it.force and two and (seen.reachable or never) and seen.mute > MUTE_SECONDS:
        return Silence() if seen.reachable and not seen.silenced else _force(it)
    if seen.mute < LOOK_SECONDS:
        return Look()
    return Stop(f"the member list cannot be read: {seen.why}. {it.name} was not cleaned; look at etcd on {it.source}")


def _of_none(it: TakeBackJoin, seen: Seen, view: EtcdView) -> Choice:
    """Of a member that is not listed: removed already, by whomever, or never added. Nothing of this
    join keeps a leader away then.
    """
    if view.has_leader:
        return Nothing(_force(it).out[1:] if it.force else ())
    if seen.looking < LOOK_SECONDS:
        return Look()
    return Stop("etcd has no leader, though the new member is not listed; look at the other members")


def _of_member(it: TakeBackJoin, seen: Seen, view: EtcdView, entry: MemberEntry) -> Choice:
    if entry.started and not seen.reachable:
        return Stop(
            f"{it.name} does not answer, and its member has started; take it out by hand when it is "
            f"clear what became of {it.name}"
        )
    if not entry.started and seen.reachable and not seen.silenced:
        return Silence()
    # of two voters, one of which has been ended, nobody can be elected, and a leader that is
    # still told of is one no more
    dead = seen.silenced and _pair(view, entry)
    if view.has_leader:
        return Look() if dead and seen.looking < LOOK_SECONDS else _remove(it, entry)
    if not dead and seen.leaderless < LEADER_SECONDS:
        return Look()
    if it.force is None:
        return Stop(
            f"etcd on {it.source} has no leader and no member can be removed; {it.name} was not cleaned. Make "
            "its etcd reach its peers on "
            "port 2380, or approve the plan force-new-cluster that recoverd offers"
        )
    if not _pair(view, entry):
        if seen.looking < LOOK_SECONDS:
            return Look()
        others = ", ".join(m.name or m.id for m in view.members if m != entry)
        return Stop(
            f"etcd on {it.source} has no leader, and that is not for {it.name}: it lists {others}, none of "
            "which may be thrown out for it"
        )
    if seen.reachable and not seen.silenced:
        return Silence()
    return _force(it)


def _pair(view: EtcdView, entry: MemberEntry) -> bool:
    """The new member has one of two votes; a learner has none, and takes quorum from nobody."""
    return not entry.learner and len(view.voters) == 2


def _remove(it: TakeBackJoin, entry: MemberEntry) -> Remove:
    return Remove(
        entry.id, Step(it.source, f"remove member {entry.id} ({it.name})", RemoveMember(entry.id), REMOVE_SECONDS)
    )


def _force(it: TakeBackJoin, *, flagged: bool = False) -> Force:
    """`flagged`: the flag is in; it is still waited for that etcd has acted on it."""
    force, source = it.force, it.source
    assert force is not None
    put_in = WriteFile(force.path, force.flagged, sha256(force.flagged), before=force.before)
    take_out = WriteFile(force.path, force.final, sha256(force.final), before=put_in.sha256)
    alone = Step(source, f"wait for etcd on {source} to be alone", AwaitEtcd(members=1), ALONE_SECONDS)
    gone = AwaitFlag("etcd", FORCE, present=False, seconds=FLAG_SECONDS)
    into = (Step(source, f"put {FORCE} into the manifest of etcd on {source}", put_in, WRITE_SECONDS), alone)
    out = (
        Step(source, f"take {FORCE} out of the manifest of etcd on {source}", take_out, WRITE_SECONDS),
        Step(source, f"wait for etcd on {source} to run without {FORCE}", gone, FLAG_SECONDS + 15.0),
        alone,
    )
    return Force(source, into[1:] if flagged else into, out)
