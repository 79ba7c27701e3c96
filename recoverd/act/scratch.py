"""A snapshot really restored: into an etcd of its own on the bastion, that nobody else can
reach and that ends with the check.

It listens on Unix sockets in a directory of mode 0700, never on a port: the snapshot holds every Secret of the cluster.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, wait_fixed

from recoverd.act.programs import end
from recoverd.act.until import left, stop_at
from recoverd.clients.etcd_keys import EVERY_KEY

CLIENT, PEER = "client:1", "peer:2"
"""etcd makes of unix://client:1 a socket of that name in its working directory (observed on 3.4)."""


class Unable(Exception):  # noqa: N818
    """The check could not be made, which says nothing about the snapshot."""


class Refuted(Exception):  # noqa: N818
    """The snapshot cannot be restored, or is not what it should be."""


@dataclass(frozen=True, slots=True)
class Programs:
    """etcd, and what restores: etcdutl (3.5 and later) or etcdctl."""

    etcd: str
    restorer: str
    version: str
    """Of the older of the two, as `3.5.16`."""


@dataclass(frozen=True, slots=True)
class Restored:
    revision: int
    keys: int
    how: str


async def find(directory: str) -> Programs:
    """The programs in `directory`, else on PATH. Raises `Unable`, with what is missing."""

    def which(*names: str) -> str | None:
        return next(
            (found for path in (directory or None, None) for n in names if (found := shutil.which(n, path=path))), None
        )

    etcd, restorer = which("etcd"), which("etcdutl", "etcdctl")
    if etcd is None or restorer is None:
        missing = " and ".join(n for n, found in (("etcd", etcd), ("etcdutl or etcdctl", restorer)) if found is None)
        raise Unable(
            f"{missing} is not on the bastion (Debian packages etcd-server and etcd-client; "
            "`restore_points.programs` names a directory)"
        )
    versions = []
    for command in ([etcd, "--version"], [restorer, "version"]):
        try:
            found = re.search(r"(?i)version: (\d+\.\d+\S*)", await _run(command, Path("/"), 10.0))
        except Refuted as refuted:
            raise Unable(str(refuted)) from refuted
        if not found:
            raise Unable(f"{command[0]} does not say its version")
        versions.append(found[1])
    return Programs(etcd, restorer, min(versions, key=_minor))


async def restore(programs: Programs, snapshot: Path, scratch: Path, member_version: str, until: float) -> Restored:
    """Restore `snapshot` below `scratch` (an empty directory of mode 0700), start etcd there and ask it.
    Raises `Unable` and `Refuted`.
    """
    if _minor(programs.version) < _minor(member_version):
        raise Unable(
            f"the bastion has etcd {programs.version}, older than the member's {member_version}, "
            "whose data it may not read"
        )
    try:
        revision, keys = await _restored(programs, snapshot, scratch, until)
    except Refuted as refuted:
        if _minor(programs.version) == _minor(member_version):
            raise
        raise Unable(
            f"{refuted}. The bastion's etcd is {programs.version} and the member's {member_version}; that may be why"
        ) from refuted
    name = Path(programs.restorer).name
    return Restored(
        revision,
        keys,
        f"restored with {name} into a scratch etcd {programs.version} on the bastion: revision {revision}, {keys} keys",
    )


async def _restored(programs: Programs, snapshot: Path, scratch: Path, until: float) -> tuple[int, int]:
    """The revision that was restored, by `snapshot status` where it says, and the keys that etcd itself has at it."""
    told = await _status(programs, snapshot, scratch, until)
    command = [programs.restorer, "snapshot", "restore", str(snapshot), "--data-dir", str(scratch / "data")]
    await _run(command, scratch, left(until))
    process = await _start(programs, scratch)
    try:
        revision, keys = await _ask(process, scratch, told, until)
    finally:
        await end(process)
    if revision < told:
        raise Refuted(f"restored, it is at revision {revision}, and `snapshot status` says {told}")
    return told or revision, keys


async def _status(programs: Programs, snapshot: Path, scratch: Path, until: float) -> int:
    """The revision by `snapshot status`, which walks through the whole database; 0 where it does not say."""
    text = await _run([programs.restorer, "snapshot", "status", str(snapshot), "-w", "json"], scratch, left(until))
    try:
        return int(json.loads(text.strip().splitlines()[-1])["revision"])
    except (ValueError, KeyError, TypeError, IndexError):
        return 0


async def _run(command: Sequence[str], directory: Path, seconds: float) -> str:
    """What the command printed. Raises `Unable` for what the bastion is to blame for,
    `Refuted` for what it says itself.
    """
    name = " ".join(Path(command[0]).name if i == 0 else part for i, part in enumerate(command[:3]))
    try:
        process = await asyncio.create_subprocess_exec(
            *_meek(command),
            cwd=directory,
            env=_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise Unable(f"`{name}` could not be started: {error}") from error
    try:
        async with asyncio.timeout(max(0.1, seconds)):
            output, _ = await process.communicate()
    except TimeoutError:
        raise Unable(f"`{name}` did not end within {seconds:.0f} s") from None
    finally:
        await end(process)
    text = output.decode(errors="replace")
    if process.returncode:
        said = " / ".join(text.strip().splitlines()[-3:])[:500]
        if process.returncode < 0 or "no space left" in text or "cannot allocate memory" in text:
            raise Unable(f"`{name}` ended with status {process.returncode}: {said}")
        raise Refuted(f"`{name}` ended with status {process.returncode}: {said}")
    return text


async def _start(programs: Programs, scratch: Path) -> asyncio.subprocess.Process:
    # it must not outlive recoverd, whatever ends that
    bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    command = [
        *bound,
        *_meek([programs.etcd]),
        *("--data-dir", str(scratch / "data")),
        *("--listen-client-urls", f"unix://{CLIENT}", "--advertise-client-urls", "http://localhost:2379"),
        *("--listen-peer-urls", f"unix://{PEER}", "--initial-advertise-peer-urls", "http://localhost:2380"),
        *("--initial-cluster", "default=http://localhost:2380"),
    ]
    try:
        with (scratch / "etcd.log").open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *command, cwd=scratch, env=_environment(), stdout=log, stderr=log
            )
    except OSError as error:
        raise Unable(f"{programs.etcd} could not be started: {error}") from error


async def _ask(process: asyncio.subprocess.Process, scratch: Path, at: int, until: float) -> tuple[int, int]:
    """Its revision, and the number of keys at revision `at` (0: now), once it answers."""

    async def once() -> tuple[int, int]:
        if process.returncode is not None:
            log = (scratch / "etcd.log").read_text(errors="replace")
            said = " / ".join(log.strip().splitlines()[-3:])[:600]
            here = process.returncode < 0 or "no space left" in log
            raise (Unable if here else Refuted)(
                f"etcd, started on what was restored, ended with {process.returncode}: {said}"
            )
        async with asyncio.timeout(10.0):
            return await _counted(scratch, at)

    waiting = (OSError, aiohttp.ClientError, TimeoutError, ValueError, KeyError)
    retrying = AsyncRetrying(retry=retry_if_exception_type(waiting), wait=wait_fixed(0.2), stop=stop_at(until))
    try:
        answer: tuple[int, int] = await retrying(once)
    except RetryError as over:
        raise Unable(
            f"etcd, started on what was restored, did not answer in time ({over.last_attempt.exception()!r})"
        ) from None
    return answer


async def _counted(scratch: Path, at: int) -> tuple[int, int]:
    handle = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    try:  # the path of a socket may have 107 bytes
        connector = aiohttp.UnixConnector(f"/proc/self/fd/{handle}/{CLIENT}")
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:

            async def ask(path: str, body: dict[str, object]) -> dict[str, Any]:
                async with session.post(f"http://scratch{path}", json=body) as response:
                    answer = await response.read()
                    if response.status != 200:
                        raise ValueError(f"HTTP {response.status}: {answer.decode(errors='replace')[:200]}")
                    return dict(json.loads(answer))

            every = await ask("/v3/kv/range", EVERY_KEY)
            revision = int(every["header"]["revision"])
            if 0 < at < revision:  # leases of the snapshot end here too, and their keys with them
                every = await ask("/v3/kv/range", {**EVERY_KEY, "revision": str(at)})
            return revision, int(every.get("count", 0))
    finally:
        os.close(handle)


def _meek(command: Sequence[str]) -> list[str]:
    """Behind everything else on the bastion, and the first to go when its memory ends."""
    last = ["choom", "-n", "1000", "--"] if shutil.which("choom") else []
    return [*last, *(["nice", "-n", "19"] if shutil.which("nice") else []), *command]


def _environment() -> dict[str, str]:
    """Nothing of ETCD_* that the bastion may have set."""
    return {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "ETCDCTL_API": "3"}


def _minor(version: str) -> tuple[int, int]:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
