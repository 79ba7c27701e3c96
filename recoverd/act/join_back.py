"""Taking a join back: member out of etcd first, by force where one member has lost its quorum, then the API server, and the new machine last."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from recoverd.act.api import await_api
from recoverd.act.carry import Carry, hand
from recoverd.act.etcd import await_etcd, remove_member
from recoverd.act.host import HostRunner
from recoverd.act.join import POLL_SECONDS, VIEW_SECONDS, cleared, forget, listed
from recoverd.clients.etcd import EtcdClient, EtcdUnseen
from recoverd.clients.hosts import CommandResult, HostPool, HostUnseen
from recoverd.engine.progress import report
from recoverd.model.bastion_operations import AwaitEtcd, RemoveMember
from recoverd.model.call import Call
from recoverd.model.etcd import FORCE, EtcdView, MemberEntry
from recoverd.model.join_operations import TakeBackJoin
from recoverd.model.operations import WriteFile
from recoverd.model.plan import StepResult
from recoverd.model.unit_operations import AwaitFlag, Unstick

REFUSED = 3
"""The exit status of a script whose guard found that another bastion acts."""
ASK_SECONDS = 5.0
LOOK_SECONDS = 60.0
"""To be told the member list; it is served without quorum."""
MUTE_SECONDS = 15.0
"""A member that was restarted without quorum listens and tells nothing (observed on 3.4); then what was before the join has to do."""
LEADER_SECONDS = 4.0
"""Without a leader for so long, while it should have one, quorum is lost: an election takes a second or two."""
REMOVE_SECONDS = 20.0
STOP_SECONDS = 6.0
TRIES = 3
"""For what is asked of the new machine: one that is busy may be late once."""
CLEAN_SECONDS = 120.0
"""kubeadm reset has 60 s of them (`join_clean` in recoverd/shell/join.sh)."""


class Stuck(Exception):  # noqa: N818
    """It cannot be taken back further; the text says what state it left and what to do."""


class TakeBackRunner:
    """One taking back. `until` is in the event loop's time; `await_api` waits for the source's API server until a moment."""

    def __init__(
        self, operation: TakeBackJoin, hosts: HostPool, etcd: EtcdClient, await_api: Callable[[float], Awaitable[StepResult]], until: float
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
        """End kubeadm on the new machine. False: this join has never begun there, and what is there is somebody else's; None: it does not answer."""
        self._tell("ending kubeadm join")
        why = ""
        for _ in range(TRIES):
            try:
                result = await self._act(self._it.name, Call.of("join_stop", self._it.label), STOP_SECONDS)
            except HostUnseen as unseen:
                why = str(unseen)
                continue
            if result.exit_status == REFUSED:
                raise Stuck(f"{cleared(result.stderr.strip()[-300:])}. kubeadm join may be at work on {self._it.name}: ask the bastion that acts")
            return result.stdout.strip().endswith("begun")
        self._done.append(f"{self._it.name} could not be asked: {why}")
        return None

    async def _out_of_etcd(self, reachable: bool) -> None:
        it = self._it
        looked = await self._look(reachable)
        if looked is None:
            await self._silence()
            await self._forced()
            self._done.append(f"etcd on {it.source}, which had lost its quorum and told nothing any more, is a cluster of its own again")
            return
        view, entry = looked
        if entry is None and (view.has_leader or await self._has_leader(LEADER_SECONDS)):
            self._done.append(f"etcd on {it.source} has no member at {it.address}")
            if it.force:
                await self._forced()  # of an interrupted one, what is left to do
            return
        if entry is not None and entry.started and not reachable:
            raise Stuck(f"{it.name} does not answer, and its member has started; take it out by hand when it is clear what became of {it.name}")
        if entry is not None and not entry.started and reachable:
            # it may start at any moment, and would then take part in what is done now
            await self._silence()
        # of two voters, one of which never started and cannot any more, nobody can be elected
        hopeless = entry is not None and not entry.started and reachable and len(view.voters) == 2
        if await self._has_leader(0.0 if hopeless else LEADER_SECONDS):
            await self._still_mine(it.source)
            result = await remove_member(RemoveMember(self._entry(entry).id), self._etcd, it.source, self._clock() + REMOVE_SECONDS)
            if not result.ok:
                raise Stuck(f"{result.detail}. {it.name} was not cleaned, since it may be a voter: take its member out, then `kubeadm reset` there")
            self._done.append(result.detail)
            return
        if it.force is None:
            raise Stuck(
                f"etcd on {it.source} has no leader and no member can be removed; {it.name} was not cleaned. Make its etcd reach its peers on "
                "port 2380, or approve the plan force-new-cluster that recoverd offers"
            )
        if reachable and entry is not None and entry.started:
            await self._silence()
        await self._forced()
        self._done.append(f"etcd on {it.source} is a cluster of its own again")

    @staticmethod
    def _entry(entry: MemberEntry | None) -> MemberEntry:
        if entry is None:
            raise Stuck("etcd has no leader, though the new member is not listed; look at the other members")
        return entry

    async def _look(self, reachable: bool) -> tuple[EtcdView, MemberEntry | None] | None:
        """The source's own words, which it has without quorum, too. None: it has been mute for long, and may be forced for what was before.

        That takes that it was alone before the join, and that the new machine can be kept from taking part.
        """
        began, unseen = self._clock(), ""
        while self._clock() < began + LOOK_SECONDS:
            if self._it.force and reachable and self._clock() > began + MUTE_SECONDS:
                return None
            try:
                view = await self._etcd.standing(timeout=VIEW_SECONDS)
            except EtcdUnseen as error:
                unseen = str(error)
                if self._it.force and await self._begun():
                    # an interrupted one: etcd is just being restarted by its own manifest
                    await self._forced()
                await asyncio.sleep(POLL_SECONDS)
                continue
            return view, listed(view, self._it.address)
        raise Stuck(f"the member list cannot be read: {unseen}. {self._it.name} was not cleaned; look at etcd on {self._it.source}")

    async def _has_leader(self, seconds: float) -> bool:
        end = self._clock() + seconds
        while True:
            try:
                view = await self._etcd.standing(timeout=VIEW_SECONDS)
                if view.has_leader and view.healthy:
                    return True
            except EtcdUnseen:
                pass
            if self._clock() >= end:
                return False
            await asyncio.sleep(POLL_SECONDS)

    # --- the lease ---

    async def _act(self, name: str, call: Call, seconds: float) -> CommandResult:
        """A call that changes something on a machine: it does nothing where another bastion has come to act meanwhile."""
        if name != self._it.source:
            await self._still_mine(name)
        return await self._hosts.act(name, call, timeout=seconds)

    async def _still_mine(self, name: str) -> None:
        """The new machine may have no lease of its own yet, and etcd none at all: for these the source's counts, asked at the last moment."""
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
            raise Stuck(f"{cleared(asked.stderr.strip()[-300:])}. {name} is left as it is: look at it where that bastion acts")
        raise Stuck(f"whether this bastion still acts on the cluster cannot be asked of {self._it.source} ({why}), so {name} is left as it is")

    # --- by force ---

    async def _begun(self) -> bool:
        force = self._it.force
        assert force is not None
        try:
            check = await self._hosts.ask(self._it.source, Call.of("file_has", force.path, FORCE), timeout=5.0)
        except HostUnseen:
            return False
        return check.exit_status == 0

    async def _forced(self) -> None:
        """The flag in, etcd healthy and alone, the flag out again, etcd healthy; each is skipped where it has been done."""
        it, force = self._it, self._it.force
        assert force is not None
        flagged = WriteFile(force.path, force.flagged, _sha256(force.flagged), before=force.before)
        final = WriteFile(force.path, force.final, _sha256(force.final), before=flagged.sha256)
        view_alone = AwaitEtcd(members=1)
        begun = await self._begun()
        if not begun and (await self._alone()):
            return
        if not begun:
            self._tell(f"putting {FORCE} into the manifest of etcd on {it.source}")
            await self._host(flagged, 20.0)
        try:
            self._tell(f"waiting for etcd on {it.source} to be alone")
            await self._ok(await_etcd(view_alone, self._etcd, it.source, self._clock() + 60.0))
        finally:
            # the flag must never stay
            await self._host(final, 20.0)
        await self._host(AwaitFlag("etcd", FORCE, present=False, seconds=60), 75.0)
        await self._ok(await_etcd(view_alone, self._etcd, it.source, self._clock() + 60.0))

    async def _alone(self) -> bool:
        try:
            view = await self._etcd.standing(timeout=VIEW_SECONDS)
        except EtcdUnseen:
            return False
        return view.has_leader and len(view.members) == 1

    async def _silence(self) -> None:
        """End etcd on the new machine, or go no further: alive, it would disturb what is done on the source."""
        why = ""
        for _ in range(TRIES):
            try:
                result = await self._act(self._it.name, Call.of("join_silence", self._it.label), 20.0)
            except HostUnseen as unseen:
                why = str(unseen)
                continue
            if result.exit_status == 0:
                return
            why = result.stderr.strip()[-200:]
        raise Stuck(f"etcd on {self._it.name} could not be ended: {why}. End it there (its manifest out of /etc/kubernetes/manifests)")

    async def _host(self, operation: WriteFile | AwaitFlag | Unstick, seconds: float) -> None:
        await self._ok(HostRunner(self._hosts, self._it.source).perform(operation, self._clock() + seconds, resume=False))

    async def _ok(self, work: Awaitable[StepResult]) -> None:
        result = await work
        if not result.ok:
            raise Stuck(f"{result.detail}. {self._it.name} was not cleaned")

    # --- afterwards ---

    async def _api(self) -> None:
        it = self._it
        self._tell(f"waiting for the API server on {it.source}")
        await self._host(Unstick("kube-apiserver"), 60.0)
        await self._ok(await_etcd(AwaitEtcd(members=it.members), self._etcd, it.source, self._clock() + 60.0))
        result = await self._await_api(min(self._until, self._clock() + 120.0))
        if not result.ok:
            raise Stuck(f"{result.detail}. {it.name} was not cleaned")
        self._done.append(f"the API server on {it.source} is ready {self._clock() - self._began:.0f} s after the taking back began")

    async def _clean(self) -> None:
        """Make the machine as it was: its member is out, so nothing on it counts any more."""
        it = self._it
        self._tell(f"cleaning {it.name}")
        try:
            result = await self._act(it.name, Call.of("join_clean", it.label), CLEAN_SECONDS)
        except HostUnseen as unseen:
            raise Stuck(f"{it.name} is out of etcd and could not be cleaned: {unseen}; `kubeadm reset -f` there") from None
        if result.exit_status != 0:
            raise Stuck(f"{it.name} is out of etcd and could not be cleaned: {cleared(result.stderr.strip()[-300:])}; `kubeadm reset -f` there")
        self._done.append(f"{it.name} is clean ({result.stdout.strip().splitlines()[-1] if result.stdout.strip() else 'nothing was said'})")

    async def _delete_node(self) -> None:
        """Once its kubelet has ended, which would register it again; before the mark goes, so that an interrupted one is done again."""
        it = self._it
        with suppress(HostUnseen):
            await self._act(it.name, Call.of("stop_kubelet"), 25.0)
        try:
            gone = await self._act(it.source, Call.of("join_delete_node", it.name), 70.0)
        except HostUnseen as unseen:
            self._done.append(f"the node {it.name} could not be deleted ({unseen}): kubectl delete node {it.name}")
            return
        if gone.exit_status != 0:
            self._done.append(f"the node {it.name} could not be deleted ({' '.join(gone.stderr.split())[:200]}): kubectl delete node {it.name}")

    def _tell(self, what: str) -> None:
        report(f"{self._it.name}: {what}", self._clock() - self._began)

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def _take_back(operation: TakeBackJoin, at: Carry) -> StepResult:
    reach, source = at.reach, operation.source

    async def ready(until: float) -> StepResult:
        return await await_api(reach.cluster.kubeconfig, reach.hosts, source, reach.addresses.get(source, ""), until)

    return await TakeBackRunner(operation, reach.hosts, reach.etcd(source), ready, at.until).perform()


hand(TakeBackJoin)(_take_back)
