"""Telling people, against real receivers: a webhook that takes, refuses and hangs, a mail server, and Alertmanager."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from recoverd.config.types import Config, Heartbeat, Receiver
from recoverd.engine.journal import Journal
from recoverd.engine.writer import JournalWriter
from recoverd.metrics.server import Metrics
from recoverd.model.events import Approved, Instruction, Refused
from recoverd.model.news import Topic
from recoverd.model.plan import StepResult
from recoverd.model.settings import Mode
from recoverd.notifications import outbox, wire
from recoverd.notifications.notifier import Notifier
from tests.unit.test_machine import Script, manifest_gone, performing, stuck

from .conftest import free_port
from .monitoring import Start, start_alertmanager
from .receivers import SECRET, Webhook

__all__ = ["start_alertmanager"]
PATIENCE = 60.0


class Told(Script):
    """A machine whose every event is heeded, as the loop does; and the notifier of one process after another."""

    def __init__(self, directory: Path, *receivers: Receiver, heartbeat: Heartbeat | None = None) -> None:
        super().__init__()
        self.now = datetime.now(UTC) - timedelta(minutes=10)
        self.journal = Journal(directory / "journal.sqlite3")
        self.receivers, self.heartbeat = receivers, heartbeat
        self.trouble: str | None = None

    async def begin(self) -> Told:
        self.metrics = Metrics()
        self.notifier = Notifier(
            JournalWriter(self.journal), self.metrics.notifications, lambda note: None, lambda: self.trouble
        )
        await self.notifier.open(
            Config(Path("/nowhere"), Path("/nowhere/s"), ("127.0.0.1", 9770), (), (), self.receivers, self.heartbeat)
        )
        self.notifier._clusters = frozenset(["prod"])
        return self

    def give(self, event: Any) -> list[Instruction]:
        out = super().give(event)
        self.journal.write([i for i in out if type(i).__name__ in ("SaveIncident", "SavePlan")])
        self.notifier.heed(self.machine, out)
        return out

    async def kill(self) -> None:
        """kill -9 of the daemon."""
        await self.notifier.close()

    def count(self, receiver: str, outcome: str) -> float:
        return (
            self.metrics.registry.get_sample_value(
                "recoverd_notifications_total", {"receiver": receiver, "outcome": outcome}
            )
            or 0.0
        )

    async def counted(self, receiver: str, outcome: str, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.count(receiver, outcome) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def noted(self, event: str, times: int = 1) -> list[str]:
        """What the journal says, once it says so much: it is written after it was counted."""
        async with asyncio.timeout(PATIENCE):
            while len(said := self.notes(event)) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return said

    def notes(self, event: str) -> list[str]:
        return [n.entry.detail for n in reversed(self.journal.notes(event=event))]


def receiver(url_file: Path, name: str = "oncall", kind: Any = "apprise", on: Any = tuple(Topic)) -> Receiver:
    return Receiver(name, kind, url_file, frozenset(on), frozenset(["prod"]))


@pytest.fixture
async def tell(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Told]]]:
    """`await tell(receiver, ...)`: a healthy cluster, and its notifier."""
    made: list[Told] = []

    async def one(*receivers: Receiver, **options: Any) -> Told:
        made.append(await Told(tmp_path, *receivers, **options).begin())
        made[-1].sweep()
        return made[-1]

    yield one
    for each in made:
        await each.kill()
        each.journal.close()


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Webhook]]]:
    made: list[Webhook] = []

    async def one(*statuses: int, name: str = "hook", **options: Any) -> Webhook:
        made.append(await Webhook(tmp_path, name, *statuses, **options).start())
        return made[-1]

    yield one
    for each in made:
        await each.stop()


Hook = Callable[..., Awaitable[Webhook]]
Tell = Callable[..., Awaitable[Told]]


async def test_a_webhook_is_told_the_whole_of_an_incident_each_thing_once(hook: Hook, tell: Tell) -> None:
    there = await hook()
    s = await tell(receiver(there.url_file))
    s.sweep(stuck, times=4)
    assert await there.until(told=1) == ["prod: WAITS FOR YOU (DESTRUCTIVE, force-new-cluster)"], (
        "which says what is broken as well"
    )
    message = there.told[0]["message"]
    assert "was added and never started" in message and message.endswith("recoverctl approve prod-1.1")
    s.answer(performing(s.approve()), StepResult(False, "no space left", untouched=True))
    s.sweep(stuck, times=3)
    assert set((await there.until(told=3))[1:]) == {
        "prod: FAILED, plan prod-1.1 (force-new-cluster)",
        "prod: A PERSON IS NEEDED, etcd-stuck",
    }
    s.sweep(times=3)
    assert (await there.until(told=4))[3].startswith("prod: healthy again after ")
    assert "repaired by hand" in there.told[3]["message"]
    await s.counted("oncall", "sent", 4)
    assert (await s.noted("notified", 4))[-1] == "oncall: recovered prod-1"
    assert len(s.notes("notified")) == 4


async def test_only_what_a_receiver_wants_to_hear(hook: Hook, tell: Tell) -> None:
    one, other = await hook(name="one"), await hook(name="other")
    s = await tell(
        receiver(one.url_file, "one", on=[Topic.RECOVERED]), receiver(other.url_file, "other", on=[Topic.CONFIRMED])
    )
    s.run_all(s.sweep(manifest_gone, times=2))
    assert await other.until(told=1) == ["prod: BROKEN, apiserver-down"]
    s.sweep(times=2)
    assert (await one.until(told=1))[0].startswith("prod: healthy again")
    assert "restore-manifest" in one.told[0]["message"]
    assert len(other.told) == 1


async def test_what_is_refused_is_tried_again_and_comes_in_order(
    hook: Hook, tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    there = await hook(500, 503)
    s = await tell(receiver(there.url_file, on=[Topic.CONFIRMED, Topic.RECOVERED]))
    s.run_all(s.sweep(manifest_gone, times=2))
    assert await there.until(told=1) == ["prod: BROKEN, apiserver-down"]
    assert there.asked == 3
    await s.counted("oncall", "sent")
    assert s.count("oncall", "retried") == 2
    said = capsys.readouterr().out
    assert "it answers 500 Internal Server Error" in said and "can be told again" in said and SECRET not in said


async def test_what_is_over_before_it_could_be_told_is_not_told_as_if_it_was_true(hook: Hook, tell: Tell) -> None:
    there = await hook()
    await there.stop()
    s = await tell(receiver(there.url_file))
    s.sweep(stuck, times=2)
    await s.counted("oncall", "retried")
    s.sweep(times=2)
    await there.start()
    assert [t.split(" after ")[0] for t in await there.until(told=1)] == ["prod: healthy again"]
    await s.counted("oncall", "overtaken")


async def test_it_is_given_up_after_a_while_told_so_and_told_when_it_stands_and_can_be(
    hook: Hook, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PATIENCE", 0.5)
    monkeypatch.setattr("recoverd.notifications.notifier.PATIENCE", 0.5)
    there = await hook()
    await there.stop()
    s = await tell(receiver(there.url_file))
    s.sweep(stuck, times=2)
    await s.counted("oncall", "given-up")
    assert await s.noted("not-notified") == ["oncall: waiting prod-1.1 (it could not be reached)"]
    await there.start()
    async with asyncio.timeout(PATIENCE):
        while not there.told:
            s.sweep(stuck)
            await asyncio.sleep(0.1)
    assert there.titles == ["prod: WAITS FOR YOU (DESTRUCTIVE, force-new-cluster)"]


async def test_after_a_restart_nothing_is_told_twice_and_what_was_not_told_is_told_once(hook: Hook, tell: Tell) -> None:
    there = await hook()
    s = await tell(receiver(there.url_file))
    s.sweep(stuck, times=2)
    await s.counted("oncall", "sent")
    await s.kill()
    await s.begin()
    s.restart()
    s.sweep(stuck, times=3)
    for _ in range(2):  # what would be told again is told by the time that these have come and gone
        await s.notifier.test("oncall")
    await s.kill()
    await there.stop()
    await s.begin()
    s.restart()
    s.sweep(stuck)
    s.now = s.plan.expires_at
    s.sweep(stuck, times=3)  # another plan waits, and nobody can be told
    await s.counted("oncall", "retried")
    await s.kill()
    await there.start()
    await s.begin()
    s.restart()
    s.sweep(stuck, times=3)
    await s.counted("oncall", "sent")
    told = [m["message"].splitlines()[-1] for m in there.told if not m["title"].endswith("a test")]
    assert told == ["recoverctl approve prod-1.1", "recoverctl approve prod-1.2"]


async def test_the_end_of_an_incident_is_told_by_the_next_process(hook: Hook, tell: Tell) -> None:
    there = await hook()
    s = await tell(receiver(there.url_file))
    s.now = datetime.now(UTC) - timedelta(minutes=1)
    s.sweep(stuck, times=2)
    await s.counted("oncall", "sent")
    await there.stop()
    s.sweep(times=2)
    await s.kill()
    await there.start()
    await s.begin()
    s.restart()
    s.sweep(times=2)
    assert (await there.until(told=2))[1].startswith("prod: healthy again after ")


async def test_who_asks_for_a_receiver_that_is_none_is_told_the_one_that_was_meant(hook: Hook, tell: Tell) -> None:
    there = await hook()
    s = await tell(receiver(there.url_file), receiver(there.url_file, "team"))
    for typed, said in {"oncal": "did you mean oncall?", "nobody": "there are: oncall, team "}.items():
        with pytest.raises(Refused, match=f"there is no receiver {typed}; {re.escape(said)}") as refused:
            await s.notifier.test(typed)
        assert refused.value.missing
    assert not there.told


async def test_that_it_cannot_be_seen_and_that_it_can_again_across_a_restart(hook: Hook, tell: Tell) -> None:
    there = await hook()
    s = await tell(receiver(there.url_file))
    for _ in range(2):
        s.sweep(lambda c: c.everything_dark(), times=3)
        await s.counted("oncall", "sent")
        await s.kill()
        await s.begin()
        s.restart()
        s.sweep(times=2)
        await s.counted("oncall", "sent")
        await s.kill()
        await s.begin()
        s.sweep()
    assert [t.split(" from ")[0].split(", ")[0] for t in there.titles] == [
        "prod: CANNOT BE SEEN",
        "prod: can be seen again",
    ] * 2


async def test_who_hangs_holds_up_nobody_else_and_no_event(
    hook: Hook, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire.Courier.run, "__defaults__", (0.5,))
    silent, there = await hook(name="silent", hangs=True), await hook()
    s = await tell(receiver(silent.url_file, "silent"), receiver(there.url_file))
    longest = 0.0
    for number in range(40):
        began = time.monotonic()
        s.sweep(stuck if number % 8 else lambda c: c, times=1)
        longest = max(longest, time.monotonic() - began)
        await asyncio.sleep(0)
    await there.until(told=1)
    await s.counted("silent", "retried", 2)
    assert longest < 2.0
    async with asyncio.timeout(5):
        await s.kill()


async def test_a_full_box_drops_the_oldest_and_says_so(
    hook: Hook, tell: Tell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(outbox, "ROOM", 1)
    there = await hook(hangs=True)
    s = await tell(receiver(there.url_file))
    s.sweep(stuck, times=2)
    await there.until(asked=1)
    s.answer(performing(s.approve()), StepResult(False, "no space left", untouched=True))
    assert s.count("oncall", "dropped") >= 1
    assert "the oldest is dropped: prod: WAITS FOR YOU" in capsys.readouterr().out


async def test_no_more_threads_than_a_few_hang_on_one_receiver() -> None:
    courier, let = wire.Courier("x"), asyncio.Event()
    stop = time.monotonic() + 30.0
    ended = False

    def hang() -> None:
        while not ended and time.monotonic() < stop:
            time.sleep(0.05)

    for _ in range(wire.HANGING):
        with pytest.raises(wire.SendFailed, match="no answer within"):
            await courier.run(hang, 0.05)
    with pytest.raises(wire.SendFailed, match="hang still"):
        await courier.run(hang, 0.05)
    ended = True
    async with asyncio.timeout(PATIENCE):
        while not let.is_set():
            try:
                await courier.run(lambda: None)
                let.set()
            except wire.SendFailed:
                await asyncio.sleep(0.05)


async def test_a_sign_of_life_comes_while_recoverd_is_well_and_only_then(
    hook: Hook, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recoverd.notifications.heart.AGAIN", 0.2)
    there = await hook()
    there.write(f"http://127.0.0.1:{there.port}/{SECRET}")
    s = await tell(heartbeat=Heartbeat(there.url_file, 0.2))
    await there.until(asked=2)
    s.trouble = "no sweep of prod has ended for 60 s"
    await asyncio.sleep(0)
    before = there.asked
    with pytest.raises(TimeoutError):
        await there.until(asked=before + 2, seconds=1.0)
    s.trouble = None
    await there.until(asked=before + 3)


# --- a mail server ---


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[str] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.mails.append(bytes(envelope.content or b"").decode())
        return "250 OK"


async def test_mail(tmp_path: Path, tell: Tell) -> None:
    box, port = Mailbox(), free_port()
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    try:
        file = tmp_path / "mail"
        file.write_text(
            f"mailto://localhost:{port}?smtp=127.0.0.1&mode=insecure&from=recoverd@example.org&to=oncall@example.org\n"
        )
        file.chmod(0o600)
        s = await tell(receiver(file))
        s.sweep(stuck, times=2)
        await s.counted("oncall", "sent")
    finally:
        await asyncio.to_thread(server.stop)
    (mail,) = box.mails
    assert "Subject: prod: WAITS FOR YOU (DESTRUCTIVE, force-new-cluster)" in mail
    assert "To: oncall@example.org" in mail


# --- Alertmanager ---


@pytest.fixture
def alertmanager(start_alertmanager: Start) -> str:
    """The base URL of a running one."""
    return start_alertmanager({"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]})


async def firing(url: str) -> dict[str, dict[str, Any]]:
    """Alerts that are so, by their name."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/alerts") as answer:
        return {a["labels"]["alertname"]: a for a in await answer.json()}


async def until_firing(url: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, dict[str, Any]]:
    async with asyncio.timeout(PATIENCE):
        while not wanted(found := await firing(url)):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    return found


async def test_alertmanager_holds_what_is_so_and_it_ends_there_when_it_is_over(
    alertmanager: str, tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recoverd.notifications.alarm.EVERY", 0.5)
    file = tmp_path / "am"
    file.write_text(alertmanager)
    file.chmod(0o600)
    s = await tell(receiver(file, "am", "alertmanager"))
    s.sweep(stuck, times=2)
    found = await until_firing(alertmanager, lambda a: {"RecoverdEtcdStuck", "RecoverdPlanAwaitsApproval"} <= a.keys())
    link = found["RecoverdEtcdStuck"]["annotations"]["runbook_url"]
    assert link == f"http://{socket.gethostname()}:9770/runbooks/RecoverdEtcdStuck"
    waits = found["RecoverdPlanAwaitsApproval"]
    assert waits["labels"] == {
        "alertname": "RecoverdPlanAwaitsApproval",
        "cluster": "prod",
        "job": "recoverd",
        "plan": "prod-1.1",
        "playbook": "force-new-cluster",
        "severity": "page",
    }
    assert waits["annotations"]["description"].endswith("recoverctl approve prod-1.1")
    assert waits["generatorURL"] == f"http://{socket.gethostname()}:9770/metrics"
    await until_firing(
        alertmanager, lambda a: a["RecoverdEtcdStuck"]["updatedAt"] > found["RecoverdEtcdStuck"]["updatedAt"]
    )
    s.give(Approved("prod-1.1", "alice", "", s.now))
    await until_firing(alertmanager, lambda a: set(a) == {"RecoverdEtcdStuck"})
    await s.kill()
    await s.begin()
    s.restart()
    s.sweep(stuck)
    await s.counted("am", "sent")
    assert set(await firing(alertmanager)) == {"RecoverdEtcdStuck"}, "a restart resolves nothing"


async def test_of_a_cluster_that_was_never_seen_healthy_alertmanager_pages_nobody(
    hook: Hook, alertmanager: str, tmp_path: Path, tell: Tell
) -> None:
    there, file = await hook(), tmp_path / "am"
    file.write_text(alertmanager)
    file.chmod(0o600)
    s = await tell(receiver(there.url_file), receiver(file, "am", "alertmanager"))
    s.machine.state = replace(s.machine.state, memory=replace(s.machine.memory, healthy_at=None))
    s.sweep(stuck, times=4)
    found = await until_firing(alertmanager, bool)
    assert {name: a["labels"]["severity"] for name, a in found.items()} == {"RecoverdNeverHealthy": "ticket"}
    assert await there.until(told=1) == ["prod: not watched yet, recoverd has never seen it healthy"]
    assert "recoverd doctor prod" in there.told[0]["message"]
    s.sweep(times=30)  # long enough for it to be healthy once
    s.sweep(stuck, times=2)
    await until_firing(
        alertmanager, lambda a: a.get("RecoverdEtcdStuck", {}).get("labels", {}).get("severity") == "page"
    )


async def test_where_it_only_observes_an_outage_is_a_page_and_what_would_have_been_done_is_information(
    hook: Hook, alertmanager: str, tmp_path: Path, tell: Tell
) -> None:
    there, asked, file = await hook(), await hook(name="asked"), tmp_path / "am"
    file.write_text(alertmanager)
    file.chmod(0o600)
    calls = [Topic.WAITING, Topic.ESCALATED, Topic.SHADOW]
    s = await tell(
        receiver(there.url_file), receiver(asked.url_file, "asked", on=calls), receiver(file, "am", "alertmanager")
    )
    s.settings = replace(s.settings, mode=Mode.OBSERVE)
    s.restart()
    s.sweep()
    s.sweep(stuck, times=4)
    assert await there.until(told=1) == ["prod: BROKEN, etcd-stuck (only observed)"]
    assert "would have asked for approval" in there.told[0]["message"]
    (title,) = await asked.until(told=1)
    assert title.startswith("prod: only observed; recoverd would have asked for approval at ")
    assert (
        "recoverctl approve" not in asked.told[0]["message"] and "recoverctl plans prod-1.1" in asked.told[0]["message"]
    )
    found = await until_firing(alertmanager, lambda a: "RecoverdEtcdStuck" in a)
    assert set(found) == {"RecoverdEtcdStuck"} and found["RecoverdEtcdStuck"]["labels"]["severity"] == "page"
    s.sweep(times=3)
    assert (await there.until(told=2))[1].startswith("prod: healthy again after ")
    for _ in range(2):  # what would be told beside these is told by the time that they have come and gone
        await s.notifier.test("asked")
    assert len([t for t in asked.titles if not t.endswith("a test")]) == 1


async def test_a_test_is_told_with_what_came_of_each(hook: Hook, tell: Tell, alertmanager: str, tmp_path: Path) -> None:
    there, refusing = await hook(), await hook(403, name="refusing")
    file, gone = tmp_path / "am", tmp_path / "gone"
    file.write_text(alertmanager + "/")
    file.chmod(0o600)
    s = await tell(
        receiver(there.url_file),
        receiver(refusing.url_file, "refusing"),
        receiver(file, "am", "alertmanager"),
        receiver(gone, "gone"),
    )
    came = await s.notifier.test(None)
    assert came is not None
    assert [(d.receiver, d.ok) for d in came] == [("am", True), ("gone", False), ("oncall", True), ("refusing", False)]
    assert came[3].detail == "it answers 403 Forbidden" and "No such file" in came[1].detail
    assert there.titles[0].endswith(": a test")
    assert "RecoverdNotifyTest" in await firing(alertmanager)
    with pytest.raises(Refused, match="there is no receiver nobody; there are: oncall, refusing"):
        await s.notifier.test("nobody")
