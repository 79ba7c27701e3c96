"""Receivers for tests: a webhook on loopback that keeps what it is told, and can refuse or hang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.ports import free_port

SECRET = "hunter2-token"
"""Part of the path of every URL here: it must stand nowhere but in its file."""


class Webhook:
    """Takes what apprise posts as JSON; answers with `statuses`, one after the other, and then 200."""

    def __init__(self, directory: Path, name: str, *statuses: int, hangs: bool = False) -> None:
        self.told: list[dict[str, Any]] = []
        self.asked = 0
        self.port = free_port()
        self.url_file = directory / f"{name}.url"
        self.statuses = list(statuses)
        self.hangs = hangs
        self.write(f"json://127.0.0.1:{self.port}/{SECRET}")
        self._runner: web.AppRunner | None = None
        self._come = asyncio.Condition()

    def write(self, url: str) -> None:
        self.url_file.write_text(url + "\n")
        self.url_file.chmod(0o600)

    async def start(self) -> Webhook:
        application = web.Application()
        application.router.add_route("*", f"/{SECRET}", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        async with self._come:
            self.asked += 1
            self._come.notify_all()
        if self.hangs:
            await asyncio.sleep(3600)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200 and request.can_read_body:
            self.told.append(await request.json())
        async with self._come:
            self._come.notify_all()
        return web.Response(status=status)

    async def until(self, *, told: int = 0, asked: int = 0, seconds: float = 60.0) -> list[str]:
        """The titles that it was told, once there are so many, or once it was asked so often."""
        async with asyncio.timeout(seconds), self._come:
            await self._come.wait_for(lambda: len(self.told) >= told and self.asked >= asked)
        return self.titles

    async def when(self, wanted: Callable[[], bool], seconds: float = 60.0) -> None:
        """Return once it has been told what makes `wanted` so; the failure shows what it was told."""
        try:
            async with asyncio.timeout(seconds), self._come:
                await self._come.wait_for(wanted)
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s; told: {self.told}") from None

    @property
    def titles(self) -> list[str]:
        return [str(each["title"]) for each in self.told]


class Pager(Webhook):
    """The webhook receiver of an Alertmanager, whose messages are groups of alerts."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{SECRET}"

    def alerts(self, name: str, status: str = "firing") -> list[dict[str, Any]]:
        """The alerts of that name that it was told of, each as often as it was told."""
        return [
            alert
            for group in self.told
            for alert in group["alerts"]
            if (alert["labels"]["alertname"], alert["status"]) == (name, status)
        ]

    async def again(self) -> None:
        """Return once it has been told something more."""
        told = len(self.told)
        await self.when(lambda: len(self.told) > told)

    def last(self) -> dict[str, str]:
        """What each alert was when it was told of last: `firing` or `resolved`."""
        return {a["labels"]["alertname"]: a["status"] for group in self.told for a in group["alerts"]}
