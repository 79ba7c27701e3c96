"""When an admission webhook is passed by, and when that is not for recoverd to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.webhook_operations import AwaitService, RelaxWebhook, TightenWebhook
from recoverd.model.witness import HOOKS, TryView, WebhookView
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from tests.unit.builders import Cluster

NAME = "policy.example.com"
HOOK = WebhookView(HOOKS[0], "policy-validator", NAME, "17", "Fail", "default/policy-validator", False)


def answer(*hooks: WebhookView, unseen: Unseen | None = None) -> Answer:
    cluster = Cluster()
    seen = cluster.observation()
    tries = {"pod": TryView(False, webhook=NAME, said="failed calling", times=2), "lease": TryView(True)}
    seen = replace(seen, api=replace(seen.api, tries=tries, webhooks=unseen or hooks))
    diagnosis = diagnose(seen, cluster.memory(), cluster.settings)
    [finding] = diagnosis.faults
    now = Situation(seen.at, "prod-1", cluster.settings, seen, diagnosis, cluster.memory(), diagnosis.faults)
    return next(p for p in registry() if p.name == "relax-webhook").propose(finding, now)


def test_it_is_passed_by_at_the_version_that_was_seen_and_put_back_in_any_case() -> None:
    plan = answer(HOOK)
    assert isinstance(plan, Proposal)
    relax, wait, tighten = (s.operation for s in plan.steps)
    at = (HOOKS[0], "policy-validator", NAME)
    assert (relax, wait) == (RelaxWebhook(*at, "17"), AwaitService("default/policy-validator"))
    assert tighten == plan.steps[0].undo == TightenWebhook(*at) and not any(s.commits for s in plan.steps)


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        (replace(HOOK, owner="Policy strict"), "kept by Policy strict"),
        (replace(HOOK, service=""), "asked by a URL"),
        (replace(HOOK, ready=True), "its pods are not what"),
        (replace(HOOK, ready=None), "could not be told"),
        (replace(HOOK, policy="Ignore"), "Ignore already"),
    ],
)
def test_it_is_refused_where_it_is_not_recoverds_to_change(hook: WebhookView, why: str) -> None:
    refused = answer(hook)
    assert isinstance(refused, Refusal) and why in refused.reason


def test_it_is_refused_where_it_is_not_known_which_one_it_is() -> None:
    for refused in (answer(), answer(HOOK, replace(HOOK, configuration="other"))):
        assert isinstance(refused, Refusal) and "for a person to say" in refused.reason
    denied = answer(unseen=Unseen(UnseenKind.DENIED, "HTTP 403"))
    assert isinstance(denied, Refusal) and "rbac-webhooks.yaml" in denied.reason
