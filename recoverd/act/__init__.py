"""Carries a plan's steps out: on hosts over SSH, and what the bastion itself does through the tunnels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from recoverd.act import controllers, node
from recoverd.act.api import await_api
from recoverd.act.drain import drain
from recoverd.act.etcd import await_etcd, fetch_snapshot, remove_member
from recoverd.act.host import HostRunner
from recoverd.act.join import JoinRunner
from recoverd.act.join_back import TakeBackRunner
from recoverd.act.kube import Kube
from recoverd.act.points import PointKeeper
from recoverd.act.restore import add_member, await_restored, disarm_alarm, promote_member, send_snapshot
from recoverd.config import ClusterConfig
from recoverd.etcd import EtcdClient
from recoverd.hosts import HostPool
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot, RemoveMember
from recoverd.model.effects import LOOKS_FIRST
from recoverd.model.etcd_operations import AddMember, AwaitRestored, DisarmAlarm, EtcdOperation, PromoteMember, SendSnapshot
from recoverd.model.join_operations import JoinControlPlane, JoinOperation, TakeBackJoin
from recoverd.model.node_operations import (
    AwaitControllers,
    AwaitEndpoints,
    AwaitNodeReady,
    AwaitReboot,
    Cordon,
    Drain,
    NodeOperation,
    Reboot,
    RestartDaemonPods,
    Settled,
    Uncordon,
)
from recoverd.model.plan import Step, StepResult
from recoverd.model.point_operations import LookAtRestorePoints, TakeRestorePoint
from recoverd.model.settings import HostSettings

__all__ = ["Actor"]


class Actor:
    """The hands of recoverd in one cluster. Snapshots go to `state_dir`/snapshots/CLUSTER."""

    def __init__(self, cluster: ClusterConfig, hosts: HostPool, state_dir: Path, *, etcd: Callable[[str], EtcdClient] | None = None) -> None:
        self._cluster = cluster
        self._hosts = hosts
        self._state_dir = state_dir
        self._make_etcd = etcd or (lambda host: EtcdClient(hosts, host))
        self._etcds: dict[str, EtcdClient] = {}
        points = state_dir / cluster.settings.points.directory / cluster.settings.name
        self._points = PointKeeper(cluster.settings, hosts, points, self._etcd)
        self._kube = Kube(cluster.kubeconfig, [plane.address for plane in cluster.settings.control_planes])
        self._addresses: dict[str, str] = {}
        self.update_hosts((*cluster.settings.control_planes, *cluster.settings.workers))

    def update_hosts(self, hosts: Sequence[HostSettings]) -> None:
        self._addresses = {h.name: h.address for h in hosts}

    async def perform(self, step: Step, *, undo: bool, resume: bool) -> StepResult:
        """Carry out the step, or its undo, within `step.timeout` seconds and a few more for asking what came of it.

        `resume`: it may have run before. Then, unless it only looks, it is only asked whether it has been done: people may have repaired things
        since the crash, so what has not is `undone`, and the state machine looks before it is begun once more.
        """
        ask = resume and step.asks(undo=undo)
        operation = step.undo if undo else step.operation
        if operation is None:
            return StepResult(True, "there is nothing to take back", already_done=True)
        if ask and isinstance(operation, LOOKS_FIRST):
            return StepResult(False, f"whether it has been done is looked at when it is begun once more: {operation.command()[:80]}", undone=True)
        until = asyncio.get_running_loop().time() + step.timeout
        match operation:
            case FetchSnapshot():
                directory = self._state_dir / "snapshots" / self._cluster.settings.name
                return await fetch_snapshot(operation, self._etcd(step.host), step.host, directory, until)
            case TakeRestorePoint():
                return await self._points.take(operation, step.host, until, resume=resume)
            case LookAtRestorePoints():
                return await self._points.look()
            case RemoveMember():
                return await remove_member(operation, self._etcd(step.host), step.host, until, ask=ask)
            case AwaitEtcd():
                return await await_etcd(operation, self._etcd(step.host), step.host, until)
            case AwaitApi():
                return await await_api(self._cluster.kubeconfig, self._hosts, step.host, self._addresses.get(step.host, ""), until)
            case SendSnapshot() | AwaitRestored() | AddMember() | PromoteMember() | DisarmAlarm():
                return await self._on_etcd(operation, step.host, until, resume=resume, ask=ask)
            case AwaitControllers() | AwaitEndpoints() | AwaitNodeReady() | AwaitReboot() | Settled():
                return await self._on_node(operation, step.host, until, ask=ask)
            case Cordon() | Uncordon() | Drain() | Reboot() | RestartDaemonPods():
                return await self._on_node(operation, step.host, until, ask=ask)
            case JoinControlPlane() | TakeBackJoin():
                return await self._join(operation, until, resume=resume, ask=ask)
            case _:
                return await HostRunner(self._hosts, step.host).perform(operation, until, resume=resume, ask=ask)

    async def close(self) -> None:
        await self._kube.close()

    async def _on_etcd(self, operation: EtcdOperation, host: str, until: float, *, resume: bool, ask: bool) -> StepResult:
        """Each of these looks whether it has been done, so a resumed one is simply done again, unless it is only asked about."""
        match operation:
            case SendSnapshot():
                return await send_snapshot(operation, self._hosts, host, until, resume=resume, ask=ask)
            case AwaitRestored():
                return await await_restored(operation, self._etcd(host), host, until)
            case AddMember():
                return await add_member(operation, self._etcd(host), host, until, ask=ask)
            case PromoteMember():
                return await promote_member(operation, self._etcd(host), host, until, ask=ask)
            case DisarmAlarm():
                return await disarm_alarm(operation, self._etcd(host), host, until, ask=ask)

    async def _on_node(self, operation: NodeOperation, host: str, until: float, *, ask: bool) -> StepResult:
        """Each of these looks at what is there before it does anything, so a resumed one is simply done again, unless it is only asked about."""
        match operation:
            case Cordon():
                return await node.cordon(operation, self._kube, ask=ask)
            case Uncordon():
                return await node.uncordon(operation, self._kube)
            case Drain():
                return await drain(operation, self._kube, until, ask=ask)
            case Reboot():
                return await node.reboot(operation, self._hosts, host, until, ask=ask)
            case AwaitReboot():
                return await node.await_reboot(operation, self._hosts, host, until)
            case AwaitNodeReady():
                return await node.await_node_ready(operation, self._kube, until)
            case AwaitControllers():
                return await controllers.await_controllers(self._kube, until)
            case AwaitEndpoints():
                return await controllers.await_endpoints(self._kube, until)
            case RestartDaemonPods():
                return await node.restart_daemon_pods(operation, self._kube, self._hosts, host, until)
            case Settled():
                return StepResult(False, "this step is judged by the state machine, sweep by sweep, and is never carried out")

    async def _join(self, operation: JoinOperation, until: float, *, resume: bool, ask: bool) -> StepResult:
        """Both look at what is there; a join is begun once, and one that was begun before a crash is watched on."""
        source = operation.source
        if isinstance(operation, JoinControlPlane):
            return await JoinRunner(operation, self._hosts, self._etcd(source), until).perform(resume=resume, ask=ask)

        async def ready(until: float) -> StepResult:
            return await await_api(self._cluster.kubeconfig, self._hosts, source, self._addresses.get(source, ""), until)

        return await TakeBackRunner(operation, self._hosts, self._etcd(source), ready, until).perform()

    def _etcd(self, host: str) -> EtcdClient:
        return self._etcds.setdefault(host, self._make_etcd(host))
