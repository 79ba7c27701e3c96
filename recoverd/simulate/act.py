"""Carries operations out on the model, as data: the text of a command is never read."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TypeVar

from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot, RemoveMember
from recoverd.model.effects import LOOKS_FIRST
from recoverd.model.etcd_operations import AddMember, DisarmAlarm, PromoteMember, RestoreSnapshot, SendSnapshot
from recoverd.model.join_operations import JoinControlPlane, TakeBackJoin
from recoverd.model.network_operations import LinkUp, PutBridge, PutRoute, Sysctl
from recoverd.model.node_operations import Reboot
from recoverd.model.observation import EndpointHealth, Unseen
from recoverd.model.operations import (
    AwaitContainerGone,
    AwaitFlag,
    AwaitUnit,
    CopyPath,
    MovePath,
    Operation,
    RestartStaticPod,
    RestartUnit,
    Unit,
    Unstick,
    WriteFile,
)
from recoverd.model.plan import StepResult
from recoverd.model.point_operations import LookAtRestorePoints, TakeRestorePoint
from recoverd.model.points import RestorePoint, point_id
from recoverd.simulate.act_network import put_back
from recoverd.simulate.act_nodes import ON_NODES, NodeHands
from recoverd.simulate.act_pki import ON_PKI, on_pki, pki_lacking
from recoverd.simulate.act_restore import ABOUT, ON_ETCD, EtcdHands
from recoverd.simulate.clock import moment
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.guarded import begins_anew, refused
from recoverd.simulate.hosts import Machine
from recoverd.simulate.joining import JoinHands
from recoverd.simulate.look import member, unreachable
from recoverd.simulate.texts import command_of

V = TypeVar("V")
STEADY = 5.0
"""Seconds with a container that end `Unstick`."""
GOING_DOWN = 15.0
"""Seconds that a machine needs to go down when it is asked to reboot."""


class Hands:
    """One operation on one machine of the model: `attempt` is asked again and again until it is ok, or for good, or the step's time is over."""

    def __init__(self, cluster: ModelCluster, name: str, operation: Operation, *, resume: bool, ask: bool = False) -> None:
        self._cluster = cluster
        self._name = name
        self._machine: Machine = cluster.machines[name]
        self._operation = operation
        self._resume = resume
        self._ask = ask
        self._nodes = NodeHands(cluster, name)
        self._etcds = EtcdHands(cluster, name)
        self._joins = JoinHands(cluster, operation, ask=ask) if isinstance(operation, JoinControlPlane | TakeBackJoin) else None
        self._began: float | None = None
        """When this carrying out first looked, for what takes more than one look."""
        self._turned = (False, 0.0)
        """Whether the component ran at the last look, and since when that has been so."""

    @property
    def waits(self) -> bool:
        """Its failure is only "not yet"."""
        if self._joins:
            return not self._joins.over
        patient = isinstance(self._operation, ABOUT) and not isinstance(self._operation, AddMember)
        patient |= isinstance(self._operation, Unstick) and self._operation.patience > 0
        return patient or isinstance(self._operation, AwaitApi | AwaitContainerGone | AwaitEtcd | AwaitFlag | AwaitUnit | RestartStaticPod | ON_NODES)

    def attempt(self) -> StepResult:
        operation = self._operation
        if isinstance(operation, AwaitApi):
            return self._api()
        if isinstance(operation, LookAtRestorePoints):
            return StepResult(True, "", points=self._cluster.points)
        if self._ask and isinstance(operation, LOOKS_FIRST):
            return StepResult(False, "whether it has been done is looked at when it is begun once more", undone=True)
        if self._joins:
            return self._joins.attempt()
        if isinstance(operation, ON_NODES):
            return self._nodes.attempt(operation, ask=self._ask)
        if (unseen := unreachable(self._cluster, self._machine)) is not None:
            return self._unreached(unseen)
        if self._ask and self._lacking(operation):
            return StepResult(False, f"on {self._name} it has not been done yet", undone=True)
        if isinstance(operation, ON_PKI):
            if why := self._guard(operation):
                return self._refused(why)
            return on_pki(self._cluster, self._name, operation, resume=self._resume)
        if isinstance(operation, ON_ETCD):
            return self._etcds.attempt(operation)
        return self._on_machine(operation)

    def _unreached(self, unseen: Unseen) -> StepResult:
        if self._ask and isinstance(self._operation, Reboot):
            return StepResult(True, f"{self._name} cannot be reached ({unseen.reason}): it may be going down", already_done=True)
        if self._ask:
            return StepResult(False, f"whether it was done on {self._name} cannot be told: {unseen.reason}", uncertain=True)
        return StepResult(False, f"it was not begun: {unseen.reason}. Nothing was changed; make the host reachable for recoverd", untouched=True)

    # --- on the machine ---

    def _on_machine(self, operation: Operation) -> StepResult:
        if why := self._guard(operation):
            return self._refused(why)
        match operation:
            case WriteFile():
                return self._write(operation)
            case MovePath():
                return self._move(operation)
            case CopyPath():
                return self._copy(operation)
            case Unit():
                return self._unit(operation)
            case RestartUnit():
                return self._restart(operation)
            case AwaitUnit():
                unit = self._machine.units[operation.unit]
                stable = unit.active and self._cluster.now - unit.since >= operation.stable
                lacks = f"{operation.unit} on {self._name} has not been active for {operation.stable} s"
                return _waited(stable, f"{operation.unit} on {self._name} has been active for {operation.stable} s", lacks)
            case RestartStaticPod():
                return self._restart_pod(operation)
            case Sysctl() | PutRoute() | PutBridge() | LinkUp():
                return put_back(self._machine, operation)
            case Reboot():
                return self._reboot(operation)
            case AwaitContainerGone():
                gone = self._machine.container(operation.component) is None
                return _waited(gone, f"{operation.component} is gone from {self._name}", f"{operation.component} still runs on {self._name}")
            case AwaitFlag():
                return self._flag(operation)
            case Unstick():
                return self._unstick(operation)
            case FetchSnapshot():
                return self._snapshot(operation.holds)
            case TakeRestorePoint():
                return self._point(operation)
            case RemoveMember():
                return self._remove(operation)
            case AwaitEtcd():
                return self._etcd(operation)
            case _:
                return StepResult(False, f"the model does not know how to do this on {self._name}: {operation.command()[:80]}", uncertain=True)

    def _guard(self, operation: Operation) -> str:
        """As the scripts do it: where it has been done already, or is at work, nothing is refused any more."""
        done = isinstance(operation, WriteFile | MovePath | CopyPath) and not self._lacking(operation)
        return "" if done or self._began is not None else refused(self._machine, operation)

    def _lacking(self, o: Operation) -> bool:
        """Its check says that it has not been done."""
        if isinstance(o, ON_PKI):
            return pki_lacking(self._cluster, self._name, o)
        match o:
            case WriteFile():
                there = self._machine.files.get(o.path)
                return there is None or _sha256(there) != o.sha256
            case MovePath():
                return self._has(o.source) or not (o.optional or self._has(o.target))
            case CopyPath():
                return not self._has(o.target)
            case Unit():
                return not self._machine.units[o.unit].active
            case SendSnapshot() | RestoreSnapshot() | AddMember() | PromoteMember() | DisarmAlarm():
                return self._etcds.lacking(o)
            case RemoveMember():
                view = member(self._cluster, self._name)
                return not isinstance(view, Unseen) and any(m.id == o.member_id for m in view.members)
            case Reboot():
                return self._machine.boot_id == o.boot_id
            case _:
                return True  # it cannot be told, or doing it again does no harm

    def _write(self, o: WriteFile) -> StepResult:
        files, there = self._machine.files, self._machine.files.get(o.path)
        if there is not None and _sha256(there) == o.sha256:
            return StepResult(True, f"writing {o.path} on {self._name} had been done already", already_done=True)
        if o.before and (there is None or _sha256(there) != o.before):
            return self._refused(f"{o.path} is not what it was when the plan was made")
        if not o.before and there is not None:
            return self._refused(f"{o.path} exists, and was absent when the plan was made")
        if o.needs and not any(o.needs.startswith(f"{path}/") for path in self._machine.data):
            return self._refused(f"{o.needs} does not exist")
        if o.keep and there is not None and files.get(o.keep, there) != there:
            return self._refused(f"{o.keep} holds something else than what is in place")
        if o.keep and there is not None:
            files.setdefault(o.keep, there)
        files[o.path] = o.content
        return StepResult(True, f"writing {o.path} on {self._name}: done")

    def _move(self, o: MovePath) -> StepResult:
        there = self._has(o.source), self._has(o.target)
        if there == (False, True) or (o.optional and not there[0]):
            return StepResult(True, f"moving {o.source} to {o.target} on {self._name} had been done already", already_done=True)
        if there[1]:
            return self._refused(f"{o.target} exists already")
        if not there[0]:
            return StepResult(False, f"moving {o.source} to {o.target} on {self._name} ended with status 1: no such file; look at {self._name}")
        if o.needs and not any(o.needs.startswith(f"{path}/") for path in self._machine.data):
            return self._refused(f"{o.needs} does not exist")
        _move(self._machine.files, o.source, o.target)
        _move(self._machine.data, o.source, o.target)
        return StepResult(True, f"moving {o.source} to {o.target} on {self._name}: done")

    def _copy(self, o: CopyPath) -> StepResult:
        if self._has(o.target):
            return StepResult(True, f"copying {o.source} to {o.target} on {self._name} had been done already", already_done=True)
        if not self._has(o.source):
            return self._refused(f"{o.source} does not exist")
        _copy(self._machine.files, o.source, o.target)
        _copy(self._machine.data, o.source, o.target)
        return StepResult(True, f"copying {o.source} to {o.target} on {self._name}: done")

    def _has(self, path: str) -> bool:
        return any(p == path or p.startswith(f"{path}/") for p in (*self._machine.files, *self._machine.data))

    def _unit(self, o: Unit) -> StepResult:
        if self._resume and self._machine.units[o.unit].active:
            return StepResult(True, f"systemctl {o.verb} {o.unit} on {self._name} had been done already", already_done=True)
        trouble = self._cluster.restart_unit(self._name, o.unit)
        if trouble:
            return StepResult(False, f"systemctl {o.verb} {o.unit} on {self._name} ended with status 1: {trouble}; look at {self._name}")
        return StepResult(True, f"systemctl {o.verb} {o.unit} on {self._name}: done (active)")

    def _flag(self, o: AwaitFlag) -> StepResult:
        container = self._machine.container(o.component)
        right = container is not None and (o.flag in command_of(container.content).flags) is o.present
        wanted = f"{'with' if o.present else 'without'} {o.flag}"
        return _waited(right, f"{o.component} on {self._name} runs {wanted}", f"{o.component} on {self._name} does not run {wanted}")

    def _unstick(self, o: Unstick) -> StepResult:
        """With patience, as the shell does it: so many seconds without a container are waited for, and five with one end the waiting."""
        runs, now = self._machine.container(o.component) is not None, self._cluster.now
        if self._began is None or runs is not self._turned[0]:
            self._turned = (runs, now)
        self._began = now if self._began is None else self._began
        lasts = now - self._turned[1]
        if runs and (not o.patience or lasts >= STEADY):
            return StepResult(True, f"{o.component} on {self._name} runs", already_done=True)
        if not runs and lasts >= o.patience:
            if self._machine.container("etcd") is None and begins_anew(self._machine):
                return self._refused("kubelet would start etcd over nothing, as a new, empty cluster")
            self._cluster.restart_unit(self._name, "kubelet")
            self._began = None
            return StepResult(True, f"kubelet on {self._name} restarted, since no {o.component} ran")
        return _waited(now - self._began >= o.patience + 30, f"{o.component} on {self._name} comes and goes", f"{o.component} is watched")

    def _restart(self, o: RestartUnit) -> StepResult:
        trouble = self._cluster.restart_unit(self._name, o.unit)
        if trouble:
            return StepResult(False, f"systemctl restart {o.unit} on {self._name} ended with status 1: {trouble}; look at {self._name}")
        return StepResult(True, f"systemctl restart {o.unit} on {self._name}: done")

    def _restart_pod(self, o: RestartStaticPod) -> StepResult:
        container = self._machine.container(o.component)
        if self._began is None and container is None:
            if not o.start:
                return StepResult(False, f"no {o.component} runs on {self._name}")
            self._began = self._cluster.now
            self._cluster.restart_unit(self._name, "kubelet")
        if self._began is None:
            self._began = self._cluster.now
            self._cluster.kubelets[self._name].exited(o.component, self._began, "received signal; shutting down")
            container = None
        return _waited(container is not None, f"{o.component} on {self._name} was started anew", f"kubelet has started no new {o.component}")

    def _reboot(self, o: Reboot) -> StepResult:
        if self._machine.boot_id != o.boot_id:
            return StepResult(True, f"{self._name} has been rebooted already", already_done=True)
        self._cluster.power_off(self._name)
        self._cluster.power_on(self._name, GOING_DOWN)
        return StepResult(True, f"{self._name} was asked to reboot")

    def _refused(self, why: str) -> StepResult:
        return StepResult(False, f"on {self._name}: {why}; it refused before changing anything", untouched=True)

    # --- through the tunnel ---

    def _snapshot(self, holds: str = "") -> StepResult:
        view = member(self._cluster, self._name)
        if isinstance(view, Unseen):
            return StepResult(False, f"no snapshot was fetched from {self._name}: {view.reason}. Nothing was changed")
        store = self._cluster.etcd.processes[self._name].store
        if holds and store.uid != holds:
            return StepResult(False, f"what etcd on {self._name} holds is not this cluster. Nothing was changed")
        self._cluster.snapshots.append(store)
        return StepResult(
            True, f"snapshot {len(self._cluster.snapshots)}, {20 << 20} bytes, sha256 {_sha256(repr(store))[:12]}..., revision {store.revision}"
        )

    def _point(self, o: TakeRestorePoint) -> StepResult:
        fetched = self._snapshot()
        if not fetched.ok:
            return replace(fetched, points=self._cluster.points)
        store, number, at = self._cluster.snapshots[-1], len(self._cluster.points) + 1, moment(self._cluster.now)
        id = point_id("prod", at, {p.id for p in self._cluster.points})
        place, digest = f"/var/lib/recoverd/restore-points/prod/{id}", _sha256(repr(store))
        told = (f"{place}/snapshot.db", digest, 20 << 20, store.cluster_id, store.revision, 0, at.timestamp(), "by the model", place, number)
        self._cluster.points = (*self._cluster.points, RestorePoint(id, at.timestamp(), o.why, self._name, *told))
        return replace(fetched, points=self._cluster.points)

    def _remove(self, o: RemoveMember) -> StepResult:
        view = member(self._cluster, self._name)
        if isinstance(view, Unseen):
            return StepResult(False, f"member {o.member_id} was not removed: {view.reason}. Nothing was changed", untouched=True)
        if all(m.id != o.member_id for m in view.members):
            return StepResult(True, f"member {o.member_id} is not in the list of {self._name} any more", already_done=True)
        if why := self._cluster.etcd.remove(self._name, o.member_id):
            return StepResult(False, f"member {o.member_id} is still listed by {self._name}: {why}. Nothing was changed", untouched=True)
        left = member(self._cluster, self._name)
        names = ", ".join(m.name or m.id for m in left.members) if not isinstance(left, Unseen) else "nothing any more"
        return StepResult(True, f"member {o.member_id} is gone; {self._name} lists {names}")

    def _etcd(self, o: AwaitEtcd) -> StepResult:
        view = member(self._cluster, self._name)
        if isinstance(view, Unseen):
            return StepResult(False, view.reason)
        lacks = o.lacks(view)
        told = f"healthy with a leader, {len(view.voters)} voter(s), revision {view.revision}, {view.nodes} nodes, {view.pods} pods"
        return _waited(not lacks, f"etcd on {self._name} is {told}", lacks)

    def _api(self) -> StepResult:
        seen = self._cluster.api.endpoint(self._name)
        ready = seen.health is EndpointHealth.READY
        return _waited(ready, f"the API server on {self._name} answers /readyz with ok", f"last seen at {seen.address}: {seen.health}: {seen.detail}")


def _waited(well: bool, done: str, lacks: str) -> StepResult:
    return StepResult(well, done if well else lacks)


def _copy(kept: dict[str, V], source: str, target: str) -> list[str]:
    """Returns what was copied."""
    paths = [p for p in kept if p == source or p.startswith(f"{source}/")]
    for path in paths:
        kept[target + path.removeprefix(source)] = kept[path]
    return paths


def _move(kept: dict[str, V], source: str, target: str) -> None:
    for path in _copy(kept, source, target):
        del kept[path]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
