"""How a remembered file of a node is put back, and how the difference is shown. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from recoverd.model.finding import Finding
from recoverd.model.node_look import NodeLook
from recoverd.model.operations import HELD, WriteFile
from recoverd.model.plan import Step
from recoverd.playbooks.base import Situation

NAME = "restore-node-files"
LINES = 24
"""Of a difference that is shown."""


def put_back(host: str, path: str, look: NodeLook, situation: Situation, finding: Finding, beside: str) -> Step:
    known, there = situation.memory.files[host][path], look.files.get(path)
    return Step(
        host,
        f"put {path} on {host} back as recorded at {known.recorded_at:%Y-%m-%d %H:%M:%S} UTC "
        f"(sha256 {known.sha256[:12]})",
        WriteFile(
            path=path,
            content=situation.memory.known_file(host, path),
            sha256=known.sha256,
            before=there.sha256 if there else "",
            keep=f"{HELD}/{situation.kept}/{path.rpartition('/')[2]}" if there else "",
            beside=beside,
        ),
        20.0,
        requires=(finding.key,),
        part=finding.facts.node,
    )


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
