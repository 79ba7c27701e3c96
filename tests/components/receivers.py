"""Receivers for tests: a webhook on loopback that keeps what it is told, and can refuse or hang."""

from __future__ import annotations

import asyncio
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

    @property
    def titles(self) -> list[str]:
        return [str(each["title"]) for each in self.told]
