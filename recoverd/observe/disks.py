"""What a look tells of the machine's disks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from recoverd.model.observation import DiskView
from recoverd.observe.text import printable

PATH = 500
"""Characters of a path that is told."""


MORE = frozenset({"inodes", "read-only"})
"""Sections of a look that say more of disks."""


def disks(lines: Sequence[str], more: Mapping[str, Sequence[str]]) -> tuple[DiskView, ...]:
    """What `df -Pk` printed; in `more` what `df -Pi` did, and the places of what is mounted read-only."""
    files = {place: free for place, total, free in _rows(more.get("inodes", ())) if total}
    read_only = more.get("read-only", ())
    found = {
        place: DiskView(place, total * 1024, free * 1024, place in read_only, files.get(place))
        for place, total, free in _rows(lines)
    }
    return tuple(found.values())


def _rows(lines: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Where each file system is mounted, how much it has and how much of that is free."""
    for line in lines[1:]:
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[1].isdigit() and fields[3].isdigit():
            yield fields[5], int(fields[1]), int(fields[3])


def largest(lines: Sequence[str]) -> tuple[str, ...]:
    """What `ls -sk` printed, the largest first: kibibytes and a path, each once."""
    files = (line.split(None, 1) for line in lines)
    sizes = {printable(f[1].strip(), PATH): int(f[0]) for f in files if len(f) == 2 and f[0].isdigit()}
    return tuple(f"{size / 1024:.0f} MiB {path}" for path, size in sizes.items())[:5]
