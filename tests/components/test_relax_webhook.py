"""An admission webhook passed by and put back, on a real API server: that one alone, and nobody's change undone."""

from __future__ import annotations

import json

from kubernetes.aio.client import ApiClient

from recoverd.act.kube import Kube
from recoverd.act.webhooks import relax, tighten
from recoverd.model.webhook_operations import RELAXED, RelaxWebhook, TightenWebhook
from recoverd.model.witness import HOOKS, TryView
from recoverd.observe.webhooks import look

from .apiserver import ApiServer
from .test_canary import HOOKS as PATH
from .test_canary import hook
from .test_controllers import Kubectl, kubectl
from .test_cordon import kube
from .test_leads import client

__all__ = ["client", "kube", "kubectl"]
NAME, AT = "policy.example.com", (HOOKS[0], "policy-validator", "policy.example.com")


async def test_one_webhook_alone_is_passed_by_and_put_back(
    api: ApiServer, kube: Kube, kubectl: Kubectl, client: ApiClient
) -> None:
    body = hook(api, "widgets")
    body["webhooks"].append(body["webhooks"][0] | {"name": "other.example.com"})
    assert await api.ask("POST", PATH, admin=True, body=body) == 201
    seen = await look(client, {"pod": TryView(False, webhook=NAME)}, 10.0)
    assert isinstance(seen, tuple), seen
    [view] = seen
    assert (view.configuration, view.service, view.policy) == ("policy-validator", "default/policy-validator", "Fail")
    assert view.ready is False and not view.owner

    def policies() -> list[str]:
        whole = json.loads(kubectl("get", "--raw", f"{PATH}/policy-validator"))
        return [h["failurePolicy"] for h in whole["webhooks"]] + [*(whole["metadata"].get("annotations") or {})]

    stale = await relax(RelaxWebhook(*AT, "1"), kube)
    assert not stale.ok and stale.untouched and "was changed after the plan" in stale.detail
    assert (await relax(RelaxWebhook(*AT, view.version), kube, ask=True)).undone
    assert (await relax(RelaxWebhook(*AT, view.version), kube)).ok and policies() == ["Ignore", "Fail", RELAXED]
    assert (await relax(RelaxWebhook(*AT, view.version), kube)).already_done
    assert (await tighten(TightenWebhook(*AT), kube)).ok and policies() == ["Fail", "Fail"]
    assert (await tighten(TightenWebhook(*AT), kube)).already_done
    assert await api.ask("DELETE", f"{PATH}/policy-validator", admin=True) == 200
    assert (await tighten(TightenWebhook(*AT), kube)).already_done, "it is gone"
