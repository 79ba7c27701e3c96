"""The shell library: POSIX functions in real files, sent to a machine as far as a call needs them.

Every file here is made of functions and comments alone. A function begins at the left margin with `name() {` or
`name() (` and ends with the next `}` or `)` there, or is on one line; the comment before it says what it does, its
arguments, and how it ends when it does not. They run under dash, bash and busybox, as root, with nothing on their
standard input. Nothing is local in POSIX sh: a variable has its function's letters before its name wherever another
function is called that has one like it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from recoverd.model.call import Call

__all__ = ["Call", "Function", "described", "functions", "library", "script"]

_BEGINS = re.compile(r"^([a-z_]+)\(\) ([{(])")
_WORD = re.compile(r"[A-Za-z_]+")


@dataclass(frozen=True, slots=True)
class Function:
    """One function, as its file has it."""

    name: str
    comment: str
    """The comment before it, with its `#`."""
    text: str
    file: str


class Malformed(Exception):  # noqa: N818
    """A file of the library holds something else than functions and comments."""


def parsed(text: str, file: str) -> list[Function]:
    """The functions of a file, in its order."""
    found: list[Function] = []
    comment: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if match := _BEGINS.match(line):
            end = {"{": "}", "(": ")"}[match[2]]
            body = [line]
            while not (len(body) > 1 and body[-1] == end) and not (len(body) == 1 and line.endswith(f" {end}")):
                if (more := next(lines, None)) is None:
                    raise Malformed(f"{file}: {match[1]} has no end")
                body.append(more)
            found.append(Function(match[1], "\n".join(comment), "\n".join(body), file))
            comment = []
        elif line.startswith("#"):
            comment.append(line)
        elif line.strip():
            raise Malformed(f"{file}: {line!r} is in no function")
        else:
            comment = []
    return found


@cache
def library() -> dict[str, Function]:
    """All functions by their names."""
    texts = sorted((f.name, f.read_text(encoding="utf-8")) for f in files(__name__).iterdir() if f.name.endswith(".sh"))
    return {function.name: function for name, text in texts for function in parsed(text, name)}


@cache
def _needs(name: str) -> frozenset[str]:
    """The functions that a function names, itself among them; a word of a message that is
    called like one counts as well.
    """
    return frozenset(_WORD.findall(library()[name].text)) & library().keys()


def needed(names: Iterable[str]) -> list[Function]:
    """These functions and all that they need, in the library's order. Raises `KeyError` for one that is not in it."""
    wanted: set[str] = set()
    left = [library()[name].name for name in names]
    while left:
        if (name := left.pop()) not in wanted:
            wanted.add(name)
            left.extend(_needs(name))
    return [function for name, function in library().items() if name in wanted]


def functions(*names: str) -> str:
    """The text of these functions alone."""
    return "\n".join(library()[name].text for name in names)


def script(*calls: Call) -> str:
    """What a machine is sent: the functions that the calls need, and then the calls, one after the other."""
    return "\n".join((*(f.text for f in needed(c.function for c in calls)), *(c.line for c in calls)))


def described(names: Iterable[str]) -> str:
    """These functions and what they need, with the comments that explain them, for a person."""
    return "\n\n".join(f"{f.comment}\n{f.text}" for f in needed(names))
