"""What people do by hand on the model while recoverd watches, or does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from recoverd.simulate import faults, person_faults
from recoverd.simulate.clock import seconds
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.hosts import NODE_FILES, AgentProcess
from recoverd.simulate.pki import KUBECONFIG, etcd_trouble, of_etcd
from recoverd.simulate.pki_faults import sign_etcd_client
from recoverd.simulate.pod_file_faults import restore_pod_file
from recoverd.simulate.store import id_of, peer_url
from recoverd.simulate.texts import COMPONENTS, ETCD_DIR, manifest, path_of
from recoverd.simulate.vip_faults import serve_vip
from tests.soak.truth import UID, Truth, good_data

ByHand = Callable[..., Coroutine[Any, Any, None]]
MEMBER, ASIDE = f"{ETCD_DIR}/member", "/root/kept/member"


async def _sleep(cluster: ModelCluster, duration: float) -> None:
    await asyncio.sleep(duration)
    cluster.advance(seconds())


async def hand_restore(c: ModelCluster, truth: Truth, name: str, pace: str) -> None:
    """The documented restore by hand: manifests away, data away, a snapshot in its place, manifests back.
    Who takes his time is logged in.
    """
    machine, between = c.machines[name], float(pace)
    if not machine.up(c.now) or MEMBER not in machine.data or name in truth.people:
        return
    saved = machine.data[MEMBER]
    texts = {p: machine.files.pop(p) for p in (path_of("kube-apiserver"), path_of("etcd")) if p in machine.files}
    truth.people[name] = c.now
    if between > 3:
        person_faults.log_in(c, name)
    await _sleep(c, between)
    if MEMBER in machine.data and name not in c.etcd.processes:
        machine.data.pop(MEMBER)
        await _sleep(c, between)
        if MEMBER not in machine.data:
            machine.data[MEMBER] = saved
    await _sleep(c, between)
    for path, text in texts.items():
        machine.files.setdefault(path, text)
    truth.people.pop(name, None)
    person_faults.log_out(c, name)


async def hand_repair(c: ModelCluster, truth: Truth) -> None:
    """Somebody sees to everything that can be mended without losing anything."""
    heal_everything(c, truth)


async def hand_uncordon(c: ModelCluster, truth: Truth, name: str) -> None:
    faults.uncordon(c, name)


async def remove_node(c: ModelCluster, truth: Truth, name: str) -> None:
    """`kubectl delete node`: the machine goes on for itself."""
    c.api.write(
        lambda s: replace(
            s, nodes=tuple(n for n in s.nodes if n != name), pods={u: n for u, n in s.pods.items() if n != name}
        )
    )


async def add_node(c: ModelCluster, truth: Truth, name: str) -> None:
    """kubelet registers its node anew."""
    c.api.write(lambda s: s if name in s.nodes else replace(s, nodes=(*s.nodes, name)))


async def block_and_join(c: ModelCluster, truth: Truth, name: str) -> None:
    """The join of the incident: the new member is listed and never starts."""
    if c.etcd.leaders() and not c.machines[name].joined:
        faults.block_peer_port(c, name)
        faults.join(c, name)


async def join(c: ModelCluster, truth: Truth, name: str) -> None:
    """`kubeadm join --control-plane` by hand."""
    if c.etcd.leaders() and not c.machines[name].joined:
        faults.join(c, name)


async def join_unpromoted(c: ModelCluster, truth: Truth, name: str) -> None:
    """The same by kubeadm 1.29, which is cut off before it gives the member its vote."""
    if c.etcd.leaders() and not c.machines[name].joined:
        faults.join_unpromoted(c, name)


def _members(c: ModelCluster) -> None:
    """Data that differ silently are their peers' again, and learners have their votes."""
    c.etcd.odd.clear()
    for process in c.etcd.leaders():
        rows = tuple(replace(m, learner=False) for m in process.store.members)
        c.etcd.write(process.machine.name, lambda s, rows=rows: replace(s, differs=False, members=rows))


def heal_everything(c: ModelCluster, truth: Truth) -> None:
    """Networks, machines, units, manifests, flags. Members that a forced or restored cluster
    has thrown out stay as they are.
    """
    faults.heal(c)
    c.api.write(lambda s: replace(s, misled=False) if s.misled else s)
    faults.empty_etcd(c)
    _members(c)
    c.api.away.clear()
    apart = any(
        "forced" in s.history or "restored" in s.history or s.uid != UID
        for m in (*c.machines.values(), *c.apart.values())
        for s in m.data.values()
    )
    _servers(c)
    planes = [n for n, m in c.machines.items() if m.control_plane and m.joined]
    for name, machine in c.machines.items():
        machine.hung = False
        machine.terminals.clear()
        machine.programs.clear()
        machine.hands_off = ""
        truth.people.pop(name, None)
        if apart and machine.control_plane and not machine.on:
            continue
        c.power_on(name)
        machine.makes_sandboxes()
        machine.unpulled.clear()
        machine.ends.clear()
        machine.dns_ended_at = None
        for path in machine.copies:
            del machine.files[path]
        if machine.joined:
            machine.files.setdefault(KUBECONFIG, "")
        for unit in machine.units.values():
            unit.refuses = machine.disk = ""
            if not unit.active and machine.up(c.now):
                c.restart_unit(name, unit.name)
        machine.hangs.clear()
        machine.mute = False
        machine.called = ""
        if machine.joined:
            machine.files |= NODE_FILES
        machine.fresh_network()
        machine.conntrack_full = machine.astray_packets = machine.tunnel_filtered = False
        machine.uplink = 1500
        machine.clock = 0.0
        if machine.joined or not machine.control_plane:
            machine.agents.setdefault(
                "kube-proxy", AgentProcess("kube-proxy", c.now)
            )  # kubeadm init phase addon kube-proxy
        for agent in machine.agents.values():
            if agent.stopped_at is not None or agent.flushed or agent.misled or agent.waits_since is not None:
                machine.start_agent(agent.name, c.now)
        restore_pod_file(c, name)
        serve_vip(c, *({name} & c.network.held if machine.joined else ()))
        if machine.control_plane and machine.joined and not apart:
            _manifests(c, name, planes)


def _manifests(c: ModelCluster, name: str, planes: list[str]) -> None:
    machine = c.machines[name]
    if c.apart and etcd_trouble(machine.papers, c.now):
        sign_etcd_client(c, name)
    elif not c.apart and not good_data(machine):
        return
    initial, servers = {n: c.machines[n].address for n in planes}, [m.address for m in c.apart.values()]
    for component in COMPONENTS[1:] if servers else COMPONENTS:
        if path_of(component) not in machine.files:
            machine.files[path_of(component)] = manifest(component, name, machine.address, initial, "existing", servers)


def _servers(c: ModelCluster) -> None:
    """A person sees to an etcd on machines of its own; where data of one are lost, a new member takes its place."""
    for name, machine in c.apart.items():
        c.power_on(name)
        machine.disk, machine.units["etcd"].refuses = "", ""
        machine.papers = of_etcd()
        if (leaders := c.etcd.leaders()) and not good_data(machine):
            machine.data[MEMBER] = leaders[0].store.seen_by(id_of(peer_url(machine.address)))
        if machine.up(c.now) and not machine.units["etcd"].active:
            c.restart_unit(name, "etcd")


BY_HAND: dict[str, ByHand] = {
    f.__name__.replace("_", "-"): f
    for f in (hand_restore, hand_repair, hand_uncordon, remove_node, add_node, block_and_join, join, join_unpromoted)
}
