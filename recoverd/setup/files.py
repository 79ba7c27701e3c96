"""Files that are written whole, with their mode, and never over one that says something else."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

SECRET = 0o600


@dataclass(slots=True)
class Files:
    """What was written, and what was left alone."""

    force: bool = False
    """Write over what says something else."""
    told: list[str] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """Those that say something else, and were left as they are."""

    def put(self, path: Path, text: str, mode: int = 0o644) -> None:
        """Write the file, so that whoever reads it sees the old or the new one. Raises `OSError`."""
        there = _text(path)
        if there == text:
            self.told.append(f"unchanged  {path}")
        elif there is not None and not self.force:
            self.kept.append(path)
            self.told.append(f"KEPT       {path}, which says something else; --force replaces it")
        else:
            self._write(path, text, mode)
            self.told.append(f"{'replaced ' if there is not None else 'wrote    '}  {path}")

    def append(self, path: Path, lines: list[str], mode: int = 0o644) -> None:
        """Add lines to what is there. Raises `OSError`."""
        if not lines:
            return
        there = _text(path) or ""
        self._write(path, there + ("\n" if there and not there.endswith("\n") else "") + "\n".join(lines) + "\n", mode)
        self.told.append(f"added {len(lines)} to {path}")

    def _write(self, path: Path, text: str, mode: int) -> None:
        folder(path.parent)
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


def folder(path: Path, mode: int = 0o755) -> None:
    """Make the folder, and those above it, where it is not there."""
    if not path.is_dir():
        folder(path.parent)
        path.mkdir(mode)
        path.chmod(mode)


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
