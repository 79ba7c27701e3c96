"""Making room in etcd's database. While the alarm is up kubelet's probe ends each member again and again, so what
is away or mute is asked again.
"""

from __future__ import annotations

import asyncio

from recoverd.act.carry import hand
from recoverd.act.etcd import VIEW_SECONDS
from recoverd.act.until import left, polled, timeout
from recoverd.clients.etcd import EtcdClient, EtcdUnseen
from recoverd.clients.etcd_space import compact, defragment, hand_over
from recoverd.model.etcd import EtcdView, mib
from recoverd.model.observation import UnseenKind
from recoverd.model.plan import StepResult
from recoverd.model.space_operations import AwaitWrites, Compact, Defragment

HAND_OVER_SECONDS = 10.0
COMPACTS_SECONDS = 30.0
"""For which a member is defragmented once more that is larger than it may be: a compaction is awaited on the
member that was asked for it only.
"""


async def compact_history(etcd: EtcdClient, host: str, until: float) -> StepResult:
    """Asked again where it broke off: a revision that is compacted already is no error.

    How much is free then is not told at once: etcd frees the pages of the last part with its
    next write (observed on 3.4.23).
    """
    revision = 0

    async def refused() -> str:
        nonlocal revision
        revision = await compact(etcd, timeout=timeout(until))
        return ""

    if failure := await polled(refused, until):
        return StepResult(
            False,
            f"etcd was not compacted, asked on {host}; last: {failure}. No object is lost by that, or by half of it",
        )
    return StepResult(True, f"history before revision {revision} is dropped")


async def defragment_member(operation: Defragment, etcd: EtcdClient, host: str, until: float) -> StepResult:
    """Wait for a leader, give leading away where others can, defragment, and see the member
    serve again, and small enough.
    """
    sizes: list[int] = []

    async def undone() -> str:
        view = await _led(etcd, host)
        sizes.append(view.db_size)
        if view.leader == view.member_id:
            await _give_away(etcd, view)
        await defragment(etcd, timeout=timeout(until))
        return ""

    async def away() -> str:
        sizes.append((await _led(etcd, host)).db_size)
        return ""

    patience = asyncio.get_running_loop().time() + min(COMPACTS_SECONDS, left(until) / 2)
    while True:
        if failure := await polled(undone, until):
            kept = "Its data are as they were: the new file takes the place of the old one only when it is whole"
            return StepResult(False, f"etcd on {host} was not defragmented; last: {failure}. {kept}")
        if failure := await polled(away, until):
            return StepResult(
                False,
                f"etcd on {host} was defragmented, and does not serve since; last: {failure}. Look at its log there",
            )
        told = f"the database of etcd on {host} takes {mib(sizes[-1])}, before {mib(max(sizes))}"
        if not operation.most or sizes[-1] <= operation.most:
            return StepResult(True, told)
        if left(patience) <= 0:
            return StepResult(
                False,
                f"{told}: that is what the objects themselves take, and with more than "
                f"{mib(operation.most)} writes soon end again",
            )
        await asyncio.sleep(1)


async def _led(etcd: EtcdClient, host: str) -> EtcdView:
    """What the member says; raises `EtcdUnseen` too where it knows no leader."""
    view = await etcd.standing(timeout=VIEW_SECONDS)
    if not view.has_leader:
        raise EtcdUnseen(UnseenKind.TIMEOUT, f"etcd on {host} knows no leader")
    return view


async def _give_away(etcd: EtcdClient, view: EtcdView) -> None:
    """A leader that stalls is voted out within a second or two; one that cannot hand
    over is defragmented all the same.
    """
    others = [m.id for m in view.voters if m.started and m.id != view.member_id]
    for other in others:
        try:
            await hand_over(etcd, other, timeout=HAND_OVER_SECONDS / len(others))
            return
        except EtcdUnseen:  # it may be the one that is away
            continue


async def await_writes(operation: AwaitWrites, etcd: EtcdClient, host: str, until: float) -> StepResult:
    seen: list[EtcdView] = []

    async def missing() -> str:
        seen.append(await etcd.standing(timeout=VIEW_SECONDS))
        return operation.lacks(seen[-1], seen[0].revision)

    if failure := await polled(missing, until):
        return StepResult(
            False,
            f"etcd on {host} was not seen to take writes; last: {failure}. Is an API server "
            "ready, and a kubelet at work?",
        )
    return StepResult(True, f"etcd takes writes: on {host} revision {seen[0].revision} went on to {seen[-1].revision}")


hand(Compact)(lambda o, at: compact_history(at.etcd, at.host, at.until))
hand(Defragment)(lambda o, at: defragment_member(o, at.etcd, at.host, at.until))
hand(AwaitWrites)(lambda o, at: await_writes(o, at.etcd, at.host, at.until))
