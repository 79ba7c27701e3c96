"""kube-proxy's ConfigMap: the API server that it names. Written whole with the version that was read."""

from __future__ import annotations

import re

from recoverd.act.carry import hand
from recoverd.act.kube import Kube, KubeFailure
from recoverd.act.webhooks import failed
from recoverd.model.plan import StepResult
from recoverd.model.proxy_operations import CONFIG_MAP, KEY, RepointProxy


async def repoint(o: RepointProxy, kube: Kube, *, ask: bool = False) -> StepResult:
    """`ask`: only look whether it has been done."""
    try:
        whole = await kube.config_map(CONFIG_MAP)
        text = str((whole.get("data") or {}).get(KEY, ""))
        if _names(text, o.server):
            return StepResult(True, f"the ConfigMap {CONFIG_MAP} names {o.server} already", already_done=True)
        if ask:
            return StepResult(False, f"the ConfigMap {CONFIG_MAP} does not name {o.server} yet", undone=True)
        if not _names(text, o.was):
            found = ", ".join(re.findall(r"^ *server: *(\S+)", text, re.MULTILINE)) or "no server"
            return StepResult(
                False,
                f"the ConfigMap {CONFIG_MAP} names {found} and not {o.was}: somebody changed it after the plan was "
                "made, and it stays as it is",
                untouched=True,
            )
        if owner := _owner(whole["metadata"]):
            return StepResult(
                False,
                f"the ConfigMap {CONFIG_MAP} is kept by {owner}, which would write it anew: change it there",
                untouched=True,
            )
        whole["data"][KEY] = _server(o.was).sub(lambda m: f"{m[1]}https://{o.server}{m[2]}", text)
        await kube.put_config_map(whole)
    except KubeFailure as failure:
        return failed(failure, f"the ConfigMap {CONFIG_MAP} was not changed", ask=ask)
    return StepResult(True, f"the ConfigMap {CONFIG_MAP} names {o.server}, and named {o.was}")


def _server(address: str) -> re.Pattern[str]:
    """The line of a kubeconfig that names it, whose port may be left out where it is 443."""
    host, _, port = address.rpartition(":")
    at = f"{re.escape(host)}{'(?::443)?' if port == '443' else f':{port}'}"
    return re.compile(rf"^( *server: *)[\"']?https://{at}/?[\"']?( *)$", re.MULTILINE)


def _names(text: str, address: str) -> bool:
    return _server(address).search(text) is not None


def _owner(meta: dict[str, object]) -> str:
    """Who else writes it: an owner, or what put its own name on it, as Helm, Argo CD and Flux do; "" for nobody."""
    owners = meta.get("ownerReferences")
    if isinstance(owners, list) and owners:
        return ", ".join(f"{o.get('kind')} {o.get('name')}" for o in owners)
    labels, notes = meta.get("labels"), meta.get("annotations")
    said = {**(labels if isinstance(labels, dict) else {}), **(notes if isinstance(notes, dict) else {})}
    keys = (k for k in KEEPERS if said.get(k))
    return next((f"{said[k]} ({k})" for k in keys), "")


KEEPERS = (
    "app.kubernetes.io/managed-by",
    "meta.helm.sh/release-name",
    "argocd.argoproj.io/tracking-id",
    "kustomize.toolkit.fluxcd.io/name",
)

hand(RepointProxy)(lambda o, at: repoint(o, at.reach.kube, ask=at.ask))
