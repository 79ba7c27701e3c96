"""kube-proxy's ConfigMap on the model, through an API server that is ready."""

from __future__ import annotations

from dataclasses import replace

from recoverd.model.plan import StepResult
from recoverd.model.proxy_operations import RepointProxy
from recoverd.simulate.carry import Carry, hand
from recoverd.simulate.look import GONE


@hand(RepointProxy, on_machine=False)
def repoint(o: RepointProxy, at: Carry) -> StepResult:
    store, back = at.cluster.api.store, o.server == GONE
    if store is None:
        return StepResult(False, "no API server is ready", untouched=True)
    if store.misled is back:
        return StepResult(True, f"the ConfigMap kube-proxy names {o.server} already", already_done=True)
    if at.ask:
        return StepResult(False, f"the ConfigMap kube-proxy does not name {o.server} yet", undone=True)
    at.cluster.api.write(lambda s: replace(s, misled=back))
    return StepResult(True, f"the ConfigMap kube-proxy names {o.server}, and named {o.was}")
