"""Which remedy to take for what was found: asks the playbooks in their order, for the most
fundamental finding first. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from recoverd.diagnose.histories import HISTORIES, in_the_way
from recoverd.machine.guards import defined_twice
from recoverd.model.catalogue import Code, Of, codes, host_in
from recoverd.model.finding import Finding
from recoverd.model.record import Declined
from recoverd.playbooks.base import Answer, Askable, ForNodes, Playbook, Proposal, Refusal, Situation, Wait

TELLS = HISTORIES | codes(Of.ELSEWHERE) | {Code.ETCD_MEMBER_ISOLATED}
"""Findings whose own words are the best answer to what is to be done."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A remedy, or why there is none. `waiting` is True when it may come by itself in a later sweep."""

    playbook: Playbook | None
    proposal: Proposal | None
    reasons: tuple[str, ...] = ()
    waiting: bool = False
    declined: tuple[str, ...] = ()
    """Remedies that would have come before it, and that failed or were rejected: whoever approves it has to
    know that they can be tried again.
    """


def choose(situation: Situation, playbooks: Sequence[Playbook], declined: Sequence[Declined]) -> Choice:
    """The first proposal of the first playbook for the most fundamental confirmed finding that has one.

    A remedy that a person rejected, or that failed, for the same findings is not proposed again until it is
    acknowledged. A playbook that says `Wait` for a finding keeps later playbooks for the same finding from being asked:
    the simple thing is given its time first.
    """
    reasons: dict[str, list[str]] = {}
    """With the playbooks that gave it: a reason that several have is said once."""
    tried: list[str] = []
    waiting = False
    for finding in situation.confirmed:
        for playbook in playbooks:
            if finding.code not in playbook.repairs:
                continue
            if never := situation.settings.forbids(playbook.name, unasked=False):
                reasons.setdefault(never, [])
                continue
            if second := in_the_way(situation.diagnosis.faults, situation.unended, (finding.code,)):
                said = "nothing else is done before a person has said which is right"
                reasons.setdefault(f"etcd has more than one history, and {said}: {second}", [])
                continue
            answer = _undivided(playbook.propose(finding, situation), situation)
            if isinstance(answer, Proposal):
                before = next(
                    (d for d in declined if d.playbook == playbook.name and set(d.basis) & set(answer.basis)), None
                )
                if before is None:
                    return Choice(playbook, answer, declined=tuple(dict.fromkeys(tried)))
                reasons.setdefault(before.reason, [])
                tried.append(before.reason)
            elif isinstance(answer, Refusal):
                reasons.setdefault(answer.reason, []).append(playbook.name)
            elif isinstance(answer, Wait):
                reasons.setdefault(answer.reason, [])
                waiting = True
                break
    told = (f"{', '.join(dict.fromkeys(names))}: {why}" if names else why for why, names in reasons.items())
    return Choice(None, None, tuple(told), waiting)


def _undivided(answer: Answer, situation: Situation) -> Answer:
    """A plan that rests on manifests that somebody has copied in their directory is none."""
    steps = answer.steps if isinstance(answer, Proposal) else ()
    why = next((w for s in steps if (w := defined_twice(s.host, s.operation, situation.diagnosis))), "")
    return Refusal(why) if why else answer


def on_request(situation: Situation, playbook: Playbook) -> Choice:
    """What comes of a person's request for this very playbook: by what is confirmed or, where nothing of that is
    for it, because it was asked for.
    """
    if situation.nodes and not isinstance(playbook, ForNodes):
        return _of_nodes(situation, playbook)
    choice = choose(situation, (playbook,), ())
    if (
        choice.proposal
        or choice.reasons
        or not isinstance(playbook, Askable)
        or situation.settings.forbids(playbook.name, unasked=False)
    ):
        return choice
    answer: Answer = playbook.asked(situation)
    if isinstance(answer, Proposal):
        return Choice(playbook, answer)
    return Choice(None, None, (f"{playbook.name}: {answer.reason}",) if answer else ())


def _of_nodes(situation: Situation, playbook: Playbook) -> Choice:
    """By the findings about the named nodes and by no others: what a person asked for one
    node is never done to another.
    """
    named, mine = set(situation.nodes), [f for f in situation.confirmed if f.code in playbook.repairs]
    of_them = tuple(f for f in mine if named & _about(f))
    choice = choose(replace(situation, confirmed=of_them), (playbook,), ())
    if choice.proposal or choice.reasons:
        return choice
    others = ", ".join(sorted({f"{f.code} {f.subject}".strip() for f in mine}))
    reason = f"nothing is confirmed of {', '.join(situation.nodes)} that {playbook.name} repairs" + (
        f"; what is: {others}" if others else ""
    )
    return Choice(None, None, (reason,))


def _about(finding: Finding) -> set[str]:
    """The machine and the node that a finding names; none where it is about the cluster."""
    return {finding.facts.host, finding.facts.node, host_in(finding.subject)} - {""}


def nothing_to_do(confirmed: Sequence[Finding], reasons: Sequence[str]) -> str:
    """What the operator is told when recoverd does not act."""
    if reasons:
        return "; ".join(reasons)
    if found := next((f for f in confirmed if f.code in TELLS), None):
        return found.message
    codes = ", ".join(sorted({f.code for f in confirmed})) or "nothing that lasted"
    return f"recoverd has no playbook for this ({codes}); it is for a person to repair, and recoverd goes on watching"
