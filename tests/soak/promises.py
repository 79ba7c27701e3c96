"""A time that recoverd says it waits until: it comes, and does not move on with every sweep."""

from __future__ import annotations

import re
from datetime import datetime

UNTIL = re.compile(r"\bat (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")
BOUND = re.compile(r"bound `\w+`: (\d+) s")
OFTEN = 10
"""As often it is told anew: a restart of recoverd, or a machine that was seen in between, begins a wait anew, too."""


class Promises:
    """Listens to what is said of what is done, moment by moment."""

    def __init__(self) -> None:
        self._said = ""
        self._times: list[tuple[str, ...]] = []

    def forget(self) -> None:
        self._said, self._times = "", []

    def in_vain(self, explanation: str) -> str:
        """The words of a wait whose end has moved on for longer than its own bound; "" for all else."""
        times, bounds = tuple(UNTIL.findall(explanation)), [float(b) for b in BOUND.findall(explanation)]
        if not times or not bounds:
            self.forget()
            return ""
        if (said := UNTIL.sub("", explanation)) != self._said:
            self.forget()
            self._said = said
        if not self._times or times != self._times[-1]:
            self._times.append(times)
        slip = max(_between(a, b) for a, b in zip(self._times[0], times, strict=True))
        return explanation if len(self._times) > OFTEN and slip > max(bounds) else ""


def _between(first: str, last: str) -> float:
    """Seconds; less than none where the clock was set back."""
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
