"""Whether starting something on a control plane would start etcd without the cluster's data, or serve an
etcd that has none of it. Pure.

kubelet starts every manifest that is in place. With kubeadm's manifest, an etcd that finds no data begins a second,
empty cluster, and the API server in front of it tells every kubelet that it has no pods. So this is asked before
kubelet, the runtime, etcd or the API server is started.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.loss import began_anew, says_new, unread
from recoverd.model.catalogue import Code
from recoverd.model.operations import MANIFESTS
from recoverd.model.plan import Step
from recoverd.model.unit_operations import Unit, Unstick
from recoverd.playbooks.base import Situation

PATIENCE = 10
"""Seconds without a process after which kubelet counts as sitting in a back-off: it takes one or two
to act on a manifest (observed).
"""


def seen_started(host: str, component: str) -> Step:
    """The step that sees kubelet start a static pod whose files are in place again, and ends its back-off."""
    return Step(
        host,
        f"see that kubelet starts {component} on {host}, and restart kubelet when it does not",
        Unstick(component, PATIENCE),
        60.0,
    )


def begins_anew(host: str, situation: Situation) -> str:
    """Why nothing that kubelet starts may be started on this machine; "" when it may, and for a
    machine that is no control plane.
    """
    view, member = situation.host(host), situation.etcd(host)
    if host not in {h.name for h in situation.settings.control_planes} or view is None:
        return ""
    if member is not None and not member.remembered:
        anew = began_anew(situation.scene, member)
        if anew is False:
            return ""
        if anew is None:
            return (
                f"{unread(host)}: an API server in front of the latter would tell every kubelet that it has no "
                "pods, and they would be ended"
            )
        return (
            f"etcd on {host} has begun a new, empty cluster: an API server in front of it would tell every kubelet "
            "that it has no pods, and "
            "they would be ended. Its data has to be brought back first"
        )
    manifest, data = view.manifests.get("etcd"), view.etcd_data
    if manifest is None or manifest.problem or _joins(host, manifest.content, situation):
        return ""
    if data is None:
        return (
            f"whether etcd's data is there on {host} could not be looked at, and kubelet would start etcd, which must "
            "not find an empty directory"
        )
    if data.holds:
        return ""
    word = "empty" if data.exists else "missing"
    return (
        f"etcd's manifest is in place on {host}, and {data.path} there is {word}: kubelet would start etcd on nothing, "
        "as a new, empty cluster. "
        "Bring the data back (a disk that is not mounted looks the same), or move "
        f"{manifest.path} out of {MANIFESTS} first"
    )


def _joins(host: str, manifest: str, situation: Situation) -> bool:
    """Its etcd is on its way into the cluster for the first time, and gets its data from the others."""
    entry = situation.scene.membership.entry_of(host)
    return entry is not None and not entry.started and not says_new(manifest)


def serves_nothing(host: str, situation: Situation) -> str:
    """Why no API server may be started on this machine; "" when it may. Also when this very sweep does not see
    the member that has begun anew.
    """
    if why := begins_anew(host, situation):
        return why
    setback, member = situation.memory.setback, situation.etcd(host)
    lost = situation.diagnosis.find(Code.ETCD_DATA_LOST) or (setback and setback.anew)
    if not lost or (member is not None and not member.remembered):
        return ""
    return (
        f"etcd has lost its data, and an API server on {host} would serve what is left of it: an empty cluster, "
        "whose word ends every pod"
    )


def not_mounted(host: str, at: str, why: str = "etcd's data are on it most likely, and nothing is lost") -> str:
    """Why what is not there is neither given up nor written anew, and what a person does."""
    return (
        f"{at} on {host} is not mounted, where a file system of its own is to be by /etc/fstab, or was while all was "
        f"well: {why}. `mount {at}` there, or what else mounts it (`systemctl list-units -t mount --all`, `zfs mount "
        f"-a`); where that disk is gone for good, take its line out of /etc/fstab, and `mount --bind {at} {at}` says "
        "that the directory takes its place"
    )


def services(host: str, situation: Situation) -> Iterator[Step]:
    """Steps that start what does not run of kubelet and the runtime, for a plan that has moved etcd's manifest
    out of kubelet's sight before.
    """
    view = situation.host(host)
    for name in (view.runtime, "kubelet") if view else ():
        unit = view.units.get(name) if view else None
        if unit is not None and not unit.running and unit.load == "loaded":
            yield Step(
                host,
                f"start {name} on {host}, which does not run; no manifest of etcd is in place",
                Unit("start", name),
                60.0,
            )
