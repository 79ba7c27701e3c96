"""What the operator has run after each restore point, to have it on another machine as well."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from recoverd.act.programs import end


async def run(hook: str, cluster: str, root: Path, point: str, seconds: float) -> str:
    """Run `HOOK CLUSTER DIRECTORY POINT` and wait for it. What went wrong; "" where nothing did."""
    try:
        process = await asyncio.create_subprocess_exec(
            hook,
            cluster,
            str(root),
            point,
            cwd=root,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        return f"{hook} could not be started: {error}"
    try:
        async with asyncio.timeout(max(1.0, seconds)):
            output, _ = await process.communicate()
    except TimeoutError:
        return f"{hook} did not end within {seconds:.0f} s, and was ended"
    finally:
        await end(process)
    if not process.returncode:
        return ""
    said = " / ".join(output.decode(errors="replace").strip().splitlines()[-3:])[:500]
    return f"{hook} ended with status {process.returncode}: {said or 'it said nothing'}"
