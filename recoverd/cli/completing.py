"""What the shell offers when a person presses tab: names that the running daemon knows, asked with a short deadline.

Nothing is offered, and nothing is said, where no daemon answers in time or this person may not ask it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

DEADLINE = 0.2
"""Seconds that a person waits at most after the key; a daemon answers in a tenth of it."""

DEFAULT_SOCKET = "/run/recoverd/control.sock"
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Items = Iterator[tuple[str, str]]


def _answer(context: click.Context, path: str) -> dict[str, Any]:
    from recoverd.control.client import ControlClient, Denied, NoDaemon  # most commands of recoverd need no client

    socket = context.find_root().params.get("socket") or DEFAULT_SOCKET
    try:
        return asyncio.run(asyncio.wait_for(ControlClient(Path(socket)).get(path), DEADLINE))
    except (Denied, NoDaemon, TimeoutError):
        return {}


def _starting(items: Items, typed: str) -> list[CompletionItem]:
    """A shell shows the help on one line."""
    return [CompletionItem(name, help=" ".join(text.split())) for name, text in items if name.startswith(typed)]


def _asking(path: str, items: Callable[[dict[str, Any]], Items]) -> Complete:
    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        return _starting(items(_answer(context, path)), typed)

    return complete


def _clusters(answer: dict[str, Any]) -> Items:
    return ((c["name"], c.get("summary") or "") for c in answer.get("clusters", []))


def _incidents(answer: dict[str, Any]) -> Items:
    return ((i["id"], i.get("summary") or "") for i in answer.get("incidents", []))


def _plans(answer: dict[str, Any]) -> Items:
    return ((p["id"], p.get("summary") or p.get("playbook") or "") for p in answer.get("plans", []))


def _points(answer: dict[str, Any]) -> Items:
    return ((p["id"], p.get("taken_at") or "") for p in answer.get("restore_points", []))


clusters = _asking("/v1/status", _clusters)
incidents = _asking("/v1/incidents", _incidents)
plans = _asking("/v1/plans", _plans)
points = _asking("/v1/restore-points", _points)


def playbooks(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """They are the program's own, and nobody is asked."""
    from recoverd.playbooks import registry  # nor does recoverctl need them for anything else

    return _starting(((p.name, p.summary) for p in registry()), typed)


def scenarios(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    from recoverd.cli import drill

    return _starting(iter(sorted(drill.scenarios().items())), typed)


def plans_and_more(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """What `recoverctl plans` takes: a plan, an incident or a cluster."""
    return [*plans(context, parameter, typed), *clusters(context, parameter, typed)]


def of_restore_points(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """`[CLUSTER] | take CLUSTER`."""
    words = context.params.get("words") or ()
    first = [] if words else _starting(iter([("take", "take one more now")]), typed)
    return first + ([] if words and words[0] != "take" else clusters(context, parameter, typed))


def script(program: click.Command, name: str, shell: str) -> str:
    """What makes `shell` ask the program `name` for what may follow; click knows bash, zsh and fish."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    return kind(program, {}, name, f"_{name.upper()}_COMPLETE").source().strip("\n") + "\n"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands and names, where no package has installed it."""
    program = context.find_root()
    click.echo(script(program.command, program.info_name or "", shell), nl=False)
