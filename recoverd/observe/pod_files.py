"""What `pod_files.sh` printed of the files that static pods name. Pure; what makes no sense is taken as not seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from recoverd.model.memory import Memory
from recoverd.model.observation import ManifestView
from recoverd.model.pod_files import ENCRYPTION, KEYS, MOST, Is, PodFileView, by_path, followed, naming


@dataclass(frozen=True, slots=True)
class Asked:
    """The paths that a machine is asked for."""

    paths: tuple[str, ...] = ()
    encrypting: tuple[str, ...] = ()
    """Those of them that configure encryption."""
    followed: tuple[str, ...] = ()
    """Those of them that may name further files."""


NONE = Asked()


def asked(
    name: str, seen: Mapping[str, ManifestView], files: Mapping[str, PodFileView] | None, memory: Memory
) -> Asked:
    """Those that its manifests name, and that `files` of these name further, as they were seen last or are
    remembered, and those that are known.
    """
    known = memory.pod_files.get(name, {})
    further = naming(files, known)
    named = [by_path(m, further) for m in (seen, memory.manifests.get(name, {}))]
    paths = tuple(dict.fromkeys(chain(*named, known)))[:MOST]
    encrypt = {path for found in named for path, by in found.items() if any(n.flag == ENCRYPTION for n in by)}
    follow = {path for found in named for path in followed(found)}
    return Asked(paths, tuple(p for p in paths if p in encrypt), tuple(p for p in paths if p in follow))


def read(lines: Iterable[str]) -> Mapping[str, PodFileView]:
    """By path."""
    rows, digests, keyed = dict[str, list[str]](), dict[str, str](), set[str]()
    names: dict[str, tuple[str, ...]] = {}
    for line in lines:
        word, *rest = line.split() or [""]
        if word == "sha256" and len(rest) == 2:
            digests[rest[1]] = rest[0]
        elif word == "keyed" and rest:
            keyed.add(rest[0])
        elif word == "names":
            if len(rest) == 3 and rest[1] in KEYS:
                names[rest[0]] = (*names.get(rest[0], ()), f"{rest[1]} {rest[2]}")
        elif rest:
            rows[rest[-1]] = [word, *rest]
    return {
        path: _view(row, digests.get(path, ""), path in keyed, tuple(dict.fromkeys(names.get(path, ()))))
        for path, row in rows.items()
    }


def _view(row: list[str], digest: str, keyed: bool, names: tuple[str, ...]) -> PodFileView:
    what = Is(row[0]) if row[0] in set(Is) else Is.UNSEEN
    if what is not Is.FILE:
        return PodFileView(what)
    try:
        _, size, mode, owner, modified, changed, _ = row
        times = datetime.fromtimestamp(int(modified), UTC), datetime.fromtimestamp(int(changed), UTC)
        return PodFileView(what, int(size), digest, mode, owner, *times, keyed, names)
    except (ValueError, OverflowError):
        return PodFileView(Is.UNSEEN)
