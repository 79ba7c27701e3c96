"""What `pod_files.sh` printed of the files that static pods name. Pure; what makes no sense is taken as not seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import chain

from recoverd.model.memory import Memory
from recoverd.model.observation import ManifestView
from recoverd.model.pod_files import ENCRYPTION, MOST, Is, PodFileView, by_path


def asked(name: str, seen: Mapping[str, ManifestView], memory: Memory) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paths that a machine is asked for: those that its manifests name, as they were seen last or are
    remembered, and those that are known; and which of them configure encryption.
    """
    named = [by_path(m) for m in (seen, memory.manifests.get(name, {}))]
    known = memory.pod_files.get(name, {})
    paths = tuple(dict.fromkeys(chain(*named, known)))[:MOST]
    encrypt = {path for found in named for path, by in found.items() if any(n.flag == ENCRYPTION for n in by)}
    return paths, tuple(p for p in paths if p in encrypt)


def read(lines: Iterable[str]) -> Mapping[str, PodFileView]:
    """By path."""
    rows, digests, keyed = dict[str, list[str]](), dict[str, str](), set[str]()
    for line in lines:
        word, *rest = line.split() or [""]
        if word == "sha256" and len(rest) == 2:
            digests[rest[1]] = rest[0]
        elif word == "keyed" and rest:
            keyed.add(rest[0])
        elif rest:
            rows[rest[-1]] = [word, *rest]
    return {path: _view(row, digests.get(path, ""), path in keyed) for path, row in rows.items()}


def _view(row: list[str], digest: str, keyed: bool) -> PodFileView:
    what = Is(row[0]) if row[0] in set(Is) else Is.UNSEEN
    if what is not Is.FILE:
        return PodFileView(what)
    try:
        _, size, mode, owner, modified, changed, _ = row
        times = datetime.fromtimestamp(int(modified), UTC), datetime.fromtimestamp(int(changed), UTC)
        return PodFileView(what, int(size), digest, mode, owner, *times, keyed)
    except (ValueError, OverflowError):
        return PodFileView(Is.UNSEEN)
