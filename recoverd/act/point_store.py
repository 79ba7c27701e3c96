"""Restore points on the bastion's disk: whole and written through, or not there at all."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from recoverd.model.codec import dump, load
from recoverd.model.points import RestorePoint

MANIFEST, SNAPSHOT = "point.json", "snapshot.db"
DRAFT, GONE, SCRATCH = ".taking-", ".gone-", ".scratch-"
"""Beginnings of names that never count as a point: one being written, one being removed, a scratch etcd."""


class PointStore:
    """The points of one cluster below `root`, each a directory of its id. Everything is for its owner
    only. Methods raise `OSError`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> None:
        """Make the directory, and see that it is nobody else's."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.root.stat().st_mode & 0o077:
            self.root.chmod(0o700)

    def list(self) -> tuple[tuple[RestorePoint, ...], list[str]]:
        """Every whole point, newest last, and what is wrong with directories that look like one and are not."""
        points, problems = [], []
        for directory in sorted(self.root.iterdir()) if self.root.is_dir() else ():
            if directory.name.startswith(".") or not directory.is_dir():
                continue
            try:
                point = load(RestorePoint, (directory / MANIFEST).read_bytes())
                size = (directory / SNAPSHOT).stat().st_size
            except (OSError, ValueError) as error:
                problems.append(
                    f"{directory} is no whole restore point and does not count: {' '.join(str(error).split())[:200]}"
                )
                continue
            if size != point.size:
                problems.append(f"{directory} does not count: its snapshot has {size} bytes and not {point.size}")
                continue
            points.append(replace(point, directory=str(directory), path=str(directory / SNAPSHOT)))
        return tuple(sorted(points, key=lambda p: (p.sequence, p.taken_at))), problems

    def leftovers(self) -> tuple[str, ...]:
        """Remove what a crash left; returns the ids of the points that were never whole."""
        ids = []
        for entry in self.root.iterdir() if self.root.is_dir() else ():
            if entry.name.startswith(DRAFT):
                ids.append(entry.name.removeprefix(DRAFT))
            if entry.name.startswith((DRAFT, GONE, SCRATCH)):
                shutil.rmtree(entry)
        return tuple(ids)

    def begin(self, id: str) -> Path:
        """An empty directory to write the point into."""
        draft = self.root / f"{DRAFT}{id}"
        draft.mkdir(mode=0o700)
        return draft

    def names(self) -> set[str]:
        """What no new point may be called."""
        return {entry.name for entry in self.root.iterdir()}

    def path(self, id: str) -> Path:
        return self.root / id

    def commit(self, draft: Path, point: RestorePoint) -> None:
        """Let the draft be the point: written through, then renamed."""
        write(draft / MANIFEST, dump(point).encode())
        for directory, _, _ in os.walk(draft):
            _sync(Path(directory))
        draft.rename(self.path(point.id))
        _sync(self.root)

    def update(self, point: RestorePoint) -> None:
        """Replace what is written about a point."""
        part = self.path(point.id) / f".{MANIFEST}.part"
        try:
            write(part, dump(point).encode())
            part.replace(self.path(point.id) / MANIFEST)
        finally:
            part.unlink(missing_ok=True)
        _sync(self.path(point.id))

    def remove(self, id: str) -> None:
        """Take a point away: first it stops to count, then it is deleted."""
        gone = self.root / f"{GONE}{id}"
        self.path(id).rename(gone)
        _sync(self.root)
        shutil.rmtree(gone)

    def discard(self, draft: Path) -> None:
        """Remove a draft or a scratch directory, as far as it is there."""
        shutil.rmtree(draft, ignore_errors=True)  # what stays does not count, and goes with the next look

    def free(self) -> int:
        return shutil.disk_usage(self.root).free


def write(path: Path, content: bytes) -> None:
    """A new file for its owner only, written through to the disk."""
    for directory in reversed(path.parents):  # mkdir(parents=True) gives its mode to the last one only
        directory.mkdir(exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
