"""Who may ask for what, and the record of who has.

A request that changes anything is journalled before it is carried out, and once more with its answer: what cannot be
journalled is not done. A refused one is journalled too, whoever refused it, this door or the machine.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import structlog
from aiohttp import web

from recoverd.config.types import Access
from recoverd.control import peers
from recoverd.control.names import PATIENCE, Names
from recoverd.control.protocol import Controller
from recoverd.engine.journal_file import JournalError
from recoverd.model.audit import Answer, AuditEntry
from recoverd.model.events import Refused

log = structlog.get_logger()
Count = Callable[[str, str], None]
"""Counts a request and its answer."""


class Right(StrEnum):
    VIEW = "look"
    APPROVE = "ask for what changes anything"


class Forbidden(Refused):
    """Who asks may not."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, with names."""

    peer: peers.Peer
    name: str
    """Of the person."""
    account: str
    """Of the user whose process it is."""
    bastion: str = ""
    """Of several, the one where it is asked; "" where there is one alone."""

    @property
    def by(self) -> str:
        """As told in timelines: `alice`, or `alice (as root)` where that is another user's process; of several bastions
        with the one that knows her by that name.
        """
        who = self.name if self.peer.person == self.peer.uid else f"{self.name} (as {self.account})"
        return f"{who} on {self.bastion}" if self.bastion else who

    @property
    def person(self) -> int | None:
        """The person's uid, where it is known who that is."""
        return self.peer.person if self.peer.known else None


@dataclass(slots=True)
class Outcome:
    """What a request is told in the end, to be filled in by who carries it out."""

    detail: str = ""
    answer: Answer = Answer.DONE


class Door:
    """`access` may be changed at any time; None: whoever may open the socket may do everything. `bastion`: of several,
    this one.
    """

    def __init__(self, controller: Controller, count: Count, bastion: str = "") -> None:
        self.access: Access | None = None
        self._bastion = bastion
        self._controller = controller
        self._count = count
        self._names = Names()

    def close(self) -> None:
        self._names.close()

    async def caller(self, request: web.Request) -> Caller:
        """Who is at the other end of the request's connection."""
        sock = request.transport.get_extra_info("socket") if request.transport else None
        if sock is None:
            raise web.HTTPBadRequest(text="the other end of the connection is gone")
        peer = peers.peer(sock)
        account = await self._names.user(peer.uid)
        name = account if peer.person == peer.uid else await self._names.user(peer.person)
        return Caller(peer, name, account, self._bastion)

    async def admit(self, caller: Caller, right: Right) -> None:
        """Raise `Forbidden` where the configuration does not let the person do that; root may do everything."""
        may = self._groups(right)
        if may is None or (caller.peer.uid == 0 and caller.peer.person == 0):
            return
        taken = f"you are taken for {caller.name} (uid {caller.peer.person}" + (
            f", who logged in; the process is {caller.account}'s)" if caller.name != caller.account else ")"
        )
        try:
            has = await self._names.groups(caller.peer.person)
        except (TimeoutError, OSError) as error:
            why = str(error) or f"no answer within {PATIENCE:g} s"
            raise Forbidden(
                f"{taken}, and whose groups cannot be looked up ({why}); see getent and the directory server of this "
                "machine. Nothing was done; root, logged in as root, may always"
            ) from error
        if not has & set(may):
            raise Forbidden(
                f"{taken}, who may not {right}: that is for members of {' or '.join(may)} (`access` in the "
                f"configuration), and {caller.name} is in {', '.join(sorted(has)) or 'no group'}. Nothing was done"
            )

    def restricts(self, right: Right) -> bool:
        """Whether not everybody may."""
        return self._groups(right) is not None

    def _groups(self, right: Right) -> tuple[str, ...] | None:
        """Whose members may; None: everybody may."""
        access = self.access
        if access is None or access.approve is None:
            return None
        if right is Right.APPROVE:
            return access.approve
        return None if access.view is None else (*access.view, *access.approve)

    @asynccontextmanager
    async def asked(
        self, caller: Caller, request: str, *, cluster: str = "", subject: str = "", reason: str = ""
    ) -> AsyncIterator[Outcome]:
        """Within, a request that changes anything is carried out. Raises `Forbidden` where it may not be, and
        `JournalError` where it could not be journalled: in both cases it is not begun.
        """
        entry = AuditEntry(
            secrets.token_hex(8), datetime.now(UTC), caller.by, caller.person, caller.peer.uid, request, cluster,
            subject, reason,
        )  # fmt: skip
        outcome, begun = Outcome(), False
        try:
            await self.admit(caller, Right.APPROVE)
            await self._controller.record(entry)
            begun = True
            yield outcome
        except (Refused, web.HTTPException) as refused:
            said = refused.text or refused.reason if isinstance(refused, web.HTTPException) else str(refused)
            await self._answered(replace(entry, answer=Answer.REFUSED, detail=said))
            raise
        except BaseException as error:
            if begun:
                await self._answered(replace(entry, answer=Answer.FAILED, detail=str(error) or repr(error)))
            else:
                self._count(request, Answer.FAILED)
                log.error(
                    f"{entry.by} asked for {request} {subject}".rstrip()
                    + ", which is not done: it cannot be journalled",
                    cluster=cluster,
                )
            raise
        await self._answered(replace(entry, answer=outcome.answer, detail=outcome.detail))

    async def _answered(self, entry: AuditEntry) -> None:
        """What was answered is told in any case; what was asked stands in the journal already, a refusal of this
        door excepted.
        """
        self._count(entry.request, entry.answer)
        if entry.answer is Answer.REFUSED:
            log.info(
                f"{entry.by} was refused: {entry.request} {entry.subject}".rstrip(),
                cluster=entry.cluster,
                reason=entry.detail,
            )
        try:
            await self._controller.record(entry)
        except JournalError as error:
            log.error(
                f"what became of a request could not be journalled: {entry.request} {entry.subject} by {entry.by} was "
                f"{entry.answer}",
                cluster=entry.cluster,
                error=str(error),
            )
