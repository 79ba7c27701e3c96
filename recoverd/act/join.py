"""Joining a control plane and taking that back: composed of what is done on each machine, looking first each time.

The token and the certificate key are read from the source's output, sent to the new machine inside a script on its
standard input, and kept nowhere else; whatever is quoted from there is cleared of them. When the join has ended, well
or not, they are taken out of the cluster as well.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from recoverd.act.carry import Carry, hand
from recoverd.clients.etcd import EtcdClient, EtcdUnseen
from recoverd.clients.hosts import CommandResult, HostPool, HostUnseen
from recoverd.engine.progress import report
from recoverd.model.call import Call
from recoverd.model.etcd import MemberEntry
from recoverd.model.join_operations import JoinControlPlane
from recoverd.model.plan import StepResult
from recoverd.playbooks.take_back import listed

SECRETS_SECONDS = 60.0
FORGET_SECONDS = 12.0
"""Within what a join leaves of its step's time: nothing waits for it, and what stays ends by itself."""
POLL_SECONDS = 0.5
VIEW_SECONDS = 4.0
"""For status and member list, which every member tells at once; on a busy machine the
connection alone takes a second.
"""
ASK_SECONDS = 4.0
"""Short, too: a machine that has gone must not keep the member's seconds from being counted."""
TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
KEY = re.compile(r"\b[0-9a-f]{64}\b")
HASH = re.compile(r"\bsha256:[0-9a-f]{64}\b")


class JobState(StrEnum):
    """How the job on the new machine stands, in the words of `join_state` (recoverd/shell/join.sh)."""

    NONE = "none"
    """This join has not begun there."""
    RUNNING = "running"
    ENDED = "ended"
    FAILED = "failed"
    LOST = "lost"
    """It had begun, does not run, and has left no exit status."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What `kubeadm join` needs; `repr` tells nothing."""

    endpoint: str
    token: str
    ca_hash: str
    key: str

    def __repr__(self) -> str:
        return "Secrets(...)"


class JoinFailed(Exception):  # noqa: N818
    """Why it failed, for the operator."""


def cleared(text: str) -> str:
    """Text without anything that looks like a token or a certificate key."""
    return KEY.sub("[key]", TOKEN.sub("[token]", HASH.sub("[CA hash]", text)))


def start(it: JoinControlPlane, secrets: Secrets) -> Call:
    """Mark the machine, which must be clean, and begin `kubeadm join` in the background with a deadline of its own."""
    cluster = (secrets.endpoint, secrets.token, secrets.ca_hash, secrets.key)
    skip = "unless-crictl" if it.needs_crictl and not it.skip_preflight else it.skip_preflight
    return Call.of("join_start", it.label, it.seconds, skip, it.name, it.address, it.api_port, *cluster)


async def forget(hosts: HostPool, source: str, label: str) -> str:
    """Delete the secrets of a join that has ended; "", or why they may still be there. Never
    fails: they end by themselves.
    """
    try:
        result = await hosts.act(source, Call.of("join_forget", label), timeout=FORGET_SECONDS)
        why = _said(result) if result.exit_status != 0 else ""
    except HostUnseen as unseen:
        why = str(unseen)
    if not why:
        return ""
    return (
        "its token and the Secret kubeadm-certs may still be in the cluster, and end by themselves after 1 "
        f"h and 2 h ({cleared(why)})"
    )


class JoinRunner:
    """One join. `until` is in the event loop's time."""

    def __init__(self, operation: JoinControlPlane, hosts: HostPool, etcd: EtcdClient, until: float) -> None:
        self._it = operation
        self._hosts = hosts
        self._etcd = etcd
        self._until = until
        self._clock: Callable[[], float] = asyncio.get_running_loop().time

    async def perform(self, *, resume: bool, ask: bool = False) -> StepResult:
        """`ask`: one that was not begun is not begun now."""
        it = self._it
        try:
            state = await self._state() if resume else JobState.NONE
            if state is JobState.NONE and ask:
                return StepResult(False, f"kubeadm join has not been started on {it.name} yet", undone=True)
            if state is JobState.NONE:
                await self._begin()
            result = await self._watch()
        except JoinFailed as failed:
            return StepResult(False, f"the join of {it.name} failed: {failed}")
        except HostUnseen as unseen:
            return StepResult(False, f"the join of {it.name} failed: {unseen}")
        # after a failure the taking back does it, once the API server is back
        left = await forget(self._hosts, it.source, it.label)
        return replace(result, detail=f"{result.detail}; {left}") if left else result

    async def _begin(self) -> None:
        """Fresh secrets on the source, the new machine marked, and `kubeadm join` at work there."""
        it = self._it
        report(f"{it.source}: making a certificate key and a token", 0.0)
        secrets = await self._secrets()
        try:
            result = await self._hosts.act(it.name, start(it, secrets), timeout=30.0)
        except HostUnseen as unseen:
            raise JoinFailed(f"kubeadm join may not have been started on {it.name}: {cleared(str(unseen))}") from None
        if result.exit_status != 0:
            raise JoinFailed(f"kubeadm join was not started on {it.name}: {cleared(_said(result))}")

    async def _secrets(self) -> Secrets:
        source = self._it.source
        try:
            result = await self._hosts.act(source, Call.of("join_secrets", self._it.label), timeout=SECRETS_SECONDS)
        except HostUnseen as unseen:
            raise JoinFailed(f"no token and no certificate key could be made: {cleared(str(unseen))}") from None
        key = re.search(r"^key ([0-9a-f]{64})$", result.stdout, re.MULTILINE)
        line = re.search(
            r"kubeadm join (\S+) .*--token (\S+) .*--discovery-token-ca-cert-hash (sha256:[0-9a-f]{64})", result.stdout
        )
        if result.exit_status != 0 or not key or not line:
            raise JoinFailed(
                f"no token and no certificate key could be made on {source}: "
                f"{cleared(_said(result))}; nothing was changed"
            )
        return Secrets(line[1], line[2], line[3], key[1])

    async def _watch(self) -> StepResult:
        """Until kubeadm has ended; and its member has its seconds from the moment it is listed."""
        it, began = self._it, self._clock()
        listed_at: float | None = None
        started = False
        while True:
            state, entry = await asyncio.gather(self._state(), self._entry())
            if entry is not None:
                listed_at = listed_at or self._clock()
                started = started or entry.started
            if state is JobState.ENDED:
                return await self._ended(started)
            if state in (JobState.FAILED, JobState.LOST):
                raise JoinFailed(await self._why(state))
            waited = self._clock() - listed_at if listed_at else 0.0
            if listed_at and not started and waited >= it.member_seconds:
                raise JoinFailed(
                    f"its etcd member was added and has not started within {waited:.0f} s, so the join was "
                    f"stopped: {await self._why(state)}"
                )
            if self._clock() >= self._until - 15.0 or self._clock() - began > it.seconds + 15.0:
                raise JoinFailed(
                    f"kubeadm join has not ended within {self._clock() - began:.0f} s: {await self._why(state)}"
                )
            what = (
                "its etcd member has started"
                if started
                else "its etcd member to start"
                if listed_at
                else "its etcd member to be added"
            )
            report(
                f"{it.name}: kubeadm join is at work, {what if started else f'waiting for {what}'}",
                self._clock() - began,
            )
            await asyncio.sleep(POLL_SECONDS)

    async def _ended(self, started: bool) -> StepResult:
        entry = await self._entry()
        if not started and (entry is None or not entry.started):
            raise JoinFailed(
                f"kubeadm join ended well, and its member is not among the started ones of {self._it.source}"
            )
        if entry is not None and entry.learner:
            raise JoinFailed("kubeadm join ended well, and its member is still a learner, which has no vote")
        return StepResult(True, f"{self._it.name} has joined, its etcd member is a voter")

    async def _entry(self) -> MemberEntry | None:
        try:
            return listed(await self._etcd.standing(timeout=VIEW_SECONDS), self._it.address)
        except EtcdUnseen:
            return None

    async def _state(self) -> JobState:
        """How the job on the new machine stands; a machine that does not answer for a moment is not taken for lost."""
        try:
            result = await self._hosts.ask(self._it.name, Call.of("join_state", self._it.label), timeout=ASK_SECONDS)
        except HostUnseen:
            return JobState.RUNNING
        word = result.stdout.strip().split("\n")[-1]
        return JobState(word) if word in set(JobState) else JobState.LOST

    async def _why(self, state: JobState) -> str:
        """What kubeadm, and etcd on the new machine, said last."""
        try:
            result = await self._hosts.ask(self._it.name, Call.of("join_why"), timeout=ASK_SECONDS)
        except HostUnseen as unseen:
            return f"what was said on {self._it.name} cannot be read: {unseen}"
        lost = "the job is gone without an exit status (was the machine rebooted?); " if state is JobState.LOST else ""
        return lost + (
            cleared(" / ".join(line.strip()[:300] for line in result.stdout.splitlines() if line.strip()))
            or "nothing was said"
        )


def _said(result: CommandResult) -> str:
    lines = [line.strip()[:300] for line in (result.stderr.strip() or result.stdout.strip()).splitlines()]
    return " / ".join(lines[-4:]) or f"exit status {result.exit_status}"


async def _join(operation: JoinControlPlane, at: Carry) -> StepResult:
    """It is begun once, and one that was begun before a crash is watched on."""
    runner = JoinRunner(operation, at.reach.hosts, at.reach.etcd(operation.source), at.until)
    return await runner.perform(resume=at.resume, ask=at.ask)


hand(JoinControlPlane)(_join)
