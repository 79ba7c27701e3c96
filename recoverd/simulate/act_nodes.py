"""Node operations on the model: cordoned, drained, awaited, agents made anew. Those through the API need one that is ready."""

from __future__ import annotations

from dataclasses import replace

from recoverd.model.node_operations import (
    CONTROLLER_MANAGER,
    Agent,
    AwaitControllers,
    AwaitEndpoints,
    AwaitNodeReady,
    AwaitReboot,
    Cordon,
    Drain,
    RestartDaemonPods,
    Uncordon,
)
from recoverd.model.observation import ObjectsView
from recoverd.model.plan import StepResult
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.look import unreachable

ON_NODES = Cordon | Uncordon | Drain | AwaitReboot | AwaitNodeReady | AwaitControllers | AwaitEndpoints | RestartDaemonPods
"""`Reboot` is asked for over SSH, and `Settled` is the machine's to judge."""
PROCESS = {Agent.KUBE_PROXY: "kube-proxy", Agent.CNI: "flanneld"}


class NodeHands:
    """One of them; a result that is not ok means "not yet"."""

    def __init__(self, cluster: ModelCluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._restarted = False

    def attempt(self, operation: ON_NODES, *, ask: bool = False) -> StepResult:
        """`ask`: only look whether it has been done; a drain is never asked that, but gone through again."""
        if isinstance(operation, AwaitReboot):
            return self._await_reboot(operation)
        store = self._cluster.api.store
        if store is None:
            return StepResult(False, f"no API server is ready for {operation.command()[:60]}")
        if ask and (isinstance(operation, Drain) or (isinstance(operation, Cordon) and operation.node not in store.cordons)):
            return StepResult(False, f"{operation.command()[:60]} has not been done yet", undone=True)
        match operation:
            case Cordon(node=node):
                if node in store.cordons:
                    mine = store.cordons[node] == operation.mark
                    by = "by recoverd, for this plan" if mine else "somebody cordoned it, and it stays cordoned afterwards"
                    return StepResult(True, f"{node} was cordoned already: {by}", already_done=True)
                self._cluster.api.write(lambda s: replace(s, cordons={**s.cordons, node: operation.mark}))
                return StepResult(True, f"{node} is cordoned")
            case Uncordon(node=node):
                if store.cordons.get(node) != operation.mark:
                    by = "was cordoned by somebody else and stays cordoned" if node in store.cordons else "is not cordoned"
                    return StepResult(True, f"{node} {by}", already_done=True)
                self._cluster.api.write(lambda s: replace(s, cordons={n: by for n, by in s.cordons.items() if n != node}))
                return StepResult(True, f"{node} is schedulable again")
            case Drain(node=node):
                left = self._cluster.nodes.evict(node)
                held = f"; the budget web needs {store.budget} healthy pods and has {store.healthy}" if store.budget else ""
                return StepResult(not left, f"{len(left)} pods are still on {node}{held}" if left else f"{node} is drained; its pods have moved")
            case AwaitNodeReady():
                return self._await_ready(operation)
            case AwaitControllers():
                leads = self._cluster.nodes.controls(CONTROLLER_MANAGER)
                return StepResult(leads, f"{CONTROLLER_MANAGER} {'leads' if leads else 'has not renewed its lease yet'}")
            case AwaitEndpoints():
                right = store.endpoints == frozenset(store.ready.values())
                return StepResult(right, f"the endpoints {'are' if right else 'are not yet'} the addresses of the pods")
            case RestartDaemonPods():
                return self._restart(operation)

    def _await_reboot(self, o: AwaitReboot) -> StepResult:
        machine = self._cluster.machines[self._name]
        if (unseen := unreachable(self._cluster, machine)) is not None:
            return StepResult(False, f"{self._name} does not answer over SSH ({unseen.reason})")
        new = machine.boot_id != o.boot_id
        return StepResult(new, f"{self._name} is in a new boot" if new else f"{self._name} has not gone down yet, boot id unchanged")

    def _await_ready(self, o: AwaitNodeReady) -> StepResult:
        objects = self._cluster.api.objects()
        node = next((n for n in objects.nodes if n.name == o.node), None) if isinstance(objects, ObjectsView) else None
        if node is None:
            return StepResult(False, f"no API server that can be reached lists {o.node}")
        if o.boot_id and node.boot_id == o.boot_id:
            return StepResult(False, f"{o.node} has not reported since the reboot (the API shows the old boot id)")
        return StepResult(node.ready, f"node {o.node} is {'Ready' if node.ready else 'not Ready'}")

    def _restart(self, o: RestartDaemonPods) -> StepResult:
        """Deleting a pod changes nothing on a node whose kubelet is deaf, or while no controller makes another."""
        process, agents = PROCESS[o.agent], self._cluster.machines[o.node].agents
        self._restarted = self._restarted or (process in agents and self._cluster.nodes.restart_agent(o.node, process))
        up = self._restarted and process in agents and agents[process].runs(self._cluster.now)
        return StepResult(up, f"{process} on {o.node} was made anew" if up else f"{o.node} has no new pod of {process} that is Ready")
