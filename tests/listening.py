"""A stand-in for the daemon that listens on a socket of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web


@asynccontextmanager
async def listening(application: web.Application, socket: Path) -> AsyncIterator[None]:
    """The application answers there within the block."""
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(socket)).start()
        yield
    finally:
        await runner.cleanup()
