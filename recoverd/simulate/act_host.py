"""Files, units, static pods and the power of one machine of the model, as over SSH."""

from __future__ import annotations

from typing import TypeVar

from recoverd.model.address_operations import FreeAddresses
from recoverd.model.etcd_guards import of_data
from recoverd.model.file_operations import HostsLine, PutBackPodFile, PutResolvConf
from recoverd.model.node_look import HOSTS
from recoverd.model.node_operations import Reboot
from recoverd.model.operations import CopyPath, MovePath, WriteFile, sha256
from recoverd.model.plan import StepResult
from recoverd.model.unit_operations import (
    AwaitContainerGone,
    AwaitFlag,
    AwaitUnit,
    RestartStaticPod,
    RestartUnit,
    Unit,
    Unstick,
)
from recoverd.simulate.carry import Carry, hand, waited
from recoverd.simulate.guarded import begins_anew
from recoverd.simulate.hosts import Machine
from recoverd.simulate.texts import command_of

V = TypeVar("V")
STEADY = 5.0
"""Seconds with a container that end `Unstick`."""
GOING_DOWN = 15.0
"""Seconds that a machine needs to go down when it is asked to reboot."""

# --- files ---


def unwritten(o: WriteFile | PutBackPodFile, at: Carry) -> bool:
    """Whether the file does not hold what the operation puts there."""
    there = at.machine.files.get(o.path)
    return there is None or sha256(there) != o.sha256


@hand(WriteFile, lacking=unwritten)
def write(o: WriteFile, at: Carry) -> StepResult:
    files, there = at.machine.files, at.machine.files.get(o.path)
    if there is not None and sha256(there) == o.sha256:
        return StepResult(True, f"writing {o.path} on {at.name} had been done already", already_done=True)
    if o.before and (there is None or sha256(there) != o.before):
        return at.refused(f"{o.path} is not what it was when the plan was made")
    if not o.before and there is not None:
        return at.refused(f"{o.path} exists, and was absent when the plan was made")
    if o.needs and not any(o.needs.startswith(f"{path}/") for path in at.machine.data):
        return at.refused(f"{o.needs} does not exist")
    if o.keep and there is not None and files.get(o.keep, there) != there:
        return at.refused(f"{o.keep} holds something else than what is in place")
    if o.keep and there is not None:
        files.setdefault(o.keep, there)
    files[o.path] = o.content
    return StepResult(True, f"writing {o.path} on {at.name}: done")


@hand(PutResolvConf, lacking=lambda o, at: at.machine.files.get(o.path) != o.content)
def put_resolv_conf(o: PutResolvConf, at: Carry) -> StepResult:
    if o.path in at.machine.files:
        return at.refused(f"{o.path} exists, and was absent when the plan was made")
    at.machine.files[o.path] = o.content
    return StepResult(True, f"{o.title} on {at.name}: done")


@hand(HostsLine, lacking=lambda o, at: o.line not in at.machine.files.get(HOSTS, "").splitlines())
def hosts_line(o: HostsLine, at: Carry) -> StepResult:
    lines = at.machine.files.get(HOSTS, "").splitlines()
    if o.line in lines:
        return StepResult(True, f"{o.title} on {at.name} had been done already", already_done=True)
    if any(set(line.split()[1:]) & set(o.line.split()[1:]) for line in lines):
        return at.refused(f"{HOSTS} names that host otherwise by now")
    at.machine.files[HOSTS] = "\n".join((*lines, o.line, ""))
    return StepResult(True, f"{o.title} on {at.name}: done")


@hand(FreeAddresses, lacking=lambda o, at: at.machine.leaked > 0)
def free_addresses(o: FreeAddresses, at: Carry) -> StepResult:
    if not at.machine.leaked:
        return StepResult(True, f"{o.title} on {at.name} had been done already", already_done=True)
    at.cluster.nodes.free_addresses(at.name)
    return StepResult(True, f"{o.title} on {at.name}: done")


@hand(MovePath, lacking=lambda o, at: has(at.machine, o.source) or not (o.optional or has(at.machine, o.target)))
def move(o: MovePath, at: Carry) -> StepResult:
    there = has(at.machine, o.source), has(at.machine, o.target)
    if there == (False, True) or (o.optional and not there[0]):
        return StepResult(
            True, f"moving {o.source} to {o.target} on {at.name} had been done already", already_done=True
        )
    if there[1]:
        return at.refused(f"{o.target} exists already")
    if not there[0]:
        return StepResult(
            False, f"moving {o.source} to {o.target} on {at.name} ended with status 1: no such file; look at {at.name}"
        )
    if o.needs and not any(o.needs.startswith(f"{path}/") for path in at.machine.data):
        return at.refused(f"{o.needs} does not exist")
    _move(at.machine.files, o.source, o.target)
    _move(at.machine.data, o.source, o.target)
    return StepResult(True, f"moving {o.source} to {o.target} on {at.name}: done")


@hand(CopyPath, lacking=lambda o, at: not has(at.machine, o.target))
def copy(o: CopyPath, at: Carry) -> StepResult:
    if has(at.machine, o.target):
        return StepResult(
            True, f"copying {o.source} to {o.target} on {at.name} had been done already", already_done=True
        )
    if not has(at.machine, o.source):
        return at.refused(f"{o.source} does not exist")
    if (at.machine.crowded or at.machine.disk) and of_data(o.source):
        return at.refused(f"there is no room for a copy of {o.source} in {o.target.rpartition('/')[0]}")
    _copy(at.machine.files, o.source, o.target)
    _copy(at.machine.data, o.source, o.target)
    return StepResult(True, f"copying {o.source} to {o.target} on {at.name}: done")


def has(machine: Machine, path: str) -> bool:
    return any(p == path or p.startswith(f"{path}/") for p in (*machine.files, *machine.data))


def _copy(kept: dict[str, V], source: str, target: str) -> list[str]:
    """Returns what was copied."""
    paths = [p for p in kept if p == source or p.startswith(f"{source}/")]
    for path in paths:
        kept[target + path.removeprefix(source)] = kept[path]
    return paths


def _move(kept: dict[str, V], source: str, target: str) -> None:
    for path in _copy(kept, source, target):
        del kept[path]


# --- units ---


@hand(Unit, lacking=lambda o, at: not at.machine.units[o.unit].active)
def unit(o: Unit, at: Carry) -> StepResult:
    if at.resume and at.machine.units[o.unit].active:
        return StepResult(True, f"systemctl {o.verb} {o.unit} on {at.name} had been done already", already_done=True)
    if trouble := at.cluster.restart_unit(at.name, o.unit):
        return StepResult(
            False, f"systemctl {o.verb} {o.unit} on {at.name} ended with status 1: {trouble}; look at {at.name}"
        )
    return StepResult(True, f"systemctl {o.verb} {o.unit} on {at.name}: done (active)")


@hand(RestartUnit)
def restart_unit(o: RestartUnit, at: Carry) -> StepResult:
    if trouble := at.cluster.restart_unit(at.name, o.unit):
        return StepResult(
            False, f"systemctl restart {o.unit} on {at.name} ended with status 1: {trouble}; look at {at.name}"
        )
    return StepResult(True, f"systemctl restart {o.unit} on {at.name}: done")


@hand(AwaitUnit, waits=True)
def await_unit(o: AwaitUnit, at: Carry) -> StepResult:
    it = at.machine.units[o.unit]
    stable = it.active and at.now - it.since >= o.stable
    lacks = f"{o.unit} on {at.name} has not been active for {o.stable} s"
    return waited(stable, f"{o.unit} on {at.name} has been active for {o.stable} s", lacks)


@hand(Reboot, lacking=lambda o, at: at.machine.boot_id == o.boot_id)
def reboot(o: Reboot, at: Carry) -> StepResult:
    if at.machine.boot_id != o.boot_id:
        return StepResult(True, f"{at.name} has been rebooted already", already_done=True)
    at.cluster.power_off(at.name)
    at.cluster.power_on(at.name, GOING_DOWN)
    return StepResult(True, f"{at.name} was asked to reboot")


# --- static pods ---


@hand(AwaitContainerGone, waits=True)
def await_gone(o: AwaitContainerGone, at: Carry) -> StepResult:
    gone = at.machine.container(o.component) is None
    return waited(gone, f"{o.component} is gone from {at.name}", f"{o.component} still runs on {at.name}")


@hand(AwaitFlag, waits=True)
def await_flag(o: AwaitFlag, at: Carry) -> StepResult:
    container = at.machine.container(o.component)
    right = container is not None and (o.flag in command_of(container.content).flags) is o.present
    wanted = f"{'with' if o.present else 'without'} {o.flag}"
    return waited(
        right, f"{o.component} on {at.name} runs {wanted}", f"{o.component} on {at.name} does not run {wanted}"
    )


@hand(Unstick, waits=lambda o: o.patience > 0)
def unstick(o: Unstick, at: Carry) -> StepResult:
    """With patience, as the shell does it: so many seconds without a container are waited for, and
    five with one end the waiting.
    """
    runs, now = at.machine.container(o.component) is not None, at.now
    if at.began is None or runs is not at.was:
        at.was, at.since = runs, now
    at.began = now if at.began is None else at.began
    lasts = now - at.since
    if runs and (not o.patience or lasts >= STEADY):
        return StepResult(True, f"{o.component} on {at.name} runs", already_done=True)
    if not runs and lasts >= o.patience:
        if at.machine.container("etcd") is None and begins_anew(at.machine):
            return at.refused("kubelet would start etcd over nothing, as a new, empty cluster")
        at.cluster.restart_unit(at.name, "kubelet")
        at.began = None
        return StepResult(True, f"kubelet on {at.name} restarted, since no {o.component} ran")
    return waited(
        now - at.began >= o.patience + 30, f"{o.component} on {at.name} comes and goes", f"{o.component} is watched"
    )


@hand(RestartStaticPod, waits=True)
def restart_static_pod(o: RestartStaticPod, at: Carry) -> StepResult:
    container = at.machine.container(o.component)
    if at.began is None and container is None:
        if not o.start:
            return StepResult(False, f"no {o.component} runs on {at.name}")
        at.began = at.now
        at.cluster.restart_unit(at.name, "kubelet")
    if at.began is None:
        at.began = at.now
        at.cluster.kubelets[at.name].exited(o.component, at.began, "received signal; shutting down")
        container = None
    return waited(
        container is not None,
        f"{o.component} on {at.name} was started anew",
        f"kubelet has started no new {o.component}",
    )
