"""The client side, for recoverctl: one request, one answer, one deadline."""

from __future__ import annotations

import grp
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from recoverd import __version__
from recoverd.control import VERSION
from recoverd.model.text import typed

CONNECT, ANSWER = 5.0, 20.0
UNROUTED = "404: Not Found"
"""What a daemon says of a path that it has never heard of; what it knows and has not, it names."""


class NoDaemon(Exception):  # noqa: N818
    """Nobody answers on the socket; the text says what to do."""


class Denied(Exception):  # noqa: N818
    """The daemon refused the request or knows no such thing (`missing`); the next sweep may change that (`passing`)."""

    def __init__(self, text: str, *, missing: bool = False, passing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing
        self.passing = passing


class ControlClient:
    """Speaks to the daemon on `socket`. Methods raise `NoDaemon` and `Denied`."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._runs = __version__

    @property
    def strange(self) -> str:
        """That the daemon is of another version, and what to do; "" where it is of this one."""
        if self._runs == __version__:
            return ""
        runs = self._runs or "an older one"
        return f"the recoverd that runs is {runs}, this recoverctl is {__version__} (systemctl restart recoverd)"

    async def get(self, path: str, *names: str, **query: str) -> dict[str, Any]:
        """`names` stand in the places `{}` of the path."""
        return await self._request("GET", _filled(path, names), params={k: typed(v) for k, v in query.items()})

    async def post(self, path: str, *names: str, **body: Any) -> dict[str, Any]:
        return await self._request("POST", _filled(path, names), json=_typed(body))

    def watch(self) -> AsyncIterator[dict[str, Any]]:
        """Lines of history as they are written, until the daemon stops."""
        return self._lines("GET", "/v1/watch")

    def join(self, **body: Any) -> AsyncIterator[dict[str, Any]]:
        """What is told of a join, line by line; its last line has the key `end` unless the daemon stopped before."""
        return self._lines("POST", "/v1/join", json=_typed(body))

    async def _lines(self, method: str, path: str, **options: Any) -> AsyncIterator[dict[str, Any]]:
        try:
            async with (
                self._session(None) as session,
                session.request(method, _url(path), **options) as response,
            ):
                if response.status != 200:
                    raise self._denied(response, await response.json(content_type=None))
                self._runs = response.headers.get(VERSION, "")
                async for line in response.content:
                    yield json.loads(line)
        except aiohttp.ClientPayloadError:
            return
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._no_daemon(error) from error

    async def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            async with (
                self._session(ANSWER) as session,
                session.request(method, _url(path), **options) as response,
            ):
                answer: dict[str, Any] = await response.json(content_type=None)
                if response.status != 200:
                    raise self._denied(response, answer)
                self._runs = response.headers.get(VERSION, "")
                return answer
        except TimeoutError:
            raise NoDaemon(
                f"recoverd did not answer on {self._socket} within {ANSWER:g} s; see journalctl -u recoverd"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._no_daemon(error) from error
        except ValueError as error:
            raise NoDaemon(f"what answers on {self._socket} is not recoverd ({error})") from error

    def _session(self, total: float | None) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=CONNECT)
        return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._socket)), timeout=timeout)

    def _denied(self, response: aiohttp.ClientResponse, answer: dict[str, Any]) -> Denied:
        self._runs = response.headers.get(VERSION, "")
        text = str(answer.get("error", f"HTTP {response.status}"))
        if text == UNROUTED and self.strange:
            return Denied(f"it does not know what was asked: {self.strange}")
        return Denied(text, missing=response.status == 404, passing=bool(answer.get("passing")))

    def _no_daemon(self, error: Exception) -> NoDaemon:
        cause = getattr(error, "os_error", None) or error
        if isinstance(cause, PermissionError):
            return NoDaemon(
                f"you may not use {self._socket}; it is for members of the group {self._group()} (or use sudo)"
            )
        if isinstance(cause, FileNotFoundError):
            return NoDaemon(
                f"no recoverd runs here: there is no socket {self._socket} (systemctl status "
                "recoverd, or --socket PATH)"
            )
        if isinstance(cause, ConnectionRefusedError) and not self._socket.is_socket():
            return NoDaemon(f"{self._socket} is no socket, so no recoverd listens there (--socket, RECOVERD_SOCKET)")
        if isinstance(cause, ConnectionRefusedError):
            return NoDaemon(f"recoverd has stopped: nobody listens on {self._socket} (systemctl start recoverd)")
        return NoDaemon(f"recoverd cannot be asked on {self._socket}: {cause}")

    def _group(self) -> str:
        try:
            return grp.getgrgid(self._socket.stat().st_gid).gr_name
        except (OSError, KeyError):
            return "recoverd"


def _filled(path: str, names: Sequence[str]) -> str:
    """The path with names in it, each within its own part: `..`, `?` and `/` that somebody types lead nowhere else.
    Raises `Denied` for a name that is empty, as a script's variable that is not set.
    """
    if not all(names):
        raise Denied("there is nothing without a name, and the name that was given is empty", missing=True)
    return path.format(*(quote(typed(name), safe="").replace(".", "%2E") for name in names))


def _url(path: str) -> URL:
    return URL(f"http://recoverd{path}", encoded=True)


def _typed(body: dict[str, Any]) -> dict[str, Any]:
    return {
        k: typed(v) if isinstance(v, str) else [typed(each) for each in v] if isinstance(v, list) else v
        for k, v in body.items()
    }
