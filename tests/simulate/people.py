"""What people do by hand on the model cluster, while recoverd is away or at work."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from recoverd.model.events import Acknowledged, Approved, Refused
from recoverd.simulate import faults
from recoverd.simulate.clock import now, seconds
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.pki import fresh, of_worker
from recoverd.simulate.pod_file_faults import restore_pod_file
from recoverd.simulate.store import Store
from recoverd.simulate.texts import COMPONENTS, ETCD_DIR, path_of
from tests.simulate.rig import Rig

BY_HAND = "put back by hand"
RAISED = 500
"""Revisions, so that no watcher waits for the future."""


async def pass_time(cluster: ModelCluster, duration: float) -> None:
    """Time in which no recoverd runs."""
    end = seconds() + duration
    while seconds() < end:
        await asyncio.sleep(2)
        cluster.advance(seconds())


def healthy_files(cluster: ModelCluster) -> dict[str, dict[str, str]]:
    """The manifests of every control plane, by component: what a good backup holds."""
    return {n: m.manifests() for n, m in cluster.machines.items() if m.control_plane and m.joined}


def set_right(cluster: ModelCluster, good: Store, healthy: dict[str, dict[str, str]], *, restore: bool = False) -> None:
    """Everything is repaired by hand: machines on, units started, manifests as they were while `healthy`,
    certificates good, etcd serving.

    Where no etcd leads, or with `restore`, `good` is put on every control plane as one new
    cluster, with its revisions raised.
    """
    for name, machine in cluster.machines.items():
        cluster.power_on(name)
        machine.hung = machine.wedged = False
        if machine.papers:
            machine.papers = machine.papers | (fresh() if machine.control_plane else of_worker())
        machine.disk = ""
        machine.makes_sandboxes()
        for unit in machine.units.values():
            unit.refuses = ""
    faults.empty_etcd(cluster)
    planes = [n for n, m in cluster.machines.items() if m.control_plane and n in healthy]
    for name in planes:
        machine = cluster.machines[name]
        if not machine.joined:
            # it was reset, and all of it comes back from a backup
            machine.files = machine.first | machine.files
            machine.papers = fresh()
        for component in COMPONENTS:
            machine.files[path_of(component)] = healthy[name][component]
        restore_pod_file(cluster, name)
    if restore or not cluster.etcd.leaders():
        for name in planes:
            member = next(r.id for r in good.members if r.name == name)
            machine = cluster.machines[name]
            raised = good.revision + RAISED
            machine.data[f"{ETCD_DIR}/member"] = replace(
                good, member_id=member, history=BY_HAND, cluster_id="feedbeef", revision=raised
            )
            cluster.kubelets[name].exited("etcd", cluster.now, "received signal; shutting down")
    for name, machine in cluster.machines.items():
        if name in planes or not machine.control_plane:
            for unit in machine.units:
                cluster.restart_unit(name, unit)


async def people_help(rig: Rig) -> None:
    """For half an hour what is offered is approved, and what failed acknowledged; a machine that is off is
    switched on, unless it must stay off.
    """
    stage = rig.stage
    for _ in range(15):
        if not rig.was_forced():
            for name in rig.cluster.machines:
                rig.cluster.power_on(name)
        with suppress(Refused):
            if stage.waiting_plan:
                await stage.give(Approved(stage.waiting_plan.id, "alice", "", now()))
            elif stage.machine.record.incident:
                await stage.give(Acknowledged(stage.machine.record.incident.id, "alice", now()))
        if await stage.until(lambda: stage.position == "healthy" and stage.machine.record.plan is None, 120):
            await stage.wait(30)
            if stage.position == "healthy":
                return
