"""What `look.sh` printed of people: who has a terminal open, which programs run, and what lies aside. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from recoverd.model.people import AsideView, LoginView, PeopleView, ToolView
from recoverd.observe.text import printable

TICKS = 100.0
"""As in `recoverd.observe.look`."""
LINE = 500
OF_CONTAINER = re.compile(r"/proc/(\d+)/fd/0")


def people(lines: Sequence[str], aside: Sequence[str], since_boot: float) -> PeopleView:
    """`since_boot` is in seconds, by the clock in which the kernel counts the starts of processes; 0 where that is not
    known. Raises `ValueError` where nobody could have been seen.
    """
    if "scanned" not in lines:
        raise ValueError("whether anybody is logged in cannot be told: there is no /dev/pts")
    now = int(lines[0])
    logins, tools, hands_off = [], [], ""
    for line in lines[1:]:
        kind, _, rest = line.partition(" ")
        if kind == "login" and len(fields := rest.split()) == 4:
            tty, user, since, touched = fields
            idle = max(0.0, now - int(touched))
            logins.append(LoginView(user, _named(tty), datetime.fromtimestamp(int(since), UTC), idle))
        elif kind == "tool":
            tools.append(_tool(rest, now, since_boot))
        elif kind == "hands-off":
            hands_off = printable(rest.strip(), LINE)
    return PeopleView(tuple(logins), tuple(tools), hands_off, tuple(_aside(line) for line in aside if line.strip()))


def _named(tty: str) -> str:
    found = OF_CONTAINER.fullmatch(tty)
    return f"a terminal of a container, process {found[1]}," if found else tty.removeprefix("/dev/")


def _tool(rest: str, now: int, since_boot: float) -> ToolView:
    """TICKS COMMAND, where the ticks are those at its start, or `-`."""
    ticks, _, command = rest.partition(" ")
    command = printable(command.strip(), LINE)
    if not (ticks.isdigit() and since_boot):
        return ToolView(command)
    runs = max(0.0, since_boot - int(ticks) / TICKS)
    return ToolView(command, datetime.fromtimestamp(now, UTC) - timedelta(seconds=runs), runs)


def _aside(line: str) -> AsideView:
    component, changed, path = line.split(" ", 2)
    return AsideView(component, printable(path, LINE), datetime.fromtimestamp(int(changed), UTC))
