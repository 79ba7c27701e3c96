"""Questions to a person at a terminal, asked from within a program whose event loop runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def prompting() -> Iterator[None]:
    """Within, Ctrl-C ends a prompt at once, with `click.Abort`. The prompt keeps the event loop's thread, and asyncio's
    own handler would only note it until the line is ended.
    """
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
