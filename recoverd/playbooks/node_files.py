"""Which remembered files of a node hold something else, how they are put back and read anew, and how the difference is
shown. Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from recoverd.model.finding import Finding
from recoverd.model.node_look import HOSTS, NodeLook, read_always, reader_of
from recoverd.model.observation import HostView
from recoverd.model.operations import HELD, WriteFile
from recoverd.model.plan import Step
from recoverd.model.text import utc
from recoverd.model.unit_operations import AwaitUnit, RestartUnit
from recoverd.playbooks.agents import STABLE
from recoverd.playbooks.base import Situation

NAME = "restore-node-files"
LINES = 24
"""Of a difference that is shown."""


def held(path: str, situation: Situation) -> str:
    """Where what is in place at this absolute path is kept: by its whole path, since kubelet's drop-ins and those of
    the runtime's unit may have the same name, and no kept file is written over.
    """
    return f"{HELD}/{situation.kept}{path}"


def put_back(host: str, path: str, look: NodeLook, situation: Situation, finding: Finding, beside: str) -> Step:
    known, there = situation.memory.files[host][path], look.files.get(path)
    return Step(
        host,
        f"put {path} on {host} back as recorded at {utc(known.recorded_at)} (sha256 {known.sha256[:12]})",
        WriteFile(
            path=path,
            content=situation.memory.known_file(host, path),
            sha256=known.sha256,
            before=there.sha256 if there else "",
            keep=held(path, situation) if there else "",
            beside=beside,
        ),
        20.0,
        requires=(finding.key,),
        part=finding.facts.node,
    )


def differing(host: str, look: NodeLook, situation: Situation) -> Iterator[str]:
    """Files that are known and hold something else now, or are gone; those that are read always stop no unit."""
    for path, known in situation.memory.files.get(host, {}).items():
        there = look.files.get(path)
        if path != HOSTS and not read_always(path) and (there is None or there.sha256 != known.sha256):
            yield path


def read_anew(
    host: str, view: HostView, paths: Iterable[str], part: str = "", *, kubelet: bool = False
) -> tuple[list[str], list[Step]]:
    """The units that read these files, the runtime before kubelet, and the steps that have them read them. `kubelet`:
    that one in any case.
    """
    readers = {reader_of(p, view.runtime) for p in paths} | ({"kubelet"} if kubelet else set())
    units = [n for n in (view.runtime, "kubelet") if n in readers]
    steps = [Step(host, f"restart {name} on {host}", RestartUnit(name), 60.0, part=part) for name in units]
    stays = AwaitUnit("kubelet", STABLE, 40)
    return units, [*steps, Step(host, f"see kubelet on {host} stay up", stays, 50.0, part=part)]


def difference(host: str, path: str, look: NodeLook, situation: Situation) -> Iterator[str]:
    there = look.files.get(path)
    old, new = situation.memory.known_file(host, path).splitlines(), (there.content if there else "").splitlines()
    lines = [
        line.rstrip()
        for line in difflib.unified_diff(old, new, "as it worked", "now" if there else "gone", lineterm="", n=0)
    ]
    for line in lines[:LINES]:
        yield f"{host}:{path}: {line[:200]}"
    if len(lines) > LINES:
        yield f"{host}:{path}: and {len(lines) - LINES} lines more"
