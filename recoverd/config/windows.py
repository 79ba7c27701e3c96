"""Maintenance windows as they are written: `Sun 02:00-04:00`, `Mon-Fri 22:00-02:00`, `Sat,Sun
01:00-05:00`, `daily 03:00-03:30`; UTC.
"""

from __future__ import annotations

import re

from recoverd.model.settings import Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SHAPE = re.compile(r"(daily|[a-z]{3}(?:[-,][a-z]{3})*) (\d\d):(\d\d)-(\d\d):(\d\d)")
EXAMPLE = "write it as `Sun 02:00-04:00`, `Mon-Fri 22:00-02:00` or `daily 03:00-03:30`, in UTC"


def parse(text: str) -> Window:
    """A window; one that ends before it begins ends on the next day. Raises `ValueError` for what is none."""
    match = SHAPE.fullmatch(" ".join(text.lower().split()))
    if not match:
        raise ValueError(f"{text!r} is no maintenance window; {EXAMPLE}")
    days, *numbers = match.groups()
    hour, minute, until_hour, until_minute = (int(n) for n in numbers)
    start, end = hour * 60 + minute, until_hour * 60 + until_minute
    if hour > 23 or minute > 59 or until_minute > 59 or end > 24 * 60 or start == end:
        raise ValueError(f"{text!r} has no times of day that make a window; {EXAMPLE}")
    return Window(_days(text, days), start, (end - start) % (24 * 60) or 24 * 60)


def _days(text: str, days: str) -> tuple[int, ...]:
    if days == "daily":
        return tuple(range(7))
    found: set[int] = set()
    for part in days.split(","):
        names = part.split("-")
        if len(names) > 2 or any(n not in DAYS for n in names):
            raise ValueError(f"{text!r}: {part!r} is no day; {EXAMPLE}")
        first, last = DAYS.index(names[0]), DAYS.index(names[-1])
        found |= {(first + i) % 7 for i in range((last - first) % 7 + 1)}
    return tuple(sorted(found))
