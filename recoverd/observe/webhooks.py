"""The admission webhooks that the API server names as failing: where each stands, and whether its service has pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from kubernetes.aio.client import ApiClient

from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.witness import HOOKS, TryView, WebhookView
from recoverd.observe.lists import read_json
from recoverd.observe.rest import request

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/{plural}"
ENDPOINTS = "/api/v1/namespaces/{namespace}/endpoints"


async def look(
    client: ApiClient | None, tries: Mapping[str, TryView | Unseen], seconds: float
) -> tuple[WebhookView, ...] | Unseen | None:
    """Those of which the tries tell; None where they tell of none."""
    names = {v.webhook for v in tries.values() if isinstance(v, TryView) and v.webhook}
    if client is None or not names:
        return None
    found: list[WebhookView] = []
    for plural in HOOKS:
        read = await read_json(plural, partial(request, client, CONFIGURATIONS, {"plural": plural}), seconds)
        if isinstance(read, Unseen):
            return read
        try:
            for view in _views(plural, read.body.get("items") or (), names):
                found.append(await _with_service(client, view, seconds))
        except (KeyError, TypeError, AttributeError) as error:
            return Unseen(UnseenKind.GARBAGE, f"the API server gave {plural} in an odd form ({error!r})")
    return tuple(found)


def _views(plural: str, items: Iterable[dict[str, Any]], names: set[str]) -> Iterable[WebhookView]:
    for item in items:
        meta = item["metadata"]
        owners = ", ".join(f"{o.get('kind')} {o.get('name')}" for o in meta.get("ownerReferences") or ())
        for hook in item.get("webhooks") or ():
            if hook["name"] in names:
                service = hook.get("clientConfig", {}).get("service") or {}
                yield WebhookView(
                    plural,
                    str(meta["name"]),
                    str(hook["name"]),
                    str(meta.get("resourceVersion", "")),
                    str(hook.get("failurePolicy") or "Fail"),
                    f"{service['namespace']}/{service['name']}" if service else "",
                    owner=owners,
                )


async def _with_service(client: ApiClient, view: WebhookView, seconds: float) -> WebhookView:
    if not view.service:
        return view
    namespace, _, name = view.service.partition("/")
    query = {"fieldSelector": f"metadata.name={name}"}
    read = await read_json(
        f"endpoints of {view.service}",
        lambda: request(client, ENDPOINTS, {"namespace": namespace}, query=query),
        seconds,
    )
    return view if isinstance(read, Unseen) else view.serving(has_ready(read.body))


def has_ready(body: dict[str, Any]) -> bool:
    """Whether a list of Endpoints holds an address that is ready."""
    return any(s.get("addresses") for item in body.get("items") or () for s in item.get("subsets") or ())
