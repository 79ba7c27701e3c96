"""Node operations on the model: cordoned, drained, awaited, agents made anew. Those through
the API need one that is ready.

`Reboot` is asked for over SSH, and `AwaitNodeWell` is the machine's to judge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from recoverd.model.node_operations import (
    Agent,
    AwaitControllers,
    AwaitEndpoints,
    AwaitNodeReady,
    AwaitNodeUnready,
    AwaitReboot,
    Cordon,
    Drain,
    NodeOperation,
    RestartDaemonPods,
    Uncordon,
)
from recoverd.model.observation import ObjectsView
from recoverd.model.plan import StepResult
from recoverd.simulate.carry import Carry, hand
from recoverd.simulate.look import unreachable
from recoverd.simulate.store import Store

PROCESS = {Agent.KUBE_PROXY: "kube-proxy", Agent.CNI: "flanneld"}
O = TypeVar("O", bound=NodeOperation)  # noqa: E741
ThroughApi = Callable[[O, Carry, Store], StepResult]


def _through_api(kind: type[O]) -> Callable[[ThroughApi[O]], ThroughApi[O]]:
    """Name the hand of an operation that needs an API server that is ready, and is given what etcd holds."""

    def named(attempt: ThroughApi[O]) -> ThroughApi[O]:
        def through(o: O, at: Carry) -> StepResult:
            store = at.cluster.api.store
            if store is None:
                return StepResult(False, f"no API server is ready for {o.command()[:60]}")
            return attempt(o, at, store)

        hand(kind, waits=True, on_machine=False)(through)
        return attempt

    return named


def _undone(o: NodeOperation) -> StepResult:
    return StepResult(False, f"{o.command()[:60]} has not been done yet", undone=True)


@_through_api(Cordon)
def cordon(o: Cordon, at: Carry, store: Store) -> StepResult:
    if o.node in store.cordons:
        by = (
            "by recoverd, for this plan"
            if store.cordons[o.node] == o.mark
            else "somebody cordoned it, and it stays cordoned afterwards"
        )
        return StepResult(True, f"{o.node} was cordoned already: {by}", already_done=True)
    if at.ask:
        return _undone(o)
    at.cluster.api.write(lambda s: replace(s, cordons={**s.cordons, o.node: o.mark}))
    return StepResult(True, f"{o.node} is cordoned")


@_through_api(Uncordon)
def uncordon(o: Uncordon, at: Carry, store: Store) -> StepResult:
    if store.cordons.get(o.node) != o.mark:
        by = "was cordoned by somebody else and stays cordoned" if o.node in store.cordons else "is not cordoned"
        return StepResult(True, f"{o.node} {by}", already_done=True)
    at.cluster.api.write(lambda s: replace(s, cordons={n: by for n, by in s.cordons.items() if n != o.node}))
    return StepResult(True, f"{o.node} is schedulable again")


@_through_api(Drain)
def drain(o: Drain, at: Carry, store: Store) -> StepResult:
    """One is never asked whether it has been done, but gone through again."""
    if at.ask:
        return _undone(o)
    left = at.cluster.nodes.evict(o.node)
    held = f"; the budget web needs {store.budget} healthy pods and has {store.healthy}" if store.budget else ""
    return StepResult(
        not left,
        f"{len(left)} pods are still on {o.node}{held}" if left else f"{o.node} is drained; its pods have moved",
    )


@_through_api(AwaitNodeReady)
def await_node_ready(o: AwaitNodeReady, at: Carry, store: Store) -> StepResult:
    objects = at.cluster.api.objects()
    node = next((n for n in objects.nodes if n.name == o.node), None) if isinstance(objects, ObjectsView) else None
    if node is None:
        return StepResult(False, f"no API server that can be reached lists {o.node}")
    if o.boot_id and node.boot_id == o.boot_id:
        return StepResult(False, f"{o.node} has not reported since the reboot (the API shows the old boot id)")
    return StepResult(node.ready, f"node {o.node} is {'Ready' if node.ready else 'not Ready'}")


@_through_api(AwaitNodeUnready)
def await_node_unready(o: AwaitNodeUnready, at: Carry, store: Store) -> StepResult:
    objects = at.cluster.api.objects()
    if not isinstance(objects, ObjectsView):
        return StepResult(False, "no API server that can be reached lists nodes")
    ready = any(n.name == o.node and n.ready for n in objects.nodes)
    return StepResult(not ready, f"node {o.node} is {'Ready still' if ready else 'not Ready'}")


@_through_api(AwaitControllers)
def await_controllers(o: AwaitControllers, at: Carry, store: Store) -> StepResult:
    leads = at.cluster.nodes.controls(o.component) and at.cluster.nodes.leads(o.component)
    return StepResult(leads, f"{o.component} {'leads' if leads else 'has not renewed its lease yet'}")


@_through_api(AwaitEndpoints)
def await_endpoints(o: AwaitEndpoints, at: Carry, store: Store) -> StepResult:
    right = store.endpoints == frozenset(store.ready.values())
    return StepResult(right, f"the endpoints {'are' if right else 'are not yet'} the addresses of the pods")


@_through_api(RestartDaemonPods)
def restart_daemon_pods(o: RestartDaemonPods, at: Carry, store: Store) -> StepResult:
    """Deleting a pod changes nothing on a node whose kubelet is deaf, or while no controller makes another."""
    process, agents = PROCESS[o.agent], at.cluster.machines[o.node].agents
    if o.agent is Agent.KUBE_PROXY and process not in agents:
        return StepResult(True, f"nobody wants a {process} on {o.node}", already_done=True)
    at.was = at.was or (process in agents and at.cluster.nodes.restart_agent(o.node, process))
    up = at.was and process in agents and agents[process].runs(at.now)
    return StepResult(
        up, f"{process} on {o.node} was made anew" if up else f"{o.node} has no new pod of {process} that is Ready"
    )


@hand(AwaitReboot, waits=True, on_machine=False)
def await_reboot(o: AwaitReboot, at: Carry) -> StepResult:
    if (unseen := unreachable(at.cluster, at.machine)) is not None:
        return StepResult(False, f"{at.name} does not answer over SSH ({unseen.reason})")
    new = at.machine.boot_id != o.boot_id
    return StepResult(
        new, f"{at.name} is in a new boot" if new else f"{at.name} has not gone down yet, boot id unchanged"
    )
