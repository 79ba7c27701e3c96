"""The routes of the status page: `/`, `/api/v1/status` and `/events`, which says that something has changed.

Everybody may read who can reach the port, and nobody can hold the daemon: there is room for so many listeners, each has
one bit of backlog, and who does not read is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog
from aiohttp import web

from recoverd.control.protocol import Controller
from recoverd.engine.journal_file import JournalError
from recoverd.page.board import Board, Key, Made
from recoverd.report.pages import hashes

READERS = 32
"""Browsers that are told of changes; the others ask by themselves."""
BEAT = 1.0
"""Seconds between two looks whether something has changed, while anybody listens."""
PING = 15.0
"""Seconds after which a listener is told that nothing has changed, which shows whether it is still there."""
PATIENCE = 5.0
"""Seconds that a listener may take to read."""
UNREAD = 16 * 1024
"""Bytes that may wait for a listener in this process."""
CHANGED = b"event: changed\ndata:\n\n"
STYLE, SCRIPT = hashes()
READ_ONLY = (
    f"default-src 'none'; style-src {STYLE}; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of a page of text."""
POLICY = (
    f"default-src 'none'; style-src {STYLE}; script-src {SCRIPT}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
STRICT = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer that does not say otherwise."""
log = structlog.get_logger()


class StatusPage:
    """Serves what a `Board` makes of a `Controller`."""

    def __init__(self, controller: Controller) -> None:
        self._board = Board(controller)
        self._readers: set[asyncio.Event] = set()
        self._known: Key | None = None
        """What whoever listens has been told of; None while nobody does."""
        self._ending = False

    def add_to(self, application: web.Application) -> None:
        """Add its routes to what is served at `listen`."""
        application.router.add_get("/", self._answering(self._page))
        application.router.add_get("/api/v1/status", self._answering(self._status))
        application.router.add_get("/events", self._events, allow_head=False)
        application.on_response_prepare.append(_strict)
        application.on_shutdown.append(self._end)
        application.cleanup_ctx.append(self._beating)

    def _answering(self, shape: Callable[[Made], web.Response]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                return shape(await self._board.made())
            except JournalError as error:
                return web.Response(status=503, text=f"the journal cannot be read: {error}\n")

        return answer

    @staticmethod
    def _page(made: Made) -> web.Response:
        return web.Response(
            body=made.page, content_type="text/html", charset="utf-8", headers={"Content-Security-Policy": POLICY}
        )

    @staticmethod
    def _status(made: Made) -> web.Response:
        return web.Response(body=made.status, content_type="application/json", charset="utf-8")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if len(self._readers) >= READERS or self._ending:
            return web.Response(
                status=503, text=f"{READERS} listen already; ask / again instead\n", headers={"Retry-After": "15"}
            )
        changed = asyncio.Event()
        self._readers.add(changed)
        if self._known is None:
            self._known = self._board.look()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            # what has changed since its page was made it would not be told otherwise
            await _send(request, response, b"retry: 3000\n\n" + CHANGED)
            while not self._ending:
                word = CHANGED
                try:
                    async with asyncio.timeout(PING):
                        await changed.wait()
                except TimeoutError:
                    word = b":\n\n"
                changed.clear()
                if not self._ending:
                    await _send(request, response, word)
        except (ConnectionError, TimeoutError):
            if request.transport:  # what it has not read yet is not worth the memory
                request.transport.abort()
        finally:
            self._readers.discard(changed)
        return response

    async def _beating(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._beat(), name="status page")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _beat(self) -> None:
        """Tell everybody who listens, once for whatever has changed since the last beat."""
        while True:
            await asyncio.sleep(BEAT)
            if not self._readers:
                self._known = None
                continue
            try:
                now = self._board.look()
            except Exception:  # a defect here must not end the page for good
                log.exception("the status page could not be told whether something has changed")
                continue
            if now != self._known:
                self._known = now
                self._wake()

    def _wake(self) -> None:
        for changed in self._readers:
            changed.set()

    async def _end(self, _: web.Application) -> None:
        """The daemon ends, and nobody who listens may keep it."""
        self._ending = True
        self._wake()


async def _send(request: web.Request, response: web.StreamResponse, word: bytes) -> None:
    """Raises `TimeoutError` for one who does not read, and `ConnectionError` for one who is gone."""
    if request.transport and request.transport.get_write_buffer_size() > UNREAD:
        raise TimeoutError
    async with asyncio.timeout(PATIENCE):
        await response.write(word)


async def _strict(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "recoverd"
    for name, value in STRICT.items():
        response.headers.setdefault(name, value)
