"""What a request that changes anything says, as JSON: read, checked, and what the record says of it."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

from aiohttp import web

from recoverd import __version__
from recoverd.model.audit import EVERY
from recoverd.model.joining import JoinRequest
from recoverd.model.text import typed

JOIN = (
    "cluster", "name", "address", "host_key", "take_back_single", "skip_preflight", "member_seconds", "reason",
    "emergency",
)  # fmt: skip


def about(body: dict[str, Any], id: str) -> dict[str, str]:
    """What the record of a request says that it is about, whether that makes sense or not."""
    nodes = body.get("nodes") if isinstance(body.get("nodes"), list) else []
    words = id, said(body, "playbook"), *map(str, nodes or ()), said(body, "point")
    emergency = "IN AN EMERGENCY: " if body.get("emergency") is True else ""
    return {
        "cluster": EVERY if body.get("all") is True else said(body, "cluster"),
        "subject": " ".join(filter(None, words)),
        "reason": f"{emergency}{said(body, 'reason')}",
    }


def said(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def join_request(body: dict[str, Any]) -> JoinRequest:
    return JoinRequest(
        text(body, "name", required=True),
        _address(body),
        text(body, "host_key").strip(),
        take_back_single=body.get("take_back_single") is True,
        skip_preflight=body.get("skip_preflight") is True,
        member_seconds=_seconds(body, "member_seconds"),
    )


async def read(request: web.Request) -> dict[str, Any]:
    """What is asked for, whether that makes sense or not."""
    try:
        body = await request.json() if request.can_read_body else {}
    except ValueError:
        raise web.HTTPBadRequest(text="the request is not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the request is not a JSON object")
    return {key: _kept(value) for key, value in body.items()}


def check(body: dict[str, Any], what: str, known: Collection[str]) -> None:
    """Refuse what has a part that this recoverd does not know, and does not leave it out: a newer recoverctl may say by
    it when, where or in place of what something is not to be done.
    """
    if strange := sorted(set(body) - set(known)):
        raise web.HTTPBadRequest(
            text=f"this recoverd ({__version__}) knows no {', '.join(strange)} of {what}, so nothing was done: it is "
            "older than the recoverctl that asks (systemctl restart recoverd)"
        )


def _kept(value: Any) -> Any:
    """A part of a request as the journal can keep it: JSON may hold halves of characters, which no file takes."""
    if isinstance(value, list):
        return [_kept(each) for each in value]
    return typed(value) if isinstance(value, str) else value


def text(body: dict[str, Any], key: str, *, required: bool = False) -> str:
    value = body.get(key) or ""
    if not isinstance(value, str) or (required and not value.strip()):
        raise web.HTTPBadRequest(text=f"{key} is missing or not a text")
    return value


def names(body: dict[str, Any], key: str) -> tuple[str, ...]:
    value = body.get(key) or []
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise web.HTTPBadRequest(text=f"{key} is not a list of names")
    return tuple(value)


def _address(body: dict[str, Any]) -> str:
    """As the machines will be told it, so nothing but an IP address."""
    try:
        return str(ip_address(text(body, "address", required=True)))
    except ValueError:
        raise web.HTTPBadRequest(
            text=f"{body['address']!r} is no IP address; give the one that the control planes will use"
        ) from None


def _seconds(body: dict[str, Any], key: str) -> int:
    value = body.get(key) or 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 600:
        raise web.HTTPBadRequest(text=f"{key} is no number of seconds up to 600")
    return value


def one_or_all(body: dict[str, Any]) -> str | None:
    if body.get("all") is True:
        return None
    return text(body, "cluster", required=True)
