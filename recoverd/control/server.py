"""The server side: JSON over HTTP on a Unix socket. Who asks is what the kernel says of the socket's other end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from recoverd import __version__
from recoverd.config.types import Access
from recoverd.control import ASKED, SHOWN, VERSION, bodies, shapes
from recoverd.control.changes import Texts, nothing, texts
from recoverd.control.door import Caller, Count, Door, Forbidden, Right
from recoverd.control.protocol import Controller, JoinEnded, Told
from recoverd.engine.journal_file import JournalError
from recoverd.model.audit import Answer
from recoverd.model.events import Refused
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.text import meant

log = structlog.get_logger()
MODE = 0o660
"""Who may use recoverctl: the socket's owner and its group."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Act = Callable[[dict[str, Any], str, Caller], Awaitable[str]]
"""Does what is asked with the body, the id in the path and who asks; says what came of it."""


class ControlServer:
    """Serves a `Controller` at `path`. `count` counts what changes anything, by request and answer; `bastion` is this
    one's name among several.
    """

    def __init__(
        self, controller: Controller, path: Path, count: Count = lambda request, answer: None, bastion: str = ""
    ) -> None:
        self._controller = controller
        self._door = Door(controller, count, bastion)
        self._path = path
        self._runner: web.AppRunner | None = None

    def let(self, access: Access | None) -> None:
        """Who may ask for what from now on."""
        self._door.access = access

    async def start(self) -> None:
        """Listen. Raises `OSError` when another daemon answers there, or the socket cannot be made."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _clear_stale(self._path)
        application = self._application()
        application.on_response_prepare.append(_says_what_it_is)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
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
        self._door.close()
        with suppress(OSError):
            self._path.unlink()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_errors, self._looking])
        ask = self._controller
        router = application.router

        async def plans(request: web.Request) -> web.Response:
            everything, of = request.query.get("all") == "1", request.query.get("of", "")
            rows = await ask.plans(all=everything, of=of, limit=_limit(request))
            script = {"script": shapes.functions(rows)} if request.query.get("script") == "1" else {}
            return _json({"plans": [shapes.plan(p, _there(ask, p)) for p in rows], "older": rows.older, **script})

        async def shadow(request: web.Request) -> web.Response:
            rows = await ask.shadows(request.query.get("cluster"), _limit(request))
            return _json({"shadows": [shapes.shadow(p) for p in rows], "older": rows.older})

        async def incidents(request: web.Request) -> web.Response:
            rows = await ask.incidents(request.query.get("cluster"), _limit(request))
            return _json({"incidents": [shapes.incident(i) for i in rows], "older": rows.older})

        async def show(request: web.Request) -> web.Response:
            return _json(shapes.report(await ask.report(request.match_info["incident"])))

        async def dump(request: web.Request) -> web.Response:
            return _json(await ask.dumped(request.match_info["cluster"]))

        async def points(request: web.Request) -> web.Response:
            return _json(
                {"restore_points": [shapes.point(*p) for p in ask.restore_points(request.query.get("cluster"))]}
            )

        async def audit(request: web.Request) -> web.Response:
            rows = await ask.audit(_since(request), request.query.get("cluster", ""), _limit(request, ASKED))
            return _json({"requests": [shapes.asked(row) for row in rows], "older": rows.older})

        router.add_get("/v1/status", self._status)
        router.add_get("/v1/dump/{cluster}", dump)
        router.add_get("/v1/restore-points", points)
        router.add_get("/v1/plans", plans)
        router.add_get("/v1/shadow", shadow)
        router.add_get("/v1/incidents", incidents)
        router.add_get("/v1/incidents/{incident}", show)
        router.add_get("/v1/audit", audit)
        router.add_get("/v1/watch", self._watch)
        router.add_post("/v1/join", self._join)
        router.add_post("/v1/notify-test", self._notify_test)
        for path, (name, known, act) in _acts(ask).items():
            router.add_post(path, self._action(name, known, act))
        return application

    @web.middleware
    async def _looking(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Whatever changes nothing is for who may look; what does passes the door by itself."""
        if request.method != "POST" and self._door.restricts(Right.VIEW):
            await self._door.admit(await self._door.caller(request), Right.VIEW)
        return await handler(request)

    def _action(self, name: str, known: Collection[str], act: Act) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            who, body = await self._door.caller(request), await bodies.read(request)
            id = request.match_info.get("id", "")
            async with self._door.asked(who, name, **bodies.about(body, id)) as outcome:
                bodies.check(body, name, known)
                outcome.detail = await act(body, id, who)
            return _json({"message": outcome.detail})

        return handle

    async def _notify_test(self, request: web.Request) -> web.Response:
        who, body = await self._door.caller(request), await bodies.read(request)
        async with self._door.asked(who, "notify-test", subject=bodies.said(body, "receiver")) as outcome:
            bodies.check(body, "notify-test", ("receiver",))
            told = await self._controller.notify_test(bodies.text(body, "receiver") or None, who.by)
            outcome.detail = ", ".join(f"{d.receiver} {'told' if d.ok else 'not told'}" for d in told)
        return _json({"receivers": [shapes.delivery(d) for d in told]})

    async def _status(self, request: web.Request) -> web.Response:
        wanted, found = request.query.get("cluster"), self._controller.status()
        chosen = [c for c in found if wanted in (None, c.name)]
        if wanted is not None and not chosen:
            raise Refused(f"there is no cluster {wanted}; {meant(wanted, (c.name for c in found))}", missing=True)
        return _json({"clusters": [shapes.status(c) for c in chosen], "notices": self._controller.notices()})

    async def _join(self, request: web.Request) -> web.StreamResponse:
        """Lines of JSON until the join has ended; a refusal before the first of them is an answer like any other."""
        who, body = await self._door.caller(request), await bodies.read(request)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        about = bodies.about(body, bodies.said(body, "name"))
        async with self._door.asked(who, "join-control-plane", **about) as outcome:
            bodies.check(body, "join-control-plane", bodies.JOIN)
            cluster, emergency = bodies.text(body, "cluster", required=True), body.get("emergency") is True
            reason = bodies.text(body, "reason")
            lines = self._controller.join(cluster, bodies.join_request(body), who.by, reason, emergency=emergency)
            async with aclosing(lines):
                line: Told | None = await anext(lines)
                outcome.answer, outcome.detail = Answer.ASKED, "who asked stopped listening; recoverctl plans --all"
                await response.prepare(request)
                with suppress(ConnectionError, asyncio.CancelledError):
                    while line is not None:
                        if isinstance(line, JoinEnded):
                            failed = Answer.FAILED if line.plan else Answer.REFUSED
                            outcome.answer, outcome.detail = Answer.DONE if line.ok else failed, line.message
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


async def _says_what_it_is(_: web.Request, response: web.StreamResponse) -> None:
    response.headers[VERSION] = __version__


def _there(controller: Controller, plan: Plan) -> Texts:
    """What is in the files of the plan's machines, while it waits: afterwards its own texts are in them."""
    if plan.status is not PlanStatus.AWAITING_APPROVAL:
        return nothing
    try:
        there = controller.dump(plan.cluster)
        return texts(there.observation, there.memory)
    except Refused:  # the daemon has just been started, or the cluster is not watched any more
        return nothing


def _acts(ask: Controller) -> dict[str, tuple[str, Collection[str], Act]]:
    """What changes something, by its path: how one types it, what it may say, and what does it."""
    return {
        "/v1/plans/{id}/approve": (
            "approve",
            ("reason", "digest", "emergency"),
            lambda b, i, who: ask.approve(
                i,
                who.by,
                bodies.text(b, "reason"),
                bodies.text(b, "digest"),
                person=who.person,
                emergency=b.get("emergency") is True,
            ),
        ),
        "/v1/plans/{id}/reject": (
            "reject",
            ("reason",),
            lambda b, i, who: ask.reject(i, who.by, bodies.text(b, "reason", required=True)),
        ),
        "/v1/incidents/{id}/ack": ("ack", (), lambda b, i, who: ask.acknowledge(i, who.by)),
        "/v1/restore-points": (
            "restore-points take",
            ("cluster",),
            lambda b, i, who: ask.take_point(bodies.text(b, "cluster", required=True), who.by),
        ),
        "/v1/pause": (
            "pause",
            ("cluster", "all", "reason"),
            lambda b, i, who: ask.pause(bodies.one_or_all(b), who.by, bodies.text(b, "reason", required=True)),
        ),
        "/v1/resume": ("resume", ("cluster", "all"), lambda b, i, who: ask.resume(bodies.one_or_all(b), who.by)),
        "/v1/run": (
            "run",
            ("playbook", "cluster", "nodes", "reason", "point"),
            lambda b, i, who: ask.request_plan(
                bodies.text(b, "playbook", required=True),
                bodies.text(b, "cluster", required=True),
                bodies.names(b, "nodes"),
                who.by,
                bodies.text(b, "reason"),
                bodies.text(b, "point"),
            ),
        ),
    }


def _limit(request: web.Request, otherwise: int = SHOWN) -> int:
    """How many are wanted at most; a recoverctl of before does not say."""
    text = request.query.get("limit", str(otherwise))
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**31:
        raise web.HTTPBadRequest(text=f"limit is no number: {text}")
    return int(text)


def _since(request: web.Request) -> datetime:
    try:
        since = datetime.fromisoformat(request.query.get("since", ""))
    except ValueError:
        raise web.HTTPBadRequest(text="since is missing or no time as 2026-03-05T19:10:00+00:00") from None
    if since.tzinfo is None:
        raise web.HTTPBadRequest(text="since has no time zone")
    return since


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error is a sentence for the operator; what nobody foresaw goes to the log with its traceback."""
    try:
        return await handler(request)
    except Forbidden as refused:
        return _json({"error": str(refused)}, status=403)
    except Refused as refused:
        passing = {"passing": True} if refused.passing else {}
        return _json({"error": str(refused), **passing}, status=404 if refused.missing else 409)
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
