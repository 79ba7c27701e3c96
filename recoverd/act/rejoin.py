"""A machine that was a control plane joins again: what is asked and awaited before `kubeadm join`."""

from __future__ import annotations

from datetime import UTC, datetime

from recoverd.act.carry import Carry, hand
from recoverd.act.join import VIEW_SECONDS
from recoverd.act.kube import Json, Kube, KubeFailure
from recoverd.act.node import poll
from recoverd.clients.etcd import EtcdUnseen
from recoverd.model.join_operations import CheckJoin
from recoverd.model.joining import JoinRequest
from recoverd.model.node_operations import AwaitNodeUnready
from recoverd.model.plan import StepResult
from recoverd.observe.joining import look
from recoverd.playbooks.join_machines import again, in_the_way, told

GONE = 404


async def _check(operation: CheckJoin, at: Carry) -> StepResult:
    """Ask every machine, as before `recoverctl join-control-plane`; whatever is not good is told, all at once."""
    it, reach = operation, at.reach
    try:
        view = await reach.etcd(it.source).standing(timeout=VIEW_SECONDS)
    except EtcdUnseen as unseen:
        return StepResult(False, f"etcd on {it.source} tells nothing: {unseen}; nothing was changed", untouched=True)
    request = JoinRequest(it.name, it.address, skip_preflight=True)  # the step that joins sees to that
    addresses = {**reach.addresses, it.name: it.address}
    port = reach.hosts.places_of(it.source).api
    facts = await look(reach.hosts, it.planes, request, it.source, addresses, in_the_way, api_port=port)
    limit = reach.cluster.settings.bounds.max_clock_skew
    return told(it, again(request, facts, view.db_size, limit, datetime.now(UTC), it.flags))


async def await_node_unready(operation: AwaitNodeUnready, kube: Kube, until: float) -> StepResult:
    """Poll the Node object: the node controller calls it not Ready 40 s after its kubelet fell silent, by default."""

    async def ask() -> str:
        try:
            node = await kube.node(operation.node)
        except KubeFailure as failure:
            return "" if failure.status == GONE else str(failure)
        conditions = node.get("status", {}).get("conditions") or ()
        ready: Json = next((c for c in conditions if c.get("type") == "Ready"), {})
        return "is Ready still" if ready.get("status") == "True" else ""

    trouble, took = await poll(ask, operation.node, until)
    if trouble:
        return StepResult(
            False,
            f"node {operation.node} {trouble}, after {took:.0f} s, and kubeadm joins no machine under the name of a "
            f"node that is Ready: look whether a kubelet runs there (kubectl describe node {operation.node})",
        )
    return StepResult(True, f"node {operation.node} is not Ready, after {took:.0f} s")


hand(CheckJoin)(_check)
hand(AwaitNodeUnready)(lambda o, at: await_node_unready(o, at.reach.kube, at.until))
