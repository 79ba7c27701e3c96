"""Who leads, as a real API server tells it: a lease that moves on, one that stands still, and none that may be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubernetes.aio.client import ApiClient

from recoverd.act.kube import Kube
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.witness import LeadView
from recoverd.observe.api import api_client
from recoverd.observe.kubeconfig import read_access
from recoverd.observe.leads import LeadWatch

from .apiserver import ApiServer
from .test_controllers import Kubectl, kubectl, renew
from .test_cordon import kube

__all__ = ["kube", "kubectl"]
NAME = "kube-controller-manager"


@pytest.fixture
async def client(api: ApiServer, tmp_path: Path) -> AsyncIterator[ApiClient]:
    access = await read_access(api.kubeconfig(tmp_path / "leads.kubeconfig"))
    made = api_client(access, access.server)
    yield made
    await made.close()  # type: ignore[no-untyped-call]


async def test_a_lease_that_stands_still_is_told_by_a_real_api_server(
    kube: Kube, kubectl: Kubectl, client: ApiClient
) -> None:
    watch = LeadWatch(5.0)
    none = (await watch.look(client))[NAME]
    assert isinstance(none, Unseen) and "404" in none.reason
    await asyncio.to_thread(renew, kubectl, 1)
    first = (await watch.look(client))[NAME]
    assert isinstance(first, LeadView) and first.unchanged is None and first.host == "cp1"
    assert first.renewed_at and abs((first.asked_at - first.renewed_at).total_seconds() - first.old) < 1
    again = (await watch.look(client))[NAME]
    assert isinstance(again, LeadView) and again.unchanged
    await asyncio.to_thread(renew, kubectl, 2)
    moved = (await watch.look(client))[NAME]
    assert isinstance(moved, LeadView) and moved.unchanged == 0.0
    assert isinstance((await watch.look(None))[NAME], Unseen)
    anew = (await watch.look(client))[NAME]
    assert isinstance(anew, LeadView) and anew.unchanged is None, "what was in between nobody knows"


async def test_a_lease_that_may_not_be_read_is_unseen(api: ApiServer, client: ApiClient) -> None:
    view = (await LeadWatch(5.0).look(client))[NAME]
    assert isinstance(view, Unseen) and view.kind is UnseenKind.DENIED
