"""Making room in the databases of the model's etcd members; each waits for a member that has a leader."""

from __future__ import annotations

from dataclasses import replace

from recoverd.model.etcd import EtcdView
from recoverd.model.observation import Unseen
from recoverd.model.plan import StepResult
from recoverd.model.space_operations import AwaitWrites, Compact, Defragment, DisarmSpace
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
    told = f"the database of etcd on {at.name} takes {_mib(view.db_in_use)}, before {_mib(view.db_size)}"
    if o.most and view.db_in_use > o.most:
        return StepResult(False, f"{told}: that is what the objects themselves take, and with more than {_mib(o.most)} writes soon end again")
    return StepResult(True, told)


def _full(o: DisarmSpace, at: Carry) -> bool:
    view = member(at.cluster, at.name)
    return not isinstance(view, Unseen) and view.full


@hand(DisarmSpace, waits=True, lacking=_full)
def disarm(o: DisarmSpace, at: Carry) -> StepResult:
    view = _led(at)
    if isinstance(view, str):
        return StepResult(False, view)
    at.cluster.etcd.write(at.name, lambda s: replace(s, alarms=()))
    return StepResult(True, f"no member has the alarm NOSPACE any more, as {at.name} says")


@hand(AwaitWrites, waits=True)
def await_writes(o: AwaitWrites, at: Carry) -> StepResult:
    view = _led(at)
    if isinstance(view, str):
        return StepResult(False, view)
    at.first = view.revision if at.first is None else at.first
    lacks = o.lacks(view, at.first)
    return StepResult(not lacks, lacks or f"etcd takes writes: on {at.name} revision {at.first} went on to {view.revision}")


def _mib(size: int) -> str:
    return f"{size / 1048576:.0f} MiB"
