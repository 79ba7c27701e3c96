"""An etcd snapshot on its way to the bastion's disk: whole and checked, or not there at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

DIGEST = 32
"""etcd appends the sha256 of the database to it (etcd 3.4's snapshot_command.go and maintenance.go)."""
PAGE = 512
"""etcdctl's own check of a snapshot: its size without the digest is a multiple of this."""


class SnapshotError(Exception):
    """What arrived is not a whole snapshot; the text says why."""


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot on disk. `sha256` is of the whole file, as sha256sum prints it; `size` is in bytes."""

    path: Path
    size: int
    sha256: str


class SnapshotFile:
    """Written beside its target, readable by its owner only, renamed by `finish`;
    anything else leaves nothing behind.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._part = target.with_name(f".{target.name}.part")
        self._whole = hashlib.sha256()
        self._database = hashlib.sha256()
        self._tail = b""
        self._size = 0

    def __enter__(self) -> Self:
        self._target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # by a recoverd that was killed: into one directory one is fetched at a time
        for left in self._target.parent.glob(".*.part"):
            left.unlink(missing_ok=True)
        self._file = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()  # writes what is buffered, which fails again on a full disk
        finally:
            self._part.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._whole.update(data)
        self._size += len(data)
        held = self._tail + data
        self._database.update(held[:-DIGEST])
        self._tail = held[-DIGEST:]

    async def finish(self) -> SnapshotInfo:
        """Check, write through to the disk, rename; raises `SnapshotError`."""
        if self._size <= DIGEST or self._size % PAGE != DIGEST:
            raise SnapshotError(f"{self._size} bytes arrived, which is not whole pages and a hash")
        if self._tail != self._database.digest():
            raise SnapshotError("its content does not match the hash that etcd sent with it")
        await asyncio.to_thread(self._commit)
        return SnapshotInfo(self._target, self._size, self._whole.hexdigest())

    def _commit(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._target)
        directory = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
