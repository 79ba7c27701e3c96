"""A chore: each control plane keeps copies of the files that its static pods name and are known to work with."""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine import outlook
from recoverd.machine.turn import Turn
from recoverd.model.events import ChoreEnded
from recoverd.model.file_operations import KeepPodFiles
from recoverd.model.history import History
from recoverd.model.memory import KnownPodFile
from recoverd.model.observation import HostView
from recoverd.model.pod_files import COPIES

OPERATIONS: tuple[type, ...] = (KeepPodFiles,)
AGAIN = 600.0
"""Seconds after which copies that were not made are tried again."""
KEEP_SECONDS = 60.0


def after_restart(turn: Turn) -> None:
    """What was asked for is forgotten with the process: it is asked for again when it is due, and a copy that is
    there already is left as it is.
    """


def consider(turn: Turn) -> None:
    """See that each control plane has a copy of every file that is known, for `restore-pod-files`."""
    if (seen := outlook.keeps_for(turn, "restore-pod-files")) is None:
        return
    for host, known in turn.memory.pod_files.items():
        view = seen.hosts.get(host)
        asked = turn.state.pod_file_copies.get(host)
        late = asked is None or (turn.now - asked).total_seconds() >= AGAIN
        if all(k.kept for k in known.values()) or not late or not isinstance(view, HostView):
            continue
        # all that are as they are known, for an index that has them all
        there = {p: k for p, k in known.items() if _is_there(view, p, k)}
        if any(not k.kept for k in there.values()):
            turn.become(pod_file_copies={**turn.state.pod_file_copies, host: turn.now})
            operation = KeepPodFiles(tuple(there), tuple(k.sha256 for k in there.values()))
            turn.perform_chore(
                host, f"keep copies of what static pods on {host} name in {COPIES} there", operation, KEEP_SECONDS
            )


def ended(turn: Turn, event: ChoreEnded) -> None:
    """What came of copies that were asked for: the machine has compared each with its digest."""
    host, operation = event.step.host, event.step.operation
    if not isinstance(operation, KeepPodFiles):
        return
    if not event.result.ok:
        turn.note(
            History.POD_FILES_NOT_KEPT,
            f"{event.result.detail}. Until they are, restore-pod-files has nothing to put back on {host}; tried again "
            "later",
        )
        return
    made = dict(zip(operation.paths, operation.digests, strict=True))
    known = turn.memory.pod_files.get(host, {})
    after = {p: replace(k, kept=True) if made.get(p) == k.sha256 else k for p, k in known.items()}
    turn.become(pod_file_copies={h: at for h, at in turn.state.pod_file_copies.items() if h != host})
    if after != known:
        turn.learn(replace(turn.memory, pod_files={**turn.memory.pod_files, host: after}))
        turn.note(
            History.POD_FILES_KEPT,
            f"{host} keeps copies of {len(made)} files that its static pods name in {COPIES}, for root only",
        )


def _is_there(view: HostView, path: str, known: KnownPodFile) -> bool:
    there = (view.pod_files or {}).get(path)
    return there is not None and there.sha256 == known.sha256
