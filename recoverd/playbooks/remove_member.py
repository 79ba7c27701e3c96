"""`remove-member`: takes a dead, never-started or never-promoted member out of etcd, while quorum is there to do it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recoverd.model.bastion_operations import AwaitEtcd, FetchSnapshot, RemoveMember
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView, MemberEntry, quorum_of
from recoverd.model.finding import Finding
from recoverd.model.plan import Step
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.sizes import moving, sized
from recoverd.playbooks.sources import listed, point_first
from recoverd.playbooks.survivors import not_lost
from recoverd.playbooks.votes import Vote, vote_of


@dataclass(frozen=True, slots=True)
class RemoveMemberPlaybook:
    name: str = "remove-member"
    summary: str = "remove a dead or never-started etcd member while quorum is present"
    destructive: bool = True
    order: int = 40
    repairs: frozenset[str] = frozenset({Code.ETCD_NEVER_STARTED, Code.ETCD_MEMBER_DOWN, Code.ETCD_LEARNER_STUCK})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        if situation.diagnosis.find(Code.ETCD_QUORUM_LOST):
            return None  # `member remove` needs quorum
        it = listed(finding, situation, to="remove another")
        if isinstance(it, Refusal):
            return it
        name, view, member = it.asked, it.view, it.entry
        lost = None if situation.by_hand else not_lost(member, view, situation)
        if isinstance(lost, Wait):
            return lost
        if young := _young(finding, situation, stopped=lost is not None):
            return young
        if lost:
            return lost
        if member.id == view.member_id:
            return Refusal(f"{name} is the only one that could be asked, and a member is not asked to remove itself")
        seen = situation.scene.membership.electorate.values()
        alive = sum(v.healthy and v.leader == view.leader and v.member_id != member.id for v in seen)
        voters_after = _voters_after(view, member)
        needed_after = quorum_of(voters_after)
        if alive < needed_after:
            return Refusal(
                f"after the removal {voters_after} voters would be left, {needed_after} of them needed, and only "
                f"{alive} are seen healthy: "
                "it would take quorum away"
            )
        if isinstance(told := _with_its_vote(finding, situation), Wait):
            return told
        return self._proposal(name, view, member, alive, told, situation)

    def _proposal(
        self, name: str, view: EtcdView, member: MemberEntry, alive: int, finding: Finding, situation: Situation
    ) -> Proposal:
        """The removal of a member, asked of the one on `name`; `alive` voters are healthy without it."""
        voters_after = _voters_after(view, member)
        needed_after = quorum_of(voters_after)
        label = member.name or (member.peer_urls[0] if member.peer_urls else member.id)
        prediction = (
            f"now {len(view.voters)} voters, {view.quorum} needed, {alive} healthy; afterwards {voters_after}, "
            f"{needed_after} needed, {alive} healthy"
        )
        point = point_first(situation)
        kept = (
            "A restore point from before is kept (recoverctl restore-points)"
            if point
            else "A snapshot from before is kept in recoverd's state directory"
        )
        return Proposal(
            summary=f"remove the etcd member {label} ({member.id}), asked of {name}; quorum holds afterwards",
            steps=self._steps(name, view, member, label, voters_after, finding, own_snapshot=not point),
            basis=(finding.key,),
            evidence=(*finding.evidence, prediction),
            destroys=(
                f"the membership of {label}: its copy of the data is no longer part of the cluster, and the "
                "machine has to be joined anew "
                "(kubeadm reset, then kubeadm join --control-plane)",
                *_if_it_returns(label, finding, situation),
            ),
            undo=(f"none; join {label} again as a new member. {kept}",),
            moving=moving(view.db_size),
        )

    @staticmethod
    def _steps(
        name: str,
        view: EtcdView,
        member: MemberEntry,
        label: str,
        voters_after: int,
        finding: Finding,
        *,
        own_snapshot: bool,
    ) -> tuple[Step, ...]:
        fetch = Step(
            name,
            f"fetch a snapshot from {name}",
            FetchSnapshot("before-remove-member"),
            timeout=120.0,
            requires=(finding.key,),
        )
        snapshot = sized(fetch, view.db_size)
        return (
            *((snapshot,) if own_snapshot else ()),
            Step(
                name,
                f"remove member {label} ({member.id})",
                RemoveMember(member.id),
                timeout=20.0,
                requires=(finding.key,),
                commits=True,
            ),
            Step(
                name,
                f"see etcd on {name} healthy with {voters_after} voter(s)",
                AwaitEtcd(
                    members=voters_after
                ),  # no revision: it grows all the time, and the plan must stay the one that is waiting
                timeout=60.0,
            ),
        )


def _young(finding: Finding, situation: Situation, *, stopped: bool) -> Wait | None:
    """Why it is given some time yet; None where it has had it, or a person asks. `stopped`: it is not lost."""
    patience = situation.settings.bounds.member_down_after
    if situation.age(finding) >= patience or situation.by_hand:
        return None
    if stopped:
        return Wait(
            f"{finding.message} It is not lost, and is given {patience:g} s to come back by itself "
            "(bound `member_down_after`)"
        )
    return Wait(
        f"{finding.message} This is offered for removal when it has lasted {patience:g} s "
        "(bound `member_down_after`): "
        "a rebooting machine or a join that is just happening looks the same"
    )


def _voters_after(view: EtcdView, removed: MemberEntry) -> int:
    return len(view.voters) - (0 if removed.learner else 1)


def _with_its_vote(finding: Finding, situation: Situation) -> Finding | Wait:
    """A finding about a learner says in its evidence why that is removed and not given its vote."""
    if finding.code != Code.ETCD_LEARNER_STUCK:
        return finding
    vote = vote_of(finding, situation)
    if isinstance(vote, Wait) and not situation.by_hand:
        return vote
    if isinstance(vote, Vote):
        again = f"`recoverctl run promote-member {situation.settings.name}`"
        why = f"it serves, is in sync and lacks its vote alone, which {again} gives it instead"
    else:
        why = f"it is not given its vote instead: {vote.reason}"
    return replace(finding, evidence=(*finding.evidence, why))


def _if_it_returns(label: str, finding: Finding, situation: Situation) -> tuple[str, ...]:
    """Of a member whose machine is silent."""
    if (
        finding.code != Code.ETCD_MEMBER_DOWN
        or not finding.facts.host
        or situation.host(finding.facts.host) is not None
    ):
        return ()
    return (
        f"IF {label} COMES BACK, for it is silent and NOT proven dead: it would have caught up by itself, and after "
        "this it has to be wiped and "
        "joined again; look at its console first",
    )


PLAYBOOK = RemoveMemberPlaybook()
