"""`relax-webhook`: lets an admission webhook that fails closed be passed by until its own pods serve again.

A webhook that is asked about every pod and has lost all of its own keeps these away as well: nothing comes back by
itself. Its failurePolicy is set to Ignore, that of this one webhook alone; when its service has an endpoint that is
ready, or when that does not come, it is put back. Until then what it forbids is let pass, so it always asks.
It needs config/rbac-webhooks.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding
from recoverd.model.observation import Unseen
from recoverd.model.plan import Step
from recoverd.model.webhook_operations import RELAXED, AwaitService, RelaxWebhook, TightenWebhook
from recoverd.model.witness import WebhookView
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation

RETURN = 300.0
"""Seconds for its pods to be scheduled, pulled and ready."""


@dataclass(frozen=True, slots=True)
class RelaxFailingWebhook:
    name: str = "relax-webhook"
    summary: str = "pass an admission webhook by that fails closed, until its own pods serve again"
    destructive: bool = False
    order: int = 10
    repairs: frozenset[str] = frozenset({Code.ADMISSION_WEBHOOK_FAILS})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        name, seen = finding.subject, situation.observation.api.webhooks
        if isinstance(seen, Unseen):
            return Refusal(
                f"where the webhook {name} stands could not be read ({seen.reason}); "
                "config/rbac-webhooks.yaml allows it"
            )
        found = [hook for hook in seen or () if hook.name == name]
        if len(found) != 1:
            where = " and ".join(h.configuration for h in found) or "no configuration"
            return Refusal(f"the webhook {name} stands in {where}, so which one fails is for a person to say")
        [hook] = found
        if why := _not_ours(hook):
            return Refusal(why)
        host, at = next(iter(situation.scene.parts), ""), (hook.plural, hook.configuration, hook.name)
        tighten = TightenWebhook(*at)
        return Proposal(
            summary=f"pass the webhook {name} by until {hook.service} serves again",
            steps=(
                Step(
                    host,
                    f"set failurePolicy of {name} in {hook.configuration} to Ignore",
                    RelaxWebhook(*at, hook.version),
                    30.0,
                    (finding.key,),
                    undo=tighten,
                ),
                Step(host, f"see {hook.service} have an endpoint that is ready", AwaitService(hook.service), RETURN),
                Step(host, f"set failurePolicy of {name} back", tighten, 30.0),
            ),
            basis=(finding.key,),
            evidence=finding.evidence,
            destroys=(f"until it is back, what {name} forbids is let pass, and what it changes stays unchanged",),
            undo=(f"its failurePolicy is put back from the annotation {RELAXED}, also when its pods do not come",),
            verify_within=90.0,
        )


def _not_ours(hook: WebhookView) -> str:
    """Why this one is not recoverd's to change; "" where it is."""
    by_hand = f"by hand: kubectl edit {hook.plural} {hook.configuration}"
    if hook.policy != "Fail":
        return f"failurePolicy of {hook.name} is {hook.policy} already, and the API server may not have heard of it yet"
    if hook.owner:
        return f"{hook.configuration} is kept by {hook.owner}, which would write it anew: change it there"
    if not hook.service:
        return f"{hook.name} is asked by a URL, and whether anything serves there recoverd cannot tell; {by_hand}"
    if hook.ready is None:
        return f"whether {hook.service} has endpoints could not be told, so when to put {hook.name} back is not known"
    if hook.ready:
        return (
            f"{hook.service} has endpoints that are ready, so its pods are not what {hook.name} lacks (see what the "
            f"API server says of it); {by_hand}"
        )
    return ""


PLAYBOOK = RelaxFailingWebhook()
