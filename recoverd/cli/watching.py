"""`recoverctl watch`: lines of history as they come, from before the daemon is restarted until after it."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from recoverd.cli.program import in_json
from recoverd.control.client import ControlClient, NoDaemon
from recoverd.model.text import clean
from recoverd.report.words import place, when

AGAIN = 1.0
"""Seconds between two attempts to reach a daemon that has stopped."""


async def follow(client: ControlClient, cluster: str, output: str) -> None:
    """Print what happens to one cluster, or to all (""), for as long as it is not interrupted. Raises `NoDaemon` where
    nobody answers at the beginning, and `Denied`.
    """
    clusters = await _clusters(client, cluster)
    while True:
        if output == "text":
            _stand(clusters)
        async for event in client.watch():
            if cluster in ("", event["cluster"]):
                _print(event, output)
        click.echo("recoverctl: recoverd has stopped; this goes on when it runs again (Ctrl-C ends it)", err=True)
        clusters = await _awaited(client, cluster)


async def _clusters(client: ControlClient, cluster: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/v1/status", **({"cluster": cluster} if cluster else {})))[
        "clusters"
    ]
    return found


async def _awaited(client: ControlClient, cluster: str) -> list[dict[str, Any]]:
    """How the clusters are, once somebody answers."""
    while True:
        try:
            return await _clusters(client, cluster)
        except NoDaemon:
            await asyncio.sleep(AGAIN)


def _stand(clusters: list[dict[str, Any]]) -> None:
    """Who comes late sees what is going on already."""
    for c in clusters:
        click.echo(clean(f"{'now':23}  {c['name']:12} {place(c):16} {c['explanation'] or c['summary']}"))


def _print(event: dict[str, Any], output: str) -> None:
    if output == "json":
        click.echo(in_json(event))
    else:
        click.echo(clean(f"{when(event['at'])}  {event['cluster']:12} {event['event']:16} {event['detail']}"))
