"""Carries a plan's steps out: on hosts over SSH, and what the bastion itself does through the tunnels."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path

from recoverd.act.carry import HANDS, Carry, Reach
from recoverd.act.kube import Kube
from recoverd.act.points import PointKeeper
from recoverd.clients.etcd import EtcdClient
from recoverd.clients.hosts import HostPool
from recoverd.config import ClusterConfig
from recoverd.model.effects import LOOKS_FIRST
from recoverd.model.places import authority
from recoverd.model.plan import Step, StepResult
from recoverd.model.settings import HostSettings

__all__ = ["Actor"]

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")  # each names the hands that it has


class Actor:
    """The hands of recoverd in one cluster. Snapshots go to `state_dir`/snapshots/CLUSTER."""

    def __init__(
        self,
        cluster: ClusterConfig,
        hosts: HostPool,
        state_dir: Path,
        *,
        etcd: Callable[[str], EtcdClient] | None = None,
    ) -> None:
        settings = cluster.settings
        self._make_etcd = etcd or (lambda host: EtcdClient(hosts, host))
        self._etcds: dict[str, EtcdClient] = {}
        self._reach = Reach(
            cluster,
            hosts,
            Kube(
                cluster.kubeconfig,
                lambda: [authority(p.address, hosts.places_of(p.name).api) for p in settings.control_planes],
                lambda: hosts.lapsed(),
            ),
            self._etcd,
            PointKeeper(settings, hosts, state_dir / settings.points.directory / settings.name, self._etcd),
            state_dir / "snapshots" / settings.name,
            {},
        )
        self.update_hosts((*settings.control_planes, *settings.workers))

    def update_hosts(self, hosts: Sequence[HostSettings]) -> None:
        self._reach.addresses.clear()
        self._reach.addresses.update({h.name: h.address for h in hosts})

    async def perform(self, step: Step, *, undo: bool, resume: bool) -> StepResult:
        """Carry out the step, or its undo, within `step.timeout` seconds and a few more for asking what came of it.

        `resume`: it may have run before. Then, unless it only looks, it is only asked whether it has been done:
        people may have repaired things since the crash, so what has not is `undone`, and the state machine
        looks before it is begun once more.
        """
        ask = resume and step.asks(undo=undo)
        operation = step.undo if undo else step.operation
        if operation is None:
            return StepResult(True, "there is nothing to take back", already_done=True)
        if ask and isinstance(operation, LOOKS_FIRST):
            return StepResult(
                False,
                f"whether it has been done is looked at when it is begun once more: {operation.command()[:80]}",
                undone=True,
            )
        until = asyncio.get_running_loop().time() + step.timeout
        return await HANDS[type(operation)](operation, Carry(step.host, until, resume, ask, self._reach))

    async def close(self) -> None:
        await self._reach.kube.close()

    def _etcd(self, host: str) -> EtcdClient:
        return self._etcds.setdefault(host, self._make_etcd(host))
