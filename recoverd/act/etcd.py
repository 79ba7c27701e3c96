"""What the bastion does to etcd itself, through the tunnel to one member."""

from __future__ import annotations

import asyncio
import mmap
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from tenacity import AsyncRetrying, retry_if_exception, wait_fixed

from recoverd.act.carry import hand
from recoverd.act.until import POLL_SECONDS, polled, stop_at, timeout
from recoverd.clients.etcd import EtcdClient, EtcdUnseen
from recoverd.model.bastion_operations import AwaitEtcd, FetchSnapshot, RemoveMember
from recoverd.model.etcd import EtcdView
from recoverd.model.observation import UnseenKind
from recoverd.model.plan import StepResult

VIEW_SECONDS = 3.0
LAST_SECONDS = 1.0
"""What even the last look before the deadline gets: an answer cut short would be all that the failure tells."""
RESTART_SECONDS = 100.0
"""Within which an attempt may begin anew: without quorum kubelet's probe has etcd started again every
minute or so, and later each time.
"""
ANSWERS_SECONDS = 10.0
"""For the first word. A member that is being ended may accept a connection, and never
answers it (observed on 3.4.13).
"""
DISK_RESERVE = 64 << 20
"""Bytes that stay free on the bastion beside a snapshot: the journal is on the same disk."""


async def fetch_snapshot(
    operation: FetchSnapshot, etcd: EtcdClient, host: str, directory: Path, until: float
) -> StepResult:
    """A snapshot of the member in `directory`; a second one does no harm, so a resumed step fetches again.

    Without quorum /health is false, and kubelet's probe has etcd started anew every minute or so (observed): what
    is away or mute is asked again.
    """
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", operation.label)
    target = directory / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{label}.db"

    async def once() -> StepResult:
        view = await etcd.view(timeout=max(VIEW_SECONDS, min(ANSWERS_SECONDS, timeout(until) / 3)))
        free = _free(directory)
        if free < view.db_size + DISK_RESERVE:
            needs = (
                f"it takes {view.db_size} bytes and {DISK_RESERVE} stay in reserve, and {directory} on "
                f"the bastion has {free} free"
            )
            return StepResult(
                False, f"no snapshot was fetched from {host}: {needs}. Make room there; nothing was changed"
            )
        info = await etcd.snapshot(target, timeout=timeout(until))
        if operation.holds and not await asyncio.to_thread(holds, info.path, operation.holds):
            return StepResult(
                False, f"{_another(host, operation.holds)}. The snapshot is {info.path}; nothing was changed"
            )
        return StepResult(
            True, f"{info.path}, {info.size} bytes, sha256 {info.sha256}, revision {view.revision} or later"
        )

    restarted = min(until, asyncio.get_running_loop().time() + RESTART_SECONDS)
    try:
        fetched: StepResult = await AsyncRetrying(
            retry=retry_if_exception(_away), wait=wait_fixed(POLL_SECONDS), stop=stop_at(restarted), reraise=True
        )(once)
    except EtcdUnseen as unseen:
        return StepResult(False, f"no snapshot was fetched from {host}: {unseen}. Nothing was changed")
    except OSError as error:
        return StepResult(
            False,
            f"the snapshot from {host} could not be written to {target}: {error}. Nothing was changed in the cluster",
        )
    return fetched


def holds(snapshot: Path, text: str) -> bool:
    """Whether the database has the text in it. What bbolt stores stands in one piece, and a database that never
    held it has it in no old page.
    """
    with snapshot.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        return whole.find(text.encode()) >= 0


def _another(host: str, uid: str) -> str:
    return (
        f"what etcd on {host} holds is not this cluster: the namespace kube-system with the UID {uid}, as it was seen "
        "while healthy, is not in its "
        "snapshot. It is a new, empty cluster or another one, and nothing to go on from; look for the data of "
        "before, or restore a snapshot"
    )


def _away(error: BaseException) -> bool:
    """Nothing listens, or what listens closes the connection or is mute, as an etcd does
    that is just starting or ending.
    """
    return isinstance(error, EtcdUnseen) and error.unseen.kind in (
        UnseenKind.REFUSED,
        UnseenKind.UNREACHABLE,
        UnseenKind.TIMEOUT,
    )


async def remove_member(
    operation: RemoveMember, etcd: EtcdClient, host: str, until: float, *, ask: bool = False
) -> StepResult:
    """Remove, and see it gone from the list; done already when it is not listed. `ask`: only look whether it is.

    One that is listed still has not been removed. Where etcd did not refuse it but had no quorum it may
    remove it later, and then an etcd that was started again meanwhile ends by itself: no worse than one that
    was left stopped while quorum is gone.
    """
    member = operation.member_id
    try:
        if not _listed(await etcd.view(timeout=max(VIEW_SECONDS, timeout(until) / 3)), member):
            return StepResult(True, f"member {member} is not in the list of {host} any more", already_done=True)
    except EtcdUnseen as unseen:
        return StepResult(False, f"member {member} was not removed: {unseen}. Nothing was changed", untouched=True)
    if ask:
        return StepResult(False, f"member {member} is still listed by {host}: it has not been removed yet", undone=True)
    try:
        await etcd.remove_member(member, timeout=timeout(until))
        failure = ""
    except EtcdUnseen as unseen:
        failure = str(unseen)
    try:
        view = await etcd.view(timeout=VIEW_SECONDS)
    except EtcdUnseen as unseen:
        what = (
            f"whether member {member} was removed cannot be told: {failure or 'etcd accepted it'}; afterwards: "
            f"{unseen}. Look at the member list"
        )
        return StepResult(False, what, uncertain=True)
    if _listed(view, member):
        what = (
            f"member {member} is still listed by {host}: {failure or 'etcd accepted the removal'}. Nothing was changed"
        )
        return StepResult(False, what, untouched=True)
    return StepResult(True, f"member {member} is gone; {host} lists {', '.join(m.name or m.id for m in view.members)}")


async def await_etcd(operation: AwaitEtcd, etcd: EtcdClient, host: str, until: float) -> StepResult:
    """Poll until the member is as wanted; the failure says what was last seen."""
    seen: list[EtcdView] = []

    async def missing() -> str:
        # as it was then: an API server that is back already goes on deleting what it was about to (observed)
        seen.append(
            await etcd.view(timeout=max(LAST_SECONDS, min(VIEW_SECONDS, timeout(until))), at=operation.min_revision)
        )
        return operation.lacks(seen[-1])

    began = asyncio.get_running_loop().time()
    if failure := await polled(missing, until):
        took = asyncio.get_running_loop().time() - began
        return StepResult(False, f"etcd on {host} is not as wanted after {took:.0f} s; last seen: {failure}")
    view = seen[-1]
    counts = (
        f"{view.nodes if view.nodes is not None else '?'} nodes, {view.pods if view.pods is not None else '?'} pods"
    )
    return StepResult(
        True,
        f"etcd on {host} is healthy with a leader, {len(view.voters)} voter(s), revision {view.revision}, {counts}",
    )


def _free(directory: Path) -> int:
    """Bytes free where the snapshots go; makes the directory, for its owner only."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return shutil.disk_usage(directory).free


def _listed(view: EtcdView, member_id: str) -> bool:
    return any(m.id == member_id for m in view.members)


hand(FetchSnapshot)(lambda o, at: fetch_snapshot(o, at.etcd, at.host, at.reach.snapshots, at.until))
hand(RemoveMember)(lambda o, at: remove_member(o, at.etcd, at.host, at.until, ask=at.ask))
hand(AwaitEtcd)(lambda o, at: await_etcd(o, at.etcd, at.host, at.until))
