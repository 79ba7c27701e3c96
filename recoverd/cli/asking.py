"""What every command of `recoverctl` has in common: options, how it asks, how it prints, what it exits with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

from recoverd.cli.program import Program, in_json
from recoverd.cli.render import Printer
from recoverd.control import SHOWN
from recoverd.control.client import ControlClient, Denied, NoDaemon
from recoverd.model.text import clean

T = TypeVar("T")
REFUSED, NO_DAEMON, MISSING = 1, 3, 4

as_json = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the answer.",
)


class Asking(Program):
    """The program that asks. An answer in which something is missing is that of a daemon of another version."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyError as lacking:
            client = ctx.obj
            if not isinstance(client, ControlClient) or not client.strange:
                raise
            click.echo(
                f"recoverctl: the answer has no {lacking}: {client.strange}; -o json shows what it has", err=True
            )
            sys.exit(REFUSED)


in_emergency = click.option(
    "--emergency",
    is_flag=True,
    help="Go alone where two persons are needed, and the configuration lets one; with --reason. Everybody is told.",
)
Command = TypeVar("Command", bound=Callable[..., Any])


def limited(most: int) -> Callable[[Command], Command]:
    """The option that says how many are told at most."""
    return click.option(
        "--limit",
        metavar="N",
        type=click.IntRange(1, 10**9),
        default=most,
        show_default=True,
        help="So many at most, the newest ones; how many older ones there are is told.",
    )


in_full = click.option("--full", is_flag=True, help="Everything, with nothing folded.")


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run it; what goes wrong becomes a sentence and an exit code."""
    try:
        return asyncio.run(work)
    except Denied as denied:
        click.echo(f"recoverctl: {clean(denied)}", err=True)
        sys.exit(MISSING if denied.missing else REFUSED)
    except NoDaemon as error:
        click.echo(f"recoverctl: {clean(error)}", err=True)
        sys.exit(NO_DAEMON)
    except KeyboardInterrupt:
        sys.exit(130)


def answered(answer: dict[str, Any], output: str, text: Callable[[Printer], None]) -> None:
    """Print it."""
    if output == "json":
        click.echo(in_json(answer, 2))
    else:
        text(Printer())


def tell_older(client: ControlClient, answer: dict[str, Any], what: str) -> None:
    """On stderr, beside either form of the answer: that it is not all there is."""
    shown = len(answer[what])
    if older := answer.get("older"):
        click.echo(f"recoverctl: {older} older ones are not shown; --limit {shown + older} shows all", err=True)
    elif older is None and shown >= SHOWN:
        click.echo(f"recoverctl: there may be older ones, which are not shown: {client.strange}", err=True)


def done(answer: dict[str, Any], output: str) -> None:
    answered(answer, output, lambda p: p.line(answer["message"]))
