"""What goes into a command over SSH, and what comes out of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import asyncssh

CHUNK = 1 << 16


def whole(script: str) -> bytes:
    """The script as one compound command: sh runs nothing of it when the connection breaks while it is sent,
    and it cannot eat its own text.
    """
    return f"{{\n{script}\n}} </dev/null\n".encode()


async def tell(process: asyncssh.SSHClientProcess[bytes], script: str) -> None:
    with suppress(
        OSError
    ):  # a command that has ended already (a forced one, say) takes no script; its exit status says the rest
        process.stdin.write(whole(script))
        process.stdin.write_eof()


async def feed(process: asyncssh.SSHClientProcess[bytes], source: Path) -> None:
    """The file as the process's stdin, no faster than it is taken."""
    with suppress(
        asyncssh.Error, BrokenPipeError, ConnectionError
    ):  # a script that refused takes no more; its exit status says the rest
        with source.open("rb") as file:
            while part := await asyncio.to_thread(file.read, CHUNK):
                process.stdin.write(part)
                await process.stdin.drain()
        process.stdin.write_eof()


async def collect(
    process: asyncssh.SSHClientProcess[bytes], stream: asyncssh.SSHReader[bytes], limit: int
) -> tuple[bytes, bool]:
    """Read to the end, or to the limit; past the limit the channel is closed, which ends the other stream too."""
    parts, size = [], 0
    while size <= limit and (part := await stream.read(CHUNK)):
        parts.append(part)
        size += len(part)
    if size > limit:
        process.close()
    return b"".join(parts)[:limit], size > limit
