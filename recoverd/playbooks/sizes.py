"""How long steps may take that move much data, by how much they move. Pure."""

from __future__ import annotations

from dataclasses import replace

from recoverd.model.plan import Step

SLOW = 8 << 20
"""Bytes a second with which data are sent, copied and restored at the least: 8 GiB, the largest database that
etcd suggests, get 17 minutes.
"""
ROOM = 60.0
"""Seconds beside those: to begin, to check a hash, to write everything through to the disk."""


def moving(size: int) -> float:
    """Seconds that so many bytes take at the most."""
    return size / SLOW


def sized(step: Step, size: int) -> Step:
    """The step with time for so many bytes; what it has by itself is enough for small ones."""
    needed = ROOM + moving(size)
    return replace(step, timeout=needed, size=size) if needed > step.timeout else step
