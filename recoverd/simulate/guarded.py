"""What the scripts of operations refuse on the machine itself (`recoverd.model.etcd_guards`), on the model."""

from __future__ import annotations

from recoverd.model.etcd_guards import MANIFEST, of_data, of_etcd
from recoverd.model.file_operations import PutBackPodFile
from recoverd.model.operations import CopyPath, MovePath, Operation, WriteFile
from recoverd.model.pki_operations import PutBackPki
from recoverd.model.unit_operations import RestartStaticPod, RestartUnit, Unit
from recoverd.simulate.hosts import Machine
from recoverd.simulate.texts import ETCD_DIR, command_of


def refused(machine: Machine, operation: Operation) -> str:
    """Why the operation would do harm on this machine now; "" when it would not."""
    runs = machine.container("etcd") is not None
    match operation:
        case MovePath(source=source) | CopyPath(source=source) if of_data(source) and runs:
            return f"etcd runs here, and {source} must not be touched under it"
        case MovePath(source=source, target=target) if of_etcd(target) and _anew(
            machine, machine.files.get(source, "")
        ):
            return f"etcd would begin a new, empty cluster with {target}: its data directory holds nothing"
        case WriteFile(path=path, content=content) if of_etcd(path) and _anew(machine, content):
            return f"etcd would begin a new, empty cluster with {path}: its data directory holds nothing"
        case Unit(unit=unit) | RestartUnit(unit=unit) if not (unit == "kubelet" and runs) and begins_anew(machine):
            return f"{unit} would start etcd over nothing, as a new, empty cluster"
        case RestartStaticPod(component=component, start=start) if (
            component == "etcd" or (start and not runs)
        ) and begins_anew(machine):
            return f"a restart of {component} would start etcd over nothing, as a new, empty cluster"
        case PutBackPodFile(path=path) if not runs and begins_anew(machine):
            return f"putting {path} back would start etcd over nothing, as a new, empty cluster"
        case PutBackPki(restart=True) if begins_anew(machine):
            return "ending the static pods would start etcd over nothing, as a new, empty cluster"
    return ""


def begins_anew(machine: Machine) -> bool:
    """Whether the etcd of the manifest in place would begin a cluster of its own, over nothing."""
    return _anew(machine, machine.files.get(MANIFEST, ""))


def _anew(machine: Machine, manifest: str) -> bool:
    flags = command_of(manifest).flags if manifest else {}
    if not manifest or command_of(manifest).problem or flags.get("--initial-cluster-state") == "existing":
        return False
    return f"{flags.get('--data-dir', ETCD_DIR)}/member" not in machine.data
