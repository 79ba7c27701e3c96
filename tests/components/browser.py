"""A real browser, driven by its DevTools protocol: Debian's chromium, which shows a page as a person would see it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

ARTEFACTS = "RECOVERD_ARTEFACTS"
"""Names the directory in which pictures are kept; pytest's own for the test without it."""
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
)


class Browser:
    """One tab. Its console's and network's complaints are in `complaints`."""

    def __init__(self, tab: aiohttp.ClientWebSocketResponse) -> None:
        self._tab = tab
        self._number = 0
        self.complaints: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        await self._tab.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            said = await self._tab.receive_json(timeout=30)
            if said.get("id") == self._number:
                assert "error" not in said, said
                return dict(said["result"])
            if said.get("method") == "Log.entryAdded":
                self.complaints.append(said["params"]["entry"]["text"])

    async def ask(self, expression: str) -> Any:
        """What the expression is in the page."""
        answer = await self.call("Runtime.evaluate", expression=f"JSON.stringify({expression})", awaitPromise=True)
        return json.loads(answer["result"].get("value", "null"))

    async def until(self, expression: str, seconds: float = 30.0) -> None:
        """Wait until the expression is true in the page."""
        async with asyncio.timeout(seconds):
            while not await self.ask(expression):  # noqa: ASYNC110  # the page is another process's
                await asyncio.sleep(0.1)

    async def open(self, url: str, width: int = 1600, scheme: str = "light", *, script: bool = True) -> None:
        await self.call("Emulation.setScriptExecutionDisabled", value=not script)
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await self.call("Page.navigate", url=url)
        await self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    async def picture(self, file: Path) -> None:
        """The whole page, also what is below the window."""
        width, height = await self.ask("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(shot["data"]))


def artefacts(tmp_path: Path) -> Path:
    """Where pictures of this run are kept, to be looked at."""
    folder = Path(os.environ.get(ARTEFACTS) or tmp_path / "artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@asynccontextmanager
async def chromium(tmp_path: Path) -> AsyncIterator[Browser]:
    """A browser with a tab; the test is skipped where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (Debian package chromium)")
    process = await asyncio.create_subprocess_exec(
        program, *ARGUMENTS, f"--user-data-dir={tmp_path / 'profile'}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr
    try:
        said = ""
        async with asyncio.timeout(60):
            while not (place := re.search(r"ws://([\d.:]+)/", said)):
                line = await process.stderr.readline()
                assert line, f"chromium has ended: {said}"
                said += line.decode(errors="replace")
        drain = asyncio.create_task(process.stderr.read())
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{place[1]}/json") as answer:
                tab = next(t for t in await answer.json() if t["type"] == "page")
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                browser = Browser(socket)
                for domain in ("Log", "Page", "Runtime"):
                    await browser.call(f"{domain}.enable")
                yield browser
        drain.cancel()
    finally:
        process.terminate()
        await process.wait()
