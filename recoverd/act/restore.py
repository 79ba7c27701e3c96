"""Giving etcd members data again, as far as the bastion does it: a snapshot sent to a host,
members added, promoted and awaited.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from recoverd.act.carry import hand
from recoverd.act.host import CHECK_SECONDS, GUARD_STATUS
from recoverd.act.until import ask_once, polled, timeout
from recoverd.clients.etcd import EtcdClient, EtcdRefused
from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.model.etcd import EtcdView
from recoverd.model.etcd_operations import AddMember, AwaitRestored, DisarmAlarm, PromoteMember, SendSnapshot
from recoverd.model.plan import StepResult

VIEW_SECONDS = 3.0
ADD_SECONDS = 10.0
"""For one asking; it is asked again until the deadline."""


async def send_snapshot(
    operation: SendSnapshot, hosts: HostPool, host: str, until: float, *, resume: bool, ask: bool
) -> StepResult:
    """Done already when a file with this hash is there; a second sending does no harm, since the file
    appears only when it is whole.
    """
    name = f"sending {operation.source} to {operation.target} on {host}"
    try:
        if resume and (await hosts.ask(host, operation.check(), timeout=CHECK_SECONDS)).exit_status == 0:
            return StepResult(
                True, f"{operation.target} on {host} is there already, with the right hash", already_done=True
            )
        if ask:
            return StepResult(False, f"{name} has not been done yet", undone=True)
        found = await asyncio.to_thread(_digest, Path(operation.source))
        if found != operation.sha256:
            what = f"its sha256 is {found}, and {operation.sha256} was recorded when it was taken"
            return StepResult(
                False,
                f"{operation.source} on the bastion is not the snapshot any more: {what}. Nothing was "
                f"sent. {_way_on(operation)}",
            )
        result = await hosts.send(host, operation.call(), Path(operation.source), timeout=timeout(until))
    except HostUnseen as unseen:
        return StepResult(
            False, f"{name} did not come about: {unseen}. {operation.target} appears only when it is whole"
        )
    except OSError as error:
        why = error.strerror or error
        return StepResult(
            False, f"{operation.source} cannot be read on the bastion: {why}. Nothing was sent. {_way_on(operation)}"
        )
    if result.exit_status != 0:
        said = " / ".join(result.stderr.strip().splitlines()[-3:]) or "it said nothing"
        state = "it refused" if result.exit_status == GUARD_STATUS else f"ended with status {result.exit_status}"
        return StepResult(False, f"{name} {state}: {said}; nothing was left there")
    return StepResult(
        True, f"{operation.target} on {host}: {operation.size} bytes, sha256 {operation.sha256[:12]}, as on the bastion"
    )


def _way_on(operation: SendSnapshot) -> str:
    """What a person does about a restore point that is no good."""
    directory = Path(operation.source).parent
    return (
        f"Put the file back, or move {directory} elsewhere and restart recoverd: a plan is then made from the next of "
        "`recoverctl restore-points`, "
        "once the incident is acknowledged"
    )


async def await_restored(operation: AwaitRestored, etcd: EtcdClient, host: str, until: float) -> StepResult:
    """Poll until the member serves what was restored; the failure says what was last seen."""
    seen: list[tuple[EtcdView, int]] = []

    async def missing() -> str:
        view = await etcd.view(timeout=VIEW_SECONDS)
        # at that revision: once there is a leader, leases of the snapshot end (API servers' have 15
        # s), and their keys with them
        keys = (
            await etcd.keys(operation.revision, timeout=VIEW_SECONDS)
            if view.has_leader and view.revision >= operation.revision
            else None
        )
        seen.append((view, keys or 0))
        return operation.lacks(view, keys)

    if failure := await polled(missing, until):
        return StepResult(False, f"etcd on {host} does not serve what was restored; last seen: {failure}")
    view, keys = seen[-1]
    members = ", ".join(f"{m.name} {m.id}" for m in view.voters)
    counts = (
        f"{keys} keys, {view.nodes if view.nodes is not None else '?'} nodes, "
        f"{view.pods if view.pods is not None else '?'} pods"
    )
    return StepResult(
        True, f"etcd on {host} serves: cluster {view.cluster_id}, members {members}, revision {view.revision}, {counts}"
    )


async def add_member(
    operation: AddMember, etcd: EtcdClient, host: str, until: float, *, ask: bool = False
) -> StepResult:
    """Add, and see it listed; done already when it is. `ask`: only look whether it is.

    An etcd that is busy may answer nothing for some seconds (observed on 3.4.23, just after another
    member was removed): it is asked until the deadline. Asked twice it adds no second one, since it
    refuses a peer URL that a member has.
    """
    sent, found, refusal = False, "", ""

    async def missing() -> str:
        nonlocal sent, found, refusal
        if (found := operation.added(await etcd.view(timeout=VIEW_SECONDS)) or "") or ask:
            return ""
        sent = True
        try:
            await etcd.add_member(
                operation.peer_url, learner=operation.learner, timeout=min(ADD_SECONDS, timeout(until))
            )
        except EtcdRefused as refused:
            refusal = str(refused)
            return ""
        return "etcd accepted it"

    failure = await polled(missing, until - VIEW_SECONDS)
    if found:
        if not sent:
            return StepResult(
                True,
                f"the member at {operation.peer_url} is in the list of {host} already, as {found}",
                already_done=True,
            )
        return StepResult(
            True,
            f"the member at {operation.peer_url} was added as {'learner' if operation.learner else 'voter'} {found}",
        )
    if ask:
        what = "has been added yet" if not failure else f"was seen: {failure}"
        return StepResult(
            False, f"no member at {operation.peer_url} {what}", undone=not failure, uncertain=bool(failure)
        )
    if sent and not refusal:
        what = f"whether the member at {operation.peer_url} was added cannot be told: {failure}"
        return StepResult(False, f"{what}. Look at the member list", uncertain=True)
    return StepResult(
        False, f"{host} does not list a member at {operation.peer_url}: {refusal or failure}. Nothing was changed"
    )


async def promote_member(
    operation: PromoteMember, etcd: EtcdClient, host: str, until: float, *, ask: bool = False
) -> StepResult:
    """Ask until it is a voter: etcd refuses while the learner has not caught up, and says so."""

    async def missing() -> str:
        view = await etcd.view(timeout=VIEW_SECONDS)
        row = next((m for m in view.members if operation.peer_url in m.peer_urls), None)
        if row is None:
            return f"{host} lists no member at {operation.peer_url}"
        if not row.learner:
            return ""
        if ask:
            return "it is a learner still"
        if not row.started:
            # etcd before 3.4.24 and 3.5.7 might promote one that never came up (etcd-io/etcd#15096)
            return "it has not started yet"
        await etcd.promote_member(row.id, timeout=VIEW_SECONDS)
        return "promoted, and not seen so yet"

    if ask and (failure := await ask_once(missing)):
        return StepResult(False, f"the member at {operation.peer_url} has not been promoted: {failure}", undone=True)
    if failure := await polled(missing, until):
        what = "a learner has no vote, so quorum is as it was; look at etcd's log on its machine"
        return StepResult(False, f"the member at {operation.peer_url} was not promoted; last seen: {failure}; {what}")
    return StepResult(True, f"the member at {operation.peer_url} has caught up and votes")


async def disarm_alarm(
    operation: DisarmAlarm, etcd: EtcdClient, host: str, until: float, *, ask: bool = False
) -> StepResult:
    """Take an alarm back and see it gone."""

    async def raised() -> str:
        members = operation.raised(await etcd.standing(timeout=VIEW_SECONDS))
        if not members or ask:
            return f"it is raised by {', '.join(members)}" if members else ""
        for member in members:
            await etcd.disarm(member, operation.alarm, timeout=VIEW_SECONDS)
        return "etcd accepted it, and it is still raised"

    if ask and (failure := await ask_once(raised)):
        return StepResult(False, f"{operation.about} has not been taken back: {failure}", undone=True)
    if failure := await polled(raised, until):
        return StepResult(
            False,
            f"{operation.about} was not taken back; last seen from {host}: {failure}. etcdctl "
            "alarm disarm does it by hand",
        )
    return StepResult(True, f"{operation.about} is not raised any more, as {host} says")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# each looks whether it has been done, so a resumed one is simply done again, unless it is only asked about
hand(SendSnapshot)(lambda o, at: send_snapshot(o, at.reach.hosts, at.host, at.until, resume=at.resume, ask=at.ask))
hand(AwaitRestored)(lambda o, at: await_restored(o, at.etcd, at.host, at.until))
hand(AddMember)(lambda o, at: add_member(o, at.etcd, at.host, at.until, ask=at.ask))
hand(PromoteMember)(lambda o, at: promote_member(o, at.etcd, at.host, at.until, ask=at.ask))
hand(DisarmAlarm)(lambda o, at: disarm_alarm(o, at.etcd, at.host, at.until, ask=at.ask))
