"""Admission webhooks on the model: passed by, awaited, put back. All through an API server that is ready."""

from __future__ import annotations

from recoverd.model.plan import StepResult
from recoverd.model.webhook_operations import AwaitService, RelaxWebhook, TightenWebhook
from recoverd.simulate.carry import Carry, hand

NO_API = StepResult(False, "no API server is ready")


@hand(RelaxWebhook, on_machine=False)
def relax(o: RelaxWebhook, at: Carry) -> StepResult:
    hook = at.cluster.api.webhooks.all.get(o.webhook)
    if at.cluster.api.store is None:
        return NO_API
    if hook is None or (not hook.was and (str(hook.version) != o.version or hook.policy != "Fail")):
        return StepResult(False, f"{o.configuration} was changed after the plan was made", untouched=True)
    if hook.was:
        return StepResult(True, f"{o.webhook} is passed by already", already_done=True)
    if at.ask:
        return StepResult(False, f"{o.webhook} is not passed by yet", undone=True)
    hook.was, hook.policy, hook.version = hook.policy, "Ignore", hook.version + 1
    return StepResult(True, f"{o.webhook} is passed by: its failurePolicy is Ignore, and was Fail")


@hand(TightenWebhook, on_machine=False)
def tighten(o: TightenWebhook, at: Carry) -> StepResult:
    hook = at.cluster.api.webhooks.all.get(o.webhook)
    if at.cluster.api.store is None:
        return NO_API
    if hook is None or not hook.was:
        return StepResult(True, f"{o.webhook} is not passed by (any more) by recoverd", already_done=True)
    if at.ask:
        return StepResult(False, f"{o.webhook} has not been put back yet", undone=True)
    hook.policy, hook.was, hook.version = hook.was if hook.policy == "Ignore" else hook.policy, "", hook.version + 1
    return StepResult(True, f"failurePolicy of {o.webhook} is {hook.policy} again")


@hand(AwaitService, waits=True, on_machine=False)
def await_service(o: AwaitService, at: Carry) -> StepResult:
    ready = any(h.serves for h in at.cluster.api.webhooks.all.values() if h.service == o.service)
    return StepResult(ready, f"{o.service} has {'an' if ready else 'no'} endpoint that is ready")
