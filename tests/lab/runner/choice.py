"""Which tests are run, in which order, and which of them one after the other on one cluster."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from .results import name_of, without_turn

UNKNOWN = 120.0
"""Seconds that a test is taken to last which the table does not know."""
T = TypeVar("T")


class NoSuchTest(Exception):
    """A name that no test has."""


def names(nodeid: str) -> set[str]:
    """What a person may call the test: its module, its function, with parameters or without,
    or as the table and pytest do.
    """
    whole = without_turn(name_of(nodeid))
    module, _, test = whole.partition("::")
    plain = test.partition("[")[0]
    return {module, f"{module}.py", whole, test, plain, f"{module}::{plain}", nodeid, nodeid.removeprefix("tests/lab/")}


def named(nodeids: Sequence[str], wanted: Iterable[str]) -> set[str]:
    """Those of the tests that are wanted by one of their names; raises NoSuchTest for a name that none has."""
    known = {nodeid: names(nodeid) for nodeid in nodeids}
    found: set[str] = set()
    for name in wanted:
        those = {nodeid for nodeid, all_names in known.items() if name in all_names}
        if not those:
            near = difflib.get_close_matches(name, sorted(set().union(*known.values())), n=3)
            raise NoSuchTest(f"no lab test is called {name}" + (f"; do you mean {' or '.join(near)}?" if near else ""))
        found |= those
    return found


def group(nodeid: str) -> str:
    """What goes to one worker whole: a module, and of the turns of its tests every second."""
    module, _, test = name_of(nodeid).partition("::")
    turn = re.search(r"turn(\d+)", test)
    return f"{module}-{int(turn[1]) % 2}" if turn else module


def longest_first(
    items: Sequence[T], group: Callable[[T], str], nodeid: Callable[[T], str], seconds: Mapping[str, float]
) -> list[T]:
    """The items by group, the longest group first, so that two workers who take one after the other end
    together; within a group as they were.
    """
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(group(item), []).append(item)

    def length(name: str) -> float:
        return sum(seconds.get(without_turn(name_of(nodeid(item))), UNKNOWN) for item in groups[name])

    return [item for name in sorted(groups, key=length, reverse=True) for item in groups[name]]
