"""`recoverctl audit`: what persons have asked for, one line a request, and what came of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from recoverd.cli.render import Printer
from recoverd.report.words import when

Shape = dict[str, Any]
EVERY = "*"


class Age(click.ParamType[float]):
    """A duration as the configuration writes it, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        # half of the time that recoverctl takes to start, and needed for this option alone
        from pydantic import TypeAdapter, ValidationError

        from recoverd.config.schema import Duration

        try:
            return float(TypeAdapter(Duration).validate_python(value))
        except ValidationError:
            self.fail(f"{value!r} is no duration; write 90s, 30m, 12h or 30d", param, ctx)


AGE = Age()


def moment(ago: float) -> str:
    """The time of so many seconds ago; of more than there have been, the first of all."""
    try:
        return (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC).isoformat()


def told(printer: Printer, requests: list[Shape]) -> None:
    """The newest last, as in a log."""
    if not requests:
        printer.line("nobody has asked for anything that changes anything in that time (--since 30d)")
    for r in requests:
        cluster = "all clusters" if r["cluster"] == EVERY else r["cluster"]
        words = " ".join(filter(None, (r["request"], r["subject"], f"on {cluster}" if cluster else "")))
        reason = f" ({r['reason']})" if r["reason"] else ""
        said = " | ".join(r["detail"].split("\n"))
        style = {"done": "", "asked": "yellow"}.get(r["answer"], "red")
        printer.line(f"{when(r['at'])}  {_who(r)}: {words}{reason}")
        printer.line(f"{answered(r['answer'])}{f': {said}' if said else ''}", style, 4)


def answered(answer: str) -> str:
    return "no answer is known" if answer == "asked" else answer


def _who(r: Shape) -> str:
    """The person, and the uids by which the kernel knows person and process."""
    person = "login not known" if r["person"] is None else f"uid {r['person']}"
    process = f", process of uid {r['uid']}" if r["uid"] != r["person"] else ""
    return f"{r['by']} ({person}{process})"
