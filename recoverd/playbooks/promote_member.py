"""`promote-member`: gives a learner its vote that serves, is in sync, and that nobody promotes.

kubeadm (from 1.29) adds a member as a learner and promotes it within two minutes; a join that is cut off in between
leaves one that serves and does not vote, and an API server beside it that etcd refuses (learners serve no linearizable
reads). Sources: etcd's learner design and its runtime reconfiguration guide (`member promote`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recoverd.diagnose.scene import API
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd
from recoverd.model.catalogue import Code
from recoverd.model.etcd import quorum_of
from recoverd.model.etcd_operations import PromoteMember
from recoverd.model.etcd_versions import LEARNERS, caveats, told
from recoverd.model.finding import Finding
from recoverd.model.plan import Step
from recoverd.model.unit_operations import Unstick
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.votes import Vote, vote_of


@dataclass(frozen=True, slots=True)
class PromoteMemberPlaybook:
    name: str = "promote-member"
    summary: str = "give an etcd learner its vote that serves, is in sync, and that nobody promotes"
    destructive: bool = False
    order: int = 38
    repairs: frozenset[str] = frozenset({Code.ETCD_LEARNER_STUCK})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        if situation.diagnosis.find(Code.ETCD_QUORUM_LOST):
            return None  # `member promote` needs quorum
        match vote := vote_of(finding, situation):
            case Vote():
                return _proposal(vote, finding, situation)
            case Refusal(reason=reason):
                return Refusal(
                    f"the learner on {finding.facts.host or finding.subject} is not given its vote: {reason}"
                )
        return vote


def _proposal(vote: Vote, finding: Finding, situation: Situation) -> Proposal:
    before, after = vote.view.quorum, quorum_of(vote.voters)
    return Proposal(
        summary=f"give the etcd learner on {vote.host} its vote, asked of {vote.asked}; quorum holds afterwards",
        steps=tuple(_steps(vote, finding, situation)),
        basis=(finding.key,),
        evidence=(
            *finding.evidence,
            f"now {vote.voters - 1} voters, {before} needed, {vote.alive} healthy; afterwards {vote.voters}, {after} "
            f"needed, {vote.alive + 1} healthy{_both(vote)}",
            "what of `kubeadm join` comes after that is not done by it: `kubeadm join phase control-plane-join "
            f"mark-control-plane` on {vote.host} gives its Node the label and the taint of a control plane",
            *(told(c, vote.view.version) for c in caveats(LEARNERS, vote.view.version)),
        ),
        undo=(
            "none: etcd takes no vote back. A member that is to have none is removed "
            f"(`etcdctl member remove {vote.entry.id}`) and joined anew",
        ),
        verify_within=120.0,
    )


def _both(vote: Vote) -> str:
    """What one voter more costs where it makes two of one."""
    two = "; of two voters both are needed: when either is lost, etcd stops until a third has joined"
    return two if vote.voters == 2 else ""


def _steps(vote: Vote, finding: Finding, situation: Situation) -> Iterator[Step]:
    host, view = vote.host, situation.host(vote.host)
    yield Step(
        vote.asked,
        f"give {host} its vote, once etcd says that it is in sync",
        PromoteMember(", ".join(vote.entry.peer_urls[:1])),
        60.0,
        (finding.key,),
        commits=True,
    )
    yield Step(host, f"see etcd on {host} healthy, one of {vote.voters} voters", AwaitEtcd(members=vote.voters), 120.0)
    if view is not None and API in view.manifests:
        what = f"start the API server on {host} now if it waits in its crash-loop back-off"
        yield Step(host, what, Unstick(API), 60.0)
        yield Step(host, f"see the API server on {host} ready", AwaitApi(), 180.0)


PLAYBOOK = PromoteMemberPlaybook()
