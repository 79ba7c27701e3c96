"""This bastion's side of the lease on a cluster's control planes: what it asks of them in each look, and
what it may do by what they say.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from recoverd.model.call import Call
from recoverd.model.lease import SECONDS, HeldBy, HostLease, Lease, Unknown, judged, wanted

MARGIN = 5.0
"""Seconds before its lease runs out from which on this bastion begins nothing on the strength of it."""


@dataclass(frozen=True, slots=True)
class Bastion:
    """Who this recoverd is to the others: of one state directory, whatever it is called."""

    id: str
    name: str


class Tenure(Protocol):
    """The ownership of a cluster among several bastions that take over from each other."""

    @property
    def holder(self) -> str:
        """Their common id on the machines: the lease there passes from one of them to the next at once."""
        ...

    @property
    def number(self) -> int:
        """It grows from one owner to the next; a machine that has seen one refuses what comes late of a lower one."""
        ...

    def lapsed(self) -> str:
        """Why this bastion may do nothing any more, for good; "" while it may."""
        ...


def this_bastion(state_dir: Path) -> Bastion:
    """The bastion of the state directory; its id is made at the first start and stays. Raises `OSError` when
    it can be neither read nor made.
    """
    file = state_dir / "bastion-id"
    try:
        id = file.read_text().strip()
    except FileNotFoundError:
        id = ""
    if not id.isalnum():
        id = secrets.token_hex(8)
        file.write_text(id + "\n")
    return Bastion(id, socket.gethostname())


def _since_boot() -> float:
    """Seconds, with those for which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseKeeper:
    """The lease of one cluster in one process. `clock` is one that nobody sets and that runs on
    while this machine is suspended.
    """

    def __init__(
        self, bastion: Bastion, clock: Callable[[], float] = _since_boot, tenure: Tenure | None = None
    ) -> None:
        self.bastion = Bastion(tenure.holder, bastion.name) if tenure else bastion
        self.tenure = tenure
        self.lease: Lease = Unknown("the control planes have not been asked yet")
        self._clock = clock
        self._fences: dict[str, int] = {}
        self._want = True
        self._process = secrets.token_hex(4)
        self._others: tuple[str, ...] = ()
        self._planes: frozenset[str] = frozenset()
        self._asked_at = clock()
        self._judged_at = clock() - SECONDS
        self._swept = asyncio.Event()

    def asked(self, plane: str) -> tuple[str, str, float, int, bool, str]:
        """What a look at the control plane is told.

        It is id, name, seconds, the fencing number known there (0: none), whether it is wanted, and what tells
        this process from a copy of it.
        """
        return self.bastion.id, self.bastion.name, SECONDS, self._fences.get(plane, 0), self._want, self._process

    def begin(self) -> None:
        """A sweep begins."""
        self._asked_at = self._clock()

    def take(self, planes: Mapping[str, HostLease | None]) -> Lease:
        """What the control planes said in the sweep; None is one that was not seen."""
        self._planes = frozenset(planes)
        for plane, said in planes.items():
            if said and said.mine:
                self._fences[plane] = said.fence
            elif said and said.holder != self.bastion.id:
                self._fences.pop(
                    plane, None
                )  # else a copy of this bastion holds it, and the number that is known here does not fit any more
        met = [
            name
            for said in planes.values()
            if said
            for name in (*said.others, "" if said.mine or said.holder == self.bastion.id else said.name)
        ]
        self._others = tuple(dict.fromkeys((*self._others, *filter(None, met))))
        before, self.lease = self.lease, judged(planes, self._others)
        idle, self._want = not self._want, wanted(planes, self.bastion.id, self.lease)
        if idle and isinstance(before, HeldBy) and isinstance(self.lease, Unknown):
            self.lease = HeldBy(
                before.name, 0.0
            )  # it has run out; the next look takes it, and until then it is nobody's
        self._judged_at = self._asked_at
        self._swept.set()
        return self.lease

    async def may_act(self, seconds: float) -> str:
        """Why nothing may be begun by what is known now; "" when it may be.

        After a time without sweeps (this process was stopped, or the machine slept) the next one
        is waited for, within `seconds`.
        """
        until = asyncio.get_running_loop().time() + seconds
        if self.tenure and (why := self.tenure.lapsed()):
            return why
        while self._clock() - self._judged_at > SECONDS - MARGIN:
            self._swept.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._swept.wait()
            except TimeoutError:
                return "who may act on this cluster was not seen for a while: no sweep has ended since"
        if self.tenure and (why := self.tenure.lapsed()):
            return why
        return f"the recoverd on {self.lease.name} acts on this cluster" if isinstance(self.lease, HeldBy) else ""

    def guard(self, host: str) -> Call | None:
        """What stands before a call that changes something on the host: it refuses, with nothing done, where
        another bastion holds the lease.

        Once another bastion was met here, it also refuses where this one's own lease is not there any more. Workers
        have no lease: for them counts what the control planes say. Of bastions that take over from each other, every
        machine refuses an earlier owner once a later one has looked at it.
        """
        fence, strict = self.terms(host)
        if self.tenure is None:
            return Call.of("lease_guard", self.bastion.id, fence, strict) if host in self._planes else None
        if why := self.tenure.lapsed():
            return Call.of("refuse", f"nothing was done: {why}")
        if host in self._planes:
            return Call.of("lease_guard", self.bastion.id, fence, strict, self.tenure.number)
        return Call.of("term_guard", self.bastion.id, self.tenure.number)

    def terms(self, host: str) -> tuple[int, bool]:
        """The fencing number that must stand there (0: any of this bastion's), and
        whether it must stand there at all.
        """
        fence = self._fences.get(host, 0)
        return fence, (bool(self._others) or self.tenure is not None) and fence != 0
