"""The server side: JSON over HTTP on a Unix socket. Who asks is what the kernel says of the socket's other end."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from recoverd.control import shapes
from recoverd.control.changes import Texts, nothing, texts
from recoverd.control.protocol import Controller, JoinEnded, Told
from recoverd.engine.journal_file import JournalError
from recoverd.model.codec import plain
from recoverd.model.dump import without_secrets
from recoverd.model.events import Refused
from recoverd.model.joining import JoinRequest
from recoverd.model.plan import Plan, PlanStatus

log = structlog.get_logger()
MODE = 0o660
"""Who may use recoverctl: the socket's owner and its group."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Act = Callable[[dict[str, Any], str, str], Awaitable[str]]
"""Does what is asked with the body, the id in the path and who asks; says what came of it."""


class ControlServer:
    """Serves a `Controller` at `path`."""

    def __init__(self, controller: Controller, path: Path) -> None:
        self._controller = controller
        self._path = path
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises `OSError` when another daemon answers there, or the socket cannot be made."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _clear_stale(self._path)
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        before = os.umask(0o777 & ~MODE)
        try:
            await web.UnixSite(self._runner, self._path).start()
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._runner:
            await self._runner.cleanup()
        with suppress(OSError):
            self._path.unlink()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_errors])
        ask = self._controller
        router = application.router

        async def plans(request: web.Request) -> web.Response:
            rows = await ask.plans(all=request.query.get("all") == "1", of=request.query.get("of", ""))
            script = {"script": shapes.functions(rows)} if request.query.get("script") == "1" else {}
            return _json({"plans": [shapes.plan(p, _there(ask, p)) for p in rows], **script})

        async def shadow(request: web.Request) -> web.Response:
            rows = await ask.shadows(request.query.get("cluster"))
            return _json({"shadows": [shapes.shadow(p) for p in rows]})

        async def incidents(request: web.Request) -> web.Response:
            return _json({"incidents": [shapes.incident(i) for i in await ask.incidents(request.query.get("cluster"))]})

        async def show(request: web.Request) -> web.Response:
            name = request.match_info["incident"]
            report = await ask.report(name)
            if report is None:
                raise Refused(f"there is no incident {name}; `recoverctl incidents` lists them", missing=True)
            return _json(shapes.report(report))

        async def dump(request: web.Request) -> web.Response:
            return _json(without_secrets(plain(ask.dump(request.match_info["cluster"]))))

        async def points(request: web.Request) -> web.Response:
            return _json(
                {"restore_points": [shapes.point(*p) for p in ask.restore_points(request.query.get("cluster"))]}
            )

        async def notify_test(request: web.Request) -> web.Response:
            told = await ask.notify_test(_text(await _body(request), "receiver") or None, caller(request))
            return _json({"receivers": [shapes.delivery(d) for d in told]})

        router.add_get("/v1/status", self._status)
        router.add_get("/v1/dump/{cluster}", dump)
        router.add_get("/v1/restore-points", points)
        router.add_get("/v1/plans", plans)
        router.add_get("/v1/shadow", shadow)
        router.add_get("/v1/incidents", incidents)
        router.add_get("/v1/incidents/{incident}", show)
        router.add_get("/v1/watch", self._watch)
        router.add_post("/v1/join", self._join)
        router.add_post("/v1/notify-test", notify_test)
        for path, act in _acts(ask).items():
            router.add_post(path, _action(act))
        return application

    async def _status(self, request: web.Request) -> web.Response:
        wanted, found = request.query.get("cluster"), self._controller.status()
        chosen = [c for c in found if wanted in (None, c.name)]
        if wanted is not None and not chosen:
            raise Refused(f"there is no cluster {wanted}; there are: {', '.join(c.name for c in found)}", missing=True)
        return _json({"clusters": [shapes.status(c) for c in chosen], "notices": self._controller.notices()})

    async def _join(self, request: web.Request) -> web.StreamResponse:
        """Lines of JSON until the join has ended; a refusal before the first of them is an answer like any other."""
        body = await _body(request)
        asked = JoinRequest(
            _text(body, "name", required=True),
            _address(body),
            _text(body, "host_key").strip(),
            take_back_single=body.get("take_back_single") is True,
            skip_preflight=body.get("skip_preflight") is True,
            member_seconds=_seconds(body, "member_seconds"),
        )
        lines = self._controller.join(
            _text(body, "cluster", required=True), asked, caller(request), _text(body, "reason")
        )
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        async with aclosing(lines):
            line: Told | None = await anext(lines)
            await response.prepare(request)
            with suppress(ConnectionError, asyncio.CancelledError):
                while line is not None:
                    await response.write(json.dumps(shapes.told(line)).encode() + b"\n")
                    line = await self._next(lines)
        return response

    @staticmethod
    async def _next(lines: AsyncGenerator[Told]) -> Told | None:
        """The next line; what is refused at this late moment is the last one."""
        try:
            return await anext(lines, None)
        except (Refused, JournalError) as refused:
            return JoinEnded(False, str(refused))

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        with suppress(ConnectionError, asyncio.CancelledError):
            async for event in self._controller.watch():
                await response.write(json.dumps(shapes.watched(event)).encode() + b"\n")
        return response


def _there(controller: Controller, plan: Plan) -> Texts:
    """What is in the files of the plan's machines, while it waits: afterwards its own texts are in them."""
    if plan.status is not PlanStatus.AWAITING_APPROVAL:
        return nothing
    try:
        there = controller.dump(plan.cluster)
        return texts(there.observation, there.memory)
    except Refused:  # the daemon has just been started, or the cluster is not watched any more
        return nothing


def caller(request: web.Request) -> str:
    """The Unix user at the other end, as the kernel reports it (SO_PEERCRED, unix(7));
    "uid 1234" where it has no name.
    """
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is None:
        raise web.HTTPBadRequest(text="the other end of the connection is gone")
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _acts(ask: Controller) -> dict[str, Act]:
    """What changes something, by its path."""
    return {
        "/v1/plans/{id}/approve": lambda b, i, by: ask.approve(i, by, _text(b, "reason"), _text(b, "digest")),
        "/v1/plans/{id}/reject": lambda b, i, by: ask.reject(i, by, _text(b, "reason", required=True)),
        "/v1/incidents/{id}/ack": lambda b, i, by: ask.acknowledge(i, by),
        "/v1/restore-points": lambda b, i, by: ask.take_point(_text(b, "cluster", required=True), by),
        "/v1/pause": lambda b, i, by: ask.pause(_cluster(b), by, _text(b, "reason", required=True)),
        "/v1/resume": lambda b, i, by: ask.resume(_cluster(b), by),
        "/v1/run": lambda b, i, by: ask.request_plan(
            _text(b, "playbook", required=True),
            _text(b, "cluster", required=True),
            _names(b, "nodes"),
            by,
            _text(b, "reason"),
            _text(b, "point"),
        ),
    }


def _action(act: Act) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        body = await _body(request)
        return _json({"message": await act(body, request.match_info.get("id", ""), caller(request))})

    return handle


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json() if request.can_read_body else {}
    except ValueError:
        raise web.HTTPBadRequest(text="the request is not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the request is not a JSON object")
    return body


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error is a sentence for the operator; what nobody foresaw goes to the log with its traceback."""
    try:
        return await handler(request)
    except Refused as refused:
        return _json({"error": str(refused)}, status=404 if refused.missing else 409)
    except JournalError as error:
        return _json({"error": str(error)}, status=503)
    except web.HTTPException as error:
        return _json({"error": error.text or error.reason}, status=error.status)
    except Exception:
        log.exception("a request broke recoverd itself", path=request.path)
        return _json(
            {
                "error": f"recoverd itself failed at {request.path}; its log (journalctl -u recoverd) says how. "
                "Nothing more is known here"
            },
            status=500,
        )


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(body, status=status)


def _text(body: dict[str, Any], key: str, *, required: bool = False) -> str:
    value = body.get(key) or ""
    if not isinstance(value, str) or (required and not value.strip()):
        raise web.HTTPBadRequest(text=f"{key} is missing or not a text")
    return value


def _names(body: dict[str, Any], key: str) -> tuple[str, ...]:
    value = body.get(key) or []
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise web.HTTPBadRequest(text=f"{key} is not a list of names")
    return tuple(value)


def _address(body: dict[str, Any]) -> str:
    """As the machines will be told it, so nothing but an IP address."""
    try:
        return str(ip_address(_text(body, "address", required=True)))
    except ValueError:
        raise web.HTTPBadRequest(
            text=f"{body['address']!r} is no IP address; give the one that the control planes will use"
        ) from None


def _seconds(body: dict[str, Any], key: str) -> int:
    value = body.get(key) or 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 600:
        raise web.HTTPBadRequest(text=f"{key} is no number of seconds up to 600")
    return value


def _cluster(body: dict[str, Any]) -> str | None:
    if body.get("all") is True:
        return None
    return _text(body, "cluster", required=True)


def _clear_stale(path: Path) -> None:
    """Remove a socket that nobody listens on; refuse to take one over that answers."""
    if not path.is_socket():
        if path.exists():
            raise OSError(
                f"{path} exists and is no socket; move it away or choose another `socket` in the configuration"
            )
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(f"another recoverd answers on {path}; only one may run (systemctl status recoverd)")
