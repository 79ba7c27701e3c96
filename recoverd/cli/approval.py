"""An approval at a terminal: the plan on one screen, what is lost next to the prompt, and the cluster's name
to type where data is at stake.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from recoverd.cli.prompts import prompting
from recoverd.cli.render import Printer, happened
from recoverd.control.client import ControlClient, Denied
from recoverd.model.text import clean

Shape = dict[str, Any]
POLL = 1.0
"""Seconds between two looks at a plan that is waited for."""
HELD = 60.0
"""Seconds for which an approval is asked for again that rests on what the newest sweep did not see: etcd without
quorum, or a bastion that is overloaded, is seen in every third sweep (observed on a busy lab).
"""


def agreed(plan: Shape, digest: str, *, yes: bool) -> None:
    """Return when the plan may be approved; raise `Denied` when it may not, with what to type instead.

    `yes`: nothing is asked, as in a script. What destroys data needs the digest of the plan that was read then. Without
    a terminal nobody can be asked either: what destroys nothing is approved by the command itself.
    """
    if plan["status"] != "awaiting-approval":
        return  # the daemon says what became of it
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if yes or not at_terminal:
        if plan["destructive"] and not (yes and digest):
            raise Denied(
                f"plan {plan['id']} is DESTRUCTIVE and is approved by who has read it: recoverctl plans "
                f"{plan['id']}; then at a terminal, or "
                f"recoverctl approve {plan['id']} --yes --digest {plan['digest']}"
            )
        return
    Printer().plan(plan)
    click.echo()
    try:
        with prompting():
            _asked(plan)
    except click.Abort:
        click.echo(err=True)
        raise Denied("nothing was approved") from None


def _asked(plan: Shape) -> None:
    if plan["destructive"]:
        name = click.prompt(
            f"What is lost stands above. Type the name of the cluster, {plan['cluster']}, to approve",
            default="",
            show_default=False,
        )
        if name.strip() != plan["cluster"]:
            raise Denied("that is not its name; nothing was approved")
    elif not click.confirm(f"Approve plan {plan['id']} ({plan['playbook']} on {plan['cluster']})?"):
        raise Denied("nothing was approved")


async def given(
    client: ControlClient,
    plan: str,
    reason: str,
    digest: str,
    told: Callable[[Shape], None],
    *,
    yes: bool,
    wait: bool,
    emergency: bool,
) -> bool:
    """Have the plan approved, once it was shown and agreed to; False where it was waited for and did not succeed."""
    shown = await only(client, plan)
    agreed(shown, digest, yes=yes)
    known = len(await lines(client, shown["incident"])) if wait else 0
    body = {"reason": reason, "digest": digest or shown["digest"]} | ({"emergency": True} if emergency else {})
    told(await _taken(client, plan, body))
    return not wait or await ended(client, shown, known)


async def _taken(client: ControlClient, plan: str, body: Shape) -> Shape:
    """The answer to an approval, which is asked for again after each sweep that did not see what it rests on. Whoever
    stops waiting has approved nothing.
    """
    until, told = time.monotonic() + HELD, False
    while True:
        try:
            return await client.post("/v1/plans/{}/approve", plan, **body)
        except Denied as denied:
            if not denied.passing or time.monotonic() > until:
                raise
            if not told:
                click.echo(
                    clean(f"recoverctl: {denied}\nasked again after each sweep, for {HELD:g} s; Ctrl-C ends that"),
                    err=True,
                )
            told = True
        await asyncio.sleep(POLL)


async def only(client: ControlClient, plan: str) -> Shape:
    """The plan of that name, as it is now. `Denied` where it names an incident or a cluster, which may have any number
    of plans: an approval is of one plan that was read.
    """
    of_it: list[Shape] = (await client.get("/v1/plans", of=plan))["plans"]
    found = next((p for p in of_it if p["id"] == plan), None)
    if found is not None:
        return found
    waiting = [f"{p['id']} ({p['playbook']})" for p in of_it if p["status"] == "awaiting-approval"]
    those = f"those of {plan} that wait: {', '.join(waiting)}" if waiting else f"none of {plan} waits for one"
    raise Denied(f"{plan} is no plan, and an approval is of a plan; {those}", missing=True)


async def ended(client: ControlClient, plan: Shape, since: int) -> bool:
    """Print what happens until the plan is over; whether it succeeded. `since`: lines of its
    incident's timeline that are known.
    """
    while True:
        now = await only(client, plan["id"])
        since = await _told(client, now["incident"], since)
        if now["status"] not in ("awaiting-approval", "running"):
            click.echo(clean(f"plan {now['id']} {now['status']}" + (f": {now['reason']}" if now["reason"] else "")))
            return bool(now["status"] == "succeeded")
        await asyncio.sleep(POLL)


async def lines(client: ControlClient, incident: str) -> list[Shape]:
    """The timeline of an incident; of a plan without one, nothing."""
    try:
        found: list[Shape] = (await client.get("/v1/incidents/{}", incident))["timeline"]
    except Denied as denied:
        if not denied.missing:
            raise
        return []
    return found


async def _told(client: ControlClient, incident: str, since: int) -> int:
    timeline = await lines(client, incident)
    for entry in timeline[since:]:
        click.echo(happened(entry))
    return len(timeline)
