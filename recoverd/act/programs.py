"""Programs of this bastion that are run beside the daemon, and how they end with what they were run for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

END_SECONDS = 5.0
"""What one gets to end by itself, when it was told to."""


async def end(process: asyncio.subprocess.Process) -> None:
    """End it, if it has not ended: by its own doing, and by SIGKILL where it takes too long."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except (TimeoutError, asyncio.CancelledError) as ended:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if isinstance(ended, asyncio.CancelledError):
            raise
