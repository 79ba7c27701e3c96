"""What is journalled, as rows in the bastions' etcd, and back. Pure.

What is written over in its place (record, each part of the memory, incident, plan) is a row of its own; what only
comes (lines of history, decisions, begun and ended steps) is one row for each batch. The order of revisions is the
order in which they were journalled.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from recoverd.engine.journal_mirror import placed
from recoverd.model.codec import dump, load
from recoverd.model.events import Journalled, RememberPart

KINDS: Mapping[str, type] = {kind.__name__: kind for kind in get_args(Journalled)}
LARGE = 1024
"""Bytes from which on a value is compressed: what is remembered of a cluster is mostly text that repeats itself."""


def rows(journal: str, batch: str, instructions: Sequence[Journalled]) -> dict[str, bytes]:
    """Key and value of each row below `journal` that the batch writes."""
    placed: dict[str, list[Journalled]] = {}
    for instruction in instructions:
        placed.setdefault(journal + _place(instruction, batch), []).append(instruction)
    # of two that are written over in the same place, the later one stands
    return {key: packed(all if key.startswith(f"{journal}log/") else all[-1:]) for key, all in placed.items()}


def _place(instruction: Journalled, batch: str) -> str:
    return placed(instruction) or f"log/{batch}"


def parts(journal: str, values: Mapping[str, bytes]) -> dict[str, str]:
    """What is remembered, of the values of its rows: the text of each part; "" where it cannot be read. In one piece,
    as before there were parts, it is none.
    """
    texts = dict[str, str]()
    for key, value in values.items():
        try:
            texts |= {i.part: i.text for i in unpacked(value) if isinstance(i, RememberPart)}
        except ValueError:
            texts[key.removeprefix(f"{journal}memory").removeprefix("/")] = ""
    return texts


def grouped(values: Mapping[str, bytes], most: int, largest: int) -> list[dict[str, bytes]]:
    """The rows, in their order, in groups of so many and so many bytes at most; one that is larger is alone."""
    groups, size = list[dict[str, bytes]](), 0
    for key, value in values.items():
        size += len(value)
        if not groups or size > largest or len(groups[-1]) == most:
            groups.append({})
            size = len(value)
        groups[-1][key] = value
    return groups


def packed(instructions: Iterable[Journalled]) -> bytes:
    """Some instructions as one value."""
    return pressed(json.dumps([[type(i).__name__, dump(i)] for i in instructions]).encode())


def unpacked(value: bytes) -> list[Journalled]:
    """The inverse of `packed`. Raises `ValueError` for what is none, as of a recoverd that is newer."""
    try:
        listed: list[list[str]] = json.loads(unpressed(value))
        if not isinstance(listed, list):
            raise TypeError("no list")
        found: list[Journalled] = [load(KINDS[kind], said) for kind, said in listed]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"this version of recoverd cannot read it: {error!r}") from error
    return found


def pressed(plain: bytes) -> bytes:
    """A text that does not begin with the letter z, smaller where it is long."""
    return b"z" + zlib.compress(plain) if len(plain) >= LARGE else plain


def unpressed(value: bytes) -> bytes:
    """The inverse of `pressed`. Raises `ValueError` for what is none."""
    try:
        return zlib.decompress(value[1:]) if value[:1] == b"z" else value
    except zlib.error as error:
        raise ValueError(f"it is damaged: {error}") from error
