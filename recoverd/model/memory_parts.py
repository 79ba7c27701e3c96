"""What is remembered of a cluster, in parts, so that a journal writes those alone that have changed: in one piece it
grows with the square of the nodes where every machine has a route to every other one. Pure.

| part | what it holds, as JSON |
| --- | --- |
| "" | everything else: what every sweep changes, and what is small |
| `host/NAME` | what is known of one machine |
| `text/SHA256` | a text that machines have in a file, as it is |
| `lines/DIGEST` | some lines that stand in long lists of other parts |
| `workers`, `reached`, `points` | the field of that name |
| `index` | where a store says it: the names of all others but `lines/` |
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from recoverd.model.codec import dump, load
from recoverd.model.memory import (
    KnownFile,
    KnownManifest,
    KnownNode,
    KnownPki,
    KnownPodFile,
    Memory,
    NodeNetwork,
    Worker,
)
from recoverd.model.points import RestorePoint

REST = ""
INDEX = "index"
HOST, TEXT, LINES = "host/", "text/", "lines/"
BY_HOST = {
    "manifests": "manifests",
    "networks": "network",
    "pki": "pki",
    "files": "files",
    "pod_files": "pod_files",
    "nodes": "node",
    "mounts": "mounts",
}
"""Fields of a memory that are by host, and what they are called in a `HostMemory`."""
KINDS: Mapping[str, Any] = {"workers": tuple[Worker, ...], "points": tuple[RestorePoint, ...]}
MANY = 64
"""Lines from which on a list is kept in pieces that others may have as well."""
PIECE = 32
"""Lines of a piece, as they come out on average."""


@dataclass(frozen=True, slots=True)
class Lines:
    """A list of lines: as they are, or the digests of the pieces that it is put together of."""

    lines: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostMemory:
    """What is known of one machine; None for what is not. In a journal its network's routes are beside it."""

    manifests: Mapping[str, KnownManifest] | None = None
    network: NodeNetwork | None = None
    pki: KnownPki | None = None
    files: Mapping[str, KnownFile] | None = None
    pod_files: Mapping[str, KnownPodFile] | None = None
    routes: Lines | None = None
    node: KnownNode | None = None
    mounts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a journal has to write so that it holds a memory."""

    puts: Mapping[str, str]
    """By part: its text. Those that others name come first, and the rest last."""
    gone: tuple[str, ...]
    """Parts to delete. Whoever cannot delete all of them at once deletes the others the next time."""
    values: dict[str, object]
    """All parts but pieces, as values."""
    pieces: Mapping[str, frozenset[str]]
    """By part: the parts with pieces of it."""


@dataclass(slots=True)
class Written:
    """What a journal holds of the memory of one cluster: of parts that it has written itself the very values, so that
    what has not changed is not even made a text of; of what it found there the digests.
    """

    digests: dict[str, str] = field(default_factory=dict)
    indexed: bool = False
    """An index is one of the parts."""
    _values: dict[str, object] = field(default_factory=dict)
    _pieces: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def heard(self, part: str, text: str) -> None:
        """The part is this text now, by whomever."""
        self.digests[part] = digest(text)
        self._values.pop(part, None)

    def changes(self, memory: Memory) -> Changes:
        """What is to be written to come to this memory. Nothing is taken to be written by that."""
        values = split(memory)
        if self.indexed:
            values[INDEX] = tuple(sorted(part for part in values if part != REST))
        puts, first, pieces = dict[str, str](), dict[str, str](), dict[str, frozenset[str]]()
        for part, value in values.items():
            if part in self._values and self._values[part] == value:
                pieces[part] = self._pieces[part]
                continue
            text, others = encoded(part, value)
            pieces[part] = frozenset(others)
            first |= {p: t for p, t in others.items() if self.digests.get(p) != digest(t)}
            if self.digests.get(part) != digest(text):
                (first if part.startswith(TEXT) else puts)[part] = text
        wanted = _all(values, pieces)
        return Changes(first | puts, tuple(p for p in self.digests if p not in wanted), values, pieces)

    def doubt(self, changes: Changes) -> None:
        """Some of the changes may have been written: those parts are written anew before they are relied on."""
        for part in changes.puts:
            self.digests[part] = ""
            self._values.pop(part, None)

    def adopt(self, changes: Changes) -> None:
        """The changes have been written."""
        wanted = _all(changes.values, changes.pieces)
        # what is still there without being remembered may be unknown to who follows: it is written before it is named
        kept = {p: d if p in wanted else "" for p, d in self.digests.items() if p not in set(changes.gone)}
        self.digests = kept | {part: digest(text) for part, text in changes.puts.items()}
        self._values, self._pieces = changes.values, changes.pieces


def found(parts: Mapping[str, str]) -> Written:
    """What a store holds that has an index. What is not in that, nor a piece of what is, counts for nothing: who
    follows the store may not have it any more.
    """
    index = {REST, INDEX, *_named(INDEX, parts.get(INDEX, "[]"))}
    named = index.union(*(_named(part, text) for part, text in parts.items() if part in index))
    return Written({p: digest(text) if p in named else "" for p, text in parts.items()}, indexed=True)


def split(memory: Memory) -> dict[str, object]:
    """The memory in parts, as values; the rest is the last."""
    fields = [(name, getattr(memory, field)) for field, name in BY_HOST.items()]
    hosts = dict.fromkeys(host for _, by_host in fields for host in by_host)
    found: dict[str, object] = {TEXT + digest: text for digest, text in memory.texts.items()}
    for host in hosts:
        found[HOST + host] = HostMemory(**{name: by_host.get(host) for name, by_host in fields})
    found |= {name: value for name in ("workers", "points") if (value := getattr(memory, name))}
    if memory.reached:
        found["reached"] = memory.reached
    emptied: dict[str, Any] = {name: {} for name in (*BY_HOST, "texts")}
    found[REST] = replace(memory, **emptied, workers=(), points=(), reached=())
    return found


def joined(rest: Memory, parts: Mapping[str, str]) -> tuple[Memory, dict[str, str]]:
    """The memory of all its parts; and why, for each that cannot be read and is left out. One of before has no others
    than the rest, which holds everything.
    """
    fields: dict[str, Any] = {field: dict(getattr(rest, field)) for field in (*BY_HOST, "texts")}
    pieces, wrong = dict[str, tuple[str, ...]](), dict[str, str]()
    # what others name comes first
    for part in sorted(parts, key=lambda part: not part.startswith(LINES)):
        try:
            if part.startswith(LINES):
                pieces[part.removeprefix(LINES)] = load(tuple[str, ...], parts[part])
            else:
                _read(part, parts[part], pieces, fields)
        except (ValueError, RecursionError) as error:
            wrong[part] = str(error)
    return replace(rest, **fields), wrong


def _read(part: str, text: str, pieces: Mapping[str, tuple[str, ...]], fields: dict[str, Any]) -> None:
    """Put what a part holds into the fields of a memory. Raises `ValueError` where that cannot be read."""
    if part.startswith(TEXT):
        fields["texts"][part.removeprefix(TEXT)] = text
    elif part.startswith(HOST):
        known, host = load(HostMemory, text), part.removeprefix(HOST)
        for name, called in BY_HOST.items():
            if (value := getattr(known, called)) is not None and called != "network":
                fields[name][host] = value
        if known.network:
            fields["networks"][host] = replace(known.network, routes=_whole(known.routes or Lines(), pieces))
    elif part == "reached":
        fields[part] = _whole(load(Lines, text), pieces)
    elif part in KINDS:
        fields[part] = load(KINDS[part], text)
    else:
        raise ValueError("this version of recoverd knows no such part")


def encoded(part: str, value: object) -> tuple[str, dict[str, str]]:
    """The text of a part, and the parts with the pieces that it names."""
    match value:
        case str():
            return value, {}
        case HostMemory(network=NodeNetwork(routes=routes) as network) if routes:
            lines, others = _apart(routes)
            return dump(replace(value, network=replace(network, routes=()), routes=lines)), others
        case tuple() if part == "reached":
            lines, others = _apart(value)
            return dump(lines), others
        case _:
            return dump(value), {}


def _all(values: Mapping[str, object], pieces: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset(values).union(*pieces.values())


def _named(part: str, text: str) -> list[str]:
    """The parts that a part names."""
    try:
        if part == INDEX:
            return list(load(tuple[str, ...], text))
        lines = load(HostMemory, text).routes if part.startswith(HOST) else None
        if part == "reached":
            lines = load(Lines, text)
    except (ValueError, RecursionError):
        return []
    return [LINES + name for name in lines.pieces] if lines else []


def _apart(lines: Sequence[str]) -> tuple[Lines, dict[str, str]]:
    """The list as it is kept, and the parts with its pieces.

    Where a piece ends, the line there says and no other one. So lists that differ in a line differ in one piece: every
    machine lacks the route to its own pods among those of all the others.
    """
    if len(lines) < MANY:
        return Lines(tuple(lines)), {}
    texts = [json.dumps(piece, ensure_ascii=False) for piece in _pieces(lines)]
    names = [digest(text) for text in texts]
    return Lines(pieces=tuple(names)), {LINES + name: text for name, text in zip(names, texts, strict=True)}


def _pieces(lines: Iterable[str]) -> Iterator[list[str]]:
    piece: list[str] = []
    for line in lines:
        piece.append(line)
        if zlib.crc32(line.encode()) % PIECE == 0:
            yield piece
            piece = []
    if piece:
        yield piece


def _whole(lines: Lines, pieces: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    if lacking := [name for name in lines.pieces if name not in pieces]:
        raise ValueError(f"it names {LINES}{lacking[0]}, which cannot be read")
    return lines.lines + tuple(line for name in lines.pieces for line in pieces[name])


def digest(text: str) -> str:
    """What a part's text is told from others by."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
