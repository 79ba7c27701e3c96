"""What is offered while the cluster is healthy: a plan for what a warning says, which waits for a
person and is never run unasked.

The cluster stays `healthy` while it waits. Approved, it becomes an incident of the state `maintenance`, which is
over when the cluster is healthy again, whether the plan succeeded or not; a fault that comes to light meanwhile
makes it an incident of that fault.
"""

from __future__ import annotations

from recoverd.diagnose.absence import unproven
from recoverd.machine import deciding
from recoverd.machine.turn import Turn
from recoverd.model.history import History


def maintain(turn: Turn) -> None:
    """Called for one more sweep that found the cluster healthy, with no incident open."""
    diagnosis = turn.newest.diagnosis
    keys = diagnosis.keys
    blind = unproven(
        (k for d in turn.record.declined for k in d.basis if k not in keys), diagnosis, turn.newest.observation
    )
    turn.set(declined=tuple(d for d in turn.record.declined if set(d.basis) & {*keys, *blind}))
    choice = deciding.chosen(turn)
    if choice is None:
        return
    if choice.playbook is None or choice.proposal is None:
        turn.explain("; ".join(choice.reasons), History.WAITING)
        return
    deciding.offer(turn, choice.playbook, choice.proposal, declined=choice.declined)
