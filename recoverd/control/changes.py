"""What a step changes in a file, line by line, against what is known to be there. Pure."""

from __future__ import annotations

from collections.abc import Callable
from difflib import unified_diff

from recoverd.model.memory import Memory
from recoverd.model.observation import HostView, Observation
from recoverd.model.operations import WriteFile
from recoverd.model.plan import Plan
from recoverd.playbooks.etcd_manifest import ANNOTATION

Texts = Callable[[str, str], str]
"""Of a host and a path: what is in that file as far as is known, "" where nothing is."""


def texts(observation: Observation, memory: Memory) -> Texts:
    """The manifests as the newest sweep saw them; of one that is not there, as it was while all was well."""

    def text(host: str, path: str) -> str:
        view = observation.hosts.get(host)
        seen = view.manifests.values() if isinstance(view, HostView) else ()
        known = memory.manifests.get(host, {}).values()
        return next((m.content for m in (*seen, *known) if m.path == path), "")

    return text


def nothing(host: str, path: str) -> str:
    """No text is known."""
    return ""


def changes(plan: Plan, there: Texts) -> list[list[str]]:
    """The lines of each step that go (`- `) and that come (`+ `): against what an earlier step writes, what its
    undo puts back, or what is there.

    Nothing of a step that writes no file, or where nothing is known of what it replaces.
    """
    written: dict[tuple[str, str], str] = {}
    changed: list[list[str]] = []
    for step in plan.steps:
        operation, undo = step.operation, step.undo
        if not isinstance(operation, WriteFile):
            changed.append([])
            continue
        at = (step.host, operation.path)
        put_back = undo.content if isinstance(undo, WriteFile) and undo.path == operation.path else ""
        before = written.get(at) or put_back or there(*at)
        written[at] = operation.content
        changed.append(_differing(before, operation.content) if before else [])
    return changed


def _differing(before: str, after: str) -> list[str]:
    lines = unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    differing = [
        f"{line[0]} {line[1:].strip()}" for line in lines if line[:1] in "+-" and not line.startswith(("---", "+++"))
    ]
    return [line for line in differing if not line[2:].startswith(f"{ANNOTATION}:")]
