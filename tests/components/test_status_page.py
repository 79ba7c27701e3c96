"""The status page of the real daemon: what it answers to whom, and how it looks in a real browser."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from recoverd.engine.journal_rows import Newest
from recoverd.engine.loop import now
from recoverd.model.finding import Finding, Phase, Severity, State
from recoverd.model.plan import Incident, Plan, TimelineEntry
from recoverd.model.status import ClusterStatus
from recoverd.page import board, server
from recoverd.page.runbooks import add_to as add_runbooks
from recoverd.page.server import READERS, StatusPage
from tests.ports import free_port
from tests.unit.test_post_mortem import nodes, plan

from .browser import Browser, artefacts, chromium
from .clusters import Daemon
from .daemons import REQUIRED, Make, make, run

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)
Run = Callable[..., Daemon]
LOOKS = [(360, "dark"), (360, "light"), (1600, "dark"), (1600, "light")]


# --- the daemon's own ---


async def test_the_daemon_serves_what_status_shows_and_the_command_to_type(
    make: Make, run: Run, tmp_path: Path
) -> None:
    daemon = run(prod := await make(approval=REQUIRED))
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    code, page = await daemon.get("/")
    assert code == 200 and "1 of 1 healthy" in page
    prod.node.unit("kubelet", "inactive")
    shown = await daemon.in_phase("apiserver-down", "awaiting-approval")
    _, page = await daemon.get("/")
    assert f"<pre>recoverctl approve {shown['plan']}</pre>" in page and shown["summary"] in page
    _, answer = await daemon.get("/api/v1/status")
    told = json.loads(answer)
    volatile = {"last_sweep"}
    asked = (await daemon.json("status"))["clusters"]
    assert [{k: v for k, v in c.items() if k not in volatile} for c in told["clusters"]] == [
        {k: v for k, v in c.items() if k not in volatile} for c in asked
    ]
    assert told["generated_at"] and [p["id"] for p in told["plans"]] == [shown["plan"]]
    assert (await daemon.get("/metrics"))[0] == 200
    for form, mark in (("md", f"# Incident {shown['incident']}"), ("html", "<!DOCTYPE html>")):
        code, report = await daemon.ctl("show", shown["incident"], "--format", form)
        assert code == 0 and report.startswith(mark) and "wait for a person" in report
    assert (await daemon.ctl("show", shown["incident"], "--format", "md", "-o", "json"))[0] == 2
    async with chromium(tmp_path) as browser:
        await browser.open(f"http://127.0.0.1:{daemon.port}/")
        await browser.until("document.getElementById('live').textContent === 'live'")
        assert (await daemon.ctl("approve", shown["plan"]))[0] == 0
        await browser.until("document.getElementById('seen').textContent.includes('1 of 1 healthy')", 60)
        assert await browser.ask("document.querySelectorAll('.course').length") == 1, "the incident stands there"
        assert daemon.kill(signal.SIGTERM) == 0
        await browser.until("document.getElementById('live').className === 'bad'")


async def test_where_the_configuration_does_not_want_it_there_are_metrics_alone(make: Make, run: Run) -> None:
    daemon = run(await make())
    daemon.file.write_text(daemon.file.read_text() + "status_page: false\n")
    daemon.start()
    await daemon.ready()
    assert [(await daemon.get(path))[0] for path in ("/", "/api/v1/status", "/events")] == [404] * 3
    assert (await daemon.get("/metrics"))[0] == 200


# --- what it is asked, and by whom ---


class Asked:
    """A `Controller` of made-up clusters, which counts how often it is asked for what costs."""

    def __init__(self, *clusters: ClusterStatus) -> None:
        self.clusters = list(clusters)
        self.open: list[Plan] = []
        self.known: list[Incident] = []
        self.reads = 0

    def status(self) -> list[ClusterStatus]:
        return self.clusters

    def notices(self) -> list[str]:
        return []

    def revision(self) -> int:
        return 0

    async def plans(self, *, all: bool, of: str = "", limit: int | None = None) -> Newest[Plan]:
        self.reads += 1
        return Newest(self.open)

    async def incidents(self, cluster: str | None, limit: int | None = None) -> Newest[Incident]:
        return Newest([i for i in self.known if cluster in (None, i.cluster)][:limit])


def cluster(name: str = "prod", nodes: int = 1, **changes: Any) -> ClusterStatus:
    found = tuple(
        Finding("kubelet-down", f"w{n}", f"kubelet on w{n} of {name} is not running.", (f"w{n}: inactive",) * 3,
                (Severity.FAULT, Severity.NOTICE)[n % 2], State.WORKER_NETWORK_BROKEN)
        for n in range(nodes)
    )  # fmt: skip
    since = now() - timedelta(seconds=90)
    down = ClusterStatus(
        name, State.WORKER_NETWORK_BROKEN, Phase.ESCALATED, since, False, "", "kubelet is down", found,
        f"{name}-1", since, None, now(), "a person has to look",
    )  # fmt: skip
    return replace(down, **changes)


def incident(name: str = "prod", lines: int = 20) -> Incident:
    since = now() - timedelta(seconds=90)
    events = ["opened", "plan-made", "approved", "plan-started", *["step-done"] * lines, "escalated"]
    told = tuple(TimelineEntry(since + timedelta(seconds=5 + n), e, f"line {n}") for n, e in enumerate(events))
    return Incident(f"{name}-1", name, State.WORKER_NETWORK_BROKEN, "kubelet is down", told[0].at, since, timeline=told)


@asynccontextmanager
async def served(asked: Any) -> AsyncIterator[str]:
    """The page's own server over a controller; where it is."""
    application = web.Application()
    StatusPage(asked).add_to(application)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=60.0)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as made:
        yield made


async def listen(stack: AsyncExitStack, session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
    return await stack.enter_async_context(session.get(f"{url}/events"))


async def told(response: aiohttp.ClientResponse, seconds: float = 10.0) -> bool:
    """Whether this listener is told of a change in time."""
    try:
        async with asyncio.timeout(seconds):
            await response.content.readuntil(b"event: changed\ndata:\n\n")
            return True
    except TimeoutError:
        return False


async def test_every_answer_has_strict_headers_and_only_reading_is_allowed(session: aiohttp.ClientSession) -> None:
    async with served(Asked(cluster())) as url:
        for path, code in (("/", 200), ("/api/v1/status", 200), ("/nothing/here", 404), ("/../etc/passwd", 404)):
            async with session.get(url + path) as answer:
                assert answer.status == code
                assert answer.headers["Cache-Control"] == "no-store"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert "unsafe" not in answer.headers["Content-Security-Policy"]
                assert code != 404 or answer.content_type == "text/plain"
        async with session.head(url) as answer:
            assert answer.status == 200 and await answer.read() == b""
        for path in ("/", "/api/v1/status", "/events"):
            async with session.post(url + path, data="x") as answer:
                assert answer.status == 405


async def test_what_may_be_a_secret_is_hidden(session: aiohttp.ClientSession) -> None:
    line = "kube-apiserver --token-auth-password=hunter2 and Authorization: Bearer abcdef"
    found = cluster(explanation=line, findings=(Finding("c", "s", line, (line,)),))
    async with served(Asked(found)) as url:
        for path in ("/", "/api/v1/status"):
            async with session.get(url + path) as answer:
                text = await answer.text()
                assert "hunter2" not in text and "abcdef" not in text and "(hidden)" in text


async def test_many_who_ask_at_once_cost_one_making(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "FRESH", 60.0)  # however busy this machine is
    monkeypatch.setattr(board, "LOOK", 0.0)
    asked = Asked(cluster())

    async def get(url: str) -> int:
        async with session.get(url) as answer:
            return answer.status

    async with served(asked) as url:
        assert set(await asyncio.gather(*(get(url) for _ in range(50)))) == {200}
        assert asked.reads == 1
        asked.clusters = [cluster(summary="something else")]
        assert set(await asyncio.gather(*(get(url) for _ in range(50)))) == {200}
        assert asked.reads == 2
        async with session.get(url) as answer:
            assert "something else" in await answer.text()


async def test_a_change_is_told_and_a_sweep_that_saw_the_same_is_none(session: aiohttp.ClientSession) -> None:
    asked = Asked(cluster())
    async with AsyncExitStack() as stack, served(asked) as url:
        listener = await listen(stack, session, url)
        assert await told(listener), "what changed since its page was made"
        asked.clusters = [replace(asked.clusters[0], last_sweep=now())]
        assert not await told(listener, 2 * server.BEAT)
        asked.clusters = [replace(asked.clusters[0], phase=Phase.CONFIRMED)]
        assert await told(listener)


async def test_there_is_room_for_so_many_who_listen_and_again_when_one_goes(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PING", 0.5)  # which shows that one has gone
    async with AsyncExitStack() as stack, served(Asked(cluster())) as url:
        listeners = [await listen(stack, session, url) for _ in range(READERS)]
        async with session.get(f"{url}/events") as refused:
            assert refused.status == 503 and "Retry-After" in refused.headers
        async with session.get(url) as answer:
            assert answer.status == 200, "the page itself is there for everybody"
        listeners[0].close()
        async with asyncio.timeout(30):
            while (await listen(stack, session, url)).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def test_one_who_does_not_read_is_cut_off(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CHANGED", b": " + b"x" * (8 << 20) + b"\n\n")  # more than the kernel holds for it
    monkeypatch.setattr(server, "PATIENCE", 1.0)
    page = StatusPage(Asked(cluster()))  # type: ignore[arg-type]
    application = web.Application()
    page.add_to(application)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        with socket.create_connection(("127.0.0.1", port)) as deaf:
            deaf.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(10):
                while not page._readers:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                while page._readers:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    finally:
        await runner.cleanup()


async def test_an_end_ends_those_who_listen_at_once(session: aiohttp.ClientSession) -> None:
    async with AsyncExitStack() as stack:
        async with served(Asked(cluster())) as url:
            listeners = [await listen(stack, session, url) for _ in range(5)]
            began = time.monotonic()
        assert time.monotonic() - began < 30, "without the minute that connections are waited for here"
        for listener in listeners:
            async with asyncio.timeout(5):
                await listener.content.read()


async def test_a_hundred_clusters_do_not_hold_the_event_loop(session: aiohttp.ClientSession) -> None:
    asked = Asked(*(cluster(f"c{n}", nodes=50) for n in range(100)))
    asked.known = [incident(f"c{n}", 100) for n in range(100)]
    longest = 0.0

    async def beat() -> None:
        """What the loop's own thread worked between two turns; how long it waited for a busy machine is not the page's
        doing.
        """
        nonlocal longest
        while True:
            began = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - began)

    async with served(asked) as url:
        task = asyncio.create_task(beat())
        began = time.monotonic()
        async with session.get(url) as answer:
            size = len(await answer.read())
        took = time.monotonic() - began
        task.cancel()
    print(f"{size} bytes in {took:.2f} s, the loop was held for {longest * 1000:.0f} ms at the most")
    assert size > 500_000 and longest < 0.1


# --- in a real browser ---


def everything() -> Asked:
    """A page with everything on it, and with names that are as long as names may be."""
    long = "a-cluster-with-a-very-long-name-of-sixty-three-characters-000000"
    asked = Asked(
        cluster("prod", 7, plan="prod-1.2", phase=Phase.AWAITING_APPROVAL),
        cluster(long, 2, state=State.UNOBSERVABLE, phase=None, explanation="x" * 300, plan=None, incident=None),
        cluster("calm", 0, state=State.HEALTHY, phase=None, findings=(), incident=None, fault_since=None),
        cluster("still", 0, state=State.HEALTHY, phase=None, findings=(), incident=None, paused=True,
                pause_reason="<script>document.title = 'run'</script>"),
    )  # fmt: skip
    waiting = plan(*nodes("w1"))
    asked.open = [
        replace(waiting, status=type(waiting.status).AWAITING_APPROVAL, destructive=True, reason="",
                destroys=(f"everything that {long} wrote since then",), expires_at=now() + timedelta(minutes=29))
    ]  # fmt: skip
    asked.known = [incident("prod"), replace(incident("calm"), closed_at=now())]
    return asked


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with chromium(tmp_path) as made:
        yield made


async def test_it_can_be_read_narrow_and_wide_dark_and_light(browser: Browser, tmp_path: Path) -> None:
    backs = {}
    async with served(everything()) as url:
        for width, scheme in LOOKS:
            await browser.open(f"{url}/", width, scheme)
            await browser.until("document.getElementById('live').textContent === 'live'")
            await browser.picture(artefacts(tmp_path) / f"status-{width}-{scheme}.png")
            assert await browser.ask("innerWidth") == width
            assert await browser.ask("document.documentElement.scrollWidth") <= width, "nothing hangs over"
            backs[scheme] = await browser.ask("getComputedStyle(document.body).backgroundColor")
            marks = "[...document.querySelectorAll('.mark + text')].map((t) => t.textContent)"
            assert {"awaiting-approval", "unobservable", "healthy"} == set(await browser.ask(marks))
            seen = "[...document.querySelectorAll('figure .marked')].filter((t) => t.getBoundingClientRect().width)"
            fits = "(t) => t.getBBox().width < t.previousElementSibling.getBBox().width"
            assert await browser.ask(f"{seen}.every({fits})"), "a name stays in its box"
        assert backs["dark"] != backs["light"]
        assert await browser.ask("document.title") == "1 to approve, 2 not healthy - recoverd"
        assert browser.complaints == [], "the page keeps its own Content-Security-Policy"


async def test_it_works_without_javascript(browser: Browser, tmp_path: Path) -> None:
    async with served(everything()) as url:
        await browser.open(f"{url}/", 1600, "dark", script=False)
        dom = await browser.call("DOM.getDocument", depth=-1)
        text = json.dumps(dom)
        assert "recoverctl approve prod-1.2" in text and "Without a script it is fetched anew" in text
        found = await browser.call(
            "DOM.querySelector", nodeId=dom["root"]["nodeId"], selector="meta[http-equiv=refresh]"
        )
        assert found["nodeId"], "and it is fetched anew all the same"


async def test_what_was_opened_stays_open_when_something_changes(browser: Browser, tmp_path: Path) -> None:
    asked = everything()
    async with served(asked) as url:
        await browser.open(f"{url}/")
        await browser.until("document.getElementById('live').textContent === 'live'")
        await browser.ask("document.getElementById('lines-prod').open = true")
        asked.clusters[0] = replace(asked.clusters[0], summary="something else has happened")
        await browser.until("document.getElementById('all').textContent.includes('something else has happened')")
        assert await browser.ask("document.getElementById('lines-prod').open") is True


async def test_a_runbook_that_is_none_is_answered_with_the_nearest() -> None:
    application = web.Application()
    add_runbooks(application)
    async with TestClient(TestServer(application)) as reader:
        for asked, said in {"RecoverdEtcdStack": "did you mean /runbooks/RecoverdEtcdStuck? ", "x": ""}.items():
            answer = await reader.get(f"/runbooks/{asked}")
            assert answer.status == 404
            assert await answer.text() == f"there is no runbook of that name; {said}all of them: /runbooks/\n"
