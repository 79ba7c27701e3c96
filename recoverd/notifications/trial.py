"""`recoverctl notify-test`: one message to each receiver now, past everything that waits, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from recoverd.config.types import Heartbeat, Receiver
from recoverd.control.protocol import Delivery
from recoverd.model.news import News, Topic
from recoverd.notifications import wire
from recoverd.notifications.alarm import alert
from recoverd.notifications.wire import Courier, SendFailed

LASTS = timedelta(minutes=1)
"""So long the alert of a test stands."""


async def tried(receivers: Mapping[str, Receiver | Heartbeat], bastion: str) -> list[Delivery]:
    """What came of a test of each, in the order of their names; all at once, and over after the deadline of one."""
    return list(await asyncio.gather(*(_one(name, receivers[name], bastion) for name in sorted(receivers))))


async def _one(name: str, receiver: Receiver | Heartbeat, bastion: str) -> Delivery:
    now = datetime.now(UTC)
    labels = {"alertname": "RecoverdNotifyTest", "severity": "ticket"}
    about = "none" if isinstance(receiver, Heartbeat) else ", ".join(sorted(receiver.clusters))
    text = (
        f"Somebody on {bastion} asked for it: recoverctl notify-test. Nothing is wrong.",
        f"{name} is told about: {about}.",
    )
    news = News(Topic.CONFIRMED, "none", "test", now, f"recoverd on {bastion}: a test", text, labels=labels)
    call: Callable[[], None]
    if isinstance(receiver, Heartbeat):
        file = receiver.url_file
        call, done = (lambda: wire.beat(file)), "the sign of life was taken"
    elif receiver.kind == "apprise":
        told = receiver
        call, done = (lambda: wire.by_apprise(told, news.title, news.body)), "the message was taken"
    else:
        manager = receiver
        call, done = (
            (lambda: wire.to_alertmanager(manager, [alert(news, f"http://{bastion}/", now + LASTS)])),
            "the alert was taken",
        )
    try:
        await Courier(name).run(call)
    except SendFailed as error:
        return Delivery(name, False, str(error))
    return Delivery(name, True, done)
