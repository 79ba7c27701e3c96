"""Whether a learner that nobody promotes can be given its vote, or why it is to be removed instead. Pure.

etcd lets one be promoted that has received nine tenths of what the leader has, and whose cluster would have a quorum of
members that were started once (etcd's server/etcdserver/server.go, isLearnerReady, and api/membership/cluster.go,
IsReadyToPromoteMember, the same in 3.4 to 3.6); whether they are alive it does not ask, and that is asked here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from recoverd.diagnose.people import HANGS
from recoverd.model.etcd import EtcdView, MemberEntry, quorum_of
from recoverd.model.etcd_versions import PROMOTING, caveats, told
from recoverd.model.finding import Finding
from recoverd.model.text import utc
from recoverd.playbooks.base import Refusal, Situation, Wait
from recoverd.playbooks.sources import listed

IN_SYNC = 0.9
"""Share of the leader's data that a learner must have: etcd's readyPercent, which counts entries of the log and not
revisions. etcd has the last word, by its "can only promote a learner member which is in sync with leader".
"""
JOINING = re.compile(r"^\S*kubeadm +(\S+ +)*join\b")


@dataclass(frozen=True, slots=True)
class Vote:
    """A learner that can be given its vote."""

    host: str
    entry: MemberEntry
    asked: str
    """Host of the member that is asked."""
    view: EtcdView
    """What that member says."""
    alive: int
    """Voters that are healthy and follow the leader."""

    @property
    def voters(self) -> int:
        """Afterwards."""
        return len(self.view.voters) + 1


def vote_of(finding: Finding, situation: Situation) -> Vote | Refusal | Wait:
    """The vote of the learner that the finding is about, or why it is not given, or not yet."""
    name = finding.facts.host
    it = listed(finding, situation, to="give it", without=name)
    if isinstance(it, Refusal):
        return it
    entry, view = it.entry, it.view
    if not entry.learner:
        return Refusal(f"the member list of {it.asked} has it as one that votes")
    if why := _unfit(name, entry, view, situation):
        return Refusal(why)
    if why := _behind(name, view, situation):
        until = situation.seen_since(finding.key) + timedelta(seconds=situation.settings.bounds.force_after)
        if situation.now >= until:
            return Refusal(why)
        return Wait(f"{why}. It may be catching up, which is waited for until {utc(until)}")
    if command := _joins(name, situation):
        return Wait(
            f"`{command[:100]}` runs on {name}, which gives its member its vote by itself or says why it cannot: that "
            "is waited for"
        )
    alive = sum(v.healthy and v.leader == view.leader for v in situation.scene.membership.electorate.values())
    vote = Vote(name, entry, it.asked, view, alive)
    if alive + 1 < quorum_of(vote.voters):
        return Refusal(
            f"with it there would be {vote.voters} voters, {quorum_of(vote.voters)} of them needed, and only {alive} "
            "beside it are seen healthy: it would take quorum away"
        )
    return vote


def _unfit(name: str, entry: MemberEntry, view: EtcdView, situation: Situation) -> str:
    """What the learner or its machine lacks; "" when nothing."""
    host, own = situation.host(name), situation.scene.membership.camp.get(name)
    if host is None:
        return (
            f"its machine ({name or ', '.join(entry.peer_urls)}) is no control plane of the configuration that is seen"
        )
    if own is None or own.member_id != entry.id:
        return situation.scene.etcd_stopped(name) or f"etcd on {name} is not seen to serve"
    manifest = host.manifests.get("etcd")
    if not host.joined or manifest is None or manifest.problem:
        return f"{name} has no usable manifest of etcd, or is no node: nothing would start its etcd again"
    if host.people is None:
        return f"whether kubeadm is at work on {name} could not be seen"
    refused = (c for c in caveats(PROMOTING, view.version) if len(view.voters) == 1)
    return next((told(c, view.version) for c in refused), "")


def _behind(name: str, view: EtcdView, situation: Situation) -> str:
    """That it does not follow the voters now, or how far it is behind them, in words; "" where it is in sync. One that
    does not answer its health in time for a sweep is no other than a moment before (observed on a busy lab: with its
    vote offered and approved, its removal was offered in that place).
    """
    own = situation.scene.membership.camp.get(name)
    if own is None:
        return ""
    if not own.healthy or own.leader != view.leader:
        return f"it is not healthy, or does not follow the leader ({own.health_reason or 'another one'})"
    late = own.revision < IN_SYNC * view.revision
    return f"it is not in sync: it is at revision {own.revision}, and the voters are at {view.revision}" if late else ""


def _joins(name: str, situation: Situation) -> str:
    """The command line of a `kubeadm join` that runs there and does not hang; "" for none."""
    host = situation.host(name)
    tools = host.people.tools if host and host.people else ()
    return next((t.command for t in tools if JOINING.search(t.command) and t.runs < HANGS), "")
