"""Who may ask for what, and who is taken for whom: the real socket, real users and groups, real login uids, and the
record of it in the real journal.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from recoverd.config.types import Access
from recoverd.control import names, peers
from recoverd.control.protocol import Delivery
from recoverd.control.server import ControlServer
from recoverd.daemon.service import Service
from recoverd.engine.journal import Journal
from recoverd.engine.loop import Clockwork, ClusterLoop
from recoverd.engine.writer import JournalWriter
from recoverd.metrics.server import Metrics
from recoverd.model.audit import AuditEntry
from recoverd.model.plan import PlanStatus
from recoverd.model.settings import PersonsNeeded
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.world import SimulatedWorld
from tests.unit.test_machine import Script, stuck

from .clusters import Daemon
from .daemons import Make, make, run
from .people import UNSET, People, cannot, types, uid

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)
EVER = datetime.min.replace(tzinfo=UTC)
WHY = cannot()
needs_people = pytest.mark.skipif(bool(WHY), reason=WHY or "")


@dataclass
class Bastion:
    """A control socket over a real journal; no cluster is watched unless a test puts one in."""

    folder: Path
    sent: list[str | None] = field(default_factory=list)
    """Receivers that were sent a test."""

    async def start(self) -> Bastion:
        self.socket = self.folder / "s"
        self.journal = Journal(self.folder / "journal.sqlite3")
        self.metrics = Metrics()
        self.service = Service(JournalWriter(self.journal), trial=self._sent)
        self.server = ControlServer(self.service, self.socket, self.metrics.asked)
        await self.server.start()
        return self

    async def stop(self) -> None:
        await self.server.stop()
        self.journal.close()

    async def _sent(self, receiver: str | None) -> list[Delivery]:
        self.sent.append(receiver)
        return [Delivery("oncall", True, "taken")]

    def audit(self) -> list[AuditEntry]:
        return self.journal.audit(EVER)

    def answers(self) -> list[tuple[str, str, str]]:
        return [(e.by, e.request, e.answer) for e in self.audit()]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
async def bastion(folder: Path) -> AsyncIterator[Bastion]:
    made = await Bastion(folder).start()
    yield made
    await made.stop()


@pytest.fixture
def people() -> Iterator[People]:
    made = People()
    yield made
    made.close()


@needs_people
async def test_who_may_look_and_who_may_ask_for_what_changes_anything(bastion: Bastion, people: People) -> None:
    ops, leads = people.group("ops"), people.group("leads")
    viewer, lead, stranger = people.user("viewer", ops), people.user("lead", leads), people.user("stranger")
    bastion.server.let(Access((ops,), (leads,)))
    at = bastion.socket

    for who, code in ((viewer, 0), (lead, 0), (stranger, 1)):
        assert (await types(at, "status", login=who))[0] == code
        assert (await types(at, "audit", login=who))[0] == code
        assert (await types(at, "plans", "--all", login=who))[0] == code

    code, said = await types(at, "pause", "--all", "--reason", "no", login=viewer)
    assert code == 1
    assert f"you are taken for {viewer} (uid {uid(viewer)}), who may not ask for what changes anything" in said
    assert f"that is for members of {leads} " in said and f"{viewer} is in {ops}, {viewer}" in said
    code, said = await types(at, "status", login=stranger)
    assert f"members of {ops} or {leads}" in said and "who may not look" in said

    assert (await types(at, "pause", "--all", "--reason", "ok", login=lead))[0] == 0
    # sudo makes nobody more than who logged in
    code, said = await types(at, "pause", "--all", "--reason", "no", login=viewer, process="root")
    assert code == 1 and f"taken for {viewer} (uid {uid(viewer)}, who logged in; the process is root's)" in said
    assert (await types(at, "resume", "--all", login=lead, process="root"))[0] == 0
    # nor does another user's account, and root's own login and nobody's may always
    assert (await types(at, "resume", "--all", login=viewer, process=lead))[0] == 1
    assert (await types(at, "resume", "--all", login="root"))[0] == 0
    assert (await types(at, "resume", "--all"))[0] == 0
    # whatever root starts as somebody else is somebody else
    assert (await types(at, "resume", "--all", login="root", process=viewer))[0] == 1

    assert bastion.answers() == [
        (viewer, "pause", "refused"),
        (lead, "pause", "done"),
        (f"{viewer} (as root)", "pause", "refused"),
        (f"{lead} (as root)", "resume", "done"),
        (f"{viewer} (as {lead})", "resume", "refused"),
        ("root", "resume", "done"),
        ("root", "resume", "done"),
        (viewer, "resume", "refused"),
    ]
    first, *_, by_root, by_nobody, _last = bastion.audit()
    assert (first.person, first.uid, first.cluster, first.reason) == (uid(viewer), uid(viewer), "*", "no")
    assert "may not ask for" in first.detail
    assert (by_root.person, by_nobody.person) == (0, None), "behind root without a login may be anybody"
    counted = {"request": "pause", "answer": "refused"}
    assert bastion.metrics.registry.get_sample_value("recoverd_requests_total", counted) == 2

    # a group that somebody joins counts with the next request, and so does another configuration
    people.joins(viewer, leads)
    assert (await types(at, "resume", "--all", login=viewer))[0] == 0
    bastion.server.let(None)
    assert (await types(at, "pause", "--all", "--reason", "x", login=stranger))[0] == 0


@needs_people
async def test_only_the_approvers_are_named_and_everybody_may_look(bastion: Bastion, people: People) -> None:
    leads = people.group("leads")
    stranger = people.user("stranger")
    bastion.server.let(Access(None, (leads, "no-such-group")))
    assert (await types(bastion.socket, "status", login=stranger))[0] == 0
    for words in (
        ("approve", "prod-1.1"),
        ("reject", "prod-1.1", "--reason", "x"),
        ("ack", "prod-1"),
        ("run", "free-etcd-space", "prod"),
        ("restore-points", "take", "prod"),
        ("notify-test",),
        ("join-control-plane", "prod", "cp9", "10.0.0.9"),
        ("pause", "prod", "--reason", "x"),
        ("resume", "prod"),
    ):
        code, said = await types(bastion.socket, *words, login=stranger)
        if words[0] != "approve":  # which looks for the plan first, and there is none
            assert (code, "who may not ask for" in said) == (1, True), (words, said)
    # past recoverctl, which has looked for the plan
    assert [e.request for e in bastion.audit()] == [
        "reject", "ack", "run", "restore-points take", "notify-test", "join-control-plane", "pause", "resume"
    ]  # fmt: skip
    assert {e.answer for e in bastion.audit()} == {"refused"} and not bastion.sent


@needs_people
async def test_two_persons_approve_what_may_lose_data(bastion: Bastion, people: People) -> None:
    """The same person by sudo is no other one; the record says who, and a restart forgets nothing."""
    leads = people.group("leads")
    alice, bob = people.user("alice", leads), people.user("bob", leads)
    bastion.server.let(Access(None, (leads,)))
    watched = Script()
    watched.now = datetime.now(UTC) - timedelta(seconds=12)
    # a machine that runs tests may be slow, and no sweep comes after these
    watched.settings = replace(watched.settings, persons=PersonsNeeded(2), stale_after=600.0)
    watched.machine.settings = watched.settings
    watched.sweep(stuck, times=2)
    watched.now = datetime.now(UTC)
    bastion.journal.write([i for i in watched.seen if type(i).__name__ in ("SaveIncident", "SavePlan", "Note")])
    model = ModelCluster(watched.settings, 1)
    loop = ClusterLoop(
        watched.machine,
        SimulatedWorld(model, "prod"),
        JournalWriter(bastion.journal),
        bastion.metrics,
        Clockwork(5.0),
        bastion.service.publish,
    )
    bastion.service.loops = {"prod": loop}
    plan = watched.plan
    assert plan.destructive
    approve = ("approve", plan.id, "--yes", "--digest", plan.digest)

    code, said = await types(bastion.socket, *approve, login=alice)
    assert code == 0 and f"1 of 2, by {alice}; another person must approve it before" in said
    shown = json.loads((await types(bastion.socket, "plans", plan.id, "-o", "json", login=bob))[1])["plans"][0]
    assert (shown["status"], shown["first_approval"]["by"]) == ("awaiting-approval", alice)
    assert "1 of 2 persons has approved it" in (await types(bastion.socket, "plans", plan.id, login=bob))[1]
    for login, process, why in (
        (alice, None, "is the person who approved"),
        (alice, "root", "is the person who approved"),
        (None, "root", "root may be anybody"),
    ):
        code, said = await types(bastion.socket, *approve, login=login, process=process)
        assert code == 1 and why in said, said
    code, said = await types(bastion.socket, *approve, "--emergency", "--reason", "alone", login=bob)
    assert code == 1 and "lets nobody go alone" in said
    assert watched.machine.record.plan and watched.machine.record.plan.status is PlanStatus.AWAITING_APPROVAL

    code, said = await types(bastion.socket, *approve, login=bob, process="root")
    assert code == 0 and "it runs now" in said, said
    assert watched.machine.record.plan.status is PlanStatus.RUNNING
    assert [(d.by, d.approved) for d in bastion.journal.decisions(plan.id)] == [
        (alice, True),
        (f"{bob} (as root)", True),
    ]
    assert [(e.by, e.cluster, e.subject, e.answer) for e in bastion.audit()] == [
        (alice, "prod", plan.id, "done"),
        (alice, "prod", plan.id, "refused"),
        (f"{alice} (as root)", "prod", plan.id, "refused"),
        ("root", "prod", plan.id, "refused"),
        (bob, "prod", plan.id, "refused"),
        (f"{bob} (as root)", "prod", plan.id, "done"),
    ]
    code, said = await types(bastion.socket, "audit", "prod", "--since", "1h", login=alice)
    assert code == 0
    assert f"{bob} (as root) (uid {uid(bob)}, process of uid 0): approve {plan.id} on prod" in said
    assert "root (login not known, process of uid 0)" in said
    assert "(IN AN EMERGENCY: alone)" in said and "refused: " in said
    assert (await types(bastion.socket, "audit", "other", login=alice))[0] == 4, (
        "no cluster of that name was ever asked for"
    )
    await loop.close()


async def test_what_cannot_be_journalled_is_not_done(bastion: Bastion) -> None:
    from click.testing import CliRunner

    from recoverd.cli.ctl import main

    def notify() -> Any:
        return CliRunner().invoke(main, ["--socket", str(bastion.socket), "notify-test", "oncall"])

    assert (await asyncio.to_thread(notify)).exit_code == 0 and bastion.sent == ["oncall"]
    with sqlite3.connect(bastion.folder / "journal.sqlite3", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")  # another program holds the file for longer than it is waited for
        result = await asyncio.to_thread(notify)
        other.execute("ROLLBACK")
    assert result.exit_code == 1 and "cannot be written" in result.output and "Nothing was done" in result.output
    assert bastion.sent == ["oncall"], "no act without its record"
    assert [(e.request, e.answer, e.subject, e.detail) for e in bastion.audit()] == [
        ("notify-test", "done", "oncall", "oncall told")
    ]


def test_what_began_and_has_no_answer_says_so(folder: Path) -> None:
    """recoverd was killed in the middle of a request."""
    from recoverd.cli.audits import answered
    from recoverd.model.audit import Answer
    from recoverd.model.events import SaveAudit

    entry = AuditEntry("a", datetime.now(UTC), "alice", 1000, 1000, "pause", "*", "", "x" * 5000)
    journal = Journal(folder / "j")
    journal.write([SaveAudit(entry)])
    journal.close()
    journal = Journal(folder / "j")
    (found,) = journal.audit(EVER)
    assert found.answer is Answer.ASKED and answered(found.answer) == "no answer is known"
    assert len(found.reason) == 2000
    assert journal.audit(EVER, "prod") == [found], "what is about all clusters is about each"
    assert journal.audit(datetime.now(UTC) + timedelta(seconds=1)) == []
    journal.close()


@needs_people
async def test_a_reload_changes_who_may(make: Make, run: Callable[..., Daemon], folder: Path, people: People) -> None:
    leads, stranger = people.group("leads"), people.user("stranger")
    daemon = run(await make(), socket=folder / "control.sock")
    daemon.start()
    await daemon.ready()
    written = yaml.safe_load(daemon.file.read_text())
    assert (await types(daemon.socket, "pause", "prod", "--reason", "x", login=stranger))[0] == 0

    async def says(access: dict[str, Any] | None, log: str) -> None:
        daemon.file.write_text(yaml.safe_dump(written | {"access": access}))
        before = daemon.log.read_text().count(log)
        assert daemon.process
        daemon.process.send_signal(signal.SIGHUP)

        async def told() -> int:
            return daemon.log.read_text().count(log)

        await daemon.until(told, lambda times: bool(times > before))

    await says({"approve": [leads], "destructive_needs": 2}, "who may ask for what is changed (access)")
    code, said = await types(daemon.socket, "resume", "prod", login=stranger)
    assert code == 1 and f"members of {leads}" in said
    await says({"approve": [], "view": [leads]}, "the configuration was refused")
    assert (await types(daemon.socket, "resume", "prod", login=stranger))[0] == 1, "the one before stays in force"
    await says(None, "who may ask for what is changed (access)")
    assert (await types(daemon.socket, "resume", "prod", login=stranger))[0] == 0
    requests = (await daemon.json("audit", "prod"))["requests"]
    assert [(r["request"], r["by"], r["person"], r["answer"]) for r in requests] == [
        ("pause", stranger, uid(stranger), "done"),
        *[("resume", stranger, uid(stranger), "refused")] * 2,
        ("resume", stranger, uid(stranger), "done"),
    ]
    assert await daemon.metric('recoverd_requests_total{answer="refused",request="resume"}') == 2
    code, said = await daemon.ctl("audit", "--since", "soon")
    assert code == 2 and "is no duration" in said


# --- who is at the other end ---


def logged_in(as_uid: int | None, code: str, *arguments: str) -> subprocess.Popen[str]:
    first = f'open("/proc/self/loginuid", "w").write("{UNSET if as_uid is None else as_uid}");'
    return subprocess.Popen(
        [sys.executable, "-c", f"import socket, sys, time, os;{first}{code}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


CONNECT = 's = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print("there", flush=True);'


@pytest.fixture
def listening(folder: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "l"))
        made.listen()
        yield made


@needs_people
@pytest.mark.parametrize("pidfd", [True, False], ids=["by the process", "by its number"])
def test_the_login_is_that_of_the_process_that_connected(
    listening: socket.socket, pidfd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not pidfd:
        monkeypatch.setattr(peers, "SO_PEERPIDFD", 9999)  # as a kernel before 6.5 answers
    for login, expected in ((4242, peers.Peer(0, 4242)), (0, peers.Peer(0, 0)), (None, peers.Peer(0, None))):
        process = logged_in(login, CONNECT + "sys.stdin.read()", str(listening.getsockname()))
        there, _ = listening.accept()
        with there:
            assert peers.peer(there) == expected
        process.communicate("", timeout=30)


@needs_people
@pytest.mark.parametrize("pidfd", [True, False], ids=["by the process", "by its number"])
def test_of_a_process_that_has_ended_the_login_is_not_known(
    listening: socket.socket, pidfd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection lives on in a child; nobody's number is taken for it."""
    if not pidfd:
        monkeypatch.setattr(peers, "SO_PEERPIDFD", 9999)
    code = CONNECT + "os.fork() or (sys.stdin.read(), os._exit(0)); os._exit(0)"
    process = logged_in(4242, code, str(listening.getsockname()))
    there, _ = listening.accept()
    process.wait(30)
    with there:
        assert peers.peer(there) == peers.Peer(0, None)
    assert process.stdin
    process.stdin.close()


@needs_people
def test_a_number_that_another_users_process_has_by_now_is_not_taken_for_the_peer(
    listening: socket.socket,
) -> None:
    process = logged_in(4242, "os.setresuid(65534, 65534, 65534); print('there', flush=True); sys.stdin.read()")
    assert process.stdout and process.stdout.readline() == "there\n"
    assert peers._checked(process.pid, 65534) == 4242
    assert peers._checked(process.pid, 0) is None
    process.communicate("", timeout=30)
    assert peers._checked(process.pid, 65534) is None


@needs_people
def test_whom_the_daemons_own_user_can_see(listening: socket.socket) -> None:
    """The login uid of root's process is readable to a user without any right, unless /proc hides it (the unit)."""
    process = logged_in(4242, "print('there', flush=True); sys.stdin.read()")
    assert process.stdout and process.stdout.readline() == "there\n"
    code = f"os.setresuid(65534, 65534, 65534); print(open('/proc/{process.pid}/loginuid').read())"
    assert logged_in(None, code).communicate(timeout=30)[0].strip() == "4242"
    process.communicate("", timeout=30)


@needs_people
@pytest.mark.skipif(not shutil.which("sudo"), reason="sudo is not installed here")
async def test_sudo_itself_keeps_the_login(bastion: Bastion, people: People) -> None:
    alice = people.user("alice")
    people.lets_sudo(alice)
    code = (
        f"os.setgroups([]); os.setresgid({uid(alice)}, {uid(alice)}, {uid(alice)});"
        f"os.setresuid({uid(alice)}, {uid(alice)}, {uid(alice)});"
        # whoever logs in need not be able to read this Python's library
        f"os.execv({shutil.which('sudo')!r},"
        "['sudo', '-n', 'env', 'PYTHONPATH=' + os.environ.get('PYTHONPATH', ''), *sys.argv[1:]])"
    )
    words = [sys.executable, "-m", "recoverd.cli.ctl", "--socket", str(bastion.socket)]
    process = await asyncio.to_thread(logged_in, uid(alice), code, *words, "resume", "--all")
    out, _ = await asyncio.to_thread(process.communicate, "")
    assert process.returncode == 0, out
    assert bastion.answers() == [(f"{alice} (as root)", "resume", "done")]


async def test_a_directory_server_that_hangs_keeps_nobody_waiting_but_who_asks(
    bastion: Bastion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lookup blocks as the C library does on a dead server; names are numbers then, and who needs a group waits no
    longer than the deadline.
    """
    read, write = os.pipe()
    monkeypatch.setattr(names, "PATIENCE", 0.2)
    monkeypatch.setattr(names, "_user", lambda uid: os.read(read, 1).decode())
    monkeypatch.setattr(names, "_groups", lambda uid: frozenset(os.read(read, 1).decode()))
    looked = names.Names()
    try:
        assert await looked.user(4711) == "uid 4711"
        with pytest.raises(TimeoutError):
            await looked.groups(4711)
        await asyncio.wait_for(bastion.service.incidents(None), 5)  # the journal's thread is another one
    finally:
        os.write(write, b"xxxx")
        looked.close()
        os.close(write)
