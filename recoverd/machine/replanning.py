"""Is a plan, waiting or begun, still what would be planned? A person may have gone on working
after it was made or approved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from recoverd.diagnose.absence import doubt
from recoverd.machine import outlook
from recoverd.machine.account import parts
from recoverd.machine.decide import Choice, choose
from recoverd.machine.gate import PATIENCE, Gate, Verdict
from recoverd.machine.guards import LATE, Evidence
from recoverd.machine.sight import name_of
from recoverd.machine.turn import Turn
from recoverd.model.bastion_operations import FetchSnapshot
from recoverd.model.finding import State
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.plan import Plan, Step
from recoverd.model.point_operations import TakeRestorePoint
from recoverd.model.record import Run
from recoverd.playbooks.base import Askable, Playbook, Proposal, Situation
from recoverd.playbooks.sources import point_first, still_serves

TOLD = 3
"""Steps that are named of those that would be other ones."""


def not_proven(turn: Turn, plan: Plan) -> str:
    """Why it is not known whether what the plan is for is there: the newest sweep does not find it, and does
    not show either that it is gone.

    Where etcd without quorum is ended by its probe again and again, or this machine is overloaded, that is so in every
    third sweep; a plan that was withdrawn each time could not be approved for minutes (observed on a busy lab).
    """
    diagnosis = turn.newest.diagnosis
    return doubt([key for key in plan.basis if key not in diagnosis.keys], diagnosis, turn.newest.observation)


def not_seen(turn: Turn, plan: Plan) -> list[str]:
    """Hosts of the plan that the newest sweep does not show."""
    hosts = dict.fromkeys(step.host for step in plan.steps)
    return [h for h in hosts if isinstance(turn.newest.observation.hosts.get(h), Unseen)]


def missed(turn: Turn) -> bool:
    """Whether recoverd itself came too late for a control plane or its etcd in the newest sweep. What would be planned
    without having seen them is no decision: on a busy bastion a rebuild was offered, taken back and called impossible
    in turn, since the peers that it needs were seen in every third sweep (observed).
    """
    seen = turn.newest.observation
    planes = [h.name for h in turn.settings.control_planes]
    views = (of.get(name) for of in (seen.etcd, seen.hosts) for name in planes)
    return seen.late and any(isinstance(view, Unseen) and view.kind is UnseenKind.OWN for view in views)


def is_stale(turn: Turn, plan: Plan) -> bool:
    """Whether a plan that is not what would be planned now has not been it in enough sweeps; called once for each."""
    if not_proven(turn, plan) or missed(turn):
        return False  # what it is for is not seen just now, and not seen to be gone; or what else would be planned
    since = turn.record.stale_since or turn.now
    turn.set(stale_since=since)
    if not_seen(turn, plan) and (turn.now - since).total_seconds() < PATIENCE:
        return False  # nothing better is known, for as long as a host may only be slow
    turn.set(stale_sweeps=turn.record.stale_sweeps + 1)
    return turn.record.stale_sweeps >= turn.settings.bounds.confirm_sweeps


def as_planned(turn: Turn, plan: Plan, choice: Choice) -> Proposal | None:
    """What would be planned now, where that is what the waiting plan says; None where it is not."""
    if plan.requested_by:
        return _asked_again(turn, plan) if all(key in turn.newest.diagnosis.keys for key in plan.basis) else None
    return choice.proposal if same(turn, plan, choice.playbook, choice.proposal) else None


def _asked_again(turn: Turn, plan: Plan) -> Proposal | None:
    """What the same request would plan now, where it is the same: another survivor may hold more by now,
    or a host that was away be back.
    """
    playbook = turn.playbook(plan.playbook)
    answers = _answers(turn, plan, situation_of_request(turn, plan))
    return next((a for a in answers if same(turn, plan, playbook, a)), None)


def asked_now(turn: Turn, plan: Plan, situation: Situation) -> Proposal | None:
    """What the same request would plan now, whatever that is."""
    return next(iter(_answers(turn, plan, situation)), None)


def situation_of_request(turn: Turn, plan: Plan) -> Situation:
    """What its playbook would look at if the same were asked for now."""
    return outlook.situation(turn, parts(plan), by_hand=True, point=plan.point)


def _answers(turn: Turn, plan: Plan, situation: Situation) -> list[Proposal]:
    playbook = turn.playbook(plan.playbook)
    if turn.settings.forbids(plan.playbook, unasked=False):
        return []
    answers = (
        [playbook.propose(f, situation) for f in situation.confirmed if f.code in playbook.repairs] if playbook else []
    )
    if isinstance(playbook, Askable) and not plan.basis:
        answers.append(playbook.asked(situation))
    return [a for a in answers if isinstance(a, Proposal)]


def same(turn: Turn, plan: Plan, playbook: Playbook | None, proposal: Proposal | None) -> bool:
    """Whether what would be planned now is what the plan says: same playbook, same operations on the same hosts."""
    if playbook is None or proposal is None or playbook.name != plan.playbook:
        return False
    mine, now = _beside_copies(turn, plan, proposal)
    return [(s.host, s.operation) for s in mine] == [(s.host, s.operation) for s in now]


def _beside_copies(turn: Turn, plan: Plan, proposal: Proposal) -> tuple[list[Step], list[Step]]:
    """The steps of the plan, and those of what would be planned now, which make it another plan where they differ.

    A restore point is none of them: the machine has put it before the proposal. Nor is the snapshot that a playbook has
    fetched where no member is good for a point. Which of the two is taken goes by who is healthy in one sweep, and on
    a machine under load that is another one from sweep to sweep. So the one that the plan has stands, as long as it
    can be had, or once it is there.
    """
    point = next((i for i, s in enumerate(plan.steps) if isinstance(s.operation, TakeRestorePoint)), None)
    mine = [s for s in plan.steps if not isinstance(s.operation, TakeRestorePoint)]
    now = [s.of_plan(plan.id) for s in proposal.steps]
    mine_fetched, now_fetched = _without_fetched(mine), _without_fetched(now)
    situation = outlook.situation(turn)
    if point is None and now == now_fetched and point_first(situation):
        return mine_fetched, now
    if point is not None and mine == mine_fetched and not point_first(situation):
        taken = turn.record.run is not None and point <= turn.record.run.done
        if taken or still_serves(plan.steps[point].host, situation):
            return mine, now_fetched
    return mine, now


def _without_fetched(steps: Sequence[Step]) -> list[Step]:
    return [s for s in steps if not isinstance(s.operation, FetchSnapshot)]


def otherwise(turn: Turn, plan: Plan, run: Run, evidence: Evidence, *, begins: bool = False) -> Gate | None:
    """Why the first change of the plan is not begun yet, or not at all; None where nothing speaks against it,
    or something was begun already.

    A plan that was approved rests on a sweep that began after the approval. What is another plan in one sweep is held,
    and in enough of them it is over. Steps that only look are not waited with, unless the plan `begins` after it has
    waited for others.
    """
    step, playbook = plan.steps[run.index], turn.playbook(plan.playbook)
    if (
        (step.looks and not begins)
        or playbook is None
        or not unchanged(plan, run)
        or (not plan.basis and not isinstance(playbook, Askable))
    ):
        return None  # a join rests on what its machines were asked as it began
    if evidence.blind:
        return None  # which is held for that
    if evidence.observation.started_at < run.started_at:
        return None if plan.automatic else Gate(Verdict.HOLD, "the next sweep")
    why = _another(turn, plan, run, evidence)
    if not why:
        turn.set(stale_sweeps=0, stale_since=None)
        return None
    if unseen := not_seen(turn, plan):
        return Gate(Verdict.HOLD, f"{', '.join(unseen)} to be seen, since by the newest sweep {why}")
    if unproven := not_proven(turn, plan):
        return Gate(Verdict.HOLD, f"a sweep that shows whether what it is for is there still ({unproven})")
    if turn.record.stale_since != evidence.observation.started_at:
        turn.set(stale_sweeps=turn.record.stale_sweeps + 1, stale_since=evidence.observation.started_at)
    enough = turn.record.stale_sweeps >= turn.settings.bounds.confirm_sweeps
    return Gate(
        Verdict.STOP if enough else Verdict.HOLD,
        f"by the newest sweep {why}" if enough else f"another sweep, since by the newest {why}",
    )


def _another(turn: Turn, plan: Plan, run: Run, evidence: Evidence) -> str:
    """In which way it is not what would be planned now, in words; "" where it is."""
    situation = present(turn, plan)
    if plan.requested_by:
        choice = Choice(None, asked_now(turn, plan, situation))
    elif any(not _differs(turn, plan, run, own) for own in _own(turn, plan, situation)):
        return ""  # that another plan would come first, as after an acknowledgement, makes this one no other
    else:
        choice = choose(situation, turn.playbooks, turn.record.declined)
        if choice.playbook and choice.playbook.name != plan.playbook:
            return f"{choice.playbook.name} would be planned instead"
    if choice.waiting and _looked_away(turn, run, plan) and all(k in evidence.diagnosis.keys for k in plan.basis):
        return ""  # the patience that it asks for was had before the approval
    if choice.proposal is None:
        return f"nothing like it would be planned ({'; '.join(choice.reasons) or 'what it was made for is not found'})"
    return _differs(turn, plan, run, choice.proposal)


def _looked_away(turn: Turn, run: Run, plan: Plan) -> bool:
    """Patience began anew because nobody looked for a moment: recoverd was restarted, or on an overloaded machine
    came too late for some sweeps (observed). What was seen to be gone meanwhile is waited for again.
    """
    seen = (turn.record.sightings.get(name_of(key)) for key in plan.basis)
    return 0 < run.away < LATE or all(s is not None and 0 < s.unseen_for < LATE for s in seen)


def _differs(turn: Turn, plan: Plan, run: Run, proposal: Proposal) -> str:
    """What of the proposal is not in what is left of the plan, or the other way round."""
    mine, now = _beside_copies(turn, plan, proposal)
    return difference([s for s in mine if s.part not in {**run.skipped, **run.failed}], now)


def _own(turn: Turn, plan: Plan, situation: Situation) -> Iterator[Proposal]:
    """What its playbook would plan now for the very findings that it was made for."""
    playbook = turn.playbook(plan.playbook)
    answers = (playbook.propose(f, situation) for f in situation.confirmed if playbook and f.key in plan.basis)
    return (answer for answer in answers if isinstance(answer, Proposal))


def present(turn: Turn, plan: Plan) -> Situation:
    """The situation as it was for the plan when it was made, by what is found now; in maintenance these are warnings.

    What a person approves, or has approved, was confirmed once: what its playbook repairs counts at first sight.
    """
    playbook = turn.playbook(plan.playbook)
    situation = outlook.situation(
        turn, parts(plan) if plan.requested_by else (), by_hand=bool(plan.requested_by), point=plan.point
    )
    found = (
        turn.newest.diagnosis.warnings if turn.newest.diagnosis.state is State.HEALTHY else turn.newest.diagnosis.faults
    )
    sure = {f.key for f in outlook.lasting(turn, found)}
    at_once = playbook.repairs if playbook and not plan.automatic else frozenset[str]()
    confirmed = tuple(f for f in found if f.key in sure or f.code in at_once)
    return replace(situation, confirmed=confirmed, since=outlook.since(turn, confirmed))


def unchanged(plan: Plan, run: Run) -> bool:
    """No step has been begun that changes anything."""
    return all(s.looks for s in plan.steps[: run.reached + 1])


def difference(mine: Sequence[Step], now: Sequence[Step]) -> str:
    """What would be done now and is not planned, or the other way round; "" where that is nothing.

    A part of many whose node is well by itself is left out by its own condition, and makes no other plan.
    """
    still = {s.part for s in now}
    mine = [s for s in mine if s.part in still or not any(o.skip_unless for o in mine if o.part == s.part)]
    if [(s.part, s.host, s.operation) for s in _in_parts(mine)] == [
        (s.part, s.host, s.operation) for s in _in_parts(now)
    ]:
        return ""
    planned, wanted = [(s.host, s.operation) for s in mine], [(s.host, s.operation) for s in now]
    more = _named(s for s in now if (s.host, s.operation) not in planned)
    less = _named(s for s in mine if (s.host, s.operation) not in wanted)
    told = "; ".join(filter(None, (f"it would also {more}" if more else "", f"it would not {less}" if less else "")))
    return told or "its steps would be in another order"


def _in_parts(steps: Sequence[Step]) -> list[Step]:
    """Sorted by part: which node comes first makes no other plan."""
    return sorted(steps, key=lambda s: s.part)


def _named(steps: Iterable[Step]) -> str:
    named = [s.description for s in steps]
    return ", ".join(named[:TOLD]) + (f" and {len(named) - TOLD} more steps" if len(named) > TOLD else "")
