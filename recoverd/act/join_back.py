"""Taking a join back: member out of etcd first, then the API server, and the new machine last.

What is done to etcd is chosen by `recoverd.playbooks.take_back` after each look; here it is looked at and carried
out, each write journalled before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from recoverd.act.api import await_api
from recoverd.act.carry import Carry, hand
from recoverd.act.etcd import await_etcd, remove_member
from recoverd.act.host import HostRunner
from recoverd.act.join import POLL_SECONDS, VIEW_SECONDS, cleared, forget
from recoverd.clients.etcd import EtcdClient, EtcdUnseen
from recoverd.clients.hosts import CommandResult, HostPool, HostUnseen
from recoverd.engine.progress import report
from recoverd.engine.writes import journalled
from recoverd.model.bastion_operations import AwaitEtcd, RemoveMember
from recoverd.model.call import Call
from recoverd.model.etcd import FORCE
from recoverd.model.join_operations import TakeBackJoin
from recoverd.model.operations import WriteFile
from recoverd.model.plan import Step, StepResult
from recoverd.model.unit_operations import AwaitFlag, Unstick
from recoverd.playbooks.take_back import Force, Look, Looks, Nothing, Remove, Seen, Silence, Stop, choose

REFUSED = 3
"""The exit status of a script whose guard found that another bastion acts."""
ASK_SECONDS = 5.0
STOP_SECONDS, SILENCE_SECONDS = 6.0, 20.0
TRIES = 3
"""For what is asked of the new machine: one that is busy may be late once."""
CLEAN_SECONDS = 120.0
"""kubeadm reset has 60 s of them (`join_clean` in recoverd/shell/join.sh)."""


class Stuck(Exception):  # noqa: N818
    """It cannot be taken back further; the text says what state it left and what to do."""


class TakeBackRunner:
    """One taking back. `until` is in the event loop's time; `await_api` waits for the
    source's API server until a moment.
    """

    def __init__(
        self,
        operation: TakeBackJoin,
        hosts: HostPool,
        etcd: EtcdClient,
        await_api: Callable[[float], Awaitable[StepResult]],
        until: float,
    ) -> None:
        self._it = operation
        self._hosts = hosts
        self._etcd = etcd
        self._await_api = await_api
        self._until = until
        self._began = asyncio.get_running_loop().time()
        self._done: list[str] = []

    async def perform(self) -> StepResult:
        result = await self._perform()
        left = await forget(self._hosts, self._it.source, self._it.label)
        return replace(result, detail=f"{result.detail}; {left}") if left else result

    async def _perform(self) -> StepResult:
        try:
            begun = await self._stop()
            if begun is False:
                return StepResult(True, f"nothing of this join had been begun on {self._it.name}", already_done=True)
            await self._out_of_etcd(reachable=begun is True)
            await self._api()
            await self._delete_node()
            await self._clean()
        except Stuck as stuck:
            before = f"done: {'; '.join(self._done)}. " if self._done else ""
            return StepResult(False, f"{before}{stuck}")
        return StepResult(True, "; ".join(self._done))

    async def _stop(self) -> bool | None:
        """End kubeadm on the new machine. False: this join has never begun there, and what is there is somebody
        else's; None: it does not answer.
        """
        self._tell("ending kubeadm join")
        why = ""
        for _ in range(TRIES):
            try:
                result = await self._act(self._it.name, Call.of("join_stop", self._it.label), STOP_SECONDS)
            except HostUnseen as unseen:
                why = str(unseen)
                continue
            if result.exit_status == REFUSED:
                raise Stuck(
                    f"{cleared(result.stderr.strip()[-300:])}. kubeadm join may be at work on {self._it.name}: "
                    "ask the bastion that acts"
                )
            return result.stdout.strip().endswith("begun")
        self._done.append(f"{self._it.name} could not be asked: {why}")
        return None

    async def _out_of_etcd(self, reachable: bool) -> None:
        """Look, and do what `choose` says of it, until the member of this join is out."""
        it, looks = self._it, Looks(self._clock())
        while True:
            seen = await self._look(looks, reachable)
            choice = choose(it, seen)
            match choice:
                case Look():
                    await asyncio.sleep(POLL_SECONDS)
                case Silence():
                    await self._silence()
                    looks.silenced = True
                case Stop(reason=reason):
                    raise Stuck(reason)
                case Nothing(waits=waits):
                    await self._waited(waits)
                    self._done.append(f"etcd on {it.source} has no member at {it.address}")
                    return
                case Remove():
                    await self._still_mine(it.source)
                    result = await self._carried(choice.via)
                    if not result.ok:
                        raise Stuck(
                            f"{result.detail}. {it.name} was not cleaned, since it may be a voter: take its member "
                            "out, then `kubeadm reset` there"
                        )
                    self._done.append(result.detail)
                    return
                case Force():
                    await self._forced(choice)
                    mute = (
                        ", which had lost its quorum and told nothing any more,"
                        if seen.view is None and not seen.flagged
                        else ""
                    )
                    self._done.append(f"etcd on {it.source}{mute} is a cluster of its own again")
                    return

    async def _look(self, looks: Looks, reachable: bool) -> Seen:
        """The source's own words, which it has without quorum, too; and whether its manifest holds the flag already."""
        try:
            view, why = await self._etcd.standing(timeout=VIEW_SECONDS), ""
        except EtcdUnseen as error:
            view, why = None, str(error)
        flagged = await self._flagged()
        return looks.seen(self._clock(), view, why, reachable=reachable, flagged=flagged)

    # --- the lease ---

    async def _act(self, name: str, call: Call, seconds: float) -> CommandResult:
        """A call that changes something on a machine: it does nothing where another
        bastion has come to act meanwhile.
        """
        if name != self._it.source:
            await self._still_mine(name)
        return await self._hosts.act(name, call, timeout=seconds)

    async def _still_mine(self, name: str) -> None:
        """The new machine may have no lease of its own yet, and etcd none at all: for these the source's
        counts, asked at the last moment.
        """
        if (guard := self._hosts.guard(self._it.source)) is None:
            return
        why = ""
        for _ in range(TRIES):
            try:
                asked = await self._hosts.ask(self._it.source, guard, timeout=ASK_SECONDS)
            except HostUnseen as unseen:
                why = str(unseen)
                continue
            if asked.exit_status == 0:
                return
            raise Stuck(
                f"{cleared(asked.stderr.strip()[-300:])}. {name} is left as it is: look at it where that bastion acts"
            )
        raise Stuck(
            f"whether this bastion still acts on the cluster cannot be asked of {self._it.source} ({why}), "
            f"so {name} is left as it is"
        )

    # --- by force ---

    async def _flagged(self) -> bool:
        if (force := self._it.force) is None:
            return False
        try:
            check = await self._hosts.ask(self._it.source, Call.of("file_has", force.path, FORCE), timeout=ASK_SECONDS)
        except HostUnseen:
            return False  # then it is asked by what writes the manifest, which refuses where it is not as it was
        return check.exit_status == 0

    async def _forced(self, choice: Force) -> None:
        """A flag that was proven not to be put in needs no way out; whatever else comes of it, it comes out."""
        put_in = [await self._carried(step) for step in choice.into if not step.looks]
        if refused := next((r for r in put_in if r.untouched and not r.ok), None):
            raise self._stuck(refused)
        take_out, *rest = choice.out
        try:
            if failed := next((r for r in put_in if not r.ok), None):
                raise self._stuck(failed)
            await self._waited([s for s in choice.into if s.looks])
        finally:
            await self._ok(self._carried(take_out, always=True))
        await self._waited(rest)

    async def _waited(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self._tell(step.description)
            await self._ok(self._carried(step))

    async def _carried(self, step: Step, *, always: bool = False) -> StepResult:
        """One of the operations that the choice is made of; each that changes something is journalled."""
        operation, host, etcd = step.operation, step.host, self._etcd

        async def work() -> StepResult:
            until = self._clock() + step.timeout
            if isinstance(operation, RemoveMember):
                return await remove_member(operation, etcd, host, until)
            if isinstance(operation, AwaitEtcd):
                return await await_etcd(operation, etcd, host, until)
            assert isinstance(operation, WriteFile | AwaitFlag | Unstick), operation
            return await HostRunner(self._hosts, host).perform(operation, until, resume=False)

        return await work() if step.looks else await journalled(step.description, work, always=always)

    async def _silence(self) -> None:
        """End etcd on the new machine, or go no further: alive, it would disturb what is done on the source."""
        await self._ok(journalled(f"end etcd on {self._it.name}", self._silenced))

    async def _silenced(self) -> StepResult:
        why = ""
        for _ in range(TRIES):
            try:
                result = await self._act(self._it.name, Call.of("join_silence", self._it.label), SILENCE_SECONDS)
            except HostUnseen as unseen:
                why = str(unseen)
                continue
            if result.exit_status == 0:
                return StepResult(True, "ended")
            why = result.stderr.strip()[-200:]
        return StepResult(
            False,
            f"etcd on {self._it.name} could not be ended: {why}. End it there (its manifest out of "
            "/etc/kubernetes/manifests)",
        )

    async def _ok(self, work: Awaitable[StepResult]) -> None:
        result = await work
        if not result.ok:
            raise self._stuck(result)

    def _stuck(self, result: StepResult) -> Stuck:
        return Stuck(f"{result.detail}. {self._it.name} was not cleaned")

    # --- afterwards ---

    async def _api(self) -> None:
        it = self._it
        self._tell(f"waiting for the API server on {it.source}")
        await self._ok(
            self._carried(Step(it.source, f"unstick the API server on {it.source}", Unstick("kube-apiserver"), 60.0))
        )
        await self._ok(self._carried(Step(it.source, "see etcd as it was", AwaitEtcd(members=it.members), 60.0)))
        result = await self._await_api(min(self._until, self._clock() + 120.0))
        if not result.ok:
            raise Stuck(f"{result.detail}. {it.name} was not cleaned")
        self._done.append(
            f"the API server on {it.source} is ready {self._clock() - self._began:.0f} s after the taking back began"
        )

    async def _clean(self) -> None:
        """Make the machine as it was: its member is out, so nothing on it counts any more."""
        self._tell(f"cleaning {self._it.name}")
        result = await journalled(f"clean {self._it.name}", self._cleaned)
        if not result.ok:
            raise Stuck(
                f"{self._it.name} is out of etcd and could not be cleaned: {result.detail}; `kubeadm reset -f` there"
            )
        self._done.append(f"{self._it.name} is clean ({result.detail})")

    async def _cleaned(self) -> StepResult:
        it = self._it
        try:
            result = await self._act(it.name, Call.of("join_clean", it.label), CLEAN_SECONDS)
        except HostUnseen as unseen:
            return StepResult(False, str(unseen))
        if result.exit_status != 0:
            return StepResult(False, cleared(result.stderr.strip()[-300:]))
        return StepResult(True, result.stdout.strip().splitlines()[-1] if result.stdout.strip() else "nothing was said")

    async def _delete_node(self) -> None:
        """Once its kubelet has ended, which would register it again; before the mark goes, so that an
        interrupted one is done again.
        """
        name = self._it.name
        what = f"end kubelet on {name}" + ("" if self._it.keeps_node else f" and delete the node {name}")
        gone = await journalled(what, self._deleted)
        if not gone.ok:
            self._done.append(f"the node {name} could not be deleted ({gone.detail}): kubectl delete node {name}")

    async def _deleted(self) -> StepResult:
        it = self._it
        with suppress(HostUnseen):
            await self._act(it.name, Call.of("stop_kubelet"), 25.0)
        if it.keeps_node:
            return StepResult(True, "ended")
        try:
            gone = await self._act(it.source, Call.of("join_delete_node", it.name), 70.0)
        except HostUnseen as unseen:
            return StepResult(False, str(unseen))
        return StepResult(gone.exit_status == 0, " ".join(gone.stderr.split())[:200] if gone.exit_status else "deleted")

    def _tell(self, what: str) -> None:
        report(f"{self._it.name}: {what}", self._clock() - self._began)

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()


async def _take_back(operation: TakeBackJoin, at: Carry) -> StepResult:
    reach, source = at.reach, operation.source

    async def ready(until: float) -> StepResult:
        port = reach.hosts.places_of(source).api
        address = reach.addresses.get(source, "")
        return await await_api(reach.cluster.kubeconfig, reach.hosts, source, address, until, port=port)

    return await TakeBackRunner(operation, reach.hosts, reach.etcd(source), ready, at.until).perform()


hand(TakeBackJoin)(_take_back)
