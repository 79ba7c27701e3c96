"""The one door: everything that happens to a cluster is an event that is given to `handle`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recoverd.machine import (
    chores,
    deciding,
    holding,
    invariants,
    joining,
    maintenance,
    requests,
    restore_points,
    running,
    sweeps,
)
from recoverd.machine.clock import SET_BACK, SET_FORWARD, Reading, jumped, moved, within
from recoverd.machine.state import MachineState
from recoverd.machine.turn import Turn
from recoverd.memory.remember import worth_writing
from recoverd.model.events import (
    Acknowledged,
    Approved,
    ChoreEnded,
    Event,
    Instruction,
    JoinRequested,
    Observed,
    Paused,
    Perform,
    PerformChore,
    PlanRequested,
    PointRequested,
    Rejected,
    Remember,
    Restarted,
    Resumed,
    SaveRecord,
    StepEnded,
    Stopping,
    Ticked,
)
from recoverd.model.finding import State
from recoverd.model.fleet import Around
from recoverd.model.history import History
from recoverd.model.plan import PlanStatus
from recoverd.model.settings import ClusterSettings
from recoverd.playbooks.base import Playbook


@dataclass(frozen=True, slots=True)
class Taken:
    """What comes of an event: the state after it, and what is to be done for it, in order: what is journalled
    comes before what is carried out.
    """

    state: MachineState
    instructions: list[Instruction]


def handle(
    state: MachineState,
    event: Event,
    settings: ClusterSettings,
    playbooks: Sequence[Playbook],
    reading: Reading | None = None,
    around: Around | None = None,
) -> Taken:
    """Take one event. Raises `Refused` for a request of a person that cannot be carried out.

    `reading` is what the clocks of the bastion showed together when the event came, `around` what went on in other
    clusters then.
    """
    turn, before = Turn(state, settings, playbooks), state
    turn.become(around=around or state.around)
    _tell_jump(turn, reading)
    _tell_time(
        turn, event.observation.at if isinstance(event, Observed) else event.at, restarted=isinstance(event, Restarted)
    )
    TAKES[type(event)](turn, event)
    while gone := turn.gave_way:
        turn.gave_way = None
        deciding.replace_plan(turn, gone)
    requests.enter_pause(turn)
    _write(turn, before)
    invariants.check(_broken(before), _broken(turn.state), event)
    if settings.observes:
        invariants.only_observes(turn.instructions, event)
    return Taken(turn.state, sorted(turn.instructions, key=lambda i: isinstance(i, Perform | PerformChore)))


def _write(turn: Turn, before: MachineState) -> None:
    """Have journalled what the event has changed."""
    if turn.lifecycle != before.lifecycle:
        turn.set(since=turn.now)
    if worth_writing(turn.state.written, turn.memory):
        turn.become(written=turn.memory)
        turn.emit(Remember(turn.name, turn.memory))
    if turn.record != before.record:
        turn.emit(SaveRecord(turn.name, turn.record))


def _broken(state: MachineState) -> frozenset[str]:
    return invariants.broken(state.record, state.lifecycle.state, state.lifecycle.phase)


def _tell_jump(turn: Turn, reading: Reading | None) -> None:
    """Where the clock was set forward, nothing has lasted longer for that, and no bound is over sooner."""
    before = turn.state.reading
    if reading is None:
        return
    turn.become(reading=reading)
    if before is None or (by := jumped(before, reading)) <= SET_FORWARD:
        return
    turn.become(
        now=turn.now + by,
        sights={key: at + by for key, at in turn.state.sights.items()},
        record=moved(turn.record, by),
    )
    turn.note(
        History.CLOCK_WENT_FORWARD,
        f"the bastion's clock was set forward by {by.total_seconds():.0f} s; what counts time goes on as if it was not",
    )


def _tell_time(turn: Turn, now: datetime, *, restarted: bool) -> None:
    """Where the clock was set back, by an earlier process's time too, nothing waits until it has come as far again."""
    back = turn.now - now
    turn.become(now=now)
    if restarted or back > SET_BACK:
        turn.become(
            sights={key: min(at, now) for key, at in turn.state.sights.items()}, record=within(turn.record, now)
        )
    if back > SET_BACK:
        turn.note(
            History.CLOCK_WENT_BACK,
            f"the bastion's clock went back by {back.total_seconds():.0f} s; times ahead of it count from now on",
        )


def _restarted(turn: Turn, event: Restarted) -> None:
    turn.set(unseen={}, planes=turn.settings.planes, watched_from=turn.now)
    if not turn.settings.observes:
        turn.set(shadow=None)
    holding.after_restart(turn)
    chores.after_restart(turn)


def _ticked(turn: Turn, event: Ticked) -> None:
    """Only the clock moved: what a sweep would have ended by now is ended without one."""
    if turn.record.run:
        running.look_again(turn)
        return
    plan = turn.waiting_plan
    if plan is None or turn.now < plan.expires_at or turn.sweep is None or turn.record.pause:
        return
    if turn.record.incident:
        deciding.decide(turn)
    elif turn.lifecycle.state is State.HEALTHY:
        maintenance.maintain(turn)


def _stopping(turn: Turn, event: Stopping) -> None:
    """Write down what is known; a plan of a cluster that is let go is open to nobody any more."""
    if event.let_go and turn.record.plan and not turn.record.run:
        why = f"{turn.name} is not in the configuration any more and is not watched"
        deciding.drop(turn, PlanStatus.SUPERSEDED, why)
    turn.write_down()


TAKES: Mapping[type, Callable[[Turn, Any], None]] = {
    Observed: sweeps.observed,
    StepEnded: running.step_ended,
    Approved: requests.approve,
    Rejected: requests.reject,
    Paused: requests.put_on_hold,
    Resumed: requests.resume,
    Acknowledged: requests.acknowledge,
    PlanRequested: requests.request,
    JoinRequested: joining.begin,
    PointRequested: restore_points.request,
    ChoreEnded: chores.ended,
    Restarted: _restarted,
    Stopping: _stopping,
    Ticked: _ticked,
}
"""What each kind of event is taken by."""
