"""Maintenance windows: when one is open, and when the next opens. Pure; all times are UTC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from recoverd.model.settings import Window


def open_until(windows: Sequence[Window], now: datetime) -> datetime | None:
    """When the window that is open now ends (the last of several); None when none is open."""
    ends = [end for window in windows for begin, end in _spans(window, now) if begin <= now < end]
    return max(ends, default=None)


def next_open(windows: Sequence[Window], now: datetime) -> datetime | None:
    """When a window opens next; None where there is none."""
    return min((begin for window in windows for begin, _ in _spans(window, now) if begin > now), default=None)


def _spans(window: Window, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Each opening from a week ago to a week and a day ahead, as a window may last for days."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for days in range(-7, 9):
        day = midnight + timedelta(days=days)
        if day.weekday() in window.days:
            begin = day + timedelta(minutes=window.start)
            yield begin, begin + timedelta(minutes=window.minutes)
