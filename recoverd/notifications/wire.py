"""Sending: blocking calls, each in a thread of its own that has a deadline and that nobody waits for afterwards.

A resolver that hangs cannot be interrupted, and a receiver may answer one byte a minute: neither the event loop nor the
threads that the journal is written in are ever lent to them. Nothing that leaves this module holds a URL, a part of it,
or what a library said about it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from recoverd.config.types import Receiver
from recoverd.config.urls import UrlError, apprise, read_url, service, web_address

DEADLINE = 10.0
"""Seconds for one send, name resolution included."""
SOCKET = 5.0
"""Seconds for a connection, and for each answer on it: a thread that was given up ends soon in most cases."""
HANGING = 4
"""Threads of one receiver that may hang at the same time; until one of them ends nothing more is sent there."""
API = "/api/v2/alerts"


class SendFailed(Exception):  # noqa: N818
    """It was not sent, or it is not known whether it was; the text says why, and holds nothing of the URL."""

    def __init__(self, text: str, *, silent: bool = False) -> None:
        super().__init__(text)
        self.silent = silent
        """Nobody answered in time."""


class Courier:
    """Carries what one receiver is told, one thing at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lost: list[threading.Thread] = []
        """Those that were given up and may be at it still."""

    async def run(self, call: Callable[[], None], seconds: float = DEADLINE) -> None:
        """Return when the call has ended well. Raises `SendFailed`, after so many seconds at the latest."""
        self._lost = [thread for thread in self._lost if thread.is_alive()]
        if len(self._lost) >= HANGING:
            raise SendFailed(f"the last {HANGING} tries hang still", silent=True)
        loop = asyncio.get_running_loop()
        came: asyncio.Future[str] = loop.create_future()
        # a daemon thread: the end of recoverd waits for none of them
        thread = threading.Thread(target=_carry, args=(call, loop, came), name=f"telling {self._name}", daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(seconds):
                failure = await came
        except TimeoutError:
            self._lost.append(thread)
            raise SendFailed(f"no answer within {seconds:g} s", silent=True) from None
        if failure:
            raise SendFailed(failure)


def _carry(call: Callable[[], None], loop: asyncio.AbstractEventLoop, came: asyncio.Future[str]) -> None:
    failure = ""
    try:
        call()
    except Exception as error:
        failure = reason(error)

    def settle() -> None:
        if not came.done():
            came.set_result(failure)

    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(settle)


def by_apprise(receiver: Receiver, title: str, body: str) -> None:
    """Tell whoever the URL leads to. Raises `SendFailed` or `UrlError`."""
    said = _Said()
    logger = logging.getLogger("apprise")
    apprise()  # which silences the logger first
    logger.addHandler(said)
    try:
        good = service(read_url(receiver.url_file)).notify(body=body, title=title, body_format="text")  # type: ignore[attr-defined]
    finally:
        logger.removeHandler(said)
    if not good:
        raise SendFailed(said.reason)


def to_alertmanager(receiver: Receiver, alerts: Sequence[Mapping[str, Any]]) -> None:
    """Post alerts as Alertmanager's API v2 takes them (its api/v2/openapi.yaml, postableAlerts).
    Raises `SendFailed` or `UrlError`.
    """
    parts = urlsplit(web_address(read_url(receiver.url_file)))
    path = parts.path.rstrip("/")
    _asked("POST", urlunsplit(parts._replace(path=path if path.endswith(API) else path + API)), json=list(alerts))


def beat(url_file: Path) -> None:
    """Ask for the page that counts signs of life. Raises `SendFailed` or `UrlError`."""
    _asked("GET", web_address(read_url(url_file)))


def _asked(method: str, url: str, **options: Any) -> None:
    import requests

    with requests.request(method, url, timeout=SOCKET, stream=True, **options) as answer:
        if not answer.ok:
            raise SendFailed(_status(answer.status_code))


def reason(error: Exception) -> str:
    """Why a send failed, of what cannot hold a URL: our own words, an error number, the name of the exception."""
    if isinstance(error, (SendFailed, UrlError)):
        return str(error)
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "no answer in time"
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            break
        if isinstance(cause, socket.gaierror) or type(cause).__name__ == "NameResolutionError":
            return "its name is not known (DNS)"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or 'not accepted'}"
        if isinstance(cause, OSError) and cause.errno in _ERRORS:
            return os.strerror(cause.errno)
        nested = next((a for a in cause.args if isinstance(a, BaseException)), None) or getattr(cause, "reason", None)
        cause = nested if isinstance(nested, BaseException) else cause.__cause__ or cause.__context__
    return type(error).__name__


_ERRORS = frozenset(range(1, 134))
"""Numbers of errno(3); libraries put others there."""


def _status(code: int) -> str:
    try:
        return f"it answers {code} {HTTPStatus(code).phrase}"
    except ValueError:
        return f"it answers {code}"


class _Said(logging.Handler):
    """What apprise says of a send that failed, of which only a status is taken."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.reason = "it was refused or could not be reached"
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return  # another receiver's
        text = record.getMessage()
        if code := re.search(r"\berror=(\d{3})\b", text):
            self.reason = _status(int(code[1]))
        elif record.levelno >= logging.WARNING and "onnection error" in text:
            self.reason = "it could not be reached"
