"""Making room in etcd's database. While the alarm is up kubelet's probe ends each member again and again, so what is away or mute is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from recoverd.act.carry import hand
from recoverd.act.etcd import VIEW_SECONDS
from recoverd.act.until import polled, timeout
from recoverd.clients.etcd import EtcdClient, EtcdUnseen
from recoverd.clients.etcd_space import compact, defragment, hand_over
from recoverd.model.etcd import EtcdView
from recoverd.model.plan import StepResult
from recoverd.model.space_operations import AwaitWrites, Compact, Defragment, DisarmSpace

HAND_OVER_SECONDS = 10.0
FREED_SECONDS = 10.0
"""Within which the pages of what was compacted are told as free."""


async def compact_history(operation: Compact, etcd: EtcdClient, host: str, until: float) -> StepResult:
    """Compact, and see how much is in use by then. Asked again where it broke off: a revision that is compacted already is no error."""
    revision = 0

    async def refused() -> str:
        nonlocal revision
        revision = await compact(etcd, timeout=timeout(until))
        return ""

    if failure := await polled(lambda: _once(refused), until):
        return StepResult(False, f"etcd was not compacted, asked on {host}; last: {failure}. No object is lost by that, or by half of it")
    view = await _freed(operation, etcd, until)
    told = f"history before revision {revision} is dropped"
    if view:
        told += f"; {_mib(view.db_in_use)} of {_mib(view.db_size)} are in use on {host}"
    if operation.most and view and view.db_in_use > operation.most:
        return StepResult(False, f"{told}: that is what the objects themselves take, and {_mib(operation.most)} are the most with which writes go on")
    return StepResult(True, told)


async def _freed(operation: Compact, etcd: EtcdClient, until: float) -> EtcdView | None:
    seen: list[EtcdView] = []

    async def lacks() -> str:
        seen.append(await etcd.standing(timeout=VIEW_SECONDS))
        if not operation.most or seen[-1].db_in_use <= operation.most:
            return ""
        # what the last part of a compaction has freed is told as free after one more entry of the log, and nothing may be written now but this
        await compact(etcd, timeout=VIEW_SECONDS)
        return "too much is in use"

    await polled(lambda: _once(lacks), min(until, asyncio.get_running_loop().time() + FREED_SECONDS))
    return seen[-1] if seen else None


async def defragment_member(etcd: EtcdClient, host: str, until: float) -> StepResult:
    """Wait for a leader, give leading away where others can, defragment, and see the member serve again."""
    sizes: list[int] = []

    async def missing() -> str:
        view = await etcd.standing(timeout=VIEW_SECONDS)
        sizes.append(view.db_size)
        if not view.has_leader:
            return f"etcd on {host} knows no leader"
        if view.leader == view.member_id:
            await _give_away(etcd, view)
        await defragment(etcd, timeout=timeout(until))
        return ""

    if failure := await polled(lambda: _once(missing), until):
        kept = "Its data are as they were: the new file takes the place of the old one only when it is whole"
        return StepResult(False, f"etcd on {host} was not defragmented; last: {failure}. {kept}")

    async def away() -> str:
        view = await etcd.standing(timeout=VIEW_SECONDS)
        sizes.append(view.db_size)
        return "" if view.has_leader else f"etcd on {host} knows no leader"

    if failure := await polled(lambda: _once(away), until):
        return StepResult(False, f"etcd on {host} was defragmented, and does not serve since; last: {failure}. Look at its log there")
    return StepResult(True, f"the database of etcd on {host} takes {_mib(sizes[-1])}, before {_mib(max(sizes))}")


async def _give_away(etcd: EtcdClient, view: EtcdView) -> None:
    """A leader that stalls is voted out within a second or two; one that cannot hand over is defragmented all the same."""
    others = [m.id for m in view.voters if m.started and m.id != view.member_id]
    for other in others:
        try:
            await hand_over(etcd, other, timeout=HAND_OVER_SECONDS / len(others))
            return
        except EtcdUnseen:  # it may be the one that is away
            continue


async def disarm_space(etcd: EtcdClient, host: str, until: float, *, ask: bool) -> StepResult:
    async def raised() -> str:
        view = await etcd.standing(timeout=VIEW_SECONDS)
        members = [a.member_id for a in view.alarms if a.alarm == "NOSPACE"]
        if not members or ask:
            return f"NOSPACE is raised by {', '.join(members)}" if members else ""
        for member in members:
            await etcd.disarm(member, "NOSPACE", timeout=VIEW_SECONDS)
        return "etcd accepted it, and the alarm is up still"

    if ask and (failure := await _once(raised)):
        return StepResult(False, f"the alarm has not been taken back: {failure}", undone=True)
    if failure := await polled(lambda: _once(raised), until):
        return StepResult(False, f"the alarm NOSPACE was not taken back; last seen from {host}: {failure}. `etcdctl alarm disarm` does it by hand")
    return StepResult(True, f"no member has the alarm NOSPACE any more, as {host} says")


async def await_writes(operation: AwaitWrites, etcd: EtcdClient, host: str, until: float) -> StepResult:
    seen: list[EtcdView] = []

    async def missing() -> str:
        seen.append(await etcd.standing(timeout=VIEW_SECONDS))
        return operation.lacks(seen[-1], seen[0].revision)

    if failure := await polled(lambda: _once(missing), until):
        return StepResult(False, f"etcd on {host} was not seen to take writes; last: {failure}. Is an API server ready, and a kubelet at work?")
    return StepResult(True, f"etcd takes writes: on {host} revision {seen[0].revision} went on to {seen[-1].revision}")


async def _once(missing: Callable[[], Awaitable[str]]) -> str:
    try:
        return await missing()
    except EtcdUnseen as unseen:
        return str(unseen)


def _mib(size: int) -> str:
    return f"{size / 1048576:.0f} MiB"


hand(Compact)(lambda o, at: compact_history(o, at.etcd, at.host, at.until))
hand(Defragment)(lambda o, at: defragment_member(at.etcd, at.host, at.until))
hand(DisarmSpace)(lambda o, at: disarm_space(at.etcd, at.host, at.until, ask=at.ask))
hand(AwaitWrites)(lambda o, at: await_writes(o, at.etcd, at.host, at.until))
