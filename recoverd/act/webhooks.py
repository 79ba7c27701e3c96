"""Admission webhooks: one that fails is passed by, and put back. Written whole with the version that was read."""

from __future__ import annotations

from typing import Any

from recoverd.act.carry import hand
from recoverd.act.kube import Json, Kube, KubeFailure
from recoverd.act.node import poll
from recoverd.model.plan import StepResult
from recoverd.model.webhook_operations import RELAXED, AwaitService, RelaxWebhook, TightenWebhook
from recoverd.observe.webhooks import has_ready

CONFLICT = 409


async def relax(o: RelaxWebhook, kube: Kube, *, ask: bool = False) -> StepResult:
    """`ask`: only look whether it has been done."""
    try:
        whole = await kube.webhooks(o.plural, o.configuration)
        hook, note = _hook(whole, o.webhook), _notes(whole)
        if note.get(o.webhook):
            return StepResult(True, f"{o.webhook} is passed by already", already_done=True)
        if ask:
            return StepResult(False, f"{o.webhook} is not passed by yet", undone=True)
        version = whole["metadata"].get("resourceVersion")
        if hook is None or version != o.version or hook.get("failurePolicy", "Fail") != "Fail":
            return StepResult(
                False,
                f"{o.configuration} was changed after the plan was made (resourceVersion {version}, not {o.version}); "
                "it stays as it is, and the next sweep shows what it is",
                untouched=True,
            )
        hook["failurePolicy"] = "Ignore"
        _annotate(whole, note | {o.webhook: "Fail"})
        await kube.put_webhooks(o.plural, whole)
    except KubeFailure as failure:
        return failed(failure, f"{o.webhook} was not passed by", ask=ask)
    return StepResult(True, f"{o.webhook} is passed by: its failurePolicy is Ignore, and was Fail")


async def tighten(o: TightenWebhook, kube: Kube, *, ask: bool = False) -> StepResult:
    """The same for putting it back; one that is gone with its configuration needs nothing."""
    try:
        whole = await kube.webhooks(o.plural, o.configuration)
        hook, note = _hook(whole, o.webhook), _notes(whole)
        was = note.pop(o.webhook, "")
        if not was:
            return StepResult(True, f"{o.webhook} is not passed by (any more) by recoverd", already_done=True)
        if ask:
            return StepResult(False, f"{o.webhook} has not been put back yet", undone=True)
        ours = hook is not None and hook.get("failurePolicy") == "Ignore"
        if ours and hook is not None:
            hook["failurePolicy"] = was
        _annotate(whole, note)
        await kube.put_webhooks(o.plural, whole)
    except KubeFailure as failure:
        if failure.status == 404:
            return StepResult(True, f"{o.configuration} is gone", already_done=True)
        todo = f"{o.webhook} is still passed by. By hand: kubectl edit {o.plural} {o.configuration}"
        return failed(failure, todo, ask=ask)
    return StepResult(
        True,
        f"failurePolicy of {o.webhook} is {was} again"
        if ours
        else f"{o.webhook} was set by somebody since, and stays so",
    )


async def await_service(o: AwaitService, kube: Kube, until: float) -> StepResult:
    """Wait until the webhook's service has an endpoint that is ready."""

    async def look() -> str:
        try:
            return "" if has_ready(await kube.endpoints_of(o.service)) else "has no endpoint that is ready"
        except KubeFailure as failure:
            return f"cannot be looked at: {failure}"

    trouble, took = await poll(look, o.service, until)
    if trouble:
        return StepResult(False, f"after {took:.0f} s {o.service} {trouble}; see why its pods do not become ready")
    return StepResult(True, f"{o.service} has an endpoint that is ready, after {took:.0f} s")


def failed(failure: KubeFailure, state: str, *, ask: bool) -> StepResult:
    """What came of a call that has, or may have, changed nothing; `state` says how it is now."""
    if failure.status == CONFLICT:
        return StepResult(False, f"somebody changed it at the same moment ({failure}). {state}", untouched=True)
    return StepResult(False, f"{failure}. {state}", uncertain=ask or not failure.status, untouched=failure.status > 0)


def _hook(whole: Json, name: str) -> dict[str, Any] | None:
    return next((h for h in whole.get("webhooks") or () if h.get("name") == name), None)


def _notes(whole: Json) -> dict[str, str]:
    text = (whole["metadata"].get("annotations") or {}).get(RELAXED, "")
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def _annotate(whole: Json, notes: dict[str, str]) -> None:
    kept = {k: v for k, v in (whole["metadata"].get("annotations") or {}).items() if k != RELAXED}
    text = ",".join(f"{k}={v}" for k, v in sorted(notes.items()))
    whole["metadata"]["annotations"] = kept | ({RELAXED: text} if text else {})


hand(RelaxWebhook)(lambda o, at: relax(o, at.reach.kube, ask=at.ask))
hand(TightenWebhook)(lambda o, at: tighten(o, at.reach.kube, ask=at.ask))
hand(AwaitService)(lambda o, at: await_service(o, at.reach.kube, at.until))
