"""Writes that are tried by dry run, on a real API server: without permission, and with a webhook that fails."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from recoverd.act.kube import Kube
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.settings import CanarySettings
from recoverd.model.witness import TryView
from recoverd.observe.canary import CanaryWatch
from recoverd.setup.rbac import apply
from recoverd.setup.shipped import shipped

from .apiserver import ApiServer
from .test_cordon import kube
from .test_leads import client

__all__ = ["client", "kube"]
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


def hook(api: ApiServer, *resources: str, operation: str = "CREATE") -> dict[str, Any]:
    """One that fails closed, of a service that is not there."""
    bundle = base64.b64encode((api.pki / "ca.crt").read_bytes()).decode()
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": [operation], "resources": list(resources)}
    return {
        "metadata": {"name": "policy-validator"},
        "webhooks": [
            {
                "name": "policy.example.com",
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 5,
                "rules": [rule],
                "clientConfig": {
                    "caBundle": bundle,
                    "service": {"name": "policy-validator", "namespace": "default", "path": "/"},
                },
            }
        ],
    }


@pytest.fixture
async def watch() -> AsyncIterator[CanaryWatch]:
    made = CanaryWatch(CanarySettings(every=0.001), 20.0)
    yield made
    await made.close()


async def awaited(watch: CanaryWatch, client: ApiClient, kind: str, **wanted: Any) -> TryView:
    """Admission hears of what is new a moment later."""

    async def once() -> TryView:
        view = (await watch.look(client))[kind]
        assert isinstance(view, TryView) and {k: getattr(view, k) for k in wanted} == wanted, view
        return view

    again = AsyncRetrying(
        retry=retry_if_exception_type(AssertionError), wait=wait_fixed(0.3), stop=stop_after_delay(60), reraise=True
    )
    view: TryView = await again(once)
    return view


async def test_without_permission_a_write_is_unseen(api: ApiServer, client: ApiClient, watch: CanaryWatch) -> None:
    tries = await watch.look(client)
    kinds = {kind: v.kind for kind, v in tries.items() if isinstance(v, Unseen)}
    assert kinds == {"pod": UnseenKind.DENIED, "lease": UnseenKind.DENIED, "heartbeat": UnseenKind.NOT_TRIED}, tries


async def test_a_webhook_that_fails_is_named_and_nothing_is_made(
    api: ApiServer, kube: Kube, client: ApiClient, watch: CanaryWatch
) -> None:
    account = "/api/v1/namespaces/kube-system/serviceaccounts"
    assert await api.ask("POST", account, admin=True, body={"metadata": {"name": "default"}}) in (201, 409)
    await awaited(watch, client, "pod", accepted=True)
    await awaited(watch, client, "lease", accepted=True)
    assert await api.ask("GET", "/api/v1/namespaces/kube-system/pods/recoverd-canary", admin=True) == 404

    assert await api.ask("POST", HOOKS, admin=True, body=hook(api, "pods")) == 201
    first = await awaited(watch, client, "pod", accepted=False, webhook="policy.example.com")
    assert 'service "policy-validator" not found' in first.said
    again = (await watch.look(client))["pod"]
    assert isinstance(again, TryView) and again.times > first.times
    assert (await watch.look(client))["lease"] == TryView(True)
    assert await api.ask("DELETE", f"{HOOKS}/policy-validator", admin=True) == 200
    await awaited(watch, client, "pod", accepted=True)


async def test_one_that_lets_nothing_be_changed_is_found_though_all_may_be_made(
    api: ApiServer, client: ApiClient, watch: CanaryWatch, tmp_path: Path
) -> None:
    """By the shipped permissions alone. A patch that changes nothing passes admission as an update, and by dry run it
    leaves the lease as it is.
    """
    account = "/api/v1/namespaces/kube-system/serviceaccounts"
    assert await api.ask("POST", account, admin=True, body={"metadata": {"name": "default"}}) in (201, 409)
    administrator = tmp_path / "admin.kubeconfig"
    administrator.write_text(api.admin_kubeconfig())
    for _ in range(2):
        assert "Lease recoverd-canary" in await apply(administrator, shipped("rbac-canary.yaml"))
    for kind in ("pod", "lease", "heartbeat"):
        await awaited(watch, client, kind, accepted=True)
    assert await api.ask("POST", HOOKS, admin=True, body=hook(api, "leases", operation="UPDATE")) == 201
    refused = await awaited(watch, client, "heartbeat", accepted=False, webhook="policy.example.com")
    assert 'service "policy-validator" not found' in refused.said
    tries = await watch.look(client)
    assert (tries["pod"], tries["lease"]) == (TryView(True), TryView(True)), "what is made is let pass"
    assert await api.ask("DELETE", f"{HOOKS}/policy-validator", admin=True) == 200
    await awaited(watch, client, "heartbeat", accepted=True)


async def test_a_webhook_that_hangs_keeps_no_sweep_waiting(api: ApiServer, kube: Kube, client: ApiClient) -> None:
    """What was refused stands while the next answer is awaited; nothing else does."""
    watch = CanaryWatch(CanarySettings(every=0.001), 0.0)
    try:
        tries = await watch.look(client)
        assert {v.kind for v in tries.values() if isinstance(v, Unseen)} == {UnseenKind.TIMEOUT}
        late = CanaryWatch(CanarySettings(every=0), 5.0)
        assert await late.look(client) == {}, "it is switched off"
    finally:
        await watch.close()
