"""One operation on one host: check, do, verify."""

from __future__ import annotations

import asyncio
from enum import Enum

from tenacity import AsyncRetrying, RetryError, retry_if_result, wait_fixed

from recoverd.act.begin import begin
from recoverd.act.carry import hand
from recoverd.act.until import stop_at
from recoverd.clients.hosts import CommandResult, HostPool, HostUnseen
from recoverd.model.call import Call
from recoverd.model.node_operations import Reboot
from recoverd.model.operations import HostOperation, kinds_of
from recoverd.model.pki_operations import RenewWorkerClient
from recoverd.model.plan import StepResult

CHECK_SECONDS = 5.0
"""For one check; and how long past the step's own deadline its outcome is still asked for."""
RETRY_SECONDS = 0.5
TAIL_LINES = 5
GUARD_STATUS = 3
"""Exit status with which an operation refuses before it has changed anything."""


class CheckResult(Enum):
    """What a check came to."""

    DONE = "done"
    NOT_DONE = "not done"
    UNSEEN = "unseen"


class HostRunner:
    """Carries out host operations on one host. `until` is in the event loop's time."""

    def __init__(self, hosts: HostPool, host: str) -> None:
        self._hosts = hosts
        self._host = host
        self._unseen = ""
        """Why the newest check was not answered."""

    async def perform(self, operation: HostOperation, until: float, *, resume: bool, ask: bool = False) -> StepResult:
        """`resume`: it may have run before, so its check is asked first. `ask`: that alone, and what
        is not done is told as `undone`.
        """
        name = operation.title
        if resume and (settled := await self.resumed(operation, name, until)):
            return settled
        if ask:
            return StepResult(False, f"{name} on {self._host} has not been done yet", undone=True)
        try:
            result = await begin(self._hosts, self._host, operation.call(), until)
        except HostUnseen as unseen:
            if unseen.sent:
                return await self._interrupted(operation, name, until, unseen)
            what = (
                f"{name} on {self._host} was not begun: {unseen}. Nothing was changed; make the "
                "host reachable for recoverd"
            )
            return StepResult(False, what, untouched=True)
        if result.exit_status != 0:
            return StepResult(False, self._failed(name, result), untouched=result.exit_status == GUARD_STATUS)
        return await self._verified(operation, name, until, result)

    async def asked(self, operation: Reboot, until: float) -> StepResult:
        """Whether it has been done, by its check; nothing is run. A machine that cannot be reached may be on
        its way down: what follows tells.
        """
        settled = await self.resumed(operation, f"the reboot of {self._host}", until)
        if settled and settled.uncertain:
            what = (
                f"{self._host} cannot be reached ({self._unseen}): it may be going down; whether it comes back in "
                "another boot is waited for"
            )
            return StepResult(True, what, already_done=True)
        return settled or StepResult(False, f"{self._host} has not been asked to reboot yet", undone=True)

    async def resumed(
        self, operation: HostOperation | Reboot | RenewWorkerClient, name: str, until: float
    ) -> StepResult | None:
        """What the check says of an operation that may have run before; None when it is to be run (again)."""
        check = operation.check()
        answer = await self._check_until(check, until, wait_for_done=False) if check else CheckResult.NOT_DONE
        if answer is CheckResult.DONE:
            return StepResult(True, f"{name} on {self._host} had been done already", already_done=True)
        if answer is CheckResult.UNSEEN:
            what = (
                f"whether {name} on {self._host} was done cannot be told: {self._unseen}. Look "
                "there before anything else"
            )
            return StepResult(False, what, uncertain=True)
        if not operation.repeatable:
            what = (
                f"{name} on {self._host} may have run, its effect is not there, and running it twice may do "
                f"harm. Look at {self._host}"
            )
            return StepResult(False, what, uncertain=True)
        return None

    async def _interrupted(self, operation: HostOperation, name: str, until: float, unseen: HostUnseen) -> StepResult:
        """The command may be at work still, or may never have begun: its check is asked until the step's deadline."""
        check = operation.check()
        if check is None:
            return StepResult(
                False,
                f"{name} on {self._host} may or may not have been done: {unseen}. Look there before anything else",
                uncertain=True,
            )
        answer = await self._check_until(check, until, wait_for_done=True)
        if answer is CheckResult.DONE:
            return StepResult(True, f"{name} on {self._host} is done, as its check says ({unseen})")
        if answer is CheckResult.NOT_DONE:
            return StepResult(
                False,
                f"{name} on {self._host} did not come about: {unseen}; its check says that it is not "
                f"done. Look at {self._host}",
            )
        what = (
            f"{name} on {self._host} may or may not have been done: {unseen}; afterwards: {self._unseen}. Look "
            "there before anything else"
        )
        return StepResult(False, what, uncertain=True)

    async def _verified(self, operation: HostOperation, name: str, until: float, result: CommandResult) -> StepResult:
        check = operation.check()
        answer = await self._check_until(check, until, wait_for_done=False) if check else CheckResult.DONE
        said = tail(result.stdout, 1)
        if answer is CheckResult.DONE:
            return StepResult(True, f"{name} on {self._host}: done{f' ({said})' if said else ''}")
        if answer is CheckResult.UNSEEN:
            return StepResult(
                True, f"{name} on {self._host} ended well; looking at it afterwards failed: {self._unseen}"
            )
        return StepResult(
            False,
            f"{name} on {self._host} ended well, and yet its effect is not there: something took it back at "
            f"once. Look at {self._host}",
        )

    async def _check_until(self, check: Call, until: float, *, wait_for_done: bool) -> CheckResult:
        """Ask the check until it is answered (or, `wait_for_done`, until it says done); what it
        said last, when the time is over.
        """
        unsettled = (CheckResult.UNSEEN, CheckResult.NOT_DONE) if wait_for_done else (CheckResult.UNSEEN,)
        retrying = AsyncRetrying(
            retry=retry_if_result(lambda answer: answer in unsettled),
            wait=wait_fixed(RETRY_SECONDS),
            stop=stop_at(until),
            sleep=asyncio.sleep,
        )
        try:
            answer: CheckResult = await retrying(self._ask, check)
        except RetryError as over:
            answer = over.last_attempt.result()
        return answer

    async def _ask(self, check: Call) -> CheckResult:
        try:
            result = await self._hosts.ask(self._host, check, timeout=CHECK_SECONDS)
        except HostUnseen as unseen:
            self._unseen = str(unseen)
            return CheckResult.UNSEEN
        return CheckResult.DONE if result.exit_status == 0 else CheckResult.NOT_DONE

    def _failed(self, name: str, result: CommandResult) -> str:
        how = (
            f"ended with status {result.exit_status}"
            if result.exit_status is not None
            else "was ended by a signal or wrote without end"
        )
        said = tail(result.stderr, TAIL_LINES) or tail(result.stdout, TAIL_LINES) or "it said nothing"
        state = (
            "it refused before changing anything"
            if result.exit_status == GUARD_STATUS
            else f"look at {self._host} for what it left"
        )
        return f"{name} on {self._host} {how}: {said}; {state}"


def tail(text: str, lines: int) -> str:
    """So many last lines in one, as a failure tells them; "" where there are none."""
    return " / ".join(line.strip()[:300] for line in text.strip().splitlines()[-lines:])


hand(*kinds_of(HostOperation))(
    lambda o, at: HostRunner(at.reach.hosts, at.host).perform(o, at.until, resume=at.resume, ask=at.ask)
)
