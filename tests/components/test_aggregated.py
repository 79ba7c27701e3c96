"""The API services as an API server lists them, over TLS: what is away, since when, and who may not ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient

from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.witness import AggregatedView
from recoverd.observe.aggregated import AggregateWatch
from recoverd.observe.api import api_client
from recoverd.observe.kubeconfig import read_access

from .test_api import Server, as_json

PATH = "/apis/apiregistration.k8s.io/v1/apiservices"


def service(name: str, *, status: str = "True", to: bool = True, conditions: bool = True) -> dict[str, Any]:
    """As kube-apiserver 1.28 writes them (kube-aggregator's available_controller.go)."""
    about = {"type": "Available", "status": status, "lastTransitionTime": "2026-03-05T19:00:00Z"}
    if status != "True":
        about |= {
            "reason": "FailedDiscoveryCheck",
            "message": "failing or missing response from\nhttps://10.96.0.9:443",
        }
    return {
        "metadata": {"name": name},
        "spec": {"service": {"namespace": "kube-system", "name": "metrics-server", "port": 443}} if to else {},
        "status": {"conditions": [about]} if conditions else {},
    }


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(tmp_path)
    made.write_kubeconfig()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ApiClient]:
    access = await read_access(server.kubeconfig)
    made = api_client(access, access.server)
    yield made
    await made.close()  # type: ignore[no-untyped-call]


def lists(server: Server, *items: dict[str, Any]) -> None:
    server.answers[PATH] = as_json({"kind": "APIServiceList", "items": list(items)})


async def test_what_is_away_is_told_with_its_reason_for_as_long_as_it_is(server: Server, client: ApiClient) -> None:
    watch = AggregateWatch(5.0)
    away, local = service("v1beta1.metrics.k8s.io", status="False"), service("v1.apps", to=False)
    young = service("v1.new.example", conditions=False)
    lists(server, local, away, young)
    first = await watch.look(client)
    assert isinstance(first, tuple)
    (view,) = first
    assert (view.name, view.service, view.reason) == (
        "v1beta1.metrics.k8s.io",
        "kube-system/metrics-server",
        "FailedDiscoveryCheck",
    )
    assert "\n" not in view.message and view.message.endswith("https://10.96.0.9:443")
    assert await watch.look(client) == first, "since it was seen first"
    lists(server, local, service("v1beta1.metrics.k8s.io"))
    assert await watch.look(client) == (), "asked in every sweep while one is away"
    lists(server, local, service("v1beta1.metrics.k8s.io", status="Unknown"))
    assert await watch.look(client) == (), "and now and then while none is"
    assert isinstance(await watch.look(None), Unseen)
    again = await watch.look(client)
    assert isinstance(again, tuple) and isinstance(again[0], AggregatedView) and again[0].since > view.since


async def test_who_may_not_list_them_does_not_ask_in_every_sweep(server: Server, client: ApiClient) -> None:
    asked = []

    async def forbidden(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=403)

    server.answers[PATH] = forbidden
    watch = AggregateWatch(5.0)
    for _ in range(3):
        view = await watch.look(client)
        assert isinstance(view, Unseen) and view.kind is UnseenKind.DENIED
    assert asked == [PATH]


async def test_what_makes_no_sense_is_unseen(server: Server, client: ApiClient) -> None:
    lists(server, {"metadata": {"name": "v1.odd"}})
    view = await AggregateWatch(5.0).look(client)
    assert isinstance(view, Unseen) and view.kind is UnseenKind.GARBAGE
