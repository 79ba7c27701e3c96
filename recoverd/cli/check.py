"""`recoverctl check`: one line and an exit code for Nagios, Icinga and whatever else runs plugins of that kind.

Source: Monitoring Plugins Development Guidelines, "Plugin Return Codes": 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from recoverd.report.words import CALM, pause, place

Shape = dict[str, Any]
OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
WORST = (CRITICAL, UNKNOWN, WARNING, OK)


class Plugin(click.Command):
    """A command that a monitoring system runs. What it was told wrongly is UNKNOWN, in the line that is read there: by
    its exit code a mistake of usage would be CRITICAL.
    """

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except click.UsageError as error:
            click.echo(f"UNKNOWN: {error.format_message()}")
            sys.exit(UNKNOWN)


def verdict(clusters: list[Shape], notices: list[str]) -> tuple[int, str]:
    """The code of the worst cluster, and the line: what is wrong where, the worst first. One that cannot be
    observed is CRITICAL: it may be down. One that was never seen healthy is a WARNING.
    """
    if not clusters:
        return UNKNOWN, "UNKNOWN: recoverd watches no cluster"
    judged = sorted(((_of(c), c) for c in clusters), key=lambda pair: WORST.index(pair[0][0]))
    troubles = [f"{c['name']} {why}" for (code, why), c in judged if code != OK] + [f"recoverd: {n}" for n in notices]
    code = judged[0][0][0]
    if notices and code == OK:
        code = WARNING
    told = "; ".join(troubles) or ", ".join(f"{c['name']} {c['state']}" for c in clusters)
    return (
        code,
        f"{WORDS[code]}: {' '.join(told.split())} | clusters={len(clusters)} "
        f"not_healthy={sum(c['state'] not in CALM for c in clusters)}",
    )


def _of(c: Shape) -> tuple[int, str]:
    if c.get("watched_by") == "nobody":
        return CRITICAL, "is watched by no bastion"
    if c.get("withheld"):
        return CRITICAL, f"is {place(c)}, and nothing is done to it: {c['withheld']}"
    if c["last_sweep"] is None and not c.get("watched_by"):
        return UNKNOWN, "has not been swept yet"
    if c["state"] not in CALM and c.get("never_healthy"):  # which pages nobody elsewhere either
        return WARNING, f"was never seen healthy, so its installation may not be finished: recoverd doctor {c['name']}"
    if c["state"] not in CALM:
        return CRITICAL, f"is {place(c)}: {c['summary']}"
    if c["paused"]:
        return WARNING, f"is {place(c)} and {pause(c)}"
    warned = [f for f in c["findings"] if f["severity"] == "warning"]
    return (WARNING, f"is {place(c)}: {warned[0]['message']}") if warned else (OK, "")
