"""What a look tells of the machine's disks. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.model.observation import DiskView
from recoverd.observe.text import printable

PATH = 500
"""Characters of a path that is told."""


def disks(lines: Sequence[str], read_only: Sequence[str]) -> tuple[DiskView, ...]:
    """What `df -Pk` printed; of what is mounted read-only the places."""
    found = {}
    for line in lines[1:]:
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[1].isdigit() and fields[3].isdigit():
            found[fields[5]] = DiskView(fields[5], int(fields[1]) * 1024, int(fields[3]) * 1024, fields[5] in read_only)
    return tuple(found.values())


def largest(lines: Sequence[str]) -> tuple[str, ...]:
    """What `ls -sk` printed, the largest first: kibibytes and a path, each once."""
    files = (line.split(None, 1) for line in lines)
    sizes = {printable(f[1].strip(), PATH): int(f[0]) for f in files if len(f) == 2 and f[0].isdigit()}
    return tuple(f"{size / 1024:.0f} MiB {path}" for path, size in sizes.items())[:5]
