"""Log lines: key=value on stderr, or JSON; with syslog priorities where journald reads them."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import structlog

from recoverd.model.text import clean

PRIORITIES = {"critical": 2, "error": 3, "exception": 3, "warning": 4, "info": 6, "debug": 7}


def set_up(form: str = "text") -> None:
    """Make structlog write to stderr; `form` is `text` or `json`. The libraries' own warnings come out the same way."""
    journald = "JOURNAL_STREAM" in os.environ
    render: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.processors.LogfmtRenderer(key_order=["level", "event"], bool_as_flag=False)
    )
    processors: list[Any] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
    if not journald:
        processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    processors += [structlog.processors.format_exc_info, _one_line, render]
    if journald:
        processors.append(_priority)
    structlog.configure(
        processors=processors, logger_factory=structlog.PrintLoggerFactory(sys.stderr), cache_logger_on_first_use=True
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()])
    logging.captureWarnings(True)
    # asyncio warns of each write to a tunnel whose machine has just gone; what came of it is
    # told by whoever used the tunnel
    logging.getLogger("asyncio").setLevel(logging.ERROR)


def _one_line(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Keep an entry on one line: a traceback's newlines would otherwise be lines of their own in the journal. Control
    characters, which machines say, are made visible: journalctl shows "blob data" in the place of a line with one.
    """
    return {key: clean(value.replace("\n", " | ")) if isinstance(value, str) else value for key, value in event.items()}


def _priority(_: Any, name: str, line: str) -> str:
    return f"<{PRIORITIES.get(name, 6)}>{line}"


class _Forward(logging.Handler):
    """What libraries log through the standard module."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
