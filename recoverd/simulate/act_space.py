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
    at.over = True
    at.cluster.etcd.write(at.name, lambda s: replace(s, in_use=s.live))
    in_use = at.cluster.etcd.processes[at.name].store.in_use
    told = f"history before revision {view.revision} is dropped; {_mib(in_use)} of {_mib(view.db_size)} are in use on {at.name}"
    if o.most and in_use > o.most:
        told += f": that is what the objects themselves take, and {_mib(o.most)} are the most with which writes go on"
    return StepResult(not o.most or in_use <= o.most, told)


@hand(Defragment, waits=True)
def defragment(o: Defragment, at: Carry) -> StepResult:
    view, files = _led(at), at.cluster.etcd.files
    if isinstance(view, str):
        return StepResult(False, view)
    files[at.name] = view.db_in_use
    return StepResult(True, f"the database of etcd on {at.name} takes {_mib(view.db_in_use)}, before {_mib(view.db_size)}")


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
