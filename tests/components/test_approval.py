"""`recoverctl approve` at a terminal and in a script: a real recoverctl in a real terminal,
against the real control socket.
"""

from __future__ import annotations

import asyncio
import errno
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recoverd.control.protocol import IncidentReport
from recoverd.control.server import ControlServer
from recoverd.engine.journal_rows import Newest
from recoverd.model.audit import AuditEntry
from recoverd.model.events import Refused
from recoverd.model.operations import MovePath
from recoverd.model.plan import Plan, PlanStatus, Step
from recoverd.model.unit_operations import RestartUnit

PLAN = Plan(
    id="prod-1.1",
    incident="prod-1",
    cluster="prod",
    playbook="force-new-cluster",
    summary="make cp1 a one-member etcd cluster",
    destructive=True,
    automatic=False,
    status=PlanStatus.AWAITING_APPROVAL,
    created_at=datetime(2026, 3, 5, 19, 10, tzinfo=UTC),
    expires_at=datetime(2036, 3, 5, 19, 10, tzinfo=UTC),
    evidence=tuple(f"line {n} of evidence" for n in range(20)),
    destroys=("every write that only cp2 has",),
    undo=("none by itself",),
    basis=(),
    resolves=(),
    steps=tuple(
        Step(h, f"stop etcd on {h}: its manifest goes aside", MovePath("/a/etcd.yaml", "/b/etcd.yaml"), 20.0)
        for h in ("cp1", "cp2", "cp3")
    ),
    verify_within=60.0,
    deadline=900.0,
)
HARMLESS = replace(
    PLAN,
    destructive=False,
    destroys=(),
    playbook="restart-node-agents",
    steps=(Step("w1", "restart kubelet", RestartUnit("kubelet"), 30.0),),
)


@dataclass
class Daemon:
    """What the control socket asks, with one plan."""

    plan: Plan = PLAN
    approved: list[str] = field(default_factory=list)
    ends: PlanStatus = PlanStatus.SUCCEEDED
    blind: int = 0
    """So many sweeps yet do not see what the plan is for."""
    seen: bool = True
    """False: and from then on it is seen to be gone."""

    async def plans(self, *, all: bool, of: str = "", limit: int | None = None) -> Newest[Plan]:
        if of not in ("", self.plan.id):
            raise Refused(f"there is no plan {of}", missing=True)
        plan = self.plan
        if self.approved:  # it is over when it is looked at once more
            self.plan = self.plan.with_status(self.ends, "as the test has it")
        return Newest([plan])

    async def approve(
        self, plan: str, by: str, reason: str, digest: str, *, person: int | None, emergency: bool
    ) -> str:
        if digest != self.plan.digest:
            raise Refused(f"not {digest}")
        if self.blind:
            self.blind -= 1
            raise Refused("cp2 is not seen just now", passing=True)
        if not self.seen:
            raise Refused("the newest sweep does not see it any more")
        self.approved.append(reason)
        return f"plan {plan} approved"

    async def record(self, entry: AuditEntry) -> None:
        pass

    async def report(self, incident: str) -> IncidentReport:
        raise Refused(f"there is no incident {incident}", missing=True)

    def dump(self, cluster: str) -> Any:
        raise Refused("not swept yet")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    asked = Daemon()
    server = ControlServer(asked, tmp_path / "sock")  # type: ignore[arg-type]
    await server.start()
    yield asked
    await server.stop()


async def ctl(tmp_path: Path, *words: str, types: str | None = None) -> tuple[int, str]:
    """Exit code and all that was printed; `types`: at a terminal of 24 lines, what is typed at its prompt, `^C` to
    interrupt it there.
    """
    command = [sys.executable, "-m", "recoverd.cli.ctl", "--socket", str(tmp_path / "sock"), *words]
    if types is None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()
    main, side = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "COLUMNS": "80", "LINES": "24"}
    process = await asyncio.create_subprocess_exec(*command, stdin=side, stdout=side, stderr=side, env=environment)
    os.close(side)
    try:
        told = await dialogue(process, main, types)
        return await process.wait(), told.replace("\r\n", "\n")
    finally:
        if process.returncode is None:
            process.kill()  # or whoever reads its terminal never ends, and the whole run with that thread
        os.close(main)


async def dialogue(process: asyncio.subprocess.Process, main: int, types: str) -> str:
    """All that was told at the terminal until nobody holds its other end."""
    told, answered, interrupting = "", False, None
    while part := await asyncio.to_thread(read, main):
        told += part
        if (
            not answered
            and told.rstrip().endswith((":", "?", "[y/N]:"))
            and ("Type the name" in told or "[y/N]" in told)
        ):
            answered = True
            if types == "^C":
                interrupting = asyncio.create_task(interrupt(process))
            else:
                os.write(main, f"{types}\n".encode())
    if interrupting:
        await interrupting
    return told


async def interrupt(process: asyncio.subprocess.Process) -> None:
    """As a person does, who presses Ctrl-C once more where nothing came of it: Python's readline does not see a signal
    that comes after its prompt and before it waits for a key (observed once with 3.11.7: it went on waiting).
    """
    while process.returncode is None:
        process.send_signal(signal.SIGINT)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5)


def read(terminal: int) -> str:
    """What comes next; "" when nobody holds the other end any more."""
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError as error:
        assert error.errno == errno.EIO, error
        return ""


async def test_what_is_lost_stands_at_the_prompt_and_the_clusters_name_is_asked_for(
    daemon: Daemon, tmp_path: Path
) -> None:
    code, told = await ctl(tmp_path, "approve", "prod-1.1", "--reason", "go", types="prod")
    assert (code, daemon.approved) == (0, ["go"]), told
    screen = told[: told.index("Type the name of the cluster, prod,")].splitlines()[-23:]
    shown = "\n".join(screen)
    assert "WHAT IS LOST:" in shown and "every write that only cp2 has" in shown
    assert (
        "1-3. cp1, cp2, cp3: stop etcd: its manifest goes aside (at most 20 s each)" in told and "... 14 more" in told
    )
    assert all(len(line) <= 80 for line in screen if "/a/etcd.yaml" not in line)


@pytest.mark.parametrize("typed", ["", "y", "prd", "yes"])
async def test_anything_else_approves_nothing(typed: str, daemon: Daemon, tmp_path: Path) -> None:
    code, told = await ctl(tmp_path, "approve", "prod-1.1", types=typed)
    assert (code, daemon.approved) == (1, []) and "nothing was approved" in told


@pytest.mark.timeout(120)
@pytest.mark.parametrize("plan", [PLAN, HARMLESS], ids=["destructive", "harmless"])
async def test_an_interrupted_prompt_ends_at_once_and_approves_nothing(
    plan: Plan, daemon: Daemon, tmp_path: Path
) -> None:
    daemon.plan = plan
    code, told = await ctl(tmp_path, "approve", "prod-1.1", types="^C")
    assert (code, daemon.approved) == (1, []) and "nothing was approved" in told


@pytest.mark.parametrize(("typed", "code"), [("y", 0), ("n", 1), ("", 1)])
async def test_what_destroys_nothing_is_asked_with_yes_or_no(
    typed: str, code: int, daemon: Daemon, tmp_path: Path
) -> None:
    daemon.plan = HARMLESS
    assert (await ctl(tmp_path, "approve", "prod-1.1", types=typed))[0] == code
    assert len(daemon.approved) == (code == 0)


async def test_a_script_gives_the_digest_of_what_was_read(daemon: Daemon, tmp_path: Path) -> None:
    code, told = await ctl(tmp_path, "approve", "prod-1.1")
    assert (code, daemon.approved) == (1, []) and f"--yes --digest {PLAN.digest}" in told
    assert (await ctl(tmp_path, "approve", "prod-1.1", "--yes"))[0] == 1
    assert (await ctl(tmp_path, "approve", "prod-1.1", "--yes", "--digest", "0123456789ab"))[0] == 1
    assert daemon.approved == []
    assert (await ctl(tmp_path, "approve", "prod-1.1", "--yes", "--digest", PLAN.digest))[0] == 0
    assert daemon.approved == [""]


async def test_what_destroys_nothing_is_approved_by_a_script_as_it_is(daemon: Daemon, tmp_path: Path) -> None:
    daemon.plan = HARMLESS
    assert (await ctl(tmp_path, "approve", "prod-1.1"))[0] == 0 and daemon.approved == [""]


@pytest.mark.parametrize(("ends", "code"), [(PlanStatus.SUCCEEDED, 0), (PlanStatus.FAILED, 1)])
async def test_wait_tells_how_it_ended(ends: PlanStatus, code: int, daemon: Daemon, tmp_path: Path) -> None:
    daemon.plan, daemon.ends = HARMLESS, ends
    assert await ctl(tmp_path, "approve", "prod-1.1", "--wait") == (
        code,
        f"plan prod-1.1 approved\nplan prod-1.1 {ends}: as the test has it\n",
    )


async def test_what_the_newest_sweep_did_not_see_is_asked_again_and_the_reason_is_told_once(
    daemon: Daemon, tmp_path: Path
) -> None:
    daemon.plan, daemon.blind = HARMLESS, 2
    code, told = await ctl(tmp_path, "approve", "prod-1.1", "--reason", "go")
    assert (code, daemon.approved, daemon.blind) == (0, ["go"], 0), told
    assert told.count("cp2 is not seen just now") == 1 and "asked again after each sweep, for 60 s" in told
    assert told.endswith("plan prod-1.1 approved\n")


async def test_what_is_seen_to_be_gone_meanwhile_is_not_asked_again(daemon: Daemon, tmp_path: Path) -> None:
    daemon.plan, daemon.blind, daemon.seen = HARMLESS, 1, False
    code, told = await ctl(tmp_path, "approve", "prod-1.1")
    assert (code, daemon.approved) == (1, []) and told.endswith("the newest sweep does not see it any more\n"), told


async def test_a_plan_that_is_not_there_is_said_so(daemon: Daemon, tmp_path: Path) -> None:
    assert (await ctl(tmp_path, "plans", "prod-1.9"))[0] == 4
    assert (await ctl(tmp_path, "approve", "prod-1.9"))[0] == 4


def test_a_digest_is_of_what_would_be_done() -> None:
    assert (
        PLAN.digest == replace(PLAN, status=PlanStatus.RUNNING, expires_at=PLAN.expires_at + timedelta(hours=1)).digest
    )
    others = (replace(PLAN, steps=PLAN.steps[:2]), replace(PLAN, destroys=("more",)), replace(PLAN, id="prod-1.2"))
    assert len({PLAN.digest, *(p.digest for p in others)}) == 4
