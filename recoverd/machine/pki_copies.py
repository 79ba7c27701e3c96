"""A chore: each control plane keeps a copy of the certificates, keys and kubeconfigs that
it is known to be healthy with.
"""

from __future__ import annotations

from dataclasses import replace

from recoverd.machine import outlook
from recoverd.machine.state import Copy
from recoverd.machine.turn import Turn
from recoverd.memory.pki import pki_of
from recoverd.model.events import ChoreEnded
from recoverd.model.history import History
from recoverd.model.observation import HostView
from recoverd.model.pki_operations import KEPT, KeepPki

OPERATIONS: tuple[type, ...] = (KeepPki,)
AGAIN = 600.0
"""Seconds after which a copy that was not made is tried again."""
KEEP_SECONDS = 60.0


def after_restart(turn: Turn) -> None:
    """What was asked for is forgotten with the process: it is asked for again when it is due, and a copy that is
    there already is left as it is.
    """


def consider(turn: Turn) -> None:
    """See that each control plane has a copy of the certificates that it is known to be
    healthy with, for `restore-pki`.

    A copy counts when a sweep that began after it was made still finds just what it is named after.
    """
    if (seen := outlook.keeps_for(turn, "restore-pki")) is None:
        return
    for host, known in turn.memory.pki.items():
        view = seen.hosts.get(host)
        now = pki_of(view, known, turn.now) if isinstance(view, HostView) and not known.kept else None
        if now is None or not now.alike(known):
            continue
        target, asked = f"{KEPT}/{known.digest}", turn.state.copies.get(host)
        if asked and asked.target == target and asked.made_at:
            if seen.started_at >= asked.made_at:
                turn.learn(replace(turn.memory, pki={**turn.memory.pki, host: replace(known, kept=target)}))
                turn.note(
                    History.PKI_KEPT,
                    f"{host} keeps a copy of its certificates, keys and kubeconfigs in {target}, for root only",
                )
        elif asked is None or asked.target != target or (turn.now - asked.asked_at).total_seconds() >= AGAIN:
            turn.become(copies={**turn.state.copies, host: Copy(target, turn.now)})
            turn.perform_chore(
                host, f"keep the certificates of {host} in {target} there", KeepPki(target, prune=True), KEEP_SECONDS
            )


def ended(turn: Turn, event: ChoreEnded) -> None:
    """What came of a copy that was asked for."""
    host, operation = event.step.host, event.step.operation
    asked = turn.state.copies.get(host)
    if asked is None or not isinstance(operation, KeepPki) or asked.target != operation.target:
        return
    if event.result.ok:
        turn.become(copies={**turn.state.copies, host: replace(asked, made_at=event.at)})
    else:
        turn.note(
            History.PKI_NOT_KEPT,
            f"{event.result.detail}. Until it is, restore-pki has nothing to put back on {host}; tried again later",
        )
