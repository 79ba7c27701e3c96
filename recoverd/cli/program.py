"""What both programs do alike, whatever they are asked: how they list their commands, and how they end when whoever
reads them has seen enough.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, NoReturn

import click
from rich.console import Console

BY_SIGPIPE = 128 + signal.SIGPIPE
"""What a shell says of a program that ended as `yes` does in `yes | head`."""
UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Why a file or a terminal takes no more."""
UTF_8 = ("utf-8", "utf8")


class ReadNoMore(SystemExit):
    """Nobody reads what is printed. It is no `Exception`, since a drill prints from within the daemon's loop, which
    goes on after what it takes for an error of its own.
    """

    def __init__(self) -> None:
        super().__init__(BY_SIGPIPE)


class Paper(Console):
    """A console that says it when nobody reads it; rich's own ends the program with 1, which is `refused` here."""

    def on_broken_pipe(self) -> NoReturn:
        raise ReadNoMore


def in_json(what: Any, indent: int | None = None) -> str:
    """As a program reads it: in characters that its reader's locale has, else as JSON's own escapes."""
    return json.dumps(what, indent=indent, ensure_ascii=(sys.stdout.encoding or "").lower() not in UTF_8)


class Program(click.Group):
    """A program of several commands. Without one it prints its help on stderr and exits 2, as after every other mistake
    of usage: a script whose variable is empty has done nothing, and has to notice.
    """

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # what a locale of one byte a character has not is told as \u2026
                with suppress(OSError):  # a file that became a pipe meanwhile
                    stream.reconfigure(errors="backslashreplace")
        with _as_pipes_end():  # --help and --version print here
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _as_pipes_end():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with its whole first sentence; click cuts them to one line."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl([(n, c.get_short_help_str(limit=1000)) for n, c in found.items() if c and not c.hidden])


@contextmanager
def _as_pipes_end() -> Iterator[None]:
    """Let `status | head -1` end quietly and by SIGPIPE, as every program of the system does: Python ignores that
    signal, and click makes exit code 1 of the error that comes instead.
    """
    try:
        yield
    except (BrokenPipeError, ReadNoMore):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
        sys.exit(BY_SIGPIPE)  # where the signal is blocked
    except OSError as error:
        if error.filename is not None or error.errno not in UNWRITTEN:
            raise
        click.echo(f"what is to be said here cannot be written: {error.strerror}", err=True)
        with suppress(OSError, ValueError):  # what is left of it would be tried once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
