"""Making room in the databases of the model's etcd members; each waits for a member that has a leader."""

from __future__ import annotations

from dataclasses import replace

from recoverd.model.etcd import EtcdView, mib
from recoverd.model.observation import Unseen
from recoverd.model.plan import StepResult
from recoverd.model.space_operations import AwaitWrites, Compact, Defragment
from recoverd.simulate.carry import Carry, hand
from recoverd.simulate.look import member


def _led(at: Carry) -> EtcdView | str:
    """The member there, or why it cannot be asked yet."""
    view = member(at.cluster, at.name)
    if isinstance(view, Unseen):
        return view.reason
    return view if view.has_leader else f"etcd on {at.name} knows no leader"


@hand(Compact, waits=True)
def compact(o: Compact, at: Carry) -> StepResult:
    view = _led(at)
    if isinstance(view, str):
        return StepResult(False, view)
    at.cluster.etcd.write(at.name, lambda s: replace(s, in_use=s.live))
    return StepResult(True, f"history before revision {view.revision} is dropped")


@hand(Defragment, waits=True)
def defragment(o: Defragment, at: Carry) -> StepResult:
    view, files = _led(at), at.cluster.etcd.files
    if isinstance(view, str):
        return StepResult(False, view)
    at.over, files[at.name] = True, view.db_in_use
    told = f"the database of etcd on {at.name} takes {mib(view.db_in_use)}, before {mib(view.db_size)}"
    if o.most and view.db_in_use > o.most:
        return StepResult(
            False,
            f"{told}: that is what the objects themselves take, and with more than {mib(o.most)} writes soon end again",
        )
    return StepResult(True, told)


@hand(AwaitWrites, waits=True)
def await_writes(o: AwaitWrites, at: Carry) -> StepResult:
    view = _led(at)
    if isinstance(view, str):
        return StepResult(False, view)
    at.first = view.revision if at.first is None else at.first
    lacks = o.lacks(view, at.first)
    return StepResult(
        not lacks, lacks or f"etcd takes writes: on {at.name} revision {at.first} went on to {view.revision}"
    )
