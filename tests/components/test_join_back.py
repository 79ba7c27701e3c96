"""The hand that takes a join back, on machines that answer as the test says: each write is journalled before it is
made, and the flag never stays.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from recoverd.act.join_back import TakeBackRunner
from recoverd.clients.hosts import CommandResult
from recoverd.engine.journal_file import JournalError
from recoverd.engine.writes import writing
from recoverd.model.call import Call
from recoverd.model.etcd import FORCE, EtcdView, MemberEntry
from recoverd.model.join_operations import ForceAlone, TakeBackJoin
from recoverd.model.plan import StepResult
from tests.unit.builders import Cluster

ADDRESS, PATH = "10.99.1.12", "/etc/kubernetes/manifests/etcd.yaml"
BEFORE, FLAGGED, FINAL = "- etcd # as it was\n", f"- etcd\n- {FORCE}\n", "- etcd\n"
NEVER = MemberEntry("f8d5635289df23d3", "", (f"https://{ADDRESS}:2380",))
WRITES = {
    "join_silence": "end etcd",
    "write_file": "the manifest",
    "join_delete_node": "delete the node",
    "join_clean": "clean",
}
OPERATION = TakeBackJoin(
    "cp2-label", "cp1", "cp2", ADDRESS, 1, ForceAlone(PATH, hashlib.sha256(BEFORE.encode()).hexdigest(), FLAGGED, FINAL)
)


class Killed(Exception):
    """The daemon ends here."""


@dataclass
class Site:
    """cp1, whose etcd has lost its quorum to a member on cp2 that never started."""

    manifest: str = BEFORE
    member: bool = True
    heals: bool = True
    """etcd acts on the flag."""
    journal: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    full: str = ""
    """What cannot be journalled."""
    kill: int | None = None
    """The write after which the daemon ends, counted from 0."""

    def guard(self, host: str) -> None:
        return None

    async def ask(self, host: str, call: Call, **how: Any) -> CommandResult:
        if call.function == "file_has":
            return self._result(call.arguments[1] in self.manifest)
        if call.function == "has_hash":
            return self._result(hashlib.sha256(self.manifest.encode()).hexdigest() == call.arguments[1])
        return self._result(True)

    async def act(self, host: str, call: Call, **how: Any) -> CommandResult:
        if call.function == "join_stop":
            return CommandResult(0, "begun\n", "", False)
        if call.function in WRITES:
            assert self.journal and WRITES[call.function] in self.journal[-1], f"{call.function} after {self.journal}"
            self.made.append(call.function)
        if call.function == "write_file":
            if hashlib.sha256(self.manifest.encode()).hexdigest() != call.arguments[2]:
                return CommandResult(3, "", "not as it was", False)
            self.manifest = call.arguments[-1]
            self.member = self.member and not (FORCE in self.manifest and self.heals)
        if call.function in WRITES and self.kill == len(self.made) - 1:
            self.kill = None
            raise Killed
        return self._result(True)

    async def standing(self, **how: Any) -> EtcdView:
        seen = Cluster(1).etcd_view("cp1")
        return replace(seen, members=(*seen.members, NEVER), leader="") if self.member else seen

    async def view(self, **how: Any) -> EtcdView:
        return await self.standing()

    async def scribe(self, what: str, result: StepResult | None) -> None:
        if result is None and self.full and self.full in what:
            raise JournalError("database or disk is full")
        self.journal += [] if result else [what]

    async def take_back(self) -> StepResult:
        async def ready(until: float) -> StepResult:
            return StepResult(True, "ready")

        with writing(self.scribe):
            return await TakeBackRunner(OPERATION, self, self, ready, asyncio.get_running_loop().time() + 100).perform()  # type: ignore[arg-type]

    @staticmethod
    def _result(well: bool) -> CommandResult:
        return CommandResult(0 if well else 1, "", "", False)


async def test_by_force_each_write_is_in_the_journal_before_it_is_made() -> None:
    site = Site()
    result = await site.take_back()
    assert result.ok, result.detail
    assert (site.manifest, site.member) == (FINAL, False)
    assert site.made == ["join_silence", "write_file", "write_file", "join_delete_node", "join_clean"]


@pytest.mark.parametrize("kill", range(5))
async def test_ended_after_any_write_the_next_one_goes_on_and_forces_nothing_twice(kill: int) -> None:
    site = Site(kill=kill)
    with pytest.raises(Killed):
        await site.take_back()
    result = await site.take_back()
    assert result.ok, result.detail
    assert (site.manifest, site.member) == (FINAL, False)
    assert site.made.count("write_file") == 2


async def test_a_flag_that_etcd_does_not_act_on_comes_out_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recoverd.playbooks.take_back.ALONE_SECONDS", 1.0)
    site = Site(heals=False)
    result = await site.take_back()
    assert not result.ok and "was not cleaned" in result.detail and site.manifest == FINAL


@pytest.mark.parametrize(("full", "left"), [("end etcd", BEFORE), ("put", BEFORE), ("clean", FINAL)])
async def test_what_cannot_be_journalled_is_not_written(full: str, left: str) -> None:
    site = Site(full=full)
    result = await site.take_back()
    assert not result.ok and "could not be journalled" in result.detail and site.manifest == left


async def test_somebody_elses_manifest_is_neither_flagged_nor_put_back() -> None:
    site = Site(manifest="- etcd # by a person\n")
    result = await site.take_back()
    assert not result.ok and "not as it was" in result.detail and site.manifest == "- etcd # by a person\n"
